//! Tasks as a worker holds them (`Request.info()` in `celery/worker/request.py`).

use crate::wire::argument::masked_json;
use crate::wire::json::{self, List, Object};

/// Most tasks read of one answer. Prefetched tasks are a few for each slot, but a prefetch count of 0 has no bound.
pub const HELD_MAX: usize = 10_000;

/// A worker's clock before this, seconds since the Unix epoch (September 2001), is none: Celery 4.0 sent its monotonic
/// clock.
const CLOCK_MIN: f64 = 1e9;

/// A task that a worker holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskRequest {
    /// Task id.
    pub id: String,
    /// Shadow name where one is set, else as the type.
    pub name: Option<String>,
    /// Registered name.
    pub task_type: Option<String>,
    /// Positional arguments as JSON text; a string when cut, or asked for with `safe`.
    pub args: Option<String>,
    /// Keyword arguments as JSON text; a string when cut, or asked for with `safe`.
    pub kwargs: Option<String>,
    /// The node that holds it.
    pub hostname: Option<String>,
    /// When it was started, seconds since the Unix epoch, worker's clock; absent until then.
    pub time_start: Option<f64>,
    /// Its message was acknowledged.
    pub acknowledged: bool,
    /// Exchange it came by; empty is the default exchange.
    pub exchange: Option<String>,
    /// Routing key; with the default exchange the queue.
    pub routing_key: Option<String>,
    /// Message priority; on AMQP absent unless set.
    pub priority: Option<i64>,
    /// It was delivered before.
    pub redelivered: bool,
    /// Pool child that runs it; absent until it runs.
    pub worker_pid: Option<u64>,
    /// ISO 8601: not to start before. In `scheduled` only.
    pub eta: Option<String>,
    /// Arguments cut at 64 KiB: field name and full size in bytes.
    pub truncated: Vec<(String, u64)>,
}

/// The tasks of one answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HeldTasks {
    /// The tasks, at most [`HELD_MAX`].
    pub tasks: Vec<TaskRequest>,
    /// How many the worker named.
    pub total: u64,
    /// How many of those read have no readable id, and are left out.
    pub unreadable: u64,
}

/// Where a worker has a task (`query_task`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskState {
    /// It runs.
    Active,
    /// Prefetched.
    Reserved,
    /// It waits for its ETA; told since Celery 5.7.
    Scheduled,
    /// Known, and none of these.
    Ready,
}

/// A task that was asked for by id.
#[derive(Debug, Clone, PartialEq)]
pub struct QueriedTask {
    /// Where the worker has it.
    pub state: TaskState,
    /// The task.
    pub request: TaskRequest,
}

impl TaskRequest {
    fn read(raw: &str) -> Option<Self> {
        let fields = Object::read(raw)?;
        let text = |name| fields.string(name).map(|text| json::bounded_text(&text).0);
        let delivery = fields.object("delivery_info").unwrap_or_default();
        let mut truncated = Vec::new();
        let mut arguments = |name: &str| {
            let raw = fields.get(name).filter(|raw| *raw != "null")?;
            let masked = masked_json(raw);
            let (value, full_bytes) = json::bounded_json(masked.as_deref().unwrap_or(raw));
            truncated.extend(full_bytes.map(|bytes| (name.to_owned(), bytes)));
            Some(value)
        };
        let (args, kwargs) = (arguments("args"), arguments("kwargs"));
        Some(Self {
            id: text("id").filter(|id| !id.is_empty())?,
            name: text("name"),
            task_type: text("type"),
            args,
            kwargs,
            hostname: text("hostname"),
            time_start: fields
                .float("time_start")
                .filter(|seconds| *seconds >= CLOCK_MIN),
            acknowledged: fields.boolean("acknowledged").unwrap_or_default(),
            exchange: delivery.string("exchange").map(Into::into),
            routing_key: delivery.string("routing_key").map(Into::into),
            priority: delivery.integer("priority"),
            redelivered: delivery.boolean("redelivered").unwrap_or_default(),
            worker_pid: fields.unsigned("worker_pid"),
            eta: None,
            truncated,
        })
    }
}

/// The answer to `active` and `reserved`.
pub(super) fn requests(raw: &str) -> Option<HeldTasks> {
    list(raw, TaskRequest::read)
}

/// The answer to `scheduled`. The priority beside each request is the timer's, always 6, and not the message's.
pub(super) fn scheduled(raw: &str) -> Option<HeldTasks> {
    list(raw, |raw| {
        let entry = Object::read(raw)?;
        let mut request = TaskRequest::read(entry.get("request")?)?;
        request.eta = entry.string("eta").map(Into::into);
        Some(request)
    })
}

fn list(raw: &str, read: impl Fn(&str) -> Option<TaskRequest>) -> Option<HeldTasks> {
    let list = List::read(raw, HELD_MAX)?;
    let mut held = HeldTasks {
        total: list.total(),
        ..HeldTasks::default()
    };
    for raw in list.items {
        match read(raw) {
            Some(request) => held.tasks.push(request),
            None => held.unreadable += 1,
        }
    }
    Some(held)
}

/// The answer to `query_task`: `{id: [state, request]}`. No entry is left out: a task that is missing here would look gone.
pub(super) fn queried(raw: &str) -> Option<Vec<QueriedTask>> {
    let answer = Object::read(raw)?;
    let tasks = answer.fields().map(|(id, raw)| {
        let pair = List::read(raw, 2)?;
        let state = match json::string(pair.items.first()?)?.as_ref() {
            "active" => TaskState::Active,
            "reserved" => TaskState::Reserved,
            "scheduled" => TaskState::Scheduled,
            _ => TaskState::Ready,
        };
        let request = pair.items.get(1).and_then(|raw| TaskRequest::read(raw));
        let request = request.unwrap_or_else(|| TaskRequest {
            id: id.to_owned(),
            ..TaskRequest::default()
        });
        Some(QueriedTask { state, request })
    });
    tasks.collect()
}
