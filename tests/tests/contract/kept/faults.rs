//! What happens to a node, to what is on it and to connections: what is kept, and what is said.

use celeriac_inspector::transport::amqp::Keeping;
use celeriac_inspector::transport::{Incoming, Transport, TransportError};
use celeriac_tests::{RabbitMq, eventually};
use serde_json::json;

use super::{QUEUE, kept, lives, unsettled};
use crate::amqp::{Rabbit, Way, transport};
use crate::backend::{Backend, SOON, message, next, ping};

pub(crate) async fn a_queue_deleted_under_us_is_made_anew_and_what_it_held_is_lost<W: Way>() {
    let rabbit = Rabbit::<W>::start().await;
    let transport = rabbit.keeping();
    let (_, mut incoming, _stop) = kept(&transport).await;
    rabbit.host.delete_queue(QUEUE);
    let lost = next(&mut incoming).await;
    let Incoming::Lost { error, .. } = &lost else {
        panic!("instead of a loss came {lost:?}");
    };
    assert!(error.to_string().contains("was deleted"), "{error}");
    assert!(!lives(&mut incoming).await);
    rabbit.send_event("task.sent", "[1]").await;
    assert_eq!(message(&mut incoming).await, "[1]");
}

/// Celery's own clients make an exchange again when they connect, without our binding.
pub(crate) async fn exchanges_deleted_under_us_are_made_anew<W: Way>() {
    let rabbit = Rabbit::<W>::start().await;
    let transport = rabbit.keeping();
    let (_, mut incoming, _stop) = kept(&transport).await;
    let request = ping(transport.reply_queue());
    let exchange = |name: &str| format!("/api/exchanges/{}/{name}", rabbit.host.name());
    let api = rabbit.host.node().api();
    let published = transport.publish_control(&request).await;
    published.expect("the broker takes it");
    for _ in 0..2 {
        let deleted = api.delete(&exchange("celery.pidbox"));
        deleted.expect("it was made");
        let published = transport.publish_control(&request).await;
        assert_eq!(published.expect("it is made again").subscribers, Some(0));
    }

    let deleted = api.delete(&exchange("celeryev"));
    deleted.expect("it was made");
    let topic = json!({"type": "topic", "durable": true});
    api.put(&exchange("celeryev"), &topic)
        .expect("a worker declares it");
    eventually("events come again", SOON, async || {
        rabbit.host.publish("celeryev", "task.sent", "[1]")
    })
    .await;
    assert_eq!(message(&mut incoming).await, "[1]");
}

pub(crate) async fn a_connection_closed_by_an_operator_loses_nothing<W: Way>() {
    let rabbit = Rabbit::<W>::start().await;
    let transport = rabbit.keeping();
    let (_, mut incoming, _stop) = kept(&transport).await;
    eventually("management knows the connection", SOON, async || {
        let closed = rabbit.host.close_connections("celeriac-inspector")?;
        anyhow::ensure!(closed > 0, "none");
        anyhow::Ok(())
    })
    .await;
    let lost = next(&mut incoming).await;
    let Incoming::Lost { error, .. } = &lost else {
        panic!("instead of a loss came {lost:?}");
    };
    assert!(
        error.to_string().contains("closed the connection"),
        "{error}"
    );
    assert!(lives(&mut incoming).await);
}

pub(crate) async fn a_virtual_host_that_is_deleted_is_named_until_it_is_there_again<W: Way>() {
    let rabbit = Rabbit::<W>::start().await;
    let transport = rabbit.keeping();
    let (_, mut incoming, _stop) = kept(&transport).await;
    rabbit.host.delete().expect("it is there");
    loop {
        match next(&mut incoming).await {
            Incoming::Lost {
                error: TransportError::NoSuchDatabase { reason, .. },
                ..
            } => {
                assert!(reason.contains("not found"), "{reason}");
                break;
            }
            Incoming::Lost { .. } => {}
            other => panic!("instead of a loss came {other:?}"),
        }
    }
    rabbit.host.restore();
    assert!(!lives(&mut incoming).await);
    rabbit.send_event("task.sent", "[1]").await;
    assert_eq!(message(&mut incoming).await, "[1]");
}

pub(crate) async fn alarms_and_closed_channels_only_delay_and_a_restart_loses_what_was_held<
    W: Way,
>() {
    let mut node = tokio::task::spawn_blocking(|| RabbitMq::start(W::KIND))
        .await
        .expect("a node starts");
    let host = node.make_host();
    let url = format!("amqp://guest:guest@{}/{host}", node.address());
    // A channel takes these as they are when it is opened, and looks at them as often as the first says.
    node.ctl(&[
        "eval",
        "application:set_env(rabbit, channel_tick_interval, 500), application:set_env(rabbit, consumer_timeout, 2000).",
    ]);
    let transport = transport(&url, &Keeping::Instance("shop".to_owned()));
    let (_, mut incoming, _stop) = kept(&transport).await;
    sent(&node, &host, "[1]");
    let (text, too_late) = unsettled(&mut incoming).await;
    assert_eq!(text, "[1]");
    let lost = next(&mut incoming).await;
    let Incoming::Lost { error, .. } = &lost else {
        panic!("instead of a loss came {lost:?}");
    };
    assert!(error.to_string().contains("timed out"), "{error}");
    assert!(lives(&mut incoming).await, "nothing was missed");
    too_late.settle();
    let (text, again) = unsettled(&mut incoming).await;
    assert_eq!(text, "[1]");
    again.settle();

    node.ctl(&["set_vm_memory_high_watermark", "0.00001"]);
    let request = ping(transport.reply_queue());
    eventually("publishing is refused", SOON, async || {
        match transport.publish_control(&request).await {
            Err(TransportError::Unable { reason, .. }) => {
                assert!(reason.contains("memory"), "{reason}");
                Ok(())
            }
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    node.ctl(&["set_vm_memory_high_watermark", "0.6"]);
    eventually("publishing works again", SOON, async || {
        transport.publish_control(&request).await.map(drop)
    })
    .await;

    let node = tokio::task::spawn_blocking(move || {
        node.restart();
        node
    });
    let _node = node.await.expect("it starts again");
    assert!(matches!(next(&mut incoming).await, Incoming::Lost { .. }));
    let kept = loop {
        match next(&mut incoming).await {
            Incoming::Live { kept, .. } => break kept,
            Incoming::Lost { .. } => {}
            other => panic!("instead of life came {other:?}"),
        }
    };
    assert!(!kept, "events are transient messages");
}

/// A worker sends an event to a node of the test's own.
fn sent(node: &RabbitMq, host: &str, body: &str) {
    let message = json!({
        "properties": {"content_type": "application/json", "content_encoding": "utf-8"},
        "routing_key": "task.sent", "payload": body, "payload_encoding": "string",
    });
    let path = format!("/api/exchanges/{host}/celeryev/publish");
    let answer = node.api().post(&path, &message);
    assert_eq!(answer.expect("the node takes it")["routed"], true);
}
