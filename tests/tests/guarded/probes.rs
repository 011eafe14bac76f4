//! A pod is ready when its sidecar says so, and its worker is ended only for what a restart mends.

use std::time::Duration;

use celeriac_tests::kube::SOON;
use celeriac_tests::{eventually, turn};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::scene::{SIDECAR, Scene, WORKER, container, is_ready, name};

/// After so long a worker that leaves messages is stalled here, in place of ten minutes; and its probe has to fail for
/// three seconds, in place of ten minutes.
const STALLED_AFTER: &str = "5s";

/// Several times what ends a stalled worker.
const LONG: Duration = Duration::from_secs(25);

/// What a node says of a container that it ended for its probe.
const KILLED: &str = "liveness probe failed";

/// The worker begins when it is let.
const GATE: &str = r#"until [ -e /truth/go ]; do sleep 0.1; done; exec celery "$@""#;

fn impatient(pool: &mut Value) {
    pool["sidecar"] =
        json!({"env": [{"name": "CELERIAC_INSPECTOR_STALLED_AFTER", "value": STALLED_AFTER}]});
    let worker = &mut pool["podTemplate"]["spec"]["containers"][0];
    worker["command"] = json!(["sh", "-c", GATE, "celery"]);
    worker["livenessProbe"] = json!({"periodSeconds": 1, "failureThreshold": 3});
    worker["readinessProbe"] = json!({"periodSeconds": 1, "failureThreshold": 1});
}

/// Ready, and its worker in its n-th life.
fn lives(times: u64) -> impl Fn(&Value) -> bool {
    move |pod| is_ready(pod) && container(pod, WORKER)["restartCount"] == times
}

/// Nobody ended its worker, though Celery ends by itself at times when its broker goes.
fn is_spared(pod: &Value) -> bool {
    let worker = container(pod, WORKER);
    let ended = worker["restartCount"] != 0;
    worker["lastState"]["terminated"]["message"] != KILLED && (ended || is_ready(pod))
}

#[tokio::test]
async fn a_pod_is_ready_by_its_sidecar_and_only_a_stalled_worker_is_restarted() {
    let _turn = turn().await;
    let mut scene = Scene::of("probes", impatient).await;
    is_ready_with_the_first_consume(&scene).await;
    frozen(&scene).await;
    let times = without_broker_and_aggregator(&mut scene).await;
    without_its_sidecar(&scene, times).await;
    stalled(&scene, times).await;
}

async fn is_ready_with_the_first_consume(scene: &Scene) {
    let starting = |pod: &Value| container(pod, WORKER)["state"]["running"].is_object();
    let pod = scene.once("its container runs", starting).await;
    assert_eq!(container(&pod, SIDECAR)["started"], true, "it came first");
    scene
        .stays(
            "a worker that consumes nothing",
            Duration::from_secs(8),
            |pod| {
                !is_ready(pod)
                    && container(pod, WORKER)["ready"] == false
                    && container(pod, SIDECAR)["ready"] == true
            },
        )
        .await;
    let (status, reason) = Scene::page(&pod, "/readyz").expect("it answers");
    assert_eq!(
        (status, reason.as_str()),
        (503, "the worker was not seen to consume yet\n")
    );
    std::fs::write(scene.file("go"), "").expect("it is our folder");
    let pod = scene.once("it is ready", lives(0)).await;
    assert_eq!(Scene::page(&pod, "/readyz").expect("it answers").0, 200);
    // Nobody drains a worker who was not given the pool's token.
    assert_eq!(Scene::page(&pod, "/drain").expect("it answers").0, 401);
    follows(&pod).await;
}

/// Waits until the aggregator tells the sidecar of its worker.
async fn follows(pod: &Value) {
    eventually("the aggregator tells of the worker", SOON, async || {
        let (_, text) = Scene::page(pod, "/metrics").map_err(|error| error.to_string())?;
        let followed = text
            .lines()
            .any(|line| line == "celeriac_sidecar_followed 1");
        if followed { Ok(()) } else { Err(text) }
    })
    .await;
}

/// Who says nothing is not known to idle: it may be that it works so hard.
async fn frozen(scene: &Scene) {
    let pod = scene.once("it is ready", lives(0)).await;
    scene.kubelet.signal(name(&pod), WORKER, Signal::SIGSTOP);
    let task = scene.send("print(add.delay(1, 2).id)").remove(0);
    scene.stays("a frozen worker", LONG, lives(0)).await;
    let (status, _) = Scene::page(&pod, "/livez").expect("it answers");
    assert_eq!(status, 200);
    assert_eq!(scene.noted(&task, "start").len(), 0);
    scene.kubelet.signal(name(&pod), WORKER, Signal::SIGCONT);
    scene.notes(&task, "return").await;
}

/// How often its worker has begun anew by then.
async fn without_broker_and_aggregator(scene: &mut Scene) -> u64 {
    scene.redis.kill();
    scene.stays("without a broker", LONG, is_spared).await;
    scene.aggregator.kill9();
    scene.stays("without both", LONG, is_spared).await;
    scene.redis.restart();
    scene.aggregator.start();
    let task = scene.send("print(add.delay(1, 2).id)").remove(0);
    scene.notes(&task, "return").await;
    let pod = scene.once("it is ready again", is_ready).await;
    let times = container(&pod, WORKER)["restartCount"].as_u64();
    let times = times.expect("a node counts");
    scene.stays("both are back", LONG / 5, lives(times)).await;
    times
}

/// A sidecar that ends is started again, and its worker notices nothing.
async fn without_its_sidecar(scene: &Scene, times: u64) {
    let pod = scene.once("it is ready", lives(times)).await;
    let task = scene.send("print(hold.delay().id)").remove(0);
    scene.notes(&task, "start").await;
    scene.kubelet.signal(name(&pod), SIDECAR, Signal::SIGKILL);
    let again = |pod: &Value| lives(times)(pod) && container(pod, SIDECAR)["restartCount"] == 1;
    scene.once("its sidecar is there again", again).await;
    scene.release(&task);
    scene.notes(&task, "return").await;
}

/// It answers and takes nothing: ended, but not while it runs a task.
async fn stalled(scene: &Scene, times: u64) {
    let pod = scene.once("it is ready", lives(times)).await;
    follows(&pod).await;
    let busy = scene.send("print(hold.delay().id)").remove(0);
    scene.notes(&busy, "start").await;
    let left = scene
        .send("assert app.control.broadcast('demo_deaf', reply=True, timeout=10)\nimport time; time.sleep(2)\nprint(add.delay(1, 2).id)")
        .remove(0);
    scene.stays("deaf and busy", LONG, lives(times)).await;
    scene.release(&busy);
    scene.notes(&busy, "return").await;
    let pod = scene
        .once("it was restarted and is ready", lives(times + 1))
        .await;
    let last = &container(&pod, WORKER)["lastState"]["terminated"];
    assert_eq!(last["message"], KILLED, "{last}");
    assert_eq!(
        container(&pod, SIDECAR)["restartCount"],
        1,
        "it outlives its worker"
    );
    scene.notes(&left, "return").await;
    for task in [busy, left] {
        assert_eq!(scene.noted(&task, "start").len(), 1, "{task}");
    }
    scene.stays("it lives on", LONG / 2, lives(times + 1)).await;
}
