//! Five workers of one Celery version, an aggregator that inspects them, and Celery itself as the witness.

use std::time::Duration;

use anyhow::ensure;
use celeriac_proto::v1;
pub(crate) use celeriac_proto::v1::AnswerKind as Kind;
use celeriac_proto::v1::control_service_client::ControlServiceClient;
use celeriac_proto::v1::execute_command_request::Command;
use celeriac_tests::{Aggregator, Celery, Redis, Witness, Worker, eventually};
use serde_json::{Value, json};

pub(crate) const SOON: Duration = Duration::from_mins(1);

/// Names of the workers; each consumes from a queue of its own name.
pub(crate) const FORK: &str = "fork";
pub(crate) const AUTO: &str = "auto";
pub(crate) const THREADS: &str = "threads";
pub(crate) const GEVENT: &str = "gevent";
pub(crate) const SOLO: &str = "solo";
pub(crate) const ALL: [&str; 5] = [FORK, AUTO, THREADS, GEVENT, SOLO];

pub(crate) struct Scene {
    pub(crate) version: String,
    pub(crate) redis: Redis,
    pub(crate) aggregator: Aggregator,
    pub(crate) witness: Witness,
    pub(crate) workers: Vec<Worker>,
}

pub(crate) fn node(name: &str) -> String {
    format!("celery@{name}")
}

impl Scene {
    pub(crate) async fn set(version: &str) -> Self {
        let redis = Redis::start();
        let celery = Celery::new(version, &redis.url());
        let restarts = celery
            .clone()
            .settings(&json!({"worker_pool_restarts": true}));
        let worker = |celery: &Celery, name: &str, pool: &str| {
            // Only the threads worker sends events from the start.
            celery.worker(name).pool(pool).events(name == THREADS)
        };
        let mut workers: Vec<Worker> = vec![
            worker(&celery, FORK, "prefork").queues([FORK]).launch(),
            worker(&restarts, AUTO, "prefork")
                .queues([AUTO])
                .arg("--autoscale=2,1")
                .launch(),
            worker(&restarts, THREADS, "threads")
                .queues([THREADS])
                .launch(),
            worker(&restarts, GEVENT, "gevent")
                .queues([GEVENT])
                .launch(),
            worker(&restarts, SOLO, "solo").queues([SOLO]).launch(),
        ];
        let witness = Witness::start(&celery);
        let aggregator = Aggregator::builder()
            .broker(&redis.url())
            .arg("--allow-command")
            .arg("demo_repeat")
            // What a worker does some time after its answer is seen at the next round.
            .arg("--round")
            .arg("5s")
            .start()
            .await;
        for worker in &mut workers {
            worker.ready().await;
        }
        let scene = Self {
            version: version.to_owned(),
            redis,
            aggregator,
            witness,
            workers,
        };
        for name in ALL {
            scene
                .looked_at(name, |worker| worker.inspection.is_some())
                .await;
        }
        scene
    }

    /// Waits until the aggregator knows this of a worker.
    pub(crate) async fn looked_at(&self, name: &str, known: impl Fn(&v1::Worker) -> bool) {
        eventually("the worker is looked at", SOON, async || {
            let worker = self.aggregator.worker(&node(name)).await?;
            ensure!(known(&worker), "{worker:?}");
            Ok(())
        })
        .await;
    }

    pub(crate) async fn client(&self) -> ControlServiceClient<tonic::transport::Channel> {
        let address = format!("http://{}", self.aggregator.address());
        ControlServiceClient::connect(address)
            .await
            .expect("it serves")
    }

    /// Gives a command to one worker; its record.
    pub(crate) async fn record(
        &self,
        name: &str,
        command: Command,
        seconds: i64,
    ) -> v1::CommandRecord {
        let request = v1::ExecuteCommandRequest {
            request_id: uuid::Uuid::new_v4().to_string(),
            destination: vec![node(name)],
            wait: Some(prost_types::Duration { seconds, nanos: 0 }),
            command: Some(command),
            ..Default::default()
        };
        let answer = self.client().await.execute_command(request).await;
        let record = answer.expect("it is taken").into_inner().record;
        let record = record.expect("a record");
        assert_eq!(
            record.outcome(),
            v1::CommandOutcome::Published,
            "{record:?}"
        );
        assert!(record.published_time.is_some());
        record
    }

    /// Gives a command to one worker, and takes its answer.
    pub(crate) async fn tell(&self, name: &str, command: Command) -> v1::CommandAnswer {
        let mut record = self.record(name, command, 30).await;
        assert_eq!(record.answers.len(), 1, "{record:?}");
        record.answers.remove(0)
    }

    /// Gives a command whose answer is judged like this: kind, a part of Celery's text, a part of the meaning.
    pub(crate) async fn check(
        &self,
        name: &str,
        command: Command,
        kind: Kind,
        text: &str,
        meaning: &str,
    ) {
        let answer = self.tell(name, command.clone()).await;
        let place = format!("{} {name} {command:?}: {answer:?}", self.version);
        assert_eq!(answer.kind(), kind, "{place}");
        assert!(answer.answer_json.contains(text), "{place}");
        assert!(answer.meaning.contains(meaning), "{place}");
        assert_eq!(answer.meaning.is_empty(), meaning.is_empty(), "{place}");
    }

    /// What Celery's own inspection says of a worker.
    pub(crate) async fn asked(&self, name: &str, question: &str) -> Value {
        let expression = format!("asked('celery@{name}', {question})");
        self.witness.ask(&expression).await
    }

    /// Waits until a Python expression is true.
    pub(crate) async fn until(&self, expression: &str) {
        let what = format!("{}: {expression}", self.version);
        eventually(&what, SOON, async || {
            let value = self.witness.ask(&format!("bool({expression})")).await;
            if value == true {
                Ok(())
            } else {
                Err("not yet")
            }
        })
        .await;
    }

    /// Sends a task to a worker's queue; its id.
    pub(crate) async fn sent(&self, task: &str, queue: &str, rest: &str) -> String {
        let id = self
            .witness
            .ask(&format!("sent({task}, '{queue}'{rest})"))
            .await;
        id.as_str().expect("an id").to_owned()
    }
}
