//! The other way round: what an aggregator tells of one worker. One stream, opened again after a loss, for as long as
//! somebody listens.

use std::time::Duration;

use celeriac_proto::v1;
use prost_types::Timestamp;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use v1::watch_delta::Change;
use v1::watch_item::Item;
use v1::watch_response::Message;
use v1::watch_service_client::WatchServiceClient;

use super::{GrpcConnector, LinkError};

/// A stream that says nothing for so long is dead: the aggregator sends a heartbeat after 15 s.
const SILENCE: Duration = Duration::from_secs(45);

/// Pause before a stream is opened again; doubles up to [`PAUSE_MAX`], and each is spread from half of it to one and a half:
/// a thousand sidecars lose their streams at the same moment.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_mins(1);

/// What is heard.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// The stream is open, or still is.
    Alive,
    /// The worker, as it is now.
    Worker(Told),
    /// The aggregator does not know the worker (any more).
    Unknown,
    /// There is no stream, and why.
    Lost(String),
}

/// What an aggregator knows of a worker. Ages are as of now, by the aggregator's and the inspector's clocks.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Told {
    /// Counts the lives of its process that the aggregator has seen.
    pub life: Option<u64>,
    /// For how long this life is known.
    pub life_age: Option<Duration>,
    /// How long ago its last heartbeat came, with the numbers below; none without heartbeats.
    pub heartbeat_age: Option<Duration>,
    /// Tasks running, as of its last heartbeat.
    pub active: Option<u64>,
    /// Tasks started in this life, as of its last heartbeat.
    pub processed: Option<u64>,
    /// What it answered last.
    pub inspected: Option<Inspected>,
}

/// A worker's last answers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inspected {
    /// How long ago the last came.
    pub age: Duration,
    /// The kind of pool.
    pub pool: Option<String>,
    /// Tasks running.
    pub active: Option<u64>,
    /// Tasks prefetched and not running.
    pub reserved: Option<u64>,
    /// Tasks that wait for their ETA.
    pub scheduled: Option<u64>,
    /// Names of the queues it consumes from.
    pub queues: Option<Vec<String>>,
}

/// Tells of a worker of an app, until nobody listens.
pub async fn watch(connector: GrpcConnector, app: String, worker: String, out: mpsc::Sender<News>) {
    let mut pause = PAUSE_MIN;
    loop {
        let mut heard = false;
        let ended = tokio::select! {
            ended = follow(&connector, &app, &worker, &out, &mut heard) => ended,
            () = out.closed() => return,
        };
        let Err(error) = ended else {
            return;
        };
        let words = celeriac_process::error_chain(&error);
        if out.send(News::Lost(words)).await.is_err() {
            return;
        }
        pause = if heard {
            PAUSE_MIN
        } else {
            PAUSE_MAX.min(pause * 2)
        };
        sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
    }
}

/// Follows one stream to its end. `Ok` is that nobody listens.
async fn follow(
    connector: &GrpcConnector,
    app: &str,
    worker: &str,
    out: &mpsc::Sender<News>,
    heard: &mut bool,
) -> Result<(), LinkError> {
    let (channel, token) = connector.connect().await?;
    let mut request = tonic::Request::new(v1::WatchRequest {
        app: app.to_owned(),
        worker: worker.to_owned(),
        ..v1::WatchRequest::default()
    });
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", token);
    }
    let refused = |status| LinkError::Refused(Box::new(status));
    let silent = |_elapsed| LinkError::Timeout {
        what: "with a heartbeat",
    };
    let mut client = WatchServiceClient::new(channel);
    let opened = timeout(SILENCE, client.watch(request)).await;
    let mut stream = opened.map_err(silent)?.map_err(refused)?.into_inner();
    loop {
        let next = timeout(SILENCE, stream.message()).await;
        let next = next.map_err(silent)?.map_err(refused)?;
        let Some(response) = next else {
            return Err(LinkError::Closed);
        };
        *heard = true;
        if out.send(news(response)).await.is_err() {
            return Ok(());
        }
    }
}

fn news(response: v1::WatchResponse) -> News {
    let now = response.time;
    let item = match response.message {
        Some(Message::Item(item)) => item.item,
        Some(Message::Delta(delta)) => match delta.change {
            Some(Change::Set(item)) => item.item,
            Some(Change::Removed(_)) => return News::Unknown,
            None => None,
        },
        Some(Message::SnapshotEnd(end)) if end.items == 0 => return News::Unknown,
        _ => None,
    };
    match item {
        Some(Item::Worker(worker)) => News::Worker(told(now.as_ref(), &worker)),
        _ => News::Alive,
    }
}

fn told(now: Option<&Timestamp>, worker: &v1::Worker) -> Told {
    let age = |at: Option<&Timestamp>| Some(since(now?, at?));
    let life = worker.incarnation.as_ref();
    Told {
        life: life.map(|life| life.number),
        life_age: age(life.and_then(|life| life.first_seen.as_ref())),
        heartbeat_age: age(worker.last_heartbeat.as_ref()),
        active: count(worker.active),
        processed: count(worker.processed),
        inspected: worker.inspection.as_ref().and_then(|inspection| {
            Some(Inspected {
                age: age(inspection.time.as_ref())?,
                pool: inspection.pool.clone(),
                active: count(inspection.active),
                reserved: count(inspection.reserved),
                scheduled: count(inspection.scheduled),
                queues: inspection.queues_known.then(|| {
                    let queues = inspection.queues.iter();
                    queues.map(|queue| queue.name.clone()).collect()
                }),
            })
        }),
    }
}

fn count(number: Option<i64>) -> Option<u64> {
    number.and_then(|number| u64::try_from(number).ok())
}

/// The time from `then` to `now`; zero when `then` is later, which two clocks may say.
fn since(now: &Timestamp, then: &Timestamp) -> Duration {
    let micros = |time: &Timestamp| time.seconds * 1_000_000 + i64::from(time.nanos) / 1_000;
    let micros = micros(now).saturating_sub(micros(then));
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp { seconds, nanos: 0 }
    }

    fn of(worker: v1::Worker) -> News {
        let item = v1::WatchItem {
            item: Some(Item::Worker(worker)),
        };
        news(v1::WatchResponse {
            time: Some(at(1_000)),
            message: Some(Message::Item(item)),
            ..v1::WatchResponse::default()
        })
    }

    #[test]
    fn ages_are_those_at_the_aggregator() {
        let worker = v1::Worker {
            last_heartbeat: Some(at(998)),
            active: Some(1),
            processed: Some(7),
            inspection: Some(v1::WorkerInspection {
                time: Some(at(1_001)),
                pool: Some("solo".to_owned()),
                scheduled: Some(0),
                queues_known: true,
                ..v1::WorkerInspection::default()
            }),
            ..v1::Worker::default()
        };
        let News::Worker(told) = of(worker) else {
            panic!("it is a worker");
        };
        assert_eq!(told.heartbeat_age, Some(Duration::from_secs(2)));
        assert_eq!((told.active, told.processed), (Some(1), Some(7)));
        let inspected = told.inspected.expect("it has answered");
        // Another clock's time, a second ahead.
        assert_eq!(inspected.age, Duration::ZERO);
        assert_eq!((inspected.active, inspected.scheduled), (None, Some(0)));
        assert_eq!(inspected.queues, Some(vec![]));
    }

    #[test]
    fn a_worker_that_is_not_there_is_unknown() {
        let empty = Message::SnapshotEnd(v1::SnapshotEnd { items: 0 });
        let removed = Message::Delta(v1::WatchDelta {
            change: Some(Change::Removed(v1::Removed::default())),
        });
        for message in [empty, removed] {
            let response = v1::WatchResponse {
                message: Some(message),
                ..v1::WatchResponse::default()
            };
            assert_eq!(news(response), News::Unknown);
        }
        let heartbeat = v1::WatchResponse {
            message: Some(Message::Heartbeat(v1::Heartbeat {})),
            ..v1::WatchResponse::default()
        };
        assert_eq!(news(heartbeat), News::Alive);
    }
}
