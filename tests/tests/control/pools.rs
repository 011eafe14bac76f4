//! The size and the life of pools.

use std::collections::BTreeSet;

use celeriac_proto::v1;
use celeriac_proto::v1::execute_command_request::Command;
use celeriac_tests::eventually;

use crate::scene::{AUTO, FORK, Kind, SOON, Scene, node};

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
}
