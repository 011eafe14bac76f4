//! The collector against a broker in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prost::Message as _;
use serde_json::{Value, json};

use super::*;
use crate::collect::observation::GapCause;
use crate::transport::fake::FakeTransport;
use crate::transport::{QueueDepth, TransportError};
use crate::wire::message::Frame;
use crate::wire::pidbox::ControlMessage;

mod orders;
mod rig;

use rig::*;

/// When the events were received.
fn received(seen: &Observation) -> Vec<i64> {
    let events = seen.events.clone().into_slices().into_iter();
    let decoded = events.map(celeriac_proto::v1::Event::decode);
    decoded
        .map(|event| event.expect("an encoded event").received_micros)
        .collect()
}

#[tokio::test]
async fn events_come_out_in_order_and_none_is_lost() {
    let mut rig = rig(Limits::default());
    rig.broker.live(1).await;
    // Beside the waiting: what is observed has to be taken, or nothing more is.
    let broker = rig.broker.clone();
    let delivery = tokio::spawn(async move {
        for number in 0..5_000 {
            let uuid = number.to_string();
            let event = json!([{"type": "task-started", "hostname": "celery@w1", "uuid": uuid}]);
            broker.deliver(message(&event), number).await;
        }
    });
    rig.wait("last event", |seen| {
        received(seen).contains(&4_999).then_some(())
    })
    .await;
    delivery.await.expect("all are delivered");
    let (seen, _) = rig.finish().await;
    let order: Vec<i64> = seen.iter().flat_map(received).collect();
    assert_eq!(order, (0..5_000).collect::<Vec<i64>>());
    assert_eq!(seen.iter().map(|one| one.messages).sum::<u64>(), 5_000);
    let batches = seen.iter().filter(|one| !one.events.is_empty()).count();
    assert!(batches <= 600, "{batches} batches for a stream of 5,000");
    assert!(seen.iter().all(|one| one.events.len() <= 1_000));
}

#[tokio::test]
async fn a_worker_is_looked_at_and_put_together_to_a_snapshot() {
    let mut rig = rig(Limits::default());
    rig.broker.set_subscribers(Some(1));
    rig.broker
        .answer_with(|message| answers(message, &["celery@w1"]));
    rig.broker.live(1).await;
    rig.broker.deliver(heartbeat("celery@w1"), 2).await;
    let pong = rig
        .wait("pong", |seen| {
            seen.snapshots.iter().find(|one| one.pong).cloned()
        })
        .await;
    assert_eq!(pong.hostname, "celery@w1");
    let look = rig
        .wait("first look", |seen| {
            seen.snapshots
                .iter()
                .find(|one| one.stats.is_some())
                .cloned()
        })
        .await;
    assert_eq!(look.hostname, "celery@w1");
    assert_eq!(
        look.stats.and_then(|stats| stats.pool.max_concurrency),
        Some(4)
    );
    assert_eq!(
        look.queues.map(|queues| queues[0].name.clone()),
        Some("mail".into())
    );
    assert_eq!(
        look.active.map(|held| held.tasks[0].id.clone()),
        Some("t-1".into())
    );
    assert_eq!(look.reserved.map(|held| held.total), Some(0));
    assert_eq!(look.registered, Some(vec!["demo.add".into()]));
    assert!(look.scheduled.is_some() && look.configuration_json.is_some());
    assert!(look.asked_micros > 0 && look.received_micros >= look.asked_micros);
    assert_eq!(look.unanswered, Vec::<&str>::new());
    // Its queue is read from now on.
    rig.wait("depth of its queue", |seen| {
        let queues = &seen.depths.as_ref()?.queues;
        queues
            .iter()
            .any(|queue| queue.name == "mail")
            .then_some(())
    })
    .await;
    let published = rig.broker.take_published();
    let methods: Vec<Value> = published
        .iter()
        .map(|message| request(message)["method"].clone())
        .collect();
    let expected = "ping stats active_queues scheduled reserved active registered conf";
    assert_eq!(methods, expected.split(' ').collect::<Vec<_>>());
    for message in &published[1..] {
        assert_eq!(request(message)["destination"], json!(["celery@w1"]));
        assert_eq!(request(message)["reply_to"]["exchange"], "");
    }
    rig.finish().await;
}

#[tokio::test]
async fn who_does_not_answer_is_named() {
    let mut rig = rig(Limits::default());
    rig.broker.set_subscribers(Some(2));
    rig.broker
        .answer_with(|message| answers(message, &["celery@w1"]));
    rig.broker.live(1).await;
    rig.broker.deliver(heartbeat("celery@w1"), 2).await;
    rig.broker.deliver(heartbeat("celery@deaf"), 2).await;
    let deaf = rig
        .wait("deaf worker", |seen| {
            seen.snapshots
                .iter()
                .find(|one| one.hostname == "celery@deaf")
                .cloned()
        })
        .await;
    let expected = "stats active_queues scheduled reserved active registered conf";
    assert_eq!(deaf.unanswered, expected.split(' ').collect::<Vec<_>>());
    assert!(deaf.stats.is_none());
    rig.finish().await;
}

#[tokio::test]
async fn a_loss_is_one_gap_and_a_repair() {
    let mut rig = rig(Limits::default());
    rig.broker.set_subscribers(Some(1));
    rig.broker
        .answer_with(|message| answers(message, &["celery@w1"]));
    rig.broker.live(1_000_000).await;
    rig.broker.deliver(heartbeat("celery@w1"), 2_000_000).await;
    rig.wait("first look", |seen| {
        seen.snapshots
            .iter()
            .any(|one| one.stats.is_some())
            .then_some(())
    })
    .await;
    rig.broker.take_published();
    rig.broker.lose(down(), 5_000_000).await;
    let report = rig
        .wait("report of the loss", |seen| {
            seen.report
                .clone()
                .filter(|one| one.since_micros == 5_000_000)
        })
        .await;
    assert!(!report.live);
    let reason = report.unreachable_reason.expect("it says why");
    assert_eq!(reason, "cannot reach fake: switched off");
    let open = rig
        .wait("the open gap", |seen| seen.gaps.first().cloned())
        .await;
    assert_eq!(open.cause, GapCause::Reconnect);
    assert_eq!((open.start_micros, open.end_micros), (2_000_000, None));
    rig.broker.live(9_000_000).await;
    let gap = rig
        .wait("its end", |seen| {
            let ended = |gap: &&crate::collect::Gap| gap.end_micros.is_some();
            seen.gaps.iter().find(ended).cloned()
        })
        .await;
    assert_eq!(gap.cause, GapCause::Reconnect);
    assert_eq!(
        (gap.start_micros, gap.end_micros),
        (2_000_000, Some(9_000_000))
    );
    rig.wait("repair", |seen| {
        let repaired =
            |one: &&crate::collect::Snapshot| one.active.is_some() && one.stats.is_none();
        seen.snapshots.iter().find(repaired).map(|_| ())
    })
    .await;
    let published = rig.broker.take_published();
    let methods: Vec<Value> = published
        .iter()
        .map(|message| request(message)["method"].clone())
        .collect();
    assert_eq!(methods, ["scheduled", "reserved", "active"]);
    let (seen, _) = rig.finish().await;
    // Told when it began and when it ended.
    assert_eq!(seen.iter().map(|one| one.gaps.len()).sum::<usize>(), 2);
}

/// The first that is read after a pause may tell of the loss, before anything else shows that there was a pause.
#[tokio::test]
async fn a_loss_that_is_read_right_after_a_pause_began_in_it() {
    let mut rig = rig(Limits::default());
    let begun = super::wall_micros();
    rig.broker.live(begun).await;
    rig.broker.deliver(heartbeat("celery@w1"), begun).await;
    rig.wait("the first message", |seen| received(seen).first().copied())
        .await;
    let paused = super::wall_micros();
    // The collector runs on this thread too.
    std::thread::sleep(super::PAUSED_AFTER * 2);
    let resumed = super::wall_micros();
    rig.broker.deliver(heartbeat("celery@w1"), resumed).await;
    rig.broker.lose(down(), resumed).await;
    let gap = rig.wait("the gap", |seen| seen.gaps.first().cloned()).await;
    let second = 1_000_000;
    assert!(
        gap.start_micros <= paused + second,
        "paused at {paused}, resumed at {resumed}: {gap:?}"
    );
    rig.finish().await;
}

#[tokio::test]
async fn what_the_transport_dropped_is_a_counted_gap() {
    let mut rig = rig(Limits::default());
    rig.broker.live(1).await;
    rig.broker
        .push(Incoming::Dropped {
            messages: Some(46),
            from_micros: 3,
            to_micros: 8,
        })
        .await;
    let gap = rig.wait("gap", |seen| seen.gaps.first().cloned()).await;
    assert_eq!(gap.cause, GapCause::Overflow);
    assert_eq!(
        (gap.start_micros, gap.end_micros, gap.dropped_messages),
        (3, Some(8), Some(46))
    );
    rig.finish().await;
}

#[tokio::test]
async fn reports_count_what_was_read_and_what_could_not_be() {
    let mut rig = rig(Limits::default());
    rig.broker.live(1).await;
    let pickle = Frame::Properties {
        content_type: "application/x-python-serialize".into(),
        content_encoding: "binary".into(),
        compression: None,
        ticket: None,
        hostname: None,
        routing_key: None,
        body: b"\x80\x04\x95".to_vec(),
    };
    rig.broker.deliver(pickle, 2).await;
    rig.broker.deliver(heartbeat("celery@w1"), 3).await;
    let report = rig
        .wait("report", |seen| {
            seen.report.clone().filter(|one| one.messages == 2)
        })
        .await;
    assert!(report.live);
    assert_eq!(report.events, 1);
    let rejection = report.rejections.first().expect("pickle was refused");
    assert_eq!(rejection.count, 1);
    assert_eq!(
        rejection.reason,
        "content type application/x-python-serialize is never read"
    );
    assert_eq!(rejection.sample, None);
    let version = rig
        .wait("version", |seen| {
            seen.report.as_ref()?.server_version.clone()
        })
        .await;
    assert_eq!(version, "fake 1");
    rig.finish().await;
}

#[tokio::test]
async fn depths_of_discovered_and_sent_queues_are_read() {
    let mut rig = rig(Limits::default());
    let celery = QueueDepth {
        name: "celery".into(),
        ready: vec![(0, 3), (3, 1)],
        ..QueueDepth::default()
    };
    rig.broker.set_depth(celery.clone());
    rig.broker.set_unacked_total(Some(5));
    rig.broker.live(1).await;
    let sent = json!({"type": "task-sent", "hostname": "gen1@c", "uuid": "u", "queue": "mail"});
    rig.broker.deliver(message(&sent), 2).await;
    let reading = rig
        .wait("both queues", |seen| {
            seen.depths
                .clone()
                .filter(|reading| reading.queues.len() == 2)
        })
        .await;
    assert_eq!(reading.queues[0], celery);
    assert_eq!(reading.queues[1].name, "mail");
    assert_eq!(reading.unacked_total, Some(5));
    rig.finish().await;
}

#[tokio::test]
async fn a_broken_broker_is_tried_again_without_a_storm() {
    let mut rig = rig(Limits::default());
    let tried = Arc::new(AtomicU64::new(0));
    let counter = tried.clone();
    rig.broker.fail_with(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        down()
    });
    rig.broker.live(1).await;
    rig.broker.deliver(heartbeat("celery@w1"), 2).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    // In 500 ms: 25 depths, 10 discoveries, 10 versions and 3 publishes.
    let tries = tried.load(Ordering::Relaxed);
    assert!(
        (10..=60).contains(&tries),
        "{tries} calls of a broken broker"
    );
    rig.broker.set_subscribers(Some(1));
    rig.broker
        .answer_with(|message| answers(message, &["celery@w1"]));
    rig.broker.mend();
    rig.wait("first look", |seen| {
        seen.snapshots
            .iter()
            .any(|one| one.stats.is_some())
            .then_some(())
    })
    .await;
    let pings = rig.broker.take_published();
    let pings = pings
        .iter()
        .filter(|message| request(message)["destination"].is_null());
    assert_eq!(pings.count(), 1, "one ping reached the broker");
    let (_, collector) = rig.finish().await;
    assert!(collector.pinged().is_some());
}

#[tokio::test]
async fn late_replies_are_counted_and_spoil_nothing() {
    let mut rig = rig(Limits::default());
    rig.broker.set_subscribers(Some(1));
    rig.broker.live(1).await;
    rig.broker.deliver(heartbeat("celery@w1"), 2).await;
    rig.wait("silence", |seen| {
        seen.snapshots
            .iter()
            .any(|one| !one.unanswered.is_empty())
            .then_some(())
    })
    .await;
    for message in rig.broker.take_published() {
        for reply in answers(&message, &["celery@w1"]) {
            rig.broker.reply(reply);
        }
    }
    // They are read with the replies of whatever is asked next.
    rig.broker
        .answer_with(|message| answers(message, &["celery@w1"]));
    let online =
        json!({"type": "worker-online", "hostname": "celery@w1", "pid": 8, "processed": 0});
    rig.broker.deliver(message(&online), 3).await;
    rig.wait("second look", |seen| {
        seen.snapshots
            .iter()
            .any(|one| one.stats.is_some())
            .then_some(())
    })
    .await;
    let (_, collector) = rig.finish().await;
    assert_eq!(
        collector.conversations.counts().late,
        8,
        "the ping and seven questions"
    );
}

#[tokio::test]
async fn a_subscription_that_ends_by_itself_is_an_error() {
    struct Ended(FakeTransport);
    impl Transport for Ended {
        fn subscribe(&self, _: CancellationToken) -> Subscription {
            mpsc::channel(1).1.into()
        }
        async fn publish_control(
            &self,
            message: &ControlMessage,
        ) -> Result<crate::transport::Published, TransportError> {
            self.0.publish_control(message).await
        }
        fn reply_queue(&self) -> &str {
            self.0.reply_queue()
        }
        async fn take_replies(&self) -> Result<Vec<Frame>, TransportError> {
            self.0.take_replies().await
        }
        async fn depths(
            &self,
            queues: &[String],
        ) -> Result<crate::transport::DepthReading, TransportError> {
            self.0.depths(queues).await
        }
        async fn results(&self, ids: &[String]) -> Result<Option<Vec<Vec<u8>>>, TransportError> {
            self.0.results(ids).await
        }
        async fn discover_queues(&self) -> Result<Vec<String>, TransportError> {
            self.0.discover_queues().await
        }
        async fn server_version(&self) -> Result<String, TransportError> {
            self.0.server_version().await
        }
        async fn close(&self) {
            self.0.close().await;
        }
    }
    let (out, _observed) = mpsc::channel(16);
    let mut collector = Collector::new(Limits::default(), PACE, None, Metrics::default(), out);
    let ended = collector
        .run(
            &Ended(FakeTransport::new()),
            &mut mpsc::channel(1).1,
            CancellationToken::new(),
        )
        .await;
    assert_eq!(ended, Err(CollectError::SubscriptionEnded));
}
