//! What the parts of a sidecar share: what is known of the worker, where the drain is, and what was counted.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, watch};

use super::DrainToken;
use super::metrics::Metrics;
use super::ward::{Drain, Rules, Ward};

/// The same for all who hold it.
#[derive(Clone)]
pub struct Shared(Arc<Inner>);

struct Inner {
    ward: Mutex<Ward>,
    changed: Notify,
    phase: watch::Sender<Phase>,
    token: Option<DrainToken>,
    metrics: Metrics,
}

/// Where the drain is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nobody asked for one.
    Idle,
    /// Somebody did.
    Wanted,
    /// It is over; its lease runs.
    Over(Outcome),
    /// The sidecar ends.
    Ending,
}

/// How a drain ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It consumes nothing, and neither runs nor holds a task.
    Drained,
    /// Nothing was ever heard of a worker, so there is nothing to wait for.
    NeverSeen,
    /// The worker could not be asked for a while; its own shutdown has to do.
    Unreached {
        /// Why not.
        left: String,
    },
    /// The time is up.
    Deadline {
        /// What is still there, or why that is not known.
        left: String,
    },
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drained => f.write_str("drained: it consumes nothing, and holds no task"),
            Self::NeverSeen => f.write_str("drained: no worker was ever heard of"),
            Self::Unreached { left } => write!(f, "given up: {left}"),
            Self::Deadline { left } => write!(f, "deadline: {left}"),
        }
    }
}

impl Shared {
    pub(super) fn new(now: Instant, rules: Rules, token: Option<DrainToken>) -> Self {
        Self(Arc::new(Inner {
            ward: Mutex::new(Ward::new(now, rules)),
            changed: Notify::new(),
            phase: watch::Sender::new(Phase::Idle),
            token,
            metrics: Metrics::default(),
        }))
    }

    /// What is known. Held for moments only.
    pub(super) fn ward(&self) -> MutexGuard<'_, Ward> {
        self.0.ward.lock()
    }

    /// What was counted.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub(super) fn drain_token(&self) -> Option<&str> {
        self.0.token.as_ref().map(DrainToken::text)
    }

    /// Something was told.
    pub(super) fn notify(&self) {
        self.0.changed.notify_one();
    }

    /// Ends when something is told.
    pub(super) async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// Asks for a drain, unless there is one.
    pub(super) fn want_drain(&self) -> watch::Receiver<Phase> {
        self.0.phase.send_if_modified(|phase| {
            let idle = *phase == Phase::Idle;
            if idle {
                *phase = Phase::Wanted;
            }
            idle
        });
        self.0.phase.subscribe()
    }

    /// The phase, to wait for.
    pub(super) fn phases(&self) -> watch::Receiver<Phase> {
        self.0.phase.subscribe()
    }

    /// A drain ended, or was undone.
    pub(super) fn set(&self, phase: Phase) {
        let drain = match phase {
            Phase::Idle => Drain::None,
            Phase::Wanted => Drain::Going,
            Phase::Over(_) | Phase::Ending => Drain::Over,
        };
        self.ward().on_drain(drain);
        self.0.phase.send_replace(phase);
    }
}
