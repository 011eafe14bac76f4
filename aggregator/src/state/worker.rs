//! Workers: Celery nodes, their incarnations and what they answered.

use minicbor::{Decode, Encode};

use super::ids::{Micros, Symbol};
use super::ledger::Ledger;

/// Whether a worker is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum WorkerStatus {
    /// Heard of recently enough.
    #[n(0)]
    Online,
    /// It said goodbye.
    #[n(1)]
    Offline,
    /// It fell silent while our own subscription was healthy.
    #[n(2)]
    Silent,
}

/// Whether a worker sends task events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum EventsMode {
    /// Not known yet.
    #[n(0)]
    Unknown,
    /// Task events were seen from this incarnation.
    #[n(1)]
    On,
    /// `processed` grows and no task event comes.
    #[n(2)]
    Off,
}

/// One Celery node.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Worker {
    /// Node name.
    #[n(0)]
    pub name: Symbol,
    /// Whether it is alive.
    #[n(1)]
    pub status: WorkerStatus,
    /// When `status` last changed (receive time).
    #[n(2)]
    pub status_since: Micros,
    /// Which life of its process this is; counts from 1.
    #[n(3)]
    pub incarnation: u64,
    /// When this life was first seen (receive time).
    #[n(4)]
    pub incarnation_since: Micros,
    /// Process id, as its worker events say.
    #[n(5)]
    pub pid: Option<u64>,
    /// Lamport clock of its last counter-bearing worker event.
    #[n(6)]
    pub clock: Option<u64>,
    /// Receive time of its last worker event.
    #[n(7)]
    pub last_heartbeat: Option<Micros>,
    /// Receive time of the last event or answer of any kind.
    #[n(8)]
    pub last_seen: Micros,
    /// Announced heartbeat interval, seconds.
    #[n(9)]
    pub freq: Option<f64>,
    /// Tasks running, by the last heartbeat with counters.
    #[n(10)]
    pub active: Option<u64>,
    /// Tasks started in this life, by the last heartbeat with counters.
    #[n(11)]
    pub processed: Option<u64>,
    /// Load averages over 1, 5, 15 minutes.
    #[n(12)]
    pub loadavg: Vec<f64>,
    /// Software, such as `py-celery`.
    #[n(13)]
    pub sw_ident: Option<Symbol>,
    /// Software version.
    #[n(14)]
    pub sw_ver: Option<Symbol>,
    /// Operating system.
    #[n(15)]
    pub sw_sys: Option<Symbol>,
    /// Whether it sends task events.
    #[n(16)]
    pub events: EventsMode,
    /// Task events seen in this life by kind, in the order of [`super::input::TaskEventKind`]; custom ones last.
    #[n(17)]
    pub event_counts: [u64; 9],
    /// What it answered. Stored apart ([`Inspection`] is large and changes once a minute, a worker with every event).
    #[cbor(skip)]
    pub inspection: Option<Box<Inspection>>,
    /// Tasks received and not started that are known here.
    #[n(19)]
    pub reserved_known: u64,
    /// Counter-bearing heartbeats in this life after which `processed` had grown and no start was seen.
    #[n(20)]
    pub eventless_heartbeats: u32,
    /// Starts it counted against starts that were seen. 21, 23 and 24 were an older form of it.
    #[n(26)]
    #[cbor(default)]
    pub ledger: Ledger,
    /// Time of its last worker event (its own clock, seconds).
    #[n(22)]
    pub timestamp: Option<f64>,
    /// Rounds, one after another, that it did not answer at all, since ever when `inspection` is `None`.
    #[n(25)]
    pub unanswered_rounds: u32,
    /// Queues that somebody had it stop consuming in this life, the first first.
    #[n(27)]
    #[cbor(default)]
    pub cancelled: Vec<Cancelled>,
}

/// A queue that a worker was to consume no more.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Cancelled {
    /// Its name.
    #[n(0)]
    pub queue: Symbol,
    /// When that was recorded (our own clock).
    #[n(1)]
    pub since: Micros,
}

impl Worker {
    /// A worker of which nothing but its name is known, in its first life.
    pub fn new(name: Symbol, seen: Micros) -> Self {
        Self {
            name,
            status: WorkerStatus::Online,
            status_since: seen,
            incarnation: 1,
            incarnation_since: seen,
            pid: None,
            clock: None,
            last_heartbeat: None,
            last_seen: seen,
            freq: None,
            active: None,
            processed: None,
            loadavg: Vec::new(),
            sw_ident: None,
            sw_ver: None,
            sw_sys: None,
            events: EventsMode::Unknown,
            event_counts: [0; 9],
            inspection: None,
            reserved_known: 0,
            eventless_heartbeats: 0,
            ledger: Ledger::default(),
            timestamp: None,
            unanswered_rounds: 0,
            cancelled: Vec::new(),
        }
    }

    /// Whether its Celery is older than that version (major, minor), or of none that is known.
    pub(super) fn is_before(&self, version: (u64, u64)) -> bool {
        let own = self.sw_ver.as_deref().unwrap_or_default();
        let mut parts = own.split('.').map_while(|part| part.parse().ok());
        let own = parts.next().zip(parts.next());
        own.is_none_or(|own| own < version)
    }

    /// Task starts of this life for which no event came, by its heartbeats but the last, which may have overtaken the events
    /// of its own interval. `None` when its events are not known to be on, or before its third heartbeat.
    pub fn missed_starts(&self) -> Option<u64> {
        (self.events == EventsMode::On)
            .then(|| self.ledger.missed())
            .flatten()
    }
}

/// What a worker answered to inspect commands, the latest of each.
#[derive(Debug, Clone, Default, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Inspection {
    /// When the latest answer came (receive time).
    #[n(0)]
    pub time: Micros,
    /// Pool class, such as `celery.concurrency.prefork:TaskPool`.
    #[n(1)]
    pub pool_implementation: Option<Box<str>>,
    /// Pool processes.
    #[n(2)]
    pub processes: Vec<u64>,
    /// Pool threads.
    #[n(3)]
    pub threads: Option<i64>,
    /// Start-up concurrency.
    #[n(4)]
    pub max_concurrency: Option<i64>,
    /// Celery's autoscaler: (max, min, current).
    #[n(5)]
    pub autoscaler: Option<(i64, i64, i64)>,
    /// Prefetch count.
    #[n(6)]
    pub prefetch_count: Option<i64>,
    /// Uptime in seconds at `time`.
    #[n(7)]
    pub uptime_seconds: Option<f64>,
    /// Peak resident memory in bytes.
    #[n(8)]
    pub peak_memory_bytes: Option<i64>,
    /// Queues it consumes; `None` until answered.
    #[n(9)]
    pub queues: Option<Vec<ConsumedQueue>>,
    /// When `queues` was answered (receive time).
    #[n(10)]
    pub queues_time: Micros,
    /// Tasks executing.
    #[n(11)]
    pub active: Option<u64>,
    /// Tasks prefetched, not executing, no ETA.
    #[n(12)]
    pub reserved: Option<u64>,
    /// Tasks waiting for their ETA.
    #[n(13)]
    pub scheduled: Option<u64>,
    /// Names of the tasks it knows.
    #[n(14)]
    pub registered: Vec<Symbol>,
    /// `conf` as a JSON object, secrets masked.
    #[n(15)]
    pub configuration_json: Option<Box<str>>,
    /// Tasks accepted since start, by name.
    #[n(16)]
    pub totals: Vec<(Symbol, u64)>,
    /// Reserved and scheduled tasks by queue, for unacked per queue.
    #[n(17)]
    pub held_by_queue: Vec<(Symbol, u64)>,
    /// Commands of the last round it did not answer.
    #[n(18)]
    pub unanswered: Vec<Box<str>>,
    /// Rounds, one after another, that it did not answer at all.
    #[n(19)]
    pub silent_rounds: u32,
}

/// A queue a worker consumes from.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ConsumedQueue {
    /// Queue name.
    #[n(0)]
    pub name: Symbol,
    /// Exchange name.
    #[n(1)]
    pub exchange: Symbol,
    /// Exchange type.
    #[n(2)]
    pub exchange_type: Symbol,
    /// Binding key.
    #[n(3)]
    pub routing_key: Symbol,
    /// Highest priority, when set.
    #[n(4)]
    pub max_priority: Option<i64>,
}

impl Inspection {
    /// The pool's short name: `prefork`, `threads`, `gevent`, `eventlet`, `solo`, or the class as it is.
    pub fn pool(&self) -> Option<&str> {
        let class = self.pool_implementation.as_deref()?;
        let module = class.split(':').next().unwrap_or(class);
        Some(match module.rsplit('.').next().unwrap_or(module) {
            "thread" => "threads",
            other => other,
        })
    }

    /// Slots: live processes for prefork, else the start-up concurrency.
    pub fn slots(&self) -> Option<i64> {
        let live = i64::try_from(self.processes.len())
            .ok()
            .filter(|count| *count > 0);
        let has_live = self.max_concurrency != Some(1) || self.pool() == Some("prefork");
        live.filter(|_| has_live).or(self.max_concurrency)
    }
}
