//! What is true of an app, as a pure fold: `app.apply(now, input, &mut changes)`. No I/O, no clock, no logging.
//!
//! `celery.events.state.State` is the reference: the same stream gives the same Celery states, with two named
//! differences: a `task-retried` older than the final event does not reopen a finished task, and after `worker-offline`
//! only a worker event revives the worker.

pub mod changes;
pub mod gap;
pub mod ids;
pub mod input;
pub mod limits;
pub mod queue;
pub mod task;
pub mod task_name;
pub mod worker;

pub use changes::Changes;
pub use gap::{Gap, GapCause};
pub use ids::{Micros, Symbol, TaskId};
pub use input::Input;
pub use limits::Limits;
pub use queue::Queue;
pub use task::{Attempt, Payload, Task, TaskState};
pub use task_name::TaskName;
pub use worker::{Worker, WorkerStatus};
