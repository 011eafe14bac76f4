//! Native scaling: the task that follows the load of every pool that the operator scales, decides, and asks for workers
//! through the pool's `/scale`; `drainer` has the Deployment follow. Only the operator that leads runs it. `autoscale` decides;
//! this asks, writes and tells.

mod ask;
mod feed;
mod others;
mod picture;
mod pool;
mod say;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use celeriac_client::Client;
use celeriac_process::error_chain;
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _};
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::runtime::reflector::{ObjectRef, Store};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::aggregator;
use crate::build::worker::POD_LABEL;
use crate::controllers::Context;
use crate::controllers::run::Scope;
use crate::crd::{CeleryWorker, ScalingMode};
use crate::drain::pod::Pod as Seen;
use crate::live::Stores;

use others::Others;
use picture::Now;
use pool::{Objects, Pool, Round};

/// How often it is decided when nothing changes; of a pool whose load changes it is decided at once.
const PERIOD: Duration = Duration::from_secs(1);

/// Pools decided at a time: all but a write is done in no time.
const CONCURRENCY: usize = 8;

/// How long one write may take.
const WRITE: Duration = Duration::from_secs(10);

/// Decides for every pool until `stop`.
pub async fn run(context: &Context, stores: &Stores, scope: &Scope, stop: &CancellationToken) {
    let places = scope.places().into_iter();
    let (others, watches): (Vec<Others>, Vec<_>) = places
        .map(|place| others::watch(&context.client, place))
        .unzip();
    let mut scaler = Scaler {
        context,
        stores,
        others,
        client: None,
        began: Instant::now(),
        changed: Arc::new(Notify::new()),
        pools: HashMap::new(),
    };
    tokio::select! {
        () = stop.cancelled() => {}
        _ = join_all(watches) => {}
        () = scaler.run() => {}
    }
}

/// A pool is told by namespace and name.
type Key = (String, String);

struct Scaler<'a> {
    context: &'a Context,
    stores: &'a Stores,
    others: Vec<Others>,
    /// Whom to ask; made when it first can be.
    client: Option<Client>,
    /// When it was begun to decide: what was before is not known.
    began: Instant,
    /// Told when the load of a pool has changed.
    changed: Arc<Notify>,
    pools: HashMap<Key, Pool>,
}

impl Scaler<'_> {
    async fn run(&mut self) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let all = tokio::select! {
                _ = ticks.tick() => true,
                () = self.changed.notified() => false,
            };
            self.round(all).await;
        }
    }

    /// Decides for all pools, or for those only of whose load something new was told.
    async fn round(&mut self, all: bool) {
        let client = self.client();
        let pools = self.stores.workers.iter().flat_map(Store::state);
        let pools = pools.filter(|object| object.metadata.deletion_timestamp.is_none());
        let found: Vec<(Key, Arc<CeleryWorker>)> = pools
            .map(|object| {
                let namespace = object.namespace().unwrap_or_default();
                ((namespace, object.name_any()), object)
            })
            .collect();
        let there: HashSet<&Key> = found.iter().map(|(key, _)| key).collect();
        self.pools.retain(|key, _| there.contains(key));
        for (key, object) in &found {
            if self.pools.get(key).is_none_or(|pool| !pool.is_of(object)) {
                self.pools.insert(key.clone(), Pool::new(object));
            }
        }
        let due = |key: &Key| all || self.pools.get(key).is_some_and(Pool::has_news);
        let due: Vec<(Key, Arc<CeleryWorker>)> =
            found.into_iter().filter(|(key, _)| due(key)).collect();
        let mut pods = self.pods(&due);
        let mut objects: HashMap<Key, Objects> = due
            .into_iter()
            .map(|(key, pool)| {
                let objects = Objects {
                    deployed: self.deployed(&key),
                    pods: pods.remove(&key).unwrap_or_default(),
                    pool,
                };
                (key, objects)
            })
            .collect();
        let round = Round {
            context: self.context,
            others: &self.others,
            client: &client,
            changed: &self.changed,
            now: Now {
                moment: self.began.elapsed(),
                wall: Timestamp::now(),
            },
        };
        let round = &round;
        let looks = self.pools.iter_mut().filter_map(|(key, pool)| {
            let objects = objects.remove(key)?;
            Some(async move { pool.look(round, key, &objects).await })
        });
        let looks: Vec<_> = looks.collect();
        // What is under way is given up when it is time to stop: the next leader decides anew.
        let mut ended = stream::iter(looks).buffer_unordered(CONCURRENCY);
        while ended.next().await.is_some() {}
    }

    /// The way to the aggregator, or why there is none.
    fn client(&mut self) -> Result<Client, String> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let builder = aggregator::client(self.context);
        let builder = builder.ok_or("the operator was started without --aggregator")??;
        let client = builder.build().map_err(|error| error_chain(&error))?;
        Ok(self.client.insert(client).clone())
    }

    /// What the Deployment of a pool is asked for.
    fn deployed(&self, (namespace, name): &Key) -> Option<u32> {
        let reference = ObjectRef::new(name).within(namespace);
        let mut stores = self.stores.deployments.iter();
        let deployment = stores.find_map(|store| store.get(&reference))?;
        u32::try_from(deployment.spec.as_ref()?.replicas?).ok()
    }

    /// The pods of pools that the operator scales.
    fn pods(&self, due: &[(Key, Arc<CeleryWorker>)]) -> HashMap<Key, Vec<Seen>> {
        let native = due
            .iter()
            .filter(|(_, pool)| pool.spec.options.scaling.mode == ScalingMode::Native);
        let mut found: HashMap<Key, Vec<Seen>> =
            native.map(|(key, _)| (key.clone(), Vec::new())).collect();
        if found.is_empty() {
            return found;
        }
        for object in self.stores.pods.iter().flat_map(Store::state) {
            let Some(pool) = object.labels().get(POD_LABEL) else {
                continue;
            };
            let namespace = object.namespace().unwrap_or_default();
            if let Some(pods) = found.get_mut(&(namespace, pool.clone())) {
                pods.push(Seen::read(&object));
            }
        }
        found
    }
}
