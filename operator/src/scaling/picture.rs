//! What is decided on: a pool's spec, its Deployment and pods, and what the aggregator told, as the policy's own types.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::Duration;

use celeriac_client::v1;
use jiff::Timestamp;
use kube::ResourceExt as _;

use crate::autoscale::{
    Demand, Freshness, Load, Member, Moment, Policy, Presence, Rate, Replicas, ServiceTime, Share,
};
use crate::controllers::PAUSED;
use crate::crd::CeleryWorker;
use crate::drain::pod::{Pod, nodes};
use crate::validate;

/// A worker is there some 15 s after its pod is asked for, where its image is: a Python that imports an app.
const START_TIME: Duration = Duration::from_secs(15);

/// How long a message may wait unless the pool says otherwise, seconds.
const TARGET_LATENCY: i32 = 30;

/// When it is, on the clock that decisions are made by and on everybody's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) moment: Moment,
    pub(super) wall: Timestamp,
}

/// What is known of a pool beside what the aggregator told.
pub(super) struct Known<'a> {
    pub(super) object: &'a CeleryWorker,
    /// What its Deployment is asked for.
    pub(super) deployed: Option<u32>,
    /// Its pods.
    pub(super) pods: &'a [Pod],
    /// Slots of a replica as they were known last.
    pub(super) slots: Option<NonZeroU32>,
    pub(super) now: Now,
}

/// A pool as it is decided on.
#[derive(Debug, PartialEq)]
pub(super) struct Picture {
    pub(super) policy: Policy,
    pub(super) demand: Demand,
    pub(super) replicas: Replicas,
}

impl Picture {
    /// A pool, and what was told of its queues or why nothing was.
    pub(super) fn new(known: &Known<'_>, told: Result<&v1::Demand, String>) -> Self {
        let unknown;
        let told = match told {
            Ok(told) => told,
            Err(why) => {
                unknown = v1::Demand {
                    stale_reason: why,
                    ..v1::Demand::default()
                };
                &unknown
            }
        };
        let workers = told.workers.iter();
        let workers: HashMap<&str, &v1::WorkerDemand> = workers
            .map(|worker| (worker.name.as_str(), worker))
            .collect();
        let pods = known.pods.iter().filter(|pod| !pod.terminating);
        let pods: Vec<(&Pod, Option<&v1::WorkerDemand>)> = pods
            .map(|pod| (pod, workers.get(pod.node().as_str()).copied()))
            .collect();
        let own: Vec<&v1::WorkerDemand> = pods
            .iter()
            .filter_map(|(_, worker)| worker.filter(|worker| worker.accepting))
            .collect();
        let policy = policy(known, told, &own);
        let slots = policy.slots_per_replica;
        let members = pods.iter();
        let members = members.map(|(pod, worker)| member(known.now, pod, *worker, slots));
        let asked = positive(known.object.spec.options.replicas);
        Self {
            demand: demand(told),
            replicas: Replicas {
                // The Deployment follows what is asked for: up at once, down as workers finish.
                current: known.deployed.unwrap_or_default().max(asked),
                members: members.collect(),
            },
            policy,
        }
    }
}

/// What is asked of the aggregator for a pool; `None` of one that belongs to no app, or names no queues.
pub(super) fn request(namespace: &str, object: &CeleryWorker) -> Option<v1::WatchDemandRequest> {
    let app = object.spec.celery_ref.as_ref()?;
    let queues = object.spec.options.target_queues.clone();
    (!queues.is_empty()).then(|| v1::WatchDemandRequest {
        app: format!("{namespace}/{}", app.name),
        queues,
        worker_prefix: nodes(&object.name_any()),
    })
}

fn policy(known: &Known<'_>, told: &v1::Demand, own: &[&v1::WorkerDemand]) -> Policy {
    let options = &known.object.spec.options;
    let scaling = &options.scaling;
    let slots: Vec<u64> = own
        .iter()
        .filter_map(|worker| worker.slots.map(count))
        .collect();
    let own_slots: u64 = slots.iter().sum();
    let each = own_slots.checked_div(slots.len() as u64);
    let each = each.and_then(|each| NonZeroU32::new(u32::try_from(each).ok()?));
    // Without a worker: what its last ones had, else what they will be told.
    let configured = || {
        let concurrency = validate::pool(options, None).concurrency;
        concurrency.map(positive).and_then(NonZeroU32::new)
    };
    let slots_per_replica = each
        .or(known.slots)
        .or_else(configured)
        .unwrap_or(NonZeroU32::MIN);
    let max = positive(scaling.max.unwrap_or_default());
    // At zero its part is that of all it may have.
    let part = match own_slots {
        0 => u64::from(max) * u64::from(slots_per_replica.get()),
        slots => slots,
    };
    let paused = known.object.annotations().get(PAUSED);
    let latency = scaling.target_latency_seconds.unwrap_or(TARGET_LATENCY);
    Policy {
        min: positive(scaling.min.unwrap_or(1)),
        max,
        target_latency: Duration::from_secs(u64::from(positive(latency))),
        start_time: START_TIME,
        slots_per_replica,
        share: Share {
            own: part,
            all: part + count(told.slots).saturating_sub(own_slots),
        },
        paused: scaling.paused || paused.is_some_and(|value| value == "true"),
        dry_run: scaling.dry_run,
        drains: true,
    }
}

fn demand(told: &v1::Demand) -> Demand {
    let freshness = if told.fresh {
        Freshness::Fresh
    } else {
        Freshness::Stale {
            why: told.stale_reason.clone(),
        }
    };
    let time = |time: &Option<_>| ServiceTime::seconds(seconds(time.as_ref()?));
    Demand {
        freshness,
        ready: count(told.ready),
        unacked: told.unacked.map(count),
        oldest_age: told
            .oldest_age
            .as_ref()
            .and_then(|age| Duration::try_from_secs_f64(seconds(age)).ok()),
        arrivals: told.arrival_rate.and_then(Rate::per_second),
        arrivals_now: told.arrival_rate_now.and_then(Rate::per_second),
        service_time: time(&told.service_time),
        running_age: time(&told.running_age),
    }
}

fn member(now: Now, pod: &Pod, worker: Option<&v1::WorkerDemand>, slots: NonZeroU32) -> Member {
    let presence = match worker {
        Some(worker) if worker.online => Presence::Known(load(worker, slots)),
        // Nobody ever heard of its worker.
        None if !pod.ready => Presence::Starting,
        _ => Presence::Unknown,
    };
    let since = pod.mark.says().map(|mark| {
        let ago = now.wall.duration_since(mark.since).unsigned_abs();
        now.moment.saturating_sub(ago)
    });
    Member {
        name: pod.name.clone(),
        presence,
        draining: since.or_else(|| pod.mark.is_there().then_some(now.moment)),
        undone: pod.undone.is_there(),
    }
}

/// What a worker has. One that takes nothing from the queues, since a person took them from it, is no capacity, and what it
/// runs asks for none; tasks that wait in it for their time are the pool's all the same. One that has not answered yet is as
/// the others.
fn load(worker: &v1::WorkerDemand, slots: NonZeroU32) -> Load {
    let takes = worker.accepting || worker.queues.is_none();
    let of = |number: Option<i64>| count(number.unwrap_or_default());
    let taking = |number: Option<i64>| if takes { of(number) } else { 0 };
    let unanswered = i64::from(slots.get());
    Load {
        slots: taking(worker.slots.or(Some(unanswered))),
        active: taking(worker.active),
        reserved: taking(worker.reserved),
        scheduled: of(worker.scheduled),
        remainder: worker
            .expected_remainder
            .as_ref()
            .and_then(|left| Duration::try_from_secs_f64(seconds(left)).ok()),
    }
}

#[expect(clippy::cast_precision_loss, reason = "seconds are far below 2^52")]
fn seconds(duration: &prost_types::Duration) -> f64 {
    duration.seconds as f64 + f64::from(duration.nanos) / 1e9
}

fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

fn positive(number: i32) -> u32 {
    u32::try_from(number).unwrap_or_default()
}

#[cfg(test)]
mod tests;
