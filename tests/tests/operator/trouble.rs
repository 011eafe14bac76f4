//! What cannot be made, what is held, and what is forbidden.

use serde_json::{Value, json};

use celeriac_tests::eventually;
use celeriac_tests::kube::{SOON, condition};
use celeriac_tests::operator::sample;

use crate::operator::{operator, quiet, run_pods};

#[tokio::test]
async fn what_cannot_be_made_is_said_in_words_and_mended_by_an_edit() {
    let (plane, _) = operator().await;
    let namespace = plane.namespace("wrong").await;
    let pool = |broker: Value, template: Value| {
        json!({
            "apiVersion": "celeriac.dev/v1alpha1", "kind": "CeleryWorker", "metadata": {"name": "pool"},
            "spec": {"image": "x:1", "appName": "shop", "broker": broker, "podTemplate": template},
        })
        .to_string()
    };
    let says = async |reason: &str, words: &str| {
        let worker = namespace
            .once("celeryworker", "pool", reason, |worker| {
                condition(worker, "Ready")["reason"] == reason
            })
            .await;
        let message = condition(&worker, "Ready")["message"].to_string();
        assert!(message.contains(words), "{message}");
    };
    namespace.apply(&pool(
        json!({"secretKeyRef": {"name": "later", "key": "url"}}),
        json!({}),
    ));
    says("SecretMissing", "Secret later has no key url").await;
    namespace.kubectl(&[
        "create",
        "secret",
        "generic",
        "later",
        "--from-literal=url=redis://redis/0",
    ]);
    says("WorkersNotReady", "0 of 1 workers are ready").await;
    let wrong = json!({"spec": {"tolerance": true}});
    namespace.apply(&pool(json!({"address": "redis://redis/0"}), wrong));
    says("Refused", "tolerance").await;
    namespace.apply(&pool(
        json!({"address": "redis://redis/0"}),
        json!({"spec": {"priorityClassName": null}}),
    ));
    says("WorkersNotReady", "0 of 1").await;
    // An object of that name which is somebody else's is not touched.
    namespace.kubectl(&["create", "deployment", "theirs", "--image=y:1"]);
    let taken =
        pool(json!({"address": "redis://redis/0"}), json!({})).replace("\"pool\"", "\"theirs\"");
    namespace.apply(&taken);
    namespace
        .once("celeryworker", "theirs", "it says so", |worker| {
            condition(worker, "Ready")["reason"] == "NameTaken"
        })
        .await;
    let theirs = namespace.get("deployment", "theirs").expect("it is there");
    assert!(theirs["metadata"]["ownerReferences"].is_null());
    let events = namespace.kubectl(&["get", "events.events.k8s.io", "-o", "json"]);
    assert!(events.contains("NameTaken"), "{events}");
}

/// D9: a pod that has failed counts no more, and another takes its place; that of beat when it is gone.
#[tokio::test]
async fn d9_what_was_evicted_is_replaced() {
    let (plane, _) = operator().await;
    let namespace = plane.namespace("evicted").await;
    namespace.apply(&sample());
    namespace
        .once("celery", "shop", "it is ready", |celery| {
            run_pods(&namespace);
            condition(celery, "Ready")["status"] == "True"
        })
        .await;
    let before = namespace.names("pods");
    let worker = before.iter().find(|pod| pod.starts_with("shop-default-"));
    let uid = |pod: &str| Some(namespace.get("pod", pod).ok()?["metadata"]["uid"].clone());
    let beat = uid("shop-beat-0").expect("it is there");
    for pod in [worker.expect("it is there"), "shop-beat-0"] {
        let evicted = r#"{"status":{"phase":"Failed","reason":"Evicted","conditions":[{"type":"Ready","status":"False"}]}}"#;
        let patch = [
            "patch",
            "pod",
            pod,
            "--subresource=status",
            "--type=merge",
            "-p",
            evicted,
        ];
        namespace.kubectl(&patch);
    }
    namespace
        .once(
            "celeryworker",
            "shop-default",
            "it counts two, one of them ready",
            |pool| {
                let [wanted, ready] =
                    ["replicas", "readyReplicas"].map(|field| pool["status"][field].as_i64());
                let pods = namespace.names("pods").into_iter();
                let new =
                    pods.filter(|pod| pod.starts_with("shop-default-") && !before.contains(pod));
                wanted == Some(2) && ready == Some(1) && new.count() == 1
            },
        )
        .await;
    eventually("there is another beat", SOON, async || {
        match uid("shop-beat-0") {
            Some(now) if now != beat => Ok(()),
            now => Err(format!("{now:?}")),
        }
    })
    .await;
}

/// A paused object is left alone. D3: under the role that is shipped nothing is forbidden.
#[tokio::test]
async fn d3_pause_holds_and_nothing_the_operator_asks_is_forbidden() {
    let (plane, operator) = operator().await;
    let namespace = plane.namespace("paused").await;
    namespace.apply(&sample());
    namespace
        .once("deployment", "shop-mail", "it is made", |_| true)
        .await;
    namespace.kubectl(&["annotate", "celery", "shop", "celeriac.dev/paused=true"]);
    namespace
        .once("celery", "shop", "it says so", |celery| {
            condition(celery, "Paused")["status"] == "True"
        })
        .await;
    quiet(operator, &namespace).await;
    namespace.kubectl(&[
        "patch",
        "celery",
        "shop",
        "--type=merge",
        "-p",
        r#"{"spec":{"image":"x:9"}}"#,
    ]);
    quiet(operator, &namespace).await;
    let worker = namespace
        .get("celeryworker", "shop-mail")
        .expect("it is there");
    assert_eq!(worker["spec"]["image"], "example/shop:1.0");
    namespace.kubectl(&["annotate", "celery", "shop", "celeriac.dev/paused-"]);
    namespace
        .once("celeryworker", "shop-mail", "it goes on", |worker| {
            worker["spec"]["image"] == "x:9"
        })
        .await;

    // In a namespace that goes, an app does not wait.
    let name = namespace.name().to_owned();
    namespace.kubectl(&["delete", "namespace", &name, "--timeout=90s"]);
    let calls = plane.audit().calls();
    let refused: Vec<_> = calls
        .into_iter()
        .filter(|call| call.user == operator.user() && (call.code == 401 || call.code == 403))
        .filter(|call| call.namespace != name)
        .collect();
    assert_eq!(refused, []);
}
