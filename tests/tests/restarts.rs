//! Workers, Celeriac and Redis that die and come back.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::ensure;
use celeriac_proto::v1::{GapCause, Task, WorkerStatus};
use celeriac_tests::{Aggregator, Celery, Redis, eventually, turn};

/// The interval of Celery's heartbeats is 2 s; what we call silent comes after this (`--offline-after`).
const OFFLINE_AFTER: &str = "5s";
/// Live, the rule of `OFFLINE_AFTER` has to hold within three times the rule.
const OFFLINE_WITHIN: Duration = Duration::from_secs(15);
const SOON: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_killed_worker_is_silent_its_tasks_are_lost_and_its_next_life_is_a_new_one() {
    let _turn = turn().await;
    let redis = Redis::start();
    let celery = Celery::new("5.7", &redis.url());
    let aggregator = Aggregator::builder()
        .broker(&redis.url())
        .arg("--offline-after")
        .arg(OFFLINE_AFTER)
        .start()
        .await;
    aggregator.subscribed().await;
    let mut worker = celery.worker("mortal").start().await;
    celery.run("[nap.delay(600) for _ in range(2)]");
    let running = eventually("two tasks run", SOON, async || {
        let tasks = aggregator.tasks("state = STARTED").await?;
        ensure!(tasks.len() == 2, "{} run", tasks.len());
        Ok(tasks)
    })
    .await;
    let first = aggregator
        .worker("celery@mortal")
        .await
        .expect("it is known");

    worker.kill9();
    eventually("the worker is silent", OFFLINE_WITHIN, async || {
        let status = aggregator.worker("celery@mortal").await?.status();
        ensure!(status == WorkerStatus::Silent, "{status:?}");
        Ok(())
    })
    .await;
    for task in &running {
        let now = aggregator.task(&task.id).await.expect("it is known");
        assert!(now.lost && !now.finished, "{now:?}");
    }

    // A task that was accepted is gone with its process; the worker's next life takes new ones.
    worker.restart().await;
    celery.run("add.delay(1, 1)");
    eventually("the next life works", SOON, async || {
        let second = aggregator.worker("celery@mortal").await?;
        let numbers = (&first, &second);
        let [before, after] = [numbers.0, numbers.1]
            .map(|worker| worker.incarnation.as_ref().map_or(0, |life| life.number));
        ensure!(
            second.status() == WorkerStatus::Online,
            "{:?}",
            second.status()
        );
        ensure!(after == before + 1, "incarnation {before}, then {after}");
        let done = aggregator
            .tasks("name = \"demo.add\" AND state = SUCCESS")
            .await?;
        ensure!(done.len() == 1, "{} done", done.len());
        Ok(())
    })
    .await;
    for task in &running {
        let now = aggregator.task(&task.id).await.expect("it is known");
        assert!(now.lost && now.name == task.name, "{now:?}");
    }
}

/// How far a task has come; a restart may not take it back.
fn progress(task: &Task) -> u8 {
    match task.state.as_str() {
        "PENDING" => 0,
        "RECEIVED" => 1,
        "STARTED" => 2,
        _ => 3,
    }
}

#[tokio::test]
async fn a_killed_aggregator_comes_back_with_all_it_had_made_durable() {
    let _turn = turn().await;
    let redis = Redis::start();
    let celery = Celery::new("5.7", &redis.url());
    let mut aggregator = Aggregator::on(&redis.url()).await;
    let _worker = celery.worker("steady").concurrency(3).start().await;
    celery.run("nap.delay(900, )\nnap.apply_async((901,), countdown=3600)");
    let _load = celery
        .start("import time\nfor n in range(20000):\n    add.delay(n, n)\n    time.sleep(0.003)");

    let mut seen = BTreeMap::new();
    for round in 1..=3 {
        let wanted = seen.len() + 150;
        seen = eventually("more tasks are seen", SOON, async || {
            let tasks = aggregator.tasks("").await?;
            ensure!(tasks.len() >= wanted, "{} of {wanted}", tasks.len());
            Ok(tasks
                .into_iter()
                .map(|task| (task.id.clone(), task))
                .collect::<BTreeMap<_, _>>())
        })
        .await;
        aggregator.settled().await;
        aggregator.kill9();
        aggregator.restart().await;
        let after = aggregator.tasks("").await.expect("it serves");
        let after: BTreeMap<_, _> = after.iter().map(|task| (&task.id, task)).collect();
        for (id, before) in &seen {
            let Some(now) = after.get(id) else {
                panic!("round {round}: {before:?} is gone");
            };
            assert!(
                progress(now) >= progress(before),
                "{before:?} became {now:?}"
            );
            assert_eq!(
                now.name.is_some(),
                before.name.is_some(),
                "{before:?} became {now:?}"
            );
            assert_eq!(
                now.first_seen, before.first_seen,
                "{before:?} became {now:?}"
            );
        }
    }

    let naps = aggregator
        .tasks("name = \"demo.nap\"")
        .await
        .expect("it serves");
    let naps: BTreeMap<_, _> = naps
        .iter()
        .map(|task| {
            let payload = task.payload.as_ref().expect("the full view has a payload");
            (payload.args.as_deref().unwrap_or_default(), task)
        })
        .collect();
    assert_eq!(naps["(900,)"].state, "STARTED");
    assert_eq!(naps["(901,)"].state, "RECEIVED");
    for nap in naps.values() {
        assert_eq!(nap.worker.as_deref(), Some("celery@steady"));
        assert!(!nap.finished);
    }
    aggregator.subscribed().await;
    eventually("it says that it was away", SOON, async || {
        let gaps = aggregator.app().await?.gaps;
        let away = gaps.iter().any(|gap| gap.cause() == GapCause::Detached);
        ensure!(away, "{gaps:?}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn redis_restarts_under_load_and_everything_goes_on() {
    let _turn = turn().await;
    let mut redis = Redis::builder().persistent().start();
    let celery = Celery::new("5.7", &redis.url());
    let aggregator = Aggregator::on(&redis.url()).await;
    let mut worker = celery.worker("steady").start().await;
    let produce = "import time\nfor n in range(400):\n    add.delay(n, n)\n    time.sleep(0.005)";
    let load = celery.start(produce);
    eventually("tasks flow", SOON, async || {
        let done = aggregator.tasks("state = SUCCESS").await?.len();
        ensure!(done > 50, "{done} done");
        Ok(())
    })
    .await;
    redis.kill();
    eventually("the loss is shown with its reason", SOON, async || {
        let broker = aggregator.app().await?.broker.unwrap_or_default();
        ensure!(!broker.reachable, "{broker:?}");
        ensure!(broker.unreachable_reason.is_some(), "{broker:?}");
        Ok(())
    })
    .await;
    let (status, _) = aggregator.get("/livez").expect("it serves");
    assert_eq!(
        status, 200,
        "a broker that is down is no reason to restart the aggregator"
    );
    drop(load);

    redis.restart();
    aggregator.subscribed().await;
    let first_new = celery.run("print(add.apply_async((7, 7)).id)");
    eventually(
        "a task sent after the restart ends",
        Duration::from_mins(1),
        async || {
            // kombu 5.7 sometimes ends the worker over a lost connection (`'NoneType' object has no attribute
            // 'hostname'`); what is tested here is Celeriac.
            if worker.process.exited().is_some() {
                worker.restart().await;
            }
            let task = aggregator.task(first_new.trim()).await?;
            ensure!(task.state == "SUCCESS", "{task:?}");
            Ok(())
        },
    )
    .await;
    let app = aggregator.app().await.expect("it serves");
    assert!(app.broker.is_some_and(|broker| broker.reachable));
    let reconnect = app
        .gaps
        .iter()
        .find(|gap| gap.cause() == GapCause::Reconnect);
    let gap = reconnect.unwrap_or_else(|| panic!("no gap tells of the restart: {:?}", app.gaps));
    assert!(gap.end_time.is_some(), "the gap is over: {gap:?}");
}
