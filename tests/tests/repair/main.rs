//! What no event tells is found out by asking the worker.

use std::time::Duration;

use anyhow::ensure;
use celeriac_proto::v1::EventsMode;
use celeriac_tests::{Aggregator, Broker, BrokerKind, Celery, eventually, turn};

mod gap;
mod late_joiner;

/// How often workers are asked here; the default of a minute would make the test last several.
const ROUND: &str = "5s";
const SOON: Duration = Duration::from_mins(1);

async fn aggregator(broker: &Broker) -> Aggregator {
    let aggregator = Aggregator::builder()
        .broker(&broker.url())
        .arg("--round")
        .arg(ROUND);
    let aggregator = aggregator.start().await;
    aggregator.subscribed().await;
    aggregator
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_its_worker_no_longer_has_is_over_and_its_outcome_is_unknown() {
    let _turn = turn().await;
    tokio::join!(ignored(BrokerKind::Redis), ignored(BrokerKind::RabbitMq));
}

async fn ignored(kind: BrokerKind) {
    let broker = Broker::start(kind).await;
    let celery = Celery::new("5.7", &broker.url()).env("DEMO_BACKEND", &broker.results());
    let aggregator = aggregator(&broker).await;
    let _worker = celery.worker("silent").concurrency(4).start().await;
    // `Ignore` sends no final event; the nap keeps its worker's list from being empty.
    celery.run("nap.delay(300)\n[ignore.delay() for _ in range(30)]");
    eventually("all ignored tasks are over", SOON, async || {
        let known = aggregator.tasks("name = \"demo.ignore\"").await?;
        let open: Vec<_> = known.iter().filter(|task| !task.outcome_unknown).collect();
        ensure!(known.len() == 30, "{} are known", known.len());
        ensure!(
            open.is_empty(),
            "{} are open, such as {:?}",
            open.len(),
            open[0]
        );
        Ok(())
    })
    .await;
    let naps = aggregator
        .tasks("name = \"demo.nap\"")
        .await
        .expect("it serves");
    let [nap] = naps.as_slice() else {
        panic!("one nap was sent: {naps:?}");
    };
    assert_eq!(nap.state, "STARTED");
    assert!(
        !nap.outcome_unknown && !nap.lost && !nap.finished,
        "{nap:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_without_events_is_shown_with_what_it_says_when_asked() {
    let _turn = turn().await;
    tokio::join!(quiet(BrokerKind::Redis), quiet(BrokerKind::RabbitMq));
}

async fn quiet(kind: BrokerKind) {
    let broker = Broker::start(kind).await;
    let celery = Celery::new("5.7", &broker.url()).env("DEMO_BACKEND", &broker.results());
    let aggregator = aggregator(&broker).await;
    let _worker = celery.worker("quiet").events(false).start().await;
    celery.run("nap.delay(300)");
    let _load =
        celery.start("import time\nfor n in range(600):\n    add.delay(n, n)\n    time.sleep(0.1)");
    let worker = eventually("it is known to send no events", SOON, async || {
        let worker = aggregator.worker("celery@quiet").await?;
        ensure!(worker.events() == EventsMode::Off, "{worker:?}");
        // Of the first answers some may be from before it began.
        let active = worker.inspection.as_ref().and_then(|told| told.active);
        ensure!(active >= Some(1), "{:?}", worker.inspection);
        ensure!(!worker.advice.is_empty(), "no advice");
        Ok(worker)
    })
    .await;
    let advice = format!("{:?}", worker.advice);
    assert!(
        advice.contains("worker_send_task_events") || advice.contains("-E"),
        "{advice}"
    );
    let inspection = worker.inspection.expect("it was there");
    assert_eq!(inspection.pool.as_deref(), Some("prefork"));
    assert_eq!(inspection.slots, Some(2));
    let queues: Vec<_> = inspection
        .queues
        .iter()
        .map(|queue| queue.name.as_str())
        .collect();
    assert_eq!(queues, ["celery", "fork"]);

    // Where the task is, is known from the worker's answer alone.
    eventually("the running task is placed", SOON, async || {
        let naps = aggregator.tasks("name = \"demo.nap\"").await?;
        let workers: Vec<_> = naps.iter().map(|task| task.worker.as_deref()).collect();
        ensure!(workers == [Some("celery@quiet")], "{naps:?}");
        Ok(())
    })
    .await;
}
