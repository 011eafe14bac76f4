//! The same at 2,000 tasks a second, which takes simulated workers; they count what they truly did.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use celeriac_tests::paths::Profile;
use celeriac_tests::{Aggregator, Fleet, Redis, eventually, turn};
use nix::sys::signal::Signal;

use crate::scene::{LOAD, SOON, start_built};

const WORKERS: usize = 100;
const TASKS_PER_SECOND: f64 = 2_000.0;

/// Starts by worker, as they truly were.
fn starts(fleet: &Fleet) -> BTreeMap<String, u64> {
    let mut starts: BTreeMap<String, u64> = BTreeMap::new();
    for task in fleet.truth().tasks.values() {
        let own = task.events.iter().filter(|event| **event == "task-started");
        *starts.entry(task.worker.clone()).or_default() += own.count() as u64;
    }
    starts
}

/// By hand: `cargo test --release -p celeriac-tests --test gaps -- --ignored --nocapture`. The product is optimised in any case.
#[tokio::test]
#[ignore = "takes minutes: 2,000 tasks a second, an inspector that stands still for 60 s, with Redis's own limits"]
async fn an_inspector_that_stands_still_for_a_minute_counts_what_it_missed() {
    let _turn = turn().await;
    let redis = Redis::start();
    let aggregator = Aggregator::builder().release().start().await;
    let inspector = start_built(Profile::Release, &redis, &aggregator, &[]);
    let fleet = Fleet::on(&redis.url()).workers(WORKERS).start();
    eventually("all workers have told their counters", SOON, async || {
        let workers = aggregator.workers().await?;
        let told = workers.iter().filter(|worker| worker.processed.is_some());
        ensure!(told.count() == WORKERS, "{} workers", workers.len());
        Ok(())
    })
    .await;
    #[expect(clippy::cast_precision_loss, reason = "a hundred")]
    fleet.work(TASKS_PER_SECOND / WORKERS as f64).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (since, before) = (Instant::now(), starts(&fleet).values().sum::<u64>());
    inspector.process.signal(Signal::SIGSTOP);
    tokio::time::sleep(Duration::from_mins(1)).await;
    let during = starts(&fleet).values().sum::<u64>() - before;
    #[expect(clippy::cast_precision_loss, reason = "a rate to be read by people")]
    let rate = during as f64 / since.elapsed().as_secs_f64();
    inspector.process.signal(Signal::SIGCONT);
    tokio::time::sleep(Duration::from_secs(5)).await;
    fleet.rest().await;
    let check = async || {
        let truth = starts(&fleet);
        let mut missed = 0;
        for worker in aggregator.workers().await? {
            let seen = worker.event_counts.get("task-started").copied();
            let truly = truth[&worker.name]
                .checked_sub(seen.unwrap_or_default())
                .context("more seen than there were")?;
            let reported = worker.missed_starts;
            ensure!(
                reported == Some(truly),
                "reported {reported:?}, truly {truly}: {worker:?}"
            );
            missed += truly;
        }
        Ok::<_, anyhow::Error>(missed)
    };
    let missed = eventually("the missed starts are counted", LOAD, check).await;
    let app = aggregator.app().await.expect("it serves");
    println!(
        "60 s pause: {rate:.0} starts/s during it, {missed} missed of {}; the gaps are {:?}",
        starts(&fleet).values().sum::<u64>(),
        app.gaps
    );
    let counted: u64 = app.gaps.iter().filter_map(|gap| gap.missed_starts).sum();
    assert_eq!(counted, missed);
}
