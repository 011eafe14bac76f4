//! What an inspector is told to do beside its plan.

use std::time::Duration;

use crate::state::{Query, TaskId};

/// Orders that wait for one inspector's stream. People give them one at a time, and the stream takes each at once; a full
/// queue means that the stream does not flow, and the next order is refused.
pub(super) const ORDERS_MAX: usize = 64;

/// Something for the inspector that is folded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Publish a command.
    Command(CommandOrder),
    /// Look the outcomes of these tasks up in the result backend.
    Results(Vec<TaskId>),
    /// Ask these workers for these tasks by id.
    Query(Query),
    /// Read the depths of these queues, whether or not anybody consumes from them.
    Depths(Vec<String>),
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
