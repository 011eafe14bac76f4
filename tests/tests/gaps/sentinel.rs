//! A failover behind Sentinels while 2,000 tasks run.

use std::time::{Duration, Instant};

use anyhow::ensure;
use celeriac_proto::v1::{Gap, GapCause};
use celeriac_tests::{eventually, turn};

use crate::broker::Guarded;
use crate::scene::{SOON, Scene};

const TASKS: usize = 2_000;
/// From the election of a new master to a subscription there, on a busy machine.
const RECONNECTED_WITHIN: Duration = Duration::from_secs(15);

#[tokio::test]
async fn a_failover_under_2000_tasks_is_followed_and_every_missed_start_is_counted() {
    let _turn = turn().await;
    let mut scene = Scene::start(Guarded::start().await, TASKS, &[]).await;
    let (since, before) = (Instant::now(), scene.done());
    scene.load().await;
    let old = scene.broker.leads().expect("a Sentinel answers");
    scene.broker.master.kill();
    let killed = Instant::now();
    let (elected, first) = eventually("another is elected", SOON, async || {
        let now = scene.broker.leads()?;
        ensure!(now != old, "{now} leads");
        Ok((Instant::now(), scene.done()))
    })
    .await;
    scene.aggregator.subscribed().await;
    let (election, reconnect) = (elected - killed, elected.elapsed());
    assert!(reconnect < RECONNECTED_WITHIN, "{reconnect:?}");
    assert!(first < TASKS, "all were done before");

    let rate = scene.worked_off(since, before).await;
    let missed = scene.counted().await;
    let (crashed, truth) = (scene.crashed(), scene.truth());
    println!(
        "failover: {rate:.0} tasks/s, elected after {election:.1?}, subscribed {reconnect:.1?} later; {} of {TASKS} began, missed \
         {missed:?}, crashed {crashed:?}",
        truth.len()
    );
    assert!(crashed.len() < missed.len(), "no worker survived");
    let gaps = scene.gaps().await;
    let reconnects = gaps.iter().filter(|gap| gap.cause() == GapCause::Reconnect);
    assert!(reconnects.count() >= 1, "{gaps:?}");
    let counted: u64 = gaps.iter().filter_map(|gap: &Gap| gap.missed_starts).sum();
    assert_eq!(counted, missed.values().sum::<u64>(), "{gaps:?}");
    scene.assert_within().await;
    scene.assert_true_or_unknown().await;
    scene.assert_begun_truly().await;
}
