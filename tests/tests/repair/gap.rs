//! What became of tasks while nobody listened is found out by asking: lists first, then each task by id.

use std::fs::{self, File};
use std::path::Path;

use anyhow::ensure;
use celeriac_proto::v1::Task;
use celeriac_tests::paths::{self, Profile};
use celeriac_tests::{Aggregator, Broker, BrokerKind, Celery, Inspector, eventually, turn};
use serde::Deserialize;
use tempfile::TempDir;

use super::SOON;

/// Ids of the tasks of the test.
#[derive(Deserialize)]
struct Tasks {
    /// Run before the gap, and end in it.
    ended: [String; 2],
    /// Reserved before the gap, and starts in it.
    next: String,
    /// Waits for its ETA.
    eta: String,
    /// Sent before the gap to a queue that is consumed only in it, and ends in it.
    gone: String,
    /// Waits in a queue that nobody consumes.
    waits: String,
}

const SEND: &str = "
import json
ended = [hold.delay(n) for n in (1001, 1002)]
sent = {
    'next': hold.delay(1003),
    'eta': hold.apply_async((1004,), countdown=3600),
    'gone': add.apply_async((1, 1), queue='later'),
    'waits': add.apply_async((2, 2), queue='nobody'),
}
print(json.dumps({'ended': [task.id for task in ended], **{name: task.id for name, task in sent.items()}}))
";
const CONSUME: &str =
    "assert app.control.add_consumer('later', reply=True, limit=1, timeout=20), 'no reply'";

fn inspector(broker: &Broker, aggregator: &Aggregator) -> Inspector {
    let server = format!("http://{}", aggregator.address());
    Inspector::start(&broker.url(), &["run", "--aggregator", &server])
}

fn is(task: &Task, state: &str) -> anyhow::Result<()> {
    ensure!(task.state == state && !task.unconfirmed, "{task:?}");
    ensure!(
        !task.finished && task.outcome_unknown_reason.is_none(),
        "{task:?}"
    );
    Ok(())
}

fn is_over_in_the_gap(task: &Task) -> anyhow::Result<()> {
    let reason = task.outcome_unknown_reason.as_deref().unwrap_or_default();
    let why = "ended or requeued, outcome unknown (gap)";
    ensure!(reason.starts_with(why), "{task:?}");
    ensure!(task.finished && !task.unconfirmed, "{task:?}");
    Ok(())
}

/// Waits until the workers' own log says that the task has come so far.
async fn truly(truth: &Path, id: &str, what: &str) {
    eventually(what, SOON, async || {
        let log = fs::read_to_string(truth).unwrap_or_default();
        let mut lines = log.lines().filter(|line| line.contains(id));
        ensure!(lines.any(|line| line.contains(what)), "{log}");
        Ok(())
    })
    .await;
}

async fn check(version: &str, kind: BrokerKind) {
    let folder = TempDir::new().expect("the temporary folder is writable");
    let truth = folder.path().join("truth");
    let broker = Broker::start(kind).await;
    let celery = Celery::new(version, &broker.url())
        .env("DEMO_BACKEND", &broker.results())
        .truth(&truth);
    let aggregator = Aggregator::builder().start().await;
    let mut first = inspector(&broker, &aggregator);
    let _worker = celery.worker("only").concurrency(2).start().await;
    let tasks: Tasks = serde_json::from_str(&celery.run(SEND)).expect("the snippet prints JSON");
    eventually("all are seen", SOON, async || {
        for (id, state) in [
            (&tasks.ended[0], "STARTED"),
            (&tasks.ended[1], "STARTED"),
            (&tasks.next, "RECEIVED"),
            (&tasks.eta, "RECEIVED"),
            (&tasks.gone, "PENDING"),
            (&tasks.waits, "PENDING"),
        ] {
            is(&aggregator.task(id).await?, state)?;
        }
        anyhow::Ok(())
    })
    .await;

    first.process.kill9();
    broker.lose_events();
    celery.run(CONSUME);
    for id in &tasks.ended {
        File::create(format!("{}.{id}", truth.display())).expect("the folder is writable");
    }
    truly(&truth, &tasks.next, "start").await;
    truly(&truth, &tasks.gone, "return").await;

    let _second = inspector(&broker, &aggregator);
    eventually("what is in the worker is confirmed", SOON, async || {
        is(&aggregator.task(&tasks.next).await?, "STARTED")?;
        is(&aggregator.task(&tasks.eta).await?, "RECEIVED")
    })
    .await;
    let next = aggregator.task(&tasks.next).await.expect("it is known");
    assert!(next.started_time.is_some(), "{next:?}");
    let ended = [&tasks.ended[0], &tasks.ended[1], &tasks.gone];
    for id in ended {
        eventually("what ended is over", SOON, async || {
            is_over_in_the_gap(&aggregator.task(id).await?)
        })
        .await;
    }
    // It is in no worker either, and is there.
    let waits = aggregator.task(&tasks.waits).await.expect("it is known");
    assert!(!waits.finished && waits.unconfirmed, "{waits:?}");
    assert_eq!(
        (waits.state.as_str(), waits.outcome_unknown_reason),
        ("PENDING", None)
    );
    for id in [&tasks.next, &tasks.eta] {
        let task = aggregator.task(id).await.expect("it is known");
        assert!(!task.finished && !task.unconfirmed, "{task:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_gap_each_task_is_in_its_true_state_or_says_that_its_outcome_is_unknown() {
    let _turn = turn().await;
    // Not while workers wait.
    paths::binary(Profile::Debug, "celeriac-aggregator");
    tokio::join!(
        check("5.7", BrokerKind::Redis),
        check("5.4", BrokerKind::Redis),
        check("5.7", BrokerKind::RabbitMq),
    );
}
