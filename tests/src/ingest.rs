//! An inspector made of nothing: attaches to an aggregator and sends batches whose content follows from their number.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use celeriac_proto::v1::attach_request::Message as Say;
use celeriac_proto::v1::attach_response::Message as Hear;
use celeriac_proto::v1::ingest_service_client::IngestServiceClient;
use celeriac_proto::v1::{
    AttachRequest, AttachResponse, Batch, Broker, Event, Hello, InspectorReport, InspectorRole,
    SubscriptionState,
};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

/// Tasks that a batch starts; the ones with an even number also succeed in it.
pub const TASKS_PER_BATCH: u64 = 10;
/// The worker that is said to run them.
pub const WORKER: &str = "celery@invented";

/// How long the aggregator may leave a batch without an answer, on a busy machine; the design's group commit takes 5 ms.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// One open stream of an invented inspector.
pub struct Attached {
    /// What the aggregator had on disk when the stream began.
    pub acknowledged: u64,
    /// The role it gave.
    pub role: InspectorRole,
    send: mpsc::Sender<AttachRequest>,
    receive: Streaming<AttachResponse>,
}

impl Attached {
    /// Attaches as `instance` in its life `epoch`.
    ///
    /// # Errors
    /// When the aggregator cannot be reached or refuses.
    pub async fn open(server: &str, instance: &str, epoch: i64) -> anyhow::Result<Self> {
        let mut client = IngestServiceClient::connect(server.to_owned()).await?;
        let (send, requests) = mpsc::channel(16);
        let hello = Hello {
            app: "default".to_owned(),
            instance: instance.to_owned(),
            epoch,
            version: "0.0.0".to_owned(),
            broker: Some(Broker {
                endpoint: "redis://invented:6379/0".to_owned(),
                transport: "redis".to_owned(),
                reachable: true,
                ..Default::default()
            }),
        };
        send.send(request(Say::Hello(hello))).await?;
        let mut receive = client
            .attach(ReceiverStream::new(requests))
            .await?
            .into_inner();
        let first = receive
            .message()
            .await?
            .context("the stream ended before `welcome`")?;
        let Some(Hear::Welcome(welcome)) = first.message else {
            bail!("the first response is not `welcome`: {first:?}");
        };
        Ok(Self {
            acknowledged: welcome.acknowledged_sequence,
            role: welcome.role(),
            send,
            receive,
        })
    }

    /// Sends a batch.
    ///
    /// # Errors
    /// When the stream is broken.
    pub async fn send(&self, batch: Batch) -> anyhow::Result<()> {
        Ok(self.send.send(request(Say::Batch(batch))).await?)
    }

    /// Waits for the next acknowledgement; other messages are passed over.
    ///
    /// # Errors
    /// When the stream is broken.
    pub async fn acknowledgement(&mut self) -> anyhow::Result<u64> {
        loop {
            let response = self.next().await?;
            if let Some(Hear::Ack(ack)) = response.message {
                return Ok(ack.sequence);
            }
        }
    }

    /// Waits for the next change of role.
    ///
    /// # Errors
    /// When the stream is broken.
    pub async fn next_role(&mut self) -> anyhow::Result<InspectorRole> {
        loop {
            let response = self.next().await?;
            if let Some(Hear::RoleChange(change)) = response.message {
                return Ok(change.role());
            }
        }
    }
}

impl Attached {
    async fn next(&mut self) -> anyhow::Result<AttachResponse> {
        let message = tokio::time::timeout(SILENCE_MAX, self.receive.message());
        let message = message.await.context("the aggregator is silent")??;
        message.context("the stream ended")
    }
}

/// The id of a task of a batch.
pub fn task_id(sequence: u64, number: u64) -> String {
    format!("{sequence:08x}-0000-4000-8000-{number:012x}")
}

/// The batch with this number: a heartbeat, and its tasks received and started, every second one succeeded.
pub fn batch(sequence: u64) -> Batch {
    let mut clock = sequence * 100;
    let mut events = vec![event("worker-heartbeat", &mut clock, |event| {
        event.freq = Some(2.0);
        event.active = Some(0);
        event.processed = Some(sequence * TASKS_PER_BATCH);
    })];
    for number in 0..TASKS_PER_BATCH {
        let uuid = task_id(sequence, number);
        events.push(event("task-received", &mut clock, |event| {
            event.uuid = Some(uuid.clone());
            event.name = Some("invented.task".to_owned());
            event.args = Some(format!("({sequence}, {number})"));
            event.kwargs = Some("{}".to_owned());
            event.root_id = Some(uuid.clone());
            event.retries = Some(0);
        }));
        events.push(event("task-started", &mut clock, |event| {
            event.uuid = Some(uuid.clone());
        }));
        if number.is_multiple_of(2) {
            events.push(event("task-succeeded", &mut clock, |event| {
                event.uuid = Some(uuid.clone());
                event.result = Some(format!("'{sequence}.{number}'"));
                event.runtime = Some(0.5);
            }));
        }
    }
    Batch {
        sequence,
        events: events
            .iter()
            .map(|event| event.encode_to_vec().into())
            .collect(),
        report: Some(InspectorReport {
            time_micros: now_micros(),
            subscription: SubscriptionState::Live.into(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn event(kind: &str, clock: &mut u64, fill: impl FnOnce(&mut Event)) -> Event {
    *clock += 1;
    let received_micros = now_micros();
    let mut event = Event {
        r#type: kind.to_owned(),
        hostname: WORKER.to_owned(),
        pid: Some(4711),
        clock: Some(*clock),
        // Follows from the clock, so that a batch sent again holds the same events.
        timestamp: Some(
            1_800_000_000.0 + f64::from(u32::try_from(*clock).unwrap_or(u32::MAX)) / 1e3,
        ),
        received_micros,
        ..Default::default()
    };
    fill(&mut event);
    event
}

fn request(message: Say) -> AttachRequest {
    AttachRequest {
        message: Some(message),
    }
}

fn now_micros() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
