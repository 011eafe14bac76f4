//! The size and the life of pools: how many tasks run at once, and in which processes, by the tasks' own notes.

use celeriac_proto::v1;
use celeriac_proto::v1::AnswerKind;
use celeriac_proto::v1::execute_command_request::Command;

use crate::matrix::Seen;
use crate::scene::{AUTO, FORK, SOLO};
use crate::stage::Stage;

/// What the aggregator shows of a pool with processes, which is what Celery says.
async fn shown(stage: &Stage<'_>, processes: usize) {
    if stage.is(FORK) || stage.is(AUTO) {
        let what = format!("{processes} processes are shown");
        let wanted = i64::try_from(processes).expect("a few");
        stage
            .shown(&what, |known| known.pool_processes == wanted)
            .await;
    }
}

async fn size(stage: &Stage<'_>, tasks: usize, least: usize) -> String {
    format!("{} at once", stage.at_once(tasks, least).await)
}

pub(super) async fn grow(stage: &Stage<'_>) -> Seen {
    let answer = stage
        .tell(Command::PoolGrow(v1::PoolGrowCommand { count: 2 }))
        .await;
    let grew = answer.kind() == AnswerKind::Ok;
    let effect = if grew {
        size(stage, 4, 4).await
    } else {
        size(stage, 3, stage.size()).await
    };
    if grew {
        shown(stage, 4).await;
    }
    Seen::new(answer, effect)
}

pub(super) async fn shrink(stage: &Stage<'_>) -> Seen {
    let before = stage.processes().await;
    let answer = stage
        .tell(Command::PoolShrink(v1::PoolShrinkCommand { count: 2 }))
        .await;
    if answer.kind() == AnswerKind::Ok && before.len() > 1 {
        stage.until_alive(&before, before.len() - 2).await;
        shown(stage, before.len() - 2).await;
    }
    let effect = size(stage, 3, stage.size()).await;
    Seen::new(answer, effect)
}

/// Only where processes are, Celery looks whether they are busy.
pub(super) async fn shrink_busy(stage: &Stage<'_>) -> Option<Seen> {
    if !stage.is(FORK) {
        return None;
    }
    let (first, _) = stage.holding().await;
    let (second, _) = stage.holding().await;
    let answer = stage
        .tell(Command::PoolShrink(v1::PoolShrinkCommand { count: 1 }))
        .await;
    for id in [first, second] {
        stage.let_go(&id);
        stage.until_noted(&id, "return").await;
    }
    let effect = size(stage, 3, stage.size()).await;
    Some(Seen::new(answer, format!("its tasks go on, {effect}")))
}

pub(super) async fn autoscale(stage: &Stage<'_>) -> Seen {
    let command = Command::Autoscale(v1::AutoscaleCommand { max: 4, min: 3 });
    let answer = stage.tell(command).await;
    if answer.kind() != AnswerKind::Ok {
        return Seen::new(answer, size(stage, 3, stage.size()).await);
    }
    let three = async || {
        let stats = stage.asked("'stats'").await;
        let all = stats["pool"]["processes"].as_array().map(Vec::len);
        if all >= Some(3) {
            Ok(())
        } else {
            Err(stats.to_string())
        }
    };
    stage
        .eventually("the least are there without any task", three)
        .await;
    let effect = size(stage, 4, 4).await;
    stage
        .shown("its bounds are shown", |known| {
            let bounds = known.autoscaler.as_ref();
            bounds.is_some_and(|bounds| (bounds.max, bounds.min) == (4, 3))
        })
        .await;
    Seen::new(answer, effect)
}

pub(super) async fn restart(stage: &Stage<'_>) -> Seen {
    let command = Command::PoolRestart(v1::PoolRestartCommand::default());
    let before = stage.processes().await;
    // A solo worker hears nothing while a task runs.
    let held = if stage.is(SOLO) {
        None
    } else {
        Some(stage.holding().await.0)
    };
    let answer = stage.tell(command).await;
    if let Some(held) = held {
        stage.let_go(&held);
        stage.until_noted(&held, "return").await;
    }
    if answer.kind() != AnswerKind::Ok {
        stage.at_once(3, stage.size()).await;
        let same = stage.processes().await == before;
        let effect = if same {
            "nothing is replaced"
        } else {
            "processes are replaced"
        };
        return Seen::new(answer, effect);
    }
    // As many tasks at once as there are processes: each process takes one, and is replaced.
    stage.at_once(before.len(), before.len()).await;
    stage.until_alive(&before, 0).await;
    stage.ran_one().await;
    Seen::new(answer, "each process is replaced after its next task")
}

pub(super) async fn shutdown(stage: &Stage<'_>) -> Seen {
    let (held, _) = stage.holding().await;
    let command = Command::Shutdown(v1::ShutdownCommand {});
    let record = stage.record(command, 10).await;
    let answer = record.answers[0].clone();
    if !stage.is(SOLO) {
        stage
            .eventually("it has heard that it is to end", async || {
                let heard = stage.log().contains("Got shutdown from remote");
                if heard { Ok(()) } else { Err("not yet") }
            })
            .await;
    }
    stage.let_go(&held);
    stage.until_ended().await;
    let said = stage.said().await;
    let said = said.iter().any(|event| event["type"] == "worker-offline");
    let finished = stage.noted(&held, "return").is_some();
    let effect = match (finished, said) {
        (true, true) => "finishes its task, says that it goes, ends",
        (true, false) => "finishes its task, ends without a word",
        (false, true) => "says that it goes, ends without its task",
        (false, false) => "ends without its task and without a word",
    };
    Seen::new(answer, effect)
}
