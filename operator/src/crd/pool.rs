//! What a pool of workers is told: Celery's options by type.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::EnvVar;
use super::common::{AppContainer, Resources};

/// How a worker runs its tasks (`--pool`).
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Pool {
    /// Processes.
    #[default]
    Prefork,
    /// Threads.
    Threads,
    /// Greenlets of gevent.
    Gevent,
    /// Greenlets of eventlet.
    Eventlet,
    /// One task at a time in the worker's own process.
    Solo,
}

/// How a prefork worker hands tasks to its processes (`-O`).
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Optimization {
    /// Also to processes that are busy.
    Default,
    /// Only to processes that are free.
    #[default]
    Fair,
}

/// The least severe log level that is written.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// One line for each task, and what is worse.
    #[default]
    Info,
    /// What may be wrong.
    Warning,
    /// What is wrong.
    Error,
    /// What ends the process.
    Critical,
}

/// Who decides how many workers run.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ScalingMode {
    /// `replicas`, as it is applied.
    #[default]
    Fixed,
    /// `/scale` of the CeleryWorker: a HorizontalPodAutoscaler, KEDA or `kubectl scale`. `replicas` counts only when the
    /// pool is made.
    External,
    /// The operator, by the load of the queues. `replicas` is what it writes.
    Native,
}

/// Who decides how many workers run.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.mode != 'native' || has(self.max)")
        .message("scaling.max is missing: native scaling has to know how many workers there may be").field_path(".max"),
    validation = Rule::new("!has(self.min) || !has(self.max) || self.min <= self.max")
        .message("scaling.min must not be above scaling.max").field_path(".min"),
    validation = Rule::new("self.mode == 'native' || (!has(self.min) && !has(self.max) && !has(self.targetLatencySeconds) && \
        (!has(self.paused) || !self.paused) && (!has(self.dryRun) || !self.dryRun))")
        .message("min, max, targetLatencySeconds, paused and dryRun are for scaling.mode native")
)]
pub struct Scaling {
    /// `fixed`: what `replicas` says. `external`: what is asked of the CeleryWorker's scale subresource. `native`: what the
    /// load of `targetQueues` needs, from `min` to `max`.
    #[serde(default)]
    pub mode: ScalingMode,
    /// Fewest workers, with `native`. 0 takes the last one away when nothing is waiting, running or to come. Without it 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000))]
    pub min: Option<i32>,
    /// Most workers, with `native`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max: Option<i32>,
    /// Seconds that a message may wait until a worker begins with it, with `native`. Without it 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86_400))]
    pub target_latency_seconds: Option<i32>,
    /// Leave as many workers as there are, with `native`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub paused: bool,
    /// Only say how many workers there would be, with `native`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
    /// Seconds that a worker which is to go may take to finish what it has; then its pod goes all the same, and has its grace
    /// period. Without it there is no limit. In every mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub drain_timeout_seconds: Option<i64>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands it over like that"
)]
fn is_false(value: &bool) -> bool {
    !value
}

/// How many pods of a pool may be taken away at once when nodes are drained.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DisruptionBudget {
    /// Whether there is a PodDisruptionBudget.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Pods that may be away at once.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_unavailable: i32,
}

impl Default for DisruptionBudget {
    fn default() -> Self {
        Self {
            enabled: true,
            max_unavailable: 1,
        }
    }
}

/// What may talk to the pods.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
pub struct Isolation {
    /// Whether a NetworkPolicy forbids connections to the pods from everywhere.
    #[serde(default)]
    pub enabled: bool,
}

/// The container beside each worker that answers its probes, and has it finish its tasks before its pod goes. It needs
/// `celeryRef`, and an operator that knows an aggregator.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sidecar {
    /// Whether there is one. Without it workers have no probes, and finish their tasks as far as Celery's own shutdown does.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The image; the operator's own setting when left out, as it is when something of the pool's pods changes: an upgrade
    /// of the operator alone replaces no pod. The annotation `celeriac.dev/refresh-sidecar` of the CeleryWorker brings it when
    /// its value changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub image: Option<String>,
    /// Variables of its environment, such as `CELERIAC_INSPECTOR_TRANSPORT_OPTION`: the app's inspector needs the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(
        merge_strategy = ListMerge::Map(vec!["name".into()]),
        validation = Rule::new("self.all(e, !(e.name in ['POD_NAME', 'CELERIAC_INSPECTOR_BROKER', \
            'CELERIAC_INSPECTOR_BROKER_FILE', 'CELERIAC_INSPECTOR_APP', 'CELERIAC_INSPECTOR_AGGREGATOR', \
            'CELERIAC_INSPECTOR_AGGREGATOR_CA', 'CELERIAC_INSPECTOR_AGGREGATOR_TOKEN_FILE', \
            'CELERIAC_INSPECTOR_LISTEN', 'CELERIAC_INSPECTOR_WORKER', 'CELERIAC_INSPECTOR_DRAIN_DEADLINE', \
            'CELERIAC_INSPECTOR_DRAIN_TOKEN', 'CELERIAC_INSPECTOR_DRAIN_TOKEN_FILE']))")
            .message("the sidecar's broker, app, aggregator, address, worker and drain are set by the operator")
    )]
    #[schemars(length(max = 64))]
    pub env: Vec<EnvVar>,
    /// What it may use and is guaranteed; when left out, 10m CPU and 16Mi of memory are guaranteed, and 64Mi the limit.
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub resources: Resources,
}

impl Sidecar {
    /// The variables of those that there are.
    pub fn variables(&self) -> &[EnvVar] {
        if self.enabled { &self.env } else { &[] }
    }
}

impl Default for Sidecar {
    fn default() -> Self {
        Self {
            enabled: true,
            image: None,
            env: Vec::new(),
            resources: Resources::default(),
        }
    }
}

/// One pool of like workers: which queues they take from, how they run tasks, and what their pods are.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.softTimeLimit) || !has(self.timeLimit) || self.softTimeLimit < self.timeLimit")
        .message("softTimeLimit must be shorter than timeLimit: a task gets the time between to clean up")
        .field_path(".softTimeLimit"),
    validation = Rule::new("self.pool == 'prefork' || !has(self.softTimeLimit)")
        .message("softTimeLimit works in the prefork pool only").field_path(".softTimeLimit"),
    validation = Rule::new("self.pool in ['prefork', 'gevent'] || !has(self.timeLimit)")
        .message("timeLimit works in the prefork and gevent pools only").field_path(".timeLimit"),
    validation = Rule::new("self.pool == 'prefork' || (!has(self.maxTasksPerChild) && !has(self.maxMemoryPerChild))")
        .message("maxTasksPerChild and maxMemoryPerChild work in the prefork pool only: no other has child processes"),
    validation = Rule::new("self.pool != 'solo' || !has(self.concurrency) || self.concurrency == 1")
        .message("a solo worker runs one task at a time: leave concurrency out").field_path(".concurrency"),
    validation = Rule::new("self.scaling.mode != 'native' || (has(self.targetQueues) && size(self.targetQueues) > 0)")
        .message("targetQueues is missing: native scaling goes by the load of the queues that it names")
        .field_path(".targetQueues"),
    validation = Rule::new("!self.disablePrefetch || !has(self.prefetchMultiplier)")
        .message("prefetchMultiplier has no effect with disablePrefetch").field_path(".prefetchMultiplier")
)]
pub struct PoolOptions {
    /// How many workers run. With `scaling.mode: external` it counts only when the pool is made; with `native` it is what the
    /// operator has decided, and a pool of a Celery begins with `scaling.min`.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 10_000))]
    pub replicas: i32,
    /// Who decides how many workers run.
    #[serde(default)]
    pub scaling: Scaling,
    /// The queues to take tasks from (`-Q`). Without any, those the app's settings name, which is `celery` if they name
    /// none. A worker that no longer consumes one of these is told to, unless a person cancelled it through Celeriac;
    /// without any it is not known what a worker should consume.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(
        length(max = 64),
        inner(length(min = 1, max = 200), regex(pattern = r"^[^,\s]+$"))
    )]
    pub target_queues: Vec<String>,
    /// How a worker runs its tasks (`-P`).
    #[serde(default)]
    pub pool: Pool,
    /// How many tasks a worker runs at a time (`-c`). Without it, the whole CPUs of `resources.limits.cpu`, at least 1;
    /// without that too, Celery's own rule, which is the CPUs of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub concurrency: Option<i32>,
    /// How many messages a worker holds for each task it can run (`--prefetch-multiplier`). 1 is best for long tasks;
    /// 0 is without limit. Celery's own default is 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000))]
    pub prefetch_multiplier: Option<i32>,
    /// Take a message only when a task can run at once (`--disable-prefetch`; Celery 5.6 and later, on Redis).
    #[serde(default)]
    pub disable_prefetch: bool,
    /// Seconds after which a task is interrupted by an exception that it can catch (`--soft-time-limit`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub soft_time_limit: Option<i64>,
    /// Seconds after which a task is killed (`--time-limit`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub time_limit: Option<i64>,
    /// How a prefork worker hands tasks to its processes (`-O`). Celery's own default keeps tasks waiting behind long ones
    /// while other processes are free; `fair` does not.
    #[serde(default)]
    pub optimization: Optimization,
    /// Tasks after which a process of the pool is replaced (`--max-tasks-per-child`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_000_000_000))]
    pub max_tasks_per_child: Option<i64>,
    /// Resident memory in KiB after which a process of the pool is replaced, when its task is done
    /// (`--max-memory-per-child`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_000_000_000))]
    pub max_memory_per_child: Option<i64>,
    /// Do not follow the events of other workers (`--without-gossip`). Nothing in Celery needs it, and it costs every
    /// worker every event of all.
    #[serde(default = "yes")]
    pub without_gossip: bool,
    /// Do not greet other workers at start (`--without-mingle`). Revocations that only other workers remember are then
    /// not learnt.
    #[serde(default)]
    pub without_mingle: bool,
    /// Send events about tasks (`-E`). Without them Celeriac sees workers and queues, but no tasks.
    #[serde(default = "yes")]
    pub task_events: bool,
    /// The least severe log level that is written (`-l`).
    #[serde(default)]
    pub log_level: LogLevel,
    /// More arguments of `celery worker`, after all others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 1024)))]
    pub extra_args: Vec<String>,
    /// Seconds that a worker has to finish its tasks when its pod is stopped. Without it: `timeLimit` and a minute, or an
    /// hour when there is no limit. A task that takes longer is interrupted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 31_536_000))]
    pub termination_grace_period_seconds: Option<i64>,
    /// How many pods may be taken away at once when nodes are drained.
    #[serde(default)]
    pub disruption_budget: DisruptionBudget,
    /// What may talk to the pods.
    #[serde(default)]
    pub isolation: Isolation,
    /// The container beside each worker that answers its probes, and has it finish its tasks before its pod goes.
    #[serde(default)]
    pub sidecar: Sidecar,
    /// The image, the app and what else its container is given.
    #[serde(flatten)]
    pub container: AppContainer,
}

pub(super) fn yes() -> bool {
    true
}

pub(super) fn one() -> i32 {
    1
}
