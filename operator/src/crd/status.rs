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
