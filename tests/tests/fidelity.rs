//! What Celeriac shows of real workers is what Celery itself makes of the same events, to the last field, and what the
//! tasks themselves say happened.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use celeriac_tests::expect::differences;
use celeriac_tests::{
    Aggregator, Celery, RabbitMq, Recording, Redis, Worker, celeriac, eventually, turn,
};
use serde_json::Value;
use tempfile::TempDir;

/// What the tasks themselves wrote: name, then what happened, then how often.
type Truth = BTreeMap<String, BTreeMap<String, u64>>;

/// Sends tasks of every outcome, `unit` being the size of the mix, and quick ones until there are `total`.
const MIX: &str = r#"
import datetime
sent = 0
def send(task, count, *args, **options):
    global sent
    sent += count
    return [task.apply_async(args, **options).id for _ in range(count)]

past = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(minutes=1)
send(fail, 15 * UNIT)
send(fail_long, UNIT, 3000)
send(flaky, 4 * UNIT, 2)
send(hopeless, 2 * UNIT)
send(reject, 2 * UNIT if REQUEUE else 0)
send(requeue_once, 2 * UNIT if REQUEUE else 0)
send(ignore, 2 * UNIT)
send(soft_limit, 1)
send(hard_limit, 1)
send(die, 1)
send(progress, 2 * UNIT, 3)
send(large, 1, 5000000)
send(echo, 2 * UNIT, u"\u00fcn\u00ef \U0001f600 \u0000", float("nan"))
send(add, 2 * UNIT, 1, 1, countdown=2)
send(add, 2 * UNIT if EXPIRE else 0, 1, 1, expires=past)
app.control.revoke(send(add, UNIT, 1, 1, countdown=3))
for _ in range(UNIT):
    app.send_task("demo.unknown")
    spawn.delay(3)
    from celery import chain, chord, group
    chain(add.s(1, 1), add.s(2), add.s(3)).apply_async()
    group(add.s(n, n) for n in range(3)).apply_async()
    chord([add.s(n, n) for n in range(3)])(total.s())
    sent += 1 + 4 + 3 + 3 + 4
assert sent <= TOTAL, sent
send(add, TOTAL - sent, 2, 3)
"#;

/// Runs a mix and compares everything.
async fn check(celery: &Celery, truth: &Path, workers: Vec<Worker>, broker: &str, mix: Mix) {
    let celery = &celery.clone().truth(truth);
    let aggregator = Aggregator::on(broker).await;
    let recorder = celery.recorder().await;
    let mut workers = workers;
    for worker in &mut workers {
        worker.ready().await;
    }
    let names: Vec<String> = workers.iter().map(|worker| worker.name.clone()).collect();
    celery.run(&format!(
        "UNIT, TOTAL, REQUEUE, EXPIRE = {}, {}, {}, {}\n{MIX}",
        mix.unit,
        mix.total,
        python(mix.requeue),
        python(mix.expire)
    ));

    eventually("every task has ended", Duration::from_mins(3), async || {
        let finished = aggregator.tasks("finished = true").await?.len();
        let mut unfinished = aggregator.tasks("finished = false").await?;
        ensure!(
            finished + unfinished.len() == mix.total,
            "{finished} and {}",
            unfinished.len()
        );
        // Their end is in no event, and it is found out only when their worker is asked again.
        unfinished.retain(|task| task.name.as_deref() != Some("demo.ignore"));
        ensure!(
            unfinished.is_empty(),
            "{} unfinished, such as {:?}",
            unfinished.len(),
            unfinished[0]
        );
        Ok(())
    })
    .await;
    for worker in &mut workers {
        worker.stop();
    }
    eventually(
        "all workers are offline",
        Duration::from_secs(20),
        async || {
            let online = aggregator.app().await?.workers_online;
            ensure!(online == 0, "{online} online");
            Ok(())
        },
    )
    .await;

    let recording = recorder.finish();
    same_tasks(&aggregator, &recording, mix.total).await;
    same_workflows(&aggregator, &recording);
    same_workers(&aggregator, &recording, &names).await;
    same_statistics(&aggregator, &read_truth(truth)).await;
    same_metrics(&aggregator, &recording);
    same_on_the_command_line(&aggregator).await;
}

struct Mix {
    unit: usize,
    total: usize,
    /// Celery 4.4 redelivers a requeued message without saying so: the demo task could not tell.
    requeue: bool,
    /// RabbitMQ itself drops a message that has expired: no worker hears of it.
    expire: bool,
}

fn python(yes: bool) -> &'static str {
    if yes { "True" } else { "False" }
}

async fn same_tasks(aggregator: &Aggregator, recording: &Recording, total: usize) {
    let tasks = aggregator.tasks("").await.expect("it serves");
    assert_eq!(recording.tasks.len(), total, "tasks in Celery's own state");
    assert_eq!(tasks.len(), total, "tasks listed");
    let mut wrong = Vec::new();
    let mut with_parent = 0;
    for task in &tasks {
        let celery = recording
            .tasks
            .get(&task.id)
            .expect("Celery has seen every task");
        wrong.extend(differences(task, celery));
        with_parent += usize::from(task.parent_id.is_some());
    }
    wrong.sort();
    assert!(
        wrong.is_empty(),
        "{} differences, such as\n{}",
        wrong.len(),
        wrong[..wrong.len().min(20)].join("\n")
    );
    assert!(with_parent > 0, "no task shows its parent");
}

/// `celeriac workflow`, told any task of one, shows the tasks that have the same root by Celery's own events: chains, chords
/// and what tasks called.
fn same_workflows(aggregator: &Aggregator, recording: &Recording) {
    let mut workflows: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (id, task) in &recording.tasks {
        let root = task["root_id"].as_str().unwrap_or(id);
        workflows.entry(root).or_default().push(id);
    }
    workflows.retain(|_, ids| ids.len() > 2);
    assert!(workflows.len() > 1, "{workflows:?}");
    for ids in workflows.values_mut().take(8) {
        let output = celeriac(aggregator.address(), &["workflow", ids[1], "-o", "json"]);
        assert!(output.status.success(), "{output:?}");
        let json: Value = serde_json::from_slice(&output.stdout).expect("-o json prints JSON");
        let shown = json["tasks"].as_array().expect("GetWorkflowResponse.tasks");
        let shown = shown.iter().filter_map(|task| task["id"].as_str());
        let mut shown: Vec<&str> = shown.collect();
        shown.sort_unstable();
        ids.sort_unstable();
        assert_eq!(&shown, ids);
    }
}

async fn same_workers(aggregator: &Aggregator, recording: &Recording, names: &[String]) {
    let workers = aggregator.workers().await.expect("it serves");
    let mut shown: Vec<&str> = workers.iter().map(|worker| worker.name.as_str()).collect();
    shown.sort_unstable();
    let mut expected: Vec<&str> = names.iter().map(String::as_str).collect();
    expected.sort_unstable();
    assert_eq!(shown, expected);
    for worker in &workers {
        let celery = &recording.workers[&worker.name];
        assert_eq!(
            worker.processed,
            celery["processed"].as_i64(),
            "{}",
            worker.name
        );
        let pid = worker.incarnation.as_ref().and_then(|life| life.pid);
        assert_eq!(pid, celery["pid"].as_u64(), "{}", worker.name);
        let version = celery["sw_ver"]
            .as_str()
            .expect("workers say their version");
        let software = worker.software.as_deref().unwrap_or_default();
        assert!(software.contains(version), "{software} and {version}");
    }
}

/// The statistics by task name, which count each outcome once, are what the task bodies wrote down.
async fn same_statistics(aggregator: &Aggregator, truth: &Truth) {
    let names = aggregator.task_names().await.expect("it serves");
    for (name, happened) in truth {
        let shown = names
            .iter()
            .find(|shown| &shown.name == name)
            .unwrap_or_else(|| panic!("no statistics of {name}"));
        let count = |what: &str| happened.get(what).copied().unwrap_or(0);
        assert_eq!(shown.started, count("start"), "{name}: started");
        assert_eq!(shown.succeeded, count("return"), "{name}: succeeded");
        assert_eq!(shown.retried, count("retry"), "{name}: retried");
        // Celery 5.7 says `task-failed` before `task-rejected`: one end, counted once, under the first of the two. A body
        // that was killed wrote no end.
        let ends = ["return", "retry", "ignore", "raise", "reject", "requeue"];
        let ends: u64 = ends.map(count).iter().sum();
        let killed = count("start") - ends;
        let bad = count("raise") + count("reject") + count("requeue") + killed;
        assert_eq!(
            shown.failed + shown.rejected,
            bad,
            "{name}: failed or rejected"
        );
    }
}

/// The counters under the peers' names count events, as the peers do.
fn same_metrics(aggregator: &Aggregator, recording: &Recording) {
    let (status, text) = aggregator.get("/metrics").expect("it serves");
    assert_eq!(status, 200);
    for kind in [
        "sent",
        "received",
        "started",
        "succeeded",
        "failed",
        "retried",
        "revoked",
        "rejected",
    ] {
        let events = recording
            .events
            .iter()
            .filter(|entry| entry["event"]["type"] == format!("task-{kind}"))
            .count();
        let metric = format!("celery_task_{kind}_total{{");
        let counted: f64 = text
            .lines()
            .filter(|line| line.starts_with(&metric))
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            // Not `sum`, which is -0 for nothing.
            .fold(0.0, |sum, value| sum + value);
        assert_eq!(
            counted.to_string(),
            events.to_string(),
            "the sum of {metric}…}} and the task-{kind} events that Celery sent"
        );
    }
}

/// `celeriac tasks -o json` is the gRPC answer, and a filter filters.
async fn same_on_the_command_line(aggregator: &Aggregator) {
    let failed = aggregator
        .tasks("state = FAILURE")
        .await
        .expect("it serves");
    let all = aggregator.tasks("").await.expect("it serves");
    let by_hand = all.iter().filter(|task| task.state == "FAILURE").count();
    assert_eq!(failed.len(), by_hand);
    let output = celeriac(
        aggregator.address(),
        &[
            "tasks",
            "--all",
            "--filter",
            "state = FAILURE",
            "-o",
            "json",
        ],
    );
    assert!(output.status.success(), "{output:?}");
    let json: Value = serde_json::from_slice(&output.stdout).expect("-o json prints JSON");
    let tasks = json["tasks"].as_array().expect("ListTasksResponse.tasks");
    assert_eq!(tasks.len(), by_hand);
    assert!(tasks.iter().all(|task| task["state"] == "FAILURE"));
}

fn read_truth(file: &Path) -> Truth {
    let text = std::fs::read_to_string(file).expect("tasks have written their truth");
    let mut truth = Truth::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).expect("a line of truth is JSON");
        let field = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        *truth
            .entry(field("name"))
            .or_default()
            .entry(field("what"))
            .or_default() += 1;
    }
    truth
}

#[tokio::test]
async fn two_thousand_tasks_of_every_outcome_on_three_pools() {
    let _turn = turn().await;
    let redis = Redis::start();
    let folder = TempDir::new().unwrap();
    let truth = folder.path().join("truth");
    let celery = Celery::new("5.7", &redis.url()).truth(&truth);
    let workers = vec![
        celery.worker("w1").launch(),
        celery
            .worker("w2")
            .pool("threads")
            .concurrency(4)
            .queues(["celery"])
            .launch(),
        celery
            .worker("w3")
            .pool("gevent")
            .concurrency(8)
            .queues(["celery"])
            .launch(),
    ];
    let mix = Mix {
        unit: 10,
        total: 2000,
        requeue: true,
        expire: true,
    };
    check(&celery, &truth, workers, &redis.url(), mix).await;
}

#[tokio::test]
async fn every_outcome_over_rabbitmq_with_results_in_redis() {
    let _turn = turn().await;
    let (host, redis) = tokio::task::spawn_blocking(|| (RabbitMq::host(), Redis::start()))
        .await
        .expect("both brokers start");
    let folder = TempDir::new().expect("the temporary folder is writable");
    let truth = folder.path().join("truth");
    let celery = Celery::new("5.7", &host.url())
        .env("DEMO_BACKEND", &redis.url())
        .truth(&truth);
    let threads = celery.worker("w2").pool("threads").concurrency(4);
    let workers = vec![
        celery.worker("w1").launch(),
        threads.queues(["celery"]).launch(),
    ];
    let mix = Mix {
        unit: 3,
        total: 400,
        requeue: true,
        expire: false,
    };
    check(&celery, &truth, workers, &host.url(), mix).await;
}

/// A smaller mix on one prefork worker of an older Celery.
async fn check_version(version: &str, requeue: bool) {
    let _turn = turn().await;
    let redis = Redis::start();
    let folder = TempDir::new().expect("the temporary folder is writable");
    let truth = folder.path().join("truth");
    let celery = Celery::new(version, &redis.url()).truth(&truth);
    let workers = vec![celery.worker("old").launch()];
    let mix = Mix {
        unit: 2,
        total: 150,
        requeue,
        expire: true,
    };
    check(&celery, &truth, workers, &redis.url(), mix).await;
}

#[tokio::test]
async fn celery_5_4() {
    check_version("5.4", true).await;
}

#[tokio::test]
async fn celery_4_4() {
    check_version("4.4", false).await;
}
