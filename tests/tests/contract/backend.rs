//! What a case needs of a broker, whichever it is: the broker itself, and the part that workers and people play.

use std::time::Duration;

use celeriac_inspector::transport::{Incoming, Patience, Subscription, Transport};
use celeriac_inspector::wire::message::{Frame, Opener};
use celeriac_inspector::wire::pidbox::ControlMessage;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Longest wait for something that must come, also on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A broker and everybody on it but us.
pub(crate) trait Backend: Sized {
    /// What is tested.
    type Transport: Transport;

    /// A broker that runs.
    async fn start() -> Self;

    /// A new transport to it.
    async fn transport(&self) -> Self::Transport;

    /// A transport with a wrong password, and that password; `None` when there are none.
    fn stranger(&self) -> Option<(Self::Transport, &'static str)>;

    /// A worker sends an event.
    async fn send_event(&self, routing_key: &str, body: &str);

    /// A worker begins to listen to control requests.
    async fn listen(&self);

    /// The body of the next control request that the worker got.
    async fn heard(&self) -> String;

    /// The worker answers to `queue`.
    async fn answer(&self, queue: &str, ticket: &str, body: &str);

    /// Somebody puts messages into a task queue, which is made if need be.
    async fn fill(&self, queue: &str, messages: usize);

    /// Connections break, and new ones are refused until [`Backend::mend`].
    async fn part(&self);

    /// New connections are served again.
    async fn mend(&self);

    /// What there is of ours on the broker beside what expires by itself.
    async fn left(&self) -> Vec<String>;
}

/// Times in which faults are seen within a test.
pub(crate) fn hurried() -> Patience {
    Patience {
        connect: Duration::from_secs(10),
        response: Duration::from_secs(10),
        ping_every: Duration::from_millis(200),
        ping_answer: Duration::from_secs(2),
        retry_min: Duration::from_millis(50),
        retry_max: Duration::from_millis(200),
    }
}

/// Subscribes and waits until messages flow.
pub(crate) async fn live<T: Transport>(transport: &T) -> (Subscription, CancellationToken) {
    let stop = CancellationToken::new();
    let mut incoming = transport.subscribe(stop.clone());
    loop {
        match next(&mut incoming).await {
            Incoming::Live { .. } => return (incoming, stop),
            // A subscription of before may not have gone yet.
            Incoming::Lost { .. } => {}
            other => panic!("instead of life came {other:?}"),
        }
    }
}

/// The next item.
pub(crate) async fn next(incoming: &mut Subscription) -> Incoming {
    timeout(SOON, incoming.recv())
        .await
        .expect("nothing came")
        .expect("the subscription ended")
}

/// The body of the next message, which is settled; anything else fails the test.
pub(crate) async fn message(incoming: &mut Subscription) -> String {
    match next(incoming).await {
        Incoming::Message { frame, receipt, .. } => {
            if let Some(receipt) = receipt {
                receipt.settle();
            }
            body(&frame)
        }
        other => panic!("instead of a message came {other:?}"),
    }
}

/// What is in a frame.
pub(crate) fn body(frame: &Frame) -> String {
    let mut opener = Opener::default();
    let opened = opener.open(frame).expect("these messages can be read");
    String::from_utf8(opened.body.to_vec()).expect("these messages are text")
}

/// A broadcast ping, as `celery inspect ping` sends it.
pub(crate) fn ping(reply_queue: &str) -> ControlMessage {
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
