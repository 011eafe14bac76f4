//! The objects of a Redis that the operator runs: StatefulSet and Service, and what its Secret holds; and what it shares with
//! a RabbitMQ.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Desired, Kind, Owner, pod, selector};
use crate::crd::{BrokerType, CeleryBrokerSpec, SecretKey, UrlSource};

pub(super) const COMPONENT: &str = "broker";
const PORT: u16 = 6379;

/// User and group `redis` of the usual images.
const REDIS_USER: i64 = 999;

/// The image of one whose spec names none.
const IMAGE: &str = "valkey/valkey:8.1-alpine";

/// The key of the Secret that holds the URL.
pub const URL_KEY: &str = "url";

/// The key of the Secret that holds the password.
pub const PASSWORD_KEY: &str = "password";

/// The key of the Secret with random letters that go into a fingerprint of the password, so that nobody without the Secret can
/// tell by it whether a guess is right.
pub const FINGERPRINT_KEY: &str = "fingerprint-key";

/// The annotation of the server's pod with the fingerprint of the Secret's password, and ` only` after it once no pod has
/// another. The server reads it as a file; that it changes has the kubelet bring the volumes of the pod up to date at once.
pub const PASSWORD_ANNOTATION: &str = "celeriac.dev/password";

/// What the server's container runs.
const SCRIPT: &str = include_str!("redis.sh");

/// The Secret of a broker that the operator runs.
pub fn secret_name(broker: &str) -> String {
    format!("{broker}-auth")
}

/// Where the URL of a broker is found; `None` while that is not known. `told` is what the broker's status says of it: of a
/// RabbitMQ it depends on who runs it.
pub fn url_source(
    broker: &str,
    spec: &CeleryBrokerSpec,
    told: Option<&SecretKey>,
) -> Option<UrlSource> {
    let in_secret = |key: SecretKey| UrlSource {
        address: None,
        secret_key_ref: Some(key),
    };
    match spec.type_ {
        BrokerType::External => Some(UrlSource {
            address: spec.broker_address.clone(),
            secret_key_ref: spec.secret_key_ref.clone(),
        }),
        BrokerType::Redis => Some(in_secret(own_url(broker))),
        BrokerType::Rabbitmq => told.cloned().map(in_secret),
    }
}

/// The Secret key with the URL of a broker whose server is ours.
pub fn own_url(broker: &str) -> SecretKey {
    SecretKey {
        name: secret_name(broker),
        key: URL_KEY.to_owned(),
    }
}

/// What the Secret of a new broker holds. The server gets its password from a file: arguments can be seen by everybody on
/// the node.
pub fn secret_data(owner: &Owner, password: &str, key: &str) -> BTreeMap<String, String> {
    let host = host(owner);
    // A queue that evicts loses tasks; what Redis has acknowledged should survive its restart.
    let settings = format!("maxmemory-policy noeviction\nappendonly yes\ndir /data\nport {PORT}\n");
    BTreeMap::from([
        (PASSWORD_KEY.to_owned(), password.to_owned()),
        (
            URL_KEY.to_owned(),
            format!("redis://:{password}@{host}:{PORT}/0"),
        ),
        (FINGERPRINT_KEY.to_owned(), key.to_owned()),
        ("redis.conf".to_owned(), settings),
    ])
}

/// The name of the server's pod, and the label selector by which it is found.
pub fn pod(broker: &str) -> (String, String) {
    (
        format!("{broker}-0"),
        format!("celeriac.dev/{COMPONENT}={broker}"),
    )
}

/// Where the broker is found, without its password.
pub fn endpoint(owner: &Owner) -> String {
    format!("redis://{}:{PORT}/0", host(owner))
}

pub(super) fn host(owner: &Owner) -> String {
    format!("{}.{}.svc", owner.name, owner.namespace)
}

/// The labels of the Secret, which is created, never applied: it is kept as it is for as long as it is there.
pub fn secret_labels(owner: &Owner) -> BTreeMap<String, String> {
    super::secret_labels(owner, COMPONENT)
}

/// The objects of a broker that the operator runs. Nothing of its Secret is in them: a new password is followed without another
/// pod.
pub fn objects(owner: &Owner, spec: &CeleryBrokerSpec) -> Vec<Desired> {
    let service = json!({
        "selector": selector(COMPONENT, &owner.name),
        "ports": [{"name": "redis", "port": PORT, "targetPort": "redis"}],
    });
    vec![
        owner.object(Kind::Service, &owner.name, COMPONENT, &service),
        stateful_set(owner, spec),
    ]
}

fn stateful_set(owner: &Owner, spec: &CeleryBrokerSpec) -> Desired {
    let probe = json!({"tcpSocket": {"port": "redis"}, "periodSeconds": 5});
    let mut container = json!({
        "name": "redis",
        "image": spec.image.as_deref().unwrap_or(IMAGE),
        "command": ["sh", "-c", script()],
        "ports": [{"name": "redis", "containerPort": PORT}],
        "readinessProbe": probe,
        "livenessProbe": {"tcpSocket": {"port": "redis"}, "periodSeconds": 10, "failureThreshold": 6},
        "securityContext": pod::locked(),
        "volumeMounts": [
            {"name": "data", "mountPath": "/data"},
            {"name": "settings", "mountPath": "/etc/redis", "readOnly": true},
            {"name": "told", "mountPath": "/etc/celeriac", "readOnly": true},
        ],
    });
    container["securityContext"]["readOnlyRootFilesystem"] = json!(true);
    if let Some(fields) = container.as_object_mut() {
        pod::add_resources(fields, &spec.resources);
    }
    let mut security = pod::locked_pod();
    for field in ["runAsUser", "runAsGroup", "fsGroup"] {
        security[field] = json!(REDIS_USER);
    }
    let mut pod = Map::new();
    pod.insert("automountServiceAccountToken".to_owned(), json!(false));
    pod.insert("enableServiceLinks".to_owned(), json!(false));
    pod.insert("securityContext".to_owned(), security);
    pod.insert("containers".to_owned(), json!([container]));
    let told = json!({"fieldPath": format!("metadata.annotations['{PASSWORD_ANNOTATION}']")});
    pod.insert(
        "volumes".to_owned(),
        json!([
            {"name": "settings", "secret": {"secretName": secret_name(&owner.name)}},
            {"name": "told", "downwardAPI": {"items": [{"path": "password", "fieldRef": told}]}},
        ]),
    );
    let template = pod::template(
        owner,
        COMPONENT,
        Value::Object(pod),
        None,
        spec.pod_template.as_ref(),
    );
    one_server(owner, spec, &template)
}

/// The script without what it says to its readers.
fn script() -> String {
    let lines = SCRIPT
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.fold(String::new(), |text, line| text + line + "\n")
}

/// The StatefulSet of a broker's one server.
pub(super) fn one_server(owner: &Owner, spec: &CeleryBrokerSpec, template: &Value) -> Desired {
    let mut claim = json!({
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": spec.storage.size}},
    });
    if let Some(class) = &spec.storage.storage_class_name {
        claim["storageClassName"] = json!(class);
    }
    let when_deleted = if spec.storage.retain {
        "Retain"
    } else {
        "Delete"
    };
    owner.object(
        Kind::StatefulSet,
        &owner.name,
        COMPONENT,
        &json!({
            "replicas": 1,
            "serviceName": owner.name,
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": selector(COMPONENT, &owner.name)},
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": when_deleted, "whenScaled": "Retain"},
            "volumeClaimTemplates": [{
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": {"name": "data"}, "spec": claim,
            }],
            "template": template,
        }),
    )
}
