//! The demand of a queue set of ten thousand workers, by a client with the limits that gRPC has of itself.

use std::time::SystemTime;

use celeriac_proto::v1;
use celeriac_proto::v1::demand_service_client::DemandServiceClient;
use prost::Message as _;

use crate::bench::{Inspector, Server, encoded, worker};

const WORKERS: usize = 10_000;
const IN_A_BATCH: usize = 500;
const QUEUES: [&str; 3] = [
    "transactional-mails",
    "marketing-newsletters",
    "password-resets",
];

/// The node of a pod with a name as long as Kubernetes makes one.
fn node(number: usize) -> String {
    let pool = "a-pool-of-workers-with-quite-a-long-name-of-its-own";
    format!("celery@{pool}-6d4cf56db6-{number:05}")
}

/// What inspectors tell of workers: that each is there, consumes all the queues, and has four processes, one of them busy.
fn told(numbers: std::ops::Range<usize>, now: i64) -> v1::Batch {
    let beat = |number: usize| v1::Event {
        hostname: node(number),
        pid: Some(1 + number as u64),
        received_micros: now,
        active: Some(1),
        ..worker().heartbeat()
    };
    let answer = |number: usize| v1::Snapshot {
        hostname: node(number),
        asked_micros: now,
        received_micros: now,
        stats: Some(v1::Stats {
            pid: Some(1 + number as u64),
            pool_implementation: Some("celery.concurrency.prefork:TaskPool".to_owned()),
            max_concurrency: Some(4),
            processes: vec![11, 12, 13, 14],
            ..v1::Stats::default()
        }),
        queues: Some(v1::QueueList {
            queues: QUEUES.map(queue).to_vec(),
        }),
        ..v1::Snapshot::default()
    };
    let events: Vec<v1::Event> = numbers.clone().map(beat).collect();
    v1::Batch {
        events: encoded(&events),
        snapshots: numbers.map(answer).collect(),
        ..v1::Batch::default()
    }
}

fn queue(name: &str) -> v1::ConsumedQueueAnswer {
    v1::ConsumedQueueAnswer {
        name: name.to_owned(),
        exchange: name.to_owned(),
        exchange_type: "direct".to_owned(),
        routing_key: name.to_owned(),
        max_priority: None,
    }
}

async fn tell_all(inspector: &mut Inspector) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = i64::try_from(now.unwrap().as_micros()).unwrap();
    let mut sequence = 0;
    for first in (0..WORKERS).step_by(IN_A_BATCH) {
        sequence += 1;
        let batch = told(first..first + IN_A_BATCH, now);
        inspector.send_batch(v1::Batch { sequence, ..batch }).await;
        inspector.acknowledged(sequence).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_workers_are_told_of_in_one_message_that_any_client_takes() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let mut inspector = server.attach("a", 1).await;
    tell_all(&mut inspector).await;

    let mut client = DemandServiceClient::new(server.channel().await);
    let request = v1::GetDemandRequest {
        app: "shop".to_owned(),
        queues: QUEUES.map(str::to_owned).to_vec(),
        worker_prefix: "celery@a-pool-of-workers-".to_owned(),
    };
    let answer = client.get_demand(request.clone()).await.unwrap();
    let demand = answer.into_inner().demand.unwrap();
    println!("{} bytes", demand.encoded_len());
    assert_eq!(demand.workers_left_out, 0);
    let names: Vec<&str> = demand.workers.iter().map(|one| &*one.name).collect();
    let expected: Vec<String> = (0..WORKERS).map(node).collect();
    assert_eq!(names, expected);
    let whole = |one: &v1::WorkerDemand| {
        one.accepting && one.slots == Some(4) && one.queues.as_ref().unwrap().names == QUEUES
    };
    assert!(demand.workers.iter().all(whole), "{:?}", demand.workers[0]);
    assert_eq!((demand.slots, demand.active), (40_000, 10_000));

    // A stream has the same.
    let request = v1::WatchDemandRequest {
        app: request.app,
        queues: request.queues,
        worker_prefix: request.worker_prefix,
    };
    let mut stream = client.watch_demand(request).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap().demand.unwrap();
    assert_eq!(first.workers.len(), WORKERS);
    drop(stream);
    server.end().await;
}
