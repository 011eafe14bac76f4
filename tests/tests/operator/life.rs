//! The life of an app: made, shown, changed, scaled, deleted. No kubelet runs: pods are what they are told to be.

use std::time::Duration;

use celeriac_tests::kube::{Namespace, SOON, condition};
use celeriac_tests::operator::sample;
use celeriac_tests::{Operator, eventually};
use serde_json::{Value, json};

use crate::operator::{operator, quiet, run_pods};

#[tokio::test]
async fn d15_twenty_lines_become_an_app_that_is_shown_changed_and_taken_away_in_order() {
    assert!(sample().lines().count() <= 20);
    let (plane, operator) = operator().await;
    let namespace = plane.namespace("sample").await;
    namespace.apply(&sample());
    let ready = namespace
        .once("celery", "shop", "it is ready", |celery| {
            run_pods(&namespace);
            condition(celery, "Ready")["status"] == "True"
        })
        .await;
    assert_eq!(
        ready["status"]["observedGeneration"],
        ready["metadata"]["generation"]
    );
    assert_eq!(
        namespace.names("celeryworkers"),
        ["shop-default", "shop-mail"]
    );
    assert_eq!(
        namespace.names("deployments"),
        ["shop-default", "shop-inspector", "shop-mail"]
    );
    assert_eq!(
        namespace.names("statefulsets"),
        ["shop-beat", "shop-broker"]
    );
    assert_eq!(namespace.names("services"), ["shop-broker"]);
    assert_eq!(
        namespace.names("poddisruptionbudgets"),
        ["shop-default", "shop-mail"]
    );

    let row = namespace.kubectl(&["get", "celery", "shop", "--no-headers"]);
    let row: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(row[..4], ["shop", "redis", "True", "3/3"]);
    let row = namespace.kubectl(&["get", "celeryworkers", "shop-default", "--no-headers"]);
    let row: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(row[..3], ["shop-default", "2", "2"]);
    println!(
        "{}",
        namespace.kubectl(&["get", "celery,celeryworkers", "-o", "wide"])
    );

    left_alone(operator, &namespace).await;
    rolled_out(&namespace).await;
    taken_away(operator, &namespace).await;
}

/// D15: what is as it should be is left alone.
async fn left_alone(operator: &Operator, namespace: &Namespace) {
    quiet(operator, namespace).await;
    let mark = operator.mark();
    namespace.kubectl(&[
        "annotate",
        "celery,celeryworkers,celerybrokers,celeryschedulers",
        "--all",
        "look=again",
    ]);
    tokio::time::sleep(Duration::from_secs(4)).await;
    let reads = operator.calls(mark, namespace).len();
    assert!(reads > 0, "it did not look again");
    assert_eq!(operator.writes(mark, namespace), []);
}

/// D5: an edit is a rolling update of the Deployment.
async fn rolled_out(namespace: &Namespace) {
    let template = |object: &Value| object["spec"]["template"].clone();
    let before = namespace
        .get("deployment", "shop-mail")
        .expect("it is there");
    namespace.apply(&sample().replace("shop:1.0", "shop:1.1"));
    let after = namespace
        .once(
            "deployment",
            "shop-mail",
            "it has the new image",
            |deployment| {
                template(deployment)["spec"]["containers"][0]["image"] == "example/shop:1.1"
            },
        )
        .await;
    assert_eq!(before["metadata"]["uid"], after["metadata"]["uid"]);
    assert_eq!(
        after["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"],
        0
    );
}

/// Parts go in order, and nothing of them is left but what is to be kept.
async fn taken_away(operator: &Operator, namespace: &Namespace) {
    let mark = operator.mark();
    namespace.kubectl(&["delete", "celery", "shop", "--timeout=60s"]);
    let left = [
        "celeryworkers",
        "celeryschedulers",
        "celerybrokers",
        "deployments",
        "statefulsets",
        "pods",
        "poddisruptionbudgets",
        "services",
    ];
    eventually("nothing is left", SOON, async || {
        let left: Vec<String> = left.iter().flat_map(|kind| namespace.names(kind)).collect();
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    })
    .await;
    assert_eq!(namespace.names("secrets"), ["shop-broker-auth"]);
    let deleted: Vec<String> = operator
        .writes(mark, namespace)
        .into_iter()
        .filter(|call| call.verb == "delete")
        .map(|call| call.resource)
        .collect();
    let mut kinds = deleted.clone();
    kinds.dedup();
    assert_eq!(
        kinds,
        [
            "celeryschedulers",
            "celeryworkers",
            "deployments",
            "celerybrokers"
        ],
        "{deleted:?}"
    );
}

/// D1, D11, D12: the broker's URL reaches the workers, follows a change, and is nowhere in the open when it is a secret.
#[tokio::test]
async fn d1_d11_d12_the_broker_url_reaches_workers_follows_changes_and_stays_secret() {
    let (plane, operator) = operator().await;
    let namespace = plane.namespace("url").await;
    let app = |broker: Value| {
        json!({
            "apiVersion": "celeriac.dev/v1alpha1", "kind": "Celery", "metadata": {"name": "shop"},
            "spec": {"image": "x:1", "appName": "shop", "broker": broker, "workers": [{"name": "w", "concurrency": 1}]},
        })
        .to_string()
    };
    let url = |deployment: &Value| {
        let env = deployment["spec"]["template"]["spec"]["containers"][0]["env"].clone();
        let env = env.as_array().cloned().unwrap_or_default();
        env.into_iter()
            .find(|one| one["name"] == "CELERY_BROKER_URL")
            .unwrap_or_default()
    };
    namespace.apply(&app(
        json!({"type": "external", "brokerAddress": "redis://one:6379/0"}),
    ));
    namespace
        .once("deployment", "shop-w", "it has the URL", |deployment| {
            url(deployment)["value"] == "redis://one:6379/0"
        })
        .await;
    namespace.apply(&app(
        json!({"type": "external", "brokerAddress": "redis://two:6379/0"}),
    ));
    namespace
        .once("deployment", "shop-w", "it follows", |deployment| {
            url(deployment)["value"] == "redis://two:6379/0"
        })
        .await;

    namespace.kubectl(&[
        "create",
        "secret",
        "generic",
        "mine",
        "--from-literal=url=redis://:hunter2@two/0",
    ]);
    let secret = json!({"type": "external", "secretKeyRef": {"name": "mine", "key": "url"}});
    namespace.apply(&app(secret));
    let by_secret = namespace
        .once(
            "deployment",
            "shop-w",
            "it reads the Secret",
            |deployment| url(deployment)["valueFrom"]["secretKeyRef"]["name"] == "mine",
        )
        .await;
    let everything = namespace.kubectl(&[
        "get",
        "celery,celeryworkers,celerybrokers,deployments,pods",
        "-o",
        "yaml",
    ]);
    assert!(!everything.contains("hunter2"));
    assert!(!operator.log().contains("hunter2"));
    rotated(&namespace, &by_secret).await;
}

/// A rotated Secret replaces the pods.
async fn rotated(namespace: &Namespace, by_secret: &Value) {
    let annotation = |deployment: &Value| {
        deployment["spec"]["template"]["metadata"]["annotations"]["celeriac.dev/secrets"].clone()
    };
    let before = annotation(by_secret);
    assert!(before.is_string());
    namespace.apply("{apiVersion: v1, kind: Secret, metadata: {name: mine}, stringData: {url: 'redis://:other@two/0'}}");
    namespace.kubectl(&["annotate", "celeryworker", "shop-w", "look=again"]);
    namespace
        .once(
            "deployment",
            "shop-w",
            "its pods are replaced",
            |deployment| annotation(deployment) != before,
        )
        .await;
}

/// D4: apps of one name in two namespaces never see each other. D8: pools are told by name, not by their place in a list.
#[tokio::test]
async fn d4_d8_namespaces_are_apart_and_pools_are_told_by_name() {
    let (plane, operator) = operator().await;
    let (one, two) = (plane.namespace("one").await, plane.namespace("two").await);
    let app = |pools: &[(&str, i32)]| {
        let workers: Vec<Value> = pools
            .iter()
            .map(|(name, replicas)| json!({"name": name, "replicas": replicas, "targetQueues": [name]}))
            .collect();
        json!({
            "apiVersion": "celeriac.dev/v1alpha1", "kind": "Celery", "metadata": {"name": "shop"},
            "spec": {
                "image": "x:1", "appName": "shop", "workers": workers,
                "broker": {"type": "external", "brokerAddress": "redis://one:6379/0"},
            },
        })
        .to_string()
    };
    one.apply(&app(&[("a", 1), ("b", 2), ("c", 3)]));
    two.apply(&app(&[("a", 1)]));
    for (namespace, name) in [(&one, "shop-c"), (&two, "shop-a")] {
        namespace
            .once("deployment", name, "it is made", |_| true)
            .await;
    }
    let uid =
        |name: &str| one.get("deployment", name).expect("it is there")["metadata"]["uid"].clone();
    let (b, c) = (uid("shop-b"), uid("shop-c"));
    quiet(operator, &two).await;
    let mark = operator.mark();
    one.apply(&app(&[("c", 3), ("b", 2)]));
    eventually("one pool is gone", SOON, async || {
        let left = one.names("deployments");
        let gone = left == ["shop-b", "shop-c", "shop-inspector"];
        if gone {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    })
    .await;
    assert_eq!([b, c], [uid("shop-b"), uid("shop-c")]);
    let c = one.get("deployment", "shop-c").expect("it is there");
    assert_eq!(c["spec"]["replicas"], 3);
    assert!(c["spec"]["template"].to_string().contains("--queues=c"));
    assert_eq!(operator.writes(mark, &two), []);
    assert!(two.names("deployments").contains(&"shop-a".to_owned()));
}

/// Replicas have one writer: in `external` mode whoever uses `/scale`, and no edit of the app comes between; no change of
/// mode, there and back, loses one. The pods are ready and run nothing, so that a lowering by mistake would be done at once.
#[tokio::test]
async fn replicas_have_one_writer_in_every_mode() {
    let (plane, operator) = operator().await;
    let namespace = plane.namespace("scale").await;
    let app = |scaling: Value, replicas: i32, image: &str| {
        json!({
            "apiVersion": "celeriac.dev/v1alpha1", "kind": "Celery", "metadata": {"name": "shop"},
            "spec": {
                "image": image, "appName": "shop",
                "workers": [{"name": "w", "replicas": replicas, "targetQueues": ["w"], "scaling": scaling}],
                "broker": {"type": "external", "brokerAddress": "redis://one:6379/0"},
            },
        })
        .to_string()
    };
    let mode = |mode: &str| json!({"mode": mode});
    let native = json!({"mode": "native", "min": 1, "max": 20});
    let replicas = async |wanted: i32| {
        let asked = |object: &Value| object["spec"]["replicas"] == wanted;
        let what = "it has its replicas";
        namespace.once("deployment", "shop-w", what, asked).await
    };
    let mark = operator.mark();
    namespace.apply(&app(mode("fixed"), 10, "x:1"));
    namespace
        .once("deployment", "shop-w", "ten are ready", |deployment| {
            run_pods(&namespace);
            deployment["status"]["readyReplicas"] == 10
        })
        .await;
    namespace.apply(&app(mode("external"), 10, "x:1"));
    quiet(operator, &namespace).await;
    namespace.kubectl(&["scale", "celeryworker", "shop-w", "--replicas=12"]);
    replicas(12).await;
    namespace.apply(&app(mode("external"), 1, "x:2"));
    namespace
        .once("deployment", "shop-w", "it has the image", |deployment| {
            deployment["spec"]["template"].to_string().contains("x:2")
        })
        .await;
    for scaling in [native.clone(), mode("external"), native, mode("fixed")] {
        quiet(operator, &namespace).await;
        replicas(12).await;
        namespace.apply(&app(scaling, 10, "x:2"));
    }
    replicas(10).await;
    quiet(operator, &namespace).await;
    let asked: Vec<i64> = operator
        .writes(mark, &namespace)
        .into_iter()
        .filter(|call| call.resource.starts_with("deployments") && call.name == "shop-w")
        .filter_map(|call| call.body["spec"]["replicas"].as_i64())
        .collect();
    assert!(asked.contains(&12), "{asked:?}");
    assert!(asked.iter().all(|&replicas| replicas >= 10), "{asked:?}");
    assert_eq!(writers_of_replicas(&namespace), ["celeriac-operator/scale"]);
    namespace.apply(&app(mode("fixed"), 3, "x:2"));
    replicas(3).await;
}

fn writers_of_replicas(namespace: &Namespace) -> Vec<String> {
    let sets = namespace.kubectl(&[
        "get",
        "deployment",
        "shop-w",
        "--show-managed-fields",
        "-o",
        "json",
    ]);
    let deployment: Value = serde_json::from_str(&sets).expect("JSON was asked for");
    deployment["metadata"]["managedFields"]
        .as_array()
        .expect("fields are managed")
        .iter()
        .filter(|entry| entry["fieldsV1"]["f:spec"]["f:replicas"].is_object())
        .filter_map(|entry| entry["manager"].as_str().map(str::to_owned))
        .collect()
}

/// D6: what others add to our objects is no reason to write them again.
#[tokio::test]
async fn d6_what_others_add_is_left_and_starts_no_loop() {
    let (plane, operator) = operator().await;
    let namespace = plane.namespace("others").await;
    namespace.apply(&sample());
    namespace
        .once("deployment", "shop-mail", "it is made", |_| true)
        .await;
    quiet(operator, &namespace).await;
    let sidecar =
        r#"{"spec":{"template":{"spec":{"containers":[{"name":"mesh","image":"mesh:1"}]}}}}"#;
    namespace.kubectl(&["patch", "deployment", "shop-mail", "-p", sidecar]);
    quiet(operator, &namespace).await;
    let deployment = namespace
        .get("deployment", "shop-mail")
        .expect("it is there");
    let containers = deployment["spec"]["template"]["spec"]["containers"].as_array();
    assert_eq!(containers.map(Vec::len), Some(2));
    // What is ours is put right.
    let wrong = r#"{"spec":{"template":{"spec":{"terminationGracePeriodSeconds":1}}}}"#;
    namespace.kubectl(&["patch", "deployment", "shop-mail", "-p", wrong]);
    namespace
        .once("deployment", "shop-mail", "it is put right", |deployment| {
            deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 3600
        })
        .await;
}
