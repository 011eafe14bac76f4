//! The answer to `stats`: counters, pool and broker. Which fields there are depends on the pool (`celery/concurrency/*`), so
//! each is optional.

use super::reply::masked_object;
use crate::wire::json::{self, Object};

/// Most process ids and limits read of one pool.
const POOL_MAX: usize = 10_000;

/// A worker's own account of itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stats {
    /// Tasks accepted since start, by name (the shadow name where one is set).
    pub totals: Vec<(String, u64)>,
    /// Process id.
    pub pid: Option<u64>,
    /// Lamport clock; a string on the wire.
    pub clock: Option<u64>,
    /// For how long the process has run, seconds.
    pub uptime_seconds: Option<f64>,
    /// Prefetch count, messages.
    pub prefetch_count: Option<i64>,
    /// The pool.
    pub pool: PoolStats,
    /// Celery's autoscaler, when on.
    pub autoscaler: Option<AutoscalerStats>,
    /// The broker as the worker sees it.
    pub broker: Option<BrokerStats>,
    /// Use of the machine; absent where the system does not tell.
    pub rusage: Option<ResourceUsage>,
}

/// A worker's pool.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PoolStats {
    /// Python class, such as `celery.concurrency.prefork:TaskPool` (Celery 5.3 and later).
    pub implementation: Option<String>,
    /// Concurrency at start; not kept up by autoscaling and `pool_grow`.
    pub max_concurrency: Option<i64>,
    /// Live processes (prefork; solo: the worker itself).
    pub processes: Vec<u64>,
    /// Threads started so far (threads pool): it starts them when they are needed.
    pub threads: Option<i64>,
    /// Tasks after which a process is replaced; absent for no limit.
    pub max_tasks_per_child: Option<i64>,
    /// Writes wait for a free process.
    pub put_guarded_by_semaphore: Option<bool>,
    /// Soft time limit, seconds; 0 is none.
    pub soft_timeout_seconds: Option<f64>,
    /// Hard time limit, seconds; 0 is none.
    pub hard_timeout_seconds: Option<f64>,
    /// Tasks written to processes (prefork).
    pub writes: Option<WriteStats>,
}

/// Tasks written to the processes of a prefork pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteStats {
    /// Since start.
    pub total: Option<u64>,
    /// Mean share of a process, such as `0.50` (4.x: `0.00%`).
    pub average: Option<String>,
    /// Share of each process, such as `0.72, 0.28`.
    pub shares: Option<String>,
    /// Number for each process, such as `134, 52`.
    pub counts: Option<String>,
    /// `fair` or `fast`.
    pub strategy: Option<String>,
    /// Pipes to processes.
    pub inqueues_total: Option<u64>,
    /// Pipes being written to.
    pub inqueues_active: Option<u64>,
}

/// Celery's autoscaler.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AutoscalerStats {
    /// Upper bound.
    pub max: Option<i64>,
    /// Lower bound.
    pub min: Option<i64>,
    /// Processes now.
    pub current: Option<i64>,
    /// Tasks reserved.
    pub reserved: Option<i64>,
}

/// The broker as a worker sees it; Celery leaves the password out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BrokerStats {
    /// Such as `redis` or `amqp`.
    pub transport: Option<String>,
    /// Host.
    pub hostname: Option<String>,
    /// Port.
    pub port: Option<u64>,
    /// Virtual host; the database number on Redis.
    pub virtual_host: Option<String>,
    /// User.
    pub user: Option<String>,
    /// TLS is on.
    pub tls: Option<bool>,
    /// Transport options as a JSON object, secrets masked; absent when there are none.
    pub transport_options: Option<String>,
}

/// `getrusage` of the worker's main process.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ResourceUsage {
    /// CPU time in user mode, seconds.
    pub user_seconds: Option<f64>,
    /// CPU time in the kernel, seconds.
    pub system_seconds: Option<f64>,
    /// Peak resident memory in the system's unit: KiB on Linux, bytes on macOS.
    pub max_rss: Option<i64>,
}

impl Stats {
    pub(super) fn read(raw: &str) -> Option<Self> {
        let fields = Object::read(raw)?;
        let totals = fields.object("total").unwrap_or_default();
        Some(Self {
            totals: totals
                .fields()
                .filter_map(|(name, raw)| Some((json::bounded_text(name).0, json::unsigned(raw)?)))
                .collect(),
            pid: fields.unsigned("pid"),
            clock: fields
                .string("clock")
                .and_then(|clock| clock.parse().ok())
                .or_else(|| fields.unsigned("clock")),
            uptime_seconds: fields.float("uptime"),
            prefetch_count: fields.integer("prefetch_count"),
            pool: fields
                .object("pool")
                .map(|pool| PoolStats::of(&pool))
                .unwrap_or_default(),
            autoscaler: fields
                .object("autoscaler")
                .map(|autoscaler| AutoscalerStats {
                    max: autoscaler.integer("max"),
                    min: autoscaler.integer("min"),
                    current: autoscaler.integer("current"),
                    reserved: autoscaler.integer("qty"),
                }),
            broker: fields
                .object("broker")
                .map(|broker| BrokerStats::of(&broker)),
            // "N/A" where the system has none.
            rusage: fields.object("rusage").map(|rusage| ResourceUsage {
                user_seconds: rusage.float("utime"),
                system_seconds: rusage.float("stime"),
                max_rss: rusage.integer("maxrss"),
            }),
        })
    }

    /// Tasks that can run at once now: live processes where the pool has them, else the concurrency it started with.
    pub fn slots(&self) -> Option<u64> {
        match self.pool.processes.len() {
            0 => self
                .pool
                .max_concurrency
                .and_then(|slots| u64::try_from(slots).ok()),
            processes => Some(processes as u64),
        }
    }
}

impl PoolStats {
    fn of(fields: &Object<'_>) -> Self {
        let processes = fields.list("processes", POOL_MAX).unwrap_or_default();
        let timeouts = fields.list("timeouts", POOL_MAX).unwrap_or_default();
        let timeout = |place: usize| timeouts.items.get(place).and_then(|raw| json::float(raw));
        Self {
            implementation: text(fields, "implementation"),
            max_concurrency: fields.integer("max-concurrency"),
            processes: processes
                .items
                .into_iter()
                .filter_map(json::unsigned)
                .collect(),
            threads: fields.integer("threads"),
            max_tasks_per_child: fields.integer("max-tasks-per-child"),
            put_guarded_by_semaphore: fields.boolean("put-guarded-by-semaphore"),
            soft_timeout_seconds: timeout(0),
            hard_timeout_seconds: timeout(1),
            writes: fields
                .object("writes")
                .map(|writes| WriteStats::of(&writes)),
        }
    }
}

impl WriteStats {
    fn of(fields: &Object<'_>) -> Self {
        let inqueues = fields.object("inqueues").unwrap_or_default();
        Self {
            total: fields.unsigned("total"),
            average: text(fields, "avg"),
            shares: text(fields, "all"),
            counts: text(fields, "raw"),
            strategy: text(fields, "strategy"),
            inqueues_total: inqueues.unsigned("total"),
            inqueues_active: inqueues.unsigned("active"),
        }
    }
}

impl BrokerStats {
    fn of(fields: &Object<'_>) -> Self {
        Self {
            transport: text(fields, "transport"),
            hostname: text(fields, "hostname"),
            port: fields.unsigned("port"),
            virtual_host: text(fields, "virtual_host"),
            user: text(fields, "userid"),
            // False, true, or the options of TLS.
            tls: fields
                .boolean("ssl")
                .or_else(|| fields.object("ssl").map(|options| !options.is_empty())),
            transport_options: fields
                .get("transport_options")
                .filter(|raw| !matches!(*raw, "null" | "{}"))
                .and_then(masked_object),
        }
    }
}

fn text(fields: &Object<'_>, name: &str) -> Option<String> {
    fields.string(name).map(|text| json::bounded_text(&text).0)
}
