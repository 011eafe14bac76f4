//! What was missed is counted exactly, whatever took the events away; the workers' own log says what is true.

mod broker;
mod fleet;
mod rabbit;
mod scene;
mod sentinel;

use std::time::{Duration, Instant};

use anyhow::ensure;
use celeriac_proto::v1::{Gap, GapCause};
use celeriac_tests::{Redis, eventually, turn};
use nix::sys::signal::Signal;

use crate::scene::{LOAD, SOON, Scene, start_inspector};

fn cause(gaps: &[Gap]) -> Vec<GapCause> {
    gaps.iter().map(Gap::cause).collect()
}

#[tokio::test]
async fn a_redis_that_restarts_makes_a_gap_in_which_every_missed_start_is_counted() {
    let _turn = turn().await;
    let redis = Redis::builder().persistent().start();
    let mut scene = Scene::start(redis, 2_500, &[]).await;
    let (since, before) = (Instant::now(), scene.done());
    scene.load().await;
    scene.broker.kill();
    eventually("the open gap is shown", SOON, async || {
        let gaps = scene.gaps().await;
        let open = gaps.first().is_some_and(|gap| gap.end_time.is_none());
        ensure!(open && cause(&gaps) == [GapCause::Reconnect], "{gaps:?}");
        Ok(())
    })
    .await;
    scene.broker.restart();
    let rate = scene.worked_off(since, before).await;
    let missed = scene.counted().await;
    let crashed = scene.crashed();
    println!("redis restarted: {rate:.0} tasks/s, missed {missed:?}, crashed {crashed:?}");
    assert!(crashed.len() < missed.len(), "no worker survived");
    let gaps = scene.gaps().await;
    let reconnects = gaps.iter().filter(|gap| gap.cause() == GapCause::Reconnect);
    assert_eq!(reconnects.count(), 1, "{gaps:?}");
    // What a worker itself could not publish, before it was connected again, is a gap beside it.
    let counted: u64 = gaps.iter().filter_map(|gap| gap.missed_starts).sum();
    assert_eq!(counted, missed.values().sum::<u64>(), "{gaps:?}");
    scene.assert_within().await;
    scene.assert_true_or_unknown().await;
}

#[tokio::test]
async fn a_subscription_that_redis_cuts_for_its_backlog_is_a_gap_that_is_counted_exactly() {
    let _turn = turn().await;
    let redis = Redis::start();
    redis.cli(&[
        "CONFIG",
        "SET",
        "client-output-buffer-limit",
        "pubsub 64kb 64kb 1",
    ]);
    let scene = Scene::start(redis, 6_000, &[]).await;
    let (since, before) = (Instant::now(), scene.done());
    scene.load().await;
    assert!(
        scene.is_subscribed(),
        "{:?}",
        scene.broker.cli(&["CLIENT", "LIST"])
    );
    scene.inspector.process.signal(Signal::SIGSTOP);
    eventually("redis has cut the subscription", LOAD, async || {
        ensure!(!scene.is_subscribed(), "it is there");
        Ok(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    scene.inspector.process.signal(Signal::SIGCONT);
    let rate = scene.worked_off(since, before).await;
    let missed = scene.counted().await;
    println!("subscription cut: {rate:.0} tasks/s, missed {missed:?}");
    assert!(missed.values().sum::<u64>() > 0, "the cut lost nothing");
    let gaps = scene.gaps().await;
    let [gap] = gaps.as_slice() else {
        panic!("one gap is told: {gaps:?}");
    };
    assert_eq!(gap.cause(), GapCause::Reconnect);
    assert_eq!(gap.missed_starts, Some(missed.values().sum()));
    scene.assert_within().await;
    scene.assert_true_or_unknown().await;
}

#[tokio::test]
async fn a_pause_in_which_nothing_was_lost_is_no_gap() {
    let _turn = turn().await;
    let scene = Scene::start(Redis::start(), 1_000, &[]).await;
    let (since, before) = (Instant::now(), scene.done());
    scene.load().await;
    scene.inspector.process.signal(Signal::SIGSTOP);
    tokio::time::sleep(Duration::from_secs(4)).await;
    scene.inspector.process.signal(Signal::SIGCONT);
    let rate = scene.worked_off(since, before).await;
    let missed = scene.counted().await;
    println!("short pause: {rate:.0} tasks/s, missed {missed:?}");
    assert_eq!(missed.values().sum::<u64>(), 0);
    assert_eq!(scene.gaps().await, Vec::new());
}

#[tokio::test]
async fn what_nobody_listened_to_is_counted_after_the_restart_of_each() {
    let _turn = turn().await;
    let redis = Redis::start();
    let backend = redis.url();
    let mut scene = Scene::start(redis, 2_500, &["--result-backend", &backend]).await;
    let (since, before) = (Instant::now(), scene.done());
    scene.load().await;
    scene.inspector.process.kill9();
    tokio::time::sleep(Duration::from_secs(3)).await;
    // The aggregator goes too, and takes its account up again.
    scene.aggregator.kill9();
    scene.aggregator.restart().await;
    let results = ["--result-backend", &backend];
    scene.inspector = start_inspector(&scene.broker, &scene.aggregator, &results);
    let rate = scene.worked_off(since, before).await;
    let missed = scene.counted().await;
    println!("nobody attached: {rate:.0} tasks/s, missed {missed:?}");
    assert!(missed.values().sum::<u64>() > 0, "nothing was missed");
    let gaps = scene.gaps().await;
    let [gap] = gaps.as_slice() else {
        panic!("one gap is told: {gaps:?}");
    };
    assert_eq!(gap.cause(), GapCause::Detached);
    assert_eq!(gap.missed_starts, Some(missed.values().sum()));
    scene.assert_within().await;
    scene.assert_true_or_unknown().await;
    // All had been sent before, and the result backend knows how each ended.
    eventually("every task is known to have succeeded", SOON, async || {
        let tasks = scene.aggregator.tasks("state != SUCCESS").await?;
        ensure!(
            tasks.is_empty(),
            "{} are not, such as {:?}",
            tasks.len(),
            tasks[0]
        );
        Ok(())
    })
    .await;
    let tasks = scene.aggregator.tasks("").await.expect("it serves");
    let looked_up = tasks.iter().filter(|task| task.from_result_backend).count();
    println!("{looked_up} of {} from the result backend", tasks.len());
    assert!(looked_up > 0 && tasks.len() == scene.tasks);
}
