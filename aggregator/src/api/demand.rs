//! `DemandService`: the load of a queue set, now and as it changes. What it is says `state::demand`.

use std::time::Duration;

use celeriac_proto::v1;
use celeriac_proto::v1::demand_service_server::DemandService;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::{Reads, app_name, page, time};
use crate::access::{Asked, Caller, Right, Sight};
use crate::engine::EngineHandle;
use crate::engine::board::Board;

mod message;

use message::message;

/// Queues of one set.
const QUEUES_MAX: usize = 64;
/// Bytes of a name: what AMQP allows.
const NAME_BYTES_MAX: usize = 255;
/// Messages on their way to one reader. A slow one gets fewer, and each is as things are when it is made.
const WAITING_MAX: usize = 1;
/// Between two messages.
const PAUSE: Duration = Duration::from_secs(1);
/// Ages and rates change also when nothing happens; so often they are looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// So often the inspector is told that the queues are followed, so that it reads their depths though nobody consumes from them.
const FOLLOW_AGAIN: Duration = Duration::from_secs(15);
/// Silence after which the demand is sent although it is the same.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The service.
#[derive(Clone)]
pub struct Demand {
    reads: Reads,
    engine: EngineHandle,
    stop: CancellationToken,
}

impl Demand {
    /// A service that reads from `reads`, and tells `engine` which queues are followed, until `stop`.
    pub fn new(reads: Reads, engine: EngineHandle, stop: CancellationToken) -> Self {
        Self {
            reads,
            engine,
            stop,
        }
    }
}

#[tonic::async_trait]
impl DemandService for Demand {
    type WatchDemandStream = ReceiverStream<Result<v1::WatchDemandResponse, Status>>;

    async fn get_demand(
        &self,
        request: Request<v1::GetDemandRequest>,
    ) -> Result<Response<v1::GetDemandResponse>, Status> {
        let caller = Caller::of(&request)?;
        let v1::GetDemandRequest {
            app,
            queues,
            worker_prefix,
        } = request.into_inner();
        let sight = caller.sight(Right::Read, &app, &self.reads.board).await?;
        let mut set = Set::new(app, queues, worker_prefix)?;
        let board = self.reads.board.read();
        set.app = app_name(&board, &sight, &set.app)?;
        self.engine.follows(&set.app, &set.queues);
        let demand = Some(set.demand(&board, &sight));
        Ok(Response::new(v1::GetDemandResponse { demand }))
    }

    async fn watch_demand(
        &self,
        request: Request<v1::WatchDemandRequest>,
    ) -> Result<Response<Self::WatchDemandStream>, Status> {
        let caller = Caller::of(&request)?;
        let v1::WatchDemandRequest {
            app,
            queues,
            worker_prefix,
        } = request.into_inner();
        let asked = Asked {
            app: app.clone(),
            worker: String::new(),
        };
        let sight = caller.sight_of(&asked, &self.reads.board).await?;
        let set = Set::new(app, queues, worker_prefix)?;
        let (responses, stream) = mpsc::channel(WAITING_MAX);
        let (reads, engine) = (self.reads.clone(), self.engine.clone());
        let stop = self.stop.clone();
        // Ends when the reader goes away or may not see this any more, or with `stop`.
        tokio::spawn(async move {
            let status = tokio::select! {
                () = stop.cancelled() => Status::unavailable("the aggregator is shutting down"),
                status = caller.until_changed(&sight, &asked, &reads.board) => status,
                () = watch(&reads, &engine, set, &sight, &responses) => return,
            };
            // A reader so slow that there is no room for it finds the stream ended.
            let _gone = responses.try_send(Err(status));
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// Sends the demand of a set for as long as somebody reads it.
async fn watch(
    reads: &Reads,
    engine: &EngineHandle,
    set: Set,
    sight: &Sight,
    responses: &mpsc::Sender<Result<v1::WatchDemandResponse, Status>>,
) {
    let mut revision = reads.board.revision();
    let mut last: Option<(Instant, v1::Demand)> = None;
    let mut followed: Option<Instant> = None;
    loop {
        if followed.is_none_or(|at| at.elapsed() >= FOLLOW_AGAIN) {
            set.follow(reads, engine, sight);
            followed = Some(Instant::now());
        }
        // Room first: what is sent is not older than its reader is slow.
        let Ok(permit) = responses.reserve().await else {
            return;
        };
        revision.mark_unchanged();
        let mut demand = set.demand(&reads.board.read(), sight);
        let now = Instant::now();
        let due = last
            .as_ref()
            .is_none_or(|(at, known)| !same(known, &mut demand) || now - *at >= HEARTBEAT);
        if due {
            let response = v1::WatchDemandResponse {
                demand: Some(demand.clone()),
            };
            permit.send(Ok(response));
            last = Some((now, demand));
            tokio::time::sleep(PAUSE).await;
        }
        tokio::select! {
            () = responses.closed() => return,
            changed = revision.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
    }
}

/// Whether nothing has changed but the time. No copy is made for it: there may be megabytes of workers.
fn same(known: &v1::Demand, demand: &mut v1::Demand) -> bool {
    let time = std::mem::replace(&mut demand.time, known.time);
    let same = known == demand;
    demand.time = time;
    same
}

/// A queue set of an app.
struct Set {
    app: String,
    queues: Vec<String>,
    worker_prefix: String,
}

impl Set {
    fn new(app: String, mut queues: Vec<String>, worker_prefix: String) -> Result<Self, Status> {
        if queues.is_empty() || queues.len() > QUEUES_MAX {
            let given = queues.len();
            return Err(page::invalid(
                "queues",
                format!("{given} queues are named; name 1 to {QUEUES_MAX}"),
            ));
        }
        let bad = |name: &&String| name.is_empty() || name.len() > NAME_BYTES_MAX;
        if let Some(name) = queues.iter().find(bad) {
            return Err(page::invalid(
                "queues",
                format!(
                    "the name of a queue has 1 to {NAME_BYTES_MAX} bytes, and one has {}",
                    name.len()
                ),
            ));
        }
        if worker_prefix.len() > NAME_BYTES_MAX {
            return Err(page::invalid(
                "worker_prefix",
                format!("it has {} bytes, of {NAME_BYTES_MAX}", worker_prefix.len()),
            ));
        }
        // A queue that is named twice is one.
        queues.sort();
        queues.dedup();
        Ok(Self {
            app,
            queues,
            worker_prefix,
        })
    }

    /// Tells the engine that it is followed, once the app is known.
    fn follow(&self, reads: &Reads, engine: &EngineHandle, sight: &Sight) {
        let name = app_name(&reads.board.read(), sight, &self.app);
        if let Ok(app) = name {
            engine.follows(&app, &self.queues);
        }
    }

    fn demand(&self, board: &Board, sight: &Sight) -> v1::Demand {
        let app = match app_name(board, sight, &self.app) {
            Ok(name) => board.apps.get(name.as_str()),
            Err(_unknown) => None,
        };
        let Some(app) = app else {
            return v1::Demand {
                time: Some(time::micros(time::now())),
                stale_reason: format!("nothing is known of the app {}", self.app),
                ..v1::Demand::default()
            };
        };
        let found = app
            .state
            .demand(time::now(), &self.queues, &self.worker_prefix);
        let attached = app.inspector.as_ref().is_some_and(|facts| facts.attached);
        let away = (!attached).then(|| "no inspector of the app is attached".to_owned());
        let mut demand = message(found, &self.worker_prefix);
        if let Some(away) = away {
            demand.fresh = false;
            demand.stale_reason = away;
        }
        demand
    }
}
