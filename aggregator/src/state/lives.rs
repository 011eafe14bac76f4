//! Lives of a worker's process, and what becomes of the tasks that were in one.
//!
//! Name and process id are no identity: in containers both are the same in every life.

use super::app::{App, Watched, push};
use super::changes::Changes;
use super::ids::{Micros, Symbol};
use super::input::{Snapshot, WorkerEvent, WorkerEventKind};
use super::ledger::Ledger;
use super::limits::{LATE_WORKER_EVENT, UPTIME_SLACK};
use super::task::{Phase, Task};
use super::units::{micros, micros_of};
use super::worker::{EventsMode, Inspection, Worker, WorkerStatus};

fn differ<T: PartialEq>(one: Option<T>, other: Option<T>) -> bool {
    one.zip(other).is_some_and(|(one, other)| one != other)
}

fn back(known: Option<u64>, now: Option<u64>) -> bool {
    known.zip(now).is_some_and(|(known, now)| now < known)
}

/// Whether the event was overtaken by one that is known. Of two that one process sent at the same time its clock says which
/// was before. A `worker-online` of another process is never late: its host's clock may be behind the former one's.
pub(super) fn is_late(worker: &Worker, event: &WorkerEvent) -> bool {
    let Some((known, time)) = worker.timestamp.zip(event.timestamp) else {
        return false;
    };
    let another = differ(worker.pid, event.pid);
    if another && event.kind == WorkerEventKind::Online {
        return false;
    }
    let age = known - time;
    let same_time = age == 0.0 && !another && back(worker.clock, event.clock);
    same_time || (age > 0.0 && age < LATE_WORKER_EVENT.as_secs_f64())
}

/// Whether the event, which is not late, is the first of another life: another process, or counters that went back. Only
/// events with counters are compared. No process numbers two events alike, but every life may begin with the same number,
/// as one does that never lives long.
pub(super) fn begins(worker: &Worker, event: &WorkerEvent) -> bool {
    let later = event.timestamp > worker.timestamp;
    let same_number = later && event.clock.is_some() && event.clock == worker.clock;
    differ(worker.pid, event.pid)
        || (event.processed.is_some()
            && (same_number
                || back(worker.clock, event.clock)
                || back(worker.processed, event.processed)))
}

/// Which tasks are of the life that `event` shows, although they came before it: none before `worker-online`; else those of
/// its process, or in the same process id those with a smaller clock after the last event of the former life.
pub(super) fn born_before(worker: &Worker, event: &WorkerEvent) -> impl Fn(&Task) -> bool + use<> {
    let online = event.kind == WorkerEventKind::Online;
    let another = differ(worker.pid, event.pid);
    let (pid, clock) = (
        event.pid.unwrap_or_default(),
        event.clock.unwrap_or_default(),
    );
    let former = worker.timestamp;
    move |task| {
        let Some(last) = task.last_event.filter(|_| !online) else {
            return false;
        };
        if another {
            return last.pid == pid;
        }
        last.pid == pid
            && last.clock < clock
            && former.is_some_and(|former| last.timestamp > former)
    }
}

/// When the process that answered began, if that shows that it is not the one we know: the earliest time its uptime allows.
pub(super) fn began_later(worker: &Worker, snapshot: &Snapshot) -> Option<Micros> {
    let stats = snapshot.stats.as_ref()?;
    if snapshot.asked >= worker.incarnation_since && differ(worker.pid, stats.pid) {
        return Some(snapshot.asked);
    }
    let began = snapshot
        .asked
        .saturating_sub(micros_of(stats.uptime_seconds?));
    let known = worker
        .incarnation_since
        .saturating_add(micros(UPTIME_SLACK));
    (began > known).then_some(began)
}

/// Whether an answer was given by a life before the one we know.
pub(super) fn is_of_former_life(worker: &Worker, snapshot: &Snapshot) -> bool {
    let pid = snapshot.stats.as_ref().and_then(|stats| stats.pid);
    snapshot.asked < worker.incarnation_since && differ(worker.pid, pid)
}

impl App {
    /// A new life of a worker, seen at one time and begun at another: its counters begin anew, and the tasks of the former
    /// one are lost, but for those that are `young`.
    pub(super) fn begin_life(
        &mut self,
        name: &Symbol,
        (seen, began): (Micros, Micros),
        young: impl Fn(&Task) -> bool,
        changes: &mut Changes,
    ) {
        self.close_account(name, seen, changes);
        let Some(Watched { worker, quiet, .. }) = self.workers.get_mut(name) else {
            return;
        };
        *quiet = false;
        let former = worker.incarnation;
        worker.begin(seen);
        // It began to consume what it was started with; what was said after that is said to it.
        worker.cancelled.retain(|one| one.since >= began);
        let incarnation = worker.incarnation;
        self.counters.nothing_prefetched(name);
        push(&mut changes.workers, name);
        for slot in self.tasks.of_worker(name) {
            let task = self.tasks.task_mut(slot);
            if young(task) {
                let last = task.attempts.last_mut();
                if let Some(attempt) = last.filter(|attempt| attempt.incarnation == former) {
                    attempt.incarnation = incarnation;
                }
                let end = task.final_event.as_mut();
                if let Some(end) =
                    end.filter(|end| end.incarnation == former && end.worker == *name)
                {
                    end.incarnation = incarnation;
                }
            } else if matches!(task.phase(), Phase::Reserved | Phase::Active) {
                task.lost = true;
            } else {
                continue;
            }
            changes.tasks.push(task.id.clone());
            self.settle(slot, false, changes);
        }
    }

    /// A worker went away: what it had is lost, until something is heard of it.
    pub(super) fn leave(
        &mut self,
        name: &Symbol,
        status: WorkerStatus,
        since: Micros,
        changes: &mut Changes,
    ) {
        let Some(Watched { worker, .. }) = self.workers.get_mut(name) else {
            return;
        };
        worker.status = status;
        worker.status_since = since;
        push(&mut changes.workers, name);
        for slot in self.tasks.of_worker(name) {
            let task = self.tasks.task_mut(slot);
            if matches!(task.phase(), Phase::Reserved | Phase::Active) {
                task.lost = true;
                changes.tasks.push(task.id.clone());
                self.settle(slot, false, changes);
            }
        }
    }

    /// A worker is there again in the same life: what it had then is not lost.
    pub(super) fn find_again(&mut self, name: &Symbol, changes: &mut Changes) {
        let Some(watched) = self.workers.get(name) else {
            return;
        };
        let incarnation = watched.worker.incarnation;
        for slot in self.tasks.of_worker(name) {
            let task = self.tasks.task_mut(slot);
            let here = task
                .attempts
                .last()
                .is_some_and(|attempt| attempt.incarnation == incarnation);
            if here && std::mem::take(&mut task.lost) {
                changes.tasks.push(task.id.clone());
                self.settle(slot, false, changes);
            }
        }
    }
}

impl Worker {
    /// Forgets what was of the former life; what is configured stays until it is answered anew.
    fn begin(&mut self, seen: Micros) {
        self.incarnation = self.incarnation.saturating_add(1);
        self.incarnation_since = seen;
        self.pid = None;
        self.clock = None;
        self.timestamp = None;
        self.active = None;
        self.processed = None;
        self.loadavg.clear();
        self.events = EventsMode::Unknown;
        self.event_counts = [0; 9];
        self.eventless_heartbeats = 0;
        self.ledger = Ledger::default();
        self.unanswered_rounds = 0;
        if let Some(known) = &mut self.inspection {
            let former = std::mem::take(&mut **known);
            **known = Inspection {
                time: former.time,
                pool_implementation: former.pool_implementation,
                max_concurrency: former.max_concurrency,
                prefetch_count: former.prefetch_count,
                queues: former.queues,
                queues_time: former.queues_time,
                registered: former.registered,
                configuration_json: former.configuration_json,
                ..Inspection::default()
            };
        }
    }
}
