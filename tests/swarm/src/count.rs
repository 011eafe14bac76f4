//! What a fleet has done, in numbers; kept also when no truth is.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a fleet has done since it was started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Workers that listen to remote control now.
    pub listening: u64,
    /// Control messages that workers got, each counted for every worker that got it.
    pub delivered: u64,
    /// Control messages that were meant for the worker that got them.
    pub meant: u64,
    /// Replies that the broker took.
    pub replies: u64,
    /// Events of tasks that the broker took.
    pub task_events: u64,
    /// Events of workers, heartbeats most of them, that the broker took.
    pub worker_events: u64,
    /// Messages on their way when a connection ended: whether the broker took them is not known.
    pub unsure: u64,
}

/// The counts while they are counted.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) listening: AtomicU64,
    pub(crate) delivered: AtomicU64,
    pub(crate) meant: AtomicU64,
    pub(crate) replies: AtomicU64,
    pub(crate) task_events: AtomicU64,
    pub(crate) worker_events: AtomicU64,
    pub(crate) unsure: AtomicU64,
}

impl Counters {
    pub(crate) fn read(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            listening: of(&self.listening),
            delivered: of(&self.delivered),
            meant: of(&self.meant),
            replies: of(&self.replies),
            task_events: of(&self.task_events),
            worker_events: of(&self.worker_events),
            unsure: of(&self.unsure),
        }
    }
}

/// Counts one more.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
