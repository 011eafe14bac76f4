//! Remote control ("pidbox"): requests and replies, every inspect command typed. Follows `kombu/pidbox.py` and
//! `celery/worker/control.py`.

mod held;
mod queue;
mod reply;
mod request;
mod secret;
mod stats;
#[cfg(test)]
mod tests;

pub use held::{HELD_MAX, HeldTasks, QueriedTask, TaskRequest, TaskState};
pub use queue::{ConsumedQueue, NAMES_MAX, QUEUES_MAX, RegisteredTask};
pub use reply::{Answer, AnswerError, Reply, ReplyError, SHOWN_BYTES_MAX};
pub use request::{Control, CustomMethod, Destination, Inspect, Method, NotSendable, Request};
pub use secret::MASK;
pub use stats::{AutoscalerStats, BrokerStats, PoolStats, ResourceUsage, Stats, WriteStats};

/// A control request ready for a transport: serialized body and the headers kombu gives it.
#[derive(Debug, Clone, PartialEq)]
pub struct ControlMessage {
    /// Serialized request.
    pub body: Vec<u8>,
    /// Such as `application/json`.
    pub content_type: &'static str,
    /// Such as `utf-8`.
    pub content_encoding: &'static str,
    /// Header `expires`, seconds since the Unix epoch; nobody enforces it.
    pub expires: f64,
}
