//! The cases. Each is one promise of the trait; `contract!` makes the tests of one back end of all of them.

use std::time::Duration;

use celeriac_inspector::transport::{Incoming, Transport, TransportError};
use celeriac_inspector::wire::message::Opener;
use celeriac_tests::eventually;
use tokio_util::sync::CancellationToken;

use super::backend::{Backend, SOON, body, live, message, next, ping};

/// The events that Celery sent over RabbitMQ.
const RECORDED: &str = include_str!("../../fixtures/amqp-events.jsonl");

/// Recorded events that one case sends: every kind is among the first.
const EVENTS: usize = 300;

pub(crate) async fn events_arrive_whole_and_in_order<B: Backend>() {
    let broker = B::start().await;
    let transport = broker.transport().await;
    let (mut incoming, _stop) = live(&transport).await;
    for line in RECORDED.lines().take(EVENTS) {
        let line: serde_json::Value = serde_json::from_str(line).expect("a fixture is JSON lines");
        let text = |field: &str| line[field].as_str().expect("events are text").to_owned();
        broker.send_event(&text("routing_key"), &text("body")).await;
        assert_eq!(message(&mut incoming).await, text("body"));
    }
}

pub(crate) async fn a_loss_is_told_once_for_each_reason_and_then_life<B: Backend>() {
    let broker = B::start().await;
    let transport = broker.transport().await;
    let (mut incoming, _stop) = live(&transport).await;
    broker.send_event("task.sent", "[1]").await;
    assert_eq!(message(&mut incoming).await, "[1]");
    broker.part().await;
    let mut reasons = Vec::new();
    let first = next(&mut incoming).await;
    let Incoming::Lost { error, .. } = first else {
        panic!("instead of a loss came {first:?}");
    };
    reasons.push(error.to_string());
    tokio::time::sleep(Duration::from_millis(800)).await;
    broker.mend().await;
    loop {
        match next(&mut incoming).await {
            Incoming::Lost { error, .. } => {
                let reason = error.to_string();
                assert_ne!(reasons.last(), Some(&reason), "the same reason again");
                reasons.push(reason);
            }
            Incoming::Live { .. } => break,
            other => panic!("instead of life came {other:?}"),
        }
    }
    broker.send_event("task.sent", "[2]").await;
    let mut last = message(&mut incoming).await;
    // What was settled may not have been acknowledged yet.
    while last == "[1]" {
        last = message(&mut incoming).await;
    }
    assert_eq!(last, "[2]");
}

pub(crate) async fn a_start_before_the_broker_is_a_loss_and_then_life<B: Backend>() {
    let broker = B::start().await;
    broker.part().await;
    let transport = broker.transport().await;
    let mut incoming = transport.subscribe(CancellationToken::new());
    assert!(matches!(next(&mut incoming).await, Incoming::Lost { .. }));
    transport
        .depths(&["celery".to_owned()])
        .await
        .expect_err("nobody is there");
    broker.mend().await;
    while let Incoming::Lost { .. } = next(&mut incoming).await {}
    broker.send_event("task.sent", "[1]").await;
    assert_eq!(message(&mut incoming).await, "[1]");
    transport
        .depths(&[])
        .await
        .expect("a call after a failed one makes a connection");
}

pub(crate) async fn a_subscription_ends_when_it_is_told_to_and_when_nobody_reads_it<B: Backend>() {
    let broker = B::start().await;
    let transport = broker.transport().await;
    let (mut incoming, stop) = live(&transport).await;
    stop.cancel();
    let end = tokio::time::timeout(SOON, incoming.recv());
    assert!(end.await.expect("it ends").is_none());
    transport.close().await;
    drop(incoming);

    let transport = broker.transport().await;
    let (incoming, _stop) = live(&transport).await;
    drop(incoming);
    transport.close().await;
    // A subscription that were still there would have to be waited for, or be left.
    let transport = broker.transport().await;
    let (_incoming, _stop) = live(&transport).await;
}

pub(crate) async fn a_request_reaches_workers_and_replies_come_in_order<B: Backend>() {
    let broker = B::start().await;
    let transport = broker.transport().await;
    broker.listen().await;
    let request = ping(transport.reply_queue());
    let published = transport.publish_control(&request).await;
    let published = published.expect("the broker takes it");
    assert_ne!(published.subscribers, Some(0), "a worker listens");
    assert_eq!(broker.heard().await.as_bytes(), request.body);
    let mut expected = Vec::new();
    for number in 0..5 {
        let answer = format!(r#"{{"celery@w{number}": {{"ok": "pong"}}}}"#);
        broker.answer(transport.reply_queue(), "t-1", &answer).await;
        expected.push(answer);
    }
    let mut frames = Vec::new();
    eventually("five replies", SOON, async || {
        let more = transport.take_replies().await;
        frames.extend(more.map_err(|error| error.to_string())?);
        if frames.len() < 5 {
            return Err(format!("{frames:?}"));
        }
        Ok(())
    })
    .await;
    let mut opener = Opener::default();
    for (frame, expected) in frames.iter().zip(expected) {
        let opened = opener.open(frame).expect("replies can be read");
        assert_eq!(opened.ticket.as_deref(), Some("t-1"));
        assert_eq!(body(frame), expected);
    }
    let again = transport.take_replies().await.expect("the broker is there");
    assert!(again.is_empty(), "{again:?}");
}

pub(crate) async fn a_request_that_no_worker_hears_is_published_all_the_same<B: Backend>() {
    let broker = B::start().await;
    let transport = broker.transport().await;
    let published = transport
        .publish_control(&ping(transport.reply_queue()))
        .await;
    let published = published.expect("nobody has to listen");
    assert_eq!(published.subscribers, Some(0));
}

pub(crate) async fn requests_go_out_again_after_a_loss<B: Backend>() {
    let broker = B::start().await;
    let transport = broker.transport().await;
    broker.listen().await;
    let request = ping(transport.reply_queue());
    let first = transport.publish_control(&request).await;
    first.expect("the broker takes it");
    assert_eq!(broker.heard().await.as_bytes(), request.body);
    broker.part().await;
    let refused = transport.publish_control(&request).await;
    refused.expect_err("nobody is there");
    broker.mend().await;
    eventually("a request goes out", SOON, async || {
        transport.publish_control(&request).await.map(drop)
    })
    .await;
    assert_eq!(broker.heard().await.as_bytes(), request.body);
    broker
        .answer(transport.reply_queue(), "t-1", "{\"celery@w\": null}")
        .await;
    eventually("its reply", SOON, async || {
        let frames = transport.take_replies().await;
        match frames.map_err(|error| error.to_string())?.as_slice() {
            [one] => {
                assert_eq!(body(one), "{\"celery@w\": null}");
                Ok(())
            }
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

pub(crate) async fn depths_are_the_brokers_own_and_change_nothing<B: Backend>() {
    let broker = B::start().await;
    let transport = broker.transport().await;
    broker.fill("celery", 7).await;
    broker.fill("mail", 1).await;
    let names = ["mail", "nowhere", "celery"].map(str::to_owned);
    for _ in 0..2 {
        let reading = transport.depths(&names).await.expect("the broker answers");
        let ready = |name: &str| {
            let queue = reading.queues.iter().find(|queue| queue.name == name);
            queue.map(|queue| queue.ready.iter().map(|(_, count)| count).sum::<u64>())
        };
        assert_eq!(ready("celery"), Some(7), "{reading:?}");
        assert_eq!(ready("mail"), Some(1), "{reading:?}");
        // Redis has no queue that is not there.
        assert_eq!(ready("nowhere").unwrap_or_default(), 0, "{reading:?}");
        assert!(reading.read_micros > 0);
        let order: Vec<&str> = reading.queues.iter().map(|one| one.name.as_str()).collect();
        assert!(order.first() == Some(&"mail") && order.last() == Some(&"celery"));
    }
}

pub(crate) async fn a_wrong_password_is_said_and_not_shown<B: Backend>() {
    let broker = B::start().await;
    let Some((transport, secret)) = broker.stranger() else {
        return; // the broker in memory knows no users
    };
    let mut incoming = transport.subscribe(CancellationToken::new());
    let Incoming::Lost { error: lost, .. } = next(&mut incoming).await else {
        panic!("a stranger is let in");
    };
    let asked = transport.depths(&["celery".to_owned()]).await;
    let asked = asked.expect_err("a stranger is let in");
    for error in [lost, asked] {
        assert!(
            matches!(error, TransportError::Credentials { .. }),
            "{error:?}"
        );
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(secret), "{shown}");
    }
}

pub(crate) async fn nothing_is_left_behind<B: Backend>() {
    let broker = B::start().await;
    let transport = broker.transport().await;
    let (incoming, stop) = live(&transport).await;
    broker.listen().await;
    transport
        .publish_control(&ping(transport.reply_queue()))
        .await
        .expect("the broker takes it");
    broker.heard().await;
    stop.cancel();
    drop(incoming);
    transport.close().await;
    eventually("nothing is left", SOON, async || {
        let left = broker.left().await;
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    })
    .await;
}

/// The tests of one back end.
macro_rules! contract {
    ($backend:ty) => {
        contract!($backend,
            events_arrive_whole_and_in_order,
            a_loss_is_told_once_for_each_reason_and_then_life,
            a_start_before_the_broker_is_a_loss_and_then_life,
            a_subscription_ends_when_it_is_told_to_and_when_nobody_reads_it,
            a_request_reaches_workers_and_replies_come_in_order,
            a_request_that_no_worker_hears_is_published_all_the_same,
            requests_go_out_again_after_a_loss,
            depths_are_the_brokers_own_and_change_nothing,
            a_wrong_password_is_said_and_not_shown,
            nothing_is_left_behind,
        );
    };
    ($backend:ty, $($case:ident,)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::cases::$case::<$backend>().await;
            }
        )+
    };
}
pub(crate) use contract;
