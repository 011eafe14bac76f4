//! `celeriac-inspector run` as it is deployed: the binary between a real redis-server and an aggregator over gRPC that goes
//! away and comes back.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use celeriac_proto::v1;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use parking_lot::Mutex;
use prost::Message as _;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use v1::attach_request::Message as Said;
use v1::attach_response::Message as Heard;
use v1::ingest_service_server::{IngestService, IngestServiceServer};

#[path = "redis_transport/server.rs"]
#[expect(
    dead_code,
    reason = "shared with the transport's own tests, which use more of it"
)]
mod server;

use server::{Server, free_port};

const RECORDED: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../tests/fixtures/redis-events.jsonl"
));

/// Events in [`RECORDED`], by its README.
const EVENTS: usize = 2_703;

const DEADLINE: Duration = Duration::from_mins(1);

/// What an aggregator has on disk.
#[derive(Default)]
struct Disk {
    epoch: i64,
    sequence: u64,
    events: Vec<v1::Event>,
    gaps: Vec<v1::Gap>,
    report: Option<v1::InspectorReport>,
    depths: Option<v1::Depths>,
    hellos: Vec<v1::Hello>,
}

/// An aggregator that keeps the contract of `Attach`.
#[derive(Clone, Default)]
struct Aggregator {
    disk: Arc<Mutex<Disk>>,
    /// Cuts the streams of the present server.
    stop: CancellationToken,
}

type Answers = Pin<Box<dyn Stream<Item = Result<v1::AttachResponse, Status>> + Send>>;

#[tonic::async_trait]
impl IngestService for Aggregator {
    type AttachStream = Answers;

    async fn attach(
        &self,
        request: Request<Streaming<v1::AttachRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let mut requests = request.into_inner();
        let first = requests
            .message()
            .await?
            .and_then(|request| request.message);
        let Some(Said::Hello(hello)) = first else {
            return Err(Status::invalid_argument("hello comes first"));
        };
        let acknowledged_sequence = {
            let mut disk = self.disk.lock();
            if disk.epoch != hello.epoch {
                (disk.epoch, disk.sequence) = (hello.epoch, 0);
            }
            disk.hellos.push(hello);
            disk.sequence
        };
        let (answers, stream) = mpsc::channel(64);
        let role = v1::InspectorRole::Active.into();
        let welcome = Heard::Welcome(v1::Welcome {
            role,
            acknowledged_sequence,
        });
        let (disk, stop) = (self.disk.clone(), self.stop.clone());
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            let mut answer = Ok(welcome);
            loop {
                let failed = answer.is_err();
                let response = answer.map(|heard| v1::AttachResponse {
                    message: Some(heard),
                });
                if answers.send(response).await.is_err() || failed {
                    return;
                }
                let Some(Ok(request)) = requests.next().await else {
                    return;
                };
                let Some(Said::Batch(batch)) = request.message else {
                    return;
                };
                answer = disk.lock().store(batch);
            }
        }));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

impl Disk {
    fn store(&mut self, batch: v1::Batch) -> Result<Heard, Status> {
        if batch.sequence == self.sequence + 1 {
            self.sequence = batch.sequence;
            let events = batch.events.into_iter().map(v1::Event::decode);
            self.events
                .extend(events.map(|event| event.expect("an event")));
            self.gaps.extend(batch.gaps);
            self.report = batch.report.or(self.report.take());
            self.depths = batch.depths.or(self.depths.take());
        } else if batch.sequence > self.sequence {
            let hole = format!("batch {} follows {}", batch.sequence, self.sequence);
            return Err(Status::failed_precondition(hole));
        }
        Ok(Heard::Ack(v1::Ack {
            sequence: self.sequence,
        }))
    }
}

impl Aggregator {
    /// Serves on `address` until the token is cancelled; all streams are cut then.
    fn serve(&self, address: SocketAddr) -> CancellationToken {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("a socket option");
        socket.bind(address).expect("the port is free");
        let listener = socket.listen(16).expect("it is bound");
        let stop = CancellationToken::new();
        let service = Self {
            disk: self.disk.clone(),
            stop: stop.clone(),
        };
        let server = tonic::transport::Server::builder()
            .add_service(IngestServiceServer::new(service))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let stopped = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                served = server => served.expect("the server works"),
                () = stopped.cancelled() => {}
            }
        });
        stop
    }

    /// Waits until `enough` holds.
    async fn wait(&self, what: &str, enough: impl Fn(&Disk) -> bool) {
        let waiting = async {
            while !enough(&self.disk.lock()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let waited = tokio::time::timeout(DEADLINE, waiting).await;
        assert!(
            waited.is_ok(),
            "no {what}; {} events came",
            self.disk.lock().events.len()
        );
    }
}

/// An inspector that runs; killed when dropped.
struct Inspector(Child);

impl Inspector {
    /// Tells it to stop and waits for its end.
    async fn stop(&mut self) -> ExitStatus {
        let pid = i32::try_from(self.0.id()).expect("process ids are small");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("it runs");
        let ended = async {
            loop {
                if let Some(status) = self.0.try_wait().expect("a child can be asked") {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(DEADLINE, ended)
            .await
            .expect("it ends in time")
    }
}

impl Drop for Inspector {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn inspector(server: &Server, aggregator: SocketAddr, listen: SocketAddr) -> Inspector {
    let process = Command::new(env!("CARGO_BIN_EXE_celeriac-inspector"))
        .args(["run", "--app", "shop", "--instance", "shop-0"])
        .args(["--broker", &format!("redis://127.0.0.1:{}/0", server.port)])
        .args(["--aggregator", &aggregator.to_string()])
        .args(["--listen", &listen.to_string()])
        .env_remove("CELERIAC_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("the binary was built for this test");
    Inspector(process)
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

/// The status and body of a GET.
fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").expect("it reads");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("it answers");
    let (head, body) = response.split_once("\r\n\r\n").expect("a head and a body");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    (status.expect("a status"), body.to_owned())
}

async fn replay(server: &Server) {
    let url = format!("redis://127.0.0.1:{}/0", server.port);
    let client = redis::Client::open(url).expect("a URL");
    let mut connection = client
        .get_multiplexed_async_connection()
        .await
        .expect("the server answers");
    for line in RECORDED.lines() {
        let line: Value = serde_json::from_str(line).expect("fixtures are JSON lines");
        let (channel, payload) = (line["channel"].as_str(), line["payload"].as_str());
        redis::cmd("PUBLISH")
            .arg(channel.expect("a channel"))
            .arg(payload.expect("a payload"))
            .exec_async(&mut connection)
            .await
            .expect("the server answers");
    }
}

/// Keys on the broker that do not vanish by themselves within a minute. A reply list is kept for replies under way.
fn lasting_keys(server: &Server) -> Vec<String> {
    let url = format!("redis://127.0.0.1:{}/0", server.port);
    let mut connection = redis::Client::open(url)
        .and_then(|client| client.get_connection())
        .expect("it answers");
    let mut keys: Vec<String> = redis::cmd("KEYS")
        .arg("*")
        .query(&mut connection)
        .expect("it answers");
    keys.retain(|key| {
        let seconds: i64 = redis::cmd("TTL")
            .arg(key)
            .query(&mut connection)
            .expect("it answers");
        !(0..=60).contains(&seconds)
    });
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_while_the_aggregator_restarts() {
    let server = Server::start();
    let (address, listen) = (loopback(), loopback());
    let aggregator = Aggregator::default();
    let up = aggregator.serve(address);
    let mut process = inspector(&server, address, listen);
    let live = |disk: &Disk| {
        disk.report.as_ref().is_some_and(|report| {
            report.subscription() == v1::SubscriptionState::Live
                && report
                    .broker
                    .as_ref()
                    .is_some_and(|broker| broker.version.is_some())
        })
    };
    aggregator.wait("report of a live subscription", live).await;
    assert_eq!(get(listen, "/livez").0, 200);
    assert_eq!(get(listen, "/readyz").0, 200);

    replay(&server).await;
    aggregator
        .wait("recorded events", |disk| disk.events.len() == EVENTS)
        .await;
    up.cancel();
    // While it is away the inspector goes on reading.
    replay(&server).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (status, why) = get(listen, "/readyz");
    assert_eq!(
        (status, why.as_str()),
        (503, "not attached to an aggregator\n")
    );
    let up = aggregator.serve(address);
    aggregator
        .wait("events of the absence", |disk| {
            disk.events.len() == 2 * EVENTS
        })
        .await;

    let (_, metrics) = get(listen, "/metrics");
    let counted = format!("celeriac_inspector_events_total {}", 2 * EVENTS);
    assert!(metrics.lines().any(|line| line == counted), "{metrics}");
    assert!(process.stop().await.success());
    up.cancel();

    check_delivered(&aggregator.disk.lock(), &server);
    assert_eq!(
        lasting_keys(&server),
        Vec::<String>::new(),
        "nothing is left on the broker"
    );
}

/// Two replays came in one epoch, whole, in order and once.
fn check_delivered(disk: &Disk, server: &Server) {
    let hello = &disk.hellos[0];
    let named = (hello.app.as_str(), hello.instance.as_str());
    assert_eq!(named, ("shop", "shop-0"));
    let same_life = |again: &v1::Hello| again.epoch == hello.epoch;
    assert!(disk.hellos.iter().all(same_life), "one life, one epoch");
    let report = disk.report.as_ref().expect("it reported");
    let broker = report.broker.as_ref().expect("it names its broker");
    assert_eq!(
        broker.endpoint,
        format!("redis://127.0.0.1:{}/0", server.port)
    );
    assert!(
        broker
            .version
            .as_ref()
            .is_some_and(|version| version.starts_with("redis "))
    );
    assert_eq!(disk.gaps, vec![]);
    let (first, second) = disk.events.split_at(EVENTS);
    for (first, second) in first.iter().zip(second) {
        let again = v1::Event {
            received_micros: first.received_micros,
            ..second.clone()
        };
        assert_eq!(*first, again);
    }
    assert!(disk.depths.is_some(), "depths were read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_restarts_is_a_gap() {
    let mut server = Server::start();
    let (address, listen) = (loopback(), loopback());
    let aggregator = Aggregator::default();
    let _up = aggregator.serve(address);
    let _process = inspector(&server, address, listen);
    let subscription = |state: v1::SubscriptionState| {
        move |disk: &Disk| {
            disk.report
                .as_ref()
                .is_some_and(|one| one.subscription() == state)
        }
    };
    aggregator
        .wait("live report", subscription(v1::SubscriptionState::Live))
        .await;
    server.kill();
    aggregator
        .wait(
            "report of the loss",
            subscription(v1::SubscriptionState::Reconnecting),
        )
        .await;
    let broker = aggregator
        .disk
        .lock()
        .report
        .clone()
        .and_then(|report| report.broker);
    let broker = broker.expect("reported");
    assert!(!broker.reachable);
    assert!(broker.unreachable_reason.is_some(), "it says why");
    server.run();
    // Told when it begins, and with its end.
    aggregator.wait("gap", |disk| disk.gaps.len() == 2).await;
    aggregator
        .wait("live report", subscription(v1::SubscriptionState::Live))
        .await;
    let disk = aggregator.disk.lock();
    let [open, gap] = disk.gaps.as_slice() else {
        panic!("one gap is told twice: {:?}", disk.gaps);
    };
    assert_eq!((open.start_time, open.end_time), (gap.start_time, None));
    assert_eq!(
        (gap.cause(), gap.app.as_str()),
        (v1::GapCause::Reconnect, "shop")
    );
    let micros = |time: &Option<prost_types::Timestamp>| {
        time.as_ref()
            .map(|time| time.seconds * 1_000_000 + i64::from(time.nanos / 1_000))
    };
    assert!(micros(&gap.start_time) < micros(&gap.end_time));
}
