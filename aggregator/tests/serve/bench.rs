//! What the tests share: a server, a played inspector, events that read as sentences.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use celeriac_aggregator::config::{Auth, Config};
use celeriac_aggregator::history::Retention;
use celeriac_aggregator::run::{RunError, run};
use celeriac_aggregator::state::Limits;
use celeriac_process::LogFormat;
use celeriac_proto::v1;
use celeriac_proto::v1::attach_request::Message as Request;
use celeriac_proto::v1::attach_response::Message as Response;
use celeriac_proto::v1::ingest_service_client::IngestServiceClient;
use celeriac_proto::v1::inspection_service_client::InspectionServiceClient;
use celeriac_proto::v1::watch_service_client::WatchServiceClient;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

/// Longer than anything here takes, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running aggregator.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<Result<(), RunError>>,
}

impl Server {
    /// Starts one on `folder`.
    pub(crate) async fn start(folder: &Path) -> Self {
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let config = Config {
            auth: Auth::None,
            tls: None,
            listen: address,
            data_dir: folder.to_owned(),
            apps: Vec::new(),
            retention: Retention::OFF,
            limits: Limits::default(),
            allowed_commands: ["flush_cache".to_owned()].into(),
            log_format: LogFormat::Text,
        };
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(config, stop.clone()));
        let server = Self {
            address,
            stop,
            task,
        };
        let connected = async {
            while tokio::net::TcpStream::connect(address).await.is_err() {
                assert!(!server.task.is_finished(), "the aggregator ended");
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, connected).await.unwrap();
        server
    }

    /// Ends it in order.
    pub(crate) async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.task)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }

    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = Channel::from_shared(format!("http://{}", self.address)).unwrap();
        endpoint.connect().await.unwrap()
    }

    pub(crate) async fn inspection(&self) -> InspectionServiceClient<Channel> {
        InspectionServiceClient::new(self.channel().await)
    }

    pub(crate) async fn watching(&self) -> WatchServiceClient<Channel> {
        WatchServiceClient::new(self.channel().await)
    }

    /// Attaches a played inspector of the app `shop`.
    pub(crate) async fn attach(&self, instance: &str, epoch: i64) -> Inspector {
        Inspector::attach(self.channel().await, instance, epoch).await
    }

    /// Sends raw HTTP/1.1 and returns the answer's first line and body.
    pub(crate) async fn http(&self, path: &str, host: &str) -> (String, String) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = tokio::net::TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), body.to_owned())
    }
}

/// A played inspector.
pub(crate) struct Inspector {
    requests: mpsc::Sender<v1::AttachRequest>,
    responses: Streaming<v1::AttachResponse>,
    pub(crate) welcome: v1::Welcome,
}

impl Inspector {
    async fn attach(channel: Channel, instance: &str, epoch: i64) -> Self {
        let (requests, stream) = mpsc::channel(8);
        let hello = v1::Hello {
            app: "shop".to_owned(),
            instance: instance.to_owned(),
            epoch,
            version: "0.0.0".to_owned(),
            broker: None,
        };
        let first = v1::AttachRequest {
            message: Some(Request::Hello(hello)),
        };
        requests.send(first).await.unwrap();
        let stream = ReceiverStream::new(stream);
        let response = IngestServiceClient::new(channel)
            .attach(stream)
            .await
            .unwrap();
        let mut responses = response.into_inner();
        let Some(Response::Welcome(welcome)) = next(&mut responses).await.unwrap() else {
            panic!("the first answer is a welcome");
        };
        Self {
            requests,
            responses,
            welcome,
        }
    }

    pub(crate) async fn send(&self, sequence: u64, events: Vec<v1::Event>) {
        let batch = v1::Batch {
            sequence,
            events: encoded(&events),
            ..v1::Batch::default()
        };
        self.send_batch(batch).await;
    }

    pub(crate) async fn send_batch(&self, batch: v1::Batch) {
        let request = v1::AttachRequest {
            message: Some(Request::Batch(batch)),
        };
        self.requests.send(request).await.unwrap();
    }

    /// What the aggregator says next.
    pub(crate) async fn hear(&mut self) -> Result<Option<Response>, Status> {
        next(&mut self.responses).await
    }

    /// Waits until everything up to `sequence` is acknowledged.
    pub(crate) async fn acknowledged(&mut self, sequence: u64) {
        loop {
            match self.hear().await.unwrap() {
                Some(Response::Ack(ack)) if ack.sequence >= sequence => return,
                Some(_) => {}
                None => panic!("the stream ended before batch {sequence} was acknowledged"),
            }
        }
    }
}

async fn next(responses: &mut Streaming<v1::AttachResponse>) -> Result<Option<Response>, Status> {
    let message = tokio::time::timeout(PATIENCE, responses.message())
        .await
        .unwrap();
    Ok(message?.and_then(|response| response.message))
}

/// Events as a batch has them.
pub(crate) fn encoded(events: &[v1::Event]) -> Vec<bytes::Bytes> {
    let events = events.iter().map(|event| event.encode_to_vec().into());
    events.collect()
}

/// A worker that sends events.
pub(crate) struct Worker {
    pub(crate) clock: u64,
}

impl Worker {
    pub(crate) fn event(&mut self, event_type: &str, uuid: Option<&str>) -> v1::Event {
        self.clock += 1;
        let micros = 1_795_347_000_000_000 + i64::try_from(self.clock).unwrap() * 1_000;
        #[expect(
            clippy::cast_precision_loss,
            reason = "microseconds of this century fit 53 bits"
        )]
        let timestamp = micros as f64 / 1e6;
        v1::Event {
            r#type: event_type.to_owned(),
            hostname: "celery@w1".to_owned(),
            pid: Some(7),
            clock: Some(self.clock),
            timestamp: Some(timestamp),
            received_micros: micros,
            uuid: uuid.map(str::to_owned),
            ..v1::Event::default()
        }
    }

    pub(crate) fn receives(&mut self, task: &str, name: &str) -> v1::Event {
        v1::Event {
            name: Some(name.to_owned()),
            args: Some("(1,)".to_owned()),
            kwargs: Some("{'id': 3}".to_owned()),
            ..self.event("task-received", Some(task))
        }
    }

    /// A whole life of a task, from receipt to success.
    pub(crate) fn does(&mut self, task: &str, name: &str) -> Vec<v1::Event> {
        let end = |worker: &mut Self| v1::Event {
            result: Some("'done'".to_owned()),
            runtime: Some(0.25),
            ..worker.event("task-succeeded", Some(task))
        };
        vec![
            self.receives(task, name),
            self.event("task-started", Some(task)),
            end(self),
        ]
    }

    pub(crate) fn heartbeat(&mut self) -> v1::Event {
        v1::Event {
            freq: Some(2.0),
            active: Some(0),
            processed: Some(0),
            ..self.event("worker-heartbeat", None)
        }
    }
}

pub(crate) fn worker() -> Worker {
    Worker { clock: 0 }
}
