//! The size and the life of pools.

use std::collections::BTreeSet;

use celeriac_proto::v1;
use celeriac_proto::v1::execute_command_request::Command;
use celeriac_tests::eventually;

use crate::scene::{ALL, AUTO, FORK, GEVENT, Kind, SOLO, SOON, Scene, THREADS, node};

fn grow(count: i32) -> Command {
    Command::PoolGrow(v1::PoolGrowCommand { count })
}

fn shrink(count: i32) -> Command {
    Command::PoolShrink(v1::PoolShrinkCommand { count })
}

fn autoscale(max: i32, min: i32) -> Command {
    Command::Autoscale(v1::AutoscaleCommand { max, min })
}

fn restart() -> Command {
    Command::PoolRestart(v1::PoolRestartCommand::default())
}

impl Scene {
    /// The processes of a pool, as Celery tells them.
    async fn processes(&self, name: &str) -> BTreeSet<i64> {
        let stats = self.asked(name, "'stats'").await;
        let processes = stats["pool"]["processes"].as_array().cloned();
        let pids = processes.unwrap_or_default();
        pids.iter().filter_map(serde_json::Value::as_i64).collect()
    }
}

fn alive(pid: i64) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

pub(crate) async fn check(scene: &Scene) {
    prefork(scene).await;
    autoscaled(scene).await;
    gevent(scene).await;
    for name in [THREADS, SOLO] {
        let missing = |what: &str| format!("has no attribute '{what}'");
        scene
            .check(name, grow(1), Kind::Error, &missing("grow"), "fixed size")
            .await;
        scene
            .check(
                name,
                shrink(1),
                Kind::Error,
                &missing("shrink"),
                "fixed size",
            )
            .await;
        scene
            .check(
                name,
                restart(),
                Kind::NoEffect,
                "reload started",
                "only prefork can",
            )
            .await;
    }
    for name in [FORK, THREADS, GEVENT, SOLO] {
        scene
            .check(
                name,
                autoscale(3, 1),
                Kind::Error,
                "Autoscale not enabled",
                "--autoscale",
            )
            .await;
    }
}

async fn prefork(scene: &Scene) {
    let before = scene.processes(FORK).await;
    assert_eq!(before.len(), 2);
    scene
        .check(FORK, grow(2), Kind::Ok, "pool will grow", "")
        .await;
    // The pool is filled up at its next maintenance, some seconds later.
    scene
        .until(&format!(
            "len(asked('{}', 'stats')['pool']['processes']) == 4",
            node(FORK)
        ))
        .await;
    let grown = scene.processes(FORK).await;
    assert_eq!(grown.len(), 4);
    assert!(grown.is_superset(&before) && grown.iter().all(|pid| alive(*pid)));
    // The aggregator's own list is true soon.
    scene
        .looked_at(FORK, |worker| {
            let inspection = worker.inspection.as_ref();
            inspection.is_some_and(|known| known.pool_processes == 4)
        })
        .await;
    scene
        .check(FORK, shrink(3), Kind::Ok, "pool will shrink", "")
        .await;
    eventually("three processes have ended", SOON, async || {
        let left = grown.iter().filter(|pid| alive(**pid)).count();
        if left == 1 {
            Ok(())
        } else {
            Err(format!("{left} are left"))
        }
    })
    .await;
    // The only one left runs a task: it is not stopped.
    let id = scene.sent("nap", FORK, ", 4").await;
    scene
        .until(&format!("asked('{}', 'active')", node(FORK)))
        .await;
    let busy = "All processes busy";
    scene
        .check(
            FORK,
            shrink(1),
            Kind::Error,
            busy,
            "none that runs a task was",
        )
        .await;
    scene.until(&format!("state('{id}') == 'SUCCESS'")).await;
    scene
        .check(
            FORK,
            restart(),
            Kind::Error,
            "Pool restarts not enabled",
            "worker_pool_restarts",
        )
        .await;
    scene
        .check(FORK, grow(1), Kind::Ok, "pool will grow", "")
        .await;
}

async fn autoscaled(scene: &Scene) {
    for (command, method) in [(grow(1), "pool_grow"), (shrink(1), "pool_shrink")] {
        let text = format!("{method} is not supported with autoscale");
        scene
            .check(AUTO, command, Kind::Error, &text, "use autoscale")
            .await;
    }
    let text = "autoscale now max=4 min=3";
    scene.check(AUTO, autoscale(4, 3), Kind::Ok, text, "").await;
    let stats = scene.asked(AUTO, "'stats'").await;
    assert_eq!(stats["autoscaler"]["max"], 4, "{stats}");
    assert_eq!(stats["autoscaler"]["min"], 3, "{stats}");
    scene
        .until(&format!(
            "len(asked('{}', 'stats')['pool']['processes']) >= 3",
            node(AUTO)
        ))
        .await;
    let before = scene.processes(AUTO).await;
    scene
        .check(
            AUTO,
            restart(),
            Kind::Ok,
            "reload started",
            "after its next task",
        )
        .await;
    // Each process takes one more task, and is replaced: four tasks at once come to all of them.
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(scene.sent("nap", AUTO, ", 1").await);
    }
    eventually("all processes are new", SOON, async || {
        let left = before.iter().filter(|pid| alive(**pid)).count();
        if left == 0 {
            Ok(())
        } else {
            Err(format!("{left} are left"))
        }
    })
    .await;
    for id in ids {
        scene.until(&format!("state('{id}') == 'SUCCESS'")).await;
    }
}

async fn gevent(scene: &Scene) {
    // Two slots: of four tasks two run. After it has grown by two, all four run.
    scene
        .check(GEVENT, grow(2), Kind::Ok, "pool will grow", "")
        .await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(scene.sent("nap", GEVENT, ", 5").await);
    }
    scene
        .until(&format!("len(asked('{}', 'active')) == 4", node(GEVENT)))
        .await;
    for id in ids {
        scene.until(&format!("state('{id}') == 'SUCCESS'")).await;
    }
    scene
        .check(GEVENT, shrink(3), Kind::Ok, "pool will shrink", "")
        .await;
    let first = scene.sent("nap", GEVENT, ", 3").await;
    let second = scene.sent("nap", GEVENT, ", 3").await;
    scene
        .until(&format!("asked('{}', 'active')", node(GEVENT)))
        .await;
    let active = scene.asked(GEVENT, "'active'").await;
    assert_eq!(active.as_array().map(Vec::len), Some(1), "{active}");
    for id in [first, second] {
        scene.until(&format!("state('{id}') == 'SUCCESS'")).await;
    }
    let text = "reload started";
    scene
        .check(GEVENT, restart(), Kind::NoEffect, text, "only prefork can")
        .await;
}

pub(crate) async fn check_shutdown(scene: &mut Scene) {
    for name in ALL {
        let shutdown = Command::Shutdown(v1::ShutdownCommand {});
        let record = scene.record(name, shutdown, 10).await;
        assert_eq!(record.answers[0].kind(), Kind::NoneExpected, "{record:?}");
        assert_eq!(record.answers[0].answer_json, "");
        let worker = scene
            .workers
            .iter_mut()
            .find(|worker| worker.name == node(name))
            .expect("it was started");
        eventually("the worker has ended", SOON, async || {
            worker.process.exited().ok_or("it runs")
        })
        .await;
    }
}
