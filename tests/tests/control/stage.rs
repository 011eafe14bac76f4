//! One worker: commands are given to it, tasks are sent to it, and it is looked at.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::ensure;
use celeriac_proto::v1;
use celeriac_proto::v1::control_service_client::ControlServiceClient;
use celeriac_proto::v1::execute_command_request::Command;
use celeriac_tests::resp;
use celeriac_tests::{Worker, eventually};
use serde_json::Value;

use crate::scene::{SOLO, SOON, Scene};

pub(crate) struct Stage<'a> {
    pub(crate) scene: &'a Scene,
    pub(crate) name: &'static str,
    pub(crate) worker: Mutex<Worker>,
    /// The row that is run.
    pub(crate) row: Mutex<&'static str>,
}

impl Stage<'_> {
    pub(crate) fn node(&self) -> String {
        format!("celery@{}", self.name)
    }

    pub(crate) fn is(&self, name: &str) -> bool {
        self.name == name
    }

    /// Waits for something of this cell.
    pub(crate) async fn eventually<T, E: Display>(
        &self,
        what: &str,
        probe: impl AsyncFnMut() -> Result<T, E>,
    ) -> T {
        let row = *self.row.lock().unwrap_or_else(PoisonError::into_inner);
        let what = format!("{} {}, {row}: {what}", self.scene.version, self.name);
        eventually(&what, SOON, probe).await
    }

    /// Waits until the aggregator has asked it everything once.
    pub(crate) async fn first_seen(&self) {
        self.shown("it is looked at", |known| {
            known.queues_known && known.pool_is_known()
        })
        .await;
    }

    /// Waits until the aggregator shows this of it.
    pub(crate) async fn shown(&self, what: &str, shows: impl Fn(&v1::WorkerInspection) -> bool) {
        self.eventually(what, async || {
            let worker = self.scene.aggregator.worker(&self.node()).await?;
            ensure!(worker.inspection.as_ref().is_some_and(&shows), "{worker:?}");
            Ok(())
        })
        .await;
    }

    pub(crate) async fn client(&self) -> ControlServiceClient<tonic::transport::Channel> {
        let address = format!("http://{}", self.scene.aggregator.address());
        ControlServiceClient::connect(address)
            .await
            .expect("it serves")
    }

    /// Gives it a command; its record after so many seconds, or when it has answered.
    pub(crate) async fn record(&self, command: Command, seconds: i64) -> v1::CommandRecord {
        let request = v1::ExecuteCommandRequest {
            request_id: uuid::Uuid::new_v4().to_string(),
            destination: vec![self.node()],
            wait: Some(prost_types::Duration { seconds, nanos: 0 }),
            command: Some(command),
            ..Default::default()
        };
        let answer = self.client().await.execute_command(request).await;
        let record = answer.expect("it is taken").into_inner().record;
        let record = record.expect("a record");
        let outcome = record.outcome();
        assert_eq!(outcome, v1::CommandOutcome::Published, "{record:?}");
        assert_eq!(record.answers.len(), 1, "{record:?}");
        record
    }

    /// Gives it a command, and takes its answer.
    pub(crate) async fn tell(&self, command: Command) -> v1::CommandAnswer {
        let mut record = self.record(command, 60).await;
        record.answers.remove(0)
    }

    /// Takes an answer that comes late.
    pub(crate) async fn late(&self, record: v1::CommandRecord) -> v1::CommandAnswer {
        let request = v1::GetCommandRequest {
            request_id: record.request.expect("as it was given").request_id,
            ..Default::default()
        };
        self.eventually("the answer comes late", async || {
            let got = self.client().await.get_command(request.clone()).await?;
            let record = got.into_inner().record.expect("a record");
            let answer = record.answers.into_iter().next().expect("an answer");
            ensure!(answer.kind() != v1::AnswerKind::NoAnswerYet, "not yet");
            Ok(answer)
        })
        .await
    }

    /// What Celery's own inspection says of it.
    pub(crate) async fn asked(&self, question: &str) -> Value {
        let expression = format!("asked('{}', {question})", self.node());
        self.eventually(&expression, async || {
            match self.scene.witness.ask(&expression).await {
                // It did not answer in time.
                Value::Null => Err("no answer"),
                answer => Ok(answer),
            }
        })
        .await
    }

    /// Waits until Celery's own inspection says this.
    pub(crate) async fn until(&self, question: &str, holds: impl Fn(&Value) -> bool) {
        self.eventually(question, async || {
            let answer = self.asked(question).await;
            ensure!(holds(&answer), "{answer}");
            Ok(())
        })
        .await;
    }

    /// Queues that it consumes from.
    pub(crate) async fn consumes(&self, queue: &str) -> bool {
        let queues = self.asked("'active_queues'").await;
        let queues = queues.as_array().expect("a list");
        queues.iter().any(|one| one["name"] == queue)
    }

    /// Whether it says that it runs a task, or has it reserved.
    pub(crate) async fn holds(&self, id: &str) -> bool {
        let mut all = vec![self.asked("'active'").await];
        all.push(self.asked("'reserved'").await);
        let mut tasks = all.iter().flat_map(|list| list.as_array().expect("a list"));
        tasks.any(|task| task["id"] == id)
    }

    /// Sends a task to a queue; its id.
    pub(crate) async fn sent_to(&self, queue: &str, task: &str, rest: &str) -> String {
        let expression = format!("sent({task}, '{queue}'{rest})");
        let id = self.scene.witness.ask(&expression).await;
        id.as_str().expect("an id").to_owned()
    }

    /// Sends a task to its own queue; its id.
    pub(crate) async fn sent(&self, task: &str, rest: &str) -> String {
        self.sent_to(self.name, task, rest).await
    }

    /// A task's state in the result backend; empty when there is none.
    pub(crate) fn state(&self, id: &str) -> String {
        let key = format!("celery-task-meta-{id}");
        let resp::Value::Text(text) = self.scene.broker.results.cli(&["GET", &key]) else {
            return String::new();
        };
        let meta: Value = serde_json::from_str(&text).expect("Celery stores JSON");
        meta["status"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) async fn until_state(&self, id: &str, wanted: &[&str]) -> String {
        let what = format!("{wanted:?}");
        self.eventually(&what, async || {
            let state = self.state(id);
            if wanted.contains(&state.as_str()) {
                Ok(state)
            } else {
                Err(state)
            }
        })
        .await
    }

    /// A task that ran to its end, on this worker: what was sent before it has come too.
    pub(crate) async fn ran_one(&self) -> String {
        let id = self.sent("add", ", 1, 2").await;
        self.until_state(&id, &["SUCCESS"]).await;
        id
    }

    fn notes_file(&self) -> PathBuf {
        self.scene.notes.path().join("notes")
    }

    /// What a task wrote of itself.
    pub(crate) fn notes(&self, id: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.notes_file()).unwrap_or_default();
        let lines = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        let notes = lines.map(|line| serde_json::from_str(line).expect("notes are JSON"));
        notes.filter(|note: &Value| note["id"] == id).collect()
    }

    pub(crate) fn noted(&self, id: &str, what: &str) -> Option<Value> {
        self.notes(id).into_iter().find(|note| note["what"] == what)
    }

    pub(crate) async fn until_noted(&self, id: &str, what: &str) -> Value {
        let waits = format!("{what} of {id}");
        self.eventually(&waits, async || self.noted(id, what).ok_or("not yet"))
            .await
    }

    /// Lets a task go that holds.
    pub(crate) fn let_go(&self, id: &str) {
        let mut gate = self.notes_file().into_os_string();
        gate.push(format!(".{id}"));
        std::fs::write(gate, "").expect("the temporary folder is writable");
    }

    /// Starts a task that holds; its id and its process.
    pub(crate) async fn holding(&self) -> (String, i64) {
        let id = self.sent("hold", "").await;
        let start = self.until_noted(&id, "start").await;
        (id, start["pid"].as_i64().expect("notes have a pid"))
    }

    /// How many of so many tasks it runs at once, by the tasks' own notes; `least` of them must.
    pub(crate) async fn at_once(&self, count: usize, least: usize) -> usize {
        let mut ids = Vec::new();
        for _ in 0..count {
            ids.push(self.sent("hold", "").await);
        }
        let what = format!("{least} of {count} run");
        self.eventually(&what, async || {
            let started = ids.iter().filter(|id| self.noted(id, "start").is_some());
            let started = started.count();
            if started >= least {
                Ok(())
            } else {
                Err(started)
            }
        })
        .await;
        // The others have come, so that they would have started too.
        for id in ids.iter().filter(|_| !self.is(SOLO)) {
            self.eventually("it is with the worker", async || {
                let there = self.noted(id, "start").is_some() || self.holds(id).await;
                if there { Ok(()) } else { Err("not yet") }
            })
            .await;
        }
        let mut turns = Vec::new();
        for id in &ids {
            self.let_go(id);
        }
        for id in &ids {
            let end = self.until_noted(id, "return").await["time"].as_f64();
            let start = self.until_noted(id, "start").await["time"].as_f64();
            turns.extend(start.zip(end));
        }
        let running = |at: f64| turns.iter().filter(|(s, e)| *s <= at && at < *e).count();
        turns
            .iter()
            .map(|(start, _)| running(*start))
            .max()
            .unwrap_or(0)
    }

    /// How many tasks it runs at once by how it was started.
    pub(crate) fn size(&self) -> usize {
        if self.is(SOLO) { 1 } else { 2 }
    }

    /// The processes that run its tasks.
    pub(crate) async fn processes(&self) -> BTreeSet<i64> {
        let stats = self.asked("'stats'").await;
        let pool = stats["pool"]["processes"].as_array().cloned();
        let all = pool.unwrap_or_else(|| vec![stats["pid"].clone()]);
        all.iter().filter_map(Value::as_i64).collect()
    }

    /// Waits until no more than so many of these processes live.
    pub(crate) async fn until_alive(&self, pids: &BTreeSet<i64>, wanted: usize) {
        let what = format!("{wanted} live");
        self.eventually(&what, async || {
            let left = pids.iter().filter(|pid| alive(**pid)).count();
            if left <= wanted {
                Ok(())
            } else {
                Err(format!("{left} do"))
            }
        })
        .await;
    }

    /// The events that it has published.
    pub(crate) async fn said(&self) -> Vec<Value> {
        let node = self.node();
        self.scene.ears.heard(&self.scene.broker, &node).await
    }

    /// What it has written to its log.
    pub(crate) fn log(&self) -> String {
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        worker.process.log()
    }

    pub(crate) async fn until_ended(&self) {
        let what = "it ends".to_owned();
        self.eventually(&what, async || {
            let mut worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
            worker.process.exited().map(drop).ok_or("it runs")
        })
        .await;
    }
}

/// Whether the aggregator has heard `stats`.
trait Looked {
    fn pool_is_known(&self) -> bool;
}

impl Looked for v1::WorkerInspection {
    fn pool_is_known(&self) -> bool {
        self.max_concurrency.is_some()
    }
}

/// Whether a process lives; one that has ended and that nobody has waited for does not.
pub(crate) fn alive(pid: i64) -> bool {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(Path::new(&path)).unwrap_or_default();
    let state = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    state.is_some_and(|state| state != 'Z')
}
