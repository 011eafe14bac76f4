//! What inspectors are told to look at: queues of which the demand is followed; and after a gap: has workers asked for tasks that none of them has named, and outcomes looked up that nothing else
//! will tell.

use super::Engine;
use super::order::Order;
use crate::state::Micros;

/// Tasks looked up at once, and so a second: a few milliseconds of the result backend.
const OUTCOMES_MAX: usize = 200;
/// For how long an answer is awaited before the next tasks are named, microseconds: a backend that is away is given up sooner.
const OUTCOMES_WITHIN: Micros = 30_000_000;
/// For how long the answers of all workers to one question are awaited, microseconds: the inspector waits 10 s for each, and
/// longer for its budget.
const QUERIED_WITHIN: Micros = 60_000_000;

impl Engine {
    /// Has the depths of queues read of which the demand is followed. It is said again and again, so that an inspector that
    /// comes later is told too.
    pub(super) fn follow(&self, app: &str, queues: Vec<String>) {
        if let Ok(place) = self.sessions.place(app) {
            place.send(Order::Depths(queues));
        }
    }

    /// Names tasks to the inspectors that are folded, some of each app.
    pub(super) fn look_up(&mut self, now: Micros) {
        let mut board = self.board.write();
        for (name, app) in &mut board.apps {
            // A place first: what is taken must not be lost.
            if let Ok(place) = self.sessions.place(name)
                && let Some(query) = app.state.take_query(now, QUERIED_WITHIN)
            {
                place.send(Order::Query(query));
            }
            let Ok(place) = self.sessions.place(name) else {
                continue;
            };
            let wanted = app.state.take_wanted(now, OUTCOMES_MAX, OUTCOMES_WITHIN);
            if !wanted.is_empty() {
                place.send(Order::Results(wanted));
            }
        }
    }
}
