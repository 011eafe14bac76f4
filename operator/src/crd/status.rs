//! What all status objects share.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One aspect of the state, as `metav1.Condition`: `kubectl wait --for=condition=Ready` works on it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Which aspect, such as `Ready`.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 316))]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: Truth,
    /// Why, in one word for programs.
    #[schemars(length(min = 1, max = 1024))]
    pub reason: String,
    /// Why, in words for people.
    #[schemars(length(max = 32768))]
    pub message: String,
    /// Since when `status` is what it is.
    pub last_transition_time: Time,
    /// Which generation of the spec this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// `True`, `False` or `Unknown`.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum Truth {
    /// It is so.
    True,
    /// It is not so.
    False,
    /// Not known (yet).
    Unknown,
}

/// What is happening now, by the aggregator. Written apart from the rest of a status, rounded to two digits, and at most
/// every half minute unless something begins, ends or breaks.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Live {
    /// Workers that are heard of on the broker. Absent when it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub online: Option<i64>,
    /// Slots that run a task, of all slots, such as `3/8`. Absent when it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy: Option<String>,
    /// Messages ready, and tasks that workers hold and do not run; none that wait for their ETA. Absent when not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backlog: Option<i64>,
    /// Since when the oldest message in the queues waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Time>,
    /// Messages delivered and not acknowledged. Absent when the broker does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unacked: Option<i64>,
    /// Versions of Celery that workers say they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub versions: Vec<String>,
    /// Workers that run tasks and send no events about them: of those tasks nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events_off: Option<i64>,
}

/// Fields of a status that its reconcile does not write: those of [`Live`], what of an app is beside them, what the
/// scaling of a pool writes, and what is written once.
pub const LIVE_FIELDS: [&str; 11] = [
    "online",
    "busy",
    "backlog",
    "oldest",
    "unacked",
    "versions",
    "eventsOff",
    "failed",
    "version",
    "lastScaled",
    "variant",
];

/// Conditions that its reconcile does not write.
pub const LIVE_CONDITIONS: [&str; 5] =
    ["Observed", "Reachable", "BrokerLint", "Draining", "Scaling"];

/// A status with conditions, as all of them have.
pub trait Conditions: Serialize {
    /// How its object is.
    fn conditions(&self) -> &[Condition];
}

macro_rules! conditions_of {
    ($($status:ty),*) => {
        $(impl Conditions for $status {
            fn conditions(&self) -> &[Condition] {
                &self.conditions
            }
        })*
    };
}

conditions_of!(
    super::app::CeleryStatus,
    super::broker::CeleryBrokerStatus,
    super::scheduler::CelerySchedulerStatus,
    super::worker::CeleryWorkerStatus
);
