//! What an inspector is told to do beside its plan, and what it tells of it.

use std::time::Duration;

use crate::state::Micros;

/// Orders that wait for one inspector's stream. People give them one at a time, and the stream takes each at once; a full
/// queue means that the stream does not flow, and the next order is refused.
pub(super) const ORDERS_MAX: usize = 64;

/// Something for the inspector that is folded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Publish a command.
    Command(CommandOrder),
}

/// A command, checked and composed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOrder {
    /// The caller's UUID.
    pub request_id: String,
    /// Celery's name of it.
    pub method: String,
    /// Celery's arguments, a JSON object.
    pub arguments_json: String,
    /// Whom it is for.
    pub destination: Destination,
    /// For how long answers are looked for at a quick pace.
    pub wait: Duration,
}

/// Whom a command is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Every worker of the app.
    All,
    /// These nodes; at least one.
    Nodes(Vec<String>),
}

/// What is new of one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandReport {
    /// Which.
    pub request_id: String,
    /// How publishing ended, when that is new.
    pub publication: Option<Publication>,
    /// Replies that have come since the report before.
    pub replies: Vec<CommandReply>,
}

/// How publishing a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Publication {
    /// The broker has taken it.
    Published {
        /// When (inspector's clock).
        time: Micros,
        /// How many subscribers it reached, where the broker tells.
        subscribers: Option<u64>,
    },
    /// It did not go out, and will not.
    NotPublished {
        /// Why.
        reason: String,
    },
    /// It may have gone out.
    Unknown {
        /// Why that is not known.
        reason: String,
    },
}

/// One worker's reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandReply {
    /// The node name.
    pub worker: String,
    /// The value as JSON text; when it was cut, a JSON string with its beginning.
    pub value_json: String,
    /// When it was read (inspector's clock).
    pub time: Micros,
    /// Size of the whole value in bytes, when it was cut.
    pub size: Option<u64>,
}
