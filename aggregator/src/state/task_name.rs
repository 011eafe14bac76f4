//! Statistics of task names, and the event counters behind `/metrics`.

use minicbor::{Decode, Encode};

use super::ids::{Micros, Symbol};
use super::input::TaskEventKind;
use super::last_hour::LastHour;
use super::runtimes::Runtimes;

/// Statistics of one task name; outcomes are counted once per attempt.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct TaskName {
    /// The name.
    #[n(0)]
    pub name: Symbol,
    /// Tasks sent.
    #[n(1)]
    pub sent: u64,
    /// Attempts received.
    #[n(2)]
    pub received: u64,
    /// Attempts started.
    #[n(3)]
    pub started: u64,
    /// Attempts that succeeded.
    #[n(4)]
    pub succeeded: u64,
    /// Attempts that failed.
    #[n(5)]
    pub failed: u64,
    /// Attempts that asked for a retry.
    #[n(6)]
    pub retried: u64,
    /// Tasks revoked.
    #[n(7)]
    pub revoked: u64,
    /// Tasks rejected.
    #[n(8)]
    pub rejected: u64,
    /// Sum of the runtimes of successes, seconds.
    #[n(9)]
    pub runtime_sum: f64,
    /// Longest runtime of a success, seconds.
    #[n(10)]
    pub runtime_max: f64,
    /// Successes with a runtime.
    #[n(11)]
    pub runtime_count: u64,
    /// When the last event of it came (receive time).
    #[n(12)]
    pub last_seen: Micros,
    /// Runtimes of successes. Without those that were counted before they were kept.
    #[n(13)]
    #[cbor(default)]
    pub runtimes: Runtimes,
    /// Attempts that failed lately. Without those that were counted before they were kept.
    #[n(14)]
    #[cbor(default)]
    pub failures: LastHour,
}

impl TaskName {
    /// Nothing counted yet.
    pub fn new(name: Symbol, seen: Micros) -> Self {
        Self {
            name,
            sent: 0,
            received: 0,
            started: 0,
            succeeded: 0,
            failed: 0,
            retried: 0,
            revoked: 0,
            rejected: 0,
            runtime_sum: 0.0,
            runtime_max: 0.0,
            runtime_count: 0,
            last_seen: seen,
            runtimes: Runtimes::default(),
            failures: LastHour::default(),
        }
    }

    /// The runtime that so many percent of the successes did not exceed, seconds; see [`Runtimes::quantile`].
    pub fn runtime_quantile(&self, percent: u64) -> Option<f64> {
        let quantile = self.runtimes.quantile(percent)?;
        Some(quantile.min(self.runtime_max))
    }

    /// Counts an event that is news, and the first end of its attempt, at `now` (our own clock).
    pub(super) fn count(&mut self, kind: TaskEventKind, runtime: Option<f64>, now: Micros) {
        let count = match kind {
            TaskEventKind::Sent => &mut self.sent,
            TaskEventKind::Received => &mut self.received,
            TaskEventKind::Started => &mut self.started,
            TaskEventKind::Succeeded => &mut self.succeeded,
            TaskEventKind::Failed => &mut self.failed,
            TaskEventKind::Retried => &mut self.retried,
            TaskEventKind::Revoked => &mut self.revoked,
            TaskEventKind::Rejected => &mut self.rejected,
            TaskEventKind::Custom => return,
        };
        *count += 1;
        if kind == TaskEventKind::Failed {
            self.failures.count(now);
        }
        let runtime = runtime.filter(|runtime| runtime.is_finite() && *runtime >= 0.0);
        if let (TaskEventKind::Succeeded, Some(runtime)) = (kind, runtime) {
            self.runtime_sum += runtime;
            self.runtime_max = self.runtime_max.max(runtime);
            self.runtime_count += 1;
            self.runtimes.count(runtime);
        }
    }
}
