//! Task events: into the task, its attempts, the statistics and the counters.

use super::app::{App, push};
use super::attempts::{End, Moment, Placing};
use super::changes::Changes;
use super::counters::{Happening, exception_class};
use super::ids::{Micros, Symbol, TaskId};
use super::input::{TaskEvent, TaskEventKind};
use super::store::Slot;
use super::task::{EventStamp, FinalEvent, Task, TaskState, exception_summary};
use super::units::{micros_of, seconds_of};
use super::worker::{EventsMode, WorkerStatus};

/// A task event, once it is in the task.
struct Folded {
    kind: TaskEventKind,
    pid: Option<u64>,
    clock: Option<u64>,
    event_type: Symbol,
    placing: Placing,
    runtime: Option<f64>,
    received: Micros,
    exception_class: Option<Symbol>,
}

impl App {
    pub(super) fn fold_task(&mut self, mut event: Box<TaskEvent>, changes: &mut Changes) {
        let slot = self.slot_of(&event.id, event.received);
        let stamp = EventStamp::of(&event);
        let at = self.hear_task_event(&event, changes);
        let folded = self.fold_into(slot, &mut event, stamp, &at);
        self.settle(slot, true, changes);
        let task = self.tasks.task(slot);
        changes.tasks.push(task.id.clone());
        if folded.placing != Placing::Repeat {
            self.count(slot, &at.worker, &folded, changes);
        }
    }

    /// Where the task is; a task that is not in memory begins there.
    pub(super) fn slot_of(&mut self, id: &TaskId, seen: Micros) -> Slot {
        self.tasks.find(id).unwrap_or_else(|| {
            self.tasks
                .insert(Task::new(id.clone(), seen), self.now, false)
        })
    }

    fn fold_into(
        &mut self,
        slot: Slot,
        event: &mut TaskEvent,
        stamp: EventStamp,
        at: &Moment,
    ) -> Folded {
        let task = self.tasks.task_mut(slot);
        let (kind, received, pid, clock) = (event.kind, event.received, event.pid, event.clock);
        let before_final = task.is_final_before(at, pid, clock)
            || kind == TaskEventKind::Retried && task.is_retried_before_end();
        if is_final(event) && !before_final {
            task.final_event = Some(Box::new(FinalEvent {
                worker: at.worker.clone(),
                incarnation: at.incarnation,
                pid,
                clock,
                time: at.time,
            }));
        }
        let placing = place(task, event, at);
        let exception_class = (kind == TaskEventKind::Failed).then(|| {
            let class = exception_class(event.exception.as_deref(), event.traceback.as_deref());
            self.names.intern_text(class)
        });
        let (event_type, runtime) = (event.event_type.clone(), event.runtime);
        let late_retry = kind == TaskEventKind::Retried && before_final;
        task.merge(event, late_retry, &mut self.names);
        let speaker = if kind == TaskEventKind::Sent {
            &mut task.client
        } else {
            &mut task.worker
        };
        if speaker.as_ref() != Some(&at.worker) {
            *speaker = Some(at.worker.clone());
        }
        task.last_event = Some(stamp);
        task.last_seen = task.last_seen.max(received);
        task.lost = false;
        task.absent_snapshots = 0;
        if std::mem::take(&mut task.outcome_unknown) {
            task.finish_seen = None;
            task.ended_in_gap = false;
        }
        // One that came, or was kept back by its worker, from before the gap ended says nothing of what came in it.
        let told = micros_of(at.time).min(received);
        let doubted = self.doubt_until.filter(|until| told < *until);
        if task.doubted.is_none() && doubted.is_some() {
            self.sought.seek(&task.id, self.now);
        }
        task.doubted = doubted;
        if task.ends_by(kind, placing) {
            task.finish(received);
        } else if !before_final && begins_again(kind, placing) {
            task.finish_seen = None;
        }
        if task.is_finished() {
            task.doubted = None;
        }
        Folded {
            kind,
            pid,
            clock,
            event_type,
            placing,
            runtime,
            received,
            exception_class,
        }
    }

    fn count(&mut self, slot: Slot, speaker: &Symbol, folded: &Folded, changes: &mut Changes) {
        let Folded { kind, placing, .. } = *folded;
        self.events_folded += 1;
        if kind == TaskEventKind::Started {
            self.on_start(speaker, folded.pid, folded.clock);
        }
        let task = self.tasks.task(slot);
        let prefetch = task
            .eta
            .is_none()
            .then(|| task.received.zip(task.started))
            .flatten();
        let (name, has_eta) = (task.name.clone(), task.eta.is_some());
        let watched = self
            .workers
            .get_mut(speaker)
            .filter(|_| kind != TaskEventKind::Sent);
        let is_known_worker = watched.is_some();
        if let Some(watched) = watched {
            watched.worker.event_counts[kind as usize] += 1;
        }
        let mut label = |known: &Option<Symbol>| match known {
            Some(known) => known.clone(),
            None => self.names.intern_text(""),
        };
        let (label, queue) = (label(&name), label(&task.queue));
        let happening = Happening {
            kind,
            event_type: &folded.event_type,
            speaker,
            is_known_worker,
            name: &label,
            queue: &queue,
            runtime: folded.runtime,
            prefetch_seconds: prefetch.map(|(received, started)| started - received),
            is_waiting: !has_eta
                && matches!(
                    placing,
                    Placing::News {
                        open: true,
                        started: false
                    }
                ),
            has_eta,
            exception_class: folded.exception_class.as_ref(),
            now: self.now,
        };
        self.counters.count(&happening, &mut self.names);
        let Some(name) = name else { return };
        let now = self.now;
        let statistics = self.task_name_mut(&name, folded.received);
        if placing != Placing::SecondEnd {
            statistics.count(kind, folded.runtime, now);
        }
        push(&mut changes.task_names, &statistics.name);
    }
}

fn place(task: &mut Task, event: &TaskEvent, at: &Moment) -> Placing {
    let (outcome, before_start) = match event.kind {
        TaskEventKind::Sent if task.sent.is_some() && task.sent == event.timestamp => {
            return Placing::Repeat;
        }
        TaskEventKind::Sent | TaskEventKind::Custom => {
            return Placing::News {
                open: false,
                started: false,
            };
        }
        TaskEventKind::Received => return task.attempt_received(at, event.retries),
        TaskEventKind::Started => return task.attempt_started(at),
        TaskEventKind::Succeeded => (TaskState::Success, false),
        // Of a task it does not know a worker sends it without `task-received` (`Consumer.on_unknown_task`).
        TaskEventKind::Failed => {
            let exception = event.exception.as_deref().unwrap_or_default();
            (TaskState::Failure, exception.starts_with("NotRegistered("))
        }
        TaskEventKind::Retried => (TaskState::Retry, false),
        TaskEventKind::Revoked => (TaskState::Revoked, event.terminated != Some(true)),
        TaskEventKind::Rejected => (TaskState::Rejected, false),
    };
    let exception = exception_summary(event.exception.as_deref(), event.traceback.as_deref());
    task.attempt_ended(
        at,
        End {
            outcome,
            before_start,
            exception: exception.map(Into::into),
        },
    )
}

/// Whether an event says that its task is over.
fn is_final(event: &TaskEvent) -> bool {
    match event.kind {
        TaskEventKind::Succeeded | TaskEventKind::Failed | TaskEventKind::Revoked => true,
        TaskEventKind::Rejected => event.requeue != Some(true),
        _ => false,
    }
}

/// Whether such an event, when it is newer than the end, begins a finished task anew.
fn begins_again(kind: TaskEventKind, placing: Placing) -> bool {
    match kind {
        TaskEventKind::Received | TaskEventKind::Started => {
            matches!(placing, Placing::News { open: true, .. })
        }
        TaskEventKind::Retried => placing != Placing::Repeat,
        _ => false,
    }
}

impl Task {
    /// Whether an event that is merged already ends the task.
    fn ends_by(&self, kind: TaskEventKind, placing: Placing) -> bool {
        let is_final = match kind {
            TaskEventKind::Succeeded | TaskEventKind::Failed | TaskEventKind::Revoked => true,
            TaskEventKind::Rejected => self.requeued != Some(true),
            _ => false,
        };
        is_final
            && match placing {
                Placing::Repeat => false,
                Placing::SecondEnd => !self
                    .attempts
                    .last()
                    .is_some_and(super::task::Attempt::is_open),
                Placing::News { .. } => true,
            }
    }
}

impl App {
    /// Takes note of the sender of a task event: its worker lives, and sends task events.
    fn hear_task_event(&mut self, event: &TaskEvent, changes: &mut Changes) -> Moment {
        let time = event
            .timestamp
            .unwrap_or_else(|| seconds_of(event.received));
        if event.kind == TaskEventKind::Sent {
            let worker = self.names.intern(event.hostname.clone());
            return Moment {
                worker,
                incarnation: 0,
                time,
            };
        }
        if let Some(moment) = self.hear_known(event, time, changes) {
            return moment;
        }
        let Some(worker) = self.watch(&event.hostname, event.received) else {
            self.overflow.workers += 1;
            let worker = self.names.intern(event.hostname.clone());
            return Moment {
                worker,
                incarnation: 0,
                time,
            };
        };
        self.hear(&worker, event.received, changes);
        // Events from inside a task come from the pool's child and come without `-E`.
        if event.kind != TaskEventKind::Custom {
            self.hear_main_process(&worker, event, changes);
        }
        let incarnation = self
            .workers
            .get(&worker)
            .map_or(0, |watched| watched.worker.incarnation);
        Moment {
            worker,
            incarnation,
            time,
        }
    }

    /// The same of a worker of which all is known that it can tell, which is most of the time, with one look for it.
    fn hear_known(
        &mut self,
        event: &TaskEvent,
        time: f64,
        changes: &mut Changes,
    ) -> Option<Moment> {
        let now = self.now;
        let watched = self.workers.get_mut(&event.hostname)?;
        let worker = &mut watched.worker;
        let is_known = worker.status != WorkerStatus::Silent
            && worker.last_heartbeat.is_some()
            && worker.events == EventsMode::On
            && worker.eventless_heartbeats == 0;
        if !is_known {
            return None;
        }
        watched.heard = now;
        worker.last_seen = worker.last_seen.max(event.received);
        if event.kind != TaskEventKind::Custom {
            watched.quiet = false;
        }
        push(&mut changes.workers, &worker.name);
        Some(Moment {
            worker: worker.name.clone(),
            incarnation: worker.incarnation,
            time,
        })
    }
}
