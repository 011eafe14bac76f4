//! Consumers, limits, inspection, commands of the app's own: what does not depend on the pool is asked of every pool.

use celeriac_proto::v1;
use celeriac_proto::v1::execute_command_request::Command;
use serde_json::Value;

use crate::scene::{Kind, SOLO, Scene, THREADS, node};

pub(crate) async fn check(scene: &Scene, names: &[&str]) {
    for name in names {
        inspected(scene, name).await;
        consumers(scene, name).await;
        rate_limits(scene, name).await;
        time_limits(scene, name).await;
    }
    own(scene, names).await;
}

fn inspect(name: &str, arguments_json: &str) -> Command {
    Command::Inspect(v1::InspectCommand {
        name: name.to_owned(),
        arguments_json: arguments_json.to_owned(),
    })
}

async fn inspected(scene: &Scene, name: &str) {
    scene
        .check(
            name,
            Command::Ping(v1::PingCommand {}),
            Kind::Ok,
            "pong",
            "",
        )
        .await;
    // The same as Celery's own client is told.
    for (method, arguments, question) in [
        ("registered", "", "'registered'"),
        ("active_queues", "", "'active_queues'"),
        ("scheduled", "", "'scheduled'"),
        ("reserved", "", "'reserved'"),
        ("active", "", "'active'"),
        ("revoked", "", "'revoked'"),
        (
            "query_task",
            r#"{"ids": ["nosuch"]}"#,
            "'query_task', 'nosuch'",
        ),
    ] {
        let ours = scene.tell(name, inspect(method, arguments)).await;
        assert_eq!(ours.kind(), Kind::Ok, "{ours:?}");
        let ours: Value = serde_json::from_str(&ours.answer_json).expect("JSON");
        assert_eq!(ours, scene.asked(name, question).await, "{method}");
    }
    for (method, part) in [
        ("stats", "\"pool\""),
        ("clock", "\"clock\""),
        ("report", "software -> celery:"),
        ("conf", "\"include\""),
    ] {
        scene
            .check(name, inspect(method, ""), Kind::Ok, part, "")
            .await;
    }
}

async fn consumers(scene: &Scene, name: &str) {
    let queue = format!("extra-{name}");
    let add = Command::AddConsumer(v1::AddConsumerCommand {
        queue: queue.clone(),
        ..Default::default()
    });
    let cancel = Command::CancelConsumer(v1::CancelConsumerCommand {
        queue: queue.clone(),
    });
    let consumes = |worker: &v1::Worker| {
        let inspection = worker.inspection.as_ref();
        inspection.is_some_and(|known| known.queues.iter().any(|one| one.name == queue))
    };
    let own = |worker: &v1::Worker| {
        let inspection = worker.inspection.as_ref();
        inspection.is_some_and(|known| known.queues.iter().any(|one| one.name == name))
    };
    scene.looked_at(name, own).await;
    // Celery says the same whether it consumed or not.
    let text = format!("no longer consuming from {queue}");
    scene
        .check(
            name,
            cancel.clone(),
            Kind::NoEffect,
            &text,
            "did not consume",
        )
        .await;
    let text = format!("add consumer {queue}");
    scene.check(name, add.clone(), Kind::Ok, &text, "").await;
    let id = scene.sent("add", &queue, ", 2, 3").await;
    scene
        .until(&format!("app.AsyncResult('{id}').ready()"))
        .await;
    // Our own list is true soon, not at the next round.
    scene.looked_at(name, consumes).await;
    scene
        .check(name, add, Kind::NoEffect, &text, "already")
        .await;
    let text = format!("no longer consuming from {queue}");
    scene.check(name, cancel, Kind::Ok, &text, "").await;
    scene
        .until(&format!(
            "'{queue}' not in [one['name'] for one in asked('{}', 'active_queues')]",
            node(name)
        ))
        .await;
    scene.sent("add", &queue, ", 2, 3").await;
    scene.looked_at(name, |worker| !consumes(worker)).await;
    let left = scene.redis.cli(&["LLEN", &queue]);
    assert_eq!(left, celeriac_tests::resp::Value::Number(1), "{queue}");
}

async fn rate_limits(scene: &Scene, name: &str) {
    let rate = |task: &str, rate: &str| {
        Command::RateLimit(v1::RateLimitCommand {
            task_name: task.to_owned(),
            rate_limit: rate.to_owned(),
        })
    };
    let text = "new rate limit set successfully";
    scene
        .check(name, rate("demo.add", "7/h"), Kind::Ok, text, "")
        .await;
    let registered = scene.asked(name, "'registered', 'rate_limit'").await;
    let listed = |line: &str| {
        registered
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one == line))
    };
    assert!(listed("demo.add [rate_limit=7/h]"), "{registered}");
    let text = "rate limit disabled successfully";
    scene
        .check(name, rate("demo.add", "0"), Kind::Ok, text, "")
        .await;
    let unknown = "no task of this name";
    scene
        .check(
            name,
            rate("no.such", "1/s"),
            Kind::Error,
            "unknown task",
            unknown,
        )
        .await;
}

async fn time_limits(scene: &Scene, name: &str) {
    let unknown = "no task of this name";
    let span = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let time = |task: &str, soft, hard| {
        Command::TimeLimit(v1::TimeLimitCommand {
            task_name: task.to_owned(),
            soft,
            hard,
        })
    };
    scene
        .check(
            name,
            time("no.such", span(1), None),
            Kind::Error,
            "unknown task",
            unknown,
        )
        .await;
    let meaning = match name {
        THREADS | SOLO => "enforces none",
        _ => "goes on with the old ones",
    };
    let text = "time limits set successfully";
    let limit = time("demo.nap", None, span(1));
    scene
        .check(name, limit, Kind::NoEffect, text, meaning)
        .await;
    let registered = scene.asked(name, "'registered', 'time_limit'").await;
    let noted = registered
        .as_array()
        .is_some_and(|all| all.iter().any(|one| one == "demo.nap [time_limit=1]"));
    assert!(noted, "{registered}");
    // The worker has noted it and goes on without.
    let id = scene.sent("nap", name, ", 2").await;
    scene
        .until(&format!("app.AsyncResult('{id}').ready()"))
        .await;
    let state = scene.witness.ask(&format!("state('{id}')")).await;
    assert_eq!(state, "SUCCESS", "{} {name}", scene.version);
    let limit = time("demo.nap", None, None);
    scene
        .check(name, limit, Kind::NoEffect, text, meaning)
        .await;
}

/// A command of the app's own, and one that it does not have.
async fn own(scene: &Scene, names: &[&str]) {
    let repeat = Command::Custom(v1::CustomCommand {
        name: "demo_repeat".to_owned(),
        arguments_json: r#"{"text": "hello"}"#.to_owned(),
    });
    for name in names {
        scene
            .check(name, repeat.clone(), Kind::Ok, "\"hello\"", "")
            .await;
    }
    let refused = v1::ExecuteCommandRequest {
        request_id: uuid::Uuid::new_v4().to_string(),
        all_workers: true,
        command: Some(Command::Custom(v1::CustomCommand {
            name: "election".to_owned(),
            arguments_json: "{}".to_owned(),
        })),
        ..Default::default()
    };
    let refused = scene.client().await.execute_command(refused).await;
    let refused = refused.expect_err("never sent");
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
}
