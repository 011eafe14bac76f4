//! A RabbitMQ: of ours, and of its own operator.

use serde_json::{Value, json};

use super::{are, owner};
use crate::build::rabbitmq::{self as build, Cluster};
use crate::build::{Kind, app, broker};
use crate::crd::{CeleryBrokerSpec, CelerySpec, SecretKey};

const GOLDEN: &str = include_str!("../golden/rabbitmq.yaml");

fn sample() -> CelerySpec {
    let text = include_str!("../../../../deploy/samples/managed-rabbitmq.yaml");
    let sample: Value = serde_saphyr::from_str(text).unwrap();
    serde_json::from_value(sample["spec"].clone()).unwrap()
}

fn spec(fields: &Value) -> CeleryBrokerSpec {
    let mut spec = json!({"type": "rabbitmq"});
    for (name, value) in fields.as_object().unwrap() {
        spec[name] = value.clone();
    }
    serde_json::from_value(spec).unwrap()
}

/// The app's broker, what it becomes as one server of ours, and what it becomes by RabbitMQ's own operator.
#[test]
fn the_sample_becomes_these_objects() {
    let spec = sample();
    let broker = owner("CeleryBroker", "tickets-broker");
    let mut all = vec![app::broker_object(&owner("Celery", "tickets"), &spec)];
    all.extend(build::objects(&broker, &spec.broker, Some("5ec2e7")));
    all.push(build::cluster(&broker, &spec.broker));
    are(&all, GOLDEN, "rabbitmq.yaml");
}

#[test]
fn its_password_is_in_its_secret_only_and_set_at_each_start() {
    let broker = owner("CeleryBroker", "mq");
    let data = build::secret_data(&broker, "passw0rd", "c00kie");
    assert_eq!(data["url"], "amqp://celery:passw0rd@mq.live.svc:5672//");
    let definitions: Value = serde_json::from_str(&data["definitions.json"]).unwrap();
    assert_eq!(definitions["users"][0]["password"], "passw0rd");
    assert_eq!(data["erlang-cookie"], "c00kie");
    let objects = build::objects(&broker, &spec(&json!({})), None);
    let text = format!("{objects:?}");
    assert!(!text.contains("passw0rd") && !text.contains("c00kie"));
    assert!(text.contains("load_definitions = /etc/celeriac/rabbitmq/definitions.json"));
}

#[test]
fn what_memory_and_disk_allow_is_told_to_the_server() {
    let broker = owner("CeleryBroker", "mq");
    let settings = |fields: &Value| {
        let objects = build::objects(&broker, &spec(fields), None);
        let template = &objects[1].body["spec"]["template"];
        let settings = &template["metadata"]["annotations"]["celeriac.dev/rabbitmq-conf"];
        settings.as_str().unwrap().to_owned()
    };
    let plain = settings(&json!({}));
    assert!(
        plain.contains("disk_free_limit.absolute = 107374182\n"),
        "{plain}"
    );
    assert!(!plain.contains("memory"), "{plain}");
    let limited = settings(&json!({"resources": {"limits": {"memory": "512Mi"}}}));
    assert!(
        limited.contains("total_memory_available_override_value = 536870912\n"),
        "{limited}"
    );
    assert!(
        limited.contains("vm_memory_high_watermark.relative = 0.6\n"),
        "{limited}"
    );
}

/// Its volumes go with a RabbitmqCluster, and so does its password: it has an owner only if they are to go too.
#[test]
fn a_cluster_stays_where_its_volumes_are_to_stay() {
    let broker = owner("CeleryBroker", "mq");
    let owners = |retain: bool| {
        let cluster = build::cluster(&broker, &spec(&json!({"storage": {"retain": retain}})));
        assert_eq!(
            (cluster.kind, cluster.owner),
            (Kind::RabbitmqCluster, "uid-of-mq".to_owned())
        );
        cluster.body["metadata"]["ownerReferences"].clone()
    };
    assert_eq!(owners(true), Value::Null);
    assert_eq!(owners(false)[0]["uid"], "uid-of-mq");
}

#[test]
fn a_pod_template_is_handed_on_to_the_other_operator() {
    let broker = owner("CeleryBroker", "mq");
    let fields = json!({
        "replicas": 3, "image": "mine:1", "storage": {"storageClassName": "fast"},
        "podTemplate": {"spec": {"nodeSelector": {"disk": "fast"}}},
    });
    let spec = &build::cluster(&broker, &spec(&fields)).body["spec"];
    assert_eq!(
        (&spec["replicas"], &spec["image"]),
        (&json!(3), &json!("mine:1"))
    );
    assert_eq!(
        spec["persistence"],
        json!({"storage": "1Gi", "storageClassName": "fast"})
    );
    assert_eq!(
        spec["override"]["statefulSet"]["spec"]["template"],
        json!({"spec": {"containers": [], "nodeSelector": {"disk": "fast"}}})
    );
}

/// The URL of a RabbitMQ is where its status says, and nowhere before.
#[test]
fn where_it_is_found_is_told_by_its_status() {
    let spec = sample();
    assert_eq!(app::broker_url("tickets", &spec, &json!({})), None);
    let key = SecretKey {
        name: "tickets-broker-default-user".to_owned(),
        key: "connection_string".to_owned(),
    };
    let status = json!({"secretKeyRef": key});
    let url = app::broker_url("tickets", &spec, &status).unwrap();
    assert_eq!(url.secret_key_ref, Some(key));
    assert_eq!(broker::own_url("mq").name, "mq-auth");
}

/// As RabbitMQ's cluster operator writes its status.
#[test]
fn a_cluster_is_ready_when_its_operator_says_so_of_its_last_change() {
    let status = |generation: i64, ready: &str, reconciled: &str| {
        json!({
            "observedGeneration": generation,
            "binding": {"name": "mq-default-user"},
            "defaultUser": {
                "secretReference": {
                    "name": "mq-default-user", "namespace": "live",
                    "keys": {"username": "username", "password": "password"},
                },
                "serviceReference": {"name": "mq", "namespace": "live"},
            },
            "conditions": [
                {"type": "AllReplicasReady", "status": ready, "reason": "R", "message": "1/3 Pods ready"},
                {"type": "ClusterAvailable", "status": "True", "reason": "AtLeastOneEndpointAvailable"},
                {"type": "ReconcileSuccess", "status": reconciled, "reason": "Error", "message": "no way"},
            ],
        })
    };
    for (status, secret, waits) in [
        (status(2, "True", "True"), true, None),
        (
            status(1, "True", "True"),
            true,
            Some("has not followed its last change"),
        ),
        (
            status(2, "False", "True"),
            true,
            Some("AllReplicasReady is False: 1/3 Pods ready"),
        ),
        (status(2, "True", "False"), true, Some("Error: no way")),
        (
            Value::Null,
            false,
            Some("has not looked at it; does it run?"),
        ),
    ] {
        let read = Cluster::read(Some(2), &status);
        assert_eq!(read.secret.is_some(), secret, "{status}");
        match (&read.waits, waits) {
            (None, None) => {}
            (Some(told), Some(words)) => assert!(told.contains(words), "{told}"),
            other => panic!("{other:?} of {status}"),
        }
    }
}
