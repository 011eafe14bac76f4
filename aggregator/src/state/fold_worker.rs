//! Worker events: signs of life, counters, and whether task events are on.

use super::app::{App, Listed, Watched, push};
use super::changes::Changes;
use super::demand::held_of;
use super::ids::{Micros, Symbol};
use super::input::{TaskEvent, WorkerEvent, WorkerEventKind};
use super::interner::Interner;
use super::ledger::Ledger;
use super::limits::WORKERS_MAX;
use super::lives;
use super::usage::Usage;
use super::worker::{EventsMode, Worker, WorkerStatus};

/// Counter-bearing heartbeats with new starts and without a task event, after which events are off: one may have overtaken
/// its events.
const EVENTLESS_MAX: u32 = 2;

impl App {
    /// The worker of that name, watched from now on. `None` when there is no room for it.
    pub(super) fn watch(&mut self, name: &str, seen: Micros) -> Option<Symbol> {
        if let Some(watched) = self.workers.get(name) {
            return Some(watched.worker.name.clone());
        }
        if self.workers.len() >= WORKERS_MAX {
            return None;
        }
        let name = self.names.intern_text(name);
        let mut worker = Worker::new(name.clone(), seen);
        worker.reserved_known = self.tasks.reserved_of_worker(&name);
        self.workers.insert(
            name.clone(),
            Watched {
                worker,
                heard: self.now,
                listed: Listed::NEVER,
                usage: Usage::default(),
                quiet: false,
            },
        );
        Some(name)
    }

    /// Something of the worker came. It revives a silent one; after `worker-offline` only a worker event does.
    pub(super) fn hear(&mut self, name: &Symbol, received: Micros, changes: &mut Changes) {
        let Some(watched) = self.workers.get_mut(name) else {
            return;
        };
        watched.heard = self.now;
        watched.worker.last_seen = watched.worker.last_seen.max(received);
        push(&mut changes.workers, name);
        if watched.worker.status == WorkerStatus::Silent {
            self.revive(name, received, changes);
        }
    }

    fn revive(&mut self, name: &Symbol, received: Micros, changes: &mut Changes) {
        let Some(Watched { worker, .. }) = self.workers.get_mut(name) else {
            return;
        };
        if worker.status != WorkerStatus::Online {
            worker.status = WorkerStatus::Online;
            worker.status_since = received;
            self.find_again(name, changes);
        }
    }

    /// A task event of the worker's main process came.
    pub(super) fn hear_main_process(
        &mut self,
        name: &Symbol,
        event: &TaskEvent,
        changes: &mut Changes,
    ) {
        let Some(Watched { worker, .. }) = self.workers.get(name) else {
            return;
        };
        // Where worker events come they say which process it is, and in which order lives were.
        if worker.last_heartbeat.is_none() {
            let another = event
                .pid
                .zip(worker.pid)
                .is_some_and(|(now, before)| now != before);
            if another {
                let seen = event.received;
                self.begin_life(name, (seen, seen), |_| false, changes);
            }
        }
        let Some(Watched { worker, quiet, .. }) = self.workers.get_mut(name) else {
            return;
        };
        if worker.last_heartbeat.is_none() && event.pid.is_some() {
            worker.pid = event.pid;
        }
        *quiet = false;
        if worker.events != EventsMode::On {
            worker.events = EventsMode::On;
            // Starts without events were before they were on: nothing was missed.
            if worker.eventless_heartbeats > 0 {
                worker.ledger = Ledger::default();
            }
        }
        worker.eventless_heartbeats = 0;
    }

    pub(super) fn fold_worker(&mut self, event: &WorkerEvent, changes: &mut Changes) {
        let is_offline = event.kind == WorkerEventKind::Offline;
        if is_offline && !self.workers.contains_key(&event.hostname) {
            return;
        }
        let Some(name) = self.watch(&event.hostname, event.received) else {
            self.overflow.workers += 1;
            return;
        };
        let Some(Watched { worker, .. }) = self.workers.get(&name) else {
            return;
        };
        if lives::is_late(worker, event) {
            self.hear(&name, event.received, changes);
            return;
        }
        if lives::begins(worker, event) {
            let young = lives::born_before(worker, event);
            let seen = event.received;
            self.begin_life(&name, (seen, seen), young, changes);
        }
        let Some(watched) = self.workers.get_mut(&name) else {
            return;
        };
        watched.take(event, self.now, &mut self.names);
        let status = watched.worker.status;
        if let Some(processed) = event.processed {
            self.on_mark(&name, processed, event.clock, event.received, changes);
        }
        push(&mut changes.workers, &name);
        match event.kind {
            WorkerEventKind::Online | WorkerEventKind::Heartbeat => {
                self.revive(&name, event.received, changes);
            }
            WorkerEventKind::Other if status == WorkerStatus::Silent => {
                self.revive(&name, event.received, changes);
            }
            WorkerEventKind::Offline if status != WorkerStatus::Offline => {
                self.leave(&name, WorkerStatus::Offline, event.received, changes);
            }
            WorkerEventKind::Other | WorkerEventKind::Offline => {}
        }
    }
}

impl Watched {
    /// Takes what an event says. A heartbeat that was asked for has a `freq` of 5 and no counters: neither counts.
    fn take(&mut self, event: &WorkerEvent, now: Micros, names: &mut Interner) {
        self.heard = now;
        let Self {
            worker,
            quiet,
            usage,
            ..
        } = self;
        worker.last_heartbeat = worker.last_heartbeat.max(Some(event.received));
        worker.last_seen = worker.last_seen.max(event.received);
        worker.timestamp = event.timestamp.or(worker.timestamp);
        worker.pid = event.pid.or(worker.pid);
        let places = [
            (&mut worker.sw_ident, &event.sw_ident),
            (&mut worker.sw_ver, &event.sw_ver),
            (&mut worker.sw_sys, &event.sw_sys),
        ];
        for (place, text) in places {
            if let Some(text) = text {
                names.assign(place, text.clone());
            }
        }
        let Some(processed) = event.processed else {
            return;
        };
        if std::mem::replace(quiet, true) && worker.processed.is_some_and(|known| processed > known)
        {
            worker.eventless_heartbeats = worker.eventless_heartbeats.saturating_add(1);
            if worker.eventless_heartbeats >= EVENTLESS_MAX {
                worker.events = EventsMode::Off;
            }
        }
        worker.processed = Some(processed);
        worker.active = event.active.or(worker.active);
        let active = worker.active.unwrap_or_default();
        let held = held_of(worker);
        usage.beat(event.received, worker.incarnation, active, processed, held);
        worker.clock = event.clock.or(worker.clock);
        if event
            .freq
            .is_some_and(|freq| freq.is_finite() && freq > 0.0)
        {
            worker.freq = event.freq;
        }
        if !event.loadavg.is_empty() {
            worker.loadavg.clone_from(&event.loadavg);
        }
    }
}
