//! Simulated workers cannot be told from real ones by Celery's own eyes, `app.control.inspect()` and
//! `celery.events.state`, on either broker.

use std::time::Duration;

use anyhow::ensure;
use celeriac_tests::{Celery, Fleet, RabbitMq, Redis, eventually, turn};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(30);

/// Asks both workers everything and prints, per command and worker, the answer's shape: types in place of values. What
/// a worker has no answer to is left out by Celery itself.
const SHAPES: &str = r#"
import json
def shape(value):
    if isinstance(value, dict):
        # Keys that are names or ids, not fields.
        return {key: shape(one) for key, one in sorted(value.items())}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__
inspect = app.control.inspect(timeout=20, limit=2)
both = {"reply": True, "timeout": 20, "limit": 2}
asked = {
    "ping": inspect.ping(), "stats": inspect.stats(), "active": inspect.active(), "reserved": inspect.reserved(),
    "scheduled": inspect.scheduled(), "revoked": inspect.revoked(), "registered": inspect.registered(),
    "active_queues": inspect.active_queues(), "clock": inspect.clock(), "report": inspect.report(),
    "query_task": inspect.query_task("nosuch"), "conf": inspect.conf(),
    "enable_events": app.control.enable_events(**both), "disable_events": app.control.disable_events(**both),
    "disabled again": app.control.disable_events(**both), "enabled again": app.control.enable_events(**both),
    "addressed": inspect._prepare(app.control.broadcast("ping", destination=["celery@sim0"], reply=True, timeout=20, limit=1)),
    "cancelled": app.control.cancel_consumer("fork", **both), "added": app.control.add_consumer("fork", **both),
    "no such": app.control.broadcast("nosuch", **both), "heartbeat": app.control.broadcast("heartbeat", **both),
}
def by_worker(answers):
    answers = answers or {}
    return answers if isinstance(answers, dict) else {name: one for answer in answers for name, one in answer.items()}
words = ("ping", "enable_events", "disable_events", "disabled again", "enabled again", "cancelled", "added", "no such")
for command, answers in asked.items():
    print(json.dumps([command, {
        name: answer if command in words else shape(answer) for name, answer in by_worker(answers).items()
    }]))
"#;

#[tokio::test]
async fn celerys_own_inspect_and_state_see_no_difference_on_redis() {
    let _turn = turn().await;
    let redis = Redis::start();
    check(&redis.url()).await;
}

#[tokio::test]
async fn celerys_own_inspect_and_state_see_no_difference_on_rabbitmq() {
    let _turn = turn().await;
    let host = tokio::task::spawn_blocking(RabbitMq::host)
        .await
        .expect("the node starts");
    check(&host.url()).await;
}

async fn check(broker: &str) {
    let celery = Celery::new("5.7", broker).env("DEMO_BACKEND", "rpc://");
    let recorder = celery.recorder().await;
    let fleet = Fleet::on(broker).workers(1).start();
    let mut worker = celery.worker("real").queues(["celery"]).start().await;
    eventually("both answer", SOON, async || {
        let said = celery.run("print(sorted(app.control.inspect(timeout=2).ping() or {}))");
        ensure!(said.trim() == "['celery@real', 'celery@sim0']", "{said}");
        Ok(())
    })
    .await;

    same_answers(&celery.run(SHAPES));
    fleet.work(5.0).await;
    celery.run("for n in range(20):\n    add.delay(n, n)\nfail.delay()\nflaky.delay(1)\n");
    eventually("both have worked", SOON, async || {
        let truth = fleet.truth();
        let done = |event| truth.events(event) > 0;
        ensure!(
            done("task-succeeded") && done("task-failed") && done("task-retried"),
            "{truth:?}"
        );
        Ok(())
    })
    .await;
    fleet.rest().await;
    eventually("all have ended", SOON, async || {
        let truth = fleet.truth();
        ensure!(truth.all_finished(), "{truth:?}");
        Ok(())
    })
    .await;
    worker.stop();
    fleet.stop().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let recording = recorder.finish();

    for (id, task) in &fleet.truth().tasks {
        let celery = &recording.tasks[id];
        assert_eq!(celery["state"], task.state, "{celery}");
        assert_eq!(celery["name"], task.name.as_str());
        assert_eq!(celery["worker"], "celery@sim0");
    }
    let (simulated, real) = (
        &recording.workers["celery@sim0"],
        &recording.workers["celery@real"],
    );
    for field in ["freq", "active", "alive", "sw_ver"] {
        assert_eq!(simulated[field], real[field], "{field}");
    }
    assert_eq!(simulated["processed"], fleet.truth().events("task-started"));
    same_fields(&recording.events);
}

/// Every command is answered alike by both.
fn same_answers(said: &str) {
    let mut compared = 0;
    for line in said.lines() {
        let (command, answers): (String, Value) = serde_json::from_str(line).expect("it is JSON");
        if command == "addressed" {
            assert_eq!(
                answers.as_object().map(serde_json::Map::len),
                Some(1),
                "{answers}"
            );
            assert!(answers.get("celery@sim0").is_some(), "{answers}");
            continue;
        }
        assert!(answers.get("celery@real").is_some(), "{command}: {answers}");
        // What the settings are is the app's business.
        if command != "conf" {
            assert_eq!(answers["celery@sim0"], answers["celery@real"], "{command}");
        }
        compared += 1;
    }
    assert_eq!(compared, 20, "{said}");
}

/// Every type of event has the same fields from both.
fn same_fields(events: &[Value]) {
    let fields = |host: &str, kind: &str| {
        let event = events
            .iter()
            .map(|entry| &entry["event"])
            // A heartbeat that was asked for looks otherwise.
            .filter(|event| kind != "worker-heartbeat" || event.get("loadavg").is_some())
            .find(|event| event["hostname"] == host && event["type"] == kind);
        let shape = |value: &Value| std::mem::discriminant(value);
        event.and_then(Value::as_object).map(|event| {
            let field = |(name, value): (&String, &Value)| (name.clone(), shape(value));
            event.iter().map(field).collect::<Vec<_>>()
        })
    };
    for kind in [
        "worker-online",
        "worker-heartbeat",
        "worker-offline",
        "task-received",
        "task-started",
        "task-succeeded",
        "task-failed",
        "task-retried",
    ] {
        let real = fields("celery@real", kind);
        assert!(real.is_some(), "the real worker sent no {kind}");
        assert_eq!(fields("celery@sim0", kind), real, "{kind}");
    }
}
