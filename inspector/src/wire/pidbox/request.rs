//! Requests: what may be asked of workers, and how it is written. `hello` (changes the worker's clock and revoked tasks) and
//! `election` (crashes a worker that is alone) have no representation here.

use serde::Serialize;
use serde_json::{Map, Value};

use super::ControlMessage;
use crate::wire::content::Serializer;

/// A command of the remote control.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Method {
    /// One that only reads.
    Inspect(Inspect),
    /// One that changes something.
    Control(Control),
    /// One of the app's own.
    Custom(CustomMethod),
}

/// Commands that only read (`inspect_command` in `celery/worker/control.py`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Inspect {
    /// Is it there?
    Ping,
    /// Counters, pool and broker.
    Stats,
    /// Tasks that run.
    Active,
    /// Tasks prefetched that do not run and have no ETA.
    Reserved,
    /// Tasks that wait for their ETA.
    Scheduled,
    /// Tasks by id.
    QueryTask,
    /// Ids of revoked tasks.
    Revoked,
    /// Task names.
    Registered,
    /// Queues it consumes from.
    ActiveQueues,
    /// Settings.
    Conf,
    /// Lamport clock.
    Clock,
    /// Versions and settings as text.
    Report,
    /// Memory now.
    Memsample,
    /// Memory over time.
    Memdump,
    /// Object graph, written to the worker's disk; takes up to a minute.
    Objgraph,
}

impl Inspect {
    /// Each of them.
    pub const ALL: [Self; 15] = [
        Self::Ping,
        Self::Stats,
        Self::Active,
        Self::Reserved,
        Self::Scheduled,
        Self::QueryTask,
        Self::Revoked,
        Self::Registered,
        Self::ActiveQueues,
        Self::Conf,
        Self::Clock,
        Self::Report,
        Self::Memsample,
        Self::Memdump,
        Self::Objgraph,
    ];

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Stats => "stats",
            Self::Active => "active",
            Self::Reserved => "reserved",
            Self::Scheduled => "scheduled",
            Self::QueryTask => "query_task",
            Self::Revoked => "revoked",
            Self::Registered => "registered",
            Self::ActiveQueues => "active_queues",
            Self::Conf => "conf",
            Self::Clock => "clock",
            Self::Report => "report",
            Self::Memsample => "memsample",
            Self::Memdump => "memdump",
            Self::Objgraph => "objgraph",
        }
    }

    /// The command of this name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|inspect| inspect.name() == name)
    }
}

/// Commands that change something (`control_command` in `celery/worker/control.py`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Control {
    /// Revoke tasks by id.
    Revoke,
    /// Revoke tasks by id and end their processes.
    Terminate,
    /// Revoke tasks by stamped headers.
    RevokeByStampedHeaders,
    /// Change a task's rate limit.
    RateLimit,
    /// Change a task's time limits.
    TimeLimit,
    /// Add pool processes.
    PoolGrow,
    /// Remove pool processes.
    PoolShrink,
    /// Restart the pool.
    PoolRestart,
    /// Change the bounds of Celery's autoscaler.
    Autoscale,
    /// Consume from a queue.
    AddConsumer,
    /// Stop consuming from a queue.
    CancelConsumer,
    /// Send task events.
    EnableEvents,
    /// Stop sending task events.
    DisableEvents,
    /// Send a heartbeat now.
    Heartbeat,
    /// Shut down, warm. Never answered.
    Shutdown,
}

impl Control {
    /// Each of them.
    pub const ALL: [Self; 15] = [
        Self::Revoke,
        Self::Terminate,
        Self::RevokeByStampedHeaders,
        Self::RateLimit,
        Self::TimeLimit,
        Self::PoolGrow,
        Self::PoolShrink,
        Self::PoolRestart,
        Self::Autoscale,
        Self::AddConsumer,
        Self::CancelConsumer,
        Self::EnableEvents,
        Self::DisableEvents,
        Self::Heartbeat,
        Self::Shutdown,
    ];

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Revoke => "revoke",
            Self::Terminate => "terminate",
            Self::RevokeByStampedHeaders => "revoke_by_stamped_headers",
            Self::RateLimit => "rate_limit",
            Self::TimeLimit => "time_limit",
            Self::PoolGrow => "pool_grow",
            Self::PoolShrink => "pool_shrink",
            Self::PoolRestart => "pool_restart",
            Self::Autoscale => "autoscale",
            Self::AddConsumer => "add_consumer",
            Self::CancelConsumer => "cancel_consumer",
            Self::EnableEvents => "enable_events",
            Self::DisableEvents => "disable_events",
            Self::Heartbeat => "heartbeat",
            Self::Shutdown => "shutdown",
        }
    }

    /// The command of this name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|control| control.name() == name)
    }
}

/// The name of a command of the app's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CustomMethod(String);

/// Why a name is none of an app's own command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotSendable {
    /// It harms workers or changes them behind their app's back.
    #[error("`hello` and `election` are never sent")]
    Harmful,
    /// Celery has it, or had.
    #[error("it is a command of Celery's own")]
    Builtin,
    /// It is no name.
    #[error("a command's name is 1 to 255 visible ASCII characters")]
    Name,
}

/// Other names of Celery's own inspect commands (`alias=` in `celery/worker/control.py`).
const ALIASES: [&str; 6] = [
    "dump_active",
    "dump_conf",
    "dump_reserved",
    "dump_revoked",
    "dump_schedule",
    "dump_tasks",
];

impl CustomMethod {
    /// Checks a name.
    ///
    /// # Errors
    /// When Celery has a command of that name, or it is no name.
    pub fn new(name: &str) -> Result<Self, NotSendable> {
        if name.is_empty() || name.len() > 255 || !name.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(NotSendable::Name);
        }
        if matches!(name, "hello" | "election") {
            return Err(NotSendable::Harmful);
        }
        if Inspect::of(name).is_some() || Control::of(name).is_some() || ALIASES.contains(&name) {
            return Err(NotSendable::Builtin);
        }
        Ok(Self(name.to_owned()))
    }

    /// Its name on the wire.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl Method {
    /// Its name on the wire.
    pub fn name(&self) -> &str {
        match self {
            Self::Inspect(inspect) => inspect.name(),
            Self::Control(control) => control.name(),
            Self::Custom(custom) => custom.name(),
        }
    }

    /// Whether a worker ever answers it: `shutdown` ends the worker before its reply.
    pub fn is_answered(&self) -> bool {
        *self != Self::Control(Control::Shutdown)
    }
}

impl From<Inspect> for Method {
    fn from(inspect: Inspect) -> Self {
        Self::Inspect(inspect)
    }
}

impl From<Control> for Method {
    fn from(control: Control) -> Self {
        Self::Control(control)
    }
}

impl From<CustomMethod> for Method {
    fn from(custom: CustomMethod) -> Self {
        Self::Custom(custom)
    }
}

/// Which workers run a request. It reaches all of them, and those it is not for drop it.
///
/// An empty list means everybody to Celery; it has no representation here, so that nothing is broadcast by mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination(Option<Vec<String>>);

impl Destination {
    /// Every worker of the app.
    pub fn everyone() -> Self {
        Self(None)
    }

    /// These nodes, such as `celery@w1`; nothing when there are none.
    pub fn nodes(names: Vec<String>) -> Option<Self> {
        (!names.is_empty()).then_some(Self(Some(names)))
    }

    /// The nodes; nothing for everyone.
    pub fn names(&self) -> Option<&[String]> {
        self.0.as_deref()
    }
}

/// A request.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    method: Method,
    arguments: Map<String, Value>,
    destination: Destination,
    reply: Option<(String, String)>,
}

impl Request {
    /// A request without arguments, to which no reply is asked for.
    pub fn new(method: impl Into<Method>, destination: Destination) -> Self {
        Self {
            method: method.into(),
            arguments: Map::new(),
            destination,
            reply: None,
        }
    }

    /// Adds an argument, by its exact name in Celery.
    #[must_use]
    pub fn argument(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.arguments.insert(name.to_owned(), value.into());
        self
    }

    /// Replaces all arguments.
    #[must_use]
    pub fn arguments(mut self, arguments: Map<String, Value>) -> Self {
        self.arguments = arguments;
        self
    }

    /// Asks each worker for one reply to `queue` by the default exchange, marked with `ticket`.
    #[must_use]
    pub fn reply_to(mut self, queue: &str, ticket: &str) -> Self {
        self.reply = Some((queue.to_owned(), ticket.to_owned()));
        self
    }

    /// What is asked.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Of whom.
    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    /// The message. `expires` is seconds since the Unix epoch, 0 for never.
    pub fn encode(&self, serializer: Serializer, expires: f64) -> ControlMessage {
        let body = Body {
            method: self.method.name(),
            arguments: &self.arguments,
            destination: self.destination.names(),
            pattern: None,
            matcher: None,
            ticket: self.reply.as_ref().map(|(_, ticket)| ticket.as_str()),
            reply_to: self.reply.as_ref().map(|(queue, _)| ReplyTo {
                exchange: "",
                routing_key: queue,
            }),
        };
        let (content_type, content_encoding) = serializer.content();
        ControlMessage {
            body: serializer.encode(&body),
            content_type,
            content_encoding,
            expires,
        }
    }
}

/// Field order is kombu's (`Mailbox._publish`).
#[derive(Serialize)]
struct Body<'a> {
    method: &'a str,
    arguments: &'a Map<String, Value>,
    destination: Option<&'a [String]>,
    pattern: Option<&'a str>,
    matcher: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<ReplyTo<'a>>,
}

#[derive(Serialize)]
struct ReplyTo<'a> {
    exchange: &'a str,
    routing_key: &'a str,
}
