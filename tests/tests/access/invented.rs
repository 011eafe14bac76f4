//! An inspector made of nothing that tells of an app with a secret in everything that tasks carry, and answers commands with
//! one.

use std::time::{SystemTime, UNIX_EPOCH};

use celeriac_proto::v1;
use celeriac_proto::v1::attach_request::Message as Say;
use celeriac_proto::v1::attach_response::Message as Hear;
use celeriac_proto::v1::ingest_service_client::IngestServiceClient;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::bed::Known;

/// The task that is told of, in each app.
pub(crate) const TASK: &str = "00000001-0000-4000-8000-000000000001";
/// The worker that is told of.
pub(crate) const WORKER: &str = "celery@invented";

/// What is in the payloads of an app.
pub(crate) fn secret(app: &str) -> String {
    format!("planted-in-{app}")
}

/// Attaches for an app, tells of it, waits until that is on disk, and stays to answer commands.
pub(crate) async fn attach(known: Known, app: &str) -> Result<(), Status> {
    let (send, mut receive) = open(known, app).await?;
    say(&send, Say::Batch(batch(app))).await;
    let app = app.to_owned();
    while !matches!(hear(&mut receive).await?, Some(Hear::Ack(_))) {}
    tokio::spawn(async move {
        let mut sequence = 1;
        while let Ok(Some(heard)) = hear(&mut receive).await {
            let Hear::Command(order) = heard else {
                continue;
            };
            sequence += 1;
            let batch = v1::Batch {
                sequence,
                commands: vec![report(&order, &app)],
                ..v1::Batch::default()
            };
            say(&send, Say::Batch(batch)).await;
        }
    });
    Ok(())
}

type Sender = mpsc::Sender<v1::AttachRequest>;

/// Opens a stream and says hello for an app; what is refused is refused here.
pub(crate) async fn open(
    known: Known,
    app: &str,
) -> Result<(Sender, Streaming<v1::AttachResponse>), Status> {
    let (send, requests) = mpsc::channel(16);
    say(&send, Say::Hello(hello(app))).await;
    let stream = ReceiverStream::new(requests);
    let mut receive = IngestServiceClient::new(known)
        .attach(stream)
        .await?
        .into_inner();
    match hear(&mut receive).await? {
        Some(Hear::Welcome(_)) => Ok((send, receive)),
        other => panic!("the first response is not `welcome`: {other:?}"),
    }
}

/// The first message of an inspector.
pub(crate) fn hello(app: &str) -> v1::Hello {
    v1::Hello {
        app: app.to_owned(),
        instance: "invented".to_owned(),
        epoch: micros(),
        version: "0.0.0".to_owned(),
        broker: None,
    }
}

async fn say(send: &Sender, message: Say) {
    let request = v1::AttachRequest {
        message: Some(message),
    };
    // It fails when the aggregator has ended the stream, which is heard.
    let _ended = send.send(request).await;
}

async fn hear(receive: &mut Streaming<v1::AttachResponse>) -> Result<Option<Hear>, Status> {
    Ok(receive.message().await?.and_then(|heard| heard.message))
}

/// A failed task, one that succeeded after it was retried, and a message that could not be read.
fn batch(app: &str) -> v1::Batch {
    let secret = secret(app);
    let event = |kind: &str, id: u64, clock: u64| v1::Event {
        r#type: kind.to_owned(),
        hostname: WORKER.to_owned(),
        pid: Some(4711),
        clock: Some(clock),
        timestamp: Some(1_800_000_000.0),
        received_micros: micros(),
        uuid: Some(format!("{id:08x}-0000-4000-8000-{id:012x}")),
        ..v1::Event::default()
    };
    let received = |id, clock| v1::Event {
        name: Some(format!("{app}.task")),
        args: Some(format!("('{secret}',)")),
        kwargs: Some(format!("{{'password': '{secret}'}}")),
        ..event("task-received", id, clock)
    };
    let custom = std::collections::HashMap::from([("note".to_owned(), format!("\"{secret}\""))]);
    let events = [
        received(1, 1),
        event("task-started", 1, 2),
        v1::Event {
            custom,
            ..event("task-noted", 1, 3)
        },
        v1::Event {
            exception: Some(format!("ValueError('{secret}')")),
            traceback: Some(format!("Traceback: {secret}")),
            ..event("task-failed", 1, 4)
        },
        received(2, 5),
        v1::Event {
            exception: Some(format!("Retry('{secret}')")),
            traceback: Some(format!("Traceback: {secret}")),
            ..event("task-retried", 2, 6)
        },
        received(2, 7),
        v1::Event {
            result: Some(format!("'{secret}'")),
            runtime: Some(0.5),
            ..event("task-succeeded", 2, 8)
        },
    ];
    v1::Batch {
        sequence: 1,
        events: events
            .iter()
            .map(|event| event.encode_to_vec().into())
            .collect(),
        snapshots: vec![v1::Snapshot {
            hostname: WORKER.to_owned(),
            asked_micros: micros(),
            received_micros: micros(),
            configuration_json: Some(format!("{{\"beat_schedule\": \"{secret}\"}}")),
            pong: true,
            ..v1::Snapshot::default()
        }],
        report: Some(v1::InspectorReport {
            time_micros: micros(),
            subscription: v1::SubscriptionState::Live.into(),
            rejections: vec![v1::Rejection {
                reason: "the envelope cannot be read".to_owned(),
                count: 1,
                sample: Some(secret),
                ..v1::Rejection::default()
            }],
            ..v1::InspectorReport::default()
        }),
        ..v1::Batch::default()
    }
}

/// The command went out, and the worker answered.
fn report(order: &v1::CommandOrder, app: &str) -> v1::CommandReport {
    let publication = v1::CommandPublication {
        outcome: v1::CommandOutcome::Published.into(),
        published_micros: Some(micros()),
        ..v1::CommandPublication::default()
    };
    v1::CommandReport {
        request_id: order.request_id.clone(),
        publication: Some(publication),
        replies: vec![v1::CommandReply {
            worker: WORKER.to_owned(),
            value_json: format!("[{{\"kwargs\": \"{}\"}}]", secret(app)),
            received_micros: micros(),
            size: None,
        }],
    }
}

fn micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let since = since.expect("the clock is after 1970");
    i64::try_from(since.as_micros()).expect("it fits for 292,000 years")
}
