//! The fields of a worker, and the filter over them.

use super::aip160;
use super::error::QueryError;
use super::expression::Expression;
use super::field::{Field, Fields, Kind};
use crate::state::worker::{EventsMode, Inspection};
use crate::state::{Micros, Worker, WorkerStatus};

/// A field of a worker that can be asked about, as `ListWorkersRequest.filter` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the worker's field of that name")]
pub enum WorkerField {
    Name,
    Status,
    Events,
    Pool,
    Queue,
    Software,
    Active,
    Processed,
    Slots,
}

impl Field for WorkerField {
    const ALL: &'static [Self] = &[
        Self::Name,
        Self::Status,
        Self::Events,
        Self::Pool,
        Self::Queue,
        Self::Software,
        Self::Active,
        Self::Processed,
        Self::Slots,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Status => "status",
            Self::Events => "events",
            Self::Pool => "pool",
            Self::Queue => "queue",
            Self::Software => "software",
            Self::Active => "active",
            Self::Processed => "processed",
            Self::Slots => "slots",
        }
    }

    fn kind(self) -> Kind {
        match self {
            Self::Status => Kind::Word {
                known: &["ONLINE", "OFFLINE", "SILENT"],
                closed: true,
            },
            Self::Events => Kind::Word {
                known: &["UNKNOWN", "ON", "OFF"],
                closed: true,
            },
            Self::Name | Self::Pool | Self::Queue | Self::Software => Kind::Text,
            Self::Active | Self::Processed | Self::Slots => Kind::Number,
        }
    }
}

impl Fields for Worker {
    type Field = WorkerField;

    fn any_text(&self, field: WorkerField, test: &mut dyn FnMut(&str) -> bool) -> bool {
        let inspection = self.inspection.as_deref();
        match field {
            WorkerField::Name => test(&self.name),
            WorkerField::Status => test(match self.status {
                WorkerStatus::Online => "ONLINE",
                WorkerStatus::Offline => "OFFLINE",
                WorkerStatus::Silent => "SILENT",
            }),
            WorkerField::Events => test(match self.events {
                EventsMode::Unknown => "UNKNOWN",
                EventsMode::On => "ON",
                EventsMode::Off => "OFF",
            }),
            WorkerField::Pool => inspection.and_then(Inspection::pool).is_some_and(test),
            WorkerField::Queue => inspection
                .and_then(|it| it.queues.as_ref())
                .is_some_and(|queues| queues.iter().any(|queue| test(&queue.name))),
            WorkerField::Software => match (&self.sw_ident, &self.sw_ver) {
                (Some(ident), Some(version)) => test(&format!("{ident} {version}")),
                (Some(one), None) | (None, Some(one)) => test(one),
                (None, None) => false,
            },
            WorkerField::Active | WorkerField::Processed | WorkerField::Slots => false,
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of tasks and slots, far below 2^53"
    )]
    fn number(&self, field: WorkerField) -> Option<f64> {
        let inspection = self.inspection.as_deref();
        match field {
            WorkerField::Active => self.active.map(|count| count as f64),
            WorkerField::Processed => self.processed.map(|count| count as f64),
            WorkerField::Slots => inspection
                .and_then(Inspection::slots)
                .map(|count| count as f64),
            _ => None,
        }
    }

    fn flag(&self, _: WorkerField) -> Option<bool> {
        None
    }

    fn time(&self, _: WorkerField) -> Option<Micros> {
        None
    }
}

/// Which workers, in AIP-160.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerFilter {
    expression: Expression<WorkerField>,
}

impl WorkerFilter {
    /// Parses it. An empty text is every worker.
    ///
    /// # Errors
    /// The [`QueryError`] says what is wrong, where, and what would be right.
    pub fn new(filter: &str) -> Result<Self, QueryError> {
        Ok(Self {
            expression: aip160::parse(filter)?,
        })
    }

    /// Whether the worker is asked for.
    pub fn matches(&self, worker: &Worker) -> bool {
        self.expression.matches(worker)
    }
}
