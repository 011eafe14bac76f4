//! What a pool's owner wants of scaling.

use std::num::NonZeroU32;
use std::time::Duration;

/// How a pool is scaled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Fewest replicas.
    pub min: u32,
    /// Most replicas that are ever asked for.
    pub max: u32,
    /// How long a message may wait.
    pub target_latency: Duration,
    /// From a replica that is asked for to one that takes messages.
    pub start_time: Duration,
    /// Tasks that one replica runs at a time.
    pub slots_per_replica: NonZeroU32,
    /// What of its queues is this pool's.
    pub share: Share,
    /// Nothing is changed.
    pub paused: bool,
    /// It is only said what would be done.
    pub dry_run: bool,
    /// Whether workers can be drained. Without that none is ever taken away.
    pub drains: bool,
}

/// What of the messages in its queues is a pool's, where others take from them too: slots of its own of the slots of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Slots of this pool.
    pub own: u64,
    /// Slots of all pools, this one included.
    pub all: u64,
}

impl Share {
    /// Nobody else takes from the queues.
    pub const WHOLE: Self = Self { own: 1, all: 1 };

    /// The part as a number from 0 to 1. Of no slots at all each pool takes the whole: better one too many than none.
    #[expect(
        clippy::cast_precision_loss,
        reason = "slots are far below 2^52, and a share needs no more digits"
    )]
    pub(super) fn part(self) -> f64 {
        if self.all == 0 {
            return 1.0;
        }
        (self.own as f64 / self.all as f64).min(1.0)
    }

    /// Whether others take from the queues.
    pub(super) fn is_shared(self) -> bool {
        self.own < self.all
    }
}
