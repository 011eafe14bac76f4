//! A RabbitMQ that the operator runs: as a server of its own, with a real RabbitMQ and a real worker in real pods; and by
//! RabbitMQ's cluster operator, of which only the definition is here, its part played by the test. Who runs one is decided once.

use celeriac_tests::kube::{ControlPlane, Namespace, condition};
use celeriac_tests::kubelet::{Image, Kubelet};
use celeriac_tests::operator::{broker_url, plane};
use celeriac_tests::{Celery, Operator, eventually};
use serde_json::{Value, json};

/// Longer than a server and workers take to start on a busy machine.
const START: std::time::Duration = std::time::Duration::from_mins(5);

/// The definition of RabbitmqCluster as its operator publishes it, of what is used here. Other fields are refused.
const DEFINITION: &str = r"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: rabbitmqclusters.rabbitmq.com}
spec:
  group: rabbitmq.com
  names: {kind: RabbitmqCluster, listKind: RabbitmqClusterList, plural: rabbitmqclusters, singular: rabbitmqcluster, shortNames: [rmq]}
  scope: Namespaced
  versions:
  - name: v1beta1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              replicas: {type: integer, format: int32, minimum: 0, default: 1}
              image: {type: string}
              persistence:
                type: object
                default: {storage: 10Gi}
                properties:
                  storageClassName: {type: string}
                  storage: {anyOf: [{type: integer}, {type: string}], default: 10Gi, x-kubernetes-int-or-string: true}
              resources: {type: object, x-kubernetes-preserve-unknown-fields: true}
              rabbitmq:
                type: object
                properties:
                  additionalConfig: {type: string, maxLength: 2000}
              override: {type: object, x-kubernetes-preserve-unknown-fields: true}
          status:
            type: object
            x-kubernetes-preserve-unknown-fields: true
            required: [conditions]
            properties:
              conditions:
                type: array
                items: {type: object, required: [status, type], x-kubernetes-preserve-unknown-fields: true}
";

/// An app on a RabbitMQ of its own, with one pool.
fn app(name: &str, servers: i32, workers: i32) -> String {
    let url = json!({"secretKeyRef": {"name": format!("{name}-broker-auth"), "key": "url"}});
    json!({
        "apiVersion": "celeriac.dev/v1alpha1", "kind": "Celery", "metadata": {"name": name},
        "spec": {
            "image": "example/shop:1.0", "appName": "demo",
            "broker": {
                "type": "rabbitmq", "replicas": servers,
                "storage": {"size": "1Gi"}, "resources": {"limits": {"memory": "1Gi"}},
            },
            "workers": [{
                "name": "w", "replicas": workers, "concurrency": 1, "targetQueues": ["celery"],
                "env": [{"name": "DEMO_BROKER", "valueFrom": url}, {"name": "DEMO_BACKEND", "value": "rpc://"}],
            }],
        },
    })
    .to_string()
}

/// Makes the operator look at it now.
fn look(namespace: &Namespace, name: &str) {
    let stamp = format!("look={:x}", fastrand::u64(..));
    let broker = format!("{name}-broker");
    namespace.kubectl(&["annotate", "--overwrite", "celerybroker", &broker, &stamp]);
}

/// A broker, once its condition has a reason.
async fn broker_says(namespace: &Namespace, name: &str, reason: &str) -> Value {
    let broker = format!("{name}-broker");
    namespace
        .once("celerybroker", &broker, reason, |broker| {
            condition(broker, "Ready")["reason"] == reason
        })
        .await
}

/// Waits until an app is ready as it is now.
async fn is_ready(namespace: &Namespace, kubelet: &Kubelet, name: &str) {
    eventually("the app is ready", START, async || {
        let app = namespace.get("celery", name)?;
        if condition(&app, "Ready")["status"] == "True" {
            return Ok(());
        }
        let log = kubelet.log(&format!("{name}-broker-0"), "rabbitmq");
        let from = log.len().saturating_sub(2_000);
        let log = log.get(from..).unwrap_or(&log);
        Err(format!("{}\n{log}", condition(&app, "Ready")))
    })
    .await;
}

/// A task that a worker of the app runs, sent from this machine.
fn runs_a_task(namespace: &Namespace, name: &str) {
    let celery = Celery::new("5.7", &broker_url(namespace, name)).env("DEMO_BACKEND", "rpc://");
    let result = celery.run("print(add.delay(20, 22).get(timeout=120))");
    assert_eq!(result.trim(), "42");
}

#[tokio::test]
async fn a_rabbitmq_is_run_by_who_can_when_it_is_made_and_ever_after() {
    let plane = plane().await;
    let home = plane.namespace("celeriac").await;
    let namespace = plane.namespace("mq").await;
    let kubelet = Kubelet::of(&namespace)
        .image("example/shop", Image::celery("5.7"))
        // Not the one on the PATH: that becomes another user.
        .image(
            "rabbitmq",
            Image::system(&[]).env("PATH", "/usr/lib/rabbitmq/bin:/usr/bin:/bin"),
        )
        .start()
        .await;

    let _operator = not_known_is_not_absent(plane, &home, &namespace).await;
    is_ready(&namespace, &kubelet, "shop").await;
    runs_a_task(&namespace, "shop");
    a_new_password_is_followed(&namespace, &kubelet).await;

    // Three servers are not for us.
    namespace.apply(&app("tickets", 3, 0));
    let tickets = broker_says(&namespace, "tickets", "OneServer").await;
    assert_eq!(tickets["status"]["variant"], Value::Null);
    assert_eq!(namespace.names("statefulsets"), ["shop-broker"]);

    plane.administrator().apply(DEFINITION);
    let established = ["wait", "--for=condition=Established", "--timeout=60s"];
    let crd = "crd/rabbitmqclusters.rabbitmq.com";
    plane
        .administrator()
        .kubectl(&[&established[..], &[crd]].concat());
    by_its_own_operator(&namespace).await;
    it_stays_if_its_volumes_are_to(&namespace).await;
    a_volume_that_was_kept_is_found_again(plane).await;
    // Who was there before stays as it is.
    look(&namespace, "shop");
    let shop = broker_says(&namespace, "shop", "RabbitmqRuns").await;
    assert_eq!(shop["status"]["variant"], "StatefulSet");
    assert_eq!(namespace.names("rabbitmqclusters"), ["tickets-broker"]);

    plane
        .administrator()
        .kubectl(&["delete", crd, "--timeout=60s"]);
    look(&namespace, "tickets");
    let tickets = broker_says(&namespace, "tickets", "KindGone").await;
    assert_eq!(tickets["status"]["variant"], "RabbitmqCluster");
    assert_eq!(namespace.names("statefulsets"), ["shop-broker"]);
}

/// While the API server does not say which kinds there are, nothing is decided and nothing made; then it is.
async fn not_known_is_not_absent(
    plane: &ControlPlane,
    home: &Namespace,
    namespace: &Namespace,
) -> Operator {
    let administrator = plane.administrator();
    let binding = ["clusterrolebinding", "system:discovery"];
    let discovery = administrator.kubectl(&[&["get", "-o", "json"], &binding[..]].concat());
    administrator.kubectl(&[&["delete"], &binding[..]].concat());
    let operator = Operator::start(plane, home, &[]).await;
    namespace.apply(&app("shop", 1, 1));
    let shop = broker_says(namespace, "shop", "Forbidden").await;
    assert_eq!(shop["status"]["variant"], Value::Null);
    for kind in ["statefulsets", "secrets", "services", "celeryworkers"] {
        assert_eq!(namespace.names(kind), Vec::<String>::new(), "{kind}");
    }
    let mut discovery: Value = serde_json::from_str(&discovery).expect("JSON was asked for");
    let metadata = discovery["metadata"].as_object_mut();
    let metadata = metadata.expect("it has metadata");
    metadata.retain(|field, _| field == "name" || field == "labels");
    administrator.apply(&discovery.to_string());
    look(namespace, "shop");
    let shop = namespace
        .once("celerybroker", "shop-broker", "it is decided", |broker| {
            !broker["status"]["variant"].is_null()
        })
        .await;
    assert_eq!(shop["status"]["variant"], "StatefulSet");
    operator
}

/// A password that is changed in the Secret is the server's at its next start, and the workers'.
async fn a_new_password_is_followed(namespace: &Namespace, kubelet: &Kubelet) {
    let secret = namespace
        .get("secret", "shop-broker-auth")
        .expect("it is there");
    let data = &secret["data"];
    let text = |key: &str| {
        let value = data[key].as_str().expect("a text");
        let value = base64_simd::STANDARD.decode_to_vec(value).expect("base64");
        String::from_utf8(value).expect("UTF-8")
    };
    let old = text("password");
    let changed = |key: &str| text(key).replace(&old, "an0ther");
    let change = json!({"stringData": {
        "password": "an0ther", "url": changed("url"), "definitions.json": changed("definitions.json"),
    }});
    let before = ["shop-broker-0", "shop-w"].map(|name| pods(namespace, name));
    let patch = ["patch", "secret", "shop-broker-auth", "--type=merge", "-p"];
    namespace.kubectl(&[&patch[..], &[&change.to_string()]].concat());
    look(namespace, "shop");
    namespace.kubectl(&["annotate", "celeryworker", "shop-w", "look=now"]);
    eventually("all pods are new", START, async || {
        let now = ["shop-broker-0", "shop-w"].map(|name| pods(namespace, name));
        let all = now.iter().zip(&before);
        if all
            .clone()
            .all(|(now, before)| now.len() == 1 && now != before)
        {
            Ok(())
        } else {
            Err(format!("{now:?}"))
        }
    })
    .await;
    is_ready(namespace, kubelet, "shop").await;
    runs_a_task(namespace, "shop");
}

/// Identities of the pods whose name begins so.
fn pods(namespace: &Namespace, begin: &str) -> Vec<String> {
    let pods = namespace.kubectl(&["get", "pods", "-o", "json"]);
    let pods: Value = serde_json::from_str(&pods).expect("JSON was asked for");
    let pods = pods["items"].as_array().into_iter().flatten();
    pods.filter(|pod| {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        name.starts_with(begin)
    })
    .map(|pod| pod["metadata"]["uid"].to_string())
    .collect()
}

/// The kind has come: a RabbitmqCluster is made, and where it tells its user, the app has its URL.
async fn by_its_own_operator(namespace: &Namespace) {
    look(namespace, "tickets");
    let tickets = broker_says(namespace, "tickets", "RabbitmqClusterNotReady").await;
    assert_eq!(tickets["status"]["variant"], "RabbitmqCluster");
    let message = condition(&tickets, "Ready")["message"].to_string();
    assert!(message.contains("does it run?"), "{message}");
    assert_eq!(namespace.names("celeryworkers"), ["shop-w"]);
    let get = || namespace.get("rabbitmqcluster", "tickets-broker");
    let cluster = get().expect("it was made");
    assert_eq!(cluster["spec"]["replicas"], 3);
    assert_eq!(cluster["spec"]["persistence"]["storage"], "1Gi");
    assert_eq!(cluster["spec"]["resources"]["limits"]["memory"], "1Gi");
    // Its volumes are to stay, so it is.
    assert_eq!(cluster["metadata"]["ownerReferences"], Value::Null);

    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tickets-broker-default-user"},
        "stringData": {
            "username": "default_user_x", "password": "y", "host": "tickets-broker.mq.svc", "port": "5672",
            "provider": "rabbitmq", "type": "rabbitmq",
            "connection_string": "amqp://default_user_x:y@tickets-broker.mq.svc:5672/",
        },
    });
    namespace.apply(&secret.to_string());
    let reference = json!({
        "name": "tickets-broker-default-user", "namespace": namespace.name(),
        "keys": {"username": "username", "password": "password"},
    });
    let status = json!({"status": {
        "observedGeneration": cluster["metadata"]["generation"],
        "defaultUser": {"secretReference": reference},
        "conditions": [
            {"type": "AllReplicasReady", "status": "True", "reason": "AllPodsAreReady"},
            {"type": "ReconcileSuccess", "status": "True", "reason": "Success"},
        ],
    }});
    let patch = [
        "patch",
        "rabbitmqcluster",
        "tickets-broker",
        "--subresource=status",
        "--type=merge",
        "-p",
    ];
    namespace.kubectl(&[&patch[..], &[&status.to_string()]].concat());
    let tickets = broker_says(namespace, "tickets", "RabbitmqRuns").await;
    let key = json!({"name": "tickets-broker-default-user", "key": "connection_string"});
    assert_eq!(tickets["status"]["secretKeyRef"], key);
    let worker = namespace
        .once("deployment", "tickets-w", "it is made", |_| true)
        .await;
    let env = worker["spec"]["template"]["spec"]["containers"][0]["env"].as_array();
    let url = env
        .into_iter()
        .flatten()
        .find(|one| one["name"] == "CELERY_BROKER_URL");
    assert_eq!(url.expect("it has a URL")["valueFrom"]["secretKeyRef"], key);
}

/// A RabbitmqCluster takes its volumes with it: so it goes with its broker only if they are to.
async fn it_stays_if_its_volumes_are_to(namespace: &Namespace) {
    for (retain, owner) in [(false, json!("CeleryBroker")), (true, Value::Null)] {
        let change = json!({"spec": {"broker": {"storage": {"retain": retain}}}}).to_string();
        namespace.kubectl(&["patch", "celery", "tickets", "--type=merge", "-p", &change]);
        namespace
            .once(
                "rabbitmqcluster",
                "tickets-broker",
                "its owner",
                |cluster| cluster["metadata"]["ownerReferences"][0]["kind"] == owner,
            )
            .await;
    }
}

/// A password that an earlier broker left is that of a server of ours, and so is the volume beside it.
async fn a_volume_that_was_kept_is_found_again(plane: &ControlPlane) {
    let namespace = plane.namespace("kept").await;
    for (name, key, variant) in [
        ("mine", "definitions.json", "StatefulSet"),
        // Of a Redis, whose volume is none of RabbitMQ's.
        ("other", "redis.conf", "RabbitmqCluster"),
    ] {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("{name}-auth")},
            "stringData": {"url": "amqp://celery:x@mine/", key: "{}", "erlang-cookie": "x"},
        });
        namespace.apply(&secret.to_string());
        let broker = json!({
            "apiVersion": "celeriac.dev/v1alpha1", "kind": "CeleryBroker", "metadata": {"name": name},
            "spec": {"type": "rabbitmq"},
        });
        namespace.apply(&broker.to_string());
        namespace
            .once("celerybroker", name, variant, |broker| {
                broker["status"]["variant"] == variant
            })
            .await;
    }
}
