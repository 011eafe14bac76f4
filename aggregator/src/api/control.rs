//! `ControlService`: commands to workers. It checks and composes, has the engine record and send, and shows what became of
//! them. It keeps no state of its own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use celeriac_proto::v1;
use celeriac_proto::v1::control_service_server::ControlService;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::time::now;
use super::{Reads, app_name, page};
use crate::access::audit::{self, Act};
use crate::access::{Caller, Right, Sight};
use crate::command::{Publication, Record, Recorded};
use crate::engine::command::{NewCommand, NotRecorded};
use crate::engine::{EngineHandle, NoPlace};
use crate::history::HistoryError;
use crate::state::Micros;

mod check;
mod compose;
mod show;
#[cfg(test)]
mod tests;

use check::{Asker, Checked};
pub use compose::{CommandNameError, check_custom_name};

/// For how long recording may take before the caller is told that it does not work: a commit takes milliseconds, a disk
/// that fails may take for ever.
const RECORD_WITHIN: Duration = Duration::from_secs(10);
/// For how long the inspector's report is waited for even when the caller does not wait for answers: publishing takes
/// milliseconds, or a connection's time-out.
const REPORT_WITHIN: Duration = Duration::from_secs(3);
/// Answers that may still come after all known workers have answered a command to all, when the broker counted more
/// subscribers.
const STRANGERS_WITHIN: Duration = Duration::from_millis(500);
/// Commands that are looked back at for those that changed a worker's queues since it was last asked: more than a person
/// gives between two looks at a worker.
const LOOKS_BACK: usize = 100;

/// Names of apps' own commands that may be sent.
pub type Allowed = Arc<BTreeSet<String>>;

/// The service.
#[derive(Clone)]
pub struct Control {
    reads: Reads,
    engine: EngineHandle,
    allowed: Allowed,
    stop: CancellationToken,
}

impl Control {
    /// A service over these reads, that has commands sent by `engine`. Of apps' own commands only those `allowed` are sent.
    pub fn new(
        reads: Reads,
        engine: EngineHandle,
        allowed: Allowed,
        stop: CancellationToken,
    ) -> Self {
        Self {
            reads,
            engine,
            allowed,
            stop,
        }
    }

    /// A request that the caller may make and that can be carried out, and what they may see of it. The audit log has it
    /// first, refused or not.
    async fn permitted(
        &self,
        caller: &Caller,
        request: v1::ExecuteCommandRequest,
    ) -> Result<(Checked, Sight), Status> {
        let right = check::right(check::command(&request)?);
        let asked = request.clone();
        let sight = caller.sight(right, &asked.app, &self.reads.board).await;
        let sight =
            sight.inspect_err(|_| audit::refused(caller, act(right, &asked.app, &asked)))?;
        let asker = Asker {
            principal: caller.principal(),
            sight: &sight,
        };
        let checked = {
            let board = self.reads.board.read();
            check::check(&board, request, &self.allowed, &asker, now())?
        };
        if !checked.validate_only {
            let act = act(right, &checked.app, &asked);
            audit::allowed(caller, act, &checked.record.method);
        }
        Ok((checked, sight))
    }

    async fn execute(
        &self,
        caller: &Caller,
        request: v1::ExecuteCommandRequest,
    ) -> Result<v1::CommandRecord, Status> {
        let (checked, sight) = self.permitted(caller, request).await?;
        let Checked {
            app,
            record,
            order,
            validate_only,
        } = checked;
        if validate_only {
            return Ok(show::validated(&record, sight.sees_payload(&app)));
        }
        let record = self.without_outdated(&app, record).await?;
        let request_id = record.request_id.to_string();
        let wait = order.wait;
        let new = NewCommand {
            app: app.clone(),
            record,
            order,
        };
        // From before it is recorded, so that nothing is overlooked.
        let mut told = self.engine.commands_told();
        let recording = tokio::time::timeout(RECORD_WITHIN, self.engine.command(new));
        recording
            .await
            .map_err(|_elapsed| self.disk_fails())?
            .map_err(|refused| not_recorded(&app, &request_id, refused))?;
        let started = Instant::now();
        let mut published = None;
        let show = |recorded: &Recorded| {
            let payload = sight.sees_payload(&app);
            self.show(&app, recorded, payload, &mut show::Room::default())
        };
        loop {
            told.mark_unchanged();
            let recorded = self.read(&app, &request_id).await?;
            let Some(recorded) = recorded else {
                return Err(Status::internal("the record has gone while it was made"));
            };
            if published.is_none() && recorded.publication.is_some() {
                published = Some(Instant::now());
            }
            let until = waits_until(&recorded, started, wait, published);
            let over = until.is_none_or(|until| until <= Instant::now());
            if over || self.stop.is_cancelled() {
                return Ok(show(&recorded));
            }
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = tokio::time::sleep_until(until.unwrap_or(started)) => {}
                changed = told.changed() => {
                    if changed.is_err() {
                        return Ok(show(&recorded));
                    }
                }
            }
        }
    }

    /// What was known of a worker's queues does not hold when a later command changed them.
    async fn without_outdated(&self, app: &str, mut record: Record) -> Result<Record, Status> {
        if record.idle.is_empty() {
            return Ok(record);
        }
        let (history, only) = (self.reads.history.clone(), [app.to_owned()]);
        let earlier = blocking(move || history.commands(Some(&only), None, LOOKS_BACK)).await?;
        let board = self.reads.board.read();
        let state = board.apps.get(app).map(|app| &app.state);
        let queue = record.queue();
        record.idle.retain(|worker| {
            let known = state.and_then(|state| state.worker(worker));
            let looked = known.and_then(|known| known.inspection.as_deref());
            let looked = looked.map_or(Micros::MAX, |looked| looked.queues_time);
            let mut earlier = earlier.iter().map(|(_, earlier)| &earlier.record);
            let latest = earlier.find(|one| one.changes_queue(worker, queue.as_deref()));
            !latest.is_some_and(|latest| latest.may_be_pending(&record.method, looked))
        });
        Ok(record)
    }

    fn show(
        &self,
        app: &str,
        recorded: &Recorded,
        payload: bool,
        room: &mut show::Room,
    ) -> v1::CommandRecord {
        let board = self.reads.board.read();
        let state = board.apps.get(app).map(|app| &app.state);
        show::record(recorded, state, payload, room)
    }

    async fn read(&self, app: &str, request_id: &str) -> Result<Option<Recorded>, Status> {
        let (history, app) = (self.reads.history.clone(), app.to_owned());
        let request_id = request_id.to_owned();
        blocking(move || history.command(&app, &request_id)).await
    }

    fn disk_fails(&self) -> Status {
        let why = self.reads.board.read().commit_error.clone();
        let why = why.unwrap_or_else(|| "the disk is slow".to_owned());
        Status::unavailable(format!(
            "the command could not be recorded, so it was not sent: {why}; try again with the same request_id"
        ))
    }
}

/// What the audit log has of a request.
fn act<'a>(right: Right, app: &'a str, request: &'a v1::ExecuteCommandRequest) -> Act<'a> {
    Act {
        right,
        app,
        request_id: &request.request_id,
        workers: request.destination.len(),
        all_workers: request.all_workers,
    }
}

/// Until when to wait for more; `None` when nothing more is waited for.
fn waits_until(
    recorded: &Recorded,
    started: Instant,
    wait: Duration,
    published: Option<Instant>,
) -> Option<Instant> {
    match &recorded.publication {
        None => Some(started + wait.max(REPORT_WITHIN)),
        Some(Publication::NotPublished { .. }) => None,
        Some(_) if !recorded.record.is_answered() => None,
        Some(publication) => {
            let until = started + wait;
            if !recorded.all_answered() {
                return Some(until);
            }
            let reached = match publication {
                Publication::Published { subscribers, .. } => subscribers.unwrap_or(0),
                Publication::NotPublished { .. } | Publication::Unknown { .. } => 0,
            };
            let strangers = recorded.record.all_workers && reached > recorded.replies.len() as u64;
            let soon = published.unwrap_or(started) + STRANGERS_WITHIN;
            strangers.then(|| until.min(soon))
        }
    }
}

async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, HistoryError> + Send + 'static,
) -> Result<T, Status> {
    let read = tokio::task::spawn_blocking(read).await;
    read.map_err(|_panicked| Status::internal("reading commands failed"))?
        .map_err(|error| read_failed(&error))
}

fn not_recorded(app: &str, request_id: &str, refused: NotRecorded) -> Status {
    match refused {
        NotRecorded::Taken => Status::already_exists(format!(
            "request_id: another command was recorded under {request_id}; give every command an id of its own"
        )),
        NotRecorded::NoPlace(NoPlace::Detached) => Status::unavailable(format!(
            "no inspector of app {app:?} is attached, so nothing was sent; start one, or wait until it is back"
        )),
        NotRecorded::NoPlace(full @ NoPlace::Full) => {
            Status::unavailable(format!("nothing was sent: {full}"))
        }
        NotRecorded::History(error) => read_failed(&error),
        stopped @ NotRecorded::Stopped => Status::unavailable(stopped.to_string()),
    }
}

fn read_failed(error: &HistoryError) -> Status {
    tracing::error!(
        error = error as &dyn std::error::Error,
        "commands cannot be read"
    );
    Status::unavailable(error.to_string())
}

#[tonic::async_trait]
impl ControlService for Control {
    async fn execute_command(
        &self,
        request: Request<v1::ExecuteCommandRequest>,
    ) -> Result<Response<v1::ExecuteCommandResponse>, Status> {
        let caller = Caller::of(&request)?;
        let record = Some(self.execute(&caller, request.into_inner()).await?);
        Ok(Response::new(v1::ExecuteCommandResponse { record }))
    }

    async fn get_command(
        &self,
        request: Request<v1::GetCommandRequest>,
    ) -> Result<Response<v1::GetCommandResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let sight = caller
            .sight(Right::Read, &request.app, &self.reads.board)
            .await?;
        let app = app_name(&self.reads.board.read(), &sight, &request.app)?;
        let request_id = check::request_id(&request.request_id)?;
        let Some(recorded) = self.read(&app, &request_id).await? else {
            return Err(Status::not_found(format!(
                "no command {request_id} of app {app:?} was recorded, or it has gone by age; ListCommands shows what there is"
            )));
        };
        let payload = sight.sees_payload(&app);
        let record = Some(self.show(&app, &recorded, payload, &mut show::Room::default()));
        Ok(Response::new(v1::GetCommandResponse { record }))
    }

    async fn list_commands(
        &self,
        request: Request<v1::ListCommandsRequest>,
    ) -> Result<Response<v1::ListCommandsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let sight = caller
            .sight(Right::Read, &request.app, &self.reads.board)
            .await?;
        let only: Option<Vec<String>> = match request.app.as_str() {
            "" => sight.only().map(|names| names.iter().cloned().collect()),
            name => Some(vec![app_name(&self.reads.board.read(), &sight, name)?]),
        };
        let size = page::size(request.page_size)?;
        let fingerprint = page::fingerprint(("commands", &request.app));
        let before = match page::read_token(&request.page_token, fingerprint)? {
            None => None,
            Some(parts) => {
                let row = parts.first().and_then(|row| row.as_slice().try_into().ok());
                Some(row.map(i64::from_be_bytes).ok_or_else(|| {
                    page::invalid("page_token", "is not a token that this server gave")
                })?)
            }
        };
        let history = self.reads.history.clone();
        let mut found =
            blocking(move || history.commands(only.as_deref(), before, size + 1)).await?;
        let more = found.len() > size;
        found.truncate(size);
        let next_page_token = match found.last() {
            Some((_, last)) if more => page::token(fingerprint, &[&last.row.to_be_bytes()]),
            Some(_) | None => String::new(),
        };
        let mut room = show::Room::default();
        let records = found
            .iter()
            .map(|(app, recorded)| self.show(app, recorded, sight.sees_payload(app), &mut room))
            .collect();
        Ok(Response::new(v1::ListCommandsResponse {
            records,
            next_page_token,
        }))
    }
}
