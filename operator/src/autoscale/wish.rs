//! How many replicas the load asks for, before anything holds back or hurries.
//!
//! ```text
//! need    = λ·s/ρ + (B+R)·s / max(T−d, T/3)
//! S       = need over a minute; also over the last seconds if that is ≥ 2×slots (panic)
//! S       ≥ slots·min(2, age/T) if age > T
//! S       ≤ max(A+R+B, λ·s/ρ);  S ≥ A
//! replicas = ceil(S/c)
//! ```
//!
//! λ arrivals a second, s slot time of a task, ρ the part of the slots that is meant to be busy, B messages ready, R tasks
//! waiting in workers, A running, T target latency, d time to start, c slots of a replica.

use super::demand::{Demand, ServiceTime};
use super::policy::Policy;
use super::reason::{self, Reason};
use super::replicas::Replicas;

/// The part of the slots that is meant to be busy: what is above it makes queues grow long.
const BUSY: f64 = 0.8;
/// At so many times the slots there are, the last seconds count as much as the last minute.
const PANIC_FROM: f64 = 2.0;
/// A message that is late raises the slots to no more than so many times what they are.
const LATE_FACTOR_MAX: f64 = 2.0;
/// No pool has more slots; keeps every number whole in what it is computed with.
const SLOTS_MAX: f64 = 1e12;

/// What the load asks for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wish {
    /// Replicas, not yet within the policy's bounds.
    pub(super) replicas: u32,
    /// Whether it is far more than there is.
    pub(super) panic: bool,
    /// The slot time that it was computed with.
    pub(super) service_time: Option<ServiceTime>,
}

/// What there is to do, of this pool's share.
struct Work {
    ready: f64,
    reserved: f64,
    active: f64,
    slots: f64,
    arrivals: f64,
    arrivals_now: f64,
}

impl Work {
    fn new(policy: &Policy, demand: &Demand, replicas: &Replicas) -> Self {
        let part = policy.share.part();
        let load = replicas.load();
        let arrivals = demand.arrivals.map_or(0.0, |rate| rate.get() * part);
        Self {
            ready: number(demand.ready) * part,
            reserved: number(load.reserved),
            active: number(load.active),
            slots: number(load.slots),
            arrivals,
            arrivals_now: demand
                .arrivals_now
                .map_or(arrivals, |rate| rate.get() * part),
        }
    }

    fn tasks(&self) -> f64 {
        self.ready + self.reserved + self.active
    }
}

/// What the load asks for, and why; `last` is the slot time that was known before.
pub(super) fn wish(
    policy: &Policy,
    demand: &Demand,
    replicas: &Replicas,
    last: Option<ServiceTime>,
    reasons: &mut Vec<Reason>,
) -> Wish {
    let work = Work::new(policy, demand, replicas);
    let known = demand.service_time.or(last);
    let slots_per_replica = f64::from(policy.slots_per_replica.get());
    if policy.share.is_shared() {
        reasons.push(Reason::Shared {
            own: policy.share.own,
            all: policy.share.all,
        });
    }
    let (needed, panic) = match known {
        Some(service_time) => {
            let time = service_time.max(demand.running_age).get();
            by_time(policy, demand, &work, time, reasons)
        }
        None if work.tasks() > 0.0 => {
            reasons.push(Reason::NoTaskTime {
                tasks: whole(work.tasks()),
            });
            (work.tasks() / BUSY, false)
        }
        None => (0.0, false),
    };
    let mut wanted = replicas_for(needed, slots_per_replica);
    if wanted == 0 {
        wanted = keeps_one(demand, replicas, reasons);
    }
    if wanted == 0 && reasons.is_empty() {
        reasons.push(Reason::Nothing);
    }
    Wish {
        replicas: wanted,
        panic,
        service_time: known,
    }
}

/// The slots that are needed when it is known how long a task takes, and whether that is far more than there are.
fn by_time(
    policy: &Policy,
    demand: &Demand,
    work: &Work,
    time: f64,
    reasons: &mut Vec<Reason>,
) -> (f64, bool) {
    let target = policy.target_latency.as_secs_f64().max(0.001);
    let horizon = (target - policy.start_time.as_secs_f64()).max(target / 3.0);
    let backlog = (work.ready + work.reserved) * time / horizon;
    let flow = work.arrivals * time / BUSY;
    let mut needed = flow + backlog;
    if needed > 0.0 {
        reasons.push(Reason::Work(reason::Work {
            backlog: whole(work.ready + work.reserved),
            arrivals: work.arrivals,
            service_time: time,
            target: policy.target_latency,
            replicas: needed / f64::from(policy.slots_per_replica.get()),
        }));
    }
    let at_once = work.arrivals_now * time / BUSY + backlog;
    let panic = at_once > 0.0 && at_once >= PANIC_FROM * work.slots;
    if panic {
        needed = needed.max(at_once);
        if work.slots > 0.0 {
            reasons.push(Reason::Panic {
                need: whole(at_once),
                slots: whole(work.slots),
            });
        }
    }
    if let Some(age) = demand.oldest_age.filter(|age| *age > policy.target_latency) {
        let late = work.slots * (age.as_secs_f64() / target).min(LATE_FACTOR_MAX);
        if late > needed {
            needed = late;
            reasons.push(Reason::Late {
                age,
                target: policy.target_latency,
            });
        }
    }
    let useful = work.tasks().max(flow);
    if useful < needed {
        needed = useful;
        reasons.push(Reason::FewTasks {
            tasks: whole(work.tasks()),
        });
    }
    if work.active > needed {
        needed = work.active;
        reasons.push(Reason::Running {
            active: whole(work.active),
        });
    }
    (needed, panic)
}

/// Zero is only for a pool that has nothing at all: tasks that wait for their time, and messages that nobody has
/// acknowledged (of a worker that died, perhaps), keep one replica, or wake one.
fn keeps_one(demand: &Demand, replicas: &Replicas, reasons: &mut Vec<Reason>) -> u32 {
    let scheduled = replicas.scheduled();
    let unacked = demand.unacked.unwrap_or_default();
    if scheduled == 0 && unacked == 0 {
        return 0;
    }
    reasons.push(Reason::KeepsOne { scheduled, unacked });
    1
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is between 0 and 2^32"
)]
fn replicas_for(slots: f64, slots_per_replica: f64) -> u32 {
    (slots / slots_per_replica)
        .ceil()
        .clamp(0.0, f64::from(u32::MAX)) as u32
}

#[expect(clippy::cast_precision_loss, reason = "it is at most 10^12")]
fn number(count: u64) -> f64 {
    (count as f64).min(SLOTS_MAX)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is between 0 and a bound far below 2^64"
)]
fn whole(number: f64) -> u64 {
    number.round().clamp(0.0, 1e18) as u64
}
