//! `celeriac-inspector` by itself: `run` reports to an aggregator elsewhere, `tail` prints.

use std::time::Duration;

use anyhow::ensure;
use celeriac_proto::v1::{InspectorRole, SubscriptionState, WorkerStatus};
use celeriac_tests::ingest::Attached;
use celeriac_tests::wire::{event, publish_json};
use celeriac_tests::{Aggregator, Celery, Inspector, Redis, eventually, turn};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

#[expect(clippy::too_many_lines, reason = "one story, told in order")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_remote_inspector_reports_and_its_restart_is_a_gap_that_takes_nobody_offline() {
    let _turn = turn().await;
    let redis = Redis::start();
    let celery = Celery::new("5.7", &redis.url());
    let aggregator = Aggregator::builder().start().await;
    let server = format!("http://{}", aggregator.address());
    let arguments = ["run", "--aggregator", &server];
    let mut inspector = Inspector::start(&redis.url(), &arguments);
    let mut worker = celery.worker("far").start().await;
    celery.run("nap.delay(120)\nadd.delay(1, 2)");
    eventually("the tasks are shown", SOON, async || {
        let done = aggregator.tasks("state = SUCCESS").await?.len();
        let running = aggregator.tasks("state = STARTED").await?.len();
        ensure!((done, running) == (1, 1), "{done} done, {running} run");
        let worker = aggregator.worker("celery@far").await?;
        ensure!(worker.inspection.is_some(), "not inspected yet");
        Ok(())
    })
    .await;

    let waiting = Attached::open(&server, "another", 1)
        .await
        .expect("it accepts");
    assert_eq!(waiting.role, InspectorRole::Standby);
    drop(waiting);

    inspector.process.kill9();
    eventually("its loss is shown", SOON, async || {
        let app = aggregator.app().await?;
        let attached = app
            .inspector
            .as_ref()
            .is_some_and(|inspector| inspector.attached);
        ensure!(!attached, "{:?}", app.inspector);
        Ok(())
    })
    .await;
    // Longer than a worker may be silent when events are received. That time has to pass: there is no condition to
    // wait for, since what is tested is that nothing happens.
    tokio::time::sleep(Duration::from_secs(12)).await;
    let status = aggregator
        .worker("celery@far")
        .await
        .expect("it is known")
        .status();
    assert_eq!(
        status,
        WorkerStatus::Online,
        "nobody listened, so nobody knows"
    );

    inspector = Inspector::start(&redis.url(), &arguments);
    celery.run("add.delay(3, 4)");
    eventually("it is back, with a gap", SOON, async || {
        let app = aggregator.app().await?;
        let subscription = app
            .inspector
            .as_ref()
            .map(celeriac_proto::v1::Inspector::subscription);
        ensure!(
            subscription == Some(SubscriptionState::Live),
            "{:?}",
            app.inspector
        );
        ensure!(
            app.gaps.iter().any(|gap| gap.end_time.is_some()),
            "{:?}",
            app.gaps
        );
        Ok(())
    })
    .await;
    celery.run("add.delay(5, 6)");
    eventually("new tasks are shown", SOON, async || {
        let done = aggregator.tasks("state = SUCCESS").await?;
        let args = |task: &celeriac_proto::v1::Task| task.payload.clone().unwrap_or_default().args;
        ensure!(
            done.iter()
                .any(|task| args(task).as_deref() == Some("(5, 6)")),
            "{done:?}"
        );
        Ok(())
    })
    .await;
    worker.kill9();
    let status = inspector.process.stop(SOON);
    assert!(status.success(), "{status}: {}", inspector.process.log());
}

#[tokio::test]
async fn tail_prints_what_is_asked_for_and_ends() {
    let redis = Redis::start();
    let arguments = ["tail", "-o", "json", "-n", "2", "--type", "task-*"];
    let mut tail = Inspector::start(&redis.url(), &arguments);
    eventually("it is subscribed", SOON, async || {
        let patterns = redis.cli(&["PUBSUB", "NUMPAT"]).number();
        if patterns > 0 {
            Ok(())
        } else {
            Err(tail.process.log())
        }
    })
    .await;
    let heartbeat = event("worker-heartbeat", "celery@h", 1, &json!({"freq": 2.0}));
    publish_json(&redis, &heartbeat.to_string());
    let started = event("task-started", "celery@h", 2, &json!({"uuid": "one"}));
    let custom = event(
        "task-progress",
        "celery@h",
        3,
        &json!({"uuid": "one", "done": 0.5}),
    );
    publish_json(&redis, &json!([started, custom]).to_string());
    let status = eventually("it ends after two events", SOON, async || {
        tail.process.exited().ok_or_else(|| tail.process.log())
    })
    .await;
    assert!(status.success(), "{status}: {}", tail.process.log());
    let log = tail.process.log();
    let events: Vec<Value> = log
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).expect("a JSON object a line"))
        .collect();
    let types: Vec<&str> = events
        .iter()
        .filter_map(|event| event["type"].as_str())
        .collect();
    assert_eq!(types, ["task-started", "task-progress"], "{log}");
    assert_eq!(events[0]["uuid"], "one");
    assert_eq!(events[1]["done"], 0.5);
    assert_eq!(redis.keys(), Vec::<String>::new(), "tail writes nothing");
}
