//! `kubectl celery drain`: a worker is told to consume from none of its queues, and waited for until it is idle. It stays like
//! that until somebody adds its consumers again, or its pod goes.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{Celeriac, exit_code};

/// Between two looks at a worker that still works.
const PAUSE: Duration = Duration::from_secs(2);

/// The exit status when a worker is not idle in time, as of commands that workers answer with an error.
const NOT_IDLE: u8 = 3;

/// Arguments of `drain`.
#[derive(Debug, clap::Args)]
pub(super) struct DrainArgs {
    /// The worker, such as celery@shop-mail-7c9f8-x2x9z; the name of its pod will do
    worker: String,
    /// How many seconds to wait until it is idle; 0 does not wait
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
}

/// Why a worker is not drained.
#[derive(Debug, thiserror::Error)]
pub(super) enum DrainError {
    #[error("celeriac cannot be started")]
    Start(#[source] std::io::Error),
    #[error("{0}")]
    Refused(String),
    #[error("the answer of the aggregator cannot be read")]
    Answer(#[source] serde_json::Error),
    #[error("the queues of {worker} are not known yet; ask again in some seconds")]
    NoQueues { worker: String },
}

/// Drains a worker; 0 once it is idle.
pub(super) async fn drain(celeriac: &Celeriac, args: &DrainArgs) -> Result<ExitCode, DrainError> {
    let worker = node(&args.worker);
    let state = State::of(&celeriac.json(&["worker", &worker]).await?);
    let Some(queues) = state.queues else {
        return Err(DrainError::NoQueues { worker });
    };
    for queue in &queues {
        let words = [
            "control",
            "cancel-consumer",
            queue,
            "--worker",
            &worker,
            "--yes",
            "--reason=kubectl celery drain",
        ];
        let mut command = celeriac.command(words);
        let ended = command.kill_on_drop(true).status().await;
        let ended = ended.map_err(DrainError::Start)?;
        if !ended.success() {
            return Ok(exit_code(ended.code()));
        }
    }
    for queue in &queues {
        anstream::eprintln!(
            "to undo it: kubectl celery control add-consumer {queue} --worker {worker}"
        );
    }
    idle(celeriac, &worker, Duration::from_secs(args.timeout)).await
}

async fn idle(celeriac: &Celeriac, worker: &str, within: Duration) -> Result<ExitCode, DrainError> {
    let begin = Instant::now();
    let mut said = None;
    while begin.elapsed() < within {
        let state = State::of(&celeriac.json(&["worker", worker]).await?);
        if state.busy == Some((0, 0)) {
            anstream::println!("{worker} is idle");
            return Ok(ExitCode::SUCCESS);
        }
        if said != state.busy {
            said = state.busy;
            if let Some((active, reserved)) = state.busy {
                anstream::eprintln!("{worker}: {active} active, {reserved} reserved");
            }
        }
        sleep(PAUSE).await;
    }
    if within.is_zero() {
        return Ok(ExitCode::SUCCESS);
    }
    anstream::eprintln!("{worker} was not idle within {} s", within.as_secs());
    Ok(ExitCode::from(NOT_IDLE))
}

/// A worker's node name: that of its pod with `celery@` before it.
fn node(name: &str) -> String {
    if name.contains('@') {
        name.to_owned()
    } else {
        format!("celery@{name}")
    }
}

/// What of a worker matters here.
#[derive(Debug, PartialEq, Eq)]
struct State {
    /// The queues it consumes from, when they are known.
    queues: Option<Vec<String>>,
    /// Tasks active and reserved, when they are known.
    busy: Option<(u64, u64)>,
}

impl State {
    /// From the answer to `celeriac worker`; 64-bit numbers are texts in it, and zeros may be left out.
    fn of(answer: &Value) -> Self {
        let worker = &answer["worker"];
        let number = |value: &Value| value.as_str().and_then(|text| text.parse().ok());
        let active: Option<u64> = number(&worker["active"]);
        let reserved = number(&worker["reservedKnown"]).unwrap_or(0);
        let inspection = &worker["inspection"];
        let queues = inspection["queues"].as_array();
        let names = queues.into_iter().flatten();
        let names = names.filter_map(|queue| queue["name"].as_str().map(str::to_owned));
        let known = inspection["queuesKnown"] == true;
        let queues = known.then(|| names.collect());
        Self {
            queues,
            busy: active.map(|active| (active, reserved)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_is_a_worker() {
        assert_eq!(node("shop-mail-1"), "celery@shop-mail-1");
        assert_eq!(node("mail@host"), "mail@host");
    }

    #[test]
    fn what_is_not_known_is_not_taken_for_idle() {
        let of = |worker: Value| State::of(&json!({"worker": worker}));
        assert_eq!(of(json!({})).busy, None);
        assert_eq!(of(json!({"active": "0"})).busy, Some((0, 0)));
        let busy = json!({"active": "2", "reservedKnown": "3", "inspection": {
            "queuesKnown": true, "queues": [{"name": "mail"}, {"name": "news"}],
        }});
        let state = of(busy);
        assert_eq!(state.busy, Some((2, 3)));
        let queues = ["mail".to_owned(), "news".to_owned()];
        assert_eq!(state.queues, Some(queues.to_vec()));
        assert_eq!(of(json!({"inspection": {}})).queues, None);
        let none = json!({"inspection": {"queuesKnown": true}});
        assert_eq!(of(none).queues, Some(Vec::new()));
    }
}
