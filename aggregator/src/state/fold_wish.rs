//! Which queues somebody had a worker stop consuming, by commands: what it lacks for another reason is to be given back.

use super::app::{App, push};
use super::changes::Changes;
use super::input::{Meant, Wish};
use super::limits::CANCELLED_MAX;
use super::worker::{Cancelled, Worker};

impl App {
    /// Of a command to all also workers of which nothing is heard: they may be there.
    pub(super) fn fold_wish(&mut self, wish: &Wish, changes: &mut Changes) {
        let addressed = |name: &_| {
            let named = wish.workers.as_ref();
            named.is_none_or(|named| named.contains(name))
        };
        for (name, watched) in &mut self.workers {
            if addressed(name) && watched.worker.take_wish(wish) {
                push(&mut changes.workers, name);
            }
        }
    }
}

impl Worker {
    /// Whether it makes a difference.
    fn take_wish(&mut self, wish: &Wish) -> bool {
        let at = self
            .cancelled
            .iter()
            .position(|one| one.queue == wish.queue);
        match (wish.what, at) {
            (Meant::Cancelled, None) => {
                if self.cancelled.len() >= CANCELLED_MAX {
                    self.cancelled.remove(0);
                }
                self.cancelled.push(Cancelled {
                    queue: wish.queue.clone(),
                    since: wish.recorded,
                });
                true
            }
            (Meant::Consumed, Some(at)) => {
                self.cancelled.remove(at);
                true
            }
            // What an earlier command said is still so.
            (Meant::Unsaid, Some(at)) if self.cancelled[at].since == wish.recorded => {
                self.cancelled.remove(at);
                true
            }
            _ => false,
        }
    }
}
