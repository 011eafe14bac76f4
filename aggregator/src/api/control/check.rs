//! Requests to send a command: everything that is wrong is said with the field, the value and the way out.

use std::collections::BTreeSet;
use std::time::Duration;

use celeriac_proto::v1;
use celeriac_proto::v1::execute_command_request::Command;
use prost::Message as _;
use tonic::Status;
use uuid::Uuid;

use super::super::{app_name, page};
use super::compose::{self, Composed};
use crate::access::{Right, Sight};
use crate::command::Record;
use crate::engine::board::Board;
use crate::engine::order::{CommandOrder, Destination};
use crate::state::Micros;
use crate::state::app::App;
use crate::state::worker::{Worker, WorkerStatus};

/// For how long answers are waited for when the request does not say; prefork workers answer in milliseconds.
const WAIT_DEFAULT: Duration = Duration::from_secs(5);
/// The longest wait; what comes later is found by `GetCommand`.
const WAIT_MAX: Duration = Duration::from_mins(1);
/// Longest reason, characters.
const REASON_MAX: usize = 1_024;
/// Most workers named in one request: the message names each of them to every worker.
const DESTINATION_MAX: usize = 1_000;

/// Who asks, and what they may see.
pub(super) struct Asker<'a> {
    pub(super) principal: &'a str,
    pub(super) sight: &'a Sight,
}

/// A request that can be carried out.
pub(super) struct Checked {
    pub(super) app: String,
    pub(super) record: Record,
    pub(super) order: CommandOrder,
    pub(super) validate_only: bool,
}

/// Checks a request, and composes what Celery is sent.
pub(super) fn check(
    board: &Board,
    mut request: v1::ExecuteCommandRequest,
    allowed: &BTreeSet<String>,
    asker: &Asker<'_>,
    now: Micros,
) -> Result<Checked, Status> {
    let app = app_name(board, asker.sight, &request.app)?;
    let request_id = if request.validate_only && request.request_id.is_empty() {
        String::new()
    } else {
        request_id(&request.request_id)?
    };
    let wait = wait(request.wait.as_ref())?;
    let length = request.reason.chars().count();
    if length > REASON_MAX {
        let description = format!("must have at most {REASON_MAX} characters, has {length}");
        return Err(page::invalid("reason", description));
    }
    let command = command(&request)?;
    let drain = matches!(command, Command::CancelConsumer(cancel) if cancel.drain);
    let composed = compose::compose(command, allowed)?;
    let state = board.apps.get(app.as_str()).map(|app| &app.state);
    let destination = destination(&request, &app, state)?;
    let workers = addressed(&destination, state);
    let idle = idle(&composed, &workers, state);
    request.app.clone_from(&app);
    let validate_only = request.validate_only;
    let Composed { method, arguments } = composed;
    let arguments_json = serde_json::Value::Object(arguments).to_string();
    let record = Record {
        request_id: request_id.clone().into(),
        recorded: now,
        principal: asker.principal.into(),
        request: request.encode_to_vec(),
        method: method.clone().into(),
        arguments_json: arguments_json.clone().into(),
        all_workers: request.all_workers,
        workers: workers.into_iter().map(Into::into).collect(),
        wait_millis: u32::try_from(wait.as_millis()).unwrap_or(u32::MAX),
        reason: request.reason.into(),
        idle: idle.into_iter().map(Into::into).collect(),
        drain,
    };
    let order = CommandOrder {
        request_id,
        method,
        arguments_json,
        destination,
        wait,
    };
    Ok(Checked {
        app,
        record,
        order,
        validate_only,
    })
}

/// The command that a request asks for.
pub(super) fn command(request: &v1::ExecuteCommandRequest) -> Result<&Command, Status> {
    request.command.as_ref().ok_or_else(|| {
        page::invalid(
            "command",
            "is missing; set one of the commands, such as `ping`",
        )
    })
}

/// What it takes to send a command.
pub(super) fn right(command: &Command) -> Right {
    match command {
        Command::Ping(_) | Command::Inspect(_) => Right::Inspect,
        Command::PoolGrow(_)
        | Command::PoolShrink(_)
        | Command::Autoscale(_)
        | Command::AddConsumer(_)
        | Command::CancelConsumer(_)
        | Command::RateLimit(_)
        | Command::TimeLimit(_)
        | Command::EnableEvents(_)
        | Command::DisableEvents(_)
        | Command::Heartbeat(_) => Right::Tune,
        Command::Revoke(_)
        | Command::RevokeByStampedHeaders(_)
        | Command::Shutdown(_)
        | Command::PoolRestart(_)
        | Command::Custom(_) => Right::Terminate,
    }
}

/// A UUID in its usual form.
pub(super) fn request_id(text: &str) -> Result<String, Status> {
    let parsed = Uuid::try_parse(text).map_err(|_no_uuid| {
        let description = format!(
            "must be a UUID that you choose, such as 8f14e45f-ceea-4d7c-9b1a-0f7f3a2b6c1d, is {text:?}"
        );
        page::invalid("request_id", description)
    })?;
    Ok(parsed.hyphenated().to_string())
}

fn wait(asked: Option<&prost_types::Duration>) -> Result<Duration, Status> {
    let Some(asked) = asked else {
        return Ok(WAIT_DEFAULT);
    };
    let refuse = || {
        let description = format!(
            "must be 0 to {} s, is {} s; late answers are found by GetCommand",
            WAIT_MAX.as_secs(),
            asked.seconds
        );
        page::invalid("wait", description)
    };
    let wait = Duration::try_from(*asked).map_err(|_negative| refuse())?;
    if wait > WAIT_MAX {
        return Err(refuse());
    }
    Ok(wait)
}

fn destination(
    request: &v1::ExecuteCommandRequest,
    app: &str,
    state: Option<&App>,
) -> Result<Destination, Status> {
    let names = &request.destination;
    let refuse = |description: String| Err(page::invalid("destination", description));
    match (names.len(), request.all_workers) {
        (0, true) => return Ok(Destination::All),
        (0, false) => {
            return refuse("names no worker; name some, or set `all_workers`".to_owned());
        }
        (_, true) => {
            return refuse(
                "names workers, and `all_workers` is set too; use one of them".to_owned(),
            );
        }
        (count, false) if count > DESTINATION_MAX => {
            return refuse(format!(
                "names {count} workers, at most {DESTINATION_MAX} go; use `all_workers`, or several commands"
            ));
        }
        (_, false) => {}
    }
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name.as_str()) {
            return refuse(format!("names {name:?} twice"));
        }
        if state.and_then(|state| state.worker(name)).is_none() {
            let mut known: Vec<&str> = state
                .iter()
                .flat_map(|state| state.workers())
                .map(|worker| worker.name.as_ref())
                .collect();
            known.sort_unstable();
            let total = known.len();
            known.truncate(20);
            let known = match total {
                0 => "no worker of it has been seen yet".to_owned(),
                1..=20 => format!("there are: {}", known.join(", ")),
                _ => format!("there are {total}, among them: {}", known.join(", ")),
            };
            return refuse(format!(
                "app {app:?} has no worker {name:?}; {known}. A worker that nothing was ever heard of can be reached with \
                 `all_workers`"
            ));
        }
    }
    Ok(Destination::Nodes(names.clone()))
}

/// Those whose answers are waited for: of all workers, those that are not known to be gone.
fn addressed(destination: &Destination, state: Option<&App>) -> Vec<String> {
    match destination {
        Destination::Nodes(names) => names.clone(),
        Destination::All => {
            let online = |worker: &&Worker| worker.status == WorkerStatus::Online;
            let workers = state.iter().flat_map(|state| state.workers());
            let mut names: Vec<String> = workers
                .filter(online)
                .map(|worker| worker.name.to_string())
                .collect();
            names.sort_unstable();
            names
        }
    }
}

/// Those for whom there is nothing to do: they do not consume the queue that is cancelled, or do the one that is added.
fn idle(composed: &Composed, workers: &[String], state: Option<&App>) -> Vec<String> {
    let consuming = match composed.method.as_str() {
        "add_consumer" => true,
        "cancel_consumer" => false,
        _ => return Vec::new(),
    };
    let queue = composed
        .arguments
        .get("queue")
        .and_then(|name| name.as_str());
    let is_idle = |name: &&String| {
        let worker = state.and_then(|state| state.worker(name));
        let inspection = worker.and_then(|worker| worker.inspection.as_deref());
        let queues = inspection.and_then(|inspection| inspection.queues.as_ref());
        queues.is_some_and(|queues| {
            queues.iter().any(|one| Some(one.name.as_ref()) == queue) == consuming
        })
    };
    workers.iter().filter(is_idle).cloned().collect()
}
