//! The Redis transport against real redis-server processes, which each test starts on its own port.

#[path = "redis_transport/errors.rs"]
mod errors;
#[path = "redis_transport/events.rs"]
mod events;
#[path = "redis_transport/replies.rs"]
mod replies;
#[path = "redis_transport/server.rs"]
mod server;
#[path = "redis_transport/survey.rs"]
mod survey;

use std::time::Duration;

use celeriac_inspector::transport::redis::RedisTransport;
use celeriac_inspector::transport::{Incoming, Patience, Subscription, Transport};
use celeriac_inspector::wire::message::Frame;
use celeriac_inspector::wire::pidbox::ControlMessage;
use celeriac_inspector::wire::topology::{Topology, TransportOptions};
use celeriac_inspector::wire::url::BrokerUrl;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Longest wait for something that must come, also on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// Time-outs that let faults be seen within a test.
fn hurried() -> Patience {
    Patience {
        connect: Duration::from_secs(2),
        response: Duration::from_secs(2),
        ping_every: Duration::from_millis(200),
        ping_answer: Duration::from_millis(800),
        retry_min: Duration::from_millis(50),
        retry_max: Duration::from_millis(200),
    }
}

fn transport_with(url: &str, options: &[&str]) -> RedisTransport {
    let url = BrokerUrl::parse(url).expect("the URLs of these tests are valid");
    let options = TransportOptions::parse(options.iter().copied())
        .expect("the options of these tests are valid");
    let topology = Topology::new(url.database().expect("a Redis URL has a database"), options);
    RedisTransport::with_patience(&url, topology, hurried())
        .expect("the URLs of these tests are Redis URLs")
}

fn transport(url: &str) -> RedisTransport {
    transport_with(url, &[])
}

/// Subscribes and waits until messages flow.
async fn live(transport: &RedisTransport) -> (Subscription, CancellationToken) {
    let stop = CancellationToken::new();
    let mut incoming = transport.subscribe(stop.clone());
    let first = next(&mut incoming).await;
    assert!(matches!(first, Incoming::Live { .. }), "{first:?}");
    (incoming, stop)
}

async fn next(incoming: &mut Subscription) -> Incoming {
    timeout(SOON, incoming.recv())
        .await
        .expect("nothing came")
        .expect("the subscription ended")
}

/// The payload of the next message; anything else fails the test.
async fn message(incoming: &mut Subscription) -> Vec<u8> {
    match next(incoming).await {
        Incoming::Message {
            frame: Frame::Envelope(payload),
            ..
        } => payload.to_vec(),
        other => panic!("instead of a message came {other:?}"),
    }
}

/// A broadcast ping, as `celery inspect ping` sends it, with its replies to `reply_queue`.
fn ping(reply_queue: &str) -> ControlMessage {
    let body = format!(
        r#"{{"method":"ping","arguments":{{}},"destination":null,"pattern":null,"matcher":null,"ticket":"t-1","reply_to":{{"exchange":"","routing_key":"{reply_queue}"}}}}"#
    );
    ControlMessage {
        body: body.into_bytes(),
        content_type: "application/json",
        content_encoding: "utf-8",
        expires: 0.0,
    }
}
