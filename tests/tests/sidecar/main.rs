//! The sidecar beside a real worker: what its probes say in each state, and what a drain does; on Redis and RabbitMQ, with
//! an aggregator that tells of the worker and without one.

mod crowd;
mod scene;
mod stall;
mod warm;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use celeriac_tests::{Aggregator, Celery, RabbitMq, Redis, Worker, eventually, turn};
use scene::{SOON, Sidecar, TOKEN, ends, lines};
use tempfile::TempDir;

#[tokio::test(flavor = "multi_thread")]
async fn it_is_ready_with_the_first_consume_and_a_worker_that_takes_nothing_is_found() {
    let _turn = turn().await;
    let redis = Redis::start();
    let celery = Celery::new("5.7", &redis.url());
    let aggregator = Aggregator::builder()
        .broker(&redis.url())
        .arg("--round=5s")
        .start()
        .await;
    aggregator.subscribed().await;
    let url = format!("http://{}", aggregator.address());
    let sidecar = Sidecar::start(
        &redis.url(),
        "celery@w1",
        &["--aggregator", &url, "--stalled-after=4s"],
    )
    .await;
    let (status, reason) = sidecar.get("/readyz");
    assert_eq!(
        (status, reason.as_str()),
        (503, "the worker was not seen to consume yet\n")
    );
    assert_eq!(sidecar.get("/livez").0, 200);

    let worker = celery.worker("w1").start().await;
    sidecar.ready().await;
    eventually("the aggregator tells of it", SOON, async || {
        sidecar.shows("celeriac_sidecar_followed 1")
    })
    .await;
    let before = lines(&sidecar, "control_requests");

    // Work and rest are no stall.
    celery.run("app.send_task('demo.nap', args=[6]).get(timeout=60)");
    assert_eq!(sidecar.get("/livez").0, 200);
    celery.run(
        "assert app.control.broadcast('demo_deaf', reply=True)\n\
         import time; time.sleep(3)\n\
         app.send_task('demo.add', args=[1, 2])",
    );
    sidecar.finds_a_stall().await;
    // All that was needed was told by the aggregator.
    assert_eq!(lines(&sidecar, "control_requests"), before);
    drop(worker);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_when_the_tasks_have_and_intake_comes_back_if_the_worker_stays() {
    let _turn = turn().await;
    let redis = Redis::start();
    let scene = drains(&redis.url(), "--drain-deadline=16s").await;
    // Two seconds after the deadline it gets its queues back, and with them the message that waits.
    eventually("it consumes again", SOON, async || {
        ends(&scene.truth, "return", 8)
    })
    .await;
    assert!(scene.began.elapsed() > Duration::from_secs(18));
    scene.sidecar.ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_is_the_same_on_rabbitmq_and_reaches_one_worker_only() {
    let _turn = turn().await;
    let host = RabbitMq::host();
    drains(&host.url(), "--drain-deadline=1h").await;
}

/// A worker that was drained, and a message that it leaves.
struct Drained {
    began: Instant,
    truth: PathBuf,
    sidecar: Sidecar,
    #[expect(dead_code, reason = "they end with this")]
    workers: [Worker; 2],
    #[expect(dead_code, reason = "it goes with this")]
    folder: TempDir,
}

/// Without an aggregator.
async fn drains(broker: &str, deadline: &str) -> Drained {
    let folder = TempDir::new().expect("the temporary folder is writable");
    let truth = folder.path().join("truth");
    let celery = Celery::new("5.7", broker)
        .env("DEMO_BACKEND", "cache+memory://")
        .truth(&truth);
    let worker = celery.worker("w1").start().await;
    let other = celery.worker("w2").queues(["other"]).start().await;
    let options = [deadline, "--drain-lease=2s"];
    let sidecar = Sidecar::start(broker, "celery@w1", &options).await;
    sidecar.ready().await;
    for token in [None, Some(""), Some("wrong"), Some(&TOKEN[1..])] {
        assert_eq!(sidecar.drain(token).0, 401, "{token:?}");
    }
    // Two run and the others are prefetched: all of them are the worker's.
    celery.run("for n in range(6): app.send_task('demo.nap', args=[1.5])");
    eventually("they run", SOON, async || ends(&truth, "start", 2)).await;
    let began = Instant::now();
    let (status, words) = sidecar.drained();
    let took = began.elapsed();
    println!("drained six tasks of 1.5 s on two slots in {took:?}: {words}");
    let drained = "drained: it consumes nothing, and holds no task\n";
    assert_eq!((status, words.as_str()), (200, drained));
    ends(&truth, "return", 6).expect("it ends when they have");
    // Again is the same, and at once.
    assert_eq!(sidecar.drained(), (status, words));
    let unready = (503, "the worker is drained\n".to_owned());
    assert_eq!(sidecar.get("/readyz"), unready);
    assert_eq!(sidecar.get("/livez").0, 200);
    celery.run("app.send_task('demo.add', args=[1, 2])");
    // The other worker was not touched.
    celery.run("app.send_task('demo.nap', args=[0], queue='other')");
    eventually("it works on", SOON, async || ends(&truth, "return", 7)).await;
    Drained {
        began,
        truth,
        sidecar,
        workers: [worker, other],
        folder,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_deadline_a_drain_says_what_is_left() {
    let _turn = turn().await;
    let redis = Redis::start();
    let folder = TempDir::new().expect("the temporary folder is writable");
    let truth = folder.path().join("truth");
    let celery = Celery::new("5.7", &redis.url()).truth(&truth);
    // Nobody was ever heard of: there is nothing to wait for.
    let options = ["--drain-deadline=6s", "--drain-lease=1h"];
    let sidecar = Sidecar::start(&redis.url(), "celery@w1", &options).await;
    let (status, words) = sidecar.drained();
    assert_eq!(
        (status, words.as_str()),
        (200, "drained: no worker was ever heard of\n")
    );
    drop(sidecar);

    let mut worker = celery.worker("w1").start().await;
    let options = ["--drain-deadline=6s", "--drain-lease=3s"];
    let sidecar = Sidecar::start(&redis.url(), "celery@w1", &options).await;
    sidecar.ready().await;
    celery.run("app.send_task('demo.hold', args=[600])");
    eventually("it runs", SOON, async || ends(&truth, "start", 1)).await;
    let began = Instant::now();
    let (status, words) = sidecar.drained();
    assert_eq!(
        (status, words.as_str()),
        (504, "deadline: 1 tasks are running, 0 are reserved\n")
    );
    assert!(began.elapsed() >= Duration::from_secs(6));
    // A new process of that name consumes what it was started with, and is ready.
    worker.kill9();
    worker.restart().await;
    sidecar.ready().await;
    celery.run("app.send_task('demo.add', args=[1, 2])");
    eventually("it works", SOON, async || ends(&truth, "return", 1)).await;
}
