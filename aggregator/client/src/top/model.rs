//! What `top` knows: a bounded copy of what the aggregator told, and what the person looks at. Pure: `apply` takes what was
//! heard, `tick` the passing of time, `update` keys; each says what to ask for next.

pub(crate) mod lists;
pub(crate) mod series;
pub(crate) mod tasks;
pub(crate) mod things;
pub(crate) mod ui;

use std::collections::{BTreeMap, VecDeque};

use celeriac_client::v1;
use celeriac_client::v1::watch_delta::Change;
use celeriac_client::v1::watch_item::Item;
use celeriac_client::v1::watch_response::Message;
use jiff::{SignedDuration, Timestamp};

use self::series::Series;
use self::tasks::TaskList;
use self::things::{Staging, Things};
use self::ui::{Overlay, Target, Thing, Ui};

/// Failures kept: some screens full. Older ones are in the list of tasks, `state = FAILURE`.
const FAILURES_MAX: usize = 200;
/// Gaps that the stream itself told: those of an app are in the app.
const GAPS_MAX: usize = 20;
/// A heartbeat comes at least every 15 s; what is older than this is no longer live.
const STALE_AFTER: SignedDuration = SignedDuration::from_secs(20);
/// How often an open detail is read again: its worker is asked rarely, so faster shows nothing new.
const DETAIL_EVERY: SignedDuration = SignedDuration::from_secs(2);

/// Something that was heard.
#[derive(Debug)]
pub(crate) enum Input {
    /// A message of the watch.
    Message(Box<v1::WatchResponse>),
    /// The watch broke, and is opened again.
    Interrupted(String),
    /// Tasks, as far as they were found.
    Tasks {
        generation: u64,
        page: v1::ListTasksResponse,
        last: bool,
    },
    /// They could not be listed.
    TasksFailed { generation: u64, error: String },
    /// The latest failures there were before the watch began.
    Failures(Vec<v1::Task>),
    /// What a detail shows.
    Thing {
        target: Target,
        thing: Result<Box<Thing>, String>,
    },
    /// What became of a command.
    Sent {
        request_id: String,
        outcome: Result<Box<v1::CommandRecord>, String>,
    },
}

/// Something to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    Quit,
    /// List tasks; an earlier list is no longer wanted.
    ListTasks {
        generation: u64,
        limit: u64,
        request: v1::ListTasksRequest,
    },
    /// List the latest failures.
    ListFailures,
    /// Read what a detail shows.
    Read(Target),
    /// Send a command; its request id is the shell's to make.
    Send(Box<v1::ExecuteCommandRequest>),
}

/// How the stream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// No snapshot has come yet.
    Loading,
    Live,
    /// It broke; why.
    Interrupted(String),
}

/// All that is shown.
#[derive(Debug)]
pub(crate) struct Model {
    /// This machine's clock, as of the last tick.
    pub(crate) now: Timestamp,
    pub(crate) link: Link,
    /// When the last message came (this machine's clock).
    pub(crate) heard: Option<Timestamp>,
    /// As of when what is shown is true (the aggregator's clock).
    pub(crate) as_of: Option<prost_types::Timestamp>,
    pub(crate) apps: BTreeMap<String, v1::App>,
    pub(crate) workers: Things<v1::Worker>,
    pub(crate) queues: Things<v1::Queue>,
    pub(crate) names: Things<v1::TaskName>,
    /// Newest first.
    pub(crate) failures: VecDeque<v1::Task>,
    /// Gaps of the stream, newest first.
    pub(crate) gaps: VecDeque<v1::Gap>,
    pub(crate) tasks: TaskList,
    pub(crate) series: Series,
    pub(crate) ui: Ui,
    /// A snapshot that is not whole yet.
    staging: Option<Staging>,
    detail_due: Timestamp,
}

impl Model {
    /// Empty is all apps.
    pub(crate) fn new(app: String, now: Timestamp) -> Self {
        Self {
            now,
            tasks: TaskList::new(app, now),
            link: Link::Loading,
            heard: None,
            as_of: None,
            apps: BTreeMap::new(),
            workers: Things::default(),
            queues: Things::default(),
            names: Things::default(),
            failures: VecDeque::new(),
            gaps: VecDeque::new(),
            series: Series::default(),
            ui: Ui::default(),
            staging: None,
            detail_due: now,
        }
    }

    /// Takes in what was heard.
    pub(crate) fn apply(&mut self, now: Timestamp, input: Input) -> Vec<Action> {
        self.now = now;
        match input {
            Input::Message(message) => return self.message(*message),
            Input::Interrupted(error) => self.link = Link::Interrupted(error),
            Input::Tasks {
                generation,
                page,
                last,
            } => self.tasks.found(now, generation, page, last),
            Input::TasksFailed { generation, error } => self.tasks.failed(now, generation, error),
            Input::Failures(tasks) => {
                // Oldest first, so that the newest stands in front.
                for task in tasks.into_iter().rev() {
                    self.task(task);
                }
            }
            Input::Thing { target, thing } => self.ui.thing(&target, thing),
            Input::Sent {
                request_id,
                outcome,
            } => self.ui.sent(&request_id, outcome),
        }
        Vec::new()
    }

    /// A second has passed: rates are measured, and what is on the screen is asked for again when it is due.
    pub(crate) fn tick(&mut self, now: Timestamp) -> Vec<Action> {
        self.now = now;
        let mut actions = Vec::new();
        self.measure();
        if self.ui.shows_tasks() {
            actions.extend(self.tasks.poll(now));
        }
        if let Some(Overlay::Detail(detail)) = self.ui.overlays.last()
            && now >= self.detail_due
        {
            self.detail_due = now + DETAIL_EVERY;
            actions.push(Action::Read(detail.target.clone()));
        }
        actions
    }

    fn measure(&mut self) {
        let now = self.now;
        for worker in self.workers.iter_mut() {
            let counts = [count(worker.item.processed), 0, 0, 0];
            worker.sample(now, counts);
        }
        let mut totals = [0; 4];
        for name in self.names.iter_mut() {
            let item = &name.item;
            let counts = [item.started, item.succeeded, item.failed, item.retried];
            name.sample(now, counts);
            for (total, count) in totals.iter_mut().zip(counts) {
                *total += count;
            }
        }
        // What was counted while nobody listened did not happen in this second.
        if self.stale().is_none() && self.staging.is_none() {
            self.series.sample(now, totals);
        } else {
            self.series.pause();
        }
    }

    /// For how long nothing was heard, when that is too long.
    pub(crate) fn stale(&self) -> Option<SignedDuration> {
        let silent = self.now.duration_since(self.heard?);
        (silent > STALE_AFTER || matches!(self.link, Link::Interrupted(_))).then_some(silent)
    }

    fn message(&mut self, response: v1::WatchResponse) -> Vec<Action> {
        self.heard = Some(self.now);
        self.as_of = response.time.or(self.as_of);
        if self.staging.is_none() && self.link != Link::Loading {
            self.link = Link::Live;
        }
        match response.message {
            Some(Message::SnapshotBegin(_)) => self.staging = Some(Staging::default()),
            Some(Message::Item(item)) => match (item.item, &mut self.staging) {
                (Some(Item::Task(task)), _) => self.task(task),
                (Some(item), Some(staging)) => staging.add(item),
                (Some(item), None) => self.set(item),
                (None, _) => {}
            },
            Some(Message::SnapshotEnd(_)) => {
                self.install();
                return vec![Action::ListFailures];
            }
            Some(Message::Delta(delta)) => match delta.change {
                Some(Change::Set(item)) => {
                    if let Some(item) = item.item {
                        self.set(item);
                    }
                }
                Some(Change::Removed(removed)) => self.remove(&removed),
                None => {}
            },
            Some(Message::Gap(gap)) => {
                self.gaps.push_front(gap);
                self.gaps.truncate(GAPS_MAX);
            }
            Some(Message::Heartbeat(_)) | None => {}
        }
        Vec::new()
    }

    fn install(&mut self) {
        let staging = self.staging.take().unwrap_or_default();
        self.apps = staging.apps;
        self.workers.replace(staging.workers);
        self.queues.replace(staging.queues);
        self.names.replace(staging.names);
        self.series.pause();
        self.link = Link::Live;
    }

    fn set(&mut self, item: Item) {
        match item {
            Item::App(app) => {
                self.apps.insert(app.name.clone(), app);
            }
            Item::Worker(worker) => self.workers.set(worker),
            Item::Queue(queue) => self.queues.set(queue),
            Item::TaskName(name) => self.names.set(name),
            Item::Task(task) => self.task(task),
        }
    }

    fn remove(&mut self, removed: &v1::Removed) {
        let (app, name) = (removed.app.as_str(), removed.name.as_str());
        match removed.kind() {
            v1::WatchKind::App => {
                self.apps.remove(name);
            }
            v1::WatchKind::Worker => self.workers.remove(app, name),
            v1::WatchKind::Queue => self.queues.remove(app, name),
            v1::WatchKind::TaskName => self.names.remove(app, name),
            v1::WatchKind::Task => self
                .failures
                .retain(|task| (task.app.as_str(), task.id.as_str()) != (app, name)),
            v1::WatchKind::Unspecified => {}
        }
    }

    /// A task, kept if it is a failure: other tasks are listed, not followed.
    fn task(&mut self, task: v1::Task) {
        if task.state == "FAILURE" {
            self.failure(task);
        }
    }

    fn failure(&mut self, mut task: v1::Task) {
        // Only the summary is shown: texts of 64 KiB each are read when a person opens one.
        task.payload = None;
        task.attempts.clear();
        task.custom_fields.clear();
        self.failures
            .retain(|known| (&known.app, &known.id) != (&task.app, &task.id));
        let at = self
            .failures
            .iter()
            .position(|known| finish(known) <= finish(&task))
            .unwrap_or(self.failures.len());
        self.failures.insert(at, task);
        self.failures.truncate(FAILURES_MAX);
    }

    /// Whether things of more than one app are shown.
    pub(crate) fn several_apps(&self) -> bool {
        self.apps.len() > 1
    }
}

fn finish(task: &v1::Task) -> (i64, i32) {
    let time = task.finish_seen.or(task.last_seen).unwrap_or_default();
    (time.seconds, time.nanos)
}

/// A counter as protobuf has it, never below zero.
fn count(number: Option<i64>) -> u64 {
    number
        .and_then(|number| u64::try_from(number).ok())
        .unwrap_or(0)
}

#[cfg(test)]
pub(crate) mod tests;
