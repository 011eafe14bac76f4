//! What is done for a cell of the matrix, and how its effect is seen.

use celeriac_proto::v1;
use celeriac_proto::v1::execute_command_request::Command;
use serde_json::Value;

use crate::matrix::Seen;
use crate::stage::Stage;

mod events;
mod limits;
mod pools;
mod queues;
mod tasks;

/// Runs a cell; `None` where it does not apply.
///
/// # Panics
/// When there is no such row.
pub(crate) async fn run(stage: &Stage<'_>, row: &str) -> Option<Seen> {
    if let Some(signal) = row.strip_prefix("revoke --terminate --signal ") {
        return Some(tasks::terminate(stage, signal).await);
    }
    Some(match row {
        "ping" => ping(stage).await,
        "inspect (11 commands)" => inspected(stage).await,
        "a command of the app's own" => own(stage).await,
        "add_consumer" => queues::add(stage).await,
        "add_consumer, consumed already" => queues::add_again(stage).await,
        "cancel_consumer" => queues::cancel(stage).await,
        "cancel_consumer, not consumed" => queues::cancel_again(stage).await,
        "cancel_consumer and add_consumer at once" => queues::cancel_then_add(stage).await,
        "enable_events" | "enable_events, on already" => events::enable(stage).await,
        "disable_events" => events::disable(stage).await,
        "heartbeat" => events::heartbeat(stage).await,
        "revoke before the task comes" => tasks::revoke_later(stage).await,
        "revoke while it waits for its ETA" => tasks::revoke_waiting(stage).await,
        "revoke --terminate, nothing runs" => tasks::terminate_nothing(stage).await,
        "revoke_by_stamped_headers" => tasks::stamped_later(stage).await,
        "revoke_by_stamped_headers --terminate" => tasks::stamped_running(stage).await,
        "pool_grow 2" => pools::grow(stage).await,
        "pool_shrink 2" => pools::shrink(stage).await,
        "pool_shrink, all busy" => return pools::shrink_busy(stage).await,
        "autoscale 4 3" => pools::autoscale(stage).await,
        "pool_restart" => pools::restart(stage).await,
        "time_limit --hard 1" => limits::time(stage).await,
        "time_limit --hard 1, then pool_restart" => limits::time_then_restart(stage).await,
        "rate_limit 1/h" => limits::rate(stage).await,
        "rate_limit 0" => limits::rate_off(stage).await,
        "rate_limit and time_limit, no such task" => limits::unknown_task(stage).await,
        "shutdown" => pools::shutdown(stage).await,
        other => panic!("nobody knows how to run {other:?}"),
    })
}

async fn ping(stage: &Stage<'_>) -> Seen {
    let record = stage.record(Command::Ping(v1::PingCommand {}), 60).await;
    let answer = record.answers[0].clone();
    // What the command line makes the latency of.
    let published = record.published_time.expect("it went out");
    let came = answer.time.expect("it answered");
    let micros =
        |time: prost_types::Timestamp| time.seconds * 1_000_000 + i64::from(time.nanos) / 1_000;
    let took = micros(came) - micros(published);
    assert!((-1_000_000..60_000_000).contains(&took), "{took} µs");
    Seen::new(answer, "answers")
}

fn inspect(name: &str, arguments_json: &str) -> Command {
    Command::Inspect(v1::InspectCommand {
        name: name.to_owned(),
        arguments_json: arguments_json.to_owned(),
    })
}

/// The same as Celery's own client is told, as far as it does not change from one moment to the next.
async fn inspected(stage: &Stage<'_>) -> Seen {
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
        let ours = stage.tell(inspect(method, arguments)).await;
        assert_eq!(ours.kind(), v1::AnswerKind::Ok, "{ours:?}");
        let ours: Value = serde_json::from_str(&ours.answer_json).expect("JSON");
        assert_eq!(ours, stage.asked(question).await, "{method}");
    }
    for (method, part) in [
        ("clock", "\"clock\""),
        ("report", "software -> celery:"),
        ("conf", "\"include\""),
    ] {
        let ours = stage.tell(inspect(method, "")).await;
        assert!(ours.answer_json.contains(part), "{ours:?}");
    }
    let ours = stage.tell(inspect("stats", "")).await;
    Seen::new(ours, "says what Celery's client is told")
}

async fn own(stage: &Stage<'_>) -> Seen {
    let custom = |name: &str, arguments: &str| {
        Command::Custom(v1::CustomCommand {
            name: name.to_owned(),
            arguments_json: arguments.to_owned(),
        })
    };
    let request = v1::ExecuteCommandRequest {
        request_id: uuid::Uuid::new_v4().to_string(),
        all_workers: true,
        command: Some(custom("election", "{}")),
        ..Default::default()
    };
    let refused = stage.client().await.execute_command(request).await;
    let refused = refused.expect_err("it is never sent");
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    let text = format!("hello {}", stage.name);
    let arguments = serde_json::json!({ "text": text }).to_string();
    let answer = stage.tell(custom("demo_repeat", &arguments)).await;
    assert!(answer.answer_json.contains(&text), "{answer:?}");
    Seen::new(answer, "runs it")
}
