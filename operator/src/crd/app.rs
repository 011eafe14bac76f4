//! `Celery`: one app, whole.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::broker::CeleryBrokerSpec;
use super::common::{EnvVar, Opaque, Resources, UrlSource};
use super::pool::{PoolOptions, yes};
use super::scheduler::SchedulerOptions;
use super::status::{Condition, Live};

/// A pool of an app.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppWorker {
    /// Its name in the app. The CeleryWorker is called `<app>-<name>`; renaming makes a new pool.
    #[schemars(
        length(min = 1, max = 22),
        regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    #[x_kube(validation = Rule::new("self != 'inspector'").message("inspector is the name of the app's inspector"))]
    pub name: String,
    /// How its workers run.
    #[serde(flatten)]
    pub options: PoolOptions,
}

/// A scheduler of an app.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppScheduler {
    /// Its name in the app. The CeleryScheduler is called `<app>-<name>`; renaming makes a new scheduler.
    #[schemars(
        length(min = 1, max = 22),
        regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    #[x_kube(validation = Rule::new("self != 'broker'").message("broker is the name of the app's broker"))]
    pub name: String,
    /// How it runs.
    #[serde(flatten)]
    pub options: SchedulerOptions,
}

/// The process that reads the app's events and asks its workers.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Inspector {
    /// Whether there is one. Without it nothing is known of the app's queues and tasks.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Switch task events on in workers that do not send them.
    #[serde(default)]
    pub enable_events: bool,
    /// The image; the operator's own setting when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub image: Option<String>,
    /// Variables of its environment, such as `CELERIAC_INSPECTOR_TRANSPORT_OPTION`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(
        merge_strategy = ListMerge::Map(vec!["name".into()]),
        validation = Rule::new("self.all(e, !(e.name in ['CELERIAC_INSPECTOR_BROKER', 'CELERIAC_INSPECTOR_APP', \
            'CELERIAC_INSPECTOR_AGGREGATOR', 'CELERIAC_INSPECTOR_LISTEN', 'CELERIAC_INSPECTOR_ENABLE_EVENTS']))")
            .message("the inspector's broker, app, aggregator, address and events are set by the operator")
    )]
    #[schemars(length(max = 64))]
    pub env: Vec<EnvVar>,
    /// What it may use and is guaranteed.
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub resources: Resources,
    /// Anything else of its pod: a PodTemplateSpec that is merged over the operator's. The container is called
    /// `inspector`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<Opaque>,
}

impl Default for Inspector {
    fn default() -> Self {
        Self {
            enabled: true,
            enable_events: false,
            image: None,
            env: Vec::new(),
            resources: Resources::default(),
            pod_template: None,
        }
    }
}

/// One Celery app: its broker, its pools of workers, its schedulers, and what is known of them.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[kube(
    group = "celeriac.dev",
    version = "v1alpha1",
    kind = "Celery",
    plural = "celeries",
    shortname = "cel",
    category = "celeriac",
    namespaced,
    status = "CeleryStatus",
    derive = "PartialEq",
    doc = "One Celery app: its broker, its pools of workers, its schedulers, and what is known of them.",
    validation = Rule::new("self.metadata.name.size() <= 40")
        .message("the name must have at most 40 characters: names of pods are made of it"),
    validation = Rule::new(
        "!has(self.spec.schedulers) || self.spec.schedulers.all(s, self.metadata.name.size() + s.name.size() <= 49)")
        .message("the names of app and scheduler together must have at most 49 characters: names of pods are made of \
                  them"),
    printcolumn(name = "Broker", type_ = "string", json_path = ".status.broker"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(name = "Workers", type_ = "string", json_path = ".status.workers"),
    printcolumn(name = "Busy", type_ = "string", json_path = ".status.busy"),
    printcolumn(name = "Backlog", type_ = "integer", json_path = ".status.backlog"),
    printcolumn(name = "Oldest", type_ = "date", json_path = ".status.oldest"),
    printcolumn(name = "Failed", type_ = "integer", json_path = ".status.failed"),
    printcolumn(name = "Online", type_ = "integer", json_path = ".status.online", priority = 1),
    printcolumn(name = "Unacked", type_ = "integer", json_path = ".status.unacked", priority = 1),
    printcolumn(name = "Versions", type_ = "string", json_path = ".status.versions", priority = 1),
    printcolumn(
        name = "Observed",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Observed")].reason"#,
        priority = 1
    ),
    printcolumn(name = "App", type_ = "string", json_path = ".spec.appName", priority = 1),
    printcolumn(name = "Image", type_ = "string", json_path = ".spec.image", priority = 1),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        priority = 1
    ),
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
    validation = Rule::new("has(self.image) || ((!has(self.workers) || self.workers.all(w, has(w.image))) && \
        (!has(self.schedulers) || self.schedulers.all(s, has(s.image))))")
        .message("image is missing: name the image that holds the app, for all or for each worker and scheduler"),
    validation = Rule::new("has(self.appName) || ((!has(self.workers) || self.workers.all(w, has(w.appName))) && \
        (!has(self.schedulers) || self.schedulers.all(s, has(s.appName))))")
        .message("appName is missing: name the app as celery -A takes it, for all or for each worker and scheduler")
)]
pub struct CelerySpec {
    /// The image that holds Celery and the app's code, for workers and schedulers that name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub image: Option<String>,
    /// The app as `celery -A` takes it, such as `shop` or `shop.celery:app`, for workers and schedulers that name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[A-Za-z_][A-Za-z0-9_.:]*$")
    )]
    pub app_name: Option<String>,
    /// The broker: one that the operator runs, unless it says otherwise.
    #[serde(default)]
    pub broker: CeleryBrokerSpec,
    /// The result backend's URL (`CELERY_RESULT_BACKEND`) of workers and schedulers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_backend: Option<UrlSource>,
    /// The pools of workers. Without any the app is only watched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 64))]
    pub workers: Vec<AppWorker>,
    /// The schedulers, each one beat.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 16))]
    pub schedulers: Vec<AppScheduler>,
    /// The process that reads the app's events and asks its workers.
    #[serde(default)]
    pub inspector: Inspector,
}

/// What the operator knows of an app.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CeleryStatus {
    /// The generation of the spec that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// How the broker is, in a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker: Option<String>,
    /// Where the broker is, without user and password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker_address: Option<String>,
    /// Ready workers of those wanted, such as `3/4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<String>,
    /// What is happening now.
    #[serde(flatten)]
    pub live: Live,
    /// Tasks that failed in the last hour. Absent when it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<i64>,
    /// How it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}
