//! The same at 2,000 tasks a second, which takes simulated workers; they count what they truly did.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use celeriac_proto::v1::{Gap, Task};
use celeriac_tests::paths::Profile;
use celeriac_tests::{Aggregator, Fleet, Redis, eventually, turn};
use nix::sys::signal::Signal;

use crate::broker::{Broker, Node};
use crate::scene::{LOAD, SOON, is_subscribed, seconds, start_built};

const WORKERS: usize = 100;
const TASKS_PER_SECOND: f64 = 2_000.0;
/// Some time under load: before the pause, once it is cut off, and after the pause.
const UNDER_LOAD: Duration = Duration::from_secs(4);

#[tokio::test]
async fn an_inspector_that_stands_still_at_2000_tasks_a_second_counts_what_it_missed() {
    // Less is kept for it than Redis would, so that it is cut off soon.
    let redis = Redis::builder().config("client-output-buffer-limit pubsub 1mb 1mb 1");
    stand_still(redis.start(), Duration::from_secs(5), is_cut).await;
}

/// By hand: `cargo test -p celeriac-tests --test gaps -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "takes minutes: it stands still for 60 s, with Redis's own limits"]
async fn an_inspector_that_stands_still_for_a_minute_counts_what_it_missed() {
    stand_still(Redis::start(), Duration::from_mins(1), is_cut).await;
}

/// By hand too, since it takes a minute to fill the queue: its bound is the one that the inspector itself sets.
#[tokio::test]
#[ignore = "takes minutes: it stands still for 60 s, and its queue overflows"]
async fn an_inspector_that_stands_still_for_a_minute_on_rabbitmq_counts_what_it_missed() {
    let full = |node: &Node| is_full(node, 200_000);
    stand_still(Node::start().await, Duration::from_mins(1), full).await;
}

fn is_cut(redis: &Redis) -> anyhow::Result<()> {
    ensure!(!is_subscribed(redis), "it is there");
    Ok(())
}

/// Statistics are a second old: by then more have come.
fn is_full(node: &Node, messages: i64) -> anyhow::Result<()> {
    let kept = node.kept()?;
    ensure!(kept >= messages, "{kept} kept");
    Ok(())
}

/// Stops the inspector for this long, and until the broker keeps no more for it, and sees that what is reported is what was
/// missed. The product is optimised in any case: it has to keep up with the fleet but for the pause.
async fn stand_still<B: Broker>(
    broker: B,
    pause: Duration,
    loses: impl Fn(&B) -> anyhow::Result<()>,
) {
    let _turn = turn().await;
    let aggregator = Aggregator::builder().release().start().await;
    let inspector = start_built(Profile::Release, &broker, &aggregator, &[]);
    let fleet = Fleet::on(&broker.url()).workers(WORKERS).start();
    eventually("all workers have told their counters", SOON, async || {
        let workers = aggregator.workers().await?;
        let told = workers.iter().filter(|worker| worker.processed.is_some());
        ensure!(told.count() == WORKERS, "{} workers", workers.len());
        Ok(())
    })
    .await;
    #[expect(clippy::cast_precision_loss, reason = "a hundred")]
    fleet.work(TASKS_PER_SECOND / WORKERS as f64).await;
    tokio::time::sleep(UNDER_LOAD).await;
    let (since, before) = (Instant::now(), started(&fleet));
    inspector.process.signal(Signal::SIGSTOP);
    tokio::time::sleep(pause).await;
    // Sockets keep some megabytes beside: on a busy machine the fleet needs longer to fill them.
    eventually("the broker keeps no more", LOAD, async || loses(&broker)).await;
    tokio::time::sleep(UNDER_LOAD).await;
    #[expect(clippy::cast_precision_loss, reason = "a rate to be read by people")]
    let rate = (started(&fleet) - before) as f64 / since.elapsed().as_secs_f64();
    let pause = since.elapsed();
    inspector.process.signal(Signal::SIGCONT);
    tokio::time::sleep(UNDER_LOAD).await;
    fleet.rest().await;
    let check = async || counted(&fleet, &aggregator).await;
    let missed = eventually("the missed starts are counted", LOAD, check).await;
    let gaps = aggregator.app().await.expect("it serves").gaps;
    println!(
        "{pause:?} of pause: {rate:.0} starts/s in it, {missed} of {} missed; the gaps are {gaps:?}",
        started(&fleet)
    );
    assert!(missed > 0, "the pause lost nothing");
    let in_gaps: u64 = gaps.iter().filter_map(|gap| gap.missed_starts).sum();
    assert_eq!(in_gaps, missed, "{gaps:?}");
    assert_spans(&gaps);
    assert_true_or_unknown(&fleet, &aggregator).await;
    // What was counted once more, with all that came since, is the same.
    assert_eq!(check().await.expect("it stays so"), missed);
}

/// Starts by worker, as they truly were.
fn starts(fleet: &Fleet) -> BTreeMap<String, u64> {
    let mut starts: BTreeMap<String, u64> = BTreeMap::new();
    for task in fleet.truth().tasks.values() {
        let own = task.events.iter().filter(|event| **event == "task-started");
        *starts.entry(task.worker.clone()).or_default() += own.count() as u64;
    }
    starts
}

fn started(fleet: &Fleet) -> u64 {
    starts(fleet).values().sum()
}

/// How many were missed, once of each worker just as many are reported as there truly were.
async fn counted(fleet: &Fleet, aggregator: &Aggregator) -> anyhow::Result<u64> {
    let truth = starts(fleet);
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
    Ok(missed)
}

/// Each gap is over, and says when it was.
fn assert_spans(gaps: &[Gap]) {
    for gap in gaps {
        let [from, to] = [&gap.start_time, &gap.end_time].map(|time| seconds(time.as_ref()));
        assert!(from < to, "{gap:?}");
    }
}

/// Every task that is shown is as it truly is, or says that this is not known and why.
async fn assert_true_or_unknown(fleet: &Fleet, aggregator: &Aggregator) {
    let is_right = |task: &Task| {
        let said = task.unconfirmed || task.outcome_unknown_reason.is_some();
        let truth = fleet.truth();
        let truly = truth.tasks.get(&task.id);
        said || truly.is_some_and(|truly| truly.state == task.state)
    };
    eventually("every task is true or not known", LOAD, async || {
        let tasks = aggregator.tasks("").await?;
        let wrong: Vec<_> = tasks.iter().filter(|task| !is_right(task)).collect();
        let Some(one) = wrong.first() else {
            return Ok(());
        };
        let truly = fleet.truth().tasks.get(&one.id).cloned();
        anyhow::bail!(
            "{} of {} are wrong: {one:?} is {truly:?}",
            wrong.len(),
            tasks.len()
        )
    })
    .await;
}
