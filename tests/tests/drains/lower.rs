//! By an edit of the spec and by `/scale`: idle workers go, busy ones finish; what is wanted after all stays and works, also
//! after its connections were cut; what waits for its time comes back to the queue.

use std::time::Instant;

use celeriac_tests::kube::SOON;
use celeriac_tests::{Redis, eventually, turn};
use serde_json::json;

use crate::scene::{Ground, Scene, is_marked, is_undone, name};

#[tokio::test]
async fn d7_idle_workers_go_busy_ones_finish_and_what_is_wanted_after_all_works() {
    let _turn = turn().await;
    let ground = Ground::of("lower").await;
    let redis = Redis::builder().listen(ground.host()).start();
    let inside = redis.url_of((ground.host(), redis.address().port()).into(), 0);
    let mut scene = ground.app(&inside, &redis.url(), 3).await;

    let mut all = idle_ones_go_first(&mut scene).await;
    all.extend(load_comes_back(&mut scene).await);
    all.extend(connections_are_cut(&scene, &redis).await);
    all.extend(a_rollout_undoes(&mut scene).await);
    all.extend(what_waits_for_its_time_comes_back(&scene, &redis).await);
    scene.each_ran_once(&all).await;
    let events = scene.events();
    for told in ["DrainBegan", "DrainUndone", "Drained"] {
        assert!(events.contains_key(told), "{events:?}");
    }
    for wrong in ["WrongVictim", "DrainTimedOut", "NotDrained"] {
        assert!(!events.contains_key(wrong), "{events:?}");
    }
}

/// By an edit: of three workers the two idle ones go.
async fn idle_ones_go_first(scene: &mut Scene) -> Vec<String> {
    let (task, busy) = scene.hold().await;
    let began = Instant::now();
    scene.edit(|pool| pool["replicas"] = json!(1));
    scene.lowered_to(1).await;
    println!(
        "two idle workers of three went within {:?}",
        began.elapsed()
    );
    assert_eq!(scene.names(), [busy]);
    assert!(!is_marked(&scene.pods()[0]));
    scene.release(&task);
    vec![task]
}

/// By `/scale`: the last worker is on its way out with a task, and is wanted again. It runs the next task.
async fn load_comes_back(scene: &mut Scene) -> Vec<String> {
    // From here on whoever uses `/scale` says how many.
    scene.edit(|pool| pool["scaling"] = json!({"mode": "external"}));
    let (task, pod) = scene.hold().await;
    scene.scale(0);
    assert_eq!(scene.drained().await, pod);
    let draining = eventually("it says so", SOON, async || {
        let draining = scene.draining();
        if draining["reason"] == "WaitsForTasks" {
            Ok(draining)
        } else {
            Err(draining)
        }
    })
    .await;
    assert_eq!(draining["status"], "True");
    let message = draining["message"].as_str().unwrap_or_default();
    assert!(message.contains(&pod), "{message}");
    let waiting = scene.send("print(add.delay(1, 2).id)");
    scene.scale(1);
    eventually("it is undone", SOON, async || {
        let pods = scene.pods();
        match pods.as_slice() {
            [pod] if is_undone(pod) && !is_marked(pod) => Ok(()),
            pods => Err(format!("{pods:?}")),
        }
    })
    .await;
    scene.release(&task);
    assert_eq!(scene.began(&waiting[0]).await, pod);
    assert_eq!(scene.replicas(), 1);
    assert!(scene.events().contains_key("DrainUndone"));
    [vec![task], waiting].concat()
}

/// Celery forgets the queues of such a worker at its next connection: it gets them again.
async fn connections_are_cut(scene: &Scene, redis: &Redis) -> Vec<String> {
    let [pod] = &scene.names()[..] else {
        panic!("{:?}", scene.names());
    };
    redis.cli(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    let tasks = scene.send("print(add.delay(1, 2).id)");
    assert_eq!(scene.began(&tasks[0]).await, *pod);
    tasks
}

/// The template changes while a worker is on its way out: it is kept, until a new one stands for it.
async fn a_rollout_undoes(scene: &mut Scene) -> Vec<String> {
    scene.scale(2);
    scene.consuming(2).await;
    let (first, _) = scene.hold().await;
    let (second, _) = scene.hold().await;
    scene.scale(1);
    let before = scene.names();
    let victim = scene.drained().await;
    scene.edit(|pool| {
        let env = pool["env"].as_array_mut().expect("it is a list");
        env.push(json!({"name": "MODE", "value": "new"}));
    });
    eventually("the drain is undone", SOON, async || {
        let pods = scene.pods();
        let pod = pods.iter().find(|pod| name(pod) == victim);
        // Its pod may be on its way out by now, for the rollout's sake.
        if pod.is_none_or(|pod| is_undone(pod) && !is_marked(pod)) {
            Ok(())
        } else {
            Err(format!("{pod:?}"))
        }
    })
    .await;
    eventually("the pods are new, and one", SOON, async || {
        let now = scene.names();
        let old = now.iter().any(|name| before.contains(name));
        if now.len() == 1 && !old {
            Ok(())
        } else {
            Err(format!("{now:?}: {}", scene.draining()))
        }
    })
    .await;
    scene.release(&first);
    scene.release(&second);
    scene.consuming(1).await;
    vec![first, second]
}

/// A worker that only holds tasks for later goes, and they wait in the queue for the next one.
async fn what_waits_for_its_time_comes_back(scene: &Scene, redis: &Redis) -> Vec<String> {
    let tasks = scene.send("print(add.apply_async((1, 2), countdown=30).id)");
    let held = |key: &str| match key {
        "celery" => redis.cli(&["LLEN", key]).number(),
        _ => redis.cli(&["HLEN", key]).number(),
    };
    eventually("the worker holds it", SOON, async || {
        match held("unacked") {
            1 => Ok(()),
            held => Err(held),
        }
    })
    .await;
    scene.scale(0);
    scene.lowered_to(0).await;
    eventually("it is in the queue again", SOON, async || {
        match held("celery") {
            1 => Ok(()),
            held => Err(held),
        }
    })
    .await;
    scene.scale(1);
    scene.consuming(1).await;
    tasks
}
