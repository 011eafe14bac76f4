//! Task events: whether a task's are published.

use std::collections::BTreeSet;

use celeriac_proto::v1;
use celeriac_proto::v1::execute_command_request::Command;

use crate::matrix::Seen;
use crate::scene::THREADS;
use crate::stage::Stage;

pub(super) async fn enable(stage: &Stage<'_>) -> Seen {
    let enable = Command::EnableEvents(v1::EnableEventsCommand {});
    let answer = stage.tell(enable).await;
    Seen::new(answer, events_of_a_task(stage).await)
}

pub(super) async fn disable(stage: &Stage<'_>) -> Seen {
    let disable = Command::DisableEvents(v1::DisableEventsCommand {});
    let answer = stage.tell(disable).await;
    Seen::new(answer, events_of_a_task(stage).await)
}

pub(super) async fn heartbeat(stage: &Stage<'_>) -> Seen {
    let (answer, beats) = beat(stage).await;
    assert!(beats > 0);
    Seen::new(answer, "sends one")
}

/// Whether the worker publishes the events of a task that it runs.
async fn events_of_a_task(stage: &Stage<'_>) -> &'static str {
    // Before 5.7 `EventDispatcher.flush` clears what a pool's thread has added since the flush began: any event of such a
    // worker may be lost, a type of them time after time, so that one which comes says that they are on.
    let loses = stage.is(THREADS) && stage.scene.version != "5.7";
    let (tasks, enough) = if loses { (20, 1) } else { (1, 3) };
    let mut types = BTreeSet::new();
    for _ in 0..tasks {
        types.extend(published(stage).await);
        if types.len() >= enough {
            return "sends task events";
        }
    }
    match types.len() {
        0 => "sends no task events",
        _ => "sends some task events",
    }
}

/// The types of the events that it publishes of a task: three, of one that succeeds.
async fn published(stage: &Stage<'_>) -> Vec<String> {
    let id = stage.sent("nap", ", 0.2").await;
    stage.until_state(&id, &["SUCCESS"]).await;
    // Its state is stored by the pool, before the worker hears of it.
    stage
        .eventually("the worker knows that it has ended", async || {
            let holds = stage.holds(&id).await;
            if holds { Err("not yet") } else { Ok(()) }
        })
        .await;
    // What the worker had to say of the task it says before this.
    beat(stage).await;
    let said = stage.said().await;
    let of_it = said.iter().filter(|event| event["uuid"] == id.as_str());
    of_it
        .filter_map(|event| event["type"].as_str().map(str::to_owned))
        .collect()
}

/// Asks for a heartbeat, and waits for it. One that is asked for says `freq` 5 and has no counters; a periodic one has.
async fn beat(stage: &Stage<'_>) -> (v1::CommandAnswer, usize) {
    let count = async || {
        let beats = |event: &&serde_json::Value| {
            event["type"] == "worker-heartbeat"
                && event["freq"] == 5
                && event["processed"].is_null()
        };
        stage.said().await.iter().filter(beats).count()
    };
    let before = count().await;
    let heartbeat = Command::Heartbeat(v1::HeartbeatCommand {});
    let answer = stage.tell(heartbeat).await;
    let now = stage
        .eventually("the heartbeat comes", async || {
            let now = count().await;
            if now > before {
                Ok(now)
            } else {
                Err("not yet")
            }
        })
        .await;
    (answer, now - before)
}
