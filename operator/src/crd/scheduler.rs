//! `CeleryScheduler`.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{AppContainer, LocalReference, UrlSource};
use super::pool::LogLevel;
use super::status::Condition;

/// The volume of a schedule.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleStorage {
    /// Its size.
    #[serde(default = "size")]
    #[schemars(length(min = 1, max = 32))]
    pub size: String,
    /// Its StorageClass; the cluster's default when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
}

impl Default for ScheduleStorage {
    fn default() -> Self {
        Self {
            size: size(),
            storage_class_name: None,
        }
    }
}

/// How beat runs.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.storage.size == oldSelf.storage.size && \
        has(self.storage.storageClassName) == has(oldSelf.storage.storageClassName) && \
        (!has(self.storage.storageClassName) || self.storage.storageClassName == oldSelf.storage.storageClassName)")
        .message("the volume of a schedule cannot be changed: delete the scheduler and make it again")
        .field_path(".storage")
)]
pub struct SchedulerOptions {
    /// The class that keeps the schedule (`--scheduler`), such as `django_celery_beat.schedulers:DatabaseScheduler`.
    /// Without it, Celery's own, which keeps it on the volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[A-Za-z_][A-Za-z0-9_.:]*$")
    )]
    pub scheduler_class: Option<String>,
    /// The volume of the schedule. It cannot be changed.
    #[serde(default)]
    pub storage: ScheduleStorage,
    /// The least severe log level that is written (`-l`).
    #[serde(default)]
    pub log_level: LogLevel,
    /// More arguments of `celery beat`, after all others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 1024)))]
    pub extra_args: Vec<String>,
    /// The image, the app and what else its container is given.
    #[serde(flatten)]
    pub container: AppContainer,
}

/// One beat.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[kube(
    group = "celeriac.dev",
    version = "v1alpha1",
    kind = "CeleryScheduler",
    plural = "celeryschedulers",
    shortname = "cels",
    category = "celeriac",
    namespaced,
    status = "CelerySchedulerStatus",
    derive = "PartialEq",
    doc = "The beat of a Celery app: one process, never two, with its schedule on a volume.",
    validation = Rule::new("self.metadata.name.size() <= 50")
        .message("the name must have at most 50 characters: names of pods are made of it"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#
    ),
    printcolumn(name = "Class", type_ = "string", json_path = ".spec.schedulerClass", priority = 1),
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
    validation = Rule::new("has(self.appName)").message("appName is missing: name the app as celery -A takes it")
)]
pub struct CelerySchedulerSpec {
    /// The Celery that this scheduler belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub celery_ref: Option<LocalReference>,
    /// The broker's URL (`CELERY_BROKER_URL`).
    pub broker: UrlSource,
    /// The result backend's URL (`CELERY_RESULT_BACKEND`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_backend: Option<UrlSource>,
    /// How it runs.
    #[serde(flatten)]
    pub options: SchedulerOptions,
}

/// What the operator knows of a scheduler.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CelerySchedulerStatus {
    /// The generation of the spec that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// How it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

fn size() -> String {
    "100Mi".to_owned()
}
