//! `CeleryBroker`.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{Opaque, Resources, SecretKey};
use super::pool::yes;
use super::status::Condition;

/// What a broker is.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BrokerType {
    /// One Redis (or Valkey) server that the operator runs: on a volume, with a password of its own.
    #[default]
    Redis,
    /// A broker that is there already.
    External,
}

/// The volume of a broker that the operator runs.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// Its size.
    #[serde(default = "size")]
    #[schemars(length(min = 1, max = 32))]
    pub size: String,
    /// Its StorageClass; the cluster's default when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
    /// Whether volume and password stay when the broker is deleted. A broker of the same name finds both again.
    #[serde(default = "yes")]
    pub retain: bool,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            size: size(),
            storage_class_name: None,
            retain: true,
        }
    }
}

/// A broker: one that the operator runs, or one that is there already.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[kube(
    group = "celeriac.dev",
    version = "v1alpha1",
    kind = "CeleryBroker",
    plural = "celerybrokers",
    shortname = "celb",
    category = "celeriac",
    namespaced,
    status = "CeleryBrokerStatus",
    derive = "PartialEq",
    doc = "A broker of a Celery app: a Redis server that the operator runs, or one that is there already.",
    validation = Rule::new("self.metadata.name.size() <= 50")
        .message("the name must have at most 50 characters: names of pods are made of it"),
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.type"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(name = "Endpoint", type_ = "string", json_path = ".status.endpoint"),
    printcolumn(
        name = "Reachable",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Reachable")].status"#
    ),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version", priority = 1),
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
    validation = Rule::new("self.type == 'external' ? has(self.brokerAddress) != has(self.secretKeyRef) : true")
        .message("a broker of type external needs either brokerAddress or secretKeyRef"),
    validation = Rule::new("self.type == 'external' || (!has(self.brokerAddress) && !has(self.secretKeyRef))")
        .message("brokerAddress and secretKeyRef are for type external: the operator makes those of a broker it runs"),
    validation = Rule::new("self.type == oldSelf.type")
        .message("the type of a broker cannot be changed: its queues would be left behind").field_path(".type"),
    validation = Rule::new("self.storage.size == oldSelf.storage.size")
        .message("the size of a volume is changed at its PersistentVolumeClaim").field_path(".storage.size"),
    validation = Rule::new("has(self.storage.storageClassName) == has(oldSelf.storage.storageClassName) && \
        (!has(self.storage.storageClassName) || self.storage.storageClassName == oldSelf.storage.storageClassName)")
        .message("the StorageClass of a volume cannot be changed").field_path(".storage.storageClassName")
)]
pub struct CeleryBrokerSpec {
    /// What it is: `redis`, which the operator runs, or `external`, which is there already. It cannot be changed.
    #[serde(default, rename = "type")]
    pub type_: BrokerType,
    /// The URL of an external broker, such as `redis://redis:6379/0`. It must hold neither a user nor a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(
        validation = Rule::new("!self.contains('@') && !self.contains('password=')")
            .message("brokerAddress holds a user or a password: put the URL into a Secret and name it in secretKeyRef"),
        validation = Rule::new("self.matches('^(redis|rediss|redis\\\\+socket|sentinel|amqp|amqps|pyamqp)://')")
            .message("brokerAddress must begin with redis://, rediss://, redis+socket://, sentinel://, amqp://, \
                      amqps:// or pyamqp://")
    )]
    pub broker_address: Option<String>,
    /// The Secret key that holds the URL of an external broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretKey>,
    /// The image of a broker that the operator runs. It must have `redis-server` on its path.
    #[serde(default = "image")]
    #[schemars(length(min = 1, max = 1024))]
    pub image: String,
    /// The volume of a broker that the operator runs. Only `retain` can be changed.
    #[serde(default)]
    pub storage: Storage,
    /// What the broker may use and is guaranteed.
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub resources: Resources,
    /// Anything else of the broker's pod: a PodTemplateSpec that is merged over the operator's. The container is called
    /// `redis`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<Opaque>,
}

impl Default for CeleryBrokerSpec {
    fn default() -> Self {
        Self {
            type_: BrokerType::default(),
            broker_address: None,
            secret_key_ref: None,
            image: image(),
            storage: Storage::default(),
            resources: Resources::default(),
            pod_template: None,
        }
    }
}

/// What the operator knows of a broker.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CeleryBrokerStatus {
    /// The generation of the spec that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where it is, without user and password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// What its server says it is, such as `redis 7.0.15`, by the app's inspector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The Secret key that holds its URL, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretKey>,
    /// How it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

fn size() -> String {
    "1Gi".to_owned()
}

fn image() -> String {
    "valkey/valkey:8.1-alpine".to_owned()
}
