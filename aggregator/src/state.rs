//! What is true of an app, as a pure fold: `app.apply(now, input, &mut changes)`. No I/O, no clock, no logging.
//!
//! `celery.events.state.State` is the reference: the same stream gives the same tasks and workers. What is deliberately
//! different has a name and its reason in `tests/app/oracle.py`, and is checked to be just that: an event that is told again is
//! folded once; a `task-retried` older than the final event does not reopen a finished task; after `worker-offline` only a worker event revives the worker; a worker
//! event that was overtaken, or a heartbeat that was asked for, sets no counter back; counters belong to one life.

mod advice;
pub mod app;
mod attempts;
pub mod changes;
pub mod counters;
pub mod demand;
mod fold_depths;
mod fold_gap;
mod fold_query;
mod fold_results;
mod fold_snapshot;
mod fold_task;
mod fold_wish;
mod fold_worker;
pub mod gap;
pub mod ids;
pub mod input;
mod interner;
pub mod last_hour;
pub mod ledger;
pub mod limits;
mod lives;
mod merge;
pub mod queue;
mod recent;
mod restore;
pub mod runtimes;
mod store;
mod subscription;
pub mod task;
pub mod task_name;
#[cfg(test)]
mod tests;
mod tick;
mod units;
mod usage;
pub mod worker;

pub use advice::Advice;
pub use app::App;
pub use changes::Changes;
pub use counters::Counters;
pub use fold_query::Query;
pub use gap::{Gap, GapCause};
pub use ids::{Micros, Symbol, TaskId};
pub use input::Input;
pub use limits::Limits;
pub use queue::Queue;
pub use task::{Attempt, Payload, Phase, Task, TaskState};
pub use task_name::TaskName;
pub use worker::{Worker, WorkerStatus};
