//! What was seen, on its way to an aggregator.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::order::{CommandReport, ResultReport};
use crate::transport::{DepthReading, Receipt};
use crate::uplink::Events;
use crate::wire::pidbox::{ConsumedQueue, HeldTasks, QueriedTask, Stats};
use crate::wire::rejection::Rejection;

/// What was seen since the observation before.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observation {
    /// Events, in receive order.
    pub events: Events,
    /// Broker messages that the events came in.
    pub messages: u64,
    /// When the first of these messages was received; 0 when there are none.
    pub from_micros: i64,
    /// When the last of these messages was received; 0 when there are none.
    pub to_micros: i64,
    /// Answers of workers.
    pub snapshots: Vec<Snapshot>,
    /// Depths, when they were read.
    pub depths: Option<DepthReading>,
    /// Gaps that began or ended.
    pub gaps: Vec<Gap>,
    /// The inspector's own state, when it changed or was due.
    pub report: Option<Report>,
    /// What became of commands.
    pub commands: Vec<CommandReport>,
    /// What the result backend said.
    pub results: Vec<ResultReport>,
    /// To settle once all of this is safe.
    pub receipt: Option<Receipt>,
}

impl Observation {
    /// Whether nothing was seen.
    pub fn is_empty(&self) -> bool {
        self.messages == 0
            && self.events.is_empty()
            && self.snapshots.is_empty()
            && self.depths.is_none()
            && self.gaps.is_empty()
            && self.report.is_none()
            && self.commands.is_empty()
            && self.results.is_empty()
            && self.receipt.is_none()
    }
}

/// What one worker answered in one look. Each part is absent when it was not asked or not answered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// The node name.
    pub hostname: String,
    /// When the oldest of the requests was published, microseconds since the Unix epoch.
    pub asked_micros: i64,
    /// When the newest of the answers came, microseconds since the Unix epoch; `asked_micros` when none came.
    pub received_micros: i64,
    /// `stats`.
    pub stats: Option<Stats>,
    /// `active_queues`.
    pub queues: Option<Vec<ConsumedQueue>>,
    /// `active`.
    pub active: Option<HeldTasks>,
    /// `reserved`.
    pub reserved: Option<HeldTasks>,
    /// `scheduled`.
    pub scheduled: Option<HeldTasks>,
    /// `query_task`.
    pub queried: Option<Queried>,
    /// `registered`.
    pub registered: Option<Vec<String>>,
    /// `conf`, a JSON object.
    pub configuration_json: Option<String>,
    /// It answered `ping`.
    pub pong: bool,
    /// Commands it did not answer in time.
    pub unanswered: Vec<&'static str>,
    /// Commands it answered with an error, and its text.
    pub errors: BTreeMap<&'static str, String>,
}

/// The answer to `query_task`.
#[derive(Debug, Clone, PartialEq)]
pub struct Queried {
    /// The tasks that were asked for.
    pub tasks: Arc<[String]>,
    /// Those of them that the worker has.
    pub found: Vec<QueriedTask>,
}

/// Tasks of one answer that are kept at most; `total` of [`HeldTasks`] says how many there were.
pub const TASKS_MAX: usize = 1_000;

impl Snapshot {
    /// Whether some answer was longer than [`TASKS_MAX`] tasks.
    pub fn is_cut(&self) -> bool {
        let lists = [&self.active, &self.reserved, &self.scheduled];
        lists
            .into_iter()
            .flatten()
            .any(|list| list.total > list.tasks.len() as u64)
    }
}

/// A span in which events were or may have been missed. Times are microseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Why.
    pub cause: GapCause,
    /// The last moment before which nothing was missed.
    pub start_micros: i64,
    /// The first moment after which events flow again; `None` while they do not. It is told again, with the same start,
    /// when they do.
    pub end_micros: Option<i64>,
    /// Messages dropped, where they were counted.
    pub dropped_messages: Option<u64>,
    /// What happened, in a sentence.
    pub detail: String,
}

/// Why events were or may have been missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GapCause {
    /// The subscription was lost and made again.
    Reconnect,
    /// A local buffer was full.
    Overflow,
}

/// The inspector's own state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// When it was made, microseconds since the Unix epoch.
    pub time_micros: i64,
    /// Whether events flow.
    pub live: bool,
    /// When that last changed, microseconds since the Unix epoch.
    pub since_micros: i64,
    /// Why they do not, where that is known.
    pub unreachable_reason: Option<String>,
    /// The broker had kept everything that was sent since the subscription before, when events began to flow.
    pub kept: bool,
    /// What the server says of itself.
    pub server_version: Option<String>,
    /// Broker messages read since the start.
    pub messages: u64,
    /// Events read since the start.
    pub events: u64,
    /// What could not be read.
    pub rejections: Vec<Rejection>,
    /// Subscribers of remote control at the last publish.
    pub control_subscribers: Option<u64>,
    /// Nodes that never answered a request.
    pub silent_nodes: Vec<String>,
}
