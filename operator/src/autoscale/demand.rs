//! The load of a pool's queues, as it was told. What cannot be has no representation here: no rate and no time is negative,
//! infinite or not a number.

use std::time::Duration;

/// The load of a pool's queues.
#[derive(Debug, Clone, PartialEq)]
pub struct Demand {
    /// Whether it may be acted on.
    pub freshness: Freshness,
    /// Messages ready, all priorities.
    pub ready: u64,
    /// Messages delivered and not acknowledged, where the broker tells.
    pub unacked: Option<u64>,
    /// Age of the oldest ready message.
    pub oldest_age: Option<Duration>,
    /// Arrivals over the last minute.
    pub arrivals: Option<Rate>,
    /// Arrivals over the last seconds.
    pub arrivals_now: Option<Rate>,
    /// Slot time of one task, over starts enough to go by.
    pub service_time: Option<ServiceTime>,
    /// Mean age of the tasks that run.
    pub running_age: Option<ServiceTime>,
}

/// Whether what is known may be acted on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Freshness {
    /// All of it is recent.
    Fresh,
    /// Some of it is old, or missing.
    Stale {
        /// Which, and since when.
        why: String,
    },
}

/// Events per second.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Rate(f64);

impl Rate {
    /// No arrivals are faster: a broker takes some 10^5 a second.
    const MAX: f64 = 1e9;

    /// A rate; `None` of what is none.
    pub fn per_second(rate: f64) -> Option<Self> {
        (rate.is_finite() && rate >= 0.0).then(|| Self(rate.min(Self::MAX)))
    }

    /// Per second.
    pub fn get(self) -> f64 {
        self.0
    }
}

/// Slot time that a task takes: from 1 ms to 24 h.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct ServiceTime(f64);

impl ServiceTime {
    /// Below this what a worker does besides counts for more than the task.
    const MIN: f64 = 0.001;
    /// A task that takes longer is none to scale by.
    const MAX: f64 = 86_400.0;

    /// A time in seconds, brought into bounds; `None` of what is none.
    pub fn seconds(seconds: f64) -> Option<Self> {
        (seconds.is_finite() && seconds >= 0.0).then(|| Self(seconds.clamp(Self::MIN, Self::MAX)))
    }

    /// In seconds.
    pub fn get(self) -> f64 {
        self.0
    }

    /// The longer of two.
    pub(super) fn max(self, other: Option<Self>) -> Self {
        match other {
            Some(other) if other.0 > self.0 => other,
            _ => self,
        }
    }
}
