//! The broker in memory.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use celeriac_inspector::transport::fake::FakeTransport;
use celeriac_inspector::transport::{QueueDepth, TransportError};
use celeriac_inspector::wire::message::Frame;
use celeriac_tests::eventually;

use super::backend::{Backend, SOON};
use super::cases::contract;

/// One broker, of which every transport is a handle.
struct Memory {
    broker: FakeTransport,
    now: AtomicI64,
    parted: AtomicBool,
}

impl Memory {
    fn now(&self) -> i64 {
        self.now.fetch_add(1, Ordering::Relaxed)
    }
}

fn gone() -> TransportError {
    TransportError::Unreachable {
        endpoint: "memory".to_owned(),
        reason: "switched off".to_owned(),
    }
}

fn frame(ticket: Option<&str>, body: &str) -> Frame {
    Frame::Properties {
        content_type: "application/json".to_owned(),
        content_encoding: "utf-8".to_owned(),
        compression: None,
        ticket: ticket.map(str::to_owned),
        hostname: None,
        routing_key: None,
        body: body.as_bytes().to_vec(),
    }
}

impl Backend for Memory {
    type Transport = FakeTransport;

    async fn start() -> Self {
        let broker = FakeTransport::new();
        broker.set_now_micros(1);
        Self {
            broker,
            now: AtomicI64::new(1),
            parted: AtomicBool::new(false),
        }
    }

    async fn transport(&self) -> FakeTransport {
        if !self.parted.load(Ordering::Relaxed) {
            self.broker.live(self.now()).await;
        }
        self.broker.clone()
    }

    fn stranger(&self) -> Option<(FakeTransport, &'static str)> {
        None
    }

    async fn send_event(&self, _: &str, body: &str) {
        self.broker.deliver(frame(None, body), self.now()).await;
    }

    async fn listen(&self) {
        self.broker.set_subscribers(Some(1));
    }

    async fn heard(&self) -> String {
        eventually("a request", SOON, async || {
            let request = self.broker.take_published().into_iter().next();
            let request = request.ok_or("none")?;
            Ok::<_, &str>(String::from_utf8_lossy(&request.body).into_owned())
        })
        .await
    }

    async fn answer(&self, _: &str, ticket: &str, body: &str) {
        self.broker.reply(frame(Some(ticket), body));
    }

    async fn fill(&self, queue: &str, messages: usize) {
        self.broker.set_depth(QueueDepth {
            name: queue.to_owned(),
            ready: vec![(0, messages as u64)],
            ..QueueDepth::default()
        });
    }

    async fn part(&self) {
        self.parted.store(true, Ordering::Relaxed);
        self.broker.fail_with(gone);
        self.broker.lose(gone(), self.now()).await;
    }

    async fn mend(&self) {
        self.parted.store(false, Ordering::Relaxed);
        self.broker.mend();
        self.broker.live(self.now()).await;
    }

    async fn left(&self) -> Vec<String> {
        let open = (!self.broker.is_closed()).then(|| "a connection".to_owned());
        open.into_iter().collect()
    }
}

contract!(Memory);
