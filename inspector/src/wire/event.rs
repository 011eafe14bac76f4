//! Events (`celeryev`): what workers and clients announce. Follows `celery/events` and `celery/worker/request.py`.

use std::borrow::Cow;

use super::argument::masked;
use super::rejection::Rejections;

mod careful;
mod field;
#[cfg(test)]
mod tests;
mod usual;

/// Most events of one message. Celery flushes its buffer at 24 (`celery/events/dispatcher.py`).
pub const EVENTS_MAX: usize = 10_000;

/// Most custom fields kept of one event.
pub const CUSTOM_FIELDS_MAX: usize = 32;

/// Longest type, hostname and task id that is read, bytes. They are keys, and are never cut. AMQP has 255.
pub const IDENTITY_BYTES_MAX: usize = 1024;

/// Longest name of a custom field, bytes.
pub const NAME_BYTES_MAX: usize = 256;

/// One event as it was on the wire; texts are those of the body it was read from, where they have no escapes. Fields that
/// were absent or null are `None`; nothing is guessed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Event<'a> {
    /// Celery's type, such as `task-received`, `worker-heartbeat`, or a custom one.
    pub event_type: Cow<'a, str>,
    /// Sender: a node name, or `gen<pid>@host` for clients.
    pub hostname: Cow<'a, str>,
    /// Sender's process id; the pool child's for events from inside a task.
    pub pid: Option<u64>,
    /// Sender's Lamport clock.
    pub clock: Option<u64>,
    /// Sender's time, seconds since the Unix epoch, UTC (`utcoffset` is ignored).
    pub timestamp: Option<f64>,
    /// When it was received, microseconds since the Unix epoch.
    pub received_micros: i64,
    /// Task id: on every task event and no worker event.
    pub uuid: Option<Cow<'a, str>>,
    /// Task name (`task-sent`, `task-received`).
    pub name: Option<Cow<'a, str>>,
    /// Positional arguments, Python `repr`. In these three, values under the name of a secret are masked
    /// ([`argument`](super::argument)).
    pub args: Option<Cow<'a, str>>,
    /// Keyword arguments, Python `repr`.
    pub kwargs: Option<Cow<'a, str>>,
    /// First task of the workflow.
    pub root_id: Option<Cow<'a, str>>,
    /// Calling task.
    pub parent_id: Option<Cow<'a, str>>,
    /// Retries so far.
    pub retries: Option<i64>,
    /// ISO 8601: not to start before.
    pub eta: Option<Cow<'a, str>>,
    /// ISO 8601: not to start after.
    pub expires: Option<Cow<'a, str>>,
    /// Queue (`task-sent`).
    pub queue: Option<Cow<'a, str>>,
    /// Exchange (`task-sent`).
    pub exchange: Option<Cow<'a, str>>,
    /// Routing key (`task-sent`).
    pub routing_key: Option<Cow<'a, str>>,
    /// Return value, Python `repr` (`task-succeeded`).
    pub result: Option<Cow<'a, str>>,
    /// Execution time in seconds (`task-succeeded`).
    pub runtime: Option<f64>,
    /// Exception, Python `repr` (`task-failed`, `task-retried`).
    pub exception: Option<Cow<'a, str>>,
    /// Traceback (`task-failed`, `task-retried`).
    pub traceback: Option<Cow<'a, str>>,
    /// `task-revoked`: its process was told to end.
    pub terminated: Option<bool>,
    /// `task-revoked`: signal, a number or a name on the wire.
    pub signum: Option<Cow<'a, str>>,
    /// `task-revoked`: it expired.
    pub expired: Option<bool>,
    /// `task-rejected`: it goes back to the queue.
    pub requeue: Option<bool>,
    /// Heartbeat interval, seconds (worker events).
    pub freq: Option<f64>,
    /// Tasks running (worker events; absent on a heartbeat that was asked for).
    pub active: Option<u64>,
    /// Tasks started since the worker began (worker events).
    pub processed: Option<u64>,
    /// Load averages over 1, 5, 15 minutes; empty when absent.
    pub loadavg: Vec<f64>,
    /// Software, such as `py-celery`.
    pub sw_ident: Option<Cow<'a, str>>,
    /// Software version.
    pub sw_ver: Option<Cow<'a, str>>,
    /// Operating system.
    pub sw_sys: Option<Cow<'a, str>>,
    /// Other fields by name, each value as JSON text of at most 64 KiB; at most 32. A value that is longer is a JSON
    /// string with its beginning. Numbers are as they were on the wire, of any size.
    pub custom: Vec<(String, String)>,
    /// Texts cut at 64 KiB, and custom fields past the 32nd (left out): field name and full size in bytes. Custom fields
    /// past the 64th are not named.
    pub truncated: Vec<(String, u64)>,
    /// Fields in which NaN or Infinity was left out, a lone surrogate became U+FFFD, or a value was left out because its
    /// type is not the field's.
    pub sanitized: Vec<String>,
}

impl Event<'_> {
    /// Whether Celery itself gives this type its fields; any other is an app's own, or a worker election's.
    pub fn is_builtin(&self) -> bool {
        matches!(
            self.event_type.as_ref(),
            "task-sent"
                | "task-received"
                | "task-started"
                | "task-succeeded"
                | "task-failed"
                | "task-retried"
                | "task-revoked"
                | "task-rejected"
                | "task-cancelled"
                | "worker-online"
                | "worker-heartbeat"
                | "worker-offline"
        )
    }

    /// Whether it tells of a task: its type is of the group `task`, built in or not.
    pub fn is_task(&self) -> bool {
        self.group() == "task"
    }

    /// Whether it tells of a worker.
    pub fn is_worker(&self) -> bool {
        self.group() == "worker"
    }

    /// The part of the type before the first hyphen (`celery/events/state.py`).
    fn group(&self) -> &str {
        self.event_type
            .split_once('-')
            .map_or(self.event_type.as_ref(), |(group, _)| group)
    }
}

/// Why an event, or a whole body, was rejected. The texts are a fixed set, fit for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.reason())]
pub enum Unfit {
    /// The body is no JSON; nothing in it is read.
    NotJson,
    /// It is no JSON object.
    NotAnObject,
    /// Nested deeper than 127 levels.
    TooDeep,
    /// `type` is missing or no string.
    Type,
    /// `hostname` is missing or no string.
    Hostname,
    /// A task event whose `uuid` is missing, or an event whose `uuid` is no id.
    Uuid,
    /// Type, hostname or task id longer than [`IDENTITY_BYTES_MAX`].
    Identity,
    /// Events past [`EVENTS_MAX`] in one message.
    TooMany,
}

impl Unfit {
    /// The reason, one of a fixed set.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotJson => "body is not JSON",
            Self::NotAnObject => "event is not an object",
            Self::TooDeep => "event nested deeper than 127 levels",
            Self::Type => "event without a readable type",
            Self::Hostname => "event without a readable hostname",
            Self::Uuid => "event without a readable uuid",
            Self::Identity => "event with a type, hostname or uuid longer than 1024 bytes",
            Self::TooMany => "more than 10000 events in one message",
        }
    }
}

/// Decodes the body of one message, an event or an array of events, and appends them to `out` in order. Gives how many
/// were appended; what cannot be read is added to `rejects`, and spoils no other event of the array.
///
/// `received_micros` is microseconds since the Unix epoch.
pub fn decode_events<'a>(
    body: &'a [u8],
    received_micros: i64,
    out: &mut Vec<Event<'a>>,
    rejects: &mut Rejections,
) -> usize {
    let before = out.len();
    if !usual::decode(body, received_micros, out) {
        careful::decode(body, received_micros, out, rejects);
    }
    for event in &mut out[before..] {
        for text in [&mut event.args, &mut event.kwargs, &mut event.result] {
            if let Some(masked) = text.as_deref().and_then(masked) {
                *text = Some(masked.into());
            }
        }
    }
    out.len() - before
}

/// Whether an event says what it is, whose, and of which task.
fn identity(event: &Event<'_>) -> Result<(), Unfit> {
    if event.event_type.is_empty() {
        return Err(Unfit::Type);
    }
    if event.hostname.is_empty() {
        return Err(Unfit::Hostname);
    }
    let uuid = event.uuid.as_deref().unwrap_or_default();
    if uuid.is_empty() && event.is_task() {
        return Err(Unfit::Uuid);
    }
    let longest = event
        .event_type
        .len()
        .max(event.hostname.len())
        .max(uuid.len());
    if longest > IDENTITY_BYTES_MAX {
        return Err(Unfit::Identity);
    }
    Ok(())
}
