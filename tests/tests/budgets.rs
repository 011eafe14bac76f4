//! Budgets of the release binaries: memory when idle, time to start, size.

use std::time::{Duration, Instant};

use celeriac_tests::paths::{Profile, binary};
use celeriac_tests::wait::turn_blocking;
use celeriac_tests::{Aggregator, Celery, Redis, eventually, redis, turn};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;
const IDLE_BYTES_MAX: u64 = 25 * MIB;
const BINARY_BYTES_MAX: u64 = 15 * MIB;
const START_MAX: Duration = Duration::from_millis(200);
/// A start is measured this often and the best is taken: the budget is about the program, not about its neighbours.
const STARTS: usize = 5;

#[tokio::test]
async fn idle_with_an_in_process_inspector_it_stays_within_its_memory() {
    let _turn = turn().await;
    let redis = Redis::start();
    let _worker = Celery::new("5.7", &redis.url())
        .worker("idle")
        .start()
        .await;
    let aggregator = Aggregator::builder()
        .release()
        .broker(&redis.url())
        .start()
        .await;
    aggregator.subscribed().await;
    eventually(
        "the worker has answered",
        Duration::from_secs(30),
        async || {
            let worker = aggregator.worker("celery@idle").await?;
            anyhow::ensure!(worker.inspection.is_some(), "not yet");
            Ok(())
        },
    )
    .await;
    let bytes = aggregator.process.resident_bytes();
    println!("idle: {} KiB", bytes / 1024);
    assert!(bytes <= IDLE_BYTES_MAX, "{bytes} bytes resident");
}

#[test]
fn it_serves_soon_after_its_start() {
    let _turn = turn_blocking();
    let redis = Redis::start();
    // Built before the clock runs.
    binary(Profile::Release, "celeriac-aggregator");
    let best = (0..STARTS)
        .map(|_| start_once(&redis))
        .min()
        .expect("some starts");
    println!("start: {} ms", best.as_millis());
    assert!(best <= START_MAX, "{best:?}");
}

/// The time from the start of the process until its port answers.
fn start_once(redis: &Redis) -> Duration {
    let data = TempDir::new().expect("the temporary folder is writable");
    let address = redis::free_address();
    let builder = Aggregator::builder().release().broker(&redis.url());
    let begin = Instant::now();
    let _process = builder.launch(address, data.path());
    while celeriac_tests::product::http_get(address, "/livez").is_err() {
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "it does not start"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    begin.elapsed()
}

#[test]
fn binaries_are_small() {
    for name in [
        "celeriac-aggregator",
        "celeriac-inspector",
        "celeriac-operator",
        "celeriac",
    ] {
        let whole = binary(Profile::Release, name);
        let folder = TempDir::new().unwrap();
        let stripped = folder.path().join(name);
        let status = std::process::Command::new("strip")
            .arg("-o")
            .args([&stripped, &whole])
            .status()
            .expect("strip comes with the C compiler");
        assert!(status.success());
        let bytes = stripped.metadata().unwrap().len();
        println!("{name}: {} KiB stripped", bytes / 1024);
        assert!(bytes <= BINARY_BYTES_MAX, "{name} has {bytes} bytes");
    }
}
