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
    /// RabbitMQ that the operator runs: by RabbitMQ's own operator where that is, else as one server on a volume.
    Rabbitmq,
    /// A broker that is there already.
    External,
}

/// Who runs a RabbitMQ: `RabbitmqCluster` where RabbitMQ's own operator was when the broker was made, else `StatefulSet`. It is
/// written before anything is made, and never changes.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum BrokerVariant {
    /// This operator: one server in a StatefulSet.
    StatefulSet,
    /// RabbitMQ's own operator, by a RabbitmqCluster.
    RabbitmqCluster,
}

impl BrokerVariant {
    /// As a status says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::StatefulSet => "StatefulSet",
            Self::RabbitmqCluster => "RabbitmqCluster",
        }
    }
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
    /// Whether volume and password stay when the broker is deleted. A broker of the same name finds both again. Of a
    /// RabbitmqCluster, whose volumes and password go with it, the whole stays, and goes on running until it is deleted.
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
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
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
    doc = "A broker of a Celery app: a Redis server or a RabbitMQ that the operator runs, or one that is there already.",
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
        .message("the StorageClass of a volume cannot be changed").field_path(".storage.storageClassName"),
    validation = Rule::new("self.type == 'rabbitmq' || !has(self.replicas)")
        .message("replicas is for type rabbitmq: a Redis broker is one server").field_path(".replicas"),
    validation = Rule::new("!has(oldSelf.replicas) || oldSelf.replicas == 1 || (has(self.replicas) && \
        self.replicas >= oldSelf.replicas)")
        .message("replicas cannot be lowered: what the queues of a server hold would go with it").field_path(".replicas")
)]
pub struct CeleryBrokerSpec {
    /// What it is: `redis` or `rabbitmq`, which the operator runs, or `external`, which is there already. It cannot be
    /// changed. The password of a server that the operator runs itself is in the Secret `<name>-auth`; servers and workers
    /// follow one that is changed there, in `password` and `url`, and for RabbitMQ in `definitions.json`. A Redis is not
    /// started again for it, and takes the password before it too until no pod of the namespace is left that may have it; a
    /// RabbitMQ takes one at a time.
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
    /// The image of a broker that the operator runs. Of `redis`, 6 or later, it must have `redis-server`,
    /// `redis-cli`, `sh` and its usual companions on its path, and is `valkey/valkey:8.1-alpine` when left out; of `rabbitmq` it must have `rabbitmq-server`, and is
    /// `rabbitmq:4.2-management`, or what RabbitMQ's own operator takes where that is. Without the management plugin some
    /// columns stay empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub image: Option<String>,
    /// How many servers make up a RabbitMQ: 1, or 3 where RabbitMQ's own operator is. It cannot be lowered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == 1 || self == 3")
        .message("replicas must be 1 or 3: of two servers neither can go on without the other"))]
    pub replicas: Option<i32>,
    /// The volume of a broker that the operator runs. Only `retain` can be changed.
    #[serde(default)]
    pub storage: Storage,
    /// What the broker, or each of its servers, may use and is guaranteed. A RabbitMQ takes no messages while it uses more
    /// than 60 % of its memory limit.
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub resources: Resources,
    /// Anything else of the broker's pods: a PodTemplateSpec that is merged over the operator's. The container is called
    /// `redis` or `rabbitmq`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<Opaque>,
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
    /// Who runs a RabbitMQ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("who runs a broker cannot be changed: its queues would be left behind"))]
    pub variant: Option<BrokerVariant>,
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
