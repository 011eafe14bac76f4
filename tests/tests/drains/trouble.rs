//! The operator is killed between the steps of drains: whoever leads next goes on with each, or undoes it.

use celeriac_tests::kube::SOON;
use celeriac_tests::{Redis, eventually, turn};
use serde_json::Value;

use crate::scene::{Ground, Scene, is_marked, is_undone};

/// How far a drain is when its operator goes.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// It is written on the pod.
    Marked,
    /// The pod is the next to go.
    Last,
    /// A pod less was asked for.
    Lowered,
}

#[tokio::test]
async fn a_drain_whose_operator_is_killed_is_gone_on_with_or_undone() {
    let _turn = turn().await;
    let ground = Ground::of("killed").await;
    let redis = Redis::builder().listen(ground.host()).start();
    let inside = redis.url_of((ground.host(), redis.address().port()).into(), 0);
    let mut scene = ground.app(&inside, &redis.url(), 3).await;
    scene.edit(|pool| pool["scaling"] = serde_json::json!({"mode": "external"}));
    let (task, busy) = scene.hold().await;
    let mut replicas = 3;
    for moment in [Moment::Marked, Moment::Last] {
        replicas -= 1;
        scene.scale(replicas);
        reached(&scene, moment, u64::from(replicas)).await;
        scene.kill_operator();
        scene.lead();
        scene.lowered_to(u64::from(replicas)).await;
        assert!(scene.names().contains(&busy), "{moment:?}");
    }
    // The busy one, when it takes nothing any more: gone on with by the next, undone by the one after it.
    scene.scale(0);
    scene.drained().await;
    scene.kill_operator();
    scene.lead();
    let waiting = scene.send("print(add.delay(1, 2).id)");
    scene.kill_operator();
    scene.scale(1);
    scene.lead();
    eventually("it is undone", SOON, async || {
        let pods = scene.pods();
        match pods.as_slice() {
            [pod] if is_undone(pod) && !is_marked(pod) => Ok(()),
            pods => Err(format!("{pods:?}")),
        }
    })
    .await;
    scene.release(&task);
    assert_eq!(scene.began(&waiting[0]).await, busy);
    scene.scale(0);
    reached(&scene, Moment::Lowered, 0).await;
    scene.kill_operator();
    scene.lead();
    scene.lowered_to(0).await;
    scene.each_ran_once(&[vec![task], waiting].concat()).await;
}

/// Waits until a drain is so far, or farther.
async fn reached(scene: &Scene, moment: Moment, replicas: u64) {
    let cost = |pod: &Value| -> i64 {
        let cost = &pod["metadata"]["annotations"]["controller.kubernetes.io/pod-deletion-cost"];
        let cost = cost.as_str().and_then(|cost| cost.parse().ok());
        cost.unwrap_or(0)
    };
    eventually(&format!("{moment:?}"), SOON, async || {
        let pods = scene.pods();
        let reached = match moment {
            Moment::Marked => pods.iter().any(is_marked),
            Moment::Last => pods.iter().any(|pod| cost(pod) < -1_000_000),
            Moment::Lowered => false,
        };
        if reached || scene.replicas() == replicas {
            Ok(())
        } else {
            Err(scene.draining())
        }
    })
    .await;
}
