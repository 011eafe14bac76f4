//! Celery's own end of a worker by SIGTERM while a process of its pool has a task that it did not yet say it began, as on a busy
//! node, or at the beginning of its life: Celery forgets the task, puts its message back, and the process runs it all the same.
//! It comes not so far where a drain is first.

use std::path::PathBuf;

use anyhow::ensure;
use celeriac_tests::{Celery, Redis, Worker, eventually, turn};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::scene::{SOON, Sidecar, ends};

/// A worker whose one process was given a task and stands still.
struct Given {
    celery: Celery,
    worker: Worker,
    process: Pid,
    task: String,
    truth: PathBuf,
    redis: Redis,
    #[expect(dead_code, reason = "it goes with this")]
    folder: TempDir,
}

impl Given {
    async fn start() -> Self {
        let redis = Redis::start();
        let folder = TempDir::new().expect("the temporary folder is writable");
        let truth = folder.path().join("truth");
        let celery = Celery::new("5.7", &redis.url())
            .env("DEMO_BACKEND", "cache+memory://")
            .truth(&truth);
        let worker = celery.worker("w1").concurrency(1).arg("-l").arg("DEBUG");
        let worker = worker.start().await;
        celery.run("app.send_task('demo.nap', args=[0])");
        eventually("it works", SOON, async || ends(&truth, "return", 1)).await;
        let process = pool(&celery)["processes"][0].as_i64().expect("its number");
        let process = Pid::from_raw(i32::try_from(process).expect("process ids fit in an i32"));
        kill(process, Signal::SIGSTOP).expect("it is ours");
        let task = celery.run("print(app.send_task('demo.nap', args=[0]).id)");
        eventually("the process has the task", SOON, async || {
            let writes = pool(&celery)["writes"]["total"].clone();
            ensure!(writes == 2, "{writes} were written to it");
            Ok(())
        })
        .await;
        Self {
            celery,
            worker,
            process,
            task: task.trim().to_owned(),
            truth,
            redis,
            folder,
        }
    }

    fn goes_on(&self) {
        kill(self.process, Signal::SIGCONT).expect("it is ours");
    }

    /// Ends the worker as Kubernetes does, and what happened to the task then once another has all that is left.
    async fn replaced(&mut self, between: impl FnOnce(&Self)) -> Vec<String> {
        self.worker.process.signal(Signal::SIGTERM);
        eventually("it waits for its pool", SOON, async || {
            let log = self.worker.process.log();
            ensure!(log.contains("Worker: Stopping Pool"), "{log}");
            Ok(())
        })
        .await;
        between(self);
        eventually("it ends", SOON, async || {
            ensure!(self.worker.process.exited().is_some(), "it runs");
            Ok(())
        })
        .await;
        let other = self.celery.worker("w2").concurrency(1).start().await;
        // Behind whatever was put back.
        let last = self
            .celery
            .run("print(app.send_task('demo.nap', args=[0]).id)");
        eventually("the queue is worked off", SOON, async || {
            ensure!(did(&self.truth, last.trim()).len() == 2, "it is not");
            Ok(())
        })
        .await;
        drop(other);
        did(&self.truth, &self.task)
    }
}

/// What a worker says of its pool.
fn pool(celery: &Celery) -> Value {
    let said = celery.run(
        "import json\nprint(json.dumps(app.control.inspect(timeout=5).stats()['celery@w1']['pool']))",
    );
    serde_json::from_str(&said).expect("JSON was asked for")
}

/// What a task wrote of itself.
fn did(truth: &PathBuf, task: &str) -> Vec<String> {
    let text = std::fs::read_to_string(truth).unwrap_or_default();
    text.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["id"] == task)
        .map(|line| format!("{} {}", line["worker"], line["what"]).replace('"', ""))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn celery_runs_a_task_twice_whose_process_did_not_say_so_before_sigterm() {
    let _turn = turn().await;
    let mut given = Given::start().await;
    let did = given.replaced(Given::goes_on).await;
    let twice = [
        "celery@w1 start",
        "celery@w1 return",
        "celery@w2 start",
        "celery@w2 return",
    ];
    assert_eq!(did, twice);
    let log = given.worker.process.log();
    assert!(
        log.contains("Restoring 1 unacknowledged message(s)"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_for_a_process_that_did_not_say_so() {
    let _turn = turn().await;
    let mut given = Given::start().await;
    let sidecar = Sidecar::start(&given.redis.url(), "celery@w1", &["--drain-deadline=1h"]).await;
    sidecar.ready().await;
    let drain = tokio::task::spawn_blocking(move || sidecar.drained());
    eventually("it consumes nothing", SOON, async || {
        let queues = given
            .celery
            .run("print(app.control.inspect(timeout=5).active_queues()['celery@w1'])");
        ensure!(queues.trim() == "[]", "{queues}");
        Ok(())
    })
    .await;
    assert!(!drain.is_finished());
    given.goes_on();
    let (status, words) = drain.await.expect("it was not cancelled");
    assert_eq!(status, 200, "{words}");
    let did = given.replaced(|_| ()).await;
    assert_eq!(did, ["celery@w1 start", "celery@w1 return"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_begins_to_listen_while_it_is_asked_is_drained() {
    let _turn = turn().await;
    let redis = Redis::start();
    let celery = Celery::new("5.7", &redis.url());
    // Somebody listens, so that the question has to be waited for.
    let other = celery.worker("w2").start().await;
    let sidecar = Sidecar::start(&redis.url(), "celery@w1", &["--drain-deadline=1h"]).await;
    let mut worker = celery.worker("w1").launch();
    eventually("it listens in a second", SOON, async || {
        let log = worker.process.log();
        ensure!(log.contains("mingle: searching"), "{log}");
        Ok(())
    })
    .await;
    let (status, words) = sidecar.drained();
    let drained = "drained: it consumes nothing, and holds no task\n";
    assert_eq!((status, words.as_str()), (200, drained));
    worker.ready().await;
    drop(other);
}
