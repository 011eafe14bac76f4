//! One version: workers of every pool on every broker, and what is seen of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use celeriac_proto::v1::control_service_client::ControlServiceClient;
use celeriac_proto::v1::execute_command_request::Command;
use celeriac_proto::v1::{self, AnswerKind, WorkerStatus};
use celeriac_tests::{Aggregator, Celery, Worker, eventually};
use serde_json::json;
use tempfile::TempDir;

use crate::brokers::{ALL, Broker, Brokers};

/// For how long anything is waited for: thirteen workers start at once, on a machine that does much else.
const SOON: Duration = Duration::from_mins(3);

/// Each worker has the name of its pool, and so has its queue.
pub(crate) const POOLS: [&str; 4] = ["prefork", "threads", "gevent", "solo"];

/// Short tasks behind one that holds its worker.
const BEHIND: i64 = 5;

/// Sends a task that holds, and short ones behind it, to each queue on each broker; their ids.
const SEND: &str = r"
ids = {}
for url in URLS:
    with app.connection_for_write(url) as connection:
        for pool in POOLS:
            sent = [hold.apply_async(queue=pool, connection=connection).id]
            sent += [add.apply_async((1, 1), queue=pool, connection=connection).id for _ in range(BEHIND)]
            ids[url + ' ' + pool] = sent
print(json.dumps(ids))
";

/// One version on one broker.
pub(crate) struct Row {
    pub(crate) celery: String,
    pub(crate) broker: String,
    /// By pool.
    pub(crate) cells: [String; 4],
}

/// A version on one broker, while its workers run.
struct Scene<'a> {
    version: &'static str,
    broker: Broker,
    app: String,
    brokers: &'a Brokers,
    aggregator: &'a Aggregator,
    workers: Vec<Worker>,
}

/// Runs one version.
pub(crate) async fn version(
    version: &'static str,
    brokers: &Brokers,
    aggregator: &Aggregator,
) -> Vec<Row> {
    let notes = TempDir::new().expect("the temporary folder is writable");
    let notes = notes.path().join("notes");
    let mut scenes: Vec<Scene<'_>> = ALL
        .into_iter()
        .map(|broker| Scene::set(version, broker, brokers, aggregator, &notes))
        .collect();
    let mut refused = Vec::new();
    let mut seen = Vec::new();
    for scene in &mut scenes {
        if scene.broker == Broker::Rabbit4Strict && !can_do_without(version) {
            refused.push(scene.refused().await);
        } else {
            scene.ready().await;
            seen.push(&*scene);
        }
    }
    let mut celery = String::new();
    let mut cells = Vec::new();
    for scene in &seen {
        let workers = scene.snapshots().await;
        celery = workers[0].software.clone().unwrap_or_default();
        cells.push(POOLS.map(|pool| cell(version, &workers, pool)));
        scene.commands().await;
    }
    let ids = sent(version, &seen, &notes);
    for scene in &seen {
        scene.depths().await;
    }
    for first in ids.values().map(|ids| &ids[0]) {
        std::fs::write(format!("{}.{first}", notes.display()), "").expect("it is writable");
    }
    for scene in &seen {
        scene.events(&ids).await;
    }
    let row = |broker: Broker, cells: [String; 4]| Row {
        celery: celery.rsplit(' ').next().unwrap_or_default().to_owned(),
        broker: brokers.called(broker).expect("it answers"),
        cells,
    };
    let mut rows: Vec<Row> = seen
        .iter()
        .zip(cells)
        .map(|(scene, cells)| row(scene.broker, cells))
        .collect();
    rows.extend(
        refused
            .into_iter()
            .map(|cells| row(Broker::Rabbit4Strict, cells)),
    );
    rows
}

/// The cell of a pool of which everything was seen; the notes are those of `matrix.txt`.
fn cell(version: &str, workers: &[v1::Worker], pool: &str) -> String {
    let worker = workers.iter().find(|worker| worker.name == node(pool));
    let named = worker.is_some_and(|worker| {
        let inspection = worker.inspection.as_ref();
        inspection.is_some_and(|inspection| inspection.pool.is_some())
    });
    match (named, overwrites(version, pool)) {
        (true, false) => "yes",
        (true, true) => "yes (2)",
        (false, false) => "yes (1)",
        (false, true) => "yes (1) (2)",
    }
    .to_owned()
}

/// Whether a worker overwrites events of its own: before 5.7, `EventDispatcher.flush` empties a list that it has published and
/// that threads of the pool have added to meanwhile.
fn overwrites(version: &str, pool: &str) -> bool {
    pool == "threads" && version != "5.7"
}

/// The name of the worker of a pool.
fn node(pool: &str) -> String {
    format!("celery@{pool}")
}

/// Whether its workers run where queues that are neither durable nor exclusive are refused.
fn can_do_without(version: &str) -> bool {
    version == "5.7"
}

/// Sends the tasks; their ids by URL and queue.
fn sent(version: &str, seen: &[&Scene<'_>], notes: &Path) -> BTreeMap<String, Vec<String>> {
    let urls: Vec<String> = seen.iter().map(|scene| scene.url()).collect();
    let celery = Celery::new(version, &urls[0]).env("DEMO_BACKEND", "disabled://");
    let said = celery.truth(notes).run(&format!(
        "URLS, POOLS, BEHIND = {}, {}, {BEHIND}\n{SEND}",
        json!(urls),
        json!(POOLS)
    ));
    serde_json::from_str(&said).expect("it prints JSON")
}

impl<'a> Scene<'a> {
    /// Launches its workers.
    fn set(
        version: &'static str,
        broker: Broker,
        brokers: &'a Brokers,
        aggregator: &'a Aggregator,
        notes: &Path,
    ) -> Self {
        let url = brokers.url(broker, version);
        let celery = Celery::new(version, &url)
            .env("DEMO_BACKEND", "disabled://")
            .truth(notes)
            .settings(&json!({"worker_prefetch_multiplier": 1}));
        // All pools say the same to a broker that refuses what they ask for.
        let pools = if broker == Broker::Rabbit4Strict && !can_do_without(version) {
            &POOLS[..1]
        } else {
            &POOLS[..]
        };
        let launch = |pool: &&str| {
            let worker = celery.worker(pool).pool(pool).concurrency(1);
            worker.queues([*pool]).launch()
        };
        Self {
            version,
            broker,
            app: broker.app(version),
            brokers,
            aggregator,
            workers: pools.iter().map(launch).collect(),
        }
    }

    fn url(&self) -> String {
        self.brokers.url(self.broker, self.version)
    }

    async fn ready(&mut self) {
        for worker in &mut self.workers {
            worker.ready().await;
        }
    }

    /// A worker that the broker refuses: what is said in the cells of its pools, of which one is run.
    async fn refused(&mut self) -> [String; 4] {
        let worker = &mut self.workers[0];
        let what = format!("{} {} is refused", self.app, worker.name);
        eventually(&what, SOON, async || {
            let log = worker.process.log();
            ensure!(log.contains("transient_nonexcl_queues"), "{log}");
            Ok(())
        })
        .await;
        worker.kill9();
        let known = self.of_app().await.expect("it serves");
        // Events are published before it declares what is refused.
        let online = known.iter().any(|worker| worker.inspection.is_some());
        assert!(!online, "it never listened: {known:?}");
        POOLS.map(|pool| match pool {
            "prefork" => "refused (3)".to_owned(),
            _ => "not run".to_owned(),
        })
    }

    async fn of_app(&self) -> Result<Vec<v1::Worker>> {
        let mut workers = self.aggregator.workers().await?;
        workers.retain(|worker| worker.app == self.app);
        Ok(workers)
    }

    /// Waits until each worker has been looked at; what is known of them.
    async fn snapshots(&self) -> Vec<v1::Worker> {
        let what = format!("{}: snapshots", self.app);
        let workers = eventually(&what, SOON, async || {
            let workers = self.of_app().await?;
            for pool in POOLS {
                let name = node(pool);
                let worker = workers.iter().find(|worker| worker.name == name);
                let worker = worker.with_context(|| format!("{name} is not known"))?;
                ensure!(worker.status() == WorkerStatus::Online, "{worker:?}");
                let inspection = worker.inspection.as_ref();
                let inspection = inspection.with_context(|| format!("{name} is not looked at"))?;
                let queues: Vec<&str> = inspection.queues.iter().map(|q| q.name.as_str()).collect();
                ensure!(queues == [pool], "{worker:?}");
                // `celery.concurrency.thread:TaskPool`, since 5.3.
                let module = pool.trim_end_matches('s');
                let right = inspection
                    .pool
                    .as_ref()
                    .is_none_or(|told| told.contains(module));
                ensure!(right, "{worker:?}");
                ensure!(inspection.max_concurrency == Some(1), "{worker:?}");
            }
            Ok(workers)
        })
        .await;
        let said = workers[0].software.clone().unwrap_or_default();
        assert!(said.contains(self.version), "{said}");
        workers
    }

    /// Each worker answers and takes a rate limit.
    async fn commands(&self) {
        let limit = v1::RateLimitCommand {
            task_name: "demo.fail".to_owned(),
            rate_limit: "10/m".to_owned(),
        };
        let ping = Command::Ping(v1::PingCommand {});
        for command in [ping, Command::RateLimit(limit)] {
            let answers = self.tell(command).await;
            assert_eq!(answers.len(), POOLS.len(), "{}: {answers:?}", self.app);
            for answer in &answers {
                assert_eq!(answer.kind(), AnswerKind::Ok, "{}: {answer:?}", self.app);
            }
        }
    }

    async fn tell(&self, command: Command) -> Vec<v1::CommandAnswer> {
        let request = v1::ExecuteCommandRequest {
            app: self.app.clone(),
            request_id: uuid::Uuid::new_v4().to_string(),
            destination: POOLS.map(node).to_vec(),
            wait: Some(prost_types::Duration {
                seconds: 60,
                nanos: 0,
            }),
            command: Some(command),
            ..Default::default()
        };
        let address = format!("http://{}", self.aggregator.address());
        let mut client = ControlServiceClient::connect(address)
            .await
            .expect("it serves");
        let answer = client.execute_command(request).await;
        let record = answer.expect("it is taken").into_inner().record;
        record.expect("a record").answers
    }

    /// Each queue has what its worker has not fetched, and its worker.
    async fn depths(&self) {
        let what = format!("{}: depths", self.app);
        eventually(&what, SOON, async || {
            let queues = self.aggregator.queues().await?;
            for pool in POOLS {
                let mut ours = queues.iter().filter(|queue| queue.app == self.app);
                let queue = ours.find(|queue| queue.name == pool);
                let queue = queue.with_context(|| format!("no {pool}: {queues:?}"))?;
                let truth = self.brokers.ready(self.broker, self.version, pool)?;
                let seen = (queue.ready, queue.consumers);
                ensure!(seen == (Some(truth), Some(1)), "{seen:?}, in truth {truth}");
                // One runs, one is prefetched.
                ensure!(truth >= BEHIND - 1, "{pool}: {truth}");
            }
            Ok(())
        })
        .await;
    }

    /// Each task has run on its worker, as its events tell; what the worker itself lost of them is counted.
    async fn events(&self, ids: &BTreeMap<String, Vec<String>>) {
        let what = format!("{}: events", self.app);
        eventually(&what, SOON, async || {
            let tasks = self.aggregator.tasks("finished = true").await?;
            let workers = self.of_app().await?;
            for pool in POOLS {
                let all = BEHIND.unsigned_abs() + 1;
                let worker = workers.iter().find(|worker| worker.name == node(pool));
                let worker = worker.context("it is known")?;
                let started = worker.event_counts.get("task-started").copied();
                let missed = worker.missed_starts.unwrap_or_default();
                ensure!(started.unwrap_or_default() + missed == all, "{worker:?}");
                if overwrites(self.version, pool) {
                    continue;
                }
                ensure!(missed == 0, "{worker:?}");
                for id in &ids[&format!("{} {pool}", self.url())] {
                    let task = tasks.iter().find(|task| task.id == *id);
                    let task = task.with_context(|| format!("{pool} {id} has not ended"))?;
                    ensure!(task.app == self.app && task.state == "SUCCESS", "{task:?}");
                    let [attempt] = task.attempts.as_slice() else {
                        anyhow::bail!("not one attempt: {task:?}");
                    };
                    let name = node(pool);
                    ensure!(attempt.worker.as_ref() == Some(&name), "{task:?}");
                    let times = [attempt.received_time, attempt.started_time];
                    ensure!(times.iter().all(Option::is_some), "{task:?}");
                }
            }
            Ok(())
        })
        .await;
    }
}
