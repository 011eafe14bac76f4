//! `CeleryWorker`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{LocalReference, UrlSource};
use super::pool::PoolOptions;
use super::status::{Condition, Live};

/// A pool of like workers.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[kube(
    group = "celeriac.dev",
    version = "v1alpha1",
    kind = "CeleryWorker",
    plural = "celeryworkers",
    shortname = "celw",
    category = "celeriac",
    namespaced,
    status = "CeleryWorkerStatus",
    derive = "PartialEq",
    doc = "A pool of like workers of a Celery app.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    validation = Rule::new("self.metadata.name.size() <= 63")
        .message("the name must have at most 63 characters: it is a label of its pods"),
    printcolumn(name = "Desired", type_ = "integer", json_path = ".spec.replicas"),
    printcolumn(name = "Ready", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Busy", type_ = "string", json_path = ".status.busy"),
    printcolumn(name = "Backlog", type_ = "integer", json_path = ".status.backlog"),
    printcolumn(name = "Oldest", type_ = "date", json_path = ".status.oldest"),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#
    ),
    printcolumn(name = "Online", type_ = "integer", json_path = ".status.online", priority = 1),
    printcolumn(name = "Versions", type_ = "string", json_path = ".status.versions", priority = 1),
    printcolumn(
        name = "Observed",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Observed")].reason"#,
        priority = 1
    ),
    printcolumn(name = "Pool", type_ = "string", json_path = ".spec.pool", priority = 1),
    printcolumn(name = "Queues", type_ = "string", json_path = ".spec.targetQueues", priority = 1),
    printcolumn(name = "Concurrency", type_ = "integer", json_path = ".status.concurrency", priority = 1),
    printcolumn(name = "Scaling", type_ = "string", json_path = ".spec.scaling.mode", priority = 1),
    printcolumn(
        name = "Why",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Scaling")].reason"#,
        priority = 1
    ),
    printcolumn(name = "Scaled", type_ = "date", json_path = ".status.lastScaled", priority = 1),
    printcolumn(name = "Image", type_ = "string", json_path = ".spec.image", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.image)").message("image is missing: name the image that holds the app"),
    validation = Rule::new("self.scaling.mode != 'native' || has(self.celeryRef)")
        .message("celeryRef is missing: native scaling goes by what is known of its app").field_path(".celeryRef"),
    validation = Rule::new("has(self.appName)").message("appName is missing: name the app as celery -A takes it")
)]
pub struct CeleryWorkerSpec {
    /// The Celery that this pool belongs to. Without it the pool runs, but nothing is known of its queues and tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub celery_ref: Option<LocalReference>,
    /// The broker's URL (`CELERY_BROKER_URL`).
    pub broker: UrlSource,
    /// The result backend's URL (`CELERY_RESULT_BACKEND`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_backend: Option<UrlSource>,
    /// How its workers run.
    #[serde(flatten)]
    pub options: PoolOptions,
}

/// Of which kind the sidecars of a pool are. It is kept until something else of the pool's pods changes.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SidecarPin {
    /// Their image.
    pub image: String,
    /// Who tells them of their workers.
    pub aggregator: String,
    /// The authority that signs its certificate, PEM; those of the image when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// What their tokens are made for; without it they have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
}

/// What the operator knows of a pool.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CeleryWorkerStatus {
    /// The generation of the spec that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Pods there are, as the scale subresource wants it.
    #[serde(default)]
    pub replicas: i32,
    /// Pods that are ready.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Pods of the current template.
    #[serde(default)]
    pub updated_replicas: i32,
    /// Which pods are its own, as the scale subresource wants it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Of which kind the sidecars are; absent when there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sidecar: Option<SidecarPin>,
    /// A digest of what else the pods are made of: while it is the same, `sidecar` stays as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods_digest: Option<String>,
    /// How many tasks a worker runs at a time, where the operator sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<i32>,
    /// When the operator asked for another number of workers last, with `scaling.mode: native`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_scaled: Option<Time>,
    /// What is happening now.
    #[serde(flatten)]
    pub live: Live,
    /// How it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}
