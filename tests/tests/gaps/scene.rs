//! Real workers with a load and a log of their own, and what is compared with that log.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use celeriac_proto::v1::{Gap, Task, Worker};
use celeriac_tests::paths::Profile;
use celeriac_tests::{Aggregator, Celery, Inspector, Redis, celery, eventually};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::broker::Broker;

pub(crate) const SOON: Duration = Duration::from_mins(1);
/// All tasks of a load, on a busy machine.
pub(crate) const LOAD: Duration = Duration::from_mins(6);
/// A start waits for the next turn of its worker's loop before it is told: one that was told too late to be heard may be
/// this much older than the gap.
const TOLD_WITHIN: f64 = 2.0;

/// Workers with a load of their own, an inspector and an aggregator in processes of their own.
pub(crate) struct Scene<B> {
    pub(crate) broker: B,
    pub(crate) aggregator: Aggregator,
    pub(crate) inspector: Inspector,
    workers: Vec<celery::Worker>,
    celery: Celery,
    folder: TempDir,
    pub(crate) tasks: usize,
}

/// What a worker logs when its connection broke.
const BROKEN: &str = "Connection to broker lost";
/// Slots of the largest worker.
const SLOTS_MAX: u64 = 4;

/// What the workers' log says of one task.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    /// Each start: worker and time. One that comes again after its connection broke may be another worker's.
    starts: Vec<(String, f64)>,
    ends: Vec<String>,
}

impl<B: Broker> Scene<B> {
    /// Prefork, threads and solo at work on `tasks` tasks.
    pub(crate) async fn start(broker: B, tasks: usize, inspector: &[&str]) -> Self {
        let folder = TempDir::new().expect("the temporary folder is writable");
        let mut settings = broker.settings();
        settings["worker_prefetch_multiplier"] = json!(16);
        let mut celery = Celery::new("5.7", &broker.url())
            .truth(&folder.path().join("truth"))
            .settings(&settings);
        if let Some(results) = broker.results() {
            celery = celery.env("DEMO_BACKEND", results);
        }
        let aggregator = Aggregator::builder().start().await;
        let inspector = start_inspector(&broker, &aggregator, inspector);
        let mut workers = Vec::new();
        for (name, pool, concurrency) in [
            ("fork", "prefork", 2),
            ("thread", "threads", 4),
            ("solo", "solo", 1),
        ] {
            workers.push(
                celery
                    .worker(name)
                    .pool(pool)
                    .concurrency(concurrency)
                    .launch(),
            );
        }
        for worker in &mut workers {
            worker.ready().await;
        }
        let scene = Self {
            broker,
            aggregator,
            inspector,
            workers,
            celery,
            folder,
            tasks,
        };
        eventually("all workers have told their counters", SOON, async || {
            let workers = scene.aggregator.workers().await?;
            let told = workers.iter().filter(|worker| worker.processed.is_some());
            ensure!(told.count() == 3, "{workers:?}");
            Ok(())
        })
        .await;
        scene
    }

    /// Sends all tasks to a queue that nobody consumes, then has all workers consume it at once, so that they are as fast
    /// as they can be. Returns when some have been seen.
    pub(crate) async fn load(&self) {
        let send = format!(
            "with app.producer_pool.acquire(block=True) as producer:\n    for n in range({}):\n        \
             add.apply_async((n, n), queue='load', producer=producer)\n",
            self.tasks
        );
        self.celery.run(&send);
        let consume =
            "assert len(app.control.add_consumer('load', reply=True, limit=3, timeout=20)) == 3";
        self.celery.run(consume);
        // Of each: a worker that no task event came of is not known to send any, and nothing is counted for it.
        let some = self.tasks as u64 / 20;
        eventually("work of each worker has been seen", SOON, async || {
            let seen = self.starts_seen().await?;
            let each = seen.len() == 3 && seen.values().all(|starts| *starts > 0);
            ensure!(
                each && seen.values().sum::<u64>() >= some,
                "{seen:?} of {some}"
            );
            Ok(())
        })
        .await;
    }

    /// `task-started` events that the aggregator has, by worker.
    pub(crate) async fn starts_seen(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        let seen = |worker: Worker| {
            let starts = worker.event_counts.get("task-started").copied();
            (worker.name, starts.unwrap_or_default())
        };
        Ok(self
            .aggregator
            .workers()
            .await?
            .into_iter()
            .map(seen)
            .collect())
    }

    pub(crate) fn truth(&self) -> BTreeMap<String, Truth> {
        read_truth(&self.folder.path().join("truth"))
    }

    /// Waits until the workers have done all there is, and says how fast they were since `since`.
    pub(crate) async fn worked_off(&self, since: Instant, before: usize) -> f64 {
        // What a worker held when its connection broke comes again after an hour: so an empty queue is the end, not the
        // last task.
        let mut last = (0, Instant::now());
        eventually("the queue is worked off", LOAD, async || {
            let left = self.broker.left("load")?;
            let truth = self.truth();
            let done = truth.values().filter(|task| !task.ends.is_empty()).count();
            if last.0 != done {
                last = (done, Instant::now());
            }
            let begun = truth.len();
            let still = last.1.elapsed() > Duration::from_secs(5);
            ensure!(
                left == 0 && still,
                "{left} left, {done} done, {begun} begun"
            );
            Ok(())
        })
        .await;
        #[expect(clippy::cast_precision_loss, reason = "a rate to be read by people")]
        let rate = (last.0 - before) as f64 / last.1.duration_since(since).as_secs_f64();
        rate
    }

    /// Tasks that have ended, by the workers' log.
    pub(crate) fn done(&self) -> usize {
        let truth = self.truth();
        truth.values().filter(|task| !task.ends.is_empty()).count()
    }

    /// Starts truly missed, by worker: those in the workers' log that the aggregator has no event of.
    async fn truly_missed(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        let mut missed: BTreeMap<String, u64> = BTreeMap::new();
        for task in self.truth().into_values() {
            for (worker, _) in task.starts {
                *missed.entry(worker).or_default() += 1;
            }
        }
        for (worker, seen) in self.starts_seen().await? {
            let missed = missed.entry(worker).or_default();
            *missed = missed
                .checked_sub(seen)
                .context("more seen than there were")?;
        }
        Ok(missed)
    }

    /// Workers that a broken connection ended: kombu 5.7 gives messages back to a broker whose connection it has just closed
    /// (`restore_unacked_once`), and the worker takes that for an error it cannot recover from.
    pub(crate) fn crashed(&self) -> BTreeSet<String> {
        let crashed =
            |worker: &&celery::Worker| worker.process.log().contains("Unrecoverable error");
        let workers = self.workers.iter().filter(crashed);
        workers.map(|worker| worker.name.clone()).collect()
    }

    /// Waits until what is reported as missed is what was truly missed, and sees that it stays so.
    ///
    /// A worker that has crashed counts its last starts no more: of those no more is reported than was missed. One whose
    /// connection broke may not count a start that its pool told of just then: so many as were running at once.
    pub(crate) async fn counted(&self) -> BTreeMap<String, u64> {
        let check = async || {
            let (crashed, truth) = (self.crashed(), self.truly_missed().await?);
            let workers = self.aggregator.workers().await?;
            let mut counted = BTreeMap::new();
            for worker in &workers {
                let (reported, truly) = (worker.missed_starts, truth[&worker.name]);
                let broken = worker_log(&self.workers, &worker.name).contains(BROKEN);
                let uncounted = if broken { SLOTS_MAX } else { 0 };
                let right = match reported {
                    Some(reported) if crashed.contains(&worker.name) => reported <= truly,
                    Some(reported) => (truly.saturating_sub(uncounted)..=truly).contains(&reported),
                    None => false,
                };
                ensure!(right, "reported {reported:?}, truly {truly}: {worker:?}");
                // Each is in a gap, and nothing else is.
                let in_gaps: u64 = worker.gaps.iter().filter_map(|gap| gap.missed_starts).sum();
                ensure!(Some(in_gaps) == reported, "{in_gaps} in gaps: {worker:?}");
                counted.insert(worker.name.clone(), in_gaps);
            }
            Ok(counted)
        };
        eventually("the missed starts are counted", SOON, check).await;
        tokio::time::sleep(Duration::from_secs(6)).await;
        check().await.expect("it stays so")
    }

    /// The gaps of the app, newest first.
    pub(crate) async fn gaps(&self) -> Vec<Gap> {
        self.aggregator.app().await.expect("it serves").gaps
    }

    /// Each start that was missed happened within a gap.
    pub(crate) async fn assert_within(&self) {
        let tasks = self.aggregator.tasks("").await.expect("it serves");
        let known: BTreeSet<String> = tasks
            .into_iter()
            .filter(|task| task.started_time.is_some())
            .map(|task| task.id)
            .collect();
        let gaps = self.gaps().await;
        let within = |time: f64| {
            gaps.iter().any(|gap| {
                let from = seconds(gap.start_time.as_ref());
                let to = seconds(gap.end_time.as_ref());
                time >= from - TOLD_WITHIN && time <= to
            })
        };
        for (id, task) in self.truth() {
            assert!(
                known.contains(&id) || task.starts.iter().all(|(_, time)| within(*time)),
                "{id} started at {:?} and was missed; the gaps are {gaps:?}",
                task.starts
            );
        }
    }

    /// Nothing that is shown as begun never was, by the workers' log.
    pub(crate) async fn assert_begun_truly(&self) {
        let truth = self.truth();
        let tasks = self.aggregator.tasks("").await.expect("it serves");
        let begun = |task: &&Task| {
            task.started_time.is_some() || !["PENDING", "RECEIVED"].contains(&task.state.as_str())
        };
        for task in tasks.iter().filter(begun) {
            let truly = truth.get(&task.id);
            assert!(truly.is_some(), "{task:?} never began");
        }
    }

    /// Tasks that the workers themselves say they have. After a broken connection a worker may list one that has ended for
    /// ever: what its pool told of the end was for the connection before.
    fn listed(&self) -> BTreeSet<String> {
        let ask = "import json\ninspect = app.control.inspect(timeout=5)\n\
                   lists = [*(inspect.active() or {}).values(), *(inspect.reserved() or {}).values()]\n\
                   print(json.dumps([task['id'] for tasks in lists for task in tasks]))";
        serde_json::from_str(&self.celery.run(ask)).expect("the snippet prints JSON")
    }

    /// Every task that is shown is as it truly is, or says that this is not known, or is as its worker says.
    pub(crate) async fn assert_true_or_unknown(&self) {
        let truth = self.truth();
        let listed = self.listed();
        let wrong = |task: &&Task| {
            let ends = truth.get(&task.id).map(|task| task.ends.as_slice());
            let returned = ends.is_some_and(|ends| ends.iter().any(|end| end == "return"));
            let said = task.unconfirmed || task.outcome_unknown_reason.is_some();
            // Celery calls one failed whose result could not be stored.
            let unstored = task.state == "FAILURE"
                && task
                    .exception_summary
                    .as_deref()
                    .is_some_and(|text| text.contains("ConnectionError"));
            let right = (task.state == "SUCCESS") == returned || unstored;
            !(right || said || listed.contains(&task.id))
        };
        eventually(
            "every task is true or says that it is not known",
            SOON,
            async || {
                let tasks = self.aggregator.tasks("").await?;
                let wrong: Vec<_> = tasks.iter().filter(wrong).collect();
                ensure!(
                    wrong.is_empty(),
                    "{} are wrong: {:?}",
                    wrong.len(),
                    wrong[0]
                );
                Ok(())
            },
        )
        .await;
    }
}

impl Scene<Redis> {
    /// Whether the inspector's subscription is there, as Redis sees it.
    pub(crate) fn is_subscribed(&self) -> bool {
        is_subscribed(&self.broker)
    }
}

/// Whether an inspector's subscription is there, as Redis sees it: workers have one pattern.
pub(crate) fn is_subscribed(redis: &Redis) -> bool {
    let clients = redis.cli(&["CLIENT", "LIST", "TYPE", "pubsub"]);
    let clients = format!("{clients:?}");
    clients.contains("psub=4")
}

fn worker_log(workers: &[celery::Worker], name: &str) -> String {
    let worker = workers.iter().find(|worker| worker.name == name);
    worker
        .map(|worker| worker.process.log())
        .unwrap_or_default()
}

pub(crate) fn start_inspector(
    broker: &impl Broker,
    aggregator: &Aggregator,
    arguments: &[&str],
) -> Inspector {
    start_built(Profile::Debug, broker, aggregator, arguments)
}

pub(crate) fn start_built(
    profile: Profile,
    broker: &impl Broker,
    aggregator: &Aggregator,
    arguments: &[&str],
) -> Inspector {
    let server = format!("http://{}", aggregator.address());
    let mut all = vec!["run", "--aggregator", &server, "--round", "5s"];
    let options = broker.options();
    for option in &options {
        all.extend(["--transport-option", option]);
    }
    all.extend(arguments);
    Inspector::start_built(profile, &broker.url(), &all)
}

fn read_truth(file: &Path) -> BTreeMap<String, Truth> {
    let mut truth: BTreeMap<String, Truth> = BTreeMap::new();
    let text = std::fs::read_to_string(file).unwrap_or_default();
    for line in text.lines() {
        let Ok(line) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        let task = truth.entry(text("id")).or_default();
        match text("what").as_str() {
            "start" => {
                let time = line["time"].as_f64().unwrap_or_default();
                task.starts.push((text("worker"), time));
            }
            end => task.ends.push(end.to_owned()),
        }
    }
    truth
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of today fit")]
pub(crate) fn seconds(time: Option<&prost_types::Timestamp>) -> f64 {
    time.map_or(f64::NAN, |time| {
        time.seconds as f64 + f64::from(time.nanos) / 1e9
    })
}
