//! A whole inspector between a broker in memory and an aggregator in memory.

use std::collections::VecDeque;
use std::sync::Arc;

use celeriac_proto::v1;
use parking_lot::Mutex;
use prost::Message as _;
use serde_json::json;
use v1::attach_request::Message as Said;
use v1::attach_response::Message as Heard;

use super::*;
use crate::args::{BrokerOptions, ControlSerializer, NameOptions};
use crate::transport::fake::FakeTransport;
use crate::uplink::{Duplex, LinkError};
use crate::wire::message::Frame;
use crate::wire::url::BrokerUrl;

const WAIT: Duration = Duration::from_secs(20);

/// One stream, played by the test.
struct Once(Option<Duplex>);

impl Connector for Once {
    async fn open(&mut self) -> Result<Duplex, LinkError> {
        self.0.take().ok_or(LinkError::Closed)
    }
}

struct Rig {
    brokers: Vec<FakeTransport>,
    requests: mpsc::Receiver<v1::AttachRequest>,
    responses: mpsc::Sender<Result<v1::AttachResponse, tonic::Status>>,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<Result<(), InspectorError>>,
}

fn config() -> InspectorConfig {
    let options = BrokerOptions {
        names: NameOptions::default(),
        enable_events: false,
        budget: None,
        destinations: 50,
        control_serializer: ControlSerializer::Json,
        round: Duration::from_mins(1),
        result_backend: Vec::new(),
        result_backend_file: None,
        result_backend_option: Vec::new(),
        ephemeral: false,
        management: None,
        buffer: 1,
    };
    let broker = BrokerUrl::parse("redis://:secret@broker/0").expect("it is a URL");
    InspectorConfig::new("shop", broker, options.try_into().expect("they are valid"))
}

/// An inspector that may be active `activations` times.
fn rig(activations: usize) -> Rig {
    let brokers: Vec<FakeTransport> = (0..activations).map(|_| FakeTransport::new()).collect();
    let unused = Arc::new(Mutex::new(VecDeque::from(brokers.clone())));
    let (to_aggregator, requests) = mpsc::channel(8);
    let (responses, to_inspector) = mpsc::channel(64);
    let connector = Once(Some(Duplex {
        requests: to_aggregator,
        responses: to_inspector,
    }));
    let stop = CancellationToken::new();
    let token = stop.clone();
    let transport = move || {
        Ok(unused
            .lock()
            .pop_front()
            .expect("it is not active more often than expected"))
    };
    let running = tokio::spawn(inspect_over(config(), connector, token, transport));
    Rig {
        brokers,
        requests,
        responses,
        stop,
        running,
    }
}

impl Rig {
    async fn say(&self, heard: Heard) {
        let response = v1::AttachResponse {
            message: Some(heard),
        };
        self.responses
            .send(Ok(response))
            .await
            .expect("the inspector listens");
    }

    async fn welcome(&mut self, role: v1::InspectorRole) {
        let Some(Said::Hello(hello)) = self.said().await else {
            panic!("hello comes first")
        };
        assert_eq!(
            (hello.app.as_str(), hello.instance.as_str()),
            ("shop", "shop")
        );
        self.say(Heard::Welcome(v1::Welcome {
            role: role.into(),
            acknowledged_sequence: 0,
        }))
        .await;
    }

    async fn role(&self, role: v1::InspectorRole) {
        self.say(Heard::RoleChange(v1::RoleChange { role: role.into() }))
            .await;
    }

    async fn said(&mut self) -> Option<Said> {
        let said = tokio::time::timeout(WAIT, self.requests.recv()).await;
        said.expect("something is said in time")
            .and_then(|request| request.message)
    }

    /// Waits for the event of task `uuid`, acknowledging every batch.
    async fn event(&mut self, uuid: &str) {
        loop {
            let Some(Said::Batch(batch)) = self.said().await else {
                panic!("batches follow")
            };
            self.say(Heard::Ack(v1::Ack {
                sequence: batch.sequence,
            }))
            .await;
            if batch
                .events
                .iter()
                .map(|event| v1::Event::decode(&event[..]).expect("an event"))
                .any(|event| event.uuid.as_deref() == Some(uuid))
            {
                return;
            }
        }
    }
}

fn started(uuid: &str) -> Frame {
    let event = json!({"type": "task-started", "hostname": "celery@w1", "uuid": uuid});
    Frame::Properties {
        content_type: "application/json".into(),
        content_encoding: "utf-8".into(),
        compression: None,
        ticket: None,
        hostname: None,
        routing_key: None,
        body: event.to_string().into_bytes(),
    }
}

use v1::InspectorRole::{Active, Standby};

#[tokio::test]
async fn what_was_received_before_a_stop_is_delivered_and_the_broker_cleaned_up() {
    let mut rig = rig(1);
    rig.welcome(Active).await;
    rig.brokers[0].live(1).await;
    rig.brokers[0].deliver(started("u-1"), 2).await;
    rig.event("u-1").await;
    rig.stop.cancel();
    // The rest is acknowledged, so the end comes at once and not at the deadline.
    let acknowledge = async {
        while let Some(request) = rig.requests.recv().await {
            if let Some(Said::Batch(batch)) = request.message {
                let ack = Heard::Ack(v1::Ack {
                    sequence: batch.sequence,
                });
                let response = v1::AttachResponse { message: Some(ack) };
                let _ = rig.responses.send(Ok(response)).await;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(3), acknowledge)
        .await
        .expect("it ends at once");
    rig.running
        .await
        .expect("without a panic")
        .expect("it was stopped");
    assert!(rig.brokers[0].is_closed());
}

#[tokio::test]
async fn an_aggregator_that_acknowledges_nothing_does_not_hold_the_end_up() {
    let mut rig = rig(1);
    rig.welcome(Active).await;
    rig.brokers[0].live(1).await;
    rig.brokers[0].deliver(started("u-1"), 2).await;
    rig.said().await;
    rig.stop.cancel();
    let ended = tokio::time::timeout(FLUSH + CLEAN_UP, rig.running).await;
    ended
        .expect("it ends at its deadline")
        .expect("without a panic")
        .expect("it was stopped");
    assert!(rig.brokers[0].is_closed());
}

#[tokio::test]
async fn on_standby_no_broker_is_touched() {
    let mut rig = rig(2);
    rig.welcome(Standby).await;
    rig.brokers[0].live(1).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(rig.brokers[0].take_published(), vec![]);

    rig.role(Active).await;
    rig.brokers[0].deliver(started("u-1"), 2).await;
    rig.event("u-1").await;

    rig.role(Standby).await;
    let closed = async {
        while !rig.brokers[0].is_closed() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(WAIT, closed)
        .await
        .expect("the broker is left");
    assert_eq!(rig.brokers[1].take_published(), vec![]);
    rig.stop.cancel();
    rig.running
        .await
        .expect("without a panic")
        .expect("it was stopped");
}

#[tokio::test]
async fn a_broker_that_cannot_be_spoken_to_is_an_error_at_the_start() {
    let mut config = config();
    config.broker = BrokerUrl::parse("sentinel://:secret@h:26379/0").expect("kombu knows it");
    let error = inspect(config, Once(None), CancellationToken::new()).await;
    let error = error.expect_err("it names no master").to_string();
    assert!(
        error.contains("sentinel://h:26379/0")
            && error.contains("master_name=NAME")
            && !error.contains("secret"),
        "{error}"
    );
}
