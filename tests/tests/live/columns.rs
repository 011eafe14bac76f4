//! Busy, Backlog, Oldest and Failed are what the broker holds and the workers do; old numbers are told as such; nothing is
//! written without need, and no write wakes the operator's own reconciles.

use std::time::Duration;

use celeriac_tests::kube::{Namespace, SOON, condition};
use celeriac_tests::operator::plane;
use celeriac_tests::{Aggregator, Celery, Operator, Redis, Worker, eventually, turn};
use serde_json::{Value, json};

use crate::scene::operator;

/// The node name of the worker, as that of a pod of the pool's Deployment.
const POD: &str = "shop-default-6d4f5c7d9-x2k4z";

/// An app on that broker with one pool. No kubelet runs: the worker is this machine's.
fn shop(redis: &Redis) -> String {
    json!({
        "apiVersion": "celeriac.dev/v1alpha1", "kind": "Celery", "metadata": {"name": "shop"},
        "spec": {
            "image": "example/shop:1.0", "appName": "shop",
            "broker": {"type": "external", "brokerAddress": redis.url()},
            "workers": [{"name": "default", "targetQueues": ["celery"], "concurrency": 2}],
        },
    })
    .to_string()
}

#[tokio::test]
async fn columns_are_what_broker_and_workers_hold_and_old_numbers_are_told() {
    let _turn = turn().await;
    let plane = plane().await;
    let namespace = plane.namespace("live").await;
    let redis = Redis::start();
    let app = format!("{}/shop", namespace.name());
    let mut aggregator = Aggregator::on(&format!("{app}={}", redis.url())).await;
    let address = format!("http://{}", aggregator.address());
    let operator = operator(plane, &namespace, &address).await;
    namespace.apply(&shop(&redis));
    let late = json!({"task_acks_late": true});
    let celery = Celery::new("5.7", &redis.url()).settings(&late);
    let mut worker = celery.worker(POD).queues(["celery"]).start().await;

    idle(&namespace).await;
    busy(&namespace, &redis, &celery).await;
    managed_apart(&namespace);
    stale(&namespace, &mut aggregator).await;
    settings_are_held_against_the_broker(&namespace).await;
    left_alone(&operator, &namespace).await;
    worker.kill9();
    drop(worker);
    redis.cli(&["FLUSHALL"]);
    let mut worker = celery.worker(POD).queues(["celery"]).start().await;
    wakes_nobody(&operator, &namespace, &celery).await;
    gone(&namespace, &mut worker).await;
}

async fn is_live(namespace: &Namespace, kind: &str, name: &str, busy: &str) -> Value {
    namespace
        .once(kind, name, &format!("{busy} are busy"), |object| {
            condition(object, "Observed")["status"] == "True" && object["status"]["busy"] == busy
        })
        .await
}

/// Before anything is sent there is nothing to be seen but the worker.
async fn idle(namespace: &Namespace) {
    let celery = is_live(namespace, "celery", "shop", "0/2").await;
    let status = &celery["status"];
    assert_eq!(status["online"], 1, "{status}");
    assert_eq!(status["backlog"], 0, "{status}");
    assert_eq!(status["failed"], 0, "{status}");
    assert!(status["oldest"].is_null(), "{status}");
    assert!(
        status["versions"][0]
            .as_str()
            .is_some_and(|v| v.starts_with("5.7")),
        "{status}"
    );
    is_live(namespace, "celeryworker", "shop-default", "0/2").await;
    let broker = namespace
        .once("celerybroker", "shop-broker", "it is reached", |broker| {
            condition(broker, "Reachable")["status"] == "True"
        })
        .await;
    let version = broker["status"]["version"].as_str().unwrap_or_default();
    assert!(version.starts_with("redis "), "{version}");
}

/// Three tasks fail, two run, some are in the worker, the rest in the queue: what is shown is what Redis holds.
async fn busy(namespace: &Namespace, redis: &Redis, celery: &Celery) {
    celery.run("[fail.delay() for _ in range(3)]");
    let failed = |object: &Value| object["status"]["failed"] == 3;
    namespace
        .once("celery", "shop", "three have failed", failed)
        .await;
    celery.run("[nap.delay(900) for _ in range(60)]");
    is_live(namespace, "celery", "shop", "2/2").await;
    let count = |words: &[&str]| redis.cli(words).number();
    // Two of the sixty run; all others wait, in Redis or in the worker.
    let truth = |object: &Value| {
        let (ready, unacked) = (count(&["LLEN", "celery"]), count(&["HLEN", "unacked"]));
        object["status"]["unacked"] == unacked
            && object["status"]["backlog"] == 58
            && object["status"]["oldest"].is_string()
            && ready < 58
            && ready + unacked >= 58
    };
    namespace
        .once("celery", "shop", "it shows what Redis holds", truth)
        .await;
    namespace
        .once("celeryworker", "shop-default", "so does the pool", |pool| {
            pool["status"]["busy"] == "2/2" && pool["status"]["backlog"] == 58
        })
        .await;
    let shown = namespace.row("celery", "shop");
    // NAME BROKER READY WORKERS BUSY BACKLOG OLDEST FAILED AGE; no pod runs, so none is ready.
    assert_eq!(
        shown[..6],
        ["shop", "external", "False", "0/1", "2/2", "58"]
    );
    assert_eq!(shown[7], "3", "{shown:?}");
    let shown = namespace.row("celeryworker", "shop-default");
    // NAME DESIRED READY BUSY BACKLOG OLDEST STATUS AGE
    assert_eq!(shown[..5], ["shop-default", "1", "0", "2/2", "58"]);
    println!(
        "{}",
        namespace.kubectl(&["get", "celery,celeryworkers,celerybrokers"])
    );
    println!(
        "{}",
        namespace.kubectl(&["get", "celery,celeryworkers,celerybrokers", "-o", "wide"])
    );
}

/// The two writers of a status have nothing in common.
fn managed_apart(namespace: &Namespace) {
    let object = namespace.get("celery", "shop").expect("it is there");
    let managed = |manager: &str| {
        let entries = object["metadata"]["managedFields"].as_array();
        let entries = entries.into_iter().flatten();
        let mut of_it = entries.filter(|entry| entry["manager"] == manager);
        let found = of_it
            .next()
            .unwrap_or_else(|| panic!("{manager} writes nothing"));
        assert_eq!(of_it.next(), None, "{manager}");
        found["fieldsV1"]["f:status"].clone()
    };
    let (status, live) = (
        managed("celeriac-operator/status"),
        managed("celeriac-operator/live"),
    );
    let fields = |of: &Value| -> Vec<String> {
        let conditions = of["f:conditions"].as_object().into_iter().flatten();
        let conditions = conditions.map(|(key, _)| key.clone());
        let fields = of.as_object().into_iter().flatten();
        let fields = fields.map(|(key, _)| key.clone());
        let fields = fields.filter(|key| key != "f:conditions");
        fields.chain(conditions.filter(|key| key != ".")).collect()
    };
    let (status, live) = (fields(&status), fields(&live));
    let both: Vec<&String> = status.iter().filter(|key| live.contains(key)).collect();
    assert!(both.is_empty(), "{both:?}");
    assert!(live.contains(&"f:backlog".to_owned()), "{live:?}");
    assert!(status.contains(&"f:workers".to_owned()), "{status:?}");
}

/// Without the aggregator the numbers stay, and it is said that they are old, since when and why. When it is back they live.
async fn stale(namespace: &Namespace, aggregator: &mut Aggregator) {
    aggregator.kill9();
    let kinds = [("celery", "shop"), ("celeryworker", "shop-default")];
    for (kind, name) in kinds {
        let object = namespace
            .once(kind, name, "its numbers are old", |object| {
                condition(object, "Observed")["status"] == "False"
            })
            .await;
        let observed = condition(&object, "Observed");
        assert_eq!(observed["reason"], "AggregatorUnreachable");
        let message = observed["message"].as_str().unwrap_or_default();
        assert!(message.contains("cannot reach the aggregator"), "{message}");
        assert!(message.contains("the numbers are of 20"), "{message}");
        assert!(observed["lastTransitionTime"].is_string());
        assert_eq!(object["status"]["busy"], "2/2");
        assert_eq!(object["status"]["backlog"], 58);
    }
    let broker = namespace
        .get("celerybroker", "shop-broker")
        .expect("it is there");
    assert_eq!(condition(&broker, "Reachable")["status"], "Unknown");
    let events = namespace.kubectl(&["get", "events.events.k8s.io", "-o", "json"]);
    assert!(events.contains("AggregatorUnreachable"), "{events}");
    aggregator.restart().await;
    for (kind, name) in kinds {
        is_live(namespace, kind, name, "2/2").await;
    }
    // Failures of before are kept over the restart.
    let celery = namespace.get("celery", "shop").expect("it is there");
    assert_eq!(celery["status"]["failed"], 3);
}

/// The worker acknowledges late, and no time limit keeps its tasks below Redis' visibility timeout.
async fn settings_are_held_against_the_broker(namespace: &Namespace) {
    let pool = namespace
        .once(
            "celeryworker",
            "shop-default",
            "its settings are known",
            |pool| condition(pool, "BrokerLint")["status"] == "True",
        )
        .await;
    let lint = condition(&pool, "BrokerLint");
    assert_eq!(lint["reason"], "VisibilityTimeout");
    let message = lint["message"].as_str().unwrap_or_default();
    assert!(message.contains("longer than 3600 s"), "{message}");
}

/// While nothing changes nothing is written, for a whole minute.
async fn left_alone(operator: &Operator, namespace: &Namespace) {
    let mut mark = operator.mark();
    eventually("all that had to be is written", SOON, async || {
        tokio::time::sleep(Duration::from_secs(35)).await;
        let writes = operator.writes(mark, namespace);
        mark = operator.mark();
        if writes.is_empty() {
            Ok(())
        } else {
            Err(format!("{writes:?}"))
        }
    })
    .await;
    let mark = operator.mark();
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(operator.writes(mark, namespace), []);
}

/// Work comes and goes three times, which is told each time; of that no object is reconciled.
async fn wakes_nobody(operator: &Operator, namespace: &Namespace, celery: &Celery) {
    is_live(namespace, "celeryworker", "shop-default", "0/2").await;
    let reconciles = || operator.metric("celeriac_operator_reconciles_total", "");
    let writes = || operator.metric("celeriac_operator_live_status_writes_total", "");
    let (reconciled, written) = (reconciles(), writes());
    let began = std::time::Instant::now();
    for _ in 0..3 {
        celery.run("nap.delay(8)");
        is_live(namespace, "celeryworker", "shop-default", "1/2").await;
        is_live(namespace, "celeryworker", "shop-default", "0/2").await;
    }
    let minutes = began.elapsed().as_secs() / 60 + 1;
    let (reconciled, written) = (reconciles() - reconciled, writes() - written);
    // App and pool, three times there and back.
    assert!(written >= 12, "{written} writes");
    // App, broker and pool are looked at once a minute.
    assert!(
        reconciled <= 3 * minutes,
        "{reconciled} reconciles, {written} live writes"
    );
}

/// A worker that has gone has no slots any more.
async fn gone(namespace: &Namespace, worker: &mut Worker) {
    worker.stop();
    let pool = is_live(namespace, "celeryworker", "shop-default", "0/0").await;
    assert_eq!(pool["status"]["online"], 0);
}
