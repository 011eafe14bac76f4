//! The same on RabbitMQ, whose queue keeps events while nobody is connected: only a restart of the broker and the queue's
//! bounds lose any.

use std::time::{Duration, Instant};

use anyhow::ensure;
use celeriac_proto::v1::{Gap, GapCause, SubscriptionState};
use celeriac_tests::{eventually, turn};
use nix::sys::signal::Signal;

use crate::broker::Node;
use crate::scene::{LOAD, SOON, Scene};

/// Events that wait for the inspector when the broker goes.
const EVENTS_LOST: i64 = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rabbitmq_that_restarts_makes_a_gap_in_which_every_missed_start_is_counted() {
    let _turn = turn().await;
    let mut scene = Scene::start(Node::start().await, 2_500, &[]).await;
    let (since, before) = (Instant::now(), scene.done());
    scene.load().await;
    scene.inspector.process.signal(Signal::SIGSTOP);
    eventually("events wait for it", LOAD, async || {
        let kept = scene.broker.kept()?;
        ensure!(kept > EVENTS_LOST, "{kept}");
        Ok(())
    })
    .await;
    scene.broker.node.kill();
    scene.inspector.process.signal(Signal::SIGCONT);
    // Whether anything is lost is known when it is back: until then the queue may have kept all.
    eventually("it is shown as away", SOON, async || {
        let inspector = scene.aggregator.app().await?.inspector.unwrap_or_default();
        let away = inspector.subscription() == SubscriptionState::Reconnecting;
        ensure!(away, "{inspector:?}");
        Ok(())
    })
    .await;
    assert_eq!(scene.gaps().await, Vec::new());
    tokio::task::block_in_place(|| scene.broker.node.restart());
    let rate = scene.worked_off(since, before).await;
    let missed = scene.counted().await;
    let crashed = scene.crashed();
    println!("rabbitmq restarted: {rate:.0} tasks/s, missed {missed:?}, crashed {crashed:?}");
    assert!(missed.values().sum::<u64>() > 0, "nothing was missed");
    let gaps = scene.gaps().await;
    let reconnects = gaps.iter().filter(|gap| gap.cause() == GapCause::Reconnect);
    assert_eq!(reconnects.count(), 1, "{gaps:?}");
    let counted: u64 = gaps.iter().filter_map(|gap: &Gap| gap.missed_starts).sum();
    assert_eq!(counted, missed.values().sum::<u64>(), "{gaps:?}");
    scene.assert_within().await;
    scene.assert_true_or_unknown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_a_connection_that_is_closed_nor_a_pause_nor_a_kill_loses_anything_on_rabbitmq() {
    let _turn = turn().await;
    let mut scene = Scene::start(Node::start().await, 2_500, &[]).await;
    let (since, before) = (Instant::now(), scene.done());
    scene.load().await;
    let closed = eventually("its connections are closed", SOON, async || {
        let closed = scene.broker.close_inspector()?;
        ensure!(closed > 0, "none is known yet");
        Ok(closed)
    })
    .await;
    scene.aggregator.subscribed().await;
    scene.inspector.process.signal(Signal::SIGSTOP);
    tokio::time::sleep(Duration::from_secs(4)).await;
    scene.inspector.process.signal(Signal::SIGCONT);
    scene.inspector.process.kill9();
    tokio::time::sleep(Duration::from_secs(2)).await;
    scene.inspector = crate::scene::start_inspector(&scene.broker, &scene.aggregator, &[]);
    let rate = scene.worked_off(since, before).await;
    let missed = scene.counted().await;
    println!("{closed} connections closed, paused, killed: {rate:.0} tasks/s, missed {missed:?}");
    assert_eq!(missed.values().sum::<u64>(), 0);
    assert_eq!(scene.gaps().await, Vec::new());
    scene.assert_true_or_unknown().await;
}
