//! What happens by time alone: silence, retirement of workers, the end of grace, and the bound on memory.

use super::app::App;
use super::changes::Changes;
use super::ids::{Micros, Symbol};
use super::limits::WORKERS_MAX;
use super::store::Slot;
use super::units::{micros, micros_of};
use super::worker::{Worker, WorkerStatus};

/// Celery's `freq` of a worker that never announced one (`celery.events.state.heartbeat_expires`), seconds.
const FREQ_DEFAULT: f64 = 60.0;
/// Added to twice the heartbeat interval, seconds: a heartbeat is late on a busy host before it is missing.
const FREQ_SLACK: f64 = 1.0;

impl App {
    pub(super) fn tick(&mut self, changes: &mut Changes) {
        self.call_silent(changes);
        self.retire_workers(changes);
        self.counters.forget_senders(
            self.now
                .saturating_sub(micros(self.limits.worker_retention)),
        );
        self.end_grace(changes);
        self.spill(changes);
    }

    fn call_silent(&mut self, changes: &mut Changes) {
        let Some(live_since) = self.subscription.live_since(self.now) else {
            return;
        };
        let silent = |worker: &Worker, heard: Micros| {
            let quiet = self.now.saturating_sub(heard.max(live_since));
            worker.status == WorkerStatus::Online && quiet > self.silence(worker)
        };
        let silent: Vec<Symbol> = self
            .workers
            .values()
            .filter(|watched| silent(&watched.worker, watched.heard))
            .map(|watched| watched.worker.name.clone())
            .collect();
        for name in silent {
            self.leave(&name, WorkerStatus::Silent, self.now, changes);
        }
    }

    /// How long a worker may be quiet.
    fn silence(&self, worker: &Worker) -> Micros {
        let beats = micros_of(2.0 * worker.freq.unwrap_or(FREQ_DEFAULT) + FREQ_SLACK);
        beats.max(micros(self.limits.offline_after))
    }

    /// Lets workers go that have been away for long; and the longest away when there is no room for new ones.
    fn retire_workers(&mut self, changes: &mut Changes) {
        let left = |worker: &Worker| worker.status_since.max(worker.last_seen);
        let deadline = self
            .now
            .saturating_sub(micros(self.limits.worker_retention));
        let mut away: Vec<(Micros, Symbol)> = self
            .workers()
            .filter(|worker| worker.status != WorkerStatus::Online)
            .map(|worker| (left(worker), worker.name.clone()))
            .collect();
        away.sort_unstable();
        let room = self.workers.len().saturating_sub(WORKERS_MAX - 1);
        for (place, (since, name)) in away.into_iter().enumerate() {
            if since <= deadline || place < room {
                self.retire(&name, changes);
            }
        }
    }

    fn retire(&mut self, name: &Symbol, changes: &mut Changes) {
        self.workers.remove(name);
        self.counters.forget_worker(name);
        self.set_consumed(name, None, changes);
        changes.workers_removed.push(name.clone());
    }

    fn end_grace(&mut self, changes: &mut Changes) {
        let deadline = self.now.saturating_sub(micros(self.limits.grace));
        while let Some((slot, since)) = self.tasks.oldest_finished() {
            let crowded = self.tasks.finished_len() > self.limits.grace_tasks_max
                || self.tasks.len() > self.limits.tasks_max;
            if since > deadline && !crowded {
                return;
            }
            let task = self.let_go(slot, changes);
            changes.evicted.push(task.id);
        }
    }

    fn spill(&mut self, changes: &mut Changes) {
        while self.tasks.len() > self.limits.tasks_max {
            let Some(slot) = self.tasks.oldest_unfinished() else {
                return;
            };
            let task = self.let_go(slot, changes);
            changes.spilled.push(task);
        }
    }

    fn let_go(&mut self, slot: Slot, changes: &mut Changes) -> super::task::Task {
        let (task, moved) = self.tasks.remove(slot);
        self.settle_loads(moved, changes);
        task
    }
}
