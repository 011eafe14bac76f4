//! Depth readings into queues.

use super::app::App;
use super::changes::Changes;
use super::ids::Micros;
use super::input::{Depths, QueueDepth};
use super::limits::QUEUES_MAX;
use super::queue::Queue;

impl App {
    /// A reading is of all queues the broker knows: what it does not name is gone. One that is older than the last is left
    /// out.
    pub(super) fn fold_depths(&mut self, depths: Depths, changes: &mut Changes) {
        let Depths {
            read,
            queues,
            unacked_total,
        } = depths;
        let mut overtaken = self.queues.values().filter_map(|queue| queue.read);
        if overtaken.any(|last| last > read) {
            return;
        }
        changes.app |= self.unacked_total != unacked_total;
        self.unacked_total = unacked_total;
        for depth in queues {
            self.fold_depth(read, depth, changes);
        }
        self.queues.retain(|name, queue| {
            let named = queue.read == Some(read);
            if !named {
                changes.queues_removed.push(name.clone());
            }
            named
        });
        self.note_depths(read);
        self.settle_query(read, changes);
    }

    fn fold_depth(&mut self, read: Micros, depth: QueueDepth, changes: &mut Changes) {
        if let Some(queue) = self.queues.get_mut(&depth.name) {
            let before = queue.clone();
            queue.take(read, depth);
            let before = Queue {
                read: queue.read,
                ..before
            };
            if before != *queue {
                changes.queues.push(queue.name.clone());
            }
            return;
        }
        if self.queues.len() >= QUEUES_MAX {
            self.overflow.queues += 1;
            return;
        }
        let name = self.names.intern(depth.name.clone());
        let mut queue = Queue {
            name: name.clone(),
            ready: None,
            priorities: Vec::new(),
            consumers: None,
            unacked: None,
            oldest: None,
            nonempty_since: None,
            read: None,
        };
        queue.take(read, depth);
        changes.queues.push(name.clone());
        self.queues.insert(name, queue);
    }
}

impl Queue {
    fn take(&mut self, read: Micros, depth: QueueDepth) {
        let QueueDepth {
            name: _,
            ready,
            priorities,
            consumers,
            unacked,
            oldest,
        } = depth;
        self.nonempty_since = (ready > 0).then(|| self.nonempty_since.unwrap_or(read));
        self.ready = Some(ready);
        self.priorities = priorities;
        self.consumers = consumers;
        self.unacked = unacked;
        self.oldest = oldest;
        self.read = Some(read);
    }
}
