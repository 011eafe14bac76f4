//! The four controllers, over the namespaces that were chosen: what wakes a reconcile. Each ends when it is stopped, after
//! the reconciles that are under way.

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use kube::api::Api;
use kube::runtime::controller::{Config, Controller};
use kube::runtime::watcher;
use kube::{Client, Resource};
use tokio_util::sync::CancellationToken;

use super::{App, Context, after_failure, reconcile};
use crate::build::MANAGED_BY;
use crate::crd::{Celery, CeleryBroker, CeleryScheduler, CeleryWorker};

/// Reconciles of one kind at a time: each is a few round trips, and an API server has others to serve.
const CONCURRENCY: u16 = 8;

/// Where resources are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Everywhere.
    Cluster,
    /// In these namespaces.
    Namespaces(Vec<String>),
}

impl Scope {
    /// These namespaces; everywhere when none is named.
    pub fn of(mut namespaces: Vec<String>) -> Self {
        namespaces.sort();
        namespaces.dedup();
        if namespaces.is_empty() {
            Self::Cluster
        } else {
            Self::Namespaces(namespaces)
        }
    }

    /// One at a time; `None` is everywhere.
    pub fn places(&self) -> Vec<Option<&str>> {
        match self {
            Self::Cluster => vec![None],
            Self::Namespaces(names) => names.iter().map(|name| Some(name.as_str())).collect(),
        }
    }
}

/// Runs every controller until `stop`.
pub async fn controllers(scope: &Scope, context: &Arc<Context>, stop: &CancellationToken) {
    let all = scope
        .places()
        .into_iter()
        .map(|place| in_one(place, context, stop));
    join_all(all).await;
}

async fn in_one(place: Option<&str>, context: &Arc<Context>, stop: &CancellationToken) {
    let client = &context.client;
    let any = watcher::Config::default;
    // Of others' objects nothing is read: those that we make carry our label.
    let ours = || any().labels(&format!("app.kubernetes.io/managed-by={MANAGED_BY}"));
    let apps = Controller::new(api::<Celery>(client, place), any())
        .owns(api::<CeleryBroker>(client, place), ours())
        .owns(api::<CeleryWorker>(client, place), ours())
        .owns(api::<CeleryScheduler>(client, place), ours())
        .owns(api::<Deployment>(client, place), ours());
    let brokers = Controller::new(api::<CeleryBroker>(client, place), any())
        .owns(api::<StatefulSet>(client, place), ours());
    let workers = Controller::new(api::<CeleryWorker>(client, place), any())
        .owns(api::<Deployment>(client, place), ours());
    let schedulers = Controller::new(api::<CeleryScheduler>(client, place), any())
        .owns(api::<StatefulSet>(client, place), ours());
    tokio::join!(
        drive(apps, context, stop),
        drive(brokers, context, stop),
        drive(workers, context, stop),
        drive(schedulers, context, stop),
    );
}

/// The objects of a kind in a namespace, or everywhere.
pub fn api<K>(client: &Client, place: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
{
    match place {
        Some(name) => Api::namespaced(client.clone(), name),
        None => Api::all(client.clone()),
    }
}

async fn drive<K: App>(
    controller: Controller<K>,
    context: &Arc<Context>,
    stop: &CancellationToken,
) {
    controller
        .with_config(Config::default().concurrency(CONCURRENCY))
        .graceful_shutdown_on(stop.clone().cancelled_owned())
        .run(reconcile::<K>, after_failure::<K>, Arc::clone(context))
        .for_each(async |outcome| {
            // Failures of reconciles are logged where their wait is chosen; what is left are watches.
            if let Err(kube::runtime::controller::Error::QueueError(error)) = outcome {
                tracing::warn!(kind = K::KIND, %error, "a watch was lost, and is taken up again");
            }
        })
        .await;
}
