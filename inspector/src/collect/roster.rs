//! The workers seen so far, and what is still to be asked of each. It decides nothing about when.

use std::time::{Duration, Instant};

use ahash::{HashMap, HashMapExt};

use super::Node;
use super::question::Parts;
use crate::wire::event::Event;

/// Workers that are kept at most. Beyond, new ones are counted and not asked; 20,000 entries are about 5 MB.
pub const WORKERS_MAX: usize = 20_000;

/// A worker of which nothing was seen for this long is forgotten: the default of `--worker-retention`.
const FORGOTTEN_AFTER: Duration = Duration::from_hours(1);

/// A worker counts as present for at least this long after the last sign of life: three heartbeats of the slowest kind
/// (60 s). Longer when rounds are longer, since some workers show themselves by answers only.
pub const PRESENT_FOR_MIN: Duration = Duration::from_mins(3);

/// Looks in a row without any answer that make a worker silent.
pub const SILENT_AFTER: u32 = 2;

/// How long a silent worker is left alone at first; doubled with every look it leaves unanswered.
const REST: Duration = Duration::from_mins(1);

/// How long a silent worker is left alone at most.
const REST_MAX: Duration = Duration::from_mins(10);

/// Silent workers named in a report at most (`InspectorReport.silent_nodes`).
const SILENT_NODES_MAX: usize = 1_000;

/// Heartbeats in a row whose `processed` grew without any task event before events count as off: one is slack, since a
/// heartbeat may overtake buffered task events.
const QUIET_HEARTBEATS: u32 = 2;

/// Why something is asked, most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Events were missed.
    Repair,
    /// A worker is new, or lives anew.
    First,
    /// The periodic round.
    Round,
}

/// One worker.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "five facts that vary independently"
)]
pub struct Worker {
    /// What is to be asked.
    pub wants: Parts,
    /// Why.
    pub urgency: Urgency,
    /// Not to be asked before.
    pub not_before: Instant,
    /// A look at it is under way.
    pub busy: bool,
    online: bool,
    seen: Instant,
    pid: Option<u64>,
    processed: Option<u64>,
    task_events: bool,
    quiet_heartbeats: u32,
    events_enabled: Option<Instant>,
    unanswered_looks: u32,
    answered: bool,
    /// What its last look left open has been asked for again.
    asked_again: bool,
    /// What it was asked and has not answered, and what was no more asked since it rests: the next round asks that too.
    open: Parts,
    rest_until: Option<Instant>,
    /// A second look after a change, not before.
    second_look: Option<Instant>,
}

/// A change that the plan has to know of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sighting {
    /// Nothing new.
    Known,
    /// A worker that was not known, or lives anew.
    New,
    /// It came on line again without a new life: its queues may have changed.
    Back,
    /// It works, and sends no task events.
    EventsOff,
}

/// All workers.
#[derive(Debug)]
pub struct Roster {
    workers: HashMap<Node, Worker>,
    present_for: Duration,
    overflow: u64,
}

impl Default for Roster {
    fn default() -> Self {
        Self::new()
    }
}

impl Roster {
    /// Nobody yet.
    pub fn new() -> Self {
        Self {
            workers: HashMap::new(),
            present_for: PRESENT_FOR_MIN,
            overflow: 0,
        }
    }

    /// Rounds are this far apart now, so answers are as rare.
    pub fn on_round(&mut self, interval: Duration) {
        self.present_for = PRESENT_FOR_MIN.max(interval * 3);
    }

    /// Takes in an event. Only events that workers send of themselves or of their tasks tell of a worker: `task-sent` is
    /// a client's, and custom events may be anybody's and carry the pool child's pid.
    pub fn on_event(&mut self, now: Instant, event: &Event<'_>) -> Sighting {
        match event.event_type.as_ref() {
            "worker-online" | "worker-heartbeat" => self.on_heartbeat(now, event),
            "worker-offline" => {
                if let Some(worker) = self.workers.get_mut(event.hostname.as_ref()) {
                    worker.online = false;
                    worker.wants = Parts::NONE;
                    worker.seen = now;
                }
                Sighting::Known
            }
            "task-received" | "task-started" | "task-succeeded" | "task-failed"
            | "task-retried" | "task-revoked" | "task-rejected" | "task-cancelled" => {
                self.on_task_event(now, &event.hostname)
            }
            _ => Sighting::Known,
        }
    }

    fn on_task_event(&mut self, now: Instant, hostname: &str) -> Sighting {
        if let Some(worker) = self.workers.get_mut(hostname) {
            // Late task events follow a worker-offline, so they do not put it on line again.
            worker.seen = now;
            worker.task_events = true;
            worker.quiet_heartbeats = 0;
            return Sighting::Known;
        }
        match self.admit(now, hostname) {
            Some(worker) => {
                worker.task_events = true;
                Sighting::New
            }
            None => Sighting::Known,
        }
    }

    /// A worker sent an event that could not be read: it is there, and can be asked.
    pub fn on_unread(&mut self, now: Instant, hostname: &str) -> Sighting {
        if let Some(worker) = self.workers.get_mut(hostname) {
            worker.seen = now;
            return Sighting::Known;
        }
        match self.admit(now, hostname) {
            Some(_) => Sighting::New,
            None => Sighting::Known,
        }
    }

    fn on_heartbeat(&mut self, now: Instant, event: &Event<'_>) -> Sighting {
        let Some(worker) = self.workers.get_mut(event.hostname.as_ref()) else {
            let Some(worker) = self.admit(now, &event.hostname) else {
                return Sighting::Known;
            };
            worker.pid = event.pid;
            worker.processed = event.processed;
            return Sighting::New;
        };
        let was_online = std::mem::replace(&mut worker.online, true);
        worker.seen = now;
        let backwards = matches!((worker.processed, event.processed), (Some(a), Some(b)) if b < a);
        let other_pid = matches!((worker.pid, event.pid), (Some(a), Some(b)) if a != b);
        if backwards || other_pid {
            worker.begin_life(event);
            return Sighting::New;
        }
        worker.pid = worker.pid.or(event.pid);
        let events_off = worker.on_counters(event.processed);
        if !was_online || event.event_type == "worker-online" {
            return Sighting::Back;
        }
        if events_off {
            Sighting::EventsOff
        } else {
            Sighting::Known
        }
    }

    /// A worker answered a request.
    pub fn on_answer(&mut self, now: Instant, hostname: &str) -> Sighting {
        if let Some(worker) = self.workers.get_mut(hostname) {
            worker.seen = now;
            worker.online = true;
            worker.answered = true;
            worker.unanswered_looks = 0;
            worker.rest_until = None;
            return Sighting::Known;
        }
        match self.admit(now, hostname) {
            Some(worker) => {
                worker.answered = true;
                Sighting::New
            }
            None => Sighting::Known,
        }
    }

    /// The process id in a `stats` answer. New life when it is another than known.
    pub fn on_pid(&mut self, hostname: &str, pid: u64) -> Sighting {
        match self.workers.get_mut(hostname) {
            Some(worker) if worker.pid.is_some_and(|known| known != pid) => {
                worker.pid = Some(pid);
                worker.processed = None;
                Sighting::New
            }
            Some(worker) => {
                worker.pid = Some(pid);
                Sighting::Known
            }
            None => Sighting::Known,
        }
    }

    /// A look at a worker is over; `answered` when it answered any of it, `unanswered` what it did not.
    pub fn on_look_ended(
        &mut self,
        now: Instant,
        hostname: &str,
        answered: bool,
        unanswered: Parts,
    ) {
        let Some(worker) = self.workers.get_mut(hostname) else {
            return;
        };
        worker.busy = false;
        if answered {
            // It began to listen in the middle of the look, or its answer was lost. Once: what it never answers waits for
            // the next round.
            let ask_again = !unanswered.is_empty() && !worker.asked_again;
            worker.asked_again = ask_again;
            if ask_again {
                self.want(hostname, unanswered, Urgency::First, now);
                return;
            }
            worker.open = worker.open.with(unanswered);
            // Not while the first look is still to come: they would be one.
            if worker.wants.is_empty()
                && let Some(at) = worker.second_look.take()
            {
                self.want(hostname, Parts::IDENTITY, Urgency::First, at);
            }
            return;
        }
        // A worker that is only too busy answers later, and what its settings are is in no round.
        worker.open = worker.open.with(unanswered);
        worker.unanswered_looks = worker.unanswered_looks.saturating_add(1);
        if worker.unanswered_looks >= SILENT_AFTER {
            let doublings = (worker.unanswered_looks - SILENT_AFTER).min(10);
            worker.rest_until = Some(now + (REST * 2u32.pow(doublings)).min(REST_MAX));
            worker.open = worker.open.with(worker.wants);
            worker.wants = Parts::NONE;
        } else if !worker.answered && worker.online {
            // A worker says that it is on line before it listens to remote control; what it was asked in between is lost.
            self.want(hostname, Parts::FIRST, Urgency::First, now);
        }
    }

    /// What is to be asked of a worker, added to what is already.
    pub fn want(&mut self, hostname: &str, parts: Parts, urgency: Urgency, not_before: Instant) {
        let Some(worker) = self.workers.get_mut(hostname) else {
            return;
        };
        if worker.rest_until.is_some_and(|until| until > not_before) {
            return;
        }
        // Of one that has not answered yet everything is still to be learnt.
        let parts = if worker.answered {
            parts
        } else {
            parts.with(Parts::FIRST)
        };
        let parts = if urgency == Urgency::Round {
            parts.with(std::mem::take(&mut worker.open))
        } else {
            parts
        };
        if worker.wants.is_empty() {
            worker.urgency = urgency;
            worker.not_before = not_before;
        } else {
            worker.urgency = worker.urgency.min(urgency);
            worker.not_before = worker.not_before.min(not_before);
        }
        worker.wants = worker.wants.with(parts);
    }

    /// What a worker is and consumes is to be asked twice: not before `first`, and again not before `second`. A later change
    /// moves the second.
    pub fn want_twice(&mut self, hostname: &str, first: Instant, second: Instant) {
        self.want(hostname, Parts::IDENTITY, Urgency::First, first);
        if let Some(worker) = self.workers.get_mut(hostname) {
            worker.second_look = Some(second);
        }
    }

    /// Wants `parts` of every worker that is present and not resting.
    pub fn want_all(
        &mut self,
        now: Instant,
        parts: Parts,
        urgency: Urgency,
        not_before: Instant,
    ) -> usize {
        let present: Vec<Node> = self.present(now).map(|(node, _)| node.clone()).collect();
        for node in &present {
            self.want(node, parts, urgency, not_before);
        }
        present.len()
    }

    /// Notes that events are being switched on; false when that was done less than `again` ago in this life.
    pub fn may_enable_events(&mut self, now: Instant, hostname: &str, again: Duration) -> bool {
        let Some(worker) = self.workers.get_mut(hostname) else {
            return false;
        };
        let recent = worker
            .events_enabled
            .is_some_and(|at| now.saturating_duration_since(at) < again);
        if !recent {
            worker.events_enabled = Some(now);
        }
        !recent
    }

    /// One worker.
    pub fn get_mut(&mut self, hostname: &str) -> Option<&mut Worker> {
        self.workers.get_mut(hostname)
    }

    /// Workers that can be asked: something is wanted and no look is under way.
    pub fn askable(&self) -> impl Iterator<Item = (&Node, &Worker)> {
        self.workers
            .iter()
            .filter(|(_, worker)| !worker.wants.is_empty() && !worker.busy)
    }

    /// Workers on line and heard of lately.
    pub fn present(&self, now: Instant) -> impl Iterator<Item = (&Node, &Worker)> {
        self.workers.iter().filter(move |(_, worker)| {
            worker.online && now.saturating_duration_since(worker.seen) <= self.present_for
        })
    }

    /// Workers asked at least twice that never answered anything, in order of name.
    pub fn silent(&self) -> Vec<String> {
        let never = |worker: &&Worker| !worker.answered && worker.unanswered_looks >= SILENT_AFTER;
        let mut silent: Vec<String> = self
            .workers
            .iter()
            .filter(|(_, worker)| never(worker))
            .map(|(node, _)| node.to_string())
            .collect();
        silent.sort_unstable();
        silent.truncate(SILENT_NODES_MAX);
        silent
    }

    /// Forgets workers of which nothing was seen for an hour, and returns them.
    pub fn forget(&mut self, now: Instant) -> Vec<Node> {
        let stale = |worker: &Worker| now.saturating_duration_since(worker.seen) > FORGOTTEN_AFTER;
        let gone: Vec<Node> = self
            .workers
            .iter()
            .filter(|(_, worker)| stale(worker) && !worker.busy)
            .map(|(node, _)| node.clone())
            .collect();
        for node in &gone {
            self.workers.remove(node);
        }
        gone
    }

    /// Sightings of workers that found no room.
    pub fn overflow(&self) -> u64 {
        self.overflow
    }

    fn admit(&mut self, now: Instant, hostname: &str) -> Option<&mut Worker> {
        if self.workers.len() >= WORKERS_MAX {
            self.overflow += 1;
            return None;
        }
        Some(self.workers.entry(Node::from(hostname)).or_insert(Worker {
            wants: Parts::NONE,
            urgency: Urgency::First,
            not_before: now,
            busy: false,
            online: true,
            seen: now,
            pid: None,
            processed: None,
            task_events: false,
            quiet_heartbeats: 0,
            events_enabled: None,
            unanswered_looks: 0,
            answered: false,
            asked_again: false,
            open: Parts::NONE,
            rest_until: None,
            second_look: None,
        }))
    }
}

impl Worker {
    /// Begins a new life: nothing is known of it but that it lives.
    fn begin_life(&mut self, event: &Event<'_>) {
        self.pid = event.pid;
        self.processed = event.processed;
        self.task_events = false;
        self.quiet_heartbeats = 0;
        self.events_enabled = None;
        self.unanswered_looks = 0;
        self.answered = false;
        self.asked_again = false;
        self.open = Parts::NONE;
        self.rest_until = None;
        self.second_look = None;
    }

    /// Takes in `processed` of a heartbeat; true when the worker works and sends no task events.
    fn on_counters(&mut self, processed: Option<u64>) -> bool {
        // A heartbeat that was asked for carries no counters.
        let Some(processed) = processed else {
            return false;
        };
        let grew = self.processed.is_some_and(|before| processed > before);
        self.processed = Some(processed);
        if std::mem::take(&mut self.task_events) {
            self.quiet_heartbeats = 0;
        } else if grew {
            self.quiet_heartbeats = self.quiet_heartbeats.saturating_add(1);
        }
        grew && self.quiet_heartbeats >= QUIET_HEARTBEATS
    }
}

#[cfg(test)]
mod tests;
