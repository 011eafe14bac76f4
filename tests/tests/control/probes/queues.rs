//! Consumers: whether tasks of a queue are taken is seen by sending some.

use celeriac_proto::v1;
use celeriac_proto::v1::execute_command_request::Command;

use crate::matrix::Seen;
use crate::stage::Stage;

fn extra(stage: &Stage<'_>) -> String {
    format!("extra-{}", stage.name)
}

fn add_command(queue: &str) -> Command {
    Command::AddConsumer(v1::AddConsumerCommand {
        queue: queue.to_owned(),
        ..Default::default()
    })
}

fn cancel_command(queue: &str) -> Command {
    Command::CancelConsumer(v1::CancelConsumerCommand {
        queue: queue.to_owned(),
        drain: false,
    })
}

/// Waits until the aggregator's own list says so.
async fn shown(stage: &Stage<'_>, queue: &str, consumes: bool) {
    let what = format!("it is shown whether it consumes {queue}: {consumes}");
    stage
        .shown(&what, |known| {
            known.queues.iter().any(|one| one.name == queue) == consumes
        })
        .await;
}

/// Waits until a task of the queue has run.
async fn takes(stage: &Stage<'_>, queue: &str) {
    let id = stage.sent_to(queue, "add", ", 2, 3").await;
    stage.until_state(&id, &["SUCCESS"]).await;
}

pub(super) async fn add(stage: &Stage<'_>) -> Seen {
    let queue = extra(stage);
    assert!(!stage.consumes(&queue).await);
    let answer = stage.tell(add_command(&queue)).await;
    takes(stage, &queue).await;
    shown(stage, &queue, true).await;
    Seen::new(answer, "takes its tasks")
}

pub(super) async fn add_again(stage: &Stage<'_>) -> Seen {
    let queue = extra(stage);
    let answer = stage.tell(add_command(&queue)).await;
    takes(stage, &queue).await;
    // What comes next is not to overtake it: a loop that has taken another task has come round.
    stage.ran_one().await;
    Seen::new(answer, "takes its tasks as before")
}

pub(super) async fn cancel(stage: &Stage<'_>) -> Seen {
    let queue = extra(stage);
    let answer = stage.tell(cancel_command(&queue)).await;
    stage
        .eventually("it consumes no more", async || {
            let consumes = stage.consumes(&queue).await;
            if consumes { Err("it does") } else { Ok(()) }
        })
        .await;
    shown(stage, &queue, false).await;
    let id = stage.sent_to(&queue, "add", ", 2, 3").await;
    // What its broker client had asked for before may still come to it, and is put back.
    stage.ran_one().await;
    stage
        .eventually("the task is in the queue", async || {
            match stage.scene.broker.ready(&queue) {
                Ok(1) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    let effect = if stage.noted(&id, "start").is_some() {
        "takes its tasks all the same"
    } else {
        "leaves its tasks"
    };
    stage.scene.broker.purge(&queue);
    Seen::new(answer, effect)
}

pub(super) async fn cancel_again(stage: &Stage<'_>) -> Seen {
    let queue = extra(stage);
    let (cancelled, _) = done(stage, &queue);
    let answer = stage.tell(cancel_command(&queue)).await;
    until_cancelled(stage, &queue, cancelled).await;
    let consumes = stage.consumes(&queue).await;
    let effect = if consumes {
        "consumes"
    } else {
        "did not consume"
    };
    Seen::new(answer, effect)
}

/// As one does who changes his mind. Pools whose loop does such things at once, and those that keep the order, consume in the
/// end. The worker's own log tells when it has done each; a command that falls into another turn of its loop than the one
/// before it keeps its place, so it is tried several times.
pub(super) async fn cancel_then_add(stage: &Stage<'_>) -> Seen {
    let queue = extra(stage);
    let mut answer = stage.tell(add_command(&queue)).await;
    takes(stage, &queue).await;
    shown(stage, &queue, true).await;
    let mut effect = "takes its tasks";
    for turn in 0..5 {
        let (cancelled, started) = done(stage, &queue);
        stage.tell(cancel_command(&queue)).await;
        answer = stage.tell(add_command(&queue)).await;
        until_cancelled(stage, &queue, cancelled).await;
        // What was to be done before this is done when this is.
        let marker = format!("mark-{turn}-{}", stage.name);
        stage.tell(add_command(&marker)).await;
        stage
            .eventually("the marker is consumed", async || {
                let there = stage.consumes(&marker).await;
                if there { Ok(()) } else { Err("not yet") }
            })
            .await;
        stage.tell(cancel_command(&marker)).await;
        if done(stage, &queue).1 == started && !stage.consumes(&queue).await {
            effect = "consumes no more";
            break;
        }
        takes(stage, &queue).await;
    }
    // As long as nothing else is on its way it is so.
    shown(stage, &queue, effect == "takes its tasks").await;
    Seen::new(answer, effect)
}

/// Waits until it has cancelled the queue once more than before, whether it consumed from it or not.
async fn until_cancelled(stage: &Stage<'_>, queue: &str, before: usize) {
    stage
        .eventually("it has cancelled", async || {
            let now = done(stage, queue).0;
            if now > before { Ok(()) } else { Err("not yet") }
        })
        .await;
}

/// How often it says in its log that it has cancelled the queue, and begun to consume from it.
fn done(stage: &Stage<'_>, queue: &str) -> (usize, usize) {
    let log = stage.log();
    let count = |text: &str| {
        let line = format!("{text} {queue}");
        log.lines().filter(|one| one.ends_with(&line)).count()
    };
    (count("Canceling queue"), count("Started consuming from"))
}
