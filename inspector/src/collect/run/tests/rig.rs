//! A collector that runs over a broker in memory, and workers that answer as Celery's do.

use serde_json::{Value, json};

use super::super::*;
use crate::transport::TransportError;
use crate::transport::fake::FakeTransport;
use crate::wire::message::Frame;
use crate::wire::pidbox::ControlMessage;

pub(super) const WAIT: Duration = Duration::from_secs(20);

/// Times of a test: everything that is awaited comes within a second.
pub(super) const PACE: Pace = Pace {
    reply_wait: Duration::from_millis(400),
    reply_poll: Duration::from_millis(10),
    depths: Duration::from_millis(20),
    discovery: Duration::from_millis(50),
    report: Duration::from_millis(50),
    retry: Duration::from_millis(50),
};

pub(super) struct Rig {
    pub(super) broker: FakeTransport,
    pub(super) orders: mpsc::Sender<Order>,
    observed: mpsc::Receiver<Observation>,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<(Result<(), CollectError>, Collector)>,
    /// Everything observed so far.
    seen: Vec<Observation>,
}

pub(super) fn rig(limits: Limits) -> Rig {
    let broker = FakeTransport::new();
    let (out, observed) = mpsc::channel(16);
    let (orders, mut ordered) = mpsc::channel(4);
    let stop = CancellationToken::new();
    let mut collector = Collector::new(limits, PACE, None, Metrics::default(), out);
    let (transport, token) = (broker.clone(), stop.clone());
    let running = tokio::spawn(async move {
        let ended = collector.run(&transport, &mut ordered, token).await;
        (ended, collector)
    });
    Rig {
        broker,
        orders,
        observed,
        stop,
        running,
        seen: Vec::new(),
    }
}

pub(super) fn down() -> TransportError {
    TransportError::Unreachable {
        endpoint: "fake".into(),
        reason: "switched off".into(),
    }
}

pub(super) fn message(body: &Value) -> Frame {
    Frame::Properties {
        content_type: "application/json".into(),
        content_encoding: "utf-8".into(),
        compression: None,
        ticket: None,
        hostname: None,
        routing_key: None,
        body: body.to_string().into_bytes(),
    }
}

pub(super) fn heartbeat(hostname: &str) -> Frame {
    message(&json!({"type": "worker-heartbeat", "hostname": hostname, "pid": 7, "processed": 0}))
}

pub(super) fn request(message: &ControlMessage) -> Value {
    serde_json::from_slice(&message.body).expect("requests are JSON")
}

/// Answers of `workers` to a request, as Celery gives them.
pub(super) fn answers(message: &ControlMessage, workers: &[&str]) -> Vec<Frame> {
    let request = request(message);
    let asked = |worker: &str| match &request["destination"] {
        Value::Array(nodes) => nodes.iter().any(|node| node == worker),
        _ => true,
    };
    let task = json!({"id": "t-1", "name": "demo.add", "type": "demo.add", "acknowledged": true});
    let value = match request["method"].as_str().expect("a method") {
        "ping" => json!({"ok": "pong"}),
        "stats" => json!({"pid": 7, "pool": {"max-concurrency": 4}, "total": {"demo.add": 3}}),
        "active_queues" => json!([{"name": "mail", "exchange": {"name": "mail"}}]),
        "active" => json!([task]),
        "registered" => json!(["demo.add"]),
        "conf" => json!({"timezone": "UTC"}),
        _ => json!([]),
    };
    let reply = |worker: &&&str| Frame::Properties {
        content_type: "application/json".into(),
        content_encoding: "utf-8".into(),
        compression: None,
        ticket: request["ticket"].as_str().map(str::to_owned),
        hostname: None,
        routing_key: None,
        body: json!({**worker: value}).to_string().into_bytes(),
    };
    workers
        .iter()
        .filter(|worker| asked(worker))
        .map(|worker| reply(&worker))
        .collect()
}

impl Rig {
    /// Waits for an observation of which `found` finds something.
    pub(super) async fn wait<V>(
        &mut self,
        what: &str,
        found: impl Fn(&Observation) -> Option<V>,
    ) -> V {
        if let Some(value) = self.seen.iter().find_map(&found) {
            return value;
        }
        let search = async {
            loop {
                let one = self.observed.recv().await.expect("the collector runs");
                let value = found(&one);
                self.seen.push(one);
                if let Some(value) = value {
                    return value;
                }
            }
        };
        tokio::time::timeout(WAIT, search)
            .await
            .unwrap_or_else(|_| panic!("no {what} came"))
    }

    pub(super) async fn finish(mut self) -> (Vec<Observation>, Collector) {
        self.stop.cancel();
        let ended = loop {
            tokio::select! {
                biased;
                Some(one) = self.observed.recv() => self.seen.push(one),
                ended = &mut self.running => break ended,
            }
        };
        while let Ok(one) = self.observed.try_recv() {
            self.seen.push(one);
        }
        let (ended, collector) = ended.expect("without a panic");
        ended.expect("it was stopped");
        (self.seen, collector)
    }
}
