//! The whole product on RabbitMQ: queues, commands, restarts of our own, `tail`, and what is left on the broker.

use std::time::Duration;

use anyhow::ensure;
use celeriac_proto::v1;
use celeriac_proto::v1::control_service_client::ControlServiceClient;
use celeriac_proto::v1::execute_command_request::Command;
use celeriac_tests::{
    Aggregator, Celery, Inspector, RabbitMq, VirtualHost, Worker, eventually, turn,
};

const SOON: Duration = Duration::from_mins(1);
const NODE: &str = "celery@rabbit";

struct Scene {
    host: VirtualHost,
    celery: Celery,
    worker: Worker,
}

impl Scene {
    async fn set() -> Self {
        let host = tokio::task::spawn_blocking(RabbitMq::host)
            .await
            .expect("the node starts");
        let celery = Celery::new("5.7", &host.url()).env("DEMO_BACKEND", "rpc://");
        let worker = celery.worker("rabbit").start().await;
        Self {
            host,
            celery,
            worker,
        }
    }

    fn management(&self) -> String {
        format!("http://{}", self.host.node().management())
    }
}

async fn tell(aggregator: &Aggregator, command: Command) -> v1::CommandRecord {
    let request = v1::ExecuteCommandRequest {
        request_id: uuid::Uuid::new_v4().to_string(),
        destination: vec![NODE.to_owned()],
        wait: Some(prost_types::Duration {
            seconds: 30,
            nanos: 0,
        }),
        command: Some(command),
        ..Default::default()
    };
    let address = format!("http://{}", aggregator.address());
    let mut client = ControlServiceClient::connect(address)
        .await
        .expect("it serves");
    let answer = client.execute_command(request).await;
    let record = answer.expect("it is taken").into_inner().record;
    record.expect("a record")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queues_and_commands_of_a_real_worker() {
    let _turn = turn().await;
    let mut scene = Scene::set().await;
    let aggregator = Aggregator::builder()
        .broker(&scene.host.url())
        .arg("--management")
        .arg(&scene.management())
        .arg("--round")
        .arg("5s")
        .start()
        .await;
    aggregator.subscribed().await;
    eventually("the worker is looked at", SOON, async || {
        let worker = aggregator.worker(NODE).await?;
        ensure!(worker.inspection.is_some(), "{worker:?}");
        Ok(())
    })
    .await;

    // Two run, four times two are prefetched beside them, the rest is ready.
    scene.celery.run("for _ in range(14): nap.delay(60)");
    eventually("depths are those of the broker", SOON, async || {
        let truth = scene.host.queue("celery")?;
        let queues = aggregator.queues().await?;
        let queue = queues.iter().find(|queue| queue.name == "celery");
        let queue = queue.ok_or_else(|| anyhow::anyhow!("no queue: {queues:?}"))?;
        let unacked = queue.unacked.unwrap_or_default();
        let seen = (queue.ready, Some(unacked.count), queue.consumers);
        let told = |field: &str| truth[field].as_i64();
        let told = (
            told("messages_ready"),
            told("messages_unacknowledged"),
            told("consumers"),
        );
        ensure!(seen == told && !unacked.approximate, "{seen:?} {told:?}");
        ensure!(queue.ready > Some(0) && unacked.count > 0, "{queue:?}");
        Ok(())
    })
    .await;

    let ping = tell(&aggregator, Command::Ping(v1::PingCommand {})).await;
    assert_eq!(ping.answers.len(), 1, "{ping:?}");
    assert_eq!(ping.answers[0].kind(), v1::AnswerKind::Ok);
    let running = eventually("a task runs", SOON, async || {
        let running = aggregator.tasks("state = STARTED").await?;
        running
            .first()
            .cloned()
            .ok_or_else(|| anyhow::anyhow!("none"))
    })
    .await;
    let revoke = v1::RevokeCommand {
        task_ids: vec![running.id.clone()],
        terminate: true,
        signal: String::new(),
    };
    let revoked = tell(&aggregator, Command::Revoke(revoke)).await;
    assert_eq!(revoked.answers[0].kind(), v1::AnswerKind::Ok, "{revoked:?}");
    eventually("it is revoked", SOON, async || {
        let task = aggregator.task(&running.id).await?;
        ensure!(task.state == "REVOKED", "{}", task.state);
        Ok(())
    })
    .await;
    let app = aggregator.app().await.expect("it serves");
    assert_eq!(app.gaps, [], "nothing was missed");
    let broker = app.broker.expect("it is known");
    assert!(broker.version().starts_with("rabbitmq "), "{broker:?}");
    scene.worker.kill9();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_that_ran_while_celeriac_was_away_are_all_there_and_no_gap() {
    let _turn = turn().await;
    let mut scene = Scene::set().await;
    let mut aggregator = Aggregator::on(&scene.host.url()).await;
    scene.celery.run("for _ in range(5): add.delay(1, 1)");
    finished(&aggregator, 5).await;
    aggregator.settled().await;
    aggregator.kill9();
    scene.celery.run("for _ in range(20): add.delay(1, 1)");
    eventually("they have run", SOON, async || {
        let left = scene.host.queue("celery")?["messages"].clone();
        ensure!(left == 0, "{left}");
        Ok(())
    })
    .await;
    aggregator.restart().await;
    finished(&aggregator, 25).await;
    aggregator.subscribed().await;
    let names = aggregator.task_names().await.expect("it serves");
    let add = names.iter().find(|name| name.name == "demo.add");
    let add = add.expect("it ran");
    assert_eq!((add.started, add.succeeded), (25, 25), "each once");
    let gaps = aggregator.app().await.expect("it serves").gaps;
    assert_eq!(gaps, [], "nothing was missed");

    // What `tail` makes goes with it, and it takes nothing from others.
    let mut tail = Inspector::start(
        &scene.host.url(),
        &["tail", "-o", "json", "--type", "task-succeeded"],
    );
    eventually("tail is subscribed", SOON, async || {
        let queues = scene.host.queues()?;
        let ours = queues
            .iter()
            .filter(|name| name.starts_with("celeryev.celeriac."));
        ensure!(ours.count() == 2, "{queues:?}");
        Ok(())
    })
    .await;
    scene.celery.run("add.delay(2, 2)");
    eventually("tail prints it", SOON, async || {
        let log = tail.process.log();
        ensure!(log.contains("task-succeeded"), "{log}");
        Ok(())
    })
    .await;
    finished(&aggregator, 26).await;
    tail.process.stop(SOON);
    aggregator.stop();
    scene.worker.kill9();
    eventually("only the kept queue is left of us", SOON, async || {
        let mut queues = scene.host.queues()?;
        queues.retain(|name| name.contains("celeriac"));
        ensure!(queues == ["celeryev.celeriac.default"], "{queues:?}");
        Ok(())
    })
    .await;
}

async fn finished(aggregator: &Aggregator, tasks: usize) {
    eventually("all tasks have ended", SOON, async || {
        let finished = aggregator.tasks("finished = true").await?.len();
        ensure!(finished == tasks, "{finished} of {tasks}");
        Ok(())
    })
    .await;
}
