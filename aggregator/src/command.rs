//! Commands to workers: what is recorded of one, and what an answer means. Pure. Celery's arguments are composed at the
//! edge (`api/control`), where requests are checked.

use minicbor::{Decode, Encode};

use crate::state::input::{Meant, Wish};
use crate::state::{Micros, Symbol};

pub mod judge;

/// How long a worker may take to do what it said "ok" to: one with gevent or eventlet changes its consumers when its loop comes
/// round (`celery/worker/loops.py`, `synloop`), every 2 s at rest and later under load.
const TURN_MAX: Micros = 10_000_000;

/// A command as it was recorded, before it was sent.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Record {
    /// The caller's UUID, in lower case.
    #[n(0)]
    pub request_id: Box<str>,
    /// When it was recorded (our clock).
    #[n(1)]
    pub recorded: Micros,
    /// Who asked; empty without an auth mode.
    #[n(2)]
    pub principal: Box<str>,
    /// The request as it was given, encoded by the edge.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub request: Vec<u8>,
    /// Celery's name of the command.
    #[n(4)]
    pub method: Box<str>,
    /// Celery's arguments, a JSON object.
    #[n(5)]
    pub arguments_json: Box<str>,
    /// It was addressed to everybody.
    #[n(6)]
    pub all_workers: bool,
    /// Those it was addressed to; of one to everybody, those that were on line.
    #[n(7)]
    pub workers: Vec<Box<str>>,
    /// For how long answers are waited for, milliseconds.
    #[n(8)]
    pub wait_millis: u32,
    /// Why, in the caller's words.
    #[n(9)]
    pub reason: Box<str>,
    /// Workers for which, by what was known, there was nothing to do: they did not consume the queue that is cancelled, or
    /// consumed the one that is added.
    #[n(10)]
    pub idle: Vec<Box<str>>,
    /// It is a part of a drain, and says nothing of what a worker is meant to consume.
    #[n(11)]
    #[cbor(default)]
    pub drain: bool,
}

impl Record {
    /// Whether both ask for the same. Who asks, and what was known when, make no difference.
    pub fn same_body(&self, other: &Self) -> bool {
        let arguments = |record: &Self| -> Option<serde_json::Value> {
            serde_json::from_str(&record.arguments_json).ok()
        };
        let addressed = |record: &Self| (!record.all_workers).then(|| record.workers.clone());
        self.method == other.method
            && arguments(self) == arguments(other)
            && self.all_workers == other.all_workers
            && addressed(self) == addressed(other)
            && self.wait_millis == other.wait_millis
            && self.reason == other.reason
            && self.drain == other.drain
    }

    /// What it says about which workers are meant to consume which queue, if it does; `sent` is false when it is known by now
    /// that it did not go out.
    pub fn wish(&self, sent: bool) -> Option<Wish> {
        if self.drain {
            return None;
        }
        let workers = self.workers.iter().map(|worker| Symbol::from(&**worker));
        Some(Wish {
            queue: Symbol::from(self.queue()?.as_str()),
            workers: (!self.all_workers).then(|| workers.collect()),
            recorded: self.recorded,
            what: match &*self.method {
                "add_consumer" if sent => Meant::Consumed,
                "cancel_consumer" if sent => Meant::Cancelled,
                "cancel_consumer" => Meant::Unsaid,
                _ => return None,
            },
        })
    }

    /// The queue that it adds or cancels.
    pub fn queue(&self) -> Option<String> {
        if !matches!(&*self.method, "add_consumer" | "cancel_consumer") {
            return None;
        }
        let arguments: serde_json::Value = serde_json::from_str(&self.arguments_json).ok()?;
        arguments["queue"].as_str().map(str::to_owned)
    }

    /// Whether it changes if a worker consumes from a queue.
    pub fn changes_queue(&self, worker: &str, queue: Option<&str>) -> bool {
        let addressed = || self.workers.iter().any(|name| **name == *worker);
        queue.is_some() && addressed() && self.queue().as_deref() == queue
    }

    /// Whether this, the latest that changed a worker's queue, may not have been done yet when the worker was looked at. `seen`
    /// is the command that would have led to what was seen then: the same or the opposite one.
    pub fn may_be_pending(&self, seen: &str, looked: Micros) -> bool {
        let unlike = *self.method != *seen;
        self.recorded >= looked || (unlike && self.recorded.saturating_add(TURN_MAX) >= looked)
    }

    /// Whether Celery answers it: `shutdown` ends the worker before its reply.
    pub fn is_answered(&self) -> bool {
        &*self.method != "shutdown"
    }
}

/// A command, and what became of it so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its place in the order of recording.
    pub row: i64,
    /// The command.
    pub record: Record,
    /// How publishing ended; `None` until the inspector has said.
    pub publication: Option<Publication>,
    /// Answers, one of each worker, in order of name.
    pub replies: Vec<Reply>,
}

impl Recorded {
    /// Whether everybody it was addressed to has answered.
    pub fn all_answered(&self) -> bool {
        let answered = |worker: &str| self.replies.iter().any(|reply| reply.worker == worker);
        self.record.workers.iter().all(|worker| answered(worker))
    }
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
pub struct Reply {
    /// The node name.
    pub worker: String,
    /// The value as JSON text; when it was cut, a JSON string with its beginning.
    pub value_json: String,
    /// When it was read (inspector's clock).
    pub time: Micros,
    /// Size of the whole value in bytes, when it was cut.
    pub size: Option<u64>,
}

/// What is new of one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Which.
    pub request_id: String,
    /// How publishing ended, when that is new.
    pub publication: Option<Publication>,
    /// Replies that have come since the report before.
    pub replies: Vec<Reply>,
}
