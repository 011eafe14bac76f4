//! Answers of workers: what they are and consume, and which tasks they have.

use ahash::RandomState;
use hashbrown::HashSet;

use super::app::{App, Watched, push};
use super::changes::Changes;
use super::ids::{Micros, Symbol};
use super::input::{Snapshot, Stats, TaskRequest};
use super::interner::Interner;
use super::lives;
use super::store::{Map, Slot};
use super::task::{Attempt, Phase, Task, TaskState};
use super::worker::{ConsumedQueue, Inspection, Worker};

/// Complete snapshots, one after another, that do not list a task, after which it is over: one may have been taken between
/// two lists.
const ABSENT_MAX: u8 = 2;

impl App {
    pub(super) fn fold_snapshot(&mut self, snapshot: Snapshot, changes: &mut Changes) {
        if !snapshot.answered() {
            self.count_silence(&snapshot, changes);
            self.query_unanswered(&snapshot);
            return;
        }
        let Some(name) = self.watch(&snapshot.hostname, snapshot.received) else {
            self.overflow.workers += 1;
            return;
        };
        let Some(Watched { worker, .. }) = self.workers.get(&name) else {
            return;
        };
        if lives::is_of_former_life(worker, &snapshot) || answers_time(worker) > snapshot.received {
            return;
        }
        if let Some(began) = lives::began_later(worker, &snapshot) {
            let pid = snapshot.stats.as_ref().and_then(|stats| stats.pid);
            let young = |task: &Task| {
                task.last_seen >= began
                    || (pid.is_some()
                        && pid == task.last_event.map(|last| last.pid)
                        && pid != worker.pid)
            };
            let young: HashSet<_, RandomState> = self
                .tasks
                .of_worker(&name)
                .into_iter()
                .filter(|slot| young(self.tasks.task(*slot)))
                .map(|slot| self.tasks.task(slot).id.clone())
                .collect();
            self.begin_life(
                &name,
                (snapshot.received, began),
                |task| young.contains(&task.id),
                changes,
            );
        }
        self.hear(&name, snapshot.received, changes);
        self.fold_lists(&name, &snapshot, changes);
        self.fold_queried(&name, &snapshot, changes);
        self.fold_answers(&name, snapshot, changes);
    }

    fn count_silence(&mut self, snapshot: &Snapshot, changes: &mut Changes) {
        let Some(Watched { worker, .. }) = self.workers.get_mut(snapshot.hostname.as_str()) else {
            return;
        };
        worker.unanswered_rounds = worker.unanswered_rounds.saturating_add(1);
        if let Some(inspection) = &mut worker.inspection {
            inspection.silent_rounds = inspection.silent_rounds.saturating_add(1);
            inspection.unanswered.clone_from(&snapshot.unanswered);
            push(&mut changes.inspections, &worker.name);
        }
        push(&mut changes.workers, &worker.name);
    }

    fn fold_answers(&mut self, name: &Symbol, snapshot: Snapshot, changes: &mut Changes) {
        let Some(Watched { worker, .. }) = self.workers.get_mut(name) else {
            return;
        };
        worker.unanswered_rounds = 0;
        if let Some(pid) = snapshot.stats.as_ref().and_then(|stats| stats.pid) {
            worker.pid = Some(pid);
        }
        let inspection = worker.inspection.get_or_insert_default();
        let before = inspection.queues.clone();
        inspection.take(snapshot);
        inspection.adopt(&mut self.names);
        let after = inspection.queues.clone();
        push(&mut changes.inspections, name);
        if before != after {
            self.set_consumed(name, after.as_deref(), changes);
        }
    }

    /// Notes which queues a worker consumes.
    pub(super) fn set_consumed(
        &mut self,
        name: &Symbol,
        queues: Option<&[ConsumedQueue]>,
        changes: &mut Changes,
    ) {
        let now: HashSet<&Symbol, RandomState> =
            queues.into_iter().flatten().map(|q| &q.name).collect();
        self.consumers.retain(|queue, workers| {
            if !now.contains(queue) && workers.contains(name) {
                workers.retain(|worker| worker != name);
                changes.queues.push(queue.clone());
            }
            !workers.is_empty()
        });
        for queue in now {
            let workers = self.consumers.entry_ref(queue).or_default();
            if !workers.contains(name) {
                workers.push(name.clone());
                changes.queues.push(queue.clone());
            }
        }
        changes
            .queues
            .retain(|queue| self.queues.contains_key(queue));
    }

    fn fold_lists(&mut self, name: &Symbol, snapshot: &Snapshot, changes: &mut Changes) {
        let lists = [
            (&snapshot.active, TaskState::Started),
            (&snapshot.reserved, TaskState::Received),
            (&snapshot.scheduled, TaskState::Received),
        ];
        let some = lists.iter().any(|(list, _)| list.is_some());
        let complete = !snapshot.cut && lists.iter().all(|(list, _)| list.is_some());
        let mut listed: HashSet<Slot, RandomState> = HashSet::default();
        for (list, state) in lists {
            for request in list.iter().flatten() {
                listed.insert(self.fold_request(name, snapshot, request, &state, changes));
            }
        }
        if let Some(Watched { listed: told, .. }) = self.workers.get_mut(name) {
            for (answered, asked) in [(some, &mut told.some), (complete, &mut told.all)] {
                if answered {
                    *asked = snapshot.asked.max(*asked);
                }
            }
        }
        if complete {
            self.miss_unlisted(name, snapshot, &listed, changes);
        }
    }

    /// A task that a worker says it has.
    pub(super) fn fold_request(
        &mut self,
        name: &Symbol,
        snapshot: &Snapshot,
        request: &TaskRequest,
        state: &TaskState,
        changes: &mut Changes,
    ) -> Slot {
        let known = self.tasks.find(&request.id);
        let slot = known.unwrap_or_else(|| self.slot_of(&request.id, snapshot.received));
        let task = self.tasks.task_mut(slot);
        let mut news = known.is_none();
        if known.is_none() {
            task.state = state.clone();
            task.worker = Some(name.clone());
        }
        news |= task.fill(request, &mut self.names);
        task.absent_snapshots = 0;
        // Only what is newer than the last event says more than it.
        if snapshot.asked > task.last_seen {
            if std::mem::take(&mut task.outcome_unknown) {
                task.finish_seen = None;
                task.ended_in_gap = false;
                news = true;
            }
            if !task.is_finished() {
                news |= std::mem::take(&mut task.lost);
                if task.worker.as_ref() != Some(name) {
                    task.worker = Some(name.clone());
                    news = true;
                }
                if task.doubted.is_some_and(|until| snapshot.asked >= until) {
                    task.doubted = None;
                    task.repair(state, request.time_start);
                    news = true;
                }
            }
        }
        if known.is_none() && *state == TaskState::Started {
            task.started = task.started.or(request.time_start);
        }
        if news {
            changes.tasks.push(task.id.clone());
            self.settle(slot, true, changes);
        }
        slot
    }

    /// What a live worker had before it was asked, and does not list, is over when that happens twice.
    fn miss_unlisted(
        &mut self,
        name: &Symbol,
        snapshot: &Snapshot,
        listed: &HashSet<Slot, RandomState>,
        changes: &mut Changes,
    ) {
        let Some(watched) = self.workers.get(name) else {
            return;
        };
        let incarnation = watched.worker.incarnation;
        for slot in self.tasks.of_worker(name) {
            let task = self.tasks.task(slot);
            if task.is_held_by(name, incarnation) && !listed.contains(&slot) {
                self.miss(slot, snapshot.asked, snapshot.received, changes);
            }
        }
    }

    /// Nobody who could have a task had it when asked. What that says of it counts twice, and only if nothing is newer.
    pub(super) fn miss(
        &mut self,
        slot: Slot,
        asked: Micros,
        received: Micros,
        changes: &mut Changes,
    ) {
        let task = self.tasks.task_mut(slot);
        if task.last_seen.max(task.doubted.unwrap_or(Micros::MIN)) >= asked {
            return;
        }
        task.absent_snapshots = task.absent_snapshots.saturating_add(1);
        if task.absent_snapshots < ABSENT_MAX {
            return;
        }
        task.outcome_unknown = true;
        task.ended_in_gap = task.doubted.take().is_some();
        task.finish(received);
        if task.ended_in_gap {
            self.wanted.want(&task.id);
        }
        changes.tasks.push(task.id.clone());
        self.settle(slot, true, changes);
    }
}

fn answers_time(worker: &Worker) -> Micros {
    worker
        .inspection
        .as_ref()
        .map_or(Micros::MIN, |inspection| inspection.time)
}

impl Task {
    /// Whether it is in that life of that worker, as far as is known.
    pub(super) fn is_held_by(&self, worker: &Symbol, incarnation: u64) -> bool {
        let of_this_life = |attempt: &Attempt| attempt.incarnation == incarnation;
        self.worker.as_ref() == Some(worker)
            && matches!(self.phase(), Phase::Active | Phase::Reserved)
            && self.attempts.last().is_none_or(of_this_life)
    }

    /// Takes what its worker says of it after a gap in which its events may have been missed.
    fn repair(&mut self, state: &TaskState, time_start: Option<f64>) {
        let weaker = self.state.precedence() > state.precedence();
        if weaker {
            self.state = state.clone();
        }
        if *state != TaskState::Started {
            return;
        }
        self.started = time_start.or(self.started);
        // The attempt it is in: the last one that is open, if it was received and not started.
        let open = self.attempts.last_mut().filter(|last| last.is_open());
        if let Some(attempt) = open {
            attempt.started = attempt.started.or(time_start);
        }
    }

    /// Takes what events did not tell. True when there was something.
    fn fill(&mut self, request: &TaskRequest, names: &mut Interner) -> bool {
        let mut filled = false;
        for (place, symbol) in [
            (&mut self.name, &request.name),
            (&mut self.queue, &request.queue),
        ] {
            if let (None, Some(symbol)) = (&place, symbol) {
                *place = Some(names.intern(symbol.clone()));
                filled = true;
            }
        }
        let Self { payload, .. } = self;
        for (place, text) in [
            (&mut payload.args, &request.args),
            (&mut payload.kwargs, &request.kwargs),
        ] {
            if place.is_none() && text.is_some() {
                place.clone_from(text);
                filled = true;
            }
        }
        if self.eta.is_none() && request.eta.is_some() {
            self.eta = request.eta;
            filled = true;
        }
        filled
    }
}

impl Inspection {
    /// Takes the parts that were answered.
    fn take(&mut self, snapshot: Snapshot) {
        self.time = snapshot.received;
        self.silent_rounds = 0;
        if let Some(held) = held_by_queue(&snapshot) {
            self.held_by_queue = held;
        }
        let count = |list: &Option<Vec<TaskRequest>>| list.as_ref().map(|list| list.len() as u64);
        self.active = count(&snapshot.active).or(self.active);
        self.reserved = count(&snapshot.reserved).or(self.reserved);
        self.scheduled = count(&snapshot.scheduled).or(self.scheduled);
        if let Some(queues) = snapshot.queues {
            self.queues = Some(queues);
            self.queues_time = snapshot.received;
        }
        if let Some(registered) = snapshot.registered {
            self.registered = registered;
        }
        if snapshot.configuration_json.is_some() {
            self.configuration_json = snapshot.configuration_json;
        }
        if let Some(stats) = snapshot.stats {
            self.take_stats(stats);
        }
        self.unanswered = snapshot.unanswered;
    }

    fn take_stats(&mut self, stats: Stats) {
        self.pool_implementation = stats.pool_implementation;
        self.processes = stats.processes;
        self.threads = stats.threads;
        self.max_concurrency = stats.max_concurrency;
        self.autoscaler = stats.autoscaler;
        self.prefetch_count = stats.prefetch_count;
        self.uptime_seconds = stats.uptime_seconds;
        self.peak_memory_bytes = stats.peak_memory_bytes;
        self.totals = stats.totals;
    }

    /// Makes its names share memory with their equals.
    pub(super) fn adopt(&mut self, names: &mut Interner) {
        let queues = self.queues.iter_mut().flatten().flat_map(|queue| {
            [
                &mut queue.name,
                &mut queue.exchange,
                &mut queue.exchange_type,
                &mut queue.routing_key,
            ]
        });
        let counted = self
            .totals
            .iter_mut()
            .chain(&mut self.held_by_queue)
            .map(|(name, _)| name);
        for symbol in queues.chain(&mut self.registered).chain(counted) {
            *symbol = names.intern(symbol.clone());
        }
    }
}

fn held_by_queue(snapshot: &Snapshot) -> Option<Vec<(Symbol, u64)>> {
    let (reserved, scheduled) = (snapshot.reserved.as_ref()?, snapshot.scheduled.as_ref());
    let mut held: Map<&Symbol, u64> = Map::default();
    for queue in reserved
        .iter()
        .chain(scheduled.into_iter().flatten())
        .filter_map(|r| r.queue.as_ref())
    {
        *held.entry(queue).or_default() += 1;
    }
    Some(
        held.into_iter()
            .map(|(queue, count)| (queue.clone(), count))
            .collect(),
    )
}
