//! The objects of a RabbitMQ: StatefulSet and Service of one server that the operator runs, and what its Secret holds; or the
//! RabbitmqCluster that RabbitMQ's own operator makes one of.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::broker::{COMPONENT, URL_KEY, host, one_server, secret_name};
use super::{Desired, Kind, Owner, pod, selector};
use crate::crd::{CeleryBrokerSpec, Opaque};
use crate::validate::{bytes, memory_limit};

const PORT: u16 = 5672;
const MANAGEMENT_PORT: u16 = 15672;

/// The image of one whose spec names none. With management, which alone tells of what is not acknowledged.
const IMAGE: &str = "rabbitmq:4.2-management";

/// User and group `rabbitmq` of the usual images.
const RABBITMQ_USER: i64 = 999;

/// Who workers and inspector are.
const USER: &str = "celery";

/// The key of the Secret with virtual host, user and password as RabbitMQ reads them at each start. It also tells the Secret
/// of a RabbitMQ from that of a Redis.
pub const DEFINITIONS_KEY: &str = "definitions.json";

/// The key of the Secret with what Erlang's own tools have to know to get in.
pub const COOKIE_KEY: &str = "erlang-cookie";

/// The key of a RabbitmqCluster's Secret that holds the URL.
pub const CLUSTER_URL_KEY: &str = "connection_string";

/// The annotation of the pod with what of its settings is no secret: a file is made of it, so that the operator needs no
/// right to write ConfigMaps, and another setting is another pod.
const SETTINGS_ANNOTATION: &str = "celeriac.dev/rabbitmq-conf";

const SETTINGS_FOLDER: &str = "/etc/celeriac/rabbitmq";
const COOKIE_FOLDER: &str = "/etc/celeriac/cookie";
const DATA_FOLDER: &str = "/var/lib/rabbitmq";

/// Milliseconds that a worker may hold a message: RabbitMQ's half an hour ends the connection of a worker that runs a longer
/// task with late acknowledgement, or holds one for its ETA. A month; it is a 32-bit number in some versions.
const CONSUMER_TIMEOUT_MS: u64 = 30 * 24 * 3_600 * 1_000;

/// Seconds that a server has to start, with what its queues hold, before it is started again.
const START_SECONDS: u32 = 600;

/// What the Secret of a new broker holds. RabbitMQ reads user and password from a file at each start, and sets them: so a
/// password that is changed here is changed there, which its own `default_pass` does only for a new volume.
pub fn secret_data(owner: &Owner, password: &str, cookie: &str) -> BTreeMap<String, String> {
    let definitions = json!({
        "vhosts": [{"name": "/"}],
        // `management` lets it look at its own virtual host.
        "users": [{"name": USER, "password": password, "tags": ["management"]}],
        "permissions": [{"user": USER, "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}],
    });
    let url = format!("amqp://{USER}:{password}@{}:{PORT}//", host(owner));
    BTreeMap::from([
        ("username".to_owned(), USER.to_owned()),
        ("password".to_owned(), password.to_owned()),
        (URL_KEY.to_owned(), url),
        (DEFINITIONS_KEY.to_owned(), definitions.to_string()),
        (COOKIE_KEY.to_owned(), cookie.to_owned()),
    ])
}

/// Where the broker is found, without its password.
pub fn endpoint(owner: &Owner) -> String {
    format!("amqp://{}:{PORT}//", host(owner))
}

/// The objects of one server that the operator runs. `secrets` is the fingerprint of its Secret.
pub fn objects(owner: &Owner, spec: &CeleryBrokerSpec, secrets: Option<&str>) -> Vec<Desired> {
    let service = json!({
        "selector": selector(COMPONENT, &owner.name),
        "ports": [
            {"name": "amqp", "port": PORT, "targetPort": "amqp"},
            {"name": "management", "port": MANAGEMENT_PORT, "targetPort": "management"},
        ],
    });
    let mut template = pod::template(
        owner,
        COMPONENT,
        pod(owner, spec),
        secrets,
        spec.pod_template.as_ref(),
    );
    template["metadata"]["annotations"][SETTINGS_ANNOTATION] = json!(settings(spec));
    vec![
        owner.object(Kind::Service, &owner.name, COMPONENT, &service),
        one_server(owner, spec, &template),
    ]
}

/// The RabbitmqCluster that RabbitMQ's own operator makes one of. Its volumes and its password go with it, so it stays where
/// they are to stay.
pub fn cluster(owner: &Owner, spec: &CeleryBrokerSpec) -> Desired {
    let mut persistence = json!({"storage": spec.storage.size});
    if let Some(class) = &spec.storage.storage_class_name {
        persistence["storageClassName"] = json!(class);
    }
    let mut wanted = json!({
        "replicas": spec.replicas.unwrap_or(1),
        "persistence": persistence,
        "rabbitmq": {"additionalConfig": consumer_timeout()},
    });
    if let Some(image) = &spec.image {
        wanted["image"] = json!(image);
    }
    if !spec.resources.is_empty() {
        wanted["resources"] = json!(spec.resources);
    }
    if let Some(template) = &spec.pod_template {
        wanted["override"] = json!({"statefulSet": {"spec": {"template": overriding(template)}}});
    }
    let mut cluster = owner.object(Kind::RabbitmqCluster, &owner.name, COMPONENT, &wanted);
    if spec.storage.retain
        && let Some(metadata) = cluster.body["metadata"].as_object_mut()
    {
        metadata.remove("ownerReferences");
    }
    cluster
}

/// A pod template as that operator merges it over its own: its schema wants the list of containers, if only an empty one.
fn overriding(template: &Opaque) -> Value {
    let mut template = json!(template);
    if let Some(spec) = template.get_mut("spec").and_then(Value::as_object_mut) {
        spec.entry("containers").or_insert_with(|| json!([]));
    }
    template
}

fn consumer_timeout() -> String {
    format!("consumer_timeout = {CONSUMER_TIMEOUT_MS}\n")
}

/// RabbitMQ's settings but its secrets.
fn settings(spec: &CeleryBrokerSpec) -> String {
    let mut settings = format!("load_definitions = {SETTINGS_FOLDER}/{DEFINITIONS_KEY}\n");
    // Its log is the container's.
    settings.push_str("log.console = true\nlog.file = false\n");
    settings.push_str(&consumer_timeout());
    // The usual 50 MB are less than a large queue writes between two looks at the disk.
    if let Some(size) = bytes(&spec.storage.size) {
        let _ = writeln!(settings, "disk_free_limit.absolute = {}", size / 10);
    }
    // What the container may use, which not every version finds out; the rest is for what Erlang needs beside the queues.
    if let Some(limit) = memory_limit(&spec.resources) {
        let _ = writeln!(settings, "total_memory_available_override_value = {limit}");
        settings.push_str("vm_memory_high_watermark.relative = 0.6\n");
    }
    settings
}

fn pod(owner: &Owner, spec: &CeleryBrokerSpec) -> Value {
    let mut security = pod::locked_pod();
    for field in ["runAsUser", "runAsGroup", "fsGroup"] {
        security[field] = json!(RABBITMQ_USER);
    }
    let secret = secret_name(&owner.name);
    json!({
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "securityContext": security,
        // It closes its queues before it ends.
        "terminationGracePeriodSeconds": 120,
        "initContainers": [cookie(spec)],
        "containers": [server(spec)],
        "volumes": [
            {"name": "settings", "projected": {"sources": [
                {"downwardAPI": {"items": [{
                    "path": "rabbitmq.conf",
                    "fieldRef": {"fieldPath": format!("metadata.annotations['{SETTINGS_ANNOTATION}']")},
                }]}},
                {"secret": {"name": secret, "items": [{"key": DEFINITIONS_KEY, "path": DEFINITIONS_KEY}]}},
            ]}},
            {"name": "cookie", "secret": {
                "secretName": secret, "items": [{"key": COOKIE_KEY, "path": COOKIE_KEY}],
            }},
            {"name": "tmp", "emptyDir": {}},
        ],
    })
}

/// Erlang takes a cookie only from a file that is its owner's alone. Kubernetes makes no such file for a user who is not root,
/// and opens one that lies on a volume to the volume's group at the next start: so it is written anew before each.
fn cookie(spec: &CeleryBrokerSpec) -> Value {
    let file = format!("{DATA_FOLDER}/.erlang.cookie");
    let script = format!("umask 077 && rm -f {file} && cat {COOKIE_FOLDER}/{COOKIE_KEY} >{file}");
    container(
        spec,
        json!({
            "name": "cookie",
            "command": ["sh", "-c", script],
            "volumeMounts": [
                {"name": "data", "mountPath": DATA_FOLDER},
                {"name": "cookie", "mountPath": COOKIE_FOLDER, "readOnly": true},
            ],
        }),
    )
}

/// The port opens when queues and definitions are there, and stays open while memory or disk are short. `rabbitmq-diagnostics`
/// would start an Erlang of its own for each probe: a second of a CPU and 50 MB, every few seconds.
fn server(spec: &CeleryBrokerSpec) -> Value {
    let probe = |period: u32, failures: u32| {
        json!({
            "tcpSocket": {"port": "amqp"},
            "periodSeconds": period, "failureThreshold": failures, "timeoutSeconds": 5,
        })
    };
    container(
        spec,
        json!({
            "name": "rabbitmq",
            "command": ["rabbitmq-server"],
            "env": environment(),
            "ports": [
                {"name": "amqp", "containerPort": PORT},
                {"name": "management", "containerPort": MANAGEMENT_PORT},
            ],
            "startupProbe": probe(5, START_SECONDS / 5),
            "readinessProbe": probe(5, 3),
            "livenessProbe": probe(10, 6),
            "volumeMounts": [
                {"name": "data", "mountPath": DATA_FOLDER},
                {"name": "settings", "mountPath": SETTINGS_FOLDER, "readOnly": true},
                {"name": "tmp", "mountPath": "/tmp"},
            ],
        }),
    )
}

/// The server's name is in the names of its files, so it must not be the pod's, which a copy of the volume would not have.
/// Nobody else has to reach its Erlang: it and the mapper of its ports listen to the pod itself only.
fn environment() -> Value {
    let variable = |name: &str, value: &str| json!({"name": name, "value": value});
    json!([
        variable("HOME", DATA_FOLDER),
        variable("RABBITMQ_NODENAME", "rabbit@localhost"),
        variable(
            "RABBITMQ_CONFIG_FILE",
            &format!("{SETTINGS_FOLDER}/rabbitmq.conf")
        ),
        variable("RABBITMQ_LOG_BASE", &format!("{DATA_FOLDER}/log")),
        variable("ERL_EPMD_ADDRESS", "127.0.0.1"),
        variable(
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
            "-kernel inet_dist_use_interface {127,0,0,1}"
        ),
    ])
}

/// What both containers have.
fn container(spec: &CeleryBrokerSpec, container: Value) -> Value {
    let Value::Object(mut fields) = container else {
        unreachable!("it was written as an object");
    };
    fields.insert(
        "image".to_owned(),
        json!(spec.image.as_deref().unwrap_or(IMAGE)),
    );
    let mut security = pod::locked();
    security["readOnlyRootFilesystem"] = json!(true);
    fields.insert("securityContext".to_owned(), security);
    pod::add_resources(&mut fields, &spec.resources);
    Value::Object(fields)
}

/// What a RabbitmqCluster says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// The Secret with its user, once there is one.
    pub secret: Option<String>,
    /// Why it is not ready, if it is not.
    pub waits: Option<String>,
}

impl Cluster {
    /// By the object as the API server has it.
    pub fn read(metadata_generation: Option<i64>, status: &Value) -> Self {
        let secret = status["defaultUser"]["secretReference"]["name"].as_str();
        let all = status["conditions"].as_array().into_iter().flatten();
        let said: Map<String, Value> = all
            .filter_map(|one| Some((one["type"].as_str()?.to_owned(), one.clone())))
            .collect();
        let of = |type_: &str, field: &str| {
            let condition = said.get(type_);
            condition.and_then(|one| one[field].as_str()).unwrap_or("")
        };
        let waits = if said.is_empty() {
            Some("RabbitMQ's cluster operator has not looked at it; does it run?".to_owned())
        } else if of("ReconcileSuccess", "status") == "False" {
            Some(format!(
                "RabbitMQ's cluster operator: {}: {}",
                of("ReconcileSuccess", "reason"),
                of("ReconcileSuccess", "message")
            ))
        } else if status["observedGeneration"].as_i64() != metadata_generation {
            Some("RabbitMQ's cluster operator has not followed its last change".to_owned())
        } else if of("AllReplicasReady", "status") != "True" {
            Some(format!(
                "AllReplicasReady is {}: {}",
                of("AllReplicasReady", "status"),
                of("AllReplicasReady", "message")
            ))
        } else if secret.is_none() {
            Some("it names no Secret with its user".to_owned())
        } else {
            None
        };
        Self {
            secret: secret.map(str::to_owned),
            waits,
        }
    }
}
