//! Contents other than JSON: what Celery's own library makes of values, and real workers that speak nothing else.

use std::time::Duration;

use anyhow::ensure;
use base64_simd::STANDARD;
use celeriac_inspector::wire::message::{Frame, Opener};
use celeriac_proto::v1::ListTasksRequest;
use celeriac_tests::{Aggregator, Celery, Redis, eventually, turn};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_mins(1);

/// `tests/app/contents.py` makes the values.
#[test]
fn values_are_what_celerys_own_library_reads() {
    let redis = Redis::start();
    let said = Celery::new("5.7", &redis.url()).run("import contents");
    let mut opener = Opener::default();
    let mut read = 0;
    for line in said.lines() {
        let line: Value = serde_json::from_str(line).expect("the snippet prints JSON");
        let text = |place: usize| line[place].as_str().expect("text").to_owned();
        let frame = Frame::Properties {
            content_type: text(0),
            content_encoding: text(1),
            compression: None,
            ticket: None,
            hostname: None,
            routing_key: None,
            body: STANDARD.decode_to_vec(text(2)).expect("base64"),
        };
        let opened = opener.open(&frame).expect("it is read");
        let ours: Value = serde_json::from_slice(opened.body).expect("JSON");
        let sent = String::from_utf8_lossy(match &frame {
            Frame::Properties { body, .. } => body,
            Frame::Envelope(_) => unreachable!("made above"),
        });
        assert_eq!(ours, line[3], "{} {sent}", text(0));
        read += 1;
    }
    assert_eq!(read, 3 * 400);
}

/// An app whose workers read, write and answer in nothing but `serializer`.
async fn is_seen_and_asked(serializer: &str, tells_its_pool: bool) {
    let _turn = turn().await;
    let redis = Redis::start();
    let celery = Celery::new("5.7", &redis.url()).settings(&json!({
        "task_serializer": serializer, "event_serializer": serializer, "accept_content": [serializer],
    }));
    let aggregator = Aggregator::builder()
        .broker(&redis.url())
        .arg("--control-serializer")
        .arg(serializer);
    let aggregator = aggregator.start().await;
    aggregator.subscribed().await;
    let worker = celery.worker("foreign").pool("threads").start().await;
    celery.run("print([add.delay(n, n).id for n in range(5)])");
    let seen = eventually("the worker is known in full", SOON, async || {
        let seen = aggregator.worker("celery@foreign").await?;
        let inspection = seen.inspection.clone().unwrap_or_default();
        ensure!(
            inspection.pool.is_some() == tells_its_pool
                && inspection.queues_known
                && !inspection.registered.is_empty(),
            "{seen:?}"
        );
        Ok(seen)
    })
    .await;
    let pid = seen.incarnation.as_ref().and_then(|one| one.pid);
    assert_eq!(pid, Some(u64::from(worker.process.pid())));
    assert!(seen.advice.is_empty(), "{:?}", seen.advice);
    let request = ListTasksRequest {
        filter: "state = SUCCESS AND name = \"demo.add\"".to_owned(),
        ..Default::default()
    };
    let tasks = eventually("the tasks are there", SOON, async || {
        let mut client = aggregator.inspection().await?;
        let tasks = client.list_tasks(request.clone()).await?.into_inner().tasks;
        ensure!(tasks.len() == 5, "{tasks:?}");
        Ok(tasks)
    })
    .await;
    for task in &tasks {
        assert_eq!(task.worker.as_deref(), Some("celery@foreign"), "{task:?}");
        assert!(
            task.runtime.is_some() && task.sent_time.is_some(),
            "{task:?}"
        );
    }
    let app = aggregator.app().await.expect("it serves");
    assert!(app.rejections.is_empty(), "{:?}", app.rejections);
}

#[tokio::test]
async fn a_worker_that_speaks_only_msgpack_is_seen_and_asked() {
    is_seen_and_asked("msgpack", true).await;
}

/// Celery's answer to `stats` has a `Counter` in it, which its own YAML refuses to write.
#[tokio::test]
async fn a_worker_that_speaks_only_yaml_is_seen_and_asked() {
    is_seen_and_asked("yaml", false).await;
}
