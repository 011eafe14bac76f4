//! Events, answers and an app to tell them to, in words.

use crate::state::app::App;
use crate::state::changes::Changes;
use crate::state::gap::{Gap, GapCause};
use crate::state::ids::{Micros, TaskId};
use crate::state::input::{
    Depths, Input, QueueDepth, Report, Snapshot, Stats, TaskEvent, TaskEventKind, TaskRequest,
    WorkerEvent, WorkerEventKind,
};
use crate::state::limits::Limits;
use crate::state::recent::Recent;
use crate::state::task::{Attempt, Task};
use crate::state::units::micros_of;
use crate::state::worker::{ConsumedQueue, Worker};

/// When the tests begin, seconds since the epoch: any time will do.
pub(super) const START: f64 = 1_795_347_600.0;

/// The time that many seconds into the test.
pub(super) fn at(seconds: f64) -> Micros {
    micros_of(START + seconds)
}

/// A sender whose clock goes up by one with each event.
pub(super) fn worker(name: &str, pid: u64) -> Node {
    Node {
        name: name.to_owned(),
        pid,
        clock: 0,
    }
}

/// A node that sends events.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) pid: u64,
    pub(super) clock: u64,
}

impl Node {
    /// An event of a task, that many seconds into the test.
    pub(super) fn task(&mut self, kind: TaskEventKind, id: &str, seconds: f64) -> TaskEvent {
        self.clock += 1;
        let event_type = match kind {
            TaskEventKind::Sent => "task-sent",
            TaskEventKind::Received => "task-received",
            TaskEventKind::Started => "task-started",
            TaskEventKind::Succeeded => "task-succeeded",
            TaskEventKind::Failed => "task-failed",
            TaskEventKind::Retried => "task-retried",
            TaskEventKind::Revoked => "task-revoked",
            TaskEventKind::Rejected => "task-rejected",
            TaskEventKind::Custom => "task-progress",
        };
        let named = matches!(kind, TaskEventKind::Sent | TaskEventKind::Received);
        TaskEvent {
            kind,
            event_type: event_type.into(),
            hostname: self.name.as_str().into(),
            pid: Some(self.pid),
            clock: Some(self.clock),
            timestamp: Some(START + seconds),
            received: at(seconds),
            id: TaskId::from(id),
            name: named.then(|| "shop.pay".into()),
            args: named.then(|| "(1, 2)".into()),
            kwargs: named.then(|| "{}".into()),
            root_id: None,
            parent_id: None,
            retries: named.then_some(0),
            eta: None,
            expires: None,
            queue: (kind == TaskEventKind::Sent).then(|| "mail".into()),
            exchange: None,
            routing_key: None,
            result: (kind == TaskEventKind::Succeeded).then(|| "3".into()),
            runtime: (kind == TaskEventKind::Succeeded).then_some(0.2),
            exception: matches!(kind, TaskEventKind::Failed | TaskEventKind::Retried)
                .then(|| "ValueError('boom')".into()),
            traceback: None,
            terminated: (kind == TaskEventKind::Revoked).then_some(false),
            signum: None,
            expired: None,
            requeue: (kind == TaskEventKind::Rejected).then_some(false),
            custom: Vec::new(),
            truncated: Vec::new(),
            sanitized: Vec::new(),
        }
    }

    fn event(&mut self, kind: WorkerEventKind, seconds: f64) -> WorkerEvent {
        self.clock += 1;
        WorkerEvent {
            kind,
            event_type: "worker-heartbeat".into(),
            hostname: self.name.as_str().into(),
            pid: Some(self.pid),
            clock: Some(self.clock),
            timestamp: Some(START + seconds),
            received: at(seconds),
            freq: Some(2.0),
            active: Some(0),
            processed: Some(0),
            loadavg: vec![0.1, 0.2, 0.3],
            sw_ident: Some("py-celery".into()),
            sw_ver: Some("5.7.0".into()),
            sw_sys: Some("Linux".into()),
        }
    }

    /// `worker-online`.
    pub(super) fn online(&mut self, seconds: f64) -> WorkerEvent {
        self.event(WorkerEventKind::Online, seconds)
    }

    /// `worker-heartbeat`.
    pub(super) fn beats(&mut self, seconds: f64) -> WorkerEvent {
        self.event(WorkerEventKind::Heartbeat, seconds)
    }

    /// `worker-offline`.
    pub(super) fn offline(&mut self, seconds: f64) -> WorkerEvent {
        self.event(WorkerEventKind::Offline, seconds)
    }

    /// The heartbeat after a `heartbeat` command.
    pub(super) fn beats_as_asked(&mut self, seconds: f64) -> WorkerEvent {
        let event = self.event(WorkerEventKind::Heartbeat, seconds);
        WorkerEvent {
            freq: Some(5.0),
            active: None,
            processed: None,
            loadavg: Vec::new(),
            ..event
        }
    }
}

macro_rules! task_events {
    ($($name:ident $kind:ident),*) => {
        impl Node { $(
            pub(super) fn $name(&mut self, id: &str, seconds: f64) -> TaskEvent {
                self.task(TaskEventKind::$kind, id, seconds)
            }
        )* }
    };
}
task_events!(
    sends Sent, receives Received, starts Started, succeeds Succeeded, fails Failed, retries Retried,
    revokes Revoked, rejects Rejected, progresses Custom
);

/// The same worker event with that many tasks started so far.
pub(super) fn processed(event: WorkerEvent, processed: u64) -> WorkerEvent {
    WorkerEvent {
        processed: Some(processed),
        ..event
    }
}

impl From<TaskEvent> for Input {
    fn from(event: TaskEvent) -> Self {
        Self::Task(Box::new(event))
    }
}

impl From<WorkerEvent> for Input {
    fn from(event: WorkerEvent) -> Self {
        Self::Worker(Box::new(event))
    }
}

impl From<Snapshot> for Input {
    fn from(snapshot: Snapshot) -> Self {
        Self::Snapshot(Box::new(snapshot))
    }
}

impl From<Depths> for Input {
    fn from(depths: Depths) -> Self {
        Self::Depths(depths)
    }
}

impl From<Report> for Input {
    fn from(report: Report) -> Self {
        Self::Report(Box::new(report))
    }
}

impl From<Gap> for Input {
    fn from(gap: Gap) -> Self {
        Self::Gap(gap)
    }
}

/// A report of the inspector.
pub(super) fn report(seconds: f64, subscribed: bool) -> Report {
    Report {
        time: at(seconds),
        subscribed,
        broker: None,
        messages: 0,
        events: 0,
        rejections: Vec::new(),
        control_subscribers: None,
        silent_nodes: Vec::new(),
        kept: false,
    }
}

/// A gap of the whole app.
pub(super) fn gap(start: f64, end: Option<f64>) -> Gap {
    Gap {
        cause: GapCause::Reconnect,
        start: at(start),
        end: end.map(at),
        worker: None,
        missed_starts: None,
        dropped_messages: None,
        detail: "the subscription was lost".into(),
    }
}

/// Answers of a worker asked and received at one time, with all three lists empty.
pub(super) fn answers(worker: &str, seconds: f64) -> Snapshot {
    Snapshot {
        hostname: worker.to_owned(),
        asked: at(seconds),
        received: at(seconds + 0.1),
        active: Some(Vec::new()),
        reserved: Some(Vec::new()),
        scheduled: Some(Vec::new()),
        ..Snapshot::default()
    }
}

/// A task in a list.
pub(super) fn request(id: &str) -> TaskRequest {
    TaskRequest {
        id: TaskId::from(id),
        name: Some("shop.pay".into()),
        args: Some("[1, 2]".into()),
        kwargs: Some("{}".into()),
        time_start: None,
        queue: Some("mail".into()),
        eta: None,
    }
}

/// Stats with an uptime.
pub(super) fn up_for(uptime: f64) -> Stats {
    Stats {
        uptime_seconds: Some(uptime),
        ..Stats::default()
    }
}

/// A queue as `active_queues` names it.
pub(super) fn consumed(name: &str) -> ConsumedQueue {
    ConsumedQueue {
        name: name.into(),
        exchange: name.into(),
        exchange_type: "direct".into(),
        routing_key: name.into(),
        max_priority: None,
    }
}

/// A reading of queues.
pub(super) fn depths(seconds: f64, queues: &[(&str, u64)]) -> Depths {
    let depth = |(name, ready): &(&str, u64)| QueueDepth {
        name: (*name).into(),
        ready: *ready,
        priorities: Vec::new(),
        consumers: None,
        unacked: None,
        oldest: None,
    };
    Depths {
        read: at(seconds),
        queues: queues.iter().map(depth).collect(),
        unacked_total: Some(1),
    }
}

/// An app under test.
pub(super) struct Scene {
    pub(super) app: App,
    pub(super) changes: Changes,
    seconds: f64,
}

/// An app with the default limits.
pub(super) fn scene() -> Scene {
    scene_with(Limits::default())
}

/// An app with limits of its own.
pub(super) fn scene_with(limits: Limits) -> Scene {
    Scene {
        app: App::new("shop".into(), limits),
        changes: Changes::default(),
        seconds: 0.0,
    }
}

impl Scene {
    /// Something comes, at the time it says itself.
    pub(super) fn see(&mut self, input: impl Into<Input>) -> &mut Self {
        let input = input.into();
        let time = match &input {
            Input::Task(event) => event.received,
            Input::Worker(event) => event.received,
            Input::Snapshot(snapshot) => snapshot.received,
            Input::Depths(depths) => depths.read,
            Input::Report(report) => report.time,
            Input::Gap(gap) => gap.end.unwrap_or(gap.start),
            Input::TakeOver { time } => *time,
            Input::Wish(wish) => wish.recorded,
            Input::Results(_) | Input::Tick => at(self.seconds),
        };
        self.changes.clear();
        self.app.apply(time, input, &mut self.changes);
        self
    }

    /// What came so far is too long ago for its repeats to be told.
    pub(super) fn forget_told(&mut self) -> &mut Self {
        self.app.recent = Recent::default();
        self
    }

    /// Time passes, with the inspector reporting that all is well.
    pub(super) fn pass_until(&mut self, seconds: f64) -> &mut Self {
        while self.seconds < seconds {
            self.seconds = (self.seconds + 1.0).min(seconds);
            self.see(report(self.seconds, true)).see(Input::Tick);
        }
        self
    }

    /// Time passes and nothing comes, not even reports.
    pub(super) fn tick_at(&mut self, seconds: f64) -> &mut Self {
        self.seconds = seconds;
        self.see(Input::Tick)
    }

    /// A task that is in memory.
    pub(super) fn task(&self, id: &str) -> &Task {
        self.app.task(&TaskId::from(id)).unwrap()
    }

    /// A worker that is known.
    pub(super) fn worker(&self, name: &str) -> &Worker {
        self.app.worker(name).unwrap()
    }

    /// The attempts of a task: number, received, started and ended (seconds into the test), outcome.
    pub(super) fn attempts(&self, id: &str) -> Vec<String> {
        let time =
            |time: Option<f64>| time.map_or("-".to_owned(), |time| format!("{:.1}", time - START));
        let line = |attempt: &Attempt| {
            let outcome = attempt
                .outcome
                .as_ref()
                .map_or("open", |outcome| outcome.as_str());
            let [received, started, ended] =
                [attempt.received, attempt.started, attempt.ended].map(time);
            format!("{} {received} {started} {ended} {outcome}", attempt.number)
        };
        self.task(id).attempts.iter().map(line).collect()
    }
}
