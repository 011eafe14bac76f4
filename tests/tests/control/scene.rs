//! Five workers of one Celery version, an aggregator that inspects them, and three witnesses: Celery's own client, the
//! notes that tasks write of themselves, and the events that workers publish.

use std::sync::Mutex;
use std::time::Duration;

use celeriac_tests::{Aggregator, Celery, Witness, Worker};
use serde_json::json;
use tempfile::TempDir;

use crate::broker::{Broker, Kind};
use crate::ears::Ears;
use crate::stage::Stage;

/// For how long anything is waited for: starts of processes and Celery's timers on a machine that does much else.
pub(crate) const SOON: Duration = Duration::from_mins(2);

/// Names of the workers; each consumes from a queue of its own name.
pub(crate) const FORK: &str = "prefork";
pub(crate) const AUTO: &str = "autoscaled";
pub(crate) const THREADS: &str = "threads";
pub(crate) const GEVENT: &str = "gevent";
pub(crate) const SOLO: &str = "solo";
pub(crate) const ALL: [&str; 5] = [FORK, AUTO, THREADS, GEVENT, SOLO];

pub(crate) struct Scene {
    pub(crate) version: String,
    pub(crate) broker: Broker,
    pub(crate) ears: Ears,
    pub(crate) aggregator: Aggregator,
    pub(crate) witness: Witness,
    /// The folder of the tasks' notes.
    pub(crate) notes: TempDir,
}

impl Scene {
    pub(crate) async fn set(version: &str, kind: Kind) -> (Self, Vec<Worker>) {
        let broker = Broker::start(kind).await;
        let ears = Ears::open(&broker);
        let notes = TempDir::new().expect("the temporary folder is writable");
        let celery = Celery::new(version, &broker.url())
            .env("DEMO_BACKEND", &broker.results.url())
            .truth(&notes.path().join("notes"));
        let mut workers: Vec<Worker> = ALL.iter().map(|name| worker(&celery, name)).collect();
        let witness = Witness::start(&celery);
        let aggregator = Aggregator::builder()
            .broker(&broker.url())
            .arg("--allow-command")
            .arg("demo_repeat")
            // So long that what is seen of a change is seen by the looks that follow the command.
            .arg("--round")
            .arg("10m")
            .start()
            .await;
        for worker in &mut workers {
            worker.ready().await;
        }
        let scene = Self {
            version: version.to_owned(),
            broker,
            ears,
            aggregator,
            witness,
            notes,
        };
        (scene, workers)
    }

    /// The stage of one worker.
    pub(crate) fn stage(&self, name: &'static str, worker: Worker) -> Stage<'_> {
        Stage {
            scene: self,
            name,
            worker: Mutex::new(worker),
            row: Mutex::new("start"),
        }
    }
}

fn worker(celery: &Celery, name: &str) -> Worker {
    // One goes without, so that the refusal is seen.
    let restarts = json!({"worker_pool_restarts": name != FORK});
    let celery = celery.clone().settings(&restarts);
    let pool = if name == AUTO { FORK } else { name };
    // Only the threads worker sends events from the start.
    let worker = celery.worker(name).pool(pool).events(name == THREADS);
    let worker = match name {
        AUTO => worker.arg("--autoscale=2,1"),
        _ => worker,
    };
    worker.queues([name]).launch()
}
