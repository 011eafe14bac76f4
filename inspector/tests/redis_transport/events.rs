//! The subscription: delivery, loss, overflow, end.

use std::time::{Duration, Instant};

use celeriac_inspector::transport::{Incoming, Transport, TransportError};
use serde::Deserialize;

use super::server::{Server, free_port, run};
use super::{SOON, live, message, next, transport, transport_with};

const RECORDED: &str = include_str!("../../../tests/fixtures/redis-events.jsonl");

#[derive(Deserialize)]
struct Event {
    channel: String,
    payload: String,
}

fn recorded() -> Vec<Event> {
    RECORDED
        .lines()
        .map(|line| serde_json::from_str(line).expect("a fixture is JSON lines"))
        .collect()
}

#[tokio::test]
async fn recorded_events_arrive_whole_and_in_order() {
    let server = Server::start();
    let transport = transport(&server.url());
    let (mut incoming, _stop) = live(&transport).await;
    let mut client = server.client(0);
    for event in recorded() {
        // The expected channel, and the pattern for workers without fanout_patterns: once each, not twice.
        assert_eq!(
            run::<i64>(&mut client, &["PUBLISH", &event.channel, &event.payload]),
            1
        );
        assert_eq!(message(&mut incoming).await, event.payload.as_bytes());
    }
    for channel in ["/0.celeryev", "celeryev", "celeryev/task.multi"] {
        assert_eq!(run::<i64>(&mut client, &["PUBLISH", channel, channel]), 1);
        assert_eq!(message(&mut incoming).await, channel.as_bytes());
    }
    assert_eq!(
        run::<i64>(
            &mut client,
            &["PUBLISH", "/1.celeryev/task.multi", "other database"]
        ),
        0
    );
}

#[tokio::test]
async fn prefix_and_database_are_part_of_the_channel() {
    let server = Server::start();
    let url = format!("redis://127.0.0.1:{}/3", server.port);
    let transport = transport_with(&url, &["global_keyprefix=pfx:"]);
    let (mut incoming, _stop) = live(&transport).await;
    let mut client = server.client(0);
    assert_eq!(
        run::<i64>(&mut client, &["PUBLISH", "/3.celeryev/task.multi", "a"]),
        0
    );
    assert_eq!(
        run::<i64>(&mut client, &["PUBLISH", "pfx:/3.celeryev/task.multi", "b"]),
        1
    );
    assert_eq!(message(&mut incoming).await, b"b");
}

#[tokio::test]
async fn a_server_that_falls_silent_is_noticed() {
    let server = Server::start();
    let transport = transport(&server.url());
    let (mut incoming, _stop) = live(&transport).await;
    server.freeze();
    let lost = next(&mut incoming).await;
    server.thaw();
    assert!(
        matches!(
            &lost,
            Incoming::Lost {
                error: TransportError::Timeout { action: "PING", .. },
                ..
            }
        ),
        "{lost:?}"
    );
    // While it was frozen, connecting may have timed out too, which is another reason.
    loop {
        match next(&mut incoming).await {
            Incoming::Lost {
                error: TransportError::Timeout { .. },
                ..
            } => {}
            Incoming::Live { .. } => break,
            other => panic!("instead of a loss or live came {other:?}"),
        }
    }
}

/// Publishes `count` payloads of `bytes` and reads nothing before they are all with the transport.
async fn flood(count: u64, bytes: usize) -> (u64, u64) {
    let server = Server::start_with(&["--client-output-buffer-limit", "pubsub 0 0 0"]);
    let transport = transport(&server.url());
    let (mut incoming, _stop) = live(&transport).await;
    let mut client = server.client(0);
    let payload = vec![b'x'; bytes];
    for _ in 0..count {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg("/0.celeryev/task.multi").arg(&payload);
        assert_eq!(
            publish.query::<u64>(&mut client).expect("the server runs"),
            1
        );
    }
    // Until the server has sent it all and the transport has read it, but for what the kernel holds.
    while !run::<String>(&mut client, &["CLIENT", "LIST", "TYPE", "pubsub"]).contains(" omem=0 ") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (mut kept, mut dropped) = (0, 0);
    let deadline = Instant::now() + SOON;
    while kept + dropped < count && Instant::now() < deadline {
        match next(&mut incoming).await {
            Incoming::Message { .. } => kept += 1,
            Incoming::Dropped {
                messages,
                from_micros,
                to_micros,
            } => {
                assert!(from_micros <= to_micros);
                dropped += messages.expect("what is dropped here is counted");
            }
            other => panic!("instead of messages came {other:?}"),
        }
    }
    assert_eq!(
        incoming.take_many(&mut Vec::new(), 1),
        0,
        "more came than was sent"
    );
    (kept, dropped)
}

#[tokio::test]
async fn overflow_by_number_is_counted_exactly() {
    let (kept, dropped) = flood(40_000, 256).await;
    assert_eq!(kept + dropped, 40_000);
    assert!(
        kept >= 16_384 && dropped > 0,
        "{kept} kept, {dropped} dropped"
    );
}

#[tokio::test]
async fn overflow_by_bytes_is_counted_exactly() {
    let (kept, dropped) = flood(150, 1024 * 1024).await;
    assert_eq!(kept + dropped, 150);
    assert!(kept >= 32 && dropped > 0, "{kept} kept, {dropped} dropped");
}

#[tokio::test]
async fn dropping_the_receiver_closes_the_connection() {
    let server = Server::start();
    let transport = transport(&server.url());
    let (incoming, _stop) = live(&transport).await;
    let mut client = server.client(0);
    let subscribed = |client: &mut redis::Connection| run::<u64>(client, &["PUBSUB", "NUMPAT"]);
    assert_eq!(subscribed(&mut client), 4);
    drop(incoming);
    let deadline = Instant::now() + SOON;
    while subscribed(&mut client) > 0 {
        assert!(Instant::now() < deadline, "the subscription is still there");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_list_of_servers_is_tried_in_order() {
    let server = Server::start();
    let transport = transport(&format!(
        "redis://127.0.0.1:{}/0;{}",
        free_port(),
        server.url()
    ));
    let (mut incoming, _stop) = live(&transport).await;
    run::<i64>(
        &mut server.client(0),
        &["PUBLISH", "/0.celeryev/worker.online", "here"],
    );
    assert_eq!(message(&mut incoming).await, b"here");
    assert!(
        transport
            .server_version()
            .await
            .expect("the second server answers")
            .starts_with("redis ")
    );
}

#[tokio::test]
async fn a_unix_socket_works_with_its_own_database() {
    let server = Server::start();
    let transport = transport(&format!(
        "redis+socket://{}?virtual_host=2",
        server.socket().display()
    ));
    let (mut incoming, _stop) = live(&transport).await;
    run::<i64>(
        &mut server.client(0),
        &["PUBLISH", "/2.celeryev/worker.online", "here"],
    );
    assert_eq!(message(&mut incoming).await, b"here");
    run::<i64>(&mut server.client(2), &["LPUSH", "celery", "task"]);
    let reading = transport
        .depths(&["celery".to_owned()])
        .await
        .expect("the server answers");
    assert_eq!(reading.queues[0].ready[0], (0, 1));
}
