//! What to ask whom and when, and what was seen: from a broker's messages to [`Observation`]s. Knows nothing of
//! aggregators; everything but `run` is a value that is told the time.

pub mod budget;
pub mod commands;
pub mod conversation;
pub mod intake;
pub mod link;
pub mod look;
pub mod observation;
pub mod order;
pub mod plan;
pub mod question;
pub mod queues;
pub mod roster;
pub mod run;

use std::sync::Arc;

pub use observation::{Gap, GapCause, Observation, Queried, Report, Snapshot};
pub use order::{Command, CommandReply, CommandReport, Order, Publication, Query, ResultReport};
pub use run::{CollectError, Collector, Pace};

/// A node name, such as `celery@host`; shared, since it is kept by every request that names the worker.
pub type Node = Arc<str>;
