//! Pods that are told to end while their process still starts, as a rollout or a scale-down does: Celery has no handler for
//! SIGTERM by then.

use std::path::Path;

use celeriac_tests::kube::{Namespace, SOON};
use celeriac_tests::kubelet::{Image, Kubelet};
use celeriac_tests::operator::plane;
use celeriac_tests::{Celery, Operator, Redis, eventually, turn};
use serde_json::{Value, json};

use crate::truth::Truth;

/// How long an app takes to be imported, in seconds.
const IMPORT: u64 = 15;

/// A grace period that no wait here would outlive, in seconds.
const GRACE: u64 = 600;

/// A pool of one worker, or a beat, whose app takes its time to be imported.
fn slow(kind: &str, name: &str, url: &str, truth: &Path, pod: &Value) -> String {
    let mut template = json!({
        "terminationGracePeriodSeconds": GRACE,
        "volumes": [{"name": "truth", "hostPath": {"path": truth}}],
        "containers": [{"name": "celery", "volumeMounts": [{"name": "truth", "mountPath": "/truth"}]}],
    });
    for (field, value) in pod.as_object().expect("fields") {
        template[field] = value.clone();
    }
    let mut object = json!({
        "apiVersion": "celeriac.dev/v1alpha1", "kind": kind, "metadata": {"name": name},
        "spec": {
            "image": "example/shop:1.0", "appName": "demo", "broker": {"address": url},
            "env": [
                {"name": "DEMO_BROKER", "value": url}, {"name": "DEMO_BACKEND", "value": "cache+memory://"},
                {"name": "DEMO_LOG", "value": "/truth/log"}, {"name": "DEMO_IMPORT", "value": IMPORT.to_string()},
            ],
            "podTemplate": {"spec": template},
        },
    });
    if kind == "CeleryWorker" {
        object["spec"]["targetQueues"] = json!([name]);
        object["spec"]["concurrency"] = json!(1);
    }
    object.to_string()
}

/// The one pod of an owner once it imports its app: its name and identity.
async fn starting(namespace: &Namespace, kubelet: &Kubelet, own: &str) -> (String, Value) {
    eventually("a pod imports its app", SOON, async || {
        let pods = namespace.kubectl(&["get", "pods", "-l", own, "-o", "json"]);
        let pods: Value = serde_json::from_str(&pods).expect("JSON was asked for");
        let name = pods["items"][0]["metadata"]["name"].as_str();
        let name = name.ok_or("no pod")?.to_owned();
        if kubelet.log(&name, "celery").contains("demo is imported") {
            Ok((name, pods["items"][0]["metadata"]["uid"].clone()))
        } else {
            Err("it does not")
        }
    })
    .await
}

fn delete(namespace: &Namespace, pod: &str) {
    namespace.kubectl(&["delete", "pod", pod, "--wait=false"]);
}

/// Waits until that pod is gone, whether there is another of its name or not.
async fn gone(namespace: &Namespace, name: &str, uid: &Value) {
    eventually("the pod is gone", SOON, async || {
        match namespace.get("pod", name) {
            Ok(pod) if pod["metadata"]["uid"] == *uid => Err(pod["status"].to_string()),
            _ => Ok(()),
        }
    })
    .await;
}

async fn started(truth: &Truth, task: &str) -> String {
    eventually("the task is started", SOON, async || {
        truth.starters(task).pop().ok_or("it is not")
    })
    .await
}

#[tokio::test]
async fn a_pod_that_is_told_to_end_while_it_starts_ends_and_takes_no_task() {
    let _turn = turn().await;
    let plane = plane().await;
    let namespace = plane.namespace("starting").await;
    let kubelet = Kubelet::of(&namespace)
        .image("example/shop", Image::celery("5.7"))
        .start()
        .await;
    let redis = Redis::builder().listen(kubelet.host()).start();
    let inside = redis.url_of((kubelet.host(), redis.address().port()).into(), 0);
    let truth = Truth::new();
    let _operator = Operator::start(plane, &namespace, &["--namespace", namespace.name()]).await;
    let celery = Celery::new("5.7", &redis.url()).env("DEMO_BACKEND", "cache+memory://");
    let send = |queue: &str| {
        let id = celery.run(&format!(
            "print(nap.apply_async((0.1,), queue='{queue}').id)"
        ));
        id.trim().to_owned()
    };

    let apply = |kind: &str, name: &str, pod: &Value| {
        namespace.apply(&slow(kind, name, &inside, truth.path(), pod));
    };
    apply("CeleryWorker", "mail", &json!({}));
    let own = "celeriac.dev/worker=mail";
    let (pod, uid) = starting(&namespace, &kubelet, own).await;
    delete(&namespace, &pod);
    let task = send("mail");
    gone(&namespace, &pod, &uid).await;
    // The one that came in its place has it.
    assert_ne!(started(&truth, &task).await, format!("celery@{pod}"));
    assert_eq!(truth.starters(&task).len(), 1);

    apply("CeleryScheduler", "beat", &json!({}));
    let own = "celeriac.dev/scheduler=beat";
    let (pod, uid) = starting(&namespace, &kubelet, own).await;
    delete(&namespace, &pod);
    gone(&namespace, &pod, &uid).await;

    // A worker that is process 1, as its owner may want: it hears nothing, and takes a task that it is killed with.
    apply(
        "CeleryWorker",
        "deaf",
        &json!({"shareProcessNamespace": false}),
    );
    let own = "celeriac.dev/worker=deaf";
    let (pod, uid) = starting(&namespace, &kubelet, own).await;
    namespace.kubectl(&["scale", "celeryworker", "deaf", "--replicas=0"]);
    let task = send("deaf");
    assert_eq!(started(&truth, &task).await, format!("celery@{pod}"));
    let still = namespace.get("pod", &pod).expect("it is still there");
    assert_eq!(still["metadata"]["uid"], uid);
    assert!(still["metadata"]["deletionTimestamp"].is_string());
}
