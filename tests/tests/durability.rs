//! What the aggregator has acknowledged survives `kill -9` at any moment, once and not twice.

use std::time::Duration;

use celeriac_proto::v1::{InspectorRole, Task};
use celeriac_tests::Aggregator;
use celeriac_tests::ingest::{Attached, TASKS_PER_BATCH, WORKER, batch, task_id};

/// How many lives the aggregator gets.
const LIVES: u64 = 6;
/// Batches sent ahead of acknowledgements, so that a kill always hits some that are on their way.
const AHEAD: u64 = 8;

/// Sends batches after `acknowledged` until the aggregator is gone; the last number acknowledged.
async fn pour(mut inspector: Attached) -> u64 {
    let mut sent = inspector.acknowledged;
    let mut acknowledged = inspector.acknowledged;
    loop {
        while sent < acknowledged + AHEAD {
            if inspector.send(batch(sent + 1)).await.is_err() {
                return acknowledged;
            }
            sent += 1;
        }
        match inspector.acknowledgement().await {
            Ok(sequence) => {
                assert!(
                    sequence >= acknowledged && sequence <= sent,
                    "{sequence} of {sent}"
                );
                acknowledged = sequence;
            }
            Err(_) => return acknowledged,
        }
    }
}

/// A number that differs from run to run, below `limit`.
fn any_below(limit: u128) -> u64 {
    u64::try_from(uuid::Uuid::new_v4().as_u128() % limit).expect("the limit is small")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_acknowledged_is_there_after_kill_9_and_nothing_twice() {
    let mut aggregator = Aggregator::builder().start().await;
    let server = format!("http://{}", aggregator.address());
    let mut acknowledged = 0;
    for life in 1..=LIVES {
        let inspector = Attached::open(&server, "invented", 1)
            .await
            .expect("it accepts");
        assert_eq!(inspector.role, InspectorRole::Active, "life {life}");
        assert!(
            inspector.acknowledged >= acknowledged,
            "life {life}: batch {acknowledged} was acknowledged, after the kill only {}",
            inspector.acknowledged
        );
        let pouring = tokio::spawn(pour(inspector));
        let moment = Duration::from_millis(100 + any_below(400));
        tokio::time::sleep(moment).await;
        aggregator.kill9();
        acknowledged = pouring.await.expect("the stream ends with the aggregator");
        aggregator.restart().await;
    }

    let last = Attached::open(&server, "invented", 1)
        .await
        .expect("it accepts")
        .acknowledged;
    assert!(
        last >= acknowledged && last > LIVES,
        "{last} {acknowledged}"
    );
    let tasks = aggregator.tasks("").await.expect("it serves");
    let count = usize::try_from(last * TASKS_PER_BATCH).expect("a small number");
    assert_eq!(tasks.len(), count, "tasks of {last} batches");
    for task in &tasks {
        assert_whole(task);
    }
    let names = aggregator.task_names().await.expect("it serves");
    let [statistics] = names.as_slice() else {
        panic!("one task name was used: {names:?}");
    };
    assert_eq!(statistics.started, last * TASKS_PER_BATCH);
    assert_eq!(statistics.succeeded, last * TASKS_PER_BATCH / 2);
}

/// The task is as its batch told it.
fn assert_whole(task: &Task) {
    let payload = task.payload.as_ref().expect("the full view has a payload");
    let args = payload.args.as_deref().expect("tasks come with arguments");
    let (sequence, number) = args
        .trim_matches(['(', ')'])
        .split_once(", ")
        .map(|(a, b)| (a.parse().unwrap_or(0), b.parse().unwrap_or(0)))
        .expect("two numbers");
    assert_eq!(task.id, task_id(sequence, number));
    assert_eq!(task.name.as_deref(), Some("invented.task"));
    assert_eq!(task.worker.as_deref(), Some(WORKER));
    assert_eq!(task.attempt_count, 1, "{task:?}");
    if number % 2 == 0 {
        assert_eq!(task.state, "SUCCESS", "{task:?}");
        assert!(task.finished, "{task:?}");
        assert_eq!(payload.result, Some(format!("'{sequence}.{number}'")));
    } else {
        assert_eq!(task.state, "STARTED", "{task:?}");
        assert!(!task.finished, "{task:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_inspector_is_folded_at_a_time_and_the_next_takes_over() {
    let aggregator = Aggregator::builder().start().await;
    let server = format!("http://{}", aggregator.address());
    let first = Attached::open(&server, "first", 1)
        .await
        .expect("it accepts");
    let mut second = Attached::open(&server, "second", 1)
        .await
        .expect("it accepts");
    assert_eq!(first.role, InspectorRole::Active);
    assert_eq!(second.role, InspectorRole::Standby);
    drop(first);
    let role = tokio::time::timeout(Duration::from_secs(30), second.next_role());
    let role = role
        .await
        .expect("the takeover comes in time")
        .expect("the stream lives");
    assert_eq!(role, InspectorRole::Active);
    second.send(batch(1)).await.expect("the stream lives");
    assert_eq!(second.acknowledgement().await.expect("the stream lives"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_sent_again_is_acknowledged_again_and_a_hole_is_refused() {
    let aggregator = Aggregator::builder().start().await;
    let server = format!("http://{}", aggregator.address());
    let mut inspector = Attached::open(&server, "invented", 1)
        .await
        .expect("it accepts");
    for sequence in [1, 2, 1, 2] {
        inspector
            .send(batch(sequence))
            .await
            .expect("the stream lives");
        let answer = inspector.acknowledgement().await;
        let acknowledged = answer.unwrap_or_else(|error| panic!("batch {sequence}: {error:#}"));
        assert!(acknowledged >= sequence, "{acknowledged} after {sequence}");
    }
    let names = aggregator.task_names().await.expect("it serves");
    assert_eq!(
        names[0].started,
        2 * TASKS_PER_BATCH,
        "nothing is counted twice"
    );
    inspector.send(batch(4)).await.expect("the stream lives");
    let error = inspector
        .acknowledgement()
        .await
        .expect_err("batch 3 is missing");
    let status = error
        .downcast_ref::<tonic::Status>()
        .expect("a gRPC status");
    assert_eq!(status.code(), tonic::Code::FailedPrecondition, "{status:?}");
}
