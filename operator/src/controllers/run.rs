//! The four controllers, over the namespaces that were chosen: what wakes a reconcile. Each ends when it is stopped, after
//! the reconciles that are under way.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;

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

use super::{App, Context, after_failure, reconcile};
use crate::build::MANAGED_BY;
use crate::build::worker::POD_LABEL;
use crate::crd::{Celery, CeleryBroker, CeleryScheduler, CeleryWorker};
use crate::drain::pod::slim;
use crate::drainer;
use crate::live::{self, Stores};
use crate::report::own_part;
use crate::scaling;

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
    // Of others' objects nothing is read: those that we make carry our label.
    let ours =
        || watcher::Config::default().labels(&format!("app.kubernetes.io/managed-by={MANAGED_BY}"));
    let (apps, all_apps) = of(api::<Celery>(client, place));
    let (brokers, all_brokers) = of(api::<CeleryBroker>(client, place));
    let (workers, all_workers) = of(api::<CeleryWorker>(client, place));
    let (schedulers, _) = of(api::<CeleryScheduler>(client, place));
    stores.apps.push(all_apps);
    stores.brokers.push(all_brokers);
    stores.workers.push(all_workers);
    let apps = apps
        .owns_stream(parts(watcher(api::<CeleryBroker>(client, place), ours())))
        .owns_stream(parts(watcher(api::<CeleryWorker>(client, place), ours())))
        .owns_stream(parts(watcher(
            api::<CeleryScheduler>(client, place),
            ours(),
        )))
        .owns(api::<Deployment>(client, place), ours());
    let brokers = brokers.owns(api::<StatefulSet>(client, place), ours());
    let (deployments, written) = reflector::store();
    stores.deployments.push(deployments);
    let made = watcher(api::<Deployment>(client, place), ours()).reflect(written);
    let made = made.inspect(moved(context));
    let workers = workers.owns_stream(made.touched_objects());
    let (pods, pods_change) = pods(api(client, place));
    stores.pods.push(pods);
    let schedulers = schedulers.owns(api::<StatefulSet>(client, place), ours());
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

/// Parts of an app, when it has to look at them: when they are changed, or when what their own reconcile said of them is.
fn parts<K: App>(
    events: impl Stream<Item = Result<Event<K>, watcher::Error>>,
) -> impl Stream<Item = Result<K, watcher::Error>> {
    changed(events, told::<K>, true)
}

/// The objects whose fingerprint is not what it was; those that are gone too, if they count.
fn changed<K: App>(
    events: impl Stream<Item = Result<Event<K>, watcher::Error>>,
    fingerprint: fn(&K) -> u64,
    deletions: bool,
) -> impl Stream<Item = Result<K, watcher::Error>> {
    let mut known: HashMap<Option<String>, u64> = HashMap::new();
    events.filter_map(move |event| {
        let object = match event {
            Ok(Event::Apply(object) | Event::InitApply(object)) => {
                let print = fingerprint(&object);
                let before = known.insert(object.uid(), print);
                (before != Some(print)).then_some(Ok(object))
            }
            Ok(Event::Delete(object)) => {
                known.remove(&object.uid());
                deletions.then_some(Ok(object))
            }
            // All that are there follow; what is forgotten here costs each one look.
            Ok(Event::Init) => {
                known.clear();
                None
            }
            Ok(Event::InitDone) => None,
            Err(error) => Some(Err(error)),
        };
        std::future::ready(object)
    })
}

/// What somebody asks of an object.
fn asked<K: App>(object: &K) -> u64 {
    let metadata = object.meta();
    let mut hasher = DefaultHasher::new();
    metadata.generation.hash(&mut hasher);
    metadata.labels.hash(&mut hasher);
    metadata.annotations.hash(&mut hasher);
    metadata.deletion_timestamp.is_some().hash(&mut hasher);
    hasher.finish()
}

/// What somebody asks of an object, and what its reconcile says of it; not what is happening now.
fn told<K: App>(object: &K) -> u64 {
    let mut hasher = DefaultHasher::new();
    asked(object).hash(&mut hasher);
    let status = serde_json::Value::Object(own_part(object.status_value()));
    status.to_string().hash(&mut hasher);
    hasher.finish()
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
            if let Err(controller::Error::QueueError(error)) = outcome {
                tracing::warn!(kind = K::KIND, %error, "a watch was lost, and is taken up again");
            }
        })
        .await;
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use serde_json::{Value, json};

    use super::*;

    fn pool(generation: i64, status: &Value) -> CeleryWorker {
        let object = json!({
            "apiVersion": "celeriac.dev/v1alpha1", "kind": "CeleryWorker",
            "metadata": {"name": "shop-mail", "uid": "1", "generation": generation},
            "spec": {"broker": {"address": "redis://redis/0"}, "image": "x:1", "appName": "shop"},
            "status": status,
        });
        serde_json::from_value(object).expect("it is a CeleryWorker")
    }

    fn condition(type_: &str, status: &str) -> Value {
        json!({
            "type": type_, "status": status, "reason": "R", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    }

    #[test]
    fn a_status_wakes_nobody_but_the_app_of_a_part_whose_reconcile_said_something_new() {
        let before = pool(
            1,
            &json!({"readyReplicas": 1, "conditions": [condition("Ready", "True")]}),
        );
        let live = pool(
            1,
            &json!({
                "readyReplicas": 1, "busy": "1/2", "backlog": 4, "oldest": "2026-01-01T00:00:00Z", "versions": ["5.7.0"],
                "online": 1, "unacked": 3, "eventsOff": 0,
                "conditions": [condition("Ready", "True"), condition("Observed", "True")],
            }),
        );
        let ready = pool(
            1,
            &json!({"readyReplicas": 2, "conditions": [condition("Ready", "True")]}),
        );
        let edited = pool(
            2,
            &json!({"readyReplicas": 1, "conditions": [condition("Ready", "True")]}),
        );
        assert_eq!(asked(&before), asked(&live));
        assert_eq!(told(&before), told(&live));
        assert_eq!(asked(&before), asked(&ready));
        assert_ne!(told(&before), told(&ready));
        assert_ne!(asked(&before), asked(&edited));
    }

    #[tokio::test]
    async fn what_is_gone_or_read_anew_counts_again() {
        let status = json!({});
        let events = [
            Event::InitApply(pool(1, &status)),
            Event::Apply(pool(1, &json!({"busy": "1/2"}))),
            Event::Apply(pool(2, &status)),
            Event::Delete(pool(2, &status)),
            Event::Apply(pool(2, &status)),
            Event::Init,
            Event::InitApply(pool(2, &status)),
        ];
        let count = async |deletions: bool| {
            let events = stream::iter(events.clone()).map(Ok);
            let changed = changed(events, told::<CeleryWorker>, deletions);
            changed.count().await
        };
        assert_eq!(count(false).await, 4);
        assert_eq!(count(true).await, 5);
    }
}
