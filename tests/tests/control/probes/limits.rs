//! Rate limits and time limits: which tasks start, and which are ended.

use celeriac_proto::v1;
use celeriac_proto::v1::execute_command_request::Command;

use crate::matrix::Seen;
use crate::stage::Stage;

/// The task that is limited by rate; nothing else sends it.
const TASK: &str = "demo.echo";

fn rate_command(task: &str, rate: &str) -> Command {
    Command::RateLimit(v1::RateLimitCommand {
        task_name: task.to_owned(),
        rate_limit: rate.to_owned(),
    })
}

fn time_command(task: &str, hard: Option<i64>) -> Command {
    Command::TimeLimit(v1::TimeLimitCommand {
        task_name: task.to_owned(),
        soft: None,
        hard: hard.map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
    })
}

/// How many of the limited task have started on this worker.
async fn echoes(stage: &Stage<'_>, ids: &[String]) -> usize {
    // One that was sent after them has run: they have come.
    stage.ran_one().await;
    ids.iter()
        .filter(|id| stage.noted(id, "start").is_some())
        .count()
}

async fn send_echoes(stage: &Stage<'_>, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(stage.sent("echo", "").await);
    }
    ids
}

pub(super) async fn rate(stage: &Stage<'_>) -> Seen {
    let answer = stage.tell(rate_command(TASK, "1/h")).await;
    let registered = stage.asked("'registered', 'rate_limit'").await;
    let listed = registered.as_array().expect("a list");
    assert!(
        listed.iter().any(|one| one == "demo.echo [rate_limit=1/h]"),
        "{registered}"
    );
    let ids = send_echoes(stage, 3).await;
    stage.until_noted(&ids[0], "return").await;
    let started = echoes(stage, &ids).await;
    Seen::new(answer, format!("{started} of 3 tasks starts"))
}

pub(super) async fn rate_off(stage: &Stage<'_>) -> Seen {
    let answer = stage.tell(rate_command(TASK, "0")).await;
    let ids = send_echoes(stage, 2).await;
    for id in &ids {
        stage.until_noted(id, "return").await;
    }
    // Those that the row before has left.
    let mine = |text: &str| text.contains(&format!("\"worker\": \"{}\"", stage.node()));
    let file = stage.scene.notes.path().join("notes");
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let starts =
        |line: &&str| mine(line) && line.contains(TASK) && line.contains("\"what\": \"start\"");
    let started = text.lines().filter(starts).count();
    let effect = match started {
        3 => "new tasks start, those held back do not",
        5 => "all tasks start",
        _ => "some tasks start",
    };
    Seen::new(answer, effect)
}

pub(super) async fn unknown_task(stage: &Stage<'_>) -> Seen {
    let rate = stage.tell(rate_command("no.such", "1/s")).await;
    let time = stage.tell(time_command("no.such", Some(1))).await;
    assert_eq!((time.kind(), &time.meaning), (rate.kind(), &rate.meaning));
    stage.ran_one().await;
    Seen::new(rate, "takes other tasks")
}

/// Whether a task that takes longer than the limit of a second comes to its end.
async fn limited(stage: &Stage<'_>, seconds: u32) -> &'static str {
    let registered = stage.asked("'registered', 'time_limit'").await;
    let listed = registered.as_array().expect("a list");
    assert!(
        listed.iter().any(|one| one == "demo.nap [time_limit=1]"),
        "{registered}"
    );
    let id = stage.sent("nap", &format!(", {seconds}")).await;
    match stage
        .until_state(&id, &["SUCCESS", "FAILURE"])
        .await
        .as_str()
    {
        "SUCCESS" => "the task takes its time",
        _ => "the task is ended",
    }
}

pub(super) async fn time(stage: &Stage<'_>) -> Seen {
    let answer = stage.tell(time_command("demo.nap", Some(1))).await;
    let effect = limited(stage, 2).await;
    stage.tell(time_command("demo.nap", None)).await;
    Seen::new(answer, effect)
}

/// `pool_restart` makes the worker read the limits anew, also where its pool cannot be restarted.
pub(super) async fn time_then_restart(stage: &Stage<'_>) -> Seen {
    stage.tell(time_command("demo.nap", Some(1))).await;
    let restart = || Command::PoolRestart(v1::PoolRestartCommand::default());
    let answer = stage.tell(restart()).await;
    // So long that a timer which is late on a busy machine is in time all the same.
    let effect = limited(stage, 5).await;
    stage.tell(time_command("demo.nap", None)).await;
    stage.tell(restart()).await;
    stage
        .eventually("it takes tasks", async || {
            stage.ran_one().await;
            Ok::<(), &str>(())
        })
        .await;
    Seen::new(answer, effect)
}
