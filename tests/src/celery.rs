//! Real Celery: workers, producers and the recorder of expected values, of one Celery version.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

use crate::paths;
use crate::process::Process;
use crate::wait::eventually;

/// How long a Celery process may take to be ready: an import of Celery costs 1 to 3 CPU-seconds, and four may start at
/// once on two cores.
const START: Duration = Duration::from_mins(1);
/// How long a warm shutdown may take; test tasks are short.
const STOP: Duration = Duration::from_mins(1);

/// One Celery version with the demo app on one broker.
#[derive(Clone)]
pub struct Celery {
    version: String,
    python: PathBuf,
    broker: String,
    environment: BTreeMap<String, String>,
}

/// A running worker.
pub struct Worker {
    /// Its node name.
    pub name: String,
    /// Its process.
    pub process: Process,
    start: WorkerBuilder,
}

/// What a [`Worker`] is to be like.
#[derive(Clone)]
pub struct WorkerBuilder {
    celery: Celery,
    name: String,
    pool: String,
    concurrency: u32,
    queues: Vec<String>,
    events: bool,
    arguments: Vec<String>,
}

/// A running [`celery.events`](https://docs.celeryq.dev/en/stable/userguide/monitoring.html) receiver.
pub struct Recorder {
    process: Process,
    folder: TempDir,
}

/// What Celery itself made of the events.
#[derive(Debug, Deserialize)]
pub struct Recording {
    /// Every event in receive order: `{received, event}`.
    pub events: Vec<Value>,
    /// Task id to the fields of `celery.events.state.Task`, and `queue`.
    pub tasks: BTreeMap<String, Value>,
    /// Node name to the fields of `celery.events.state.Worker`.
    pub workers: BTreeMap<String, Value>,
}

impl Celery {
    /// A Celery version (`5.7`, `5.6`, `5.4`, `5.2` or `4.4`) with the demo app on a broker.
    ///
    /// # Panics
    /// When its Python environment has not been made.
    pub fn new(version: &str, broker: &str) -> Self {
        Self {
            version: version.to_owned(),
            python: paths::python(version),
            broker: broker.to_owned(),
            environment: BTreeMap::new(),
        }
    }

    /// Sets settings of the app (`worker_send_task_events` and the like), as a JSON object.
    #[must_use]
    pub fn settings(self, settings: &Value) -> Self {
        self.env("DEMO_OPTIONS", &settings.to_string())
    }

    /// Has every task write its truth to this file.
    ///
    /// # Panics
    /// When the path is not UTF-8.
    #[must_use]
    pub fn truth(self, file: &Path) -> Self {
        let file = file.to_str().expect("temporary folders have UTF-8 names");
        self.env("DEMO_LOG", file)
    }

    /// Sets a variable of the environment of everything started.
    #[must_use]
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.environment.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Describes a worker: prefork, two processes, queues `celery` and `fork`, task events on.
    pub fn worker(&self, name: &str) -> WorkerBuilder {
        WorkerBuilder {
            celery: self.clone(),
            name: format!("celery@{name}"),
            pool: "prefork".to_owned(),
            concurrency: 2,
            queues: vec!["celery".to_owned(), "fork".to_owned()],
            events: true,
            arguments: Vec::new(),
        }
    }

    /// Starts a recorder and waits until it is subscribed.
    pub async fn recorder(&self) -> Recorder {
        let folder = TempDir::new().expect("the temporary folder is writable");
        let output = folder.path().join("recording.json");
        let process = Process::start("recorder", &self.python, |command| {
            self.configure(command);
            command.arg(app().join("record.py")).arg(&output);
        });
        let mut recorder = Recorder { process, folder };
        eventually("the recorder listens", START, async || {
            ready(&mut recorder.process, "listening")
        })
        .await;
        recorder
    }

    /// Runs a piece of Python that can use everything in the demo app; what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub fn run(&self, snippet: &str) -> String {
        let mut command = Command::new(&self.python);
        self.configure(&mut command);
        command
            .arg("-c")
            .arg(format!("from demo import *\n{snippet}"));
        let output = command.output().expect("the environment's Python starts");
        assert!(
            output.status.success(),
            "{}\nended with {}: {}",
            snippet,
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// How often each task of the app `shop` (`tests/app/shop.py`) did this, `start` or `return`, by its id; Celery's own
    /// signals counted it in the broker's Redis.
    ///
    /// # Panics
    /// When the Redis cannot be read.
    pub fn counted(&self, what: &str) -> BTreeMap<String, u32> {
        let ask = format!(
            "import json, redis\nfound = redis.Redis.from_url(os.environ['DEMO_BROKER']).hgetall('truth.{what}')\n\
             print(json.dumps({{key.decode(): int(value) for key, value in found.items()}}))"
        );
        serde_json::from_str(&self.run(&ask)).expect("it is JSON")
    }

    /// Starts a piece of Python and lets it run; it is killed on drop.
    pub fn start(&self, snippet: &str) -> Process {
        Process::start("producer", &self.python, |command| {
            self.configure(command);
            command
                .arg("-c")
                .arg(format!("from demo import *\n{snippet}"));
        })
    }

    fn configure(&self, command: &mut Command) {
        let mut path = app().into_os_string();
        if self.version == "4.4" {
            path.push(":");
            path.push(app().join("py311"));
        }
        // The broker by environment, never by argument: it may hold a password.
        command
            .env("PYTHONPATH", path)
            .env("PYTHONUNBUFFERED", "1")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("TZ", "UTC")
            .env("DEMO_BROKER", &self.broker)
            .envs(&self.environment);
    }
}

impl WorkerBuilder {
    /// The pool: `prefork`, `threads`, `solo` or `gevent`.
    #[must_use]
    pub fn pool(mut self, pool: &str) -> Self {
        pool.clone_into(&mut self.pool);
        self
    }

    /// The number of processes or threads.
    #[must_use]
    pub fn concurrency(mut self, concurrency: u32) -> Self {
        self.concurrency = concurrency;
        self
    }

    /// The queues it consumes from.
    #[must_use]
    pub fn queues<const N: usize>(mut self, queues: [&str; N]) -> Self {
        self.queues = queues.map(str::to_owned).into();
        self
    }

    /// Whether it sends task events from the start (`-E`).
    #[must_use]
    pub fn events(mut self, events: bool) -> Self {
        self.events = events;
        self
    }

    /// One more argument of `celery worker`.
    #[must_use]
    pub fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Starts it and waits until it says that it is ready.
    ///
    /// # Panics
    /// When it does not get ready in time.
    pub async fn start(self) -> Worker {
        let mut worker = self.launch();
        worker.ready().await;
        worker
    }

    /// Starts it and does not wait; see [`Worker::ready`].
    pub fn launch(self) -> Worker {
        let process = Process::start(&self.name, &self.celery.python, |command| {
            self.celery.configure(command);
            command
                .args(["-m", "celery", "-A", "demo", "worker", "-l", "INFO"])
                .args(["-n", &self.name, "-P", &self.pool])
                .args(["-c", &self.concurrency.to_string()])
                .args(["-Q", &self.queues.join(",")])
                .args(self.events.then_some("-E"))
                .args(&self.arguments);
        });
        Worker {
            name: self.name.clone(),
            process,
            start: self,
        }
    }
}

impl Worker {
    /// Waits until it says that it is ready.
    ///
    /// # Panics
    /// When it does not get ready in time, or ends.
    pub async fn ready(&mut self) {
        let what = format!("{} is ready", self.name);
        eventually(&what, START, async || ready(&mut self.process, " ready.")).await;
    }

    /// Kills it and its pool with SIGKILL.
    pub fn kill9(&mut self) {
        self.process.kill9();
    }

    /// Stops it warmly (SIGTERM): it finishes what it runs, says `worker-offline` and ends.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn stop(&mut self) {
        self.process.stop(STOP);
    }

    /// Starts it again as it was and waits until it is ready.
    pub async fn restart(&mut self) {
        self.process.kill9();
        *self = self.start.clone().start().await;
    }
}

impl Recorder {
    /// Ends the recording and gives what Celery made of it.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn finish(mut self) -> Recording {
        self.process.stop(STOP);
        let file = self.folder.path().join("recording.json");
        let text = std::fs::read(&file).expect("the recorder writes its file before it ends");
        serde_json::from_slice(&text).expect("the recorder writes JSON")
    }
}

/// The folder of the demo app.
fn app() -> PathBuf {
    paths::root().join("tests/app")
}

/// Whether a process has said that it is ready; an early end is a failure at once.
fn ready(process: &mut Process, word: &str) -> Result<(), String> {
    let log = process.log();
    if log.contains(word) {
        return Ok(());
    }
    if let Some(status) = process.exited() {
        panic!("it ended with {status} before it was ready:\n{log}");
    }
    let last = log.lines().last().unwrap_or("no output yet");
    Err(last.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::Redis;

    /// Each version's worker starts, answers Celery's own ping, and runs a task.
    async fn check(version: &str) {
        let redis = Redis::start();
        let celery = Celery::new(version, &redis.url());
        let recorder = celery.recorder().await;
        let mut worker = celery.worker("harness").concurrency(1).start().await;
        let said = celery.run(
            "print(app.control.inspect(timeout=5).ping())\nprint(add.delay(2, 3).get(timeout=10))",
        );
        assert_eq!(said.trim(), "{'celery@harness': {'ok': 'pong'}}\n5");
        worker.stop();
        let recording = recorder.finish();
        let task = recording.tasks.values().next().expect("one task was sent");
        assert_eq!(task["state"], "SUCCESS", "{task}");
        assert_eq!(task["worker"], "celery@harness");
        assert_eq!(task["queue"], "celery");
        assert!(recording.workers.contains_key("celery@harness"));
    }

    #[tokio::test]
    async fn celery_5_7_runs() {
        check("5.7").await;
    }

    #[tokio::test]
    async fn celery_5_4_runs() {
        check("5.4").await;
    }

    #[tokio::test]
    async fn celery_4_4_runs() {
        check("4.4").await;
    }
}
