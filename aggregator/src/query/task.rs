//! The fields of a task.

use super::field::{Field, Fields, Kind};
use crate::state::{Micros, Task};

/// A field of a task that can be asked about, as `ListTasksRequest.filter` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is the task's field of that name")]
pub enum TaskField {
    Id,
    Name,
    State,
    Worker,
    Queue,
    Client,
    RootId,
    ParentId,
    Retries,
    Runtime,
    Finished,
    Lost,
    OutcomeUnknown,
    FirstSeen,
    LastSeen,
    FinishSeen,
    SentTime,
    ReceivedTime,
    StartedTime,
    Args,
    Kwargs,
    Result,
    Exception,
    Traceback,
}

const STATES: Kind = Kind::Word {
    known: &[
        "PENDING", "RECEIVED", "STARTED", "SUCCESS", "FAILURE", "RETRY", "REVOKED", "REJECTED",
    ],
    closed: false,
};

impl TaskField {
    /// Whether it needs the right to read payloads.
    pub fn is_payload(self) -> bool {
        matches!(
            self,
            Self::Args | Self::Kwargs | Self::Result | Self::Exception | Self::Traceback
        )
    }
}

impl Field for TaskField {
    const ALL: &'static [Self] = &[
        Self::Id,
        Self::Name,
        Self::State,
        Self::Worker,
        Self::Queue,
        Self::Client,
        Self::RootId,
        Self::ParentId,
        Self::Retries,
        Self::Runtime,
        Self::Finished,
        Self::Lost,
        Self::OutcomeUnknown,
        Self::FirstSeen,
        Self::LastSeen,
        Self::FinishSeen,
        Self::SentTime,
        Self::ReceivedTime,
        Self::StartedTime,
        Self::Args,
        Self::Kwargs,
        Self::Result,
        Self::Exception,
        Self::Traceback,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Name => "name",
            Self::State => "state",
            Self::Worker => "worker",
            Self::Queue => "queue",
            Self::Client => "client",
            Self::RootId => "root_id",
            Self::ParentId => "parent_id",
            Self::Retries => "retries",
            Self::Runtime => "runtime",
            Self::Finished => "finished",
            Self::Lost => "lost",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::FirstSeen => "first_seen",
            Self::LastSeen => "last_seen",
            Self::FinishSeen => "finish_seen",
            Self::SentTime => "sent_time",
            Self::ReceivedTime => "received_time",
            Self::StartedTime => "started_time",
            Self::Args => "args",
            Self::Kwargs => "kwargs",
            Self::Result => "result",
            Self::Exception => "exception",
            Self::Traceback => "traceback",
        }
    }

    fn kind(self) -> Kind {
        match self {
            Self::State => STATES,
            Self::Kwargs => Kind::Map,
            Self::Id
            | Self::Name
            | Self::Worker
            | Self::Queue
            | Self::Client
            | Self::RootId
            | Self::ParentId
            | Self::Args
            | Self::Result
            | Self::Exception
            | Self::Traceback => Kind::Text,
            Self::Retries => Kind::Number,
            Self::Runtime => Kind::Seconds,
            Self::Finished | Self::Lost | Self::OutcomeUnknown => Kind::Flag,
            Self::FirstSeen
            | Self::LastSeen
            | Self::FinishSeen
            | Self::SentTime
            | Self::ReceivedTime
            | Self::StartedTime => Kind::Time,
        }
    }
}

impl Fields for Task {
    type Field = TaskField;

    fn any_text(&self, field: TaskField, test: &mut dyn FnMut(&str) -> bool) -> bool {
        let found = match field {
            TaskField::Id => return test(&self.id.to_string()),
            TaskField::RootId => {
                return self
                    .root_id
                    .as_ref()
                    .is_some_and(|id| test(&id.to_string()));
            }
            TaskField::ParentId => {
                return self
                    .parent_id
                    .as_ref()
                    .is_some_and(|id| test(&id.to_string()));
            }
            TaskField::Name => self.name.as_deref(),
            TaskField::State => Some(self.state.as_str()),
            TaskField::Worker => self.worker.as_deref(),
            TaskField::Queue => self.queue.as_deref(),
            TaskField::Client => self.client.as_deref(),
            TaskField::Args => self.payload.args.as_deref(),
            TaskField::Kwargs => self.payload.kwargs.as_deref(),
            TaskField::Result => self.payload.result.as_deref(),
            TaskField::Exception => self.payload.exception.as_deref(),
            TaskField::Traceback => self.payload.traceback.as_deref(),
            _ => None,
        };
        found.is_some_and(test)
    }

    fn number(&self, field: TaskField) -> Option<f64> {
        match field {
            TaskField::Retries => self.retries.map(retries_number),
            TaskField::Runtime => self.runtime.filter(|runtime| !runtime.is_nan()),
            _ => None,
        }
    }

    fn flag(&self, field: TaskField) -> Option<bool> {
        match field {
            TaskField::Finished => Some(self.is_finished()),
            TaskField::Lost => Some(self.lost),
            TaskField::OutcomeUnknown => Some(self.outcome_unknown),
            _ => None,
        }
    }

    fn time(&self, field: TaskField) -> Option<Micros> {
        match field {
            TaskField::FirstSeen => Some(self.first_seen),
            TaskField::LastSeen => Some(self.last_seen),
            TaskField::FinishSeen => self.finish_seen,
            TaskField::SentTime => self.sent.and_then(micros),
            TaskField::ReceivedTime => self.received.and_then(micros),
            TaskField::StartedTime => self.started.and_then(micros),
            _ => None,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "nobody retries 2^53 times")]
fn retries_number(retries: i64) -> f64 {
    retries as f64
}

/// Microseconds of a worker's clock in seconds. `None` when it is no time of this age of the world.
fn micros(seconds: f64) -> Option<Micros> {
    let micros = (seconds * 1e6).round();
    // 2^53 µs is the year 2255; below it the conversion is exact.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "used only where it is exact"
    )]
    let exact = micros as Micros;
    (micros.abs() < 9_007_199_254_740_992.0).then_some(exact)
}
