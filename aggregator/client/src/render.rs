//! Messages as text for a person. Everything here is pure: the time, the zone and the width of the terminal are values.

pub(crate) mod advice;
pub(crate) mod apps;
pub(crate) mod command;
pub(crate) mod detail;
pub(crate) mod queues;
pub(crate) mod table;
pub(crate) mod task;
pub(crate) mod task_names;
pub(crate) mod tasks;
pub(crate) mod text;
pub(crate) mod units;
pub(crate) mod watch;
pub(crate) mod worker;
pub(crate) mod workers;
pub(crate) mod workflow;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::args::Times;

/// How to show things: all that rendering may know of the world.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// Relative times are relative to this.
    pub(crate) now: Timestamp,
    pub(crate) times: Times,
    /// The zone of local times.
    pub(crate) zone: TimeZone,
    /// Columns of the terminal; `None` when there is none, and nothing is cut.
    pub(crate) width: Option<usize>,
    /// Whether to show more columns.
    pub(crate) wide: bool,
    pub(crate) color: bool,
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
