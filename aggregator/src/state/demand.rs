//! The load of a queue set, as it is known now: what waits, what workers have, how fast it comes and how long it takes.

use std::time::Duration;

use super::app::{App, Watched};
use super::ids::{Micros, Symbol};
use super::input::TaskEventKind;
use super::task::{Phase, Task};
use super::units::{micros, micros_of, seconds_of};
use super::usage::KEPT;
use super::worker::{Cancelled, EventsMode, Inspection, Worker, WorkerStatus};

/// Depths are read every second or two; after so long without one what waits is not known.
const DEPTHS_STALE_AFTER: Duration = Duration::from_secs(10);
/// Arrivals are counted over this.
const ARRIVALS_SPAN: Duration = Duration::from_mins(1);
/// Arrivals of now are counted over this.
const ARRIVALS_SPAN_NOW: Duration = Duration::from_secs(6);
/// Of less than this no rate is told.
const ARRIVALS_SPAN_MIN: Duration = Duration::from_secs(5);
/// The slot time is told of the shortest span with so many starts,
const STARTS_WANTED: u64 = 30;
/// and not at all of fewer than these.
const STARTS_MIN: u64 = 20;
/// The spans that are tried are multiples of this.
const SPAN_STEP: Duration = Duration::from_secs(15);
/// A message that nobody was seen to hold for so long is nobody's: readings and events are not of one moment.
const ORPHANED_AFTER: Duration = Duration::from_secs(15);

/// The load of a queue set.
#[derive(Debug, Clone, PartialEq)]
pub struct Demand {
    /// As of when (inspector's clock).
    pub time: Micros,
    /// Why it may not be acted on.
    pub stale: Option<String>,
    /// Messages ready, all priorities.
    pub ready: u64,
    /// Tasks in workers that wait for a slot.
    pub reserved: u64,
    /// Tasks that run.
    pub active: u64,
    /// Tasks in workers that wait for their time.
    pub scheduled: u64,
    /// Messages not acknowledged, where that is known.
    pub unacked: Option<u64>,
    /// Age of the oldest ready message, seconds.
    pub oldest_age: Option<f64>,
    /// Arrivals a second, over a minute.
    pub arrivals: Option<f64>,
    /// Arrivals a second, over 6 s.
    pub arrivals_now: Option<f64>,
    /// Seconds of a slot that a task takes.
    pub service_time: Option<f64>,
    /// Mean age of what runs, seconds.
    pub running_age: Option<f64>,
    /// Slots of workers that take from the set.
    pub slots: u64,
    /// Its workers, in order of name.
    pub workers: Vec<WorkerDemand>,
}

/// What one worker of the set has.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerDemand {
    /// Node name.
    pub name: Symbol,
    /// It is on line and takes from the set.
    pub accepting: bool,
    /// It is on line.
    pub online: bool,
    /// Tasks it can run at a time.
    pub slots: Option<u64>,
    /// Running.
    pub active: Option<u64>,
    /// Waiting for a slot.
    pub reserved: Option<u64>,
    /// Waiting for their time.
    pub scheduled: Option<u64>,
    /// Live pool processes.
    pub processes: u64,
    /// When it is done with what runs, seconds.
    pub remainder: Option<f64>,
    /// Queues it consumes, and when it was answered.
    pub queues: Option<(Vec<Symbol>, Micros)>,
    /// The process.
    pub pid: Option<u64>,
    /// Which life of it.
    pub incarnation: u64,
    /// Queues that somebody had it stop consuming, in order of name, and when.
    pub cancelled: Vec<Cancelled>,
    ages: Ages,
}

/// Ages of tasks that run, of which the start was seen.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Ages {
    sum: f64,
    count: u32,
}

impl App {
    /// The demand of a queue set at `now` (our own clock). Workers whose name begins with `prefix` are of the set, whatever
    /// they consume.
    pub fn demand(&self, now: Micros, queues: &[String], prefix: &str) -> Demand {
        let members = self.members(queues, prefix);
        let read = queues.iter().filter_map(|name| self.queue(name)?.read);
        let heard = members.iter().map(|one| one.worker.last_seen);
        let report = self.report.as_ref().map(|report| report.time);
        let time = read.chain(heard).chain(report).max().unwrap_or(now);
        let mut workers: Vec<WorkerDemand> = members
            .iter()
            .map(|watched| self.worker_demand(time, watched, queues))
            .collect();
        workers.sort_by(|one, other| one.name.cmp(&other.name));
        let online = || workers.iter().filter(|worker| worker.online);
        let sum = |of: fn(&WorkerDemand) -> Option<u64>| online().filter_map(of).sum::<u64>();
        let ages = online().fold(Ages::default(), |all, worker| Ages {
            sum: all.sum + worker.ages.sum,
            count: all.count + worker.ages.count,
        });
        let ready = queues.iter().filter_map(|name| self.queue(name)?.ready);
        let slots = online().filter(|worker| worker.accepting);
        Demand {
            time,
            stale: self.stale(now),
            ready: ready.sum(),
            reserved: sum(|worker| worker.reserved),
            active: sum(|worker| worker.active),
            scheduled: sum(|worker| worker.scheduled),
            unacked: self.unacked(time, queues, &workers),
            oldest_age: self.oldest_age(time, queues),
            arrivals: self.arrivals(time, ARRIVALS_SPAN, queues, &members),
            arrivals_now: self.arrivals(time, ARRIVALS_SPAN_NOW, queues, &members),
            service_time: service_time(time, &members),
            running_age: (ages.count > 0).then(|| ages.sum / f64::from(ages.count)),
            slots: slots.filter_map(|worker| worker.slots).sum(),
            workers,
        }
    }

    fn members(&self, queues: &[String], prefix: &str) -> Vec<&Watched> {
        let consumes = |watched: &Watched| {
            let names = consumed(&watched.worker);
            names.is_some_and(|mut names| names.any(|name| queues.iter().any(|q| **q == **name)))
        };
        let named =
            |watched: &Watched| !prefix.is_empty() && watched.worker.name.starts_with(prefix);
        self.workers
            .values()
            .filter(|watched| named(watched) || consumes(watched))
            .collect()
    }

    fn stale(&self, now: Micros) -> Option<String> {
        let Some(report) = &self.report else {
            return Some("the inspector has not reported yet".to_owned());
        };
        if let Some(broker) = report.broker.as_ref().filter(|broker| !broker.reachable) {
            let why = broker
                .unreachable_reason
                .as_deref()
                .unwrap_or("no reason is known");
            return Some(format!("the broker cannot be reached: {why}"));
        }
        if !report.subscribed {
            return Some("events are not received".to_owned());
        }
        let Some(heard) = self.depths_heard else {
            return Some("the depths of queues have not been read yet".to_owned());
        };
        let age = now.saturating_sub(heard);
        (age > micros(DEPTHS_STALE_AFTER)).then(|| {
            format!(
                "the depths of queues were read {:.0} s ago",
                seconds_of(age)
            )
        })
    }

    fn worker_demand(&self, time: Micros, watched: &Watched, queues: &[String]) -> WorkerDemand {
        let worker = &watched.worker;
        let known = worker.inspection.as_deref();
        let held = self.held(time, worker);
        let told = worker.events == EventsMode::On;
        let online = worker.status == WorkerStatus::Online;
        let takes = consumed(worker)
            .is_some_and(|mut names| names.any(|name| queues.iter().any(|q| **q == **name)));
        let active = worker.active.or(known.and_then(|known| known.active));
        let mut cancelled = worker.cancelled.clone();
        cancelled.sort_by(|one, other| one.queue.cmp(&other.queue));
        WorkerDemand {
            name: worker.name.clone(),
            accepting: online && takes,
            online,
            slots: known
                .and_then(Inspection::slots)
                .and_then(|slots| u64::try_from(slots).ok()),
            active: match active {
                Some(active) if told => Some(active.max(held.active)),
                None if told => Some(held.active),
                active => active,
            },
            reserved: if told {
                Some(held.reserved)
            } else {
                known.and_then(|known| known.reserved)
            },
            scheduled: if told {
                Some(held.scheduled)
            } else {
                known.and_then(|known| known.scheduled)
            },
            processes: known.map_or(0, |known| known.processes.len() as u64),
            remainder: held.remainder,
            queues: known.and_then(|known| {
                let names = known.queues.as_ref()?.iter();
                Some((
                    names.map(|queue| queue.name.clone()).collect(),
                    known.queues_time,
                ))
            }),
            pid: worker.pid,
            incarnation: worker.incarnation,
            cancelled,
            ages: held.ages,
        }
    }

    /// What a worker has, by the events of its tasks.
    fn held(&self, time: Micros, worker: &Worker) -> Held {
        let mut held = Held {
            remainder: Some(0.0),
            ..Held::default()
        };
        for slot in self.tasks.of_worker(&worker.name) {
            let task = self.tasks.task(slot);
            match task.phase() {
                Phase::Reserved if task.eta.is_some_and(|eta| eta > time) => held.scheduled += 1,
                Phase::Reserved => held.reserved += 1,
                Phase::Active => {
                    held.active += 1;
                    let age = age(time, task);
                    if let Some(age) = age {
                        held.ages.sum += age;
                        held.ages.count += 1;
                    }
                    let left = age.and_then(|age| Some((self.mean(task)? - age).max(0.0)));
                    held.remainder = held.remainder.zip(left).map(|(all, left)| all.max(left));
                }
                Phase::Waiting | Phase::Finished => {}
            }
        }
        held
    }

    /// How long tasks of that name took so far, seconds.
    #[expect(
        clippy::cast_precision_loss,
        reason = "fewer than 2^52 tasks have ended"
    )]
    fn mean(&self, task: &Task) -> Option<f64> {
        let statistics = self.task_name(task.name.as_ref()?)?;
        let count = statistics.runtime_count;
        (count > 0).then(|| statistics.runtime_sum / count as f64)
    }

    fn oldest_age(&self, time: Micros, queues: &[String]) -> Option<f64> {
        let waiting = queues.iter().filter_map(|name| self.queue(name));
        let waiting = waiting.filter(|queue| queue.ready.is_some_and(|ready| ready > 0));
        let oldest = waiting
            .filter_map(|queue| queue.oldest.or(queue.nonempty_since))
            .min()?;
        Some(seconds_of(time.saturating_sub(oldest).max(0)))
    }

    /// Messages that came to the set within a span: what is ready and held now and was not then, and what was started
    /// meanwhile.
    fn arrivals(
        &self,
        time: Micros,
        span: Duration,
        queues: &[String],
        members: &[&Watched],
    ) -> Option<f64> {
        let first = |name: &String| self.levels.get(name.as_str())?.first();
        let levels = queues.iter().filter_map(first);
        let known = levels
            .chain(members.iter().filter_map(|one| one.usage.first()))
            .min()?;
        let from = time.saturating_sub(micros(span)).max(known);
        let seconds = seconds_of(time.saturating_sub(from));
        if seconds < ARRIVALS_SPAN_MIN.as_secs_f64() {
            return None;
        }
        let (mut came, mut went) = (0_u64, 0_u64);
        for levels in queues
            .iter()
            .filter_map(|name| self.levels.get(name.as_str()))
        {
            came += levels.last().map_or(0, |(_, ready)| ready);
            went += levels.at(from).unwrap_or_default();
        }
        for usage in members.iter().map(|watched| &watched.usage) {
            let (then, now) = (usage.at(from), usage.now());
            came += now.starts + now.held;
            went += then.starts + then.held;
        }
        Some(float(came.saturating_sub(went)) / seconds)
    }

    /// What is not acknowledged: told by queue, or of all queues together and then counted as `workers` hold it.
    fn unacked(&self, time: Micros, queues: &[String], workers: &[WorkerDemand]) -> Option<u64> {
        let told = queues.iter().map(|name| match self.queue(name) {
            Some(queue) => queue.unacked,
            None => Some(0),
        });
        if let Some(sum) = told.sum::<Option<u64>>()
            && self.unacked_total.is_none()
        {
            let known = queues.iter().any(|name| self.queue(name).is_some());
            return known.then_some(sum);
        }
        self.unacked_total?;
        let online = workers.iter().filter(|worker| worker.online);
        let held: u64 = online
            .map(|worker| {
                worker.reserved.unwrap_or_default() + worker.scheduled.unwrap_or_default()
            })
            .sum();
        let orphans = self
            .orphans
            .since(time.saturating_sub(micros(ORPHANED_AFTER)));
        Some(held + orphans.min().unwrap_or_default())
    }

    /// Notes how deep queues are, and what nobody is seen to hold.
    pub(super) fn note_depths(&mut self, read: Micros) {
        self.depths_heard = Some(self.now);
        for queue in self.queues.values() {
            if let Some(ready) = queue.ready {
                self.levels
                    .entry_ref(&queue.name)
                    .or_default()
                    .push(read, ready);
            }
        }
        self.levels.retain(|name, _| self.queues.contains_key(name));
        let Some(total) = self.unacked_total else {
            return;
        };
        let online = self
            .workers()
            .filter(|worker| worker.status == WorkerStatus::Online);
        // A task that runs is in it where tasks are acknowledged late.
        let held: u64 = online
            .map(|worker| held_of(worker) + worker.active.unwrap_or_default())
            .sum();
        self.orphans.push(read, total.saturating_sub(held));
    }
}

/// Tasks that wait in a worker, for a slot or for their time.
pub(super) fn held_of(worker: &Worker) -> u64 {
    if worker.events == EventsMode::On {
        return worker.reserved_known;
    }
    let known = worker.inspection.as_deref();
    known.map_or(0, |known| {
        known.reserved.unwrap_or_default() + known.scheduled.unwrap_or_default()
    })
}

#[derive(Debug, Default)]
struct Held {
    active: u64,
    reserved: u64,
    scheduled: u64,
    remainder: Option<f64>,
    ages: Ages,
}

fn consumed(worker: &Worker) -> Option<impl Iterator<Item = &Symbol>> {
    let queues = worker.inspection.as_deref()?.queues.as_ref()?;
    Some(queues.iter().map(|queue| &queue.name))
}

/// How long a task has run, seconds: since its start was told. Where something else was told since, by its worker's clock.
fn age(time: Micros, task: &Task) -> Option<f64> {
    let started = match task.last_event {
        Some(last) if last.kind == TaskEventKind::Started => task.last_seen,
        _ => micros_of(task.started?),
    };
    Some(seconds_of(time.saturating_sub(started).max(0)))
}

/// Little's law over the shortest span with starts enough. The longer a span the more starts it has, so that it is found by
/// halving.
fn service_time(time: Micros, members: &[&Watched]) -> Option<f64> {
    let over = |steps: i64| {
        let from = time.saturating_sub(micros(SPAN_STEP).saturating_mul(steps));
        members
            .iter()
            .fold((0_u64, 0_u64), |(starts, busy), watched| {
                let (then, now) = (watched.usage.at(from), watched.usage.now());
                (
                    starts + (now.starts - then.starts),
                    busy + (now.busy - then.busy),
                )
            })
    };
    let (mut short, mut long) = (1, micros(KEPT) / micros(SPAN_STEP));
    while short < long {
        let middle = i64::midpoint(short, long);
        if over(middle).0 >= STARTS_WANTED {
            long = middle;
        } else {
            short = middle + 1;
        }
    }
    let (starts, busy) = over(long);
    (starts >= STARTS_MIN).then(|| float(busy) / 1e6 / float(starts))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a rate needs no more digits than 15"
)]
fn float(count: u64) -> f64 {
    count as f64
}
