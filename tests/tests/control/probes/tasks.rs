//! Revoking: whether a task starts, ends or goes on is what the task itself notes, and what becomes of its process.

use std::time::{Duration, Instant};

use celeriac_proto::v1;
use celeriac_proto::v1::AnswerKind;
use celeriac_proto::v1::execute_command_request::Command;
use serde_json::json;

use crate::matrix::Seen;
use crate::scene::SOLO;
use crate::stage::{Stage, alive};

fn revoke(id: &str, terminate: bool, signal: &str) -> Command {
    Command::Revoke(v1::RevokeCommand {
        task_ids: vec![id.to_owned()],
        terminate,
        signal: signal.to_owned(),
    })
}

fn stamped(stage: &Stage<'_>, value: &str, terminate: bool) -> Command {
    Command::RevokeByStampedHeaders(v1::RevokeByStampedHeadersCommand {
        headers: [("user".to_owned(), format!("{value}-{}", stage.name))].into(),
        terminate,
        signal: String::new(),
    })
}

/// What becomes of a task that was revoked before it could start: it has when a later one of the queue has run.
async fn starts(stage: &Stage<'_>, id: &str) -> &'static str {
    let state = stage.until_state(id, &["REVOKED", "SUCCESS"]).await;
    stage.ran_one().await;
    match stage.noted(id, "start") {
        None if state == "REVOKED" => "the task never starts",
        _ => "the task runs all the same",
    }
}

pub(super) async fn revoke_later(stage: &Stage<'_>) -> Seen {
    let id = uuid::Uuid::new_v4().to_string();
    let answer = stage.tell(revoke(&id, false, "")).await;
    let revoked = stage.asked("'revoked'").await;
    let noted = revoked
        .as_array()
        .is_some_and(|ids| ids.contains(&json!(id)));
    assert!(noted, "{revoked}");
    let rest = format!(", 1, 2, task_id='{id}'");
    stage.sent("add", &rest).await;
    Seen::new(answer, starts(stage, &id).await)
}

/// Its time must not come before the command does: on a machine that stood still in between it is tried again.
pub(super) async fn revoke_waiting(stage: &Stage<'_>) -> Seen {
    for seconds in [4, 8, 16, 32, 64] {
        let sent = Instant::now();
        let rest = format!(", 1, 2, countdown={seconds}");
        let id = stage.sent("add", &rest).await;
        let its = |list: &serde_json::Value| {
            let tasks = list.as_array().expect("a list");
            tasks.iter().any(|one| one["request"]["id"] == id.as_str())
        };
        let mut waits = its(&stage.asked("'scheduled'").await);
        while !waits && stage.noted(&id, "start").is_none() {
            waits = its(&stage.asked("'scheduled'").await);
        }
        let answer = stage.tell(revoke(&id, false, "")).await;
        if sent.elapsed() >= Duration::from_secs(seconds) {
            continue;
        }
        stage.until("'scheduled'", |list| !its(list)).await;
        return Seen::new(answer, starts(stage, &id).await);
    }
    panic!("{}: the machine is too slow for this", stage.name);
}

pub(super) async fn terminate_nothing(stage: &Stage<'_>) -> Seen {
    let id = stage.ran_one().await;
    stage
        .eventually("it holds nothing", async || {
            let holds = stage.holds(&id).await;
            if holds { Err("it does") } else { Ok(()) }
        })
        .await;
    let answer = stage.tell(revoke(&id, true, "")).await;
    stage.ran_one().await;
    Seen::new(answer, "takes other tasks")
}

pub(super) async fn terminate(stage: &Stage<'_>, signal: &str) -> Seen {
    let (id, pid) = stage.holding().await;
    end_running(stage, &id, pid, revoke(&id, true, signal)).await
}

/// Gives a command that is to end a task that runs, then lets the task go: what has not ended then notes that it returns.
async fn end_running(stage: &Stage<'_>, id: &str, pid: i64, command: Command) -> Seen {
    let answer = if stage.is(SOLO) {
        // It hears of it when the task has ended.
        let record = stage.record(command, 1).await;
        let answer = &record.answers[0];
        assert_eq!(answer.kind(), AnswerKind::NoAnswerYet, "{answer:?}");
        assert!(answer.meaning.contains("between tasks"), "{answer:?}");
        stage.let_go(id);
        stage.late(record).await
    } else {
        let answer = stage.tell(command).await;
        stage.let_go(id);
        answer
    };
    let effect = end(stage, id, pid).await;
    Seen::new(answer, effect)
}

/// How a task ends that was let go.
async fn end(stage: &Stage<'_>, id: &str, pid: i64) -> &'static str {
    let pooled = stage.processes().await.contains(&pid) && !stage.is(SOLO);
    let main = stage.asked("'stats'").await["pid"] == pid;
    if main && !stage.holds(id).await {
        // A greenlet leaves no trace: it would note its return before one that starts later and takes longer does.
        let later = stage.sent("nap", ", 0.5").await;
        stage.until_noted(&later, "return").await;
        if stage.noted(id, "return").is_none() {
            stage.until_state(id, &["REVOKED"]).await;
            return "the task ends";
        }
    }
    stage
        .eventually("the task ends in some way", async || {
            if stage.noted(id, "return").is_some() {
                return Ok("the task goes on");
            }
            if stage.noted(id, "raise").is_some() {
                let lives = alive(pid) && pooled;
                return Ok(if lives {
                    "the task fails, its process lives"
                } else {
                    "the task fails"
                });
            }
            if !alive(pid) {
                return Ok("its process ends");
            }
            Err("it runs")
        })
        .await
}

pub(super) async fn stamped_later(stage: &Stage<'_>) -> Seen {
    let answer = stage.tell(stamped(stage, "later", false)).await;
    if answer.kind() == AnswerKind::Error {
        stage.ran_one().await;
        return Seen::new(answer, "takes other tasks");
    }
    let id = sent_stamped(stage, "add.s(1, 2)", "later").await;
    Seen::new(answer, starts(stage, &id).await)
}

pub(super) async fn stamped_running(stage: &Stage<'_>) -> Seen {
    if ["4.4", "5.2"].contains(&stage.scene.version.as_str()) {
        // They know no stamps.
        let (id, pid) = stage.holding().await;
        let command = stamped(stage, "running", true);
        return end_running(stage, &id, pid, command).await;
    }
    let id = sent_stamped(stage, "hold.s()", "running").await;
    let start = stage.until_noted(&id, "start").await;
    let pid = start["pid"].as_i64().expect("notes have a pid");
    end_running(stage, &id, pid, stamped(stage, "running", true)).await
}

async fn sent_stamped(stage: &Stage<'_>, signature: &str, value: &str) -> String {
    let name = stage.name;
    let send = format!(
        "(lambda one: [one.stamp(user='{value}-{name}'), one.apply_async(queue='{name}')][1].id)({signature})"
    );
    let id = stage.scene.witness.ask(&send).await;
    id.as_str().expect("an id").to_owned()
}
