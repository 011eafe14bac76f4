//! What is happening now, from the aggregator into statuses: a task that asks, and one that writes. Only the operator that
//! leads runs them. `figures` decides; this asks, reads stores and writes.

mod link;
mod object;
mod settings;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use celeriac_process::error_chain;
use futures_util::stream::{self, StreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use kube::runtime::reflector::Store;
use tokio::sync::{Mutex, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::aggregator;
use crate::controllers::Context;
use crate::crd::{Celery, CeleryBroker, CeleryWorker};
use crate::figures::{Due, Known, Memory, pick};
use crate::report::{Findings, report_live};
use link::Link;
use object::{Shows, View};

/// How often it is looked whether something is to be written.
const PERIOD: Duration = Duration::from_secs(1);

/// Writes in one period, of all objects together: what an API server is asked for at most when everything changes at once.
const WRITES_MAX: usize = 20;

/// At least so much later than the one before a write begins: they are spread, so that no second has more than that.
const APART: Duration = Duration::from_millis(51);

/// Writes under way at a time.
const CONCURRENCY: usize = 4;

/// How long one write may take.
const WRITE: Duration = Duration::from_secs(10);

/// Objects as the controllers' watches keep them; one store for each namespace that is looked after, or one for all.
#[derive(Clone, Default)]
pub struct Stores {
    /// Apps.
    pub apps: Vec<Store<Celery>>,
    /// Pools.
    pub workers: Vec<Store<CeleryWorker>>,
    /// Brokers.
    pub brokers: Vec<Store<CeleryBroker>>,
    /// Deployments that the operator made.
    pub deployments: Vec<Store<Deployment>>,
    /// Pods of pools, without what nobody here reads of them (`drain::pod::slim`).
    pub pods: Vec<Store<Pod>>,
}

/// Asks and writes until `stop`.
pub async fn run(context: &Context, stores: Stores, stop: &CancellationToken) {
    let known = Known {
        asks: context.inspection.is_some(),
        began: Timestamp::now(),
        ..Known::default()
    };
    let (told, known) = watch::channel(known);
    let link = async {
        match aggregator::client(context) {
            Some(Ok(builder)) => {
                let link = Link::new(builder, told, context.metrics.clone());
                link.run(stop).await;
            }
            Some(Err(words)) => {
                tracing::error!(error = words, "no live numbers");
                told.send_modify(|known| known.failure = Some(words));
            }
            None => {}
        }
    };
    tokio::join!(link, write(context, &stores, known, stop));
}

/// An object is told by kind, namespace and name; another of the same name by its identity.
type Key = (&'static str, String, String);

/// What is remembered of every object.
#[derive(Default)]
struct Memories(HashMap<Key, (Option<String>, Memory)>);

async fn write(
    context: &Context,
    stores: &Stores,
    known: watch::Receiver<Known>,
    stop: &CancellationToken,
) {
    let mut memories = Memories::default();
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut pace = interval(APART);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let pace = Mutex::new(pace);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let apps = object::all(&stores.apps);
        let view = View::new(known.borrow().clone(), Timestamp::now(), &apps);
        let mut round = Round::default();
        round.look(&mut memories, &apps, &view);
        round.look(&mut memories, &object::all(&stores.workers), &view);
        round.look(&mut memories, &object::all(&stores.brokers), &view);
        memories.0.retain(|key, _| round.seen.contains(key));
        let writes = pick(round.due, WRITES_MAX).into_iter();
        let pace = &pace;
        let writes = writes.map(|(object, due)| async move {
            let key = object.key();
            pace.lock().await.tick().await;
            let written = timeout(WRITE, object.write(context, &due)).await;
            (key, due, matches!(written, Ok(true)))
        });
        // What is under way is finished when it is time to stop: each takes ten seconds at most.
        let mut ended = stream::iter(writes).buffer_unordered(CONCURRENCY);
        while let Some((key, due, written)) = ended.next().await {
            memories.ended(&key, due, written);
        }
    }
}

/// One look at all objects.
#[derive(Default)]
struct Round {
    due: Vec<(Object, Due)>,
    seen: HashSet<Key>,
}

impl Round {
    fn look<K: Shows>(&mut self, memories: &mut Memories, objects: &[Arc<K>], view: &View) {
        for object in objects {
            if object.meta().deletion_timestamp.is_some() {
                continue;
            }
            let Some((figures, facts)) = object.found(view) else {
                continue;
            };
            let key = key(object.as_ref());
            let (uid, memory) = memories.0.entry(key.clone()).or_default();
            if *uid != object.uid() {
                (*uid, *memory) = (object.uid(), Memory::default());
            }
            self.seen.insert(key);
            let due = memory.look(view.now, object.said(), figures.as_ref(), facts);
            if let Some(due) = due {
                self.due.push((K::wrap(Arc::clone(object)), due));
            }
        }
    }
}

impl Memories {
    fn ended(&mut self, key: &Key, due: Due, written: bool) {
        let Some((_, memory)) = self.0.get_mut(key) else {
            return;
        };
        let now = Timestamp::now();
        if written {
            memory.wrote(now, due.said);
        } else {
            memory.not_written(now);
        }
    }
}

fn key<K: Shows>(object: &K) -> Key {
    let namespace = object.namespace().unwrap_or_default();
    (K::KIND, namespace, object.name_any())
}

/// An object that is to be written.
enum Object {
    /// An app.
    App(Arc<Celery>),
    /// A pool.
    Worker(Arc<CeleryWorker>),
    /// A broker.
    Broker(Arc<CeleryBroker>),
}

impl Object {
    fn key(&self) -> Key {
        match self {
            Self::App(object) => key(object.as_ref()),
            Self::Worker(object) => key(object.as_ref()),
            Self::Broker(object) => key(object.as_ref()),
        }
    }

    async fn write(&self, context: &Context, due: &Due) -> bool {
        match self {
            Self::App(object) => write_one(context, object.as_ref(), due).await,
            Self::Worker(object) => write_one(context, object.as_ref(), due).await,
            Self::Broker(object) => write_one(context, object.as_ref(), due).await,
        }
    }
}

/// Whether it was taken.
async fn write_one<K: Shows>(context: &Context, object: &K, due: &Due) -> bool {
    let namespace = object.namespace().unwrap_or_default();
    let api: Api<K> = Api::namespaced(context.client.clone(), &namespace);
    let findings = Findings {
        fields: K::fields(&due.said.shown),
        facts: due.said.facts.clone(),
        again: None,
    };
    let now = Timestamp::now();
    let written = report_live(&api, &context.recorder, object, findings, now).await;
    match written {
        Ok(()) => {
            context.metrics.on_live_write(K::KIND);
            true
        }
        Err(error) => {
            let name = object.name_any();
            let error = error_chain(&error);
            tracing::warn!(
                kind = K::KIND,
                namespace,
                name,
                error,
                "live status not written"
            );
            false
        }
    }
}
