//! A pod that is deleted goes when its worker has finished what it has, and not before; and it goes without a broker too.

use std::time::Duration;

use celeriac_tests::kube::SOON;
use celeriac_tests::{eventually, turn};
use serde_json::Value;

use crate::scene::{Scene, WORKER, container, is_ready, name};

#[tokio::test]
async fn a_deleted_pod_finishes_what_its_worker_has_and_takes_no_more() {
    let _turn = turn().await;
    let mut scene = Scene::of("finishes", |_| {}).await;
    let first = scene.once("it is ready", is_ready).await;
    let first = name(&first).to_owned();
    // One runs, and three wait in the worker.
    let held = scene.send("print(hold.delay().id)").remove(0);
    scene.notes(&held, "start").await;
    let reserved = scene.send("print(*[nap.delay(1).id for _ in range(3)])");
    eventually("it holds them", SOON, async || {
        let said = scene
            .celery
            .run("print(app.control.inspect(timeout=5).reserved())");
        let holds = reserved.iter().all(|id| said.contains(id));
        if holds { Ok(()) } else { Err(said) }
    })
    .await;

    delete(&scene, &first);
    let second = scene.once("another took its place", is_ready).await;
    let second = name(&second).to_owned();
    assert_ne!(second, first);
    let later = scene.send("print(*[add.delay(1, 2).id for _ in range(3)])");
    for task in &later {
        scene.notes(task, "return").await;
    }
    let pods = scene.pods();
    let going = pods.iter().find(|pod| name(pod) == first);
    let going = going.expect("it is there as long as its task runs");
    assert!(container(going, WORKER)["state"]["running"].is_object());

    scene.release(&held);
    is_gone(&scene, &first).await;
    let by = |pod: &str| vec![format!("celery@{pod}")];
    for task in reserved.iter().chain([&held]) {
        assert_eq!(scene.noted(task, "start"), by(&first), "{task}");
        assert_eq!(scene.noted(task, "return"), by(&first), "{task}");
    }
    for task in &later {
        assert_eq!(scene.noted(task, "return"), by(&second), "{task}");
    }

    // Without a broker nobody can be asked: what runs is finished by the worker's own shutdown.
    let held = scene.send("print(hold.delay().id)").remove(0);
    scene.notes(&held, "start").await;
    scene.redis.kill();
    delete(&scene, &second);
    let asked = |log: &str| log.contains("draining");
    eventually("a drain is asked for", SOON, async || {
        let log = scene.kubelet.log(&second, "sidecar");
        if asked(&log) { Ok(()) } else { Err(log) }
    })
    .await;
    let held_on = |pod: &Value| name(pod) == second;
    assert!(scene.pods().iter().any(held_on), "its task runs");
    tokio::time::sleep(Duration::from_secs(5)).await;
    scene.release(&held);
    scene.notes(&held, "return").await;
    is_gone(&scene, &second).await;
}

fn delete(scene: &Scene, pod: &str) {
    scene
        .namespace
        .kubectl(&["delete", "pod", pod, "--wait=false"]);
}

async fn is_gone(scene: &Scene, pod: &str) {
    let began = std::time::Instant::now();
    eventually("the pod is gone", SOON, async || {
        let pods = scene.pods();
        match pods.iter().find(|one| name(one) == pod) {
            None => Ok(()),
            Some(pod) => Err(pod["status"].to_string()),
        }
    })
    .await;
    println!("gone after {:?}", began.elapsed());
}
