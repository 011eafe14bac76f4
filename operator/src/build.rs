//! From resources to the objects that Kubernetes is asked for. Pure, and it cannot fail: what it gets is valid.
//!
//! Objects are JSON, as they are applied: a field that is not here is not ours. A change of what this module makes changes
//! the pods of every pool at the next upgrade of the operator, so golden files in `build/golden` hold it still.

pub mod app;
pub mod broker;
pub mod inspector;
mod merge;
mod pod;
pub mod rabbitmq;
pub mod scheduler;
pub mod sidecar;
pub mod worker;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// What the operator's objects have as `app.kubernetes.io/managed-by`.
pub const MANAGED_BY: &str = "celeriac-operator";

/// The label that names the app's `Celery`.
pub const APP_LABEL: &str = "celeriac.dev/app";

/// The annotation of a pod template that changes with the Secrets its pods read, so that pods are replaced.
pub const SECRETS_ANNOTATION: &str = "celeriac.dev/secrets";

/// A kind of object that the operator makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(
    missing_docs,
    reason = "they are Kubernetes' own names, RabbitMQ's and ours"
)]
pub enum Kind {
    CeleryBroker,
    CeleryWorker,
    CeleryScheduler,
    Deployment,
    StatefulSet,
    Service,
    PodDisruptionBudget,
    NetworkPolicy,
    ServiceAccount,
    RabbitmqCluster,
}

impl Kind {
    /// Group, version and plural.
    pub fn resource(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::CeleryBroker => ("celeriac.dev", "v1alpha1", "celerybrokers"),
            Self::CeleryWorker => ("celeriac.dev", "v1alpha1", "celeryworkers"),
            Self::CeleryScheduler => ("celeriac.dev", "v1alpha1", "celeryschedulers"),
            Self::Deployment => ("apps", "v1", "deployments"),
            Self::StatefulSet => ("apps", "v1", "statefulsets"),
            Self::Service => ("", "v1", "services"),
            Self::PodDisruptionBudget => ("policy", "v1", "poddisruptionbudgets"),
            Self::NetworkPolicy => ("networking.k8s.io", "v1", "networkpolicies"),
            Self::ServiceAccount => ("", "v1", "serviceaccounts"),
            Self::RabbitmqCluster => ("rabbitmq.com", "v1beta1", "rabbitmqclusters"),
        }
    }

    /// Its name as Kubernetes writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::CeleryBroker => "CeleryBroker",
            Self::CeleryWorker => "CeleryWorker",
            Self::CeleryScheduler => "CeleryScheduler",
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::Service => "Service",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::ServiceAccount => "ServiceAccount",
            Self::RabbitmqCluster => "RabbitmqCluster",
        }
    }
}

/// An object that is wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct Desired {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// The identity of whose it is, also where the object itself does not name an owner.
    pub owner: String,
    /// It, whole.
    pub body: Value,
}

/// Whose objects are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its kind.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Its namespace, and that of everything it owns.
    pub namespace: String,
    /// Its identity: another of the same name is another owner.
    pub uid: String,
    /// The app's `Celery`, if there is one.
    pub app: Option<String>,
}

impl Owner {
    /// An object of this owner.
    fn object(&self, kind: Kind, name: &str, component: &str, spec: &Value) -> Desired {
        let (group, version, _) = kind.resource();
        let api_version = if group.is_empty() {
            version.to_owned()
        } else {
            format!("{group}/{version}")
        };
        let body = json!({
            "apiVersion": api_version,
            "kind": kind.name(),
            "metadata": {
                "name": name,
                "namespace": self.namespace,
                "labels": self.labels(component),
                "ownerReferences": [self.reference()],
            },
            "spec": spec,
        });
        Desired {
            kind,
            name: name.to_owned(),
            owner: self.uid.clone(),
            body,
        }
    }

    /// What its objects and their pods are called by everybody's tools.
    fn labels(&self, component: &str) -> Map<String, Value> {
        let mut labels = Map::new();
        let mut label = |key: &str, value: &str| labels.insert(key.to_owned(), value.into());
        label("app.kubernetes.io/name", "celery");
        label("app.kubernetes.io/component", component);
        label("app.kubernetes.io/managed-by", MANAGED_BY);
        label(
            "app.kubernetes.io/instance",
            self.app.as_ref().unwrap_or(&self.name),
        );
        if let Some(app) = &self.app {
            label(APP_LABEL, app);
        }
        labels
    }

    /// The reference by which Kubernetes removes an object with its owner.
    pub fn reference(&self) -> Value {
        json!({
            "apiVersion": "celeriac.dev/v1alpha1",
            "kind": self.kind,
            "name": self.name,
            "uid": self.uid,
            "controller": true,
            "blockOwnerDeletion": true,
        })
    }
}

/// The labels of a Secret, which is not written as JSON.
fn secret_labels(owner: &Owner, component: &str) -> BTreeMap<String, String> {
    let text = |value: Value| value.as_str().map(str::to_owned).unwrap_or_default();
    let labels = owner.labels(component).into_iter();
    labels.map(|(key, value)| (key, text(value))).collect()
}

/// The label by which pods of one owner are selected. Names are unique in a namespace, so one label is enough, and a
/// selector can never be changed.
fn selector(component: &str, name: &str) -> Value {
    json!({format!("celeriac.dev/{component}"): name})
}

#[cfg(test)]
mod tests;
