//! What a broker with queues keeps while nobody is connected, and what is told of it: the part of the contract that is
//! about receipts, and RabbitMQ's own ways to lose a queue.

use celeriac_inspector::transport::amqp::Keeping;
use celeriac_inspector::transport::{Incoming, Receipt, Subscription, Transport, TransportError};
use celeriac_tests::eventually;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::amqp::{Rabbit, Way};
use super::backend::{Backend, SOON, body, live, message, next, ping};

pub(crate) mod faults;
pub(crate) mod queues;

const QUEUE: &str = "celeryev.celeriac.shop";

/// Subscribes for the first time or again; whether what was sent in between was kept.
async fn kept<T: Transport>(transport: &T) -> (bool, Subscription, CancellationToken) {
    let stop = CancellationToken::new();
    let mut incoming = transport.subscribe(stop.clone());
    (lives(&mut incoming).await, incoming, stop)
}

/// Waits for life; whether what was sent in between was kept.
async fn lives(incoming: &mut Subscription) -> bool {
    loop {
        match next(incoming).await {
            Incoming::Live { kept, .. } => return kept,
            Incoming::Lost { kept, .. } => assert!(kept, "the broker is asked to keep"),
            other => panic!("instead of life came {other:?}"),
        }
    }
}

async fn unsettled(incoming: &mut Subscription) -> (String, Receipt) {
    match next(incoming).await {
        Incoming::Message {
            frame,
            receipt: Some(receipt),
            ..
        } => (body(&frame), receipt),
        other => panic!("instead of a message with a receipt came {other:?}"),
    }
}

pub(crate) async fn what_is_not_settled_comes_again_and_nothing_else<W: Way>() {
    let rabbit = Rabbit::<W>::start().await;
    let transport = rabbit.keeping();
    let (first, mut incoming, _stop) = kept(&transport).await;
    assert!(!first, "nothing was kept before there was a queue");
    for number in 0..10 {
        rabbit.send_event("task.sent", &format!("[{number}]")).await;
    }
    let mut receipts = Vec::new();
    for number in 0..10 {
        let (text, receipt) = unsettled(&mut incoming).await;
        assert_eq!(text, format!("[{number}]"));
        receipts.push(receipt);
    }
    receipts[3].settle();
    eventually("the broker has forgotten four", SOON, async || {
        let left = rabbit.host.queue(QUEUE)?["messages_unacknowledged"].clone();
        anyhow::ensure!(left == 6, "{left}");
        anyhow::Ok(())
    })
    .await;
    rabbit.part().await;
    rabbit.send_event("task.sent", "[10]").await;
    assert!(matches!(
        next(&mut incoming).await,
        Incoming::Lost { kept: true, .. }
    ));
    rabbit.mend().await;
    assert!(
        lives(&mut incoming).await,
        "the queue was there all the time"
    );
    // A receipt of the connection before is of no use: its message comes again, and has another.
    receipts[9].settle();
    for number in 4..=10 {
        assert_eq!(unsettled(&mut incoming).await.0, format!("[{number}]"));
    }
    eventually("none was forgotten unsettled", SOON, async || {
        let left = rabbit.host.queue(QUEUE)?["messages_unacknowledged"].clone();
        anyhow::ensure!(left == 7, "{left}");
        anyhow::Ok(())
    })
    .await;
}

pub(crate) async fn an_inspector_that_was_away_is_given_what_was_sent_meanwhile<W: Way>() {
    let rabbit = Rabbit::<W>::start().await;
    {
        let transport = rabbit.keeping();
        let (_, mut incoming, stop) = kept(&transport).await;
        rabbit.send_event("task.sent", "[1]").await;
        assert_eq!(message(&mut incoming).await, "[1]");
        stop.cancel();
        transport.close().await;
    }
    rabbit.send_event("task.sent", "[2]").await;
    let transport = rabbit.keeping();
    let (again, mut incoming, _stop) = kept(&transport).await;
    assert!(again, "nothing was missed");
    let (mut text, mut receipt) = unsettled(&mut incoming).await;
    // The end may have come before the acknowledgement.
    if text == "[1]" {
        (text, receipt) = unsettled(&mut incoming).await;
    }
    assert_eq!(text, "[2]");
    receipt.settle();
}

pub(crate) async fn a_second_inspector_of_the_same_name_is_told_so_and_takes_over<W: Way>() {
    let rabbit = Rabbit::<W>::start().await;
    let first = rabbit.keeping();
    let (_, incoming, stop) = kept(&first).await;
    let second = rabbit.keeping();
    let mut waiting = second.subscribe(CancellationToken::new());
    let lost = next(&mut waiting).await;
    let Incoming::Lost { error, .. } = &lost else {
        panic!("instead of a loss came {lost:?}");
    };
    assert!(error.to_string().contains("another --instance"), "{error}");
    stop.cancel();
    drop(incoming);
    assert!(lives(&mut waiting).await);
}

pub(crate) async fn who_may_declare_nothing_is_told_which_right_is_missing_and_still_sees_depths<
    W: Way,
>() {
    let rabbit = Rabbit::<W>::start().await;
    rabbit.fill("celery", 3).await;
    let owner = rabbit.keeping();
    let (_, _incoming, _stop) = kept(&owner).await;
    rabbit.host.add_user("reader", ["^$", "^$", ".*"]);
    let reader = rabbit.transport_of("reader", &Keeping::Instance("other".to_owned()));
    let mut refused = reader.subscribe(CancellationToken::new());
    let lost = next(&mut refused).await;
    let Incoming::Lost {
        error: TransportError::Forbidden { reason, .. },
        ..
    } = &lost
    else {
        panic!("instead of a refusal came {lost:?}");
    };
    assert!(
        reason.contains("configure and write on ^celeryev"),
        "{reason}"
    );
    let reading = reader.depths(&["celery".to_owned()]).await;
    let reading = reading.expect("looking needs no right");
    assert_eq!(reading.queues[0].ready, [(0, 3)]);
    let error = reader.publish_control(&ping(reader.reply_queue())).await;
    let error = error.expect_err("it may not");
    assert!(
        matches!(&error, TransportError::Forbidden { reason, .. } if reason.contains("give the user")),
        "{error:?}"
    );
}

pub(crate) async fn what_is_declared_is_bounded_and_shared_exchanges_are_as_celery_makes_them<
    W: Way,
>() {
    let rabbit = Rabbit::<W>::start().await;
    let transport = rabbit.keeping();
    let (_, incoming, _stop) = kept(&transport).await;
    transport
        .publish_control(&ping(transport.reply_queue()))
        .await
        .expect("it may");
    let queue = rabbit.host.queue(QUEUE).expect("it is there");
    assert_eq!(
        queue["arguments"],
        json!({
            "x-expires": 600_000, "x-message-ttl": 3_600_000, "x-max-length": 200_000,
            "x-single-active-consumer": true, "x-queue-type": "classic",
        })
    );
    assert_eq!(queue["durable"], true);
    let exchange = |name: &str| -> Value {
        let path = format!("/api/exchanges/{}/{name}", rabbit.host.name());
        rabbit.host.node().api().get(&path).expect("it is there")
    };
    for (name, kind, durable) in recorded_exchanges() {
        let made = exchange(&name);
        assert_eq!(made["type"], kind, "{name}");
        assert_eq!(made["durable"], durable, "{name}");
        assert_eq!(made["auto_delete"], false, "{name}");
    }
    // With the queue everything of ours goes.
    assert_eq!(exchange(QUEUE)["auto_delete"], true);
    drop(incoming);
    rabbit.host.delete_queue(QUEUE);
    transport.close().await;
    eventually("only what Celery makes is left", SOON, async || {
        let mut left = rabbit.host.exchanges()?;
        left.extend(rabbit.host.queues()?);
        anyhow::ensure!(left == ["celery.pidbox", "celeryev"], "{left:?}");
        anyhow::Ok(())
    })
    .await;
}

/// The shared exchanges that we use, as Celery's own clients declared them: name, type, durable.
fn recorded_exchanges() -> Vec<(String, Value, Value)> {
    let recorded = include_str!("../../fixtures/amqp-declares.jsonl");
    let declared = recorded.lines().filter_map(|line| {
        let line: Value = serde_json::from_str(line).expect("a fixture is JSON lines");
        let ours = ["celeryev", "celery.pidbox"].contains(&line["args"]["exchange"].as_str()?);
        (ours && line["method"] == "Exchange.Declare").then(|| line["args"].clone())
    });
    let mut exchanges: Vec<(String, Value, Value)> = declared
        .map(|made| {
            let name = made["exchange"].as_str().unwrap_or_default().to_owned();
            (name, made["type"].clone(), made["durable"].clone())
        })
        .collect();
    exchanges.sort_by(|one, other| one.0.cmp(&other.0));
    exchanges.dedup();
    assert_eq!(exchanges.len(), 2, "{exchanges:?}");
    exchanges
}

pub(crate) async fn an_ephemeral_subscription_keeps_nothing_and_leaves_nothing<W: Way>() {
    let rabbit = Rabbit::<W>::start().await;
    let transport = rabbit.transport_of("guest", &Keeping::Ephemeral);
    let (mut incoming, stop) = live(&transport).await;
    rabbit.part().await;
    assert!(matches!(
        next(&mut incoming).await,
        Incoming::Lost { kept: false, .. }
    ));
    rabbit.mend().await;
    loop {
        match next(&mut incoming).await {
            Incoming::Live { kept, .. } => break assert!(!kept),
            Incoming::Lost { .. } => {}
            other => panic!("instead of life came {other:?}"),
        }
    }
    stop.cancel();
    drop(incoming);
    eventually("its queue is gone", SOON, async || {
        let left = rabbit.host.queues()?;
        anyhow::ensure!(left.is_empty(), "{left:?}");
        anyhow::Ok(())
    })
    .await;
}

/// The tests of one way to a node.
macro_rules! keeping {
    ($way:ty) => {
        keeping!($way,
            what_is_not_settled_comes_again_and_nothing_else,
            an_inspector_that_was_away_is_given_what_was_sent_meanwhile,
            a_second_inspector_of_the_same_name_is_told_so_and_takes_over,
            who_may_declare_nothing_is_told_which_right_is_missing_and_still_sees_depths,
            what_is_declared_is_bounded_and_shared_exchanges_are_as_celery_makes_them,
            an_ephemeral_subscription_keeps_nothing_and_leaves_nothing,
        );
        keeping!($way, faults:
            a_queue_deleted_under_us_is_made_anew_and_what_it_held_is_lost,
            exchanges_deleted_under_us_are_made_anew,
            a_connection_closed_by_an_operator_loses_nothing,
            a_virtual_host_that_is_deleted_is_named_until_it_is_there_again,
            alarms_and_closed_channels_only_delay_and_a_restart_loses_what_was_held,
        );
        keeping!($way, queues:
            management_tells_what_is_not_acknowledged_and_which_queues_there_are,
            every_type_of_queue_is_as_the_broker_tells_it,
        );
    };
    ($way:ty, $($case:ident,)+) => {
        $(keeping!(@ $case $way, $crate::kept::$case);)+
    };
    ($way:ty, $module:ident: $($case:ident,)+) => {
        $(keeping!(@ $case $way, $crate::kept::$module::$case);)+
    };
    (@ $case:ident $way:ty, $path:path) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            use $path as case;
            case::<$way>().await;
        }
    };
}
pub(crate) use keeping;
