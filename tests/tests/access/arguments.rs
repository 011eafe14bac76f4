//! A secret that an app gives a task by name goes no further than the inspector: it is in no answer, file, log or metric.

use anyhow::ensure;
use celeriac_proto::v1::control_service_client::ControlServiceClient;
use celeriac_proto::v1::execute_command_request::Command;
use celeriac_proto::v1::{ExecuteCommandRequest, InspectCommand, Task};
use celeriac_tests::kube::SOON;
use celeriac_tests::product::http_get;
use celeriac_tests::{Aggregator, Celery, Redis, eventually, turn};

use crate::payload::holds;

const PLANTED: &str = "hunter2-of-shop";

/// One runs and returns what it was given, one waits for its time in the worker.
const SEND: &str = "
secrets = {'user': 'ann', 'password': PLANTED, 'deep': [{'api_key': PLANTED, 'n': 1}]}
print(echo.apply_async((7, {'authToken': PLANTED}), secrets).id)
print(echo.apply_async((), secrets, countdown=300).id)
";

#[tokio::test]
async fn a_secret_among_a_tasks_arguments_is_seen_nowhere() {
    let _turn = turn().await;
    let redis = Redis::start();
    let celery = Celery::new("5.7", &redis.url());
    let mut aggregator = Aggregator::on(&redis.url()).await;
    let worker = celery.worker("w").start().await;
    let sent = celery.run(&format!("PLANTED = '{PLANTED}'\n{SEND}"));
    let sent: Vec<&str> = sent.split_whitespace().collect();
    let tasks = eventually("both tasks are known", SOON, async || {
        let tasks = aggregator.tasks("").await?;
        let of = |id: &str| tasks.iter().find(|task| task.id == id).cloned();
        let (Some(ended), Some(waits)) = (of(sent[0]), of(sent[1])) else {
            anyhow::bail!("{tasks:?}");
        };
        ensure!(
            ended.state == "SUCCESS" && waits.state == "RECEIVED",
            "{ended:?}, {waits:?}"
        );
        Ok([ended, waits])
    })
    .await;
    for task in &tasks {
        is_masked(task);
    }

    let held = scheduled(&aggregator, &worker.name).await;
    assert!(held.contains(sent[1]) && held.contains("\"ann\""), "{held}");
    let (_, metrics) = http_get(aggregator.address(), "/metrics").expect("it serves");
    let log = aggregator.process.log();
    for (place, text) in [
        ("an answer", &held),
        ("metrics", &metrics),
        ("the log", &log),
    ] {
        assert!(!text.contains(PLANTED), "it is in {place}");
    }
    aggregator.stop();
    let mut found = false;
    for file in std::fs::read_dir(aggregator.data()).expect("the data folder is there") {
        let path = file.expect("it can be listed").path();
        if path.is_file() {
            let bytes = std::fs::read(&path).expect("it can be read");
            assert!(!holds(&bytes, PLANTED), "it is in {}", path.display());
            found |= holds(&bytes, sent[0]) || holds(&bytes, "demo.echo");
        }
    }
    assert!(found, "the files are looked at");
}

fn is_masked(task: &Task) {
    let payload = task.payload.clone().unwrap_or_default();
    let kwargs = payload.kwargs.unwrap_or_default();
    let expected =
        "'user': 'ann', 'password': '********', 'deep': [{'api_key': '********', 'n': 1}]";
    assert!(kwargs.contains(expected), "{kwargs}");
    let all = format!("{task:?}");
    assert!(!all.contains(PLANTED), "{all}");
}

/// What the worker answers when a person asks for what waits in it.
async fn scheduled(aggregator: &Aggregator, worker: &str) -> String {
    let address = format!("http://{}", aggregator.address());
    let mut client = ControlServiceClient::connect(address)
        .await
        .expect("it serves");
    let inspect = InspectCommand {
        name: "scheduled".to_owned(),
        arguments_json: String::new(),
    };
    let request = ExecuteCommandRequest {
        request_id: uuid::Uuid::new_v4().to_string(),
        destination: vec![worker.to_owned()],
        command: Some(Command::Inspect(inspect)),
        ..Default::default()
    };
    let answer = client.execute_command(request).await.expect("it is taken");
    let record = answer.into_inner().record.expect("a record");
    let answer = record.answers.first().expect("it answers");
    answer.answer_json.clone()
}
