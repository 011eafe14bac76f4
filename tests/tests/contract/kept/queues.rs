//! Depths of queues of every type, with management and without.

use anyhow::ensure;
use celeriac_inspector::transport::amqp::Keeping;
use celeriac_inspector::transport::{QueueDepth, Transport};
use celeriac_tests::{Celery, eventually};
use serde_json::json;

use super::kept;
use crate::amqp::{Rabbit, Way, managed};
use crate::backend::{Backend, SOON, ping};

/// Messages in each queue, and those of them that a consumer holds.
const MESSAGES: u64 = 7;
const HELD: u64 = 3;

/// Queues with a backlog, and their arguments.
fn types() -> [(&'static str, serde_json::Value); 4] {
    [
        ("classic", json!({})),
        ("lazy", json!({"x-queue-mode": "lazy"})),
        ("priority", json!({"x-max-priority": 10})),
        ("quorum", json!({"x-queue-type": "quorum"})),
    ]
}

/// Holds some messages of each queue, as a worker does whose tasks run.
const HOLD: &str = r"
connection = app.connection_for_read()
for name in NAMES:
    channel = connection.channel()
    channel.basic_qos(0, HELD, False)
    channel.basic_consume(name, callback=lambda message: None)
print('holding')
while True:
    connection.drain_events()
";

pub(crate) async fn management_tells_what_is_not_acknowledged_and_which_queues_there_are<W: Way>() {
    let rabbit = Rabbit::<W>::start().await;
    rabbit.fill("celery", 2).await;
    rabbit.listen().await;
    let management = format!("http://{}", rabbit.host.node().management());
    let transport = managed(&rabbit.host.url(), &management);
    let (_, _incoming, _stop) = kept(&transport).await;
    let names = eventually("management has seen the queue", SOON, async || {
        let names = transport.discover_queues().await;
        let names = names.map_err(|error| error.to_string())?;
        if names.is_empty() {
            Err("none".to_owned())
        } else {
            Ok(names)
        }
    })
    .await;
    assert_eq!(names, ["celery", "worker"], "and none of our own");
    eventually("its numbers are there", SOON, async || {
        let reading = transport.depths(&names).await;
        let reading = reading.map_err(|error| error.to_string())?;
        let celery = reading.queues[0].clone();
        if celery.unacked == Some(0) && reading.unacked_total == Some(0) {
            assert_eq!(celery.ready, [(0, 2)]);
            return Ok(());
        }
        Err(format!("{reading:?}"))
    })
    .await;
    let version = transport.server_version().await.expect("it is there");
    assert!(
        version.starts_with("rabbitmq 3.") || version.starts_with("rabbitmq 4."),
        "{version}"
    );
    let published = transport
        .publish_control(&ping(transport.reply_queue()))
        .await;
    assert_eq!(
        published.expect("it may").subscribers,
        Some(1),
        "one worker listens"
    );
}

pub(crate) async fn every_type_of_queue_is_as_the_broker_tells_it<W: Way>() {
    let rabbit = Rabbit::<W>::start().await;
    let api = rabbit.host.node().api();
    let make = |name: &str, arguments: &serde_json::Value| {
        let path = format!("/api/queues/{}/{name}", rabbit.host.name());
        let queue = json!({"durable": true, "arguments": arguments});
        api.put(&path, &queue).expect("the node makes a queue");
        for _ in 0..MESSAGES {
            rabbit.host.publish("", name, "[]").expect("it is there");
        }
    };
    for (name, arguments) in types() {
        make(name, &arguments);
    }
    // Its messages stay when they have been read, so it has no backlog.
    make("stream", &json!({"x-queue-type": "stream"}));
    let names = types().map(|(name, _)| name.to_owned()).to_vec();
    let celery = Celery::new("5.7", &rabbit.host.url()).env("DEMO_BACKEND", "rpc://");
    let _holder = celery.start(&format!("NAMES, HELD = {names:?}, {HELD}\n{HOLD}"));

    let management = format!("http://{}", rabbit.host.node().management());
    let telling = managed(&rabbit.host.url(), &management);
    let all = [names.clone(), vec!["stream".to_owned()]].concat();
    let expected = |unacked: Option<u64>| -> Vec<QueueDepth> {
        let depth = |name: &String| QueueDepth {
            name: name.clone(),
            ready: vec![(0, MESSAGES - HELD)],
            consumers: Some(1),
            unacked,
            oldest_micros: None,
        };
        names.iter().map(depth).collect()
    };
    eventually("depths are those of the broker", SOON, async || {
        let reading = telling.depths(&all).await?;
        ensure!(reading.queues == expected(Some(HELD)), "{reading:?}");
        ensure!(reading.unacked_total == Some(4 * HELD), "{reading:?}");
        Ok(())
    })
    .await;
    let discovered = telling.discover_queues().await.expect("it is asked");
    assert_eq!(discovered, names, "and not the stream");

    let alone = rabbit.transport_of("guest", &Keeping::Ephemeral);
    for _ in 0..30 {
        let reading = alone.depths(&names).await.expect("the node answers");
        assert_eq!(reading.queues, expected(None));
    }
    for name in &names {
        let truth = rabbit.host.queue(name).expect("it is there");
        for (what, count) in [
            ("messages_ready", MESSAGES - HELD),
            ("messages_unacknowledged", HELD),
            ("consumers", 1),
        ] {
            assert_eq!(truth[what], count, "{name}: {truth}");
        }
        let stats = &truth["message_stats"];
        for what in ["get", "get_no_ack", "redeliver"] {
            let times = stats[what].as_u64().unwrap_or_default();
            assert_eq!(times, 0, "{name} was read from: {stats}");
        }
    }
}
