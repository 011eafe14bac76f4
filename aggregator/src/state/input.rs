//! What the fold takes in: one closed enum, already checked and typed at the edge.

use minicbor::{Decode, Encode};

use super::gap::Gap;
use super::ids::{Micros, Symbol, TaskId};
use super::worker::ConsumedQueue;

/// Everything that can change an app's state.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// An event of a task.
    Task(Box<TaskEvent>),
    /// An event of a worker.
    Worker(Box<WorkerEvent>),
    /// A worker's answers.
    Snapshot(Box<Snapshot>),
    /// Queue depths.
    Depths(Depths),
    /// A gap the inspector found.
    Gap(Gap),
    /// Another inspector, or another life of it, is folded from now on.
    TakeOver {
        /// When.
        time: Micros,
    },
    /// The inspector's own state.
    Report(Box<Report>),
    /// What the result backend said of tasks that [`super::App::take_wanted`] named.
    Results(Outcomes),
    /// Somebody's command says which queues workers are meant to consume.
    Wish(Wish),
    /// Time passed.
    Tick,
}

/// What a recorded command says about a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The queue.
    pub queue: Symbol,
    /// The workers; `None` is all.
    pub workers: Option<Vec<Symbol>>,
    /// When it was recorded (our own clock).
    pub recorded: Micros,
    /// What of it.
    pub what: Meant,
}

/// What somebody means a worker to do with a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meant {
    /// To consume it.
    Consumed,
    /// Not to.
    Cancelled,
    /// It was to be cancelled, but that command never went out.
    Unsaid,
}

/// What a result backend said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// Whether the inspector was given one.
    pub configured: bool,
    /// The outcomes that were there.
    pub outcomes: Vec<Outcome>,
    /// Why something could not be read.
    pub error: Option<Box<str>>,
}

/// The outcome of a task as a result backend keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The task.
    pub id: TaskId,
    /// Celery's state.
    pub status: Box<str>,
    /// When it was done (worker's clock).
    pub done: Option<Micros>,
    /// Return value as JSON text.
    pub result: Option<Box<str>>,
    /// Exception.
    pub exception: Option<Box<str>>,
    /// Traceback.
    pub traceback: Option<Box<str>>,
    /// Texts that were cut: field and full size.
    pub truncated: Vec<(Box<str>, u64)>,
}

/// What a task event says happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum TaskEventKind {
    /// `task-sent`.
    #[n(0)]
    Sent,
    /// `task-received`.
    #[n(1)]
    Received,
    /// `task-started`.
    #[n(2)]
    Started,
    /// `task-succeeded`.
    #[n(3)]
    Succeeded,
    /// `task-failed`.
    #[n(4)]
    Failed,
    /// `task-retried`.
    #[n(5)]
    Retried,
    /// `task-revoked`.
    #[n(6)]
    Revoked,
    /// `task-rejected`.
    #[n(7)]
    Rejected,
    /// Any other type with a task id, such as `task-progress`.
    #[n(8)]
    Custom,
}

/// One event of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskEvent {
    /// What happened.
    pub kind: TaskEventKind,
    /// The type on the wire, such as `task-progress`.
    pub event_type: Symbol,
    /// Sender.
    pub hostname: Symbol,
    /// Sender's process id.
    pub pid: Option<u64>,
    /// Sender's Lamport clock.
    pub clock: Option<u64>,
    /// Sender's time, seconds.
    pub timestamp: Option<f64>,
    /// When the inspector received it.
    pub received: Micros,
    /// Task id.
    pub id: TaskId,
    /// Task name.
    pub name: Option<Symbol>,
    /// Positional arguments.
    pub args: Option<Box<str>>,
    /// Keyword arguments.
    pub kwargs: Option<Box<str>>,
    /// First task of the workflow.
    pub root_id: Option<TaskId>,
    /// Calling task.
    pub parent_id: Option<TaskId>,
    /// Retries so far.
    pub retries: Option<i64>,
    /// Not to start before.
    pub eta: Option<Micros>,
    /// Not to start after.
    pub expires: Option<Micros>,
    /// Queue.
    pub queue: Option<Symbol>,
    /// Exchange.
    pub exchange: Option<Symbol>,
    /// Routing key.
    pub routing_key: Option<Symbol>,
    /// Return value.
    pub result: Option<Box<str>>,
    /// Execution time, seconds.
    pub runtime: Option<f64>,
    /// Exception.
    pub exception: Option<Box<str>>,
    /// Traceback.
    pub traceback: Option<Box<str>>,
    /// Its process was told to end.
    pub terminated: Option<bool>,
    /// With this signal.
    pub signum: Option<Box<str>>,
    /// It expired.
    pub expired: Option<bool>,
    /// It goes back to the queue.
    pub requeue: Option<bool>,
    /// Other fields, values as JSON text.
    pub custom: Vec<(Box<str>, Box<str>)>,
    /// Texts that were cut: field and full size.
    pub truncated: Vec<(Box<str>, u64)>,
    /// Fields in which something was replaced.
    pub sanitized: Vec<Box<str>>,
}

/// What a worker event says happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerEventKind {
    /// `worker-online`.
    Online,
    /// `worker-heartbeat`.
    Heartbeat,
    /// `worker-offline`.
    Offline,
    /// Any other type without a task id; a sign of life only.
    Other,
}

/// One event of a worker.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerEvent {
    /// What happened.
    pub kind: WorkerEventKind,
    /// The type on the wire.
    pub event_type: Symbol,
    /// The worker.
    pub hostname: Symbol,
    /// Its process id.
    pub pid: Option<u64>,
    /// Its Lamport clock.
    pub clock: Option<u64>,
    /// Its time, seconds.
    pub timestamp: Option<f64>,
    /// When the inspector received it.
    pub received: Micros,
    /// Heartbeat interval, seconds.
    pub freq: Option<f64>,
    /// Tasks running; `None` on a heartbeat that was asked for.
    pub active: Option<u64>,
    /// Tasks started; `None` on a heartbeat that was asked for.
    pub processed: Option<u64>,
    /// Load averages.
    pub loadavg: Vec<f64>,
    /// Software.
    pub sw_ident: Option<Symbol>,
    /// Version.
    pub sw_ver: Option<Symbol>,
    /// Operating system.
    pub sw_sys: Option<Symbol>,
}

/// What one worker answered. Parts that were not asked or not answered are `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// The worker.
    pub hostname: String,
    /// When the oldest request was published (inspector's clock).
    pub asked: Micros,
    /// When the newest answer came (inspector's clock).
    pub received: Micros,
    /// `stats`.
    pub stats: Option<Stats>,
    /// `active_queues`.
    pub queues: Option<Vec<ConsumedQueue>>,
    /// `active`.
    pub active: Option<Vec<TaskRequest>>,
    /// `reserved`.
    pub reserved: Option<Vec<TaskRequest>>,
    /// `scheduled`.
    pub scheduled: Option<Vec<TaskRequest>>,
    /// How many `active`, `reserved` and `scheduled` tasks there were, when the lists were cut.
    pub cut: bool,
    /// `query_task`.
    pub queried: Option<Queried>,
    /// `registered`.
    pub registered: Option<Vec<Symbol>>,
    /// `conf` as JSON.
    pub configuration_json: Option<Box<str>>,
    /// It answered `ping`.
    pub pong: bool,
    /// Commands it did not answer in time.
    pub unanswered: Vec<Box<str>>,
}

impl Snapshot {
    /// Whether the worker answered anything at all.
    pub fn answered(&self) -> bool {
        self.pong
            || self.stats.is_some()
            || self.queues.is_some()
            || self.active.is_some()
            || self.reserved.is_some()
            || self.scheduled.is_some()
            || self.queried.is_some()
            || self.registered.is_some()
            || self.configuration_json.is_some()
    }
}

/// A `query_task` answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Queried {
    /// The tasks that were asked for.
    pub tasks: Vec<TaskId>,
    /// Those of them that the worker has, and whether it runs them.
    pub found: Vec<(bool, TaskRequest)>,
}

/// A `stats` answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stats {
    /// Process id.
    pub pid: Option<u64>,
    /// Lamport clock.
    pub clock: Option<u64>,
    /// Uptime, seconds.
    pub uptime_seconds: Option<f64>,
    /// Prefetch count.
    pub prefetch_count: Option<i64>,
    /// Pool class.
    pub pool_implementation: Option<Box<str>>,
    /// Start-up concurrency.
    pub max_concurrency: Option<i64>,
    /// Pool processes.
    pub processes: Vec<u64>,
    /// Pool threads.
    pub threads: Option<i64>,
    /// Celery's autoscaler: (max, min, current).
    pub autoscaler: Option<(i64, i64, i64)>,
    /// Peak resident memory, bytes.
    pub peak_memory_bytes: Option<i64>,
    /// Tasks accepted by name.
    pub totals: Vec<(Symbol, u64)>,
}

/// A task as a worker holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRequest {
    /// Task id.
    pub id: TaskId,
    /// Shadow or registered name.
    pub name: Option<Symbol>,
    /// Arguments as JSON.
    pub args: Option<Box<str>>,
    /// Keyword arguments as JSON.
    pub kwargs: Option<Box<str>>,
    /// Start of execution, seconds (worker's clock).
    pub time_start: Option<f64>,
    /// Queue, where the answer tells (default exchange: the routing key).
    pub queue: Option<Symbol>,
    /// Not to start before.
    pub eta: Option<Micros>,
}

/// Queue depths at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Depths {
    /// When they were read (inspector's clock).
    pub read: Micros,
    /// The queues; one that is missing is no longer known to the broker.
    pub queues: Vec<QueueDepth>,
    /// Not acknowledged, whole app.
    pub unacked_total: Option<u64>,
}

/// Depth of one queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueDepth {
    /// Queue name.
    pub name: Symbol,
    /// Ready, all priorities.
    pub ready: u64,
    /// Ready by priority; empty when there is one level.
    pub priorities: Vec<(i32, u64)>,
    /// Consumers, where the broker tells.
    pub consumers: Option<u64>,
    /// Not acknowledged, where the broker tells.
    pub unacked: Option<u64>,
    /// When the oldest message was sent, where it can be read.
    pub oldest: Option<Micros>,
}

/// The inspector's own state.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// When it was made (inspector's clock).
    pub time: Micros,
    /// Whether the event subscription is live.
    pub subscribed: bool,
    /// Broker without secrets.
    pub broker: Option<BrokerFacts>,
    /// Messages read since the inspector's start.
    pub messages: u64,
    /// Events read since the inspector's start.
    pub events: u64,
    /// What could not be read.
    pub rejections: Vec<Unread>,
    /// Workers subscribed to remote control.
    pub control_subscribers: Option<u64>,
    /// Nodes that never answered.
    pub silent_nodes: Vec<Symbol>,
    /// The broker has kept every event since the subscription before.
    pub kept: bool,
}

/// Messages and events that were not read for one reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unread {
    /// Why.
    pub reason: Box<str>,
    /// How many since the inspector's start.
    pub count: u64,
    /// The beginning of the latest.
    pub sample: Option<Box<str>>,
    /// Nodes whose events were among them, some of them when there are many.
    pub senders: Vec<Box<str>>,
    /// Workers whose answers were among them, likewise.
    pub repliers: Vec<Box<str>>,
}

/// A broker as an inspector sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerFacts {
    /// URL without secrets.
    pub endpoint: Box<str>,
    /// `redis` or `amqp`.
    pub transport: Box<str>,
    /// What the server says of itself.
    pub version: Option<Box<str>>,
    /// Whether it is reached now.
    pub reachable: bool,
    /// Why not.
    pub unreachable_reason: Option<Box<str>>,
    /// When `reachable` last changed.
    pub since: Micros,
}
