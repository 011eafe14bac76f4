//! Custom events that were folded lately, so that one that comes again counts once. Celery's own types are told by the
//! attempt they belong to; of a custom one a task keeps nothing that would tell.

use std::collections::VecDeque;

use ahash::RandomState;
use hashbrown::HashSet;

use super::input::TaskEvent;
use super::limits::RECENT_CUSTOM_MAX;
use super::task::EventStamp;

/// The identities, oldest first, as hashes: two that differ look alike once in 2^64.
#[derive(Debug)]
pub(super) struct Recent {
    hasher: RandomState,
    order: VecDeque<u64>,
    known: HashSet<u64, RandomState>,
}

impl Default for Recent {
    fn default() -> Self {
        // The fold draws no chance: the same stream gives the same state.
        let hasher = RandomState::with_seeds(1, 2, 3, 4);
        Self {
            known: HashSet::with_hasher(hasher.clone()),
            hasher,
            order: VecDeque::new(),
        }
    }
}

impl Recent {
    /// Whether an event is new; it is known from then on. Without a clock and a time nothing tells two events apart.
    pub(super) fn admit(&mut self, event: &TaskEvent, stamp: EventStamp) -> bool {
        if event.clock.is_none() || event.timestamp.is_none() {
            return true;
        }
        let EventStamp {
            pid,
            clock,
            timestamp,
            ..
        } = stamp;
        let identity = self.hasher.hash_one((
            &*event.hostname,
            pid,
            clock,
            timestamp.to_bits(),
            &*event.event_type,
            &event.id,
        ));
        if !self.known.insert(identity) {
            return false;
        }
        self.order.push_back(identity);
        if self.order.len() > RECENT_CUSTOM_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}
