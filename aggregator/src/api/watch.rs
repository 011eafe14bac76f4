//! `WatchService`: a snapshot, then deltas, resumable; each watcher reads the log at its own pace.

use std::time::Duration;

use celeriac_proto::v1;
use celeriac_proto::v1::watch_response::Message;
use celeriac_proto::v1::watch_service_server::WatchService;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::{Reads, app_name, page, time};
use crate::access::{Asked, Caller};
use crate::engine::changelog::Position;
use crate::query::Query;

mod view;

use view::View;

/// Messages on their way to one watcher. When they wait, the watcher reads no further; the log waits for nobody.
const WAITING_MAX: usize = 64;
/// Log entries taken at a time: bounds the time for which the board is held, and what a slow watcher keeps in memory.
const SLICE: usize = 1_000;
/// Pause between two reads of the log, so that several changes of one thing become one message.
const COALESCE: Duration = Duration::from_millis(50);
/// The same of one worker: there are as many such streams as workers, and each worker changes with every heartbeat.
const COALESCE_ONE: Duration = Duration::from_secs(1);
/// Silence after which a heartbeat is sent: proxies cut streams that idle for a minute.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The service.
#[derive(Clone)]
pub struct Watch {
    reads: Reads,
    stop: CancellationToken,
}

impl Watch {
    /// A service that reads from `reads`, until `stop`.
    pub fn new(reads: Reads, stop: CancellationToken) -> Self {
        Self { reads, stop }
    }
}

type Responses = mpsc::Sender<Result<v1::WatchResponse, Status>>;

#[tonic::async_trait]
impl WatchService for Watch {
    type WatchStream = ReceiverStream<Result<v1::WatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let asked = Asked {
            app: request.app.clone(),
            worker: request.worker.clone(),
        };
        if asked.app.is_empty() && !asked.worker.is_empty() {
            return Err(page::invalid("worker", "needs its app named too"));
        }
        let sight = caller.sight_of(&asked, &self.reads.board).await?;
        if !asked.app.is_empty() {
            app_name(&self.reads.board.read(), &sight, &asked.app)?;
        }
        let query = Query::new(&request.task_filter, "")
            .map_err(|error| page::invalid("task_filter", error.to_string()))?;
        if query.needs_payload() {
            sight.require_payload(&asked.app)?;
        }
        let seen = sight.fingerprint();
        // One that was given for another sight leads to a snapshot: there is more to show, or less.
        let resume = parse_token(&request.resume_token)?;
        let resume = resume.and_then(|(position, by)| (by == seen).then_some(position));
        let view = View::new(&request, query, sight.clone());
        let (responses, stream) = mpsc::channel(WAITING_MAX);
        let watcher = Watcher {
            reads: self.reads.clone(),
            responses,
            view,
            seen,
        };
        let (stop, board) = (self.stop.clone(), self.reads.board.clone());
        // Ends when the reader goes away or may not see this any more, or with `stop`.
        tokio::spawn(async move {
            let responses = watcher.responses.clone();
            let status = tokio::select! {
                () = stop.cancelled() => Status::unavailable("the aggregator is shutting down"),
                status = caller.until_changed(&sight, &asked, &board) => status,
                _gone = watcher.run(resume) => return,
            };
            // A reader so slow that there is no room for it finds the stream ended.
            let _gone = responses.try_send(Err(status));
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// The reader went away.
#[derive(Debug)]
struct Gone;

struct Watcher {
    reads: Reads,
    responses: Responses,
    view: View,
    /// The fingerprint of what may be seen.
    seen: u64,
}

impl Watcher {
    async fn run(mut self, resume: Option<Position>) -> Result<(), Gone> {
        let mut revision = self.reads.board.revision();
        let known = resume.filter(|at| self.reads.board.read().log.since(*at, 0).is_some());
        let mut position = match known {
            Some(position) => position,
            None => self.snapshot().await?,
        };
        loop {
            revision.mark_unchanged();
            let caught_up = self.deltas(&mut position).await?;
            if !caught_up {
                continue;
            }
            tokio::select! {
                () = self.responses.closed() => return Err(Gone),
                changed = revision.changed() => {
                    changed.map_err(|_engine_gone| Gone)?;
                    let pause = if self.view.is_of_one() {
                        COALESCE_ONE
                    } else {
                        COALESCE
                    };
                    tokio::time::sleep(pause).await;
                }
                () = tokio::time::sleep(HEARTBEAT) => {
                    self.send(position, Message::Heartbeat(v1::Heartbeat {})).await?;
                }
            }
        }
    }

    /// Sends everything there is; gives the place in the log from which deltas follow.
    async fn snapshot(&mut self) -> Result<Position, Gone> {
        let (position, keys) = {
            let board = self.reads.board.read();
            (board.log.position(), self.view.everything(&board))
        };
        self.send_within_snapshot(Message::SnapshotBegin(v1::SnapshotBegin {}))
            .await?;
        let mut items = 0;
        for slice in keys.chunks(SLICE) {
            let found = self.view.items(&self.reads.board.read(), slice);
            for item in found {
                items += 1;
                self.send_within_snapshot(Message::Item(item)).await?;
            }
        }
        self.send(position, Message::SnapshotEnd(v1::SnapshotEnd { items }))
            .await?;
        Ok(position)
    }

    /// Sends one slice of what changed since `position`; says whether that was all.
    async fn deltas(&mut self, position: &mut Position) -> Result<bool, Gone> {
        let slice = {
            let board = self.reads.board.read();
            let since = board.log.since(*position, SLICE);
            since.map(|(entries, next)| {
                (
                    self.view.changes(&board, entries),
                    next,
                    next == board.log.position(),
                )
            })
        };
        let Some((mut messages, next, caught_up)) = slice else {
            let gap = v1::Gap {
                cause: v1::GapCause::SlowReader.into(),
                start_time: Some(time::micros(time::now())),
                detail: "this stream was too slow to follow every change; a new snapshot follows"
                    .to_owned(),
                ..v1::Gap::default()
            };
            self.send_within_snapshot(Message::Gap(gap)).await?;
            *position = self.snapshot().await?;
            return Ok(false);
        };
        messages.extend(self.missing_tasks().await);
        // Until the slice is whole, a resumed stream must begin before it.
        let last = messages.len().saturating_sub(1);
        for (index, message) in messages.into_iter().enumerate() {
            let at = if index == last { next } else { *position };
            self.send(at, message).await?;
        }
        *position = next;
        Ok(caught_up)
    }

    /// Tasks that changed and have left memory since.
    async fn missing_tasks(&mut self) -> Vec<Message> {
        let missing = self.view.take_missing();
        if missing.is_empty() {
            return Vec::new();
        }
        let history = self.reads.history.clone();
        let found = tokio::task::spawn_blocking(move || {
            let read = |(app, id): (String, _)| {
                let task = history.get(&app, &id).ok().flatten()?;
                Some((app, task))
            };
            missing.into_iter().filter_map(read).collect::<Vec<_>>()
        });
        let found = found.await.unwrap_or_default();
        found
            .iter()
            .filter_map(|(app, task)| self.view.task(app, task))
            .map(Message::Delta)
            .collect()
    }

    async fn send(&self, at: Position, message: Message) -> Result<(), Gone> {
        self.respond(token(at, self.seen), message).await
    }

    /// A stream that is cut here must begin anew: no token.
    async fn send_within_snapshot(&self, message: Message) -> Result<(), Gone> {
        self.respond(String::new(), message).await
    }

    async fn respond(&self, resume_token: String, message: Message) -> Result<(), Gone> {
        let time = Some(time::micros(time::now()));
        let response = v1::WatchResponse {
            resume_token,
            time,
            message: Some(message),
        };
        self.responses
            .send(Ok(response))
            .await
            .map_err(|_closed| Gone)
    }
}

fn token(position: Position, seen: u64) -> String {
    format!("{:x}.{:x}.{seen:x}", position.epoch, position.revision)
}

/// The place in the log, and the fingerprint of what was seen.
fn parse_token(token: &str) -> Result<Option<(Position, u64)>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let numbers: Option<Vec<u64>> = token
        .split('.')
        .map(|number| u64::from_str_radix(number, 16).ok())
        .collect();
    let parsed = match numbers.as_deref() {
        Some(&[epoch, revision, seen]) => Some((Position { epoch, revision }, seen)),
        Some(_) | None => None,
    };
    let refuse = || page::invalid("resume_token", "is not a token that this server gave");
    parsed.map(Some).ok_or_else(refuse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resume_tokens_come_back() {
        let position = Position {
            epoch: u64::MAX,
            revision: 17,
        };
        let token = token(position, 5);
        assert_eq!(parse_token(&token).unwrap(), Some((position, 5)));
        assert_eq!(parse_token("").unwrap(), None);
        assert_eq!(
            parse_token("nonsense").unwrap_err().code(),
            tonic::Code::InvalidArgument
        );
    }
}
