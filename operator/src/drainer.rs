//! Makes the number of a pool's pods follow what is asked for: it reads the cluster, asks workers through the aggregator, and
//! does what `drain` says, one step of a pool at a time. The one writer of `spec.replicas` of a Deployment that is there. Only
//! the operator that leads runs it.

mod asks;
mod deeds;
mod pool;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::runtime::reflector::store::WriterDropped;
use kube::runtime::reflector::{ObjectRef, Store};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::build::worker::POD_LABEL;
use crate::controllers::Context;
use crate::crd::CeleryWorker;
use crate::live::Stores;
use asks::Asks;
use pool::{Objects, Pool};

/// How often it is looked whether a pool's turn has come, unless something changes.
const PERIOD: Duration = Duration::from_secs(1);

/// How long changes are gathered before they are looked at.
const GATHER: Duration = Duration::from_millis(50);

/// Pools whose steps are under way at a time: each is a few requests to the API server, and commands to a worker.
const CONCURRENCY: usize = 16;

/// How long one step may take: a worker that does not answer is waited for some seconds. What was not done is in the next.
const STEP: Duration = Duration::from_mins(1);

/// A pool by namespace and name.
type Key = (String, String);

/// What is remembered of a pool.
struct Remembered {
    uid: Option<String>,
    /// `None` while a step is under way.
    pool: Option<Pool>,
    /// When its next step is.
    next: Option<Instant>,
    /// What of its objects the last step began with.
    seen: pool::Seen,
}

/// Runs until `stop`.
pub async fn run(context: &Context, stores: Stores, stop: &CancellationToken) {
    let ready = async {
        for store in &stores.apps {
            store.wait_until_ready().await?;
        }
        for store in &stores.workers {
            store.wait_until_ready().await?;
        }
        for store in &stores.deployments {
            store.wait_until_ready().await?;
        }
        for store in &stores.pods {
            store.wait_until_ready().await?;
        }
        Ok::<(), WriterDropped>(())
    };
    tokio::select! {
        () = stop.cancelled() => return,
        ready = ready => if ready.is_err() { return },
    }
    let asks = Asks::of(context);
    let mut all: HashMap<Key, Remembered> = HashMap::new();
    let mut under_way: FuturesUnordered<BoxFuture<'_, (Key, Option<Pool>)>> =
        FuturesUnordered::new();
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
            () = context.moved.notified() => tokio::time::sleep(GATHER).await,
            Some((key, pool)) = under_way.next(), if !under_way.is_empty() => {
                ended(&mut all, &key, pool);
            }
        }
        look(context, &asks, &stores, &mut all, &mut under_way);
    }
    // What is under way is finished when it is time to stop.
    while under_way.next().await.is_some() {}
}

/// A step has ended; without its pool when it took too long.
fn ended(all: &mut HashMap<Key, Remembered>, key: &Key, pool: Option<Pool>) {
    let Some(remembered) = all.get_mut(key) else {
        return;
    };
    let pool = pool.unwrap_or_default();
    remembered.next = pool.again.map(|again| Instant::now() + again);
    remembered.pool = Some(pool);
}

/// Begins the steps whose time has come.
fn look<'a>(
    context: &'a Context,
    asks: &'a Asks,
    stores: &Stores,
    all: &mut HashMap<Key, Remembered>,
    under_way: &mut FuturesUnordered<BoxFuture<'a, (Key, Option<Pool>)>>,
) {
    let pods = by_pool(&stores.pods);
    let deployments: Vec<_> = stores.deployments.iter().collect();
    let mut there: BTreeMap<Key, Arc<CeleryWorker>> = BTreeMap::new();
    for worker in stores.workers.iter().flat_map(Store::state) {
        let key = (worker.namespace().unwrap_or_default(), worker.name_any());
        there.insert(key, worker);
    }
    all.retain(|key, _| there.contains_key(key));
    let mut due = Vec::new();
    for (key, worker) in there {
        let named = ObjectRef::new(&key.1).within(&key.0);
        let Some(deployment) = deployments.iter().find_map(|store| store.get(&named)) else {
            continue;
        };
        let app = worker.spec.celery_ref.as_ref().and_then(|celery| {
            let named = ObjectRef::new(&celery.name).within(&key.0);
            stores.apps.iter().find_map(|store| store.get(&named))
        });
        let own = Objects {
            pods: pods.get(&key).cloned().unwrap_or_default(),
            worker,
            app,
            deployment,
        };
        let remembered = all
            .entry(key.clone())
            .or_insert_with(|| Remembered::of(&own.worker));
        if remembered.uid != own.worker.uid() {
            *remembered = Remembered::of(&own.worker);
        }
        let its_time = remembered.next.is_some_and(|next| next <= Instant::now());
        // A step that is under way may have seen less: the next one is then at once.
        if remembered.pool.is_some() && (its_time || remembered.seen != own.seen()) {
            due.push((remembered.next, key, own));
        }
    }
    // Who has waited longest is the first.
    due.sort_by_key(|(next, ..)| *next);
    for (_, key, own) in due {
        if under_way.len() >= CONCURRENCY {
            return;
        }
        let Some(remembered) = all.get_mut(&key) else {
            continue;
        };
        let Some(mut pool) = remembered.pool.take() else {
            continue;
        };
        remembered.seen = own.seen();
        under_way.push(Box::pin(async move {
            let ended = timeout(STEP, pool.step(context, asks, &own)).await;
            (key, ended.is_ok().then_some(pool))
        }));
    }
}

impl Remembered {
    fn of(worker: &CeleryWorker) -> Self {
        Self {
            uid: worker.uid(),
            pool: Some(Pool::of(worker)),
            next: Some(Instant::now()),
            seen: pool::Seen::default(),
        }
    }
}

/// The pods of each pool.
fn by_pool(stores: &[Store<Pod>]) -> HashMap<Key, Vec<Arc<Pod>>> {
    let mut pools: HashMap<Key, Vec<Arc<Pod>>> = HashMap::new();
    for pod in stores.iter().flat_map(Store::state) {
        let Some(name) = pod.labels().get(POD_LABEL) else {
            continue;
        };
        let key = (pod.namespace().unwrap_or_default(), name.clone());
        pools.entry(key).or_default().push(pod);
    }
    pools
}

/// Now, in whole milliseconds: what is written on pods is read back as it was.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}
