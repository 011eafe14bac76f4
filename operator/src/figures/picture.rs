//! What the aggregator told, as far as a status needs it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::lint::Settings;

/// All apps, as of one round of questions.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// When the answers had come (our own clock).
    pub time: Timestamp,
    /// Apps by name: `namespace/name` of their `Celery`.
    pub apps: BTreeMap<String, App>,
}

/// One app.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct App {
    /// The broker, once an inspector told of it.
    pub broker: Option<Broker>,
    /// The inspector, once one has attached.
    pub inspector: Option<Inspector>,
    /// Messages delivered and not acknowledged, where the broker tells.
    pub unacked: Option<u64>,
    /// Tasks that failed in the last hour; `None` where the aggregator does not tell.
    pub failed_last_hour: Option<u64>,
    /// All workers that are known.
    pub workers: Vec<Worker>,
    /// All queues that are known.
    pub queues: Vec<Queue>,
    /// Settings of workers on line that have told them, by node name.
    pub settings: BTreeMap<String, Settings>,
}

/// A broker, as an inspector sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Broker {
    /// `redis` or `amqp`.
    pub transport: String,
    /// Whether it is reached now.
    pub reachable: bool,
    /// Why not.
    pub reason: Option<String>,
    /// Since when it is so.
    pub since: Option<Timestamp>,
    /// What the server says it is, such as `redis 7.0.15`.
    pub version: Option<String>,
}

/// An inspector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspector {
    /// Whether it is connected to the aggregator.
    pub attached: bool,
    /// Since when it is so.
    pub since: Option<Timestamp>,
    /// Whether it hears the events of workers.
    pub subscribed: bool,
}

/// A worker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Worker {
    /// Node name.
    pub name: String,
    /// Whether it is heard of.
    pub online: bool,
    /// Tasks it runs.
    pub active: Option<u64>,
    /// Tasks it holds and does not run, without those that wait for their ETA.
    pub reserved: u64,
    /// Tasks it can run at a time.
    pub slots: Option<u64>,
    /// Queues it takes from; `None` until it said.
    pub queues: Option<Vec<String>>,
    /// Its version of Celery.
    pub version: Option<String>,
    /// Whether it runs tasks and sends no events about them.
    pub events_off: bool,
}

/// A queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// Messages ready; `None` before the first reading.
    pub ready: Option<u64>,
    /// Messages delivered and not acknowledged, where it is told for each queue.
    pub unacked: Option<u64>,
    /// When the oldest message that is ready was sent, or first seen.
    pub oldest: Option<Timestamp>,
}
