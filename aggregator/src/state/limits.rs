//! Every bound of the fold, and why it is what it is.

use std::time::Duration;

/// Attempts kept per task; older ones are only counted.
pub const ATTEMPTS_KEPT: usize = 20;
/// Gaps kept per app, those of single workers among them: ten losses in which a hundred workers missed something. The
/// newest count when a person looks.
pub const GAPS_KEPT: usize = 1_000;
/// Tasks whose outcome waits to be looked up after a gap; 4 MiB of ids at most, and minutes at 200 a second.
pub const WANTED_MAX: usize = 50_000;
/// Tasks in one `query_task`: 4 KB, which go to every worker that is subscribed.
pub const QUERY_TASKS_MAX: usize = 100;
/// Task names with statistics of their own; more go to `other`. Real apps have hundreds.
pub const TASK_NAMES_MAX: usize = 5_000;
/// Workers per app: as many as an inspector tells apart, so that none of those it asks is missing here. Celery's own monitor
/// stops at 5,000.
pub const WORKERS_MAX: usize = 20_000;
/// Queues kept per worker that somebody had it stop consuming: a pool names at most 64.
pub const CANCELLED_MAX: usize = 256;
/// Series (worker × task name × queue) with counters of their own; more go to `other`.
pub const EVENT_SERIES_MAX: usize = 20_000;
/// Queues per app.
pub const QUEUES_MAX: usize = 10_000;
/// Senders (`gen<pid>@host`) with counters of their own; more go to `other`. A new one comes with every client process.
pub const SENDERS_MAX: usize = 200;
/// Custom event types with counters of their own; more go to `other`.
pub const CUSTOM_TYPES_MAX: usize = 100;
/// Events per app whose repeats are told; older ones would be folded again. What comes again is what was folded and not
/// acknowledged: a commit takes some 9,000 inputs, and an inspector holds some thousands of its broker's messages
/// unacknowledged. 65,536 places of 9 bytes, of which 7 in 8 are used, twice: 1.2 MB, taken as events come.
pub const RECENT_EVENTS_MAX: usize = 57_344;
/// Exception classes counted per (worker × task name); more go to `other`.
pub const EXCEPTION_CLASSES_MAX: usize = 20;
/// The name under which everything above a bound is counted.
pub const OTHER: &str = "other";
/// Reports come every 10 s: after three missing ones nothing is known of the subscription, and nobody is called silent.
pub const REPORT_STALE_AFTER: Duration = Duration::from_secs(30);
/// How much later than first seen a life may have begun by `stats.uptime` (whole seconds, on a busy worker) before it is
/// another one.
pub const UPTIME_SLACK: Duration = Duration::from_secs(5);
/// A worker event that is older than the last one by less than this is late; by more, the host's clock was set back.
pub const LATE_WORKER_EVENT: Duration = Duration::from_mins(1);
/// A further end of one attempt comes within this (hard time limits, `task-rejected` after `task-failed`); later it is the
/// end of an attempt whose start was missed.
pub const SECOND_END_WITHIN: Duration = Duration::from_mins(1);

/// What a person may set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// A worker is silent after max(2 × freq + 1 s, this).
    pub offline_after: Duration,
    /// A worker that is gone leaves memory, lists and metrics after this.
    pub worker_retention: Duration,
    /// For how long a finished task stays in memory, so that its late events and watchers find it there.
    pub grace: Duration,
    /// Most finished tasks kept for `grace`.
    pub grace_tasks_max: usize,
    /// Most tasks in memory; the oldest-touched unfinished ones move to history above it.
    pub tasks_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            offline_after: Duration::from_secs(10),
            worker_retention: Duration::from_hours(1),
            grace: Duration::from_secs(15),
            grace_tasks_max: 20_000,
            tasks_max: 400_000,
        }
    }
}
