//! Workers that tell or hear less than others: each is shown with what it does tell, and with the setting to change. One
//! real worker for each way, each an app of its own on a database of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::ensure;
use celeriac_proto::v1::{
    EventsMode, GetAppRequest, GetTaskRequest, GetWorkerRequest, ListTasksRequest, Worker,
    WorkerStatus,
};
use celeriac_tests::celery::WorkerBuilder;
use celeriac_tests::{Aggregator, Celery, Process, Redis, eventually, turn};
use serde_json::{Value, json};

/// Silence is told from rounds, and missing heartbeats after a minute.
const SOON: Duration = Duration::from_mins(3);
/// How often workers are asked; the default of a minute would make the test longer.
const ROUND: &str = "5s";

/// What an app is like, and what is to be said about its worker.
struct Way {
    name: &'static str,
    settings: Value,
    start: fn(WorkerBuilder) -> WorkerBuilder,
    /// The codes of the advice, and words of it, in the order of codes.
    advice: &'static [(&'static str, &'static [&'static str])],
    answers: bool,
}

fn ways() -> Vec<Way> {
    let mut ways = quiet_ways();
    ways.extend(foreign_ways());
    ways
}

/// Something is switched off.
fn quiet_ways() -> Vec<Way> {
    let plain = |worker: WorkerBuilder| worker;
    vec![
        Way {
            name: "noevents",
            settings: json!({}),
            start: |worker| worker.events(false),
            advice: &[("EVENTS_OFF", &["`-E`", "`worker_send_task_events = True`"])],
            answers: true,
        },
        Way {
            name: "nocontrol",
            settings: json!({"worker_enable_remote_control": false}),
            start: plain,
            advice: &[(
                "REMOTE_CONTROL_OFF",
                &["does not listen", "`worker_enable_remote_control = True`"],
            )],
            answers: false,
        },
        Way {
            name: "noheartbeats",
            settings: json!({}),
            start: |worker| worker.arg("--without-heartbeat"),
            advice: &[("HEARTBEATS_OFF", &["`--without-heartbeat`"])],
            answers: true,
        },
        Way {
            name: "onlyevents",
            settings: json!({"worker_enable_remote_control": false}),
            start: |worker| worker.arg("--without-heartbeat"),
            advice: &[
                ("HEARTBEATS_OFF", &["`--without-heartbeat`"]),
                (
                    "REMOTE_CONTROL_OFF",
                    &["`worker_enable_remote_control = True`"],
                ),
            ],
            answers: false,
        },
    ]
}

/// Serializers other than JSON.
fn foreign_ways() -> Vec<Way> {
    let plain = |worker: WorkerBuilder| worker;
    vec![
        Way {
            name: "pickledevents",
            settings: json!({"event_serializer": "pickle"}),
            start: plain,
            advice: &[(
                "EVENTS_UNREADABLE",
                &[
                    "application/x-python-serialize is never read",
                    "`event_serializer = 'json'`",
                ],
            )],
            answers: true,
        },
        Way {
            name: "refusesjson",
            settings: json!({"task_serializer": "pickle", "accept_content": ["pickle"]}),
            start: plain,
            advice: &[("CONTROL_REFUSED", &["refuses JSON", "`accept_content`"])],
            answers: false,
        },
        Way {
            name: "pickledanswers",
            settings: json!({"task_serializer": "pickle", "accept_content": ["json", "pickle"]}),
            start: plain,
            advice: &[(
                "ANSWERS_UNREADABLE",
                &[
                    "application/x-python-serialize is never read",
                    "`task_serializer = 'json'`",
                ],
            )],
            answers: false,
        },
    ]
}

fn broker(redis: &Redis, number: usize) -> String {
    redis.url_db(u32::try_from(number).expect("few databases"))
}

async fn worker(aggregator: &Aggregator, app: &str) -> anyhow::Result<Worker> {
    let request = GetWorkerRequest {
        app: app.to_owned(),
        name: format!("celery@{app}"),
    };
    let response = aggregator.inspection().await?.get_worker(request).await?;
    Ok(response.into_inner().worker.unwrap_or_default())
}

fn codes(worker: &Worker) -> Vec<String> {
    let mut codes: Vec<String> = worker.advice.iter().map(|one| one.code.clone()).collect();
    codes.sort();
    codes
}

#[tokio::test]
async fn each_way_of_telling_less_is_said_with_the_setting_to_change() {
    let _turn = turn().await;
    let redis = Redis::start();
    let mut aggregator = Aggregator::builder().arg("--round").arg(ROUND);
    for (number, way) in ways().iter().enumerate() {
        aggregator = aggregator.broker(&format!("{}={}", way.name, broker(&redis, number)));
    }
    let aggregator = aggregator.start().await;
    let mut running = Vec::new();
    let mut load: Vec<Process> = Vec::new();
    for (number, way) in ways().into_iter().enumerate() {
        let celery = Celery::new("5.7", &broker(&redis, number))
            .settings(&way.settings)
            // Celery wants to be asked twice before it unpickles as root.
            .env("C_FORCE_ROOT", "1");
        let worker = celery.worker(way.name).pool("threads").concurrency(1);
        let worker = worker.arg("--without-mingle").arg("--without-gossip");
        running.push((way.start)(worker).start().await);
        load.push(
            celery.start(
                "import time\nfor n in range(2000):\n    add.delay(n, n)\n    time.sleep(0.5)",
            ),
        );
    }
    for way in ways() {
        let expected: Vec<&str> = way.advice.iter().map(|(code, _)| *code).collect();
        let worker = eventually(way.name, SOON, async || {
            let worker = worker(&aggregator, way.name).await?;
            ensure!(codes(&worker) == expected, "{:?}", worker.advice);
            Ok(worker)
        })
        .await;
        let said: String = worker
            .advice
            .iter()
            .map(|one| one.message.clone())
            .collect();
        for word in way.advice.iter().flat_map(|(_, words)| *words) {
            assert!(said.contains(word), "{}: no {word:?} in {said:?}", way.name);
        }
        assert_eq!(worker.status(), WorkerStatus::Online, "{}", way.name);
        assert_eq!(worker.inspection.is_some(), way.answers, "{}", way.name);
        println!("{}: {said}", way.name);
    }
    the_app_names_who_sends_what_is_not_read(&aggregator).await;
    tasks_are_shown_all_the_same(&aggregator).await;
}

async fn the_app_names_who_sends_what_is_not_read(aggregator: &Aggregator) {
    let app = async |name: &str| {
        let name = name.to_owned();
        let mut client = aggregator.inspection().await.expect("it serves");
        let app = client.get_app(GetAppRequest { app: name }).await;
        app.expect("it is there")
            .into_inner()
            .app
            .unwrap_or_default()
    };
    let events = app("pickledevents").await;
    let senders = events.rejections.iter().flat_map(|one| &one.senders);
    assert!(
        senders.into_iter().any(|one| one == "celery@pickledevents"),
        "{events:?}"
    );
    let said = format!("{:?}", events.advice);
    assert!(said.contains("celery@pickledevents"), "{said}");
    let answers = app("pickledanswers").await;
    let repliers: Vec<_> = answers
        .rejections
        .iter()
        .flat_map(|one| &one.repliers)
        .collect();
    assert_eq!(repliers, ["celery@pickledanswers"]);
}

/// Of all but those whose events cannot be read or are off, tasks are known.
async fn tasks_are_shown_all_the_same(aggregator: &Aggregator) {
    for app in [
        "nocontrol",
        "noheartbeats",
        "onlyevents",
        "refusesjson",
        "pickledanswers",
    ] {
        let request = ListTasksRequest {
            app: app.to_owned(),
            filter: "state = SUCCESS".to_owned(),
            ..Default::default()
        };
        let mut client = aggregator.inspection().await.expect("it serves");
        let page = client
            .list_tasks(request)
            .await
            .expect("it serves")
            .into_inner();
        assert!(!page.tasks.is_empty(), "{app}");
        assert_eq!(page.tasks[0].worker, Some(format!("celery@{app}")));
    }
}

/// As real workers were recorded to send them; `auth` wants keys.
#[tokio::test]
async fn recorded_messages_in_other_serializers_are_read_but_for_pickle() {
    const PICKLE: &str = "application/x-python-serialize";
    let redis = Redis::start();
    let aggregator = Aggregator::on(&redis.url()).await;
    let file = celeriac_tests::paths::root().join("tests/fixtures/serializers.jsonl");
    let text = std::fs::read_to_string(file).expect("the recordings are in the checkout");
    let (mut tasks, mut pickled) = (BTreeMap::new(), 0);
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).expect("JSON lines");
        let word = |field: &str| line[field].as_str().unwrap_or_default();
        let payload: Value = serde_json::from_str(word("payload")).unwrap_or_default();
        let is_pickle = payload["content-type"] == PICKLE;
        let channel = word("channel_or_key");
        if word("op") == "LPUSH" && channel == "celery" && !is_pickle {
            let text = |value: &Value| value.as_str().expect("kombu's headers").to_owned();
            let headers = &payload["headers"];
            tasks.insert(text(&headers["id"]), text(&headers["task"]));
        }
        if word("op") == "PUBLISH" && channel.starts_with("/0.celeryev/") {
            pickled += u64::from(is_pickle);
            redis.cli(&["PUBLISH", channel, word("payload")]);
        }
    }
    assert!(tasks.len() >= 4 && pickled > 0, "{tasks:?}");
    let app = eventually("all are counted", SOON, async || {
        let app = aggregator.app().await?;
        let counted: u64 = app.rejections.iter().map(|one| one.count).sum();
        ensure!(counted == pickled, "{counted} of {pickled}");
        Ok(app)
    })
    .await;
    let [rejection] = &app.rejections[..] else {
        panic!("{:?}", app.rejections);
    };
    assert!(rejection.reason.contains(PICKLE), "{rejection:?}");
    assert_eq!(rejection.senders, ["celery@w1", "gen5965@client1"]);
    let advice = app.advice.iter().find(|one| one.message.contains(PICKLE));
    let message = &advice.expect("something is said").message;
    assert!(
        message.starts_with(&format!("{pickled} messages from ")),
        "{message}"
    );
    assert!(message.contains("`event_serializer = 'json'`"), "{message}");
    for (id, name) in tasks {
        let expect = match name.as_str() {
            "demo.add" => "SUCCESS",
            "demo.fail" => "FAILURE",
            other => panic!("{other}"),
        };
        eventually(&format!("{id} {name}"), SOON, async || {
            let request = GetTaskRequest {
                id: id.clone(),
                ..Default::default()
            };
            let mut client = aggregator.inspection().await?;
            let task = client.get_task(request).await?;
            let task = task.into_inner().task.unwrap_or_default();
            ensure!(
                task.state == expect && task.name.as_deref() == Some(name.as_str()),
                "{task:?}"
            );
            Ok(())
        })
        .await;
    }
}

#[tokio::test]
async fn enable_events_switches_them_on_for_new_workers_and_after_a_restart() {
    let _turn = turn().await;
    let redis = Redis::start();
    let celery = Celery::new("5.7", &redis.url());
    let aggregator = Aggregator::builder()
        .broker(&redis.url())
        .arg("--enable-events");
    let aggregator = aggregator.start().await;
    aggregator.subscribed().await;
    let mut worker = celery.worker("quiet").events(false).start().await;
    let _load = celery
        .start("import time\nfor n in range(2000):\n    add.delay(n, n)\n    time.sleep(0.2)");
    for life in ["a new worker", "a restarted one"] {
        let pid = u64::from(worker.process.pid());
        eventually(life, SOON, async || {
            let worker = aggregator.worker("celery@quiet").await?;
            let known = worker.incarnation.as_ref().and_then(|one| one.pid);
            ensure!(
                known == Some(pid) && worker.events() == EventsMode::On,
                "{worker:?}"
            );
            Ok(())
        })
        .await;
        worker.restart().await;
    }
}
