//! The four controllers, over the namespaces that were chosen: what wakes a reconcile. Each ends when it is stopped, after
//! the reconciles that are under way.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{Stream, StreamExt as _};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use kube::runtime::controller::{Config, Controller};
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{WatchStreamExt as _, controller};
use kube::{Client, Resource};
use tokio_util::sync::CancellationToken;

use super::wakes::{Made, asked, changed, made, told};
use super::{App, Context, after_failure, reconcile};
use crate::build::MANAGED_BY;
use crate::build::worker::POD_LABEL;
use crate::crd::{Celery, CeleryBroker, CeleryScheduler, CeleryWorker};
use crate::drain::pod::slim;
use crate::drainer;
use crate::live::{self, Stores};
use crate::scaling;

/// Reconciles of one kind at a time: each is a few round trips, and an API server has others to serve.
const CONCURRENCY: u16 = 8;

/// What comes within this time is one reconcile: an object that is made changes a few times at once, by who makes it and by who
/// follows. Nobody who waits for a reconcile notices it.
const TOGETHER: Duration = Duration::from_millis(500);

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

/// Runs every controller until `stop`, and what tells of what is happening now.
pub async fn controllers(scope: &Scope, context: &Arc<Context>, stop: &CancellationToken) {
    let mut stores = Stores::default();
    let all: Vec<_> = scope
        .places()
        .into_iter()
        .map(|place| in_one(place, &mut stores, context, stop))
        .collect();
    let drainer = Box::pin(drainer::run(context, stores.clone(), stop));
    let kept = stores.clone();
    let scaler = Box::pin(scaling::run(context, &kept, scope, stop));
    tokio::join!(
        join_all(all),
        live::run(context, stores, stop),
        drainer,
        scaler
    );
}

fn in_one(
    place: Option<&str>,
    stores: &mut Stores,
    context: &Arc<Context>,
    stop: &CancellationToken,
) -> impl Future<Output = ()> + use<> {
    let client = &context.client;
    let (apps, all_apps) = of(api::<Celery>(client, place));
    let (brokers, all_brokers) = of(api::<CeleryBroker>(client, place));
    let (workers, all_workers) = of(api::<CeleryWorker>(client, place));
    let (schedulers, _) = of(api::<CeleryScheduler>(client, place));
    stores.apps.push(all_apps);
    stores.brokers.push(all_brokers);
    stores.workers.push(all_workers);
    let apps = apps
        .owns_stream(parts::<CeleryBroker>(client, place))
        .owns_stream(parts::<CeleryWorker>(client, place))
        .owns_stream(parts::<CeleryScheduler>(client, place))
        .owns_stream(makes::<Deployment>(client, place));
    let brokers = brokers.owns_stream(makes::<StatefulSet>(client, place));
    let (deployments, written) = reflector::store();
    stores.deployments.push(deployments);
    let all_made = watcher(api::<Deployment>(client, place), ours()).reflect(written);
    let all_made = all_made.inspect(moved(context));
    let workers = workers.owns_stream(changed(all_made, made, true));
    let (pods, pods_change) = pods(api(client, place));
    stores.pods.push(pods);
    let schedulers = schedulers.owns_stream(makes::<StatefulSet>(client, place));
    let (context, stop) = (Arc::clone(context), stop.clone());
    async move {
        tokio::join!(
            drive(apps, &context, &stop),
            drive(brokers, &context, &stop),
            drive(workers, &context, &stop),
            drive(schedulers, &context, &stop),
            keep(pods_change.inspect(moved(&context)), &stop),
        );
    }
}

/// Tells that something has changed.
fn moved<T>(context: &Arc<Context>) -> impl FnMut(&T) + use<T> {
    let context = Arc::clone(context);
    move |_| context.moved.notify_one()
}

/// The pods of pools, as a watch keeps them, and that watch.
fn pods(
    api: Api<Pod>,
) -> (
    Store<Pod>,
    impl Stream<Item = Result<Event<Pod>, watcher::Error>>,
) {
    let (reader, writer) = reflector::store();
    let config = watcher::Config::default().labels(POD_LABEL);
    let events = watcher(api, config).default_backoff();
    (reader, events.modify(slim).reflect(writer))
}

/// Follows a watch until `stop`.
async fn keep(
    events: impl Stream<Item = Result<Event<Pod>, watcher::Error>>,
    stop: &CancellationToken,
) {
    let events = events.take_until(stop.clone().cancelled_owned());
    events
        .for_each(async |event| {
            if let Err(error) = event {
                tracing::warn!(kind = "Pod", %error, "a watch was lost, and is taken up again");
            }
        })
        .await;
}

/// A controller that is woken by what others change of its resource, never by a status; and all objects as its watch keeps
/// them.
fn of<K: App>(api: Api<K>) -> (Controller<K>, Store<K>) {
    let (reader, writer) = reflector::store();
    let events = watcher(api, watcher::Config::default()).reflect(writer);
    // One that is gone has nothing left to be done for it.
    let wakes = changed(events, asked::<K>, false);
    (Controller::for_stream(wakes, reader.clone()), reader)
}

/// Of others' objects nothing is read: those that we make carry our label.
fn ours() -> watcher::Config {
    watcher::Config::default().labels(&format!("app.kubernetes.io/managed-by={MANAGED_BY}"))
}

/// Parts of an app, when it has to look at them.
fn parts<K: App>(
    client: &Client,
    place: Option<&str>,
) -> impl Stream<Item = Result<K, watcher::Error>> + use<K> {
    changed(watcher(api::<K>(client, place), ours()), told::<K>, true)
}

/// What is made of a resource, when it has to look at it.
fn makes<K: Made>(
    client: &Client,
    place: Option<&str>,
) -> impl Stream<Item = Result<K, watcher::Error>> + use<K> {
    changed(watcher(api::<K>(client, place), ours()), made::<K>, true)
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
        .with_config(
            Config::default()
                .concurrency(CONCURRENCY)
                .debounce(TOGETHER),
        )
        .graceful_shutdown_on(stop.clone().cancelled_owned())
        .run(reconcile::<K>, after_failure::<K>, Arc::clone(context))
        .for_each(async |outcome| {
            // Failures of reconciles are logged where their wait is chosen; what is left are watches.
            if let Err(controller::Error::QueueError(error)) = outcome {
                tracing::warn!(kind = K::KIND, %error, "a watch was lost, and is taken up again");
            }
        })
        .await;
}
