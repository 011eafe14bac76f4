//! One task: one row per (app, id), merged from all its events.

use minicbor::{Decode, Encode};

use super::ids::{Micros, Symbol, TaskId};
use super::input::{TaskEvent, TaskEventKind};

/// Characters kept of an exception in lists.
const SUMMARY_CHARS: usize = 256;

/// Celery's state of a task (`celery/states.py`), custom ones included.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum TaskState {
    /// Sent, or nothing but its id is known.
    #[n(0)]
    Pending,
    /// In a worker.
    #[n(1)]
    Received,
    /// Running.
    #[n(2)]
    Started,
    /// Returned.
    #[n(3)]
    Success,
    /// Raised.
    #[n(4)]
    Failure,
    /// Will run again.
    #[n(5)]
    Retry,
    /// Revoked or expired.
    #[n(6)]
    Revoked,
    /// Rejected by the worker.
    #[n(7)]
    Rejected,
    /// The subject of a custom event in upper case, such as `PROGRESS`.
    #[n(8)]
    Custom(#[n(0)] Symbol),
}

impl TaskState {
    /// Celery's name of it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Pending => "PENDING",
            Self::Received => "RECEIVED",
            Self::Started => "STARTED",
            Self::Success => "SUCCESS",
            Self::Failure => "FAILURE",
            Self::Retry => "RETRY",
            Self::Revoked => "REVOKED",
            Self::Rejected => "REJECTED",
            Self::Custom(name) => name,
        }
    }

    /// The state that Celery's name stands for; `None` for a custom one.
    pub(super) fn known(name: &str) -> Option<Self> {
        Some(match name {
            "PENDING" => Self::Pending,
            "RECEIVED" => Self::Received,
            "STARTED" => Self::Started,
            "SUCCESS" => Self::Success,
            "FAILURE" => Self::Failure,
            "RETRY" => Self::Retry,
            "REVOKED" => Self::Revoked,
            "REJECTED" => Self::Rejected,
            _ => return None,
        })
    }

    /// Place in `celery.states.PRECEDENCE`; lower is stronger. Unknown states stand between FAILURE and REVOKED.
    pub fn precedence(&self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Custom(_) => 2,
            Self::Revoked => 3,
            Self::Started => 4,
            Self::Received => 5,
            Self::Rejected => 6,
            Self::Retry => 7,
            Self::Pending => 8,
        }
    }
}

/// One task.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own beside Celery's state, and any of them can go together"
)]
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Task {
    /// Its id.
    #[n(0)]
    pub id: TaskId,
    /// Its name; the shadow name where one is set.
    #[n(1)]
    pub name: Option<Symbol>,
    /// Celery's state.
    #[n(2)]
    pub state: TaskState,
    /// Time of the event that gave the state (sender's clock, seconds), Celery's `Task.timestamp`.
    #[n(3)]
    pub timestamp: Option<f64>,
    /// Worker of the last event that was not `task-sent`.
    #[n(4)]
    pub worker: Option<Symbol>,
    /// Node that sent it.
    #[n(5)]
    pub client: Option<Symbol>,
    /// Queue, from `task-sent` or a worker's answer.
    #[n(6)]
    pub queue: Option<Symbol>,
    /// Exchange, from `task-sent`.
    #[n(7)]
    pub exchange: Option<Symbol>,
    /// Routing key, from `task-sent`.
    #[n(8)]
    pub routing_key: Option<Symbol>,
    /// First task of its workflow.
    #[n(9)]
    pub root_id: Option<TaskId>,
    /// Task that called it.
    #[n(10)]
    pub parent_id: Option<TaskId>,
    /// Retries before this run.
    #[n(11)]
    pub retries: Option<i64>,
    /// Not to start before.
    #[n(12)]
    pub eta: Option<Micros>,
    /// Not to start after.
    #[n(13)]
    pub expires: Option<Micros>,
    /// When it was sent (sender's clock, seconds).
    #[n(14)]
    pub sent: Option<f64>,
    /// When it was last received (worker's clock, seconds).
    #[n(15)]
    pub received: Option<f64>,
    /// When it was last started (worker's clock, seconds).
    #[n(16)]
    pub started: Option<f64>,
    /// When it succeeded (worker's clock, seconds).
    #[n(17)]
    pub succeeded: Option<f64>,
    /// When it failed (worker's clock, seconds).
    #[n(18)]
    pub failed: Option<f64>,
    /// When it last asked for a retry (worker's clock, seconds).
    #[n(19)]
    pub retried: Option<f64>,
    /// When it was revoked (worker's clock, seconds).
    #[n(20)]
    pub revoked: Option<f64>,
    /// When it was rejected (worker's clock, seconds).
    #[n(21)]
    pub rejected: Option<f64>,
    /// Execution time in seconds, as the worker measured it.
    #[n(22)]
    pub runtime: Option<f64>,
    /// When anything of it was first seen (inspector's receive time).
    #[n(23)]
    pub first_seen: Micros,
    /// When anything of it was last seen (inspector's receive time).
    #[n(24)]
    pub last_seen: Micros,
    /// When its end was seen (inspector's receive time). `None` while unfinished.
    #[n(25)]
    pub finish_seen: Option<Micros>,
    /// Its worker went offline, or began a new life, while it was there.
    #[n(26)]
    pub lost: bool,
    /// It is over and how is not known.
    #[n(27)]
    pub outcome_unknown: bool,
    /// How it was revoked.
    #[n(28)]
    pub revocation: Option<Revocation>,
    /// Whether a rejection asked for redelivery.
    #[n(29)]
    pub requeued: Option<bool>,
    /// Arguments, result and error texts. Boxed: most lists do without.
    #[n(30)]
    pub payload: Box<Payload>,
    /// Attempts, oldest first, at most [`super::limits::ATTEMPTS_KEPT`].
    #[n(31)]
    pub attempts: Vec<Attempt>,
    /// All attempts, those no longer kept included.
    #[n(32)]
    pub attempt_count: u32,
    /// Snapshots of its worker, one after another, in which it was on none of the lists.
    #[n(34)]
    pub absent_snapshots: u8,
    /// The last event that was folded: which life it is of is known when the first worker event of that life comes.
    #[n(35)]
    pub last_event: Option<EventStamp>,
    /// The newest event that says that it is over, for telling which are older.
    #[n(36)]
    pub final_event: Option<Box<FinalEvent>>,
    /// It was unfinished when a gap ended (then), and nothing has told of it since.
    #[n(37)]
    pub doubted: Option<Micros>,
    /// Its unknown outcome was in a gap: an event of its end may have been missed.
    #[n(38)]
    #[cbor(default)]
    pub ended_in_gap: bool,
    /// Its outcome was read from the result backend, not told by an event.
    #[n(39)]
    #[cbor(default)]
    pub from_backend: bool,
    // 40 was in use, and may be on disk.
}

/// An event that says that a task is over: who sent it and when.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct FinalEvent {
    /// Sender.
    #[n(0)]
    pub worker: Symbol,
    /// Its life; 0 when not known.
    #[n(1)]
    pub incarnation: u64,
    /// Its process id.
    #[n(2)]
    pub pid: Option<u64>,
    /// Its clock.
    #[n(3)]
    pub clock: Option<u64>,
    /// Its time, seconds.
    #[n(4)]
    pub time: f64,
}

/// What tells one event of a task from another.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct EventStamp {
    /// What happened.
    #[n(0)]
    pub kind: TaskEventKind,
    /// Sender's process id; 0 when not given.
    #[n(1)]
    pub pid: u64,
    /// Sender's clock; 0 when not given.
    #[n(2)]
    pub clock: u64,
    /// Sender's time, seconds; 0 when not given.
    #[n(3)]
    pub timestamp: f64,
}

impl EventStamp {
    /// The stamp of an event.
    pub fn of(event: &TaskEvent) -> Self {
        Self {
            kind: event.kind,
            pid: event.pid.unwrap_or_default(),
            clock: event.clock.unwrap_or_default(),
            timestamp: event.timestamp.unwrap_or_default(),
        }
    }
}

/// Where a task is, as load is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// In no worker that is known to be alive: sent, waiting for its retry, sent back, or lost.
    Waiting,
    /// In a worker, not started.
    Reserved,
    /// Running.
    Active,
    /// Over.
    Finished,
}

impl Task {
    /// A task of which nothing but its id is known.
    pub fn new(id: TaskId, first_seen: Micros) -> Self {
        Self {
            id,
            name: None,
            state: TaskState::Pending,
            timestamp: None,
            worker: None,
            client: None,
            queue: None,
            exchange: None,
            routing_key: None,
            root_id: None,
            parent_id: None,
            retries: None,
            eta: None,
            expires: None,
            sent: None,
            received: None,
            started: None,
            succeeded: None,
            failed: None,
            retried: None,
            revoked: None,
            rejected: None,
            runtime: None,
            first_seen,
            last_seen: first_seen,
            finish_seen: None,
            lost: false,
            outcome_unknown: false,
            revocation: None,
            requeued: None,
            payload: Box::default(),
            attempts: Vec::new(),
            attempt_count: 0,
            absent_snapshots: 0,
            last_event: None,
            doubted: None,
            ended_in_gap: false,
            from_backend: false,
            final_event: None,
        }
    }

    /// Whether it came to an end: SUCCESS, FAILURE, REVOKED, REJECTED without requeue, or an unknown outcome.
    pub fn is_finished(&self) -> bool {
        self.finish_seen.is_some()
    }

    /// Why its outcome is not known, where it is not.
    pub fn outcome_unknown_reason(&self) -> Option<&'static str> {
        self.outcome_unknown.then_some(if self.ended_in_gap {
            "ended or requeued, outcome unknown (gap): events were missed, and afterwards its workers no longer had it"
        } else {
            "its live worker no longer has it and sent no event of its end, as when a task raises Ignore"
        })
    }

    /// Where it is. Told by the attempts of its last worker's life; by the state where no event told of an attempt.
    pub fn phase(&self) -> Phase {
        if self.is_finished() {
            return Phase::Finished;
        }
        if self.lost {
            return Phase::Waiting;
        }
        let Some(last) = self.attempts.last() else {
            return match self.state {
                TaskState::Started | TaskState::Custom(_) => Phase::Active,
                TaskState::Received => Phase::Reserved,
                _ => Phase::Waiting,
            };
        };
        let mut phase = Phase::Waiting;
        for attempt in self
            .attempts
            .iter()
            .filter(|attempt| attempt.is_open() && attempt.is_beside(last))
        {
            if attempt.started.is_some() || matches!(self.state, TaskState::Custom(_)) {
                return Phase::Active;
            }
            phase = Phase::Reserved;
        }
        phase
    }

    /// The exception in a line of at most 256 characters, `None` when there is none.
    pub fn exception_summary(&self) -> Option<String> {
        let Payload {
            exception,
            traceback,
            ..
        } = &*self.payload;
        exception_summary(exception.as_deref(), traceback.as_deref())
    }
}

/// The first line of an exception, at most 256 characters. For time limits and lost children Celery sends the text
/// `ExceptionWithTraceback()`; then the last line of the traceback says what it was.
pub(super) fn exception_summary(
    exception: Option<&str>,
    traceback: Option<&str>,
) -> Option<String> {
    let hidden = exception.is_none_or(|text| text.starts_with("ExceptionWithTraceback("));
    let of_traceback = || {
        traceback?
            .lines()
            .rev()
            .map(str::trim)
            .find(|line| !line.is_empty())
    };
    let line = match exception {
        _ if hidden => of_traceback().or(exception)?,
        Some(text) => text.lines().next().unwrap_or_default(),
        None => return None,
    };
    Some(line.chars().take(SUMMARY_CHARS).collect())
}

/// How a task was revoked.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Revocation {
    /// Its process was told to end.
    #[n(0)]
    pub terminated: bool,
    /// With this signal: a number or a name.
    #[n(1)]
    pub signal: Option<Box<str>>,
    /// It expired.
    #[n(2)]
    pub expired: bool,
}

/// Arguments, result and error texts, Python `repr`s as Celery sends them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Payload {
    /// Positional arguments.
    #[n(0)]
    pub args: Option<Box<str>>,
    /// Keyword arguments.
    #[n(1)]
    pub kwargs: Option<Box<str>>,
    /// Return value.
    #[n(2)]
    pub result: Option<Box<str>>,
    /// Exception, as the event carried it.
    #[n(3)]
    pub exception: Option<Box<str>>,
    /// Traceback.
    #[n(4)]
    pub traceback: Option<Box<str>>,
    /// Texts that were cut: field and full size in bytes.
    #[n(5)]
    pub truncated: Vec<(Box<str>, u64)>,
    /// Fields in which something JSON cannot hold was replaced.
    #[n(6)]
    pub sanitized: Vec<Box<str>>,
    /// Fields of the last custom event by name, values as JSON text.
    #[n(7)]
    pub custom: Vec<(Box<str>, Box<str>)>,
}

/// One received → end of a task.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Attempt {
    /// Counts from 1.
    #[n(0)]
    pub number: u32,
    /// Its worker.
    #[n(1)]
    pub worker: Option<Symbol>,
    /// The worker's incarnation; 0 when not known.
    #[n(2)]
    pub incarnation: u64,
    /// When it was received (worker's clock, seconds).
    #[n(3)]
    pub received: Option<f64>,
    /// When it started (worker's clock, seconds).
    #[n(4)]
    pub started: Option<f64>,
    /// When it ended (worker's clock, seconds).
    #[n(5)]
    pub ended: Option<f64>,
    /// How it ended. `None` while it runs or waits.
    #[n(6)]
    pub outcome: Option<TaskState>,
    /// First line of its exception, at most 256 characters.
    #[n(7)]
    pub exception: Option<Box<str>>,
    /// Retries before it, as `task-received` says: tells a retry from a redelivery.
    #[n(8)]
    pub retries: Option<i64>,
}

impl Attempt {
    /// Whether its end was not seen.
    pub fn is_open(&self) -> bool {
        self.ended.is_none()
    }

    /// Whether it was in the same life of the same worker.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        self.incarnation == other.incarnation && self.worker == other.worker
    }
}
