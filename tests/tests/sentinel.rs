//! The whole product behind Sentinels: workers of both names that kombu has given the channels there, and a failover while
//! tasks run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::ensure;
use celeriac_proto::v1::{Gap, GapCause, Task};
use celeriac_tests::{Aggregator, Celery, Redis, Sentinels, Worker, celeriac, eventually, turn};
use prost_types::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

const SOON: Duration = Duration::from_mins(1);
/// A start waits for the next turn of its worker's loop before it is told, and what is told as the connection breaks is
/// lost on its way.
const TOLD_WITHIN: f64 = 3.0;

/// A master, its replica, and three Sentinels that are quick to act.
struct Scene {
    master: Redis,
    replica: Redis,
    sentinels: Sentinels,
    folder: TempDir,
}

impl Scene {
    fn set() -> Self {
        let master = Redis::builder().password("right").start();
        let replica = Redis::builder().password("right");
        let replica = replica.replica_of(master.address()).start();
        let sentinels = Sentinels::builder(3)
            .password("watch")
            .master_password("right")
            .replicas(1)
            .down_after(Duration::from_secs(1))
            .watch(master.address());
        Self {
            master,
            replica,
            sentinels,
            folder: TempDir::new().expect("the temporary folder is writable"),
        }
    }

    fn celery(&self, version: &str) -> Celery {
        Celery::new(version, &self.sentinels.url(0))
            .env("DEMO_BACKEND", "cache+memory://")
            .truth(&self.truth())
            .settings(&json!({"broker_transport_options": self.sentinels.celery_options()}))
    }

    fn truth(&self) -> std::path::PathBuf {
        self.folder.path().join("truth")
    }

    async fn aggregator(&self) -> Aggregator {
        let mut aggregator = Aggregator::builder().broker(&self.sentinels.url(0));
        for option in self.sentinels.options() {
            aggregator = aggregator.arg("--transport-option").arg(&option);
        }
        let aggregator = aggregator.start().await;
        aggregator.subscribed().await;
        aggregator
    }
}

/// When each task began, by the log of its worker.
fn starts(truth: &Path) -> BTreeMap<String, f64> {
    let text = std::fs::read_to_string(truth).unwrap_or_default();
    let lines = text.lines().map(|line| {
        let line: Value = serde_json::from_str(line).expect("the app writes JSON lines");
        let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
        (text("what"), text("id"), line["time"].as_f64())
    });
    let begun = lines.filter(|(what, ..)| what == "start");
    begun
        .map(|(_, id, time)| (id, time.expect("each has a time")))
        .collect()
}

fn seconds(time: Option<&Timestamp>) -> f64 {
    let time = time.expect("the gap has both ends");
    let micros = time.seconds * 1_000_000 + i64::from(time.nanos / 1_000);
    Duration::from_micros(micros.try_into().expect("it is after 1970")).as_secs_f64()
}

fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("it is after 1970").as_secs_f64()
}

async fn done(aggregator: &Aggregator, name: &str) -> anyhow::Result<Vec<Task>> {
    let filter = format!("name = \"{name}\" AND state = SUCCESS");
    aggregator.tasks(&filter).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_of_either_kombu_are_seen_asked_and_counted() {
    let _turn = turn().await;
    let scene = tokio::task::spawn_blocking(Scene::set).await;
    let scene = scene.expect("the servers start");
    let aggregator = scene.aggregator().await;
    // kombu 4.6 speaks and listens on `/{db}.…`, kombu 5.7 on `/0.…`.
    let (new, old) = (scene.celery("5.7"), scene.celery("4.4"));
    let mut workers = [
        new.worker("new").queues(["celery"]).launch(),
        old.worker("old").queues(["fork"]).launch(),
    ];
    for worker in &mut workers {
        worker.ready().await;
    }
    new.run("add.delay(1, 1)\nadd.apply_async((2, 2), queue='fork')");
    eventually("both have worked and answered", SOON, async || {
        for worker in ["celery@new", "celery@old"] {
            let worker = aggregator.worker(worker).await?;
            ensure!(worker.inspection.is_some(), "{worker:?}");
        }
        let done = done(&aggregator, "demo.add").await?;
        ensure!(done.len() == 2, "{done:?}");
        Ok(())
    })
    .await;

    new.run("for _ in range(14): nap.delay(60)");
    eventually("depths are those of the master", SOON, async || {
        let truth = scene.master.cli(&["LLEN", "celery"]).number();
        let queues = aggregator.queues().await?;
        let queue = queues.iter().find(|queue| queue.name == "celery");
        let ready = queue.and_then(|queue| queue.ready);
        ensure!(ready == Some(truth) && truth > 0, "{truth} {queues:?}");
        Ok(())
    })
    .await;
    let shown = celeriac(aggregator.address(), &["queues"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(
        shown.contains("celery") && shown.contains("fork"),
        "{shown}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_under_load_is_followed_and_is_a_gap() {
    let _turn = turn().await;
    let scene = tokio::task::spawn_blocking(Scene::set).await;
    let mut scene = scene.expect("the servers start");
    let celery = scene.celery("5.7");
    let aggregator = scene.aggregator().await;
    let mut worker = celery.worker("steady").start().await;
    let load = celery
        .start("import time\nfor n in range(2000):\n    add.delay(n, n)\n    time.sleep(0.005)");
    eventually("tasks flow", SOON, async || {
        let done = done(&aggregator, "demo.add").await?.len();
        ensure!(done > 100, "{done} done");
        Ok(())
    })
    .await;

    let killed = now();
    scene.master.kill();
    eventually("the loss is shown with its reason", SOON, async || {
        let broker = aggregator.app().await?.broker.unwrap_or_default();
        ensure!(
            !broker.reachable && broker.unreachable_reason.is_some(),
            "{broker:?}"
        );
        Ok(())
    })
    .await;
    drop(load);
    eventually("the replica is the master", SOON, async || {
        let role = scene.replica.cli(&["ROLE"]).texts();
        ensure!(
            role.first().is_some_and(|role| role == "master"),
            "{role:?}"
        );
        Ok(())
    })
    .await;
    let promoted = now();
    aggregator.subscribed().await;
    assert!(
        now() - promoted < 15.0,
        "it reconnects within seconds, also on a busy machine"
    );

    a_new_task_ends(&celery, &mut worker, &aggregator).await;

    let app = aggregator.app().await.expect("it serves");
    let gap = app
        .gaps
        .iter()
        .find(|gap| gap.cause() == GapCause::Reconnect);
    let gap = gap.unwrap_or_else(|| panic!("no gap tells of the failover: {:?}", app.gaps));
    let span = (
        seconds(gap.start_time.as_ref()),
        seconds(gap.end_time.as_ref()),
    );
    assert!(
        span.0 < killed + TOLD_WITHIN && span.1 > killed,
        "{killed} {gap:?}"
    );
    let tasks = aggregator.tasks("").await.expect("it serves");
    assert_true_to(&starts(&scene.truth()), &tasks, gap, span);
}

async fn a_new_task_ends(celery: &Celery, worker: &mut Worker, aggregator: &Aggregator) {
    let id = celery.run("print(late_nap.apply_async((0,)).id)");
    eventually(
        "a task sent after it ends",
        Duration::from_mins(2),
        async || {
            // kombu may end a worker over a lost connection; what is tested here is Celeriac.
            if worker.process.exited().is_some() {
                worker.restart().await;
            }
            let task = aggregator.task(id.trim()).await?;
            ensure!(task.state == "SUCCESS", "{task:?}");
            Ok(())
        },
    )
    .await;
}

/// Nothing is seen that was not, and what was not seen began in the gap.
fn assert_true_to(truth: &BTreeMap<String, f64>, tasks: &[Task], gap: &Gap, span: (f64, f64)) {
    let begun = |task: &&Task| !["PENDING", "RECEIVED"].contains(&task.state.as_str());
    let seen: BTreeSet<&String> = tasks.iter().filter(begun).map(|task| &task.id).collect();
    assert!(seen.len() > 100, "{}", seen.len());
    for id in &seen {
        assert!(truth.contains_key(*id), "{id} never began");
    }
    for (id, began) in truth.iter().filter(|(id, _)| !seen.contains(id)) {
        assert!(
            (span.0 - TOLD_WITHIN..span.1 + TOLD_WITHIN).contains(began),
            "{id} began at {began}, outside of {gap:?}"
        );
    }
}
