//! An app: its broker, its pools, its schedulers and its inspector, and the order in which they go.

use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::{Map, json};

use super::{App, Context};
use crate::build::{Kind, Owner, app as build, inspector};
use crate::crd::status::Truth;
use crate::crd::{Celery, UrlSource};
use crate::error::{Deed, Error};
use crate::fetch::{self, SecretUse};
use crate::report::{Fact, Findings, NEW};

/// Keeps an app until its parts are gone, in order.
pub const FINALIZER: &str = "celeriac.dev/deletion";

/// While this annotation is `true`, a deleted app goes at once.
pub const SKIP_DRAIN: &str = "celeriac.dev/skip-drain";

impl App for Celery {
    const KIND: &'static str = "Celery";

    fn app(&self) -> Option<String> {
        self.metadata.name.clone()
    }

    async fn step(&self, context: &Context) -> Result<Option<Findings>, Error> {
        let owner = self.owner();
        if self.metadata.deletion_timestamp.is_some() {
            if !self.finalizers().is_empty() && self.parts_are_gone(context, &owner).await? {
                self.finalizers_to(context, Vec::new()).await?;
            }
            return Ok(None);
        }
        if !self.finalizers().iter().any(|one| one == FINALIZER) {
            self.finalizers_to(context, vec![FINALIZER]).await?;
        }
        let namespace = &owner.namespace;
        let broker = context
            .apply
            .object(namespace, &build::broker_object(&owner, &self.spec))
            .await?;
        let url = build::broker_url(&owner.name, &self.spec, &broker.data["status"]);
        let Some(url) = url else {
            // Pods that are there already go on as they are.
            let message = "where the broker is found is not known yet";
            let inspector = Fact::new("InspectorReady", Truth::False, "NoBroker", message);
            return Ok(Some(findings(&broker, &[], &[], inspector)));
        };
        let pools = build::pools(&owner, &self.spec, &url);
        let mut workers = Vec::with_capacity(pools.len());
        for pool in &pools {
            workers.push(match pool.initial_replicas {
                Some(replicas) => {
                    context
                        .apply
                        .scaled(namespace, &pool.object, replicas)
                        .await?
                }
                None => context.apply.object(namespace, &pool.object).await?,
            });
        }
        let mut schedulers = Vec::new();
        for scheduler in build::schedulers(&owner, &self.spec, &url) {
            schedulers.push(context.apply.object(namespace, &scheduler).await?);
        }
        self.prune(context, &owner, Kind::CeleryWorker, &workers)
            .await?;
        self.prune(context, &owner, Kind::CeleryScheduler, &schedulers)
            .await?;
        let inspector = self.inspect(context, &owner, &url).await?;
        Ok(Some(findings(&broker, &workers, &schedulers, inspector)))
    }
}

impl Celery {
    /// What is no longer in the spec goes. Parts are told by name, so that order means nothing.
    async fn prune(
        &self,
        context: &Context,
        owner: &Owner,
        kind: Kind,
        wanted: &[DynamicObject],
    ) -> Result<(), Error> {
        let all = fetch::owned(
            &context.client,
            kind,
            &owner.namespace,
            &owner.name,
            &owner.uid,
        )
        .await?;
        for object in all {
            if !wanted
                .iter()
                .any(|one| one.metadata.name == object.metadata.name)
            {
                context
                    .apply
                    .delete(&owner.namespace, kind, &object)
                    .await?;
            }
        }
        Ok(())
    }

    /// The inspector, if there is somebody to report to, and whether it runs. What it sees is told by `live`.
    async fn inspect(
        &self,
        context: &Context,
        owner: &Owner,
        broker: &UrlSource,
    ) -> Result<Fact, Error> {
        let not = |reason: &str, message: &str| {
            Fact::new("InspectorReady", Truth::False, reason, message)
        };
        let name = inspector::name(&owner.name);
        if !self.spec.inspector.enabled {
            context.remove(owner, Kind::Deployment, &name).await?;
            return Ok(not(
                "NoInspector",
                "inspector.enabled is false: queues and tasks are not known",
            ));
        }
        let Some(inspection) = &context.inspection else {
            context.remove(owner, Kind::Deployment, &name).await?;
            return Ok(not(
                "NoAggregator",
                "the operator was started without --aggregator: queues and tasks are not known",
            ));
        };
        let secrets = SecretUse::default().url(Some(broker));
        let secrets = match secrets.fingerprint(&context.client, &owner.namespace).await {
            // The Secret of a new broker comes a moment later.
            Err(Error::SecretMissing { name, .. }) => {
                return Ok(not("NoBroker", &format!("Secret {name} is not there yet")));
            }
            other => other?,
        };
        if inspection.audience.is_some() {
            let account = inspector::account(owner);
            context.apply.object(&owner.namespace, &account).await?;
        }
        let object = inspector::object(
            owner,
            &self.spec.inspector,
            broker,
            inspection,
            secrets.as_deref(),
        );
        let now = context.apply.object(&owner.namespace, &object).await?;
        if now.data["status"]["readyReplicas"].as_i64() == Some(1) {
            return Ok(Fact::new(
                "InspectorReady",
                Truth::True,
                "InspectorRuns",
                "the inspector runs",
            ));
        }
        Ok(not(
            "InspectorNotReady",
            "the pod of the inspector is not ready",
        ))
    }

    /// Takes the parts away in order: what sends tasks, what runs them, what watches, what carries them. Whether all are
    /// gone.
    async fn parts_are_gone(&self, context: &Context, owner: &Owner) -> Result<bool, Error> {
        let annotations = self.annotations();
        if annotations
            .get(SKIP_DRAIN)
            .is_some_and(|value| value == "true")
        {
            return Ok(true);
        }
        for kind in [
            Kind::CeleryScheduler,
            Kind::CeleryWorker,
            Kind::Deployment,
            Kind::CeleryBroker,
        ] {
            let left = fetch::owned(
                &context.client,
                kind,
                &owner.namespace,
                &owner.name,
                &owner.uid,
            )
            .await?;
            if left.is_empty() {
                continue;
            }
            for object in &left {
                context.apply.delete(&owner.namespace, kind, object).await?;
            }
            // In a namespace that goes, everything goes at once, and nothing waits for us.
            if fetch::namespace_goes(&context.client, &owner.namespace).await? {
                return Ok(true);
            }
            return Ok(false);
        }
        Ok(true)
    }

    async fn finalizers_to(&self, context: &Context, finalizers: Vec<&str>) -> Result<(), Error> {
        let others = self
            .finalizers()
            .iter()
            .map(String::as_str)
            .filter(|one| *one != FINALIZER);
        let all: Vec<&str> = others.chain(finalizers).collect();
        let namespace = self.namespace().unwrap_or_default();
        let api: Api<Self> = Api::namespaced(context.client.clone(), &namespace);
        let patch = json!({"metadata": {
            "finalizers": all, "resourceVersion": self.resource_version(),
        }});
        let params = PatchParams {
            field_manager: Some(crate::apply::BUILD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        match api
            .patch(&self.name_any(), &params, &Patch::Merge(&patch))
            .await
        {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => {
                let deed = Deed {
                    verb: "change the finalizers of",
                    kind: Self::KIND,
                    name: self.name_any(),
                };
                Err(Error::of(deed, error))
            }
        }
    }
}

fn findings(
    broker: &DynamicObject,
    workers: &[DynamicObject],
    schedulers: &[DynamicObject],
    inspector: Fact,
) -> Findings {
    let mut fields = Map::new();
    let kind = broker.data["spec"]["type"].as_str().unwrap_or("redis");
    fields.insert("broker".to_owned(), json!(kind));
    if let Some(endpoint) = broker.data["status"]["endpoint"].as_str() {
        fields.insert("brokerAddress".to_owned(), json!(endpoint));
    }
    let sum = |path: &str| -> i64 {
        workers
            .iter()
            .filter_map(|worker| worker.data.pointer(path)?.as_i64())
            .sum()
    };
    let (ready, wanted) = (sum("/status/readyReplicas"), sum("/spec/replicas"));
    fields.insert("workers".to_owned(), json!(format!("{ready}/{wanted}")));
    let broker_ready = is_ready(broker);
    let not_ready: Vec<String> = std::iter::once(broker)
        .chain(workers)
        .chain(schedulers)
        .filter_map(|part| {
            let (ready, reason, message) = is_ready(part);
            let kind = part.types.as_ref().map_or("", |types| types.kind.as_str());
            let name = part.metadata.name.as_deref().unwrap_or_default();
            (!ready).then(|| format!("{kind} {name}: {reason}: {message}"))
        })
        .collect();
    let ready = if not_ready.is_empty() {
        Fact::new(
            "Ready",
            Truth::True,
            "AllReady",
            "broker, workers and schedulers are ready",
        )
    } else {
        Fact::new("Ready", Truth::False, "PartsNotReady", not_ready.join("; "))
    };
    let broker = match broker_ready {
        (true, reason, message) => Fact::new("BrokerReady", Truth::True, &reason, message),
        (false, reason, message) => Fact::new("BrokerReady", Truth::False, &reason, message),
    };
    Findings {
        fields,
        facts: vec![ready, broker, inspector],
        again: None,
    }
}

/// Whether a part is ready, as of its current spec; why, in a word and in words.
fn is_ready(part: &DynamicObject) -> (bool, String, String) {
    let conditions = part.data["status"]["conditions"].as_array();
    let ready = conditions
        .into_iter()
        .flatten()
        .find(|one| one["type"] == "Ready");
    let Some(ready) = ready else {
        return (false, NEW.to_owned(), "it was not looked at yet".to_owned());
    };
    let text = |field: &str| ready[field].as_str().unwrap_or_default().to_owned();
    let current = ready["observedGeneration"].as_i64() == part.metadata.generation;
    (
        ready["status"] == "True" && current,
        text("reason"),
        text("message"),
    )
}
