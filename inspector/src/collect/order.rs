//! What the aggregator orders, and what is told of it. It publishes nothing.

use std::time::Duration;

use serde_json::{Map, Value};

use super::Node;
use crate::wire::outcome::Outcome;
use crate::wire::pidbox::{Destination, Method};

/// Orders between the stream and the collector. The collector takes each within milliseconds; only people and controllers
/// give them, so a full queue means that something is wrong, and the order is refused.
pub const ORDERS_MAX: usize = 64;

/// Something to do for the aggregator, beside the plan.
#[derive(Debug, Clone, PartialEq)]
pub enum Order {
    /// Publish a command.
    Command(Command),
    /// Look the outcomes of these tasks up in the result backend.
    Results(Vec<String>),
    /// Ask these workers for these tasks.
    Query(Query),
    /// Read the depths of these queues, whoever consumes from them.
    Depths(Vec<String>),
}

/// Tasks to be asked for by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The tasks.
    pub tasks: Vec<String>,
    /// Of whom; nobody when empty.
    pub nodes: Vec<Node>,
}

/// What the result backend said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResultReport {
    /// Whether there is one.
    pub configured: bool,
    /// Outcomes by task id, of those that were there.
    pub outcomes: Vec<(String, Outcome)>,
    /// Why something could not be read.
    pub error: Option<String>,
}

/// A command to publish, at most once.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// Names it in reports.
    pub request_id: String,
    /// What is asked.
    pub method: Method,
    /// Celery's arguments.
    pub arguments: Map<String, Value>,
    /// Of whom.
    pub destination: Destination,
    /// For how long answers are looked for at a quick pace.
    pub wait: Duration,
}

/// What is new of one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandReport {
    /// Which.
    pub request_id: String,
    /// How publishing ended, when that is new.
    pub publication: Option<Publication>,
    /// Replies that have come since.
    pub replies: Vec<CommandReply>,
}

/// How publishing a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Publication {
    /// The broker has taken it.
    Published {
        /// When, microseconds since the Unix epoch.
        at_micros: i64,
        /// How many subscribers it reached, where the broker tells.
        subscribers: Option<u64>,
    },
    /// It did not go out, and will not.
    NotPublished {
        /// Why, without secrets.
        reason: String,
    },
    /// It may have gone out.
    Unknown {
        /// Why that is not known, without secrets.
        reason: String,
    },
}

/// One worker's reply to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandReply {
    /// The node name.
    pub worker: String,
    /// The value as JSON text; when it was cut, a JSON string with its beginning.
    pub value_json: String,
    /// When it was read, microseconds since the Unix epoch.
    pub received_micros: i64,
    /// Size of the whole value in bytes, when it was cut.
    pub size: Option<u64>,
}

impl CommandReport {
    /// The report of a command that was not published.
    pub fn not_published(request_id: String, reason: impl Into<String>) -> Self {
        Self {
            request_id,
            publication: Some(Publication::NotPublished {
                reason: reason.into(),
            }),
            replies: Vec::new(),
        }
    }
}
