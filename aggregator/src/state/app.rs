//! One app's state: what the inputs so far add up to.

use std::collections::VecDeque;

use super::changes::Changes;
use super::counters::Counters;
use super::fold_query::Sought;
use super::fold_results::Wanted;
use super::gap::Gap;
use super::ids::{Micros, Symbol, TaskId};
use super::input::{Input, Report};
use super::interner::Interner;
use super::limits::{Limits, OTHER, TASK_NAMES_MAX};
use super::queue::Queue;
use super::recent::{self, Recent};
use super::store::{Counted, Map, Moved, Slot, Store};
use super::subscription::Subscription;
use super::task::Task;
use super::task_name::TaskName;
use super::usage::{Ring, Usage};
use super::worker::Worker;

pub use super::advice::Advice;

/// What is true of one app. Inputs are applied in the order in which they came; nothing here reads a clock.
#[derive(Debug)]
pub struct App {
    pub(super) name: Symbol,
    pub(super) limits: Limits,
    /// The newest time an input was applied at (our own clock).
    pub(super) now: Micros,
    pub(super) tasks: Store,
    pub(super) workers: Map<Symbol, Watched>,
    pub(super) names: Interner,
    pub(super) task_names: Map<Symbol, TaskName>,
    pub(super) queues: Map<Symbol, Queue>,
    /// Workers by the queues of their last `active_queues`.
    pub(super) consumers: Map<Symbol, Vec<Symbol>>,
    pub(super) gaps: VecDeque<Gap>,
    pub(super) report: Option<Report>,
    pub(super) unacked_total: Option<u64>,
    /// When depths were last read (our own clock).
    pub(super) depths_heard: Option<Micros>,
    /// How deep queues were (inspector's clock).
    pub(super) levels: Map<Symbol, Ring<u64>>,
    /// Messages not acknowledged that no worker was seen to hold (inspector's clock).
    pub(super) orphans: Ring<u64>,
    pub(super) events_folded: u64,
    pub(super) events_repeated: u64,
    pub(super) recent: Recent,
    pub(super) counters: Counters,
    pub(super) subscription: Subscription,
    /// Until when events of any task may have been missed: the end of the latest gap (receive time).
    pub(super) doubt_until: Option<Micros>,
    pub(super) wanted: Wanted,
    pub(super) sought: Sought,
    pub(super) overflow: Overflow,
}

/// A worker, and what is needed to watch it but not kept over a restart.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) worker: Worker,
    /// When something of it was last applied (our own clock).
    pub(super) heard: Micros,
    /// When its last lists of tasks were asked for.
    pub(super) listed: Listed,
    /// What it did lately (inspector's clock).
    pub(super) usage: Usage,
    /// It had a counter-bearing worker event, and since then no task event; nothing was missed meanwhile.
    pub(super) quiet: bool,
}

/// When a worker was asked for the lists of tasks that it gave (inspector's clock).
#[derive(Debug, Clone, Copy)]
pub(super) struct Listed {
    /// Any of them.
    pub(super) some: Micros,
    /// All three, whole.
    pub(super) all: Micros,
}

impl Listed {
    pub(super) const NEVER: Self = Self {
        some: Micros::MIN,
        all: Micros::MIN,
    };
}

/// What did not fit within the bounds of [`super::limits`], counted since start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Overflow {
    /// Events and answers of workers beyond the bound; their tasks are kept.
    pub workers: u64,
    /// Events of task names beyond the bound; counted as `other`.
    pub task_names: u64,
    /// Readings of queues beyond the bound; left out.
    pub queues: u64,
}

impl App {
    /// An app of which nothing is known.
    pub fn new(name: Symbol, limits: Limits) -> Self {
        Self {
            name,
            limits,
            now: Micros::MIN,
            tasks: Store::default(),
            workers: Map::default(),
            names: Interner::default(),
            task_names: Map::default(),
            queues: Map::default(),
            consumers: Map::default(),
            gaps: VecDeque::new(),
            report: None,
            unacked_total: None,
            depths_heard: None,
            levels: Map::default(),
            orphans: Ring::default(),
            events_folded: 0,
            events_repeated: 0,
            recent: Recent::default(),
            counters: Counters::default(),
            subscription: Subscription::default(),
            doubt_until: None,
            wanted: Wanted::default(),
            sought: Sought::default(),
            overflow: Overflow::default(),
        }
    }

    /// Takes in one input at `now` (our own clock, which never goes back here) and adds to `changes` what it changed.
    ///
    /// [`Input::Tick`] lets tasks leave memory; it belongs into changes of its own, after everything before it is in
    /// history.
    pub fn apply(&mut self, now: Micros, input: Input, changes: &mut Changes) {
        self.now = self.now.max(now);
        match input {
            Input::Task(event) => {
                self.subscription.event_came(self.now);
                if self.is_news(recent::of_task(&event), changes) {
                    self.fold_task(event, changes);
                }
            }
            Input::Worker(event) => {
                self.subscription.event_came(self.now);
                if self.is_news(recent::of_worker(&event), changes) {
                    self.fold_worker(&event, changes);
                }
            }
            Input::Snapshot(snapshot) => self.fold_snapshot(*snapshot, changes),
            Input::Depths(depths) => self.fold_depths(depths, changes),
            Input::Gap(gap) => self.fold_gap(gap, changes),
            Input::TakeOver { time } => self.end_lost(time, changes),
            Input::Results(outcomes) => self.fold_results(outcomes, changes),
            Input::Wish(wish) => self.fold_wish(&wish, changes),
            Input::Report(report) => self.fold_report(*report, changes),
            Input::Tick => self.tick(changes),
        }
    }

    fn fold_report(&mut self, report: Report, changes: &mut Changes) {
        let resubscribed = self.subscription.reported(self.now, report.subscribed);
        if resubscribed || !report.subscribed {
            for watched in self.workers.values_mut() {
                watched.quiet = false;
            }
        }
        match (report.subscribed, report.kept) {
            (false, _) => {}
            (true, false) => self.end_detached(report.time, changes),
            (true, true) => self.take_back_detached(changes),
        }
        let news = self.report.as_ref().is_none_or(|known| {
            known.subscribed != report.subscribed
                || known.broker != report.broker
                || known.rejections != report.rejections
                || known.silent_nodes != report.silent_nodes
        });
        changes.app |= news;
        self.report = Some(report);
    }

    /// Brings counts up to a changed task; see [`Store::settle`].
    pub(super) fn settle(&mut self, slot: Slot, touched: bool, changes: &mut Changes) {
        let moved = self.tasks.settle(slot, self.now, touched);
        self.settle_loads(moved, changes);
    }

    /// Names whose load changed, and keeps what workers say of theirs.
    pub(super) fn settle_loads(&mut self, moved: Moved, changes: &mut Changes) {
        for Counted {
            worker,
            name,
            queue,
            ..
        } in moved.into_iter().flatten()
        {
            if let Some(worker) = worker {
                self.settle_reserved(&worker);
                push(&mut changes.workers, &worker);
            }
            if let Some(name) = name.filter(|name| self.task_names.contains_key(name)) {
                push(&mut changes.task_names, &name);
            }
            if let Some(queue) = queue.filter(|queue| self.queues.contains_key(queue)) {
                push(&mut changes.queues, &queue);
            }
        }
    }

    pub(super) fn settle_reserved(&mut self, worker: &Symbol) {
        if let Some(watched) = self.workers.get_mut(worker) {
            watched.worker.reserved_known = self.tasks.reserved_of_worker(worker);
        }
    }

    /// The statistics of a name of which an event was received at `seen`; those of `other` when there is no room for more.
    pub(super) fn task_name_mut(&mut self, name: &Symbol, seen: Micros) -> &mut TaskName {
        let full = self.task_names.len() >= TASK_NAMES_MAX && !self.task_names.contains_key(name);
        self.overflow.task_names += u64::from(full);
        let name = if full {
            self.names.intern_text(OTHER)
        } else {
            name.clone()
        };
        let statistics = self.task_names.entry(name);
        let statistics = statistics.or_insert_with_key(|name| TaskName::new(name.clone(), seen));
        statistics.last_seen = statistics.last_seen.max(seen);
        statistics
    }
}

/// Names a change, unless it was the last thing named.
pub(super) fn push(names: &mut Vec<Symbol>, name: &Symbol) {
    if names.last() != Some(name) {
        names.push(name.clone());
    }
}

/// Reading.
impl App {
    /// The app's name.
    pub fn name(&self) -> &Symbol {
        &self.name
    }

    /// Whether a task is in memory. When it is not, its row has to be loaded from history and given to
    /// [`App::restore_task`] before an event of it, or a snapshot whose lists name it, is applied.
    pub fn holds(&self, id: &TaskId) -> bool {
        self.tasks.find(id).is_some()
    }

    /// Tasks that an input is about and that are not in memory: see [`App::holds`]. May repeat.
    pub fn missing<'a>(&'a self, input: &'a Input) -> impl Iterator<Item = &'a TaskId> {
        let (of_event, lists) = match input {
            Input::Task(event) => (Some(&event.id), None),
            Input::Snapshot(snapshot) => (
                None,
                Some([&snapshot.active, &snapshot.reserved, &snapshot.scheduled]),
            ),
            _ => (None, None),
        };
        let outcomes = match input {
            Input::Results(told) => told.outcomes.as_slice(),
            _ => &[],
        };
        let listed = lists.into_iter().flatten().flatten().flatten();
        let found = match input {
            Input::Snapshot(snapshot) => snapshot.queried.as_ref(),
            _ => None,
        };
        let found = found.into_iter().flat_map(|queried| &queried.found);
        let about = of_event
            .into_iter()
            .chain(listed.map(|request| &request.id))
            .chain(found.map(|(_, request)| &request.id))
            .chain(outcomes.iter().map(|outcome| &outcome.id));
        about.filter(|id| !self.holds(id))
    }

    /// A task in memory.
    pub fn task(&self, id: &TaskId) -> Option<&Task> {
        self.tasks.find(id).map(|slot| self.tasks.task(slot))
    }

    /// All tasks in memory, roughly in the order in which they came.
    pub fn tasks(&self) -> impl DoubleEndedIterator<Item = &Task> {
        self.tasks.tasks()
    }

    /// Tasks in memory of which history may have a row, which is older: those that finished once, and those that were taken
    /// in by [`App::restore_task`].
    pub fn stored_tasks(&self) -> impl Iterator<Item = &Task> {
        self.tasks.stored()
    }

    /// Tasks in memory, finished ones in their grace included.
    pub fn tasks_count(&self) -> usize {
        self.tasks.len()
    }

    /// Unfinished tasks in memory.
    pub fn unfinished_count(&self) -> usize {
        self.tasks.unfinished_len()
    }

    /// Unfinished tasks in memory of which nothing has been heard since a gap.
    pub fn unconfirmed_count(&self) -> usize {
        // Without a gap none is, and nobody has to look.
        self.doubt_until.map_or(0, |_| {
            let tasks = self.tasks.tasks();
            tasks
                .filter(|task| task.doubted.is_some() && !task.is_finished())
                .count()
        })
    }

    /// All workers, in no order.
    pub fn workers(&self) -> impl Iterator<Item = &Worker> {
        self.workers.values().map(|watched| &watched.worker)
    }

    /// A worker.
    pub fn worker(&self, name: &str) -> Option<&Worker> {
        self.workers.get(name).map(|watched| &watched.worker)
    }

    /// All queues, in no order.
    pub fn queues(&self) -> impl Iterator<Item = &Queue> {
        self.queues.values()
    }

    /// A queue.
    pub fn queue(&self, name: &str) -> Option<&Queue> {
        self.queues.get(name)
    }

    /// Workers, online or not, whose last `active_queues` names the queue.
    pub fn workers_of_queue(&self, name: &str) -> impl Iterator<Item = &Worker> {
        self.consumers
            .get(name)
            .into_iter()
            .flatten()
            .filter_map(|name| self.worker(name))
    }

    /// Statistics of all task names, in no order.
    pub fn task_names(&self) -> impl Iterator<Item = &TaskName> {
        self.task_names.values()
    }

    /// Statistics of a task name.
    pub fn task_name(&self, name: &str) -> Option<&TaskName> {
        self.task_names.get(name)
    }

    /// Attempts that failed in the last hour, those of former lives of this process included.
    pub fn failed_last_hour(&self) -> u64 {
        let names = self.task_names.values();
        names.map(|name| name.failures.sum(self.now)).sum()
    }

    /// Tasks of a name that are in workers, known here: (reserved, active). Those of `other` are of all names that have no
    /// statistics of their own.
    pub fn load_of_name(&self, name: &str) -> (u64, u64) {
        if name != OTHER || self.task_names.len() < TASK_NAMES_MAX {
            let load = self.tasks.load_of_name(name);
            return (load.reserved, load.active);
        }
        let other = |name: &Symbol| **name == *OTHER || !self.task_names.contains_key(name);
        let loads = self.tasks.loads_of_names().filter(|(name, _)| other(name));
        loads.fold((0, 0), |(reserved, active), (_, load)| {
            (reserved + load.reserved, active + load.active)
        })
    }

    /// Tasks from a queue that are in workers, known here: (reserved, active).
    pub fn load_of_queue(&self, queue: &str) -> (u64, u64) {
        let load = self.tasks.load_of_queue(queue);
        (load.reserved, load.active)
    }

    /// The latest gaps, oldest first.
    pub fn gaps(&self) -> impl DoubleEndedIterator<Item = &Gap> {
        self.gaps.iter()
    }

    /// The inspector's last report.
    pub fn report(&self) -> Option<&Report> {
        self.report.as_ref()
    }

    /// Messages not acknowledged, whole app, by the last depth reading that told.
    pub fn unacked_total(&self) -> Option<u64> {
        self.unacked_total
    }

    /// Distinct task events folded, those of former lives of this process included once restored.
    pub fn events_folded(&self) -> u64 {
        self.events_folded
    }

    /// Events that were told again, and left out; counted since this process began.
    pub fn events_repeated(&self) -> u64 {
        self.events_repeated
    }

    /// Event counters for metrics; they begin at zero with this process.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What did not fit within the bounds.
    pub fn overflow(&self) -> Overflow {
        self.overflow
    }
}
