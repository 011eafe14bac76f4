//! The uplink against an aggregator in memory: order, resume, overflow, roles.

use std::sync::Arc;

use parking_lot::Mutex;
use prost::Message as _;

use super::*;
use crate::collect::{Gap, GapCause};
use crate::wire::event::Event;

const WAIT: Duration = Duration::from_secs(10);

/// An aggregator that a test plays: each stream that is opened comes out here.
struct Aggregator {
    streams: mpsc::Receiver<Stream>,
}

/// The aggregator's side of a stream.
struct Stream {
    requests: mpsc::Receiver<v1::AttachRequest>,
    responses: mpsc::Sender<Result<v1::AttachResponse, tonic::Status>>,
}

struct InMemory {
    streams: mpsc::Sender<Stream>,
    /// Refuses to connect while set.
    down: Arc<Mutex<bool>>,
}

impl Connector for InMemory {
    async fn open(&mut self) -> Result<Duplex, LinkError> {
        if *self.down.lock() {
            return Err(LinkError::Closed);
        }
        let (requests, taken) = mpsc::channel(8);
        let (given, responses) = mpsc::channel(64);
        let stream = Stream {
            requests: taken,
            responses: given,
        };
        self.streams
            .send(stream)
            .await
            .map_err(|_| LinkError::Closed)?;
        Ok(Duplex {
            requests,
            responses,
        })
    }
}

struct Rig {
    aggregator: Aggregator,
    observations: mpsc::Sender<Observation>,
    roles: watch::Receiver<Role>,
    orders: mpsc::Receiver<Order>,
    metrics: Metrics,
    running: tokio::task::JoinHandle<()>,
    down: Arc<Mutex<bool>>,
}

fn rig(buffer_bytes_max: usize) -> Rig {
    let (streams, opened) = mpsc::channel(1);
    let (observations, inbox) = mpsc::channel(1);
    let metrics = Metrics::default();
    let identity = Identity {
        instance: "i-1".into(),
        source: Source {
            app: "shop".into(),
            endpoint: "redis://broker:6379/0".into(),
            transport: "redis",
        },
    };
    let (uplink, Wanted { roles, orders }) =
        Uplink::new(identity, 1_000, buffer_bytes_max, inbox, metrics.clone());
    let down = Arc::new(Mutex::new(false));
    let running = tokio::spawn(uplink.run(InMemory {
        streams,
        down: down.clone(),
    }));
    let aggregator = Aggregator { streams: opened };
    Rig {
        aggregator,
        observations,
        roles,
        orders,
        metrics,
        running,
        down,
    }
}

/// One event named `name`, of about `bytes`.
fn seen(name: &str, bytes: usize) -> Observation {
    let event = Event {
        event_type: name.into(),
        args: Some("x".repeat(bytes).into()),
        ..Event::default()
    };
    Observation {
        events: [&event].into_iter().collect(),
        messages: 1,
        from_micros: 5,
        to_micros: 6,
        ..Observation::default()
    }
}

impl Rig {
    async fn see(&self, name: &str, bytes: usize) {
        self.observations
            .send(seen(name, bytes))
            .await
            .expect("the uplink runs");
    }

    async fn stream(&mut self) -> (Stream, v1::Hello) {
        let mut stream = tokio::time::timeout(WAIT, self.aggregator.streams.recv())
            .await
            .expect("a stream is opened in time")
            .expect("the uplink runs");
        let Said::Hello(hello) = stream.said().await else {
            panic!("hello comes first")
        };
        (stream, hello)
    }

    /// A stream that is welcomed in `role` with everything up to `acknowledged`.
    async fn attached(
        &mut self,
        role: v1::InspectorRole,
        acknowledged: u64,
    ) -> (Stream, v1::Hello) {
        let (stream, hello) = self.stream().await;
        let welcome = v1::Welcome {
            role: role.into(),
            acknowledged_sequence: acknowledged,
        };
        stream.say(Heard::Welcome(welcome)).await;
        (stream, hello)
    }
}

impl Stream {
    async fn said(&mut self) -> Said {
        let said = tokio::time::timeout(WAIT, self.requests.recv()).await;
        let said = said
            .expect("something is said in time")
            .expect("the stream is open");
        said.message.expect("requests are never empty")
    }

    /// What the next batch tells of commands.
    async fn commands(&mut self) -> Vec<v1::CommandReport> {
        let Said::Batch(batch) = self.said().await else {
            panic!("hello comes once")
        };
        batch.commands
    }

    /// The next batch: its sequence and what is in it.
    async fn batch(&mut self) -> (u64, String) {
        let Said::Batch(batch) = self.said().await else {
            panic!("hello comes once")
        };
        let events: Vec<String> = batch
            .events
            .iter()
            .map(|event| v1::Event::decode(&event[..]).expect("an event").r#type)
            .collect();
        let gaps: Vec<String> = batch
            .gaps
            .iter()
            .map(|gap| format!("{} {:?}", gap.cause().as_str_name(), gap.dropped_messages))
            .collect();
        (batch.sequence, [events.join(" "), gaps.join(" ")].concat())
    }

    async fn say(&self, heard: Heard) {
        let response = v1::AttachResponse {
            message: Some(heard),
        };
        self.responses
            .send(Ok(response))
            .await
            .expect("the uplink listens");
    }

    async fn acknowledge(&self, sequence: u64) {
        self.say(Heard::Ack(v1::Ack { sequence })).await;
    }

    async fn role(&self, role: v1::InspectorRole) {
        self.say(Heard::RoleChange(v1::RoleChange { role: role.into() }))
            .await;
    }

    async fn is_quiet(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(100), self.requests.recv())
            .await
            .is_err()
    }
}

fn batch(sequence: u64, holds: &str) -> (u64, String) {
    (sequence, holds.to_owned())
}

use v1::InspectorRole::{Active, Standby};

#[tokio::test]
async fn batches_follow_hello_in_sequence() {
    let mut rig = rig(1_000_000);
    let (mut stream, hello) = rig.attached(Active, 0).await;
    assert_eq!(
        (hello.app.as_str(), hello.instance.as_str(), hello.epoch),
        ("shop", "i-1", 1_000)
    );
    assert_eq!(hello.version, env!("CARGO_PKG_VERSION"));
    let broker = hello.broker.expect("it names its broker");
    assert_eq!(broker.endpoint, "redis://broker:6379/0");
    for name in ["a", "b", "c"] {
        rig.see(name, 1).await;
    }
    for (sequence, name) in [(1, "a"), (2, "b"), (3, "c")] {
        assert_eq!(stream.batch().await, batch(sequence, name));
    }
    assert!(rig.metrics.buffer_bytes.get() > 0);
    stream.acknowledge(3).await;
    drop(rig.observations);
    tokio::time::timeout(WAIT, rig.running)
        .await
        .expect("it ends")
        .expect("without a panic");
    assert_eq!(rig.metrics.buffer_bytes.get(), 0);
}

#[tokio::test]
async fn after_a_reconnect_the_same_epoch_goes_on_above_what_is_on_disk() {
    let mut rig = rig(1_000_000);
    let (mut stream, first) = rig.attached(Active, 0).await;
    for name in ["a", "b", "c"] {
        rig.see(name, 1).await;
    }
    for _ in 0..3 {
        stream.batch().await;
    }
    stream.acknowledge(1).await;
    drop(stream);
    rig.see("d", 1).await;
    let (mut stream, second) = rig.attached(Active, 2).await;
    assert_eq!(first.epoch, second.epoch);
    assert_eq!(stream.batch().await, batch(3, "c"));
    assert_eq!(stream.batch().await, batch(4, "d"));
}

#[tokio::test]
async fn an_aggregator_that_lost_its_data_gets_a_new_epoch() {
    let mut rig = rig(1_000_000);
    let (mut stream, first) = rig.attached(Active, 0).await;
    rig.see("a", 1).await;
    rig.see("b", 1).await;
    stream.batch().await;
    stream.batch().await;
    stream.acknowledge(1).await;
    // The acknowledgement is read before the end of the stream.
    drop(stream);
    let (stream, again) = rig.attached(Active, 0).await;
    assert_eq!(again.epoch, first.epoch);
    drop(stream);
    let (mut stream, renewed) = rig.attached(Active, 0).await;
    assert!(renewed.epoch > first.epoch);
    assert_eq!(stream.batch().await, batch(1, "b"));
}

#[tokio::test]
async fn a_hole_in_the_sequence_begins_a_new_epoch() {
    let mut rig = rig(1_000_000);
    let (mut stream, first) = rig.attached(Active, 0).await;
    rig.see("a", 1).await;
    stream.batch().await;
    let hole = tonic::Status::failed_precondition("expected 5");
    stream
        .responses
        .send(Err(hole))
        .await
        .expect("the uplink listens");
    let (mut stream, renewed) = rig.attached(Active, 0).await;
    assert!(renewed.epoch > first.epoch);
    assert_eq!(stream.batch().await, batch(1, "a"));
}

#[tokio::test]
async fn a_stream_that_was_replaced_is_opened_again_in_the_same_epoch() {
    let mut rig = rig(1_000_000);
    let (mut stream, first) = rig.attached(Active, 0).await;
    rig.see("a", 1).await;
    stream.batch().await;
    let replaced = tonic::Status::aborted("the same instance attached again");
    stream
        .responses
        .send(Err(replaced))
        .await
        .expect("the uplink listens");
    // It was folded, and its acknowledgement went to the stream that came late.
    let (mut stream, again) = rig.attached(Active, 1).await;
    assert_eq!(again.epoch, first.epoch);
    assert!(stream.is_quiet().await);
    rig.see("b", 1).await;
    assert_eq!(stream.batch().await, batch(2, "b"));
}

#[tokio::test]
async fn a_full_buffer_is_one_gap_and_never_silent() {
    let mut rig = rig(3_000);
    let (mut stream, _) = rig.attached(Active, 0).await;
    for name in ["a", "b", "c", "d"] {
        rig.see(name, 1_000).await;
    }
    assert_eq!(stream.batch().await, batch(1, "a"));
    assert_eq!(stream.batch().await, batch(2, "b"));
    assert!(stream.is_quiet().await);
    assert_eq!(rig.metrics.dropped.get(), 2);
    stream.acknowledge(2).await;
    assert_eq!(stream.batch().await, batch(3, "GAP_CAUSE_OVERFLOW Some(2)"));
    rig.see("e", 1_000).await;
    assert_eq!(stream.batch().await, batch(4, "e"));
}

#[tokio::test]
async fn while_the_aggregator_is_down_everything_is_kept() {
    let mut rig = rig(1_000_000);
    let (stream, _) = rig.attached(Active, 0).await;
    *rig.down.lock() = true;
    drop(stream);
    for number in 0..20 {
        rig.see(&format!("e{number}"), 1).await;
    }
    *rig.down.lock() = false;
    let (mut stream, _) = rig.attached(Active, 0).await;
    for number in 0..20 {
        assert_eq!(
            stream.batch().await,
            batch(number + 1, &format!("e{number}"))
        );
    }
}

#[tokio::test]
async fn on_standby_nothing_is_sent() {
    let mut rig = rig(1_000_000);
    let (mut stream, _) = rig.attached(Standby, 0).await;
    rig.roles
        .wait_for(|role| *role == Role::Standby)
        .await
        .expect("the uplink runs");
    rig.see("ignored", 1).await;
    assert!(stream.is_quiet().await);
    stream.role(Active).await;
    rig.roles
        .wait_for(|role| *role == Role::Active)
        .await
        .expect("the uplink runs");
    rig.see("a", 1).await;
    assert_eq!(
        stream.batch().await,
        batch(1, "a"),
        "nothing was spent, so the epoch goes on"
    );
}

#[tokio::test]
async fn what_was_sent_before_a_standby_is_not_numbered_again() {
    let mut rig = rig(1_000_000);
    let (mut stream, first) = rig.attached(Active, 0).await;
    rig.see("a", 1).await;
    stream.batch().await;
    stream.role(Standby).await;
    rig.roles
        .wait_for(|role| *role == Role::Standby)
        .await
        .expect("the uplink runs");
    stream.role(Active).await;
    let (mut stream, renewed) = rig.attached(Active, 0).await;
    assert!(renewed.epoch > first.epoch);
    rig.see("b", 1).await;
    assert_eq!(stream.batch().await, batch(1, "b"));
}

#[tokio::test]
async fn a_refusal_is_tried_again_with_its_reason_kept() {
    let mut rig = rig(1_000_000);
    let (stream, _) = rig.stream().await;
    let refused = tonic::Status::permission_denied("not your app");
    stream
        .responses
        .send(Err(refused))
        .await
        .expect("the uplink listens");
    drop(stream);
    rig.attached(Active, 0).await;
    rig.roles
        .wait_for(|role| *role == Role::Active)
        .await
        .expect("the uplink runs");
    let error = LinkError::Refused(Box::new(tonic::Status::permission_denied("not your app")));
    let words = "the aggregator ended the stream (The caller does not have permission to execute \
                 the specified operation): not your app";
    assert_eq!(celeriac_process::error_chain(&error), words);
}

#[tokio::test]
async fn gaps_of_the_collector_are_passed_on() {
    let mut rig = rig(1_000_000);
    let (mut stream, _) = rig.attached(Active, 0).await;
    let gap = Gap {
        cause: GapCause::Reconnect,
        start_micros: 1,
        end_micros: Some(2),
        dropped_messages: None,
        detail: "lost".into(),
    };
    let observation = Observation {
        gaps: vec![gap],
        ..Observation::default()
    };
    rig.observations
        .send(observation)
        .await
        .expect("the uplink runs");
    assert_eq!(stream.batch().await, batch(1, "GAP_CAUSE_RECONNECT None"));
}

fn command(request_id: &str, method: &str) -> Heard {
    Heard::Command(v1::CommandOrder {
        request_id: request_id.into(),
        method: method.into(),
        arguments_json: r#"{"n": 2}"#.into(),
        destination: vec!["celery@w1".into()],
        all_workers: false,
        wait_millis: 1_500,
    })
}

#[tokio::test]
async fn a_command_is_handed_on_once_and_one_that_cannot_be_is_answered() {
    let mut rig = rig(1_000_000);
    let (mut stream, _) = rig.attached(v1::InspectorRole::Active, 0).await;
    stream.say(command("r-1", "pool_grow")).await;
    let Some(Order::Command(taken)) = rig.orders.recv().await else {
        panic!("the command is handed on");
    };
    assert_eq!(taken.request_id, "r-1");
    assert_eq!(taken.method.name(), "pool_grow");
    assert_eq!(taken.arguments["n"], 2);
    assert_eq!(taken.wait, Duration::from_millis(1_500));
    // What can never be sent, and what comes when nobody takes it, is answered.
    stream.say(command("r-2", "election")).await;
    let refused = stream.commands().await;
    let publication = refused[0].publication.clone().expect("how it ended");
    assert_eq!(refused[0].request_id, "r-2");
    assert_eq!(publication.outcome(), v1::CommandOutcome::NotPublished);
    assert_eq!(
        publication.reason,
        "`election` cannot be sent: `hello` and `election` are never sent"
    );
    for number in 0..=ORDERS_MAX {
        stream.say(command(&number.to_string(), "ping")).await;
    }
    let refused = stream.commands().await;
    assert_eq!(refused[0].request_id, ORDERS_MAX.to_string());
    assert!(rig.orders.recv().await.is_some());
}
