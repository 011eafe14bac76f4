//! An aggregator that is started while tasks run: their first events, with name and arguments, were sent before. The
//! workers' answers fill them in.

use std::fs::File;

use anyhow::{Context as _, ensure};
use celeriac_proto::v1::Task;
use celeriac_tests::paths::{self, Profile};
use celeriac_tests::{Aggregator, Broker, BrokerKind, Celery, eventually, turn};
use tempfile::TempDir;

use super::SOON;

/// The task whose first argument is this.
async fn held(aggregator: &Aggregator, argument: u32) -> anyhow::Result<Task> {
    let known = aggregator.tasks("").await?;
    let of_answer = format!("[{argument}]");
    let found = known.iter().find(|task| {
        let payload = task.payload.as_ref();
        payload.and_then(|payload| payload.args.as_ref()) == Some(&of_answer)
    });
    found
        .cloned()
        .with_context(|| format!("no task has the argument {argument}: {known:?}"))
}

async fn check(version: &str, kind: BrokerKind) {
    let folder = TempDir::new().expect("the temporary folder is writable");
    let truth = folder.path().join("truth");
    let broker = Broker::start(kind).await;
    let celery = Celery::new(version, &broker.url())
        .env("DEMO_BACKEND", &broker.results())
        .truth(&truth);
    let _worker = celery.worker("early").concurrency(2).start().await;
    // Two run, a third is reserved, and the fourth is for later.
    celery.run(
        "import time\n\
         [hold.delay(n) for n in (1001, 1002, 1003)]\n\
         hold.apply_async((1004,), countdown=3600)\n\
         inspect = app.control.inspect(timeout=5)\n\
         def held():\n    \
             return [sum(map(len, (ask() or {}).values())) for ask in (inspect.active, inspect.reserved, inspect.scheduled)]\n\
         end = time.time() + 30\n\
         while held() != [2, 1, 1]:\n    \
             assert time.time() < end, held()\n    \
             time.sleep(0.2)\n",
    );

    let aggregator = super::aggregator(&broker).await;
    for (argument, state) in [
        (1001, "STARTED"),
        (1002, "STARTED"),
        (1003, "RECEIVED"),
        (1004, "RECEIVED"),
    ] {
        eventually("it is known by name", SOON, async || {
            let task = held(&aggregator, argument).await?;
            ensure!(task.name.as_deref() == Some("demo.hold"), "{task:?}");
            ensure!(task.worker.as_deref() == Some("celery@early"), "{task:?}");
            ensure!(task.queue.as_deref() == Some("celery"), "{task:?}");
            ensure!(task.state == state, "{task:?}");
            ensure!(
                task.started_time.is_some() == (state == "STARTED"),
                "{task:?}"
            );
            ensure!(task.eta.is_some() == (argument == 1004), "{task:?}");
            Ok(())
        })
        .await;
    }
    // The events of its end, and of the start of the next, tell neither name nor arguments.
    let first = held(&aggregator, 1001).await.expect("it was there");
    File::create(format!("{}.{}", truth.display(), first.id)).expect("the folder is writable");
    let (first, next) = eventually("one ends and the next begins", SOON, async || {
        let first = held(&aggregator, 1001).await?;
        ensure!(first.finished, "{first:?}");
        let next = held(&aggregator, 1003).await?;
        ensure!(next.state == "STARTED", "{next:?}");
        Ok((first, next))
    })
    .await;
    assert_eq!((first.state.as_str(), first.lost), ("SUCCESS", false));
    for task in [&first, &next] {
        assert_eq!(task.name.as_deref(), Some("demo.hold"), "{task:?}");
    }
    let known = aggregator.tasks("").await.expect("it serves");
    assert_eq!(known.len(), 4, "each is one row: {known:?}");
    let statistics = aggregator.task_names().await.expect("it serves");
    let counted = statistics.iter().find(|name| name.name == "demo.hold");
    let counted = counted.expect("events of it came");
    assert_eq!(
        (counted.received, counted.started, counted.succeeded),
        (0, 1, 1),
        "of events alone"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_that_began_before_are_named_by_the_workers_answers() {
    let _turn = turn().await;
    // Not while workers wait.
    paths::binary(Profile::Debug, "celeriac-aggregator");
    tokio::join!(
        check("5.7", BrokerKind::Redis),
        check("5.4", BrokerKind::Redis),
        check("5.7", BrokerKind::RabbitMq),
    );
}
