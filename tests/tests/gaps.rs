//! What was missed is counted exactly, whatever took the events away; the workers' own log says what is true.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use celeriac_proto::v1::{Gap, GapCause, Task, Worker};
use celeriac_tests::{Aggregator, Celery, Inspector, Redis, celery, eventually, resp, turn};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

const SOON: Duration = Duration::from_mins(1);
/// All tasks of a load, on a busy machine.
const LOAD: Duration = Duration::from_mins(6);
/// A start waits for the next turn of its worker's loop before it is told: one that was told too late to be heard may be
/// this much older than the gap.
const TOLD_WITHIN: f64 = 2.0;

/// Workers with a load of their own, an inspector and an aggregator in processes of their own.
struct Scene {
    redis: Redis,
    aggregator: Aggregator,
    inspector: Inspector,
    _workers: Vec<celery::Worker>,
    celery: Celery,
    folder: TempDir,
    tasks: usize,
}

/// What the workers' log says of one task.
#[derive(Debug, Default)]
struct Truth {
    /// Each start: worker and time. One that comes again after its connection broke may be another worker's.
    starts: Vec<(String, f64)>,
    ends: Vec<String>,
}

impl Scene {
    /// Prefork, threads and solo at work on `tasks` tasks.
    async fn start(redis: Redis, tasks: usize, inspector: &[&str]) -> Self {
        let folder = TempDir::new().expect("the temporary folder is writable");
        let celery = Celery::new("5.7", &redis.url())
            .truth(&folder.path().join("truth"))
            .settings(&json!({"worker_prefetch_multiplier": 16}));
        let aggregator = Aggregator::builder().start().await;
        let inspector = start_inspector(&redis, &aggregator, inspector);
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
            redis,
            aggregator,
            inspector,
            _workers: workers,
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
    async fn load(&self) {
        let send = format!(
            "with app.producer_pool.acquire(block=True) as producer:\n    for n in range({}):\n        \
             add.apply_async((n, n), queue='load', producer=producer)\n",
            self.tasks
        );
        self.celery.run(&send);
        let consume =
            "assert len(app.control.add_consumer('load', reply=True, limit=3, timeout=20)) == 3";
        self.celery.run(consume);
        let some = self.tasks as u64 / 20;
        eventually("work has begun", SOON, async || {
            let seen: u64 = self.starts_seen().await?.values().sum();
            ensure!(seen >= some, "{seen} of {some}");
            Ok(())
        })
        .await;
    }

    /// `task-started` events that the aggregator has, by worker.
    async fn starts_seen(&self) -> anyhow::Result<BTreeMap<String, u64>> {
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

    fn truth(&self) -> BTreeMap<String, Truth> {
        read_truth(&self.folder.path().join("truth"))
    }

    /// Waits until the workers have done all there is, and says how fast they were since `since`.
    async fn worked_off(&self, since: Instant, before: usize) -> f64 {
        // What a worker held when its connection broke comes again after an hour: so an empty queue is the end, not the
        // last task.
        let mut last = (0, Instant::now());
        eventually("the queue is worked off", LOAD, async || {
            let ready = self.redis.cli(&["LLEN", "load"]);
            let truth = self.truth();
            let done = truth.values().filter(|task| !task.ends.is_empty()).count();
            if last.0 != done {
                last = (done, Instant::now());
            }
            let begun = truth.len();
            let still = last.1.elapsed() > Duration::from_secs(5);
            ensure!(
                ready == resp::Value::Number(0) && still,
                "{ready:?} ready, {done} done, {begun} begun"
            );
            Ok(())
        })
        .await;
        #[expect(clippy::cast_precision_loss, reason = "a rate to be read by people")]
        let rate = (last.0 - before) as f64 / last.1.duration_since(since).as_secs_f64();
        rate
    }

    /// Tasks that have ended, by the workers' log.
    fn done(&self) -> usize {
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

    /// Waits until what is reported as missed is what was truly missed, and sees that it stays so.
    async fn counted(&self) -> BTreeMap<String, u64> {
        let check = async || {
            let truth = self.truly_missed().await?;
            let workers = self.aggregator.workers().await?;
            let reported: BTreeMap<_, _> = workers
                .iter()
                .map(|worker| {
                    (
                        worker.name.clone(),
                        worker.missed_starts.unwrap_or(u64::MAX),
                    )
                })
                .collect();
            ensure!(reported == truth, "reported {reported:?}, truly {truth:?}");
            // Each is in a gap, and nothing else is.
            for worker in &workers {
                let in_gaps: u64 = worker.gaps.iter().filter_map(|gap| gap.missed_starts).sum();
                ensure!(
                    in_gaps == truth[&worker.name],
                    "{in_gaps} in gaps: {worker:?}"
                );
            }
            Ok(truth)
        };
        eventually("the missed starts are counted", SOON, check).await;
        tokio::time::sleep(Duration::from_secs(6)).await;
        check().await.expect("it stays so")
    }

    /// The gaps of the app, newest first.
    async fn gaps(&self) -> Vec<Gap> {
        self.aggregator.app().await.expect("it serves").gaps
    }

    /// Each start that was missed happened within a gap.
    async fn assert_within(&self) {
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

    /// Every task that is shown is as it truly is, or says that this is not known.
    async fn assert_true_or_unknown(&self) {
        let truth = self.truth();
        let wrong = |task: &&Task| {
            let ends = truth.get(&task.id).map(|task| task.ends.as_slice());
            let returned = ends.is_some_and(|ends| ends.iter().any(|end| end == "return"));
            let said = task.unconfirmed || task.outcome_unknown_reason.is_some();
            let right = (task.state == "SUCCESS") == returned;
            !(right || said)
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

    /// Whether the inspector's subscription is there, as Redis sees it.
    fn is_subscribed(&self) -> bool {
        let clients = self.redis.cli(&["CLIENT", "LIST", "TYPE", "pubsub"]);
        let clients = format!("{clients:?}");
        clients.contains("psub=4")
    }
}

fn start_inspector(redis: &Redis, aggregator: &Aggregator, arguments: &[&str]) -> Inspector {
    let server = format!("http://{}", aggregator.address());
    let mut all = vec!["run", "--aggregator", &server, "--round", "5s"];
    all.extend(arguments);
    Inspector::start(&redis.url(), &all)
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
fn seconds(time: Option<&prost_types::Timestamp>) -> f64 {
    time.map_or(f64::NAN, |time| {
        time.seconds as f64 + f64::from(time.nanos) / 1e9
    })
}

fn cause(gaps: &[Gap]) -> Vec<GapCause> {
    gaps.iter().map(Gap::cause).collect()
}

/// By hand, until the harness can tell a worker that Celery left without heartbeats: after a restart of Redis one with
/// threads does not always come back (its neighbours log `missed heartbeat`), and then its last starts cannot be counted.
#[tokio::test]
#[ignore = "Celery 5.7 with threads at times sends no heartbeat any more after its broker restarted"]
async fn a_redis_that_restarts_makes_a_gap_in_which_every_missed_start_is_counted() {
    let _turn = turn().await;
    let redis = Redis::builder().persistent().start();
    let mut scene = Scene::start(redis, 2_500, &[]).await;
    let (since, before) = (Instant::now(), scene.done());
    scene.load().await;
    scene.redis.kill();
    eventually("the open gap is shown", SOON, async || {
        let gaps = scene.gaps().await;
        let open = gaps.first().is_some_and(|gap| gap.end_time.is_none());
        ensure!(open && cause(&gaps) == [GapCause::Reconnect], "{gaps:?}");
        Ok(())
    })
    .await;
    scene.redis.restart();
    let rate = scene.worked_off(since, before).await;
    let missed = scene.counted().await;
    println!("redis restarted: {rate:.0} tasks/s, missed {missed:?}");
    let gaps = scene.gaps().await;
    let reconnects = gaps.iter().filter(|gap| gap.cause() == GapCause::Reconnect);
    assert_eq!(reconnects.count(), 1, "{gaps:?}");
    // What a worker itself could not publish, before it was connected again, is a gap beside it.
    let counted: u64 = gaps.iter().filter_map(|gap| gap.missed_starts).sum();
    assert_eq!(counted, missed.values().sum::<u64>(), "{gaps:?}");
    scene.assert_within().await;
    scene.assert_true_or_unknown().await;
}

#[tokio::test]
async fn a_subscription_that_redis_cuts_for_its_backlog_is_a_gap_that_is_counted_exactly() {
    let _turn = turn().await;
    let redis = Redis::start();
    redis.cli(&[
        "CONFIG",
        "SET",
        "client-output-buffer-limit",
        "pubsub 64kb 64kb 1",
    ]);
    let scene = Scene::start(redis, 6_000, &[]).await;
    let (since, before) = (Instant::now(), scene.done());
    scene.load().await;
    assert!(
        scene.is_subscribed(),
        "{:?}",
        scene.redis.cli(&["CLIENT", "LIST"])
    );
    scene.inspector.process.signal(Signal::SIGSTOP);
    eventually("redis has cut the subscription", LOAD, async || {
        ensure!(!scene.is_subscribed(), "it is there");
        Ok(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    scene.inspector.process.signal(Signal::SIGCONT);
    let rate = scene.worked_off(since, before).await;
    let missed = scene.counted().await;
    println!("subscription cut: {rate:.0} tasks/s, missed {missed:?}");
    assert!(missed.values().sum::<u64>() > 0, "the cut lost nothing");
    let gaps = scene.gaps().await;
    let [gap] = gaps.as_slice() else {
        panic!("one gap is told: {gaps:?}");
    };
    assert_eq!(gap.cause(), GapCause::Reconnect);
    assert_eq!(gap.missed_starts, Some(missed.values().sum()));
    scene.assert_within().await;
    scene.assert_true_or_unknown().await;
}

#[tokio::test]
async fn a_pause_in_which_nothing_was_lost_is_no_gap() {
    let _turn = turn().await;
    let scene = Scene::start(Redis::start(), 1_000, &[]).await;
    let (since, before) = (Instant::now(), scene.done());
    scene.load().await;
    scene.inspector.process.signal(Signal::SIGSTOP);
    tokio::time::sleep(Duration::from_secs(4)).await;
    scene.inspector.process.signal(Signal::SIGCONT);
    let rate = scene.worked_off(since, before).await;
    let missed = scene.counted().await;
    println!("short pause: {rate:.0} tasks/s, missed {missed:?}");
    assert_eq!(missed.values().sum::<u64>(), 0);
    assert_eq!(scene.gaps().await, Vec::new());
}

/// By hand: `cargo test -p celeriac-tests --test gaps -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "takes minutes: an inspector that stands still for 60 s, with Redis's own limits"]
async fn an_inspector_that_stands_still_for_a_minute_counts_what_it_missed() {
    let _turn = turn().await;
    let scene = Scene::start(Redis::start(), 60_000, &[]).await;
    scene.load().await;
    let (since, before) = (Instant::now(), scene.done());
    scene.inspector.process.signal(Signal::SIGSTOP);
    tokio::time::sleep(Duration::from_mins(1)).await;
    #[expect(clippy::cast_precision_loss, reason = "a rate to be read by people")]
    let during = (scene.done() - before) as f64 / since.elapsed().as_secs_f64();
    println!("subscribed after the pause: {}", scene.is_subscribed());
    scene.inspector.process.signal(Signal::SIGCONT);
    let rate = scene.worked_off(since, before).await;
    let missed = scene.counted().await;
    println!("60 s pause: {during:.0} tasks/s during it, {rate:.0} in all, missed {missed:?}");
    let gaps = scene.gaps().await;
    println!("{gaps:?}");
    let counted: u64 = gaps.iter().filter_map(|gap| gap.missed_starts).sum();
    assert_eq!(counted, missed.values().sum::<u64>());
    scene.assert_true_or_unknown().await;
}

#[tokio::test]
async fn what_nobody_listened_to_is_counted_after_the_restart_of_each() {
    let _turn = turn().await;
    let redis = Redis::start();
    let backend = redis.url();
    let mut scene = Scene::start(redis, 2_500, &["--result-backend", &backend]).await;
    let (since, before) = (Instant::now(), scene.done());
    scene.load().await;
    scene.inspector.process.kill9();
    tokio::time::sleep(Duration::from_secs(3)).await;
    // The aggregator goes too, and takes its account up again.
    scene.aggregator.kill9();
    scene.aggregator.restart().await;
    let results = ["--result-backend", &backend];
    scene.inspector = start_inspector(&scene.redis, &scene.aggregator, &results);
    let rate = scene.worked_off(since, before).await;
    let missed = scene.counted().await;
    println!("nobody attached: {rate:.0} tasks/s, missed {missed:?}");
    assert!(missed.values().sum::<u64>() > 0, "nothing was missed");
    let gaps = scene.gaps().await;
    let [gap] = gaps.as_slice() else {
        panic!("one gap is told: {gaps:?}");
    };
    assert_eq!(gap.cause(), GapCause::Detached);
    assert_eq!(gap.missed_starts, Some(missed.values().sum()));
    scene.assert_within().await;
    scene.assert_true_or_unknown().await;
    // All had been sent before, and the result backend knows how each ended.
    eventually("every task is known to have succeeded", SOON, async || {
        let tasks = scene.aggregator.tasks("state != SUCCESS").await?;
        ensure!(
            tasks.is_empty(),
            "{} are not, such as {:?}",
            tasks.len(),
            tasks[0]
        );
        Ok(())
    })
    .await;
    let tasks = scene.aggregator.tasks("").await.expect("it serves");
    let looked_up = tasks.iter().filter(|task| task.from_result_backend).count();
    println!("{looked_up} of {} from the result backend", tasks.len());
    assert!(looked_up > 0 && tasks.len() == scene.tasks);
}
