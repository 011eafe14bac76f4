//! `InspectionService`: lists and single reads.

use celeriac_proto::v1;
use celeriac_proto::v1::inspection_service_server::InspectionService;
use tonic::{Request, Response, Status};

use super::convert::Detail;
use super::{Reads, app_name, convert, page, time};
use crate::access::{Caller, Right, Sight};
use crate::engine::board::{AppBoard, Board};
use crate::query::WorkerFilter;
use crate::state::TaskId;

mod gaps;
mod tasks;
mod workflow;

/// The service.
#[derive(Clone)]
pub struct Inspection {
    reads: Reads,
}

impl Inspection {
    /// A service that reads from `reads`.
    pub fn new(reads: Reads) -> Self {
        Self { reads }
    }

    /// What a request may see.
    async fn sight(&self, caller: &Caller, asked: &str) -> Result<Sight, Status> {
        caller.sight(Right::Read, asked, &self.reads.board).await
    }
}

type Answer<T> = Result<Response<T>, Status>;

/// The apps a list is about, in order of name.
fn apps<'a>(
    board: &'a Board,
    sight: &'a Sight,
    asked: &'a str,
) -> impl Iterator<Item = (&'a str, &'a AppBoard)> {
    board
        .apps
        .iter()
        .map(|(name, app)| (name.as_str(), app))
        .filter(move |(name, _)| asked.is_empty() || *name == asked)
        .filter(|(name, _)| sight.sees(name))
}

/// Refuses an app that is not there, so that a typing error is no empty list.
fn known_app(board: &Board, sight: &Sight, asked: &str) -> Result<(), Status> {
    if asked.is_empty() {
        Ok(())
    } else {
        app_name(board, sight, asked).map(drop)
    }
}

fn in_order<T>(mut things: Vec<(String, String, T)>) -> impl Iterator<Item = (String, String, T)> {
    things.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    things.into_iter()
}

#[tonic::async_trait]
impl InspectionService for Inspection {
    async fn list_apps(
        &self,
        request: Request<v1::ListAppsRequest>,
    ) -> Answer<v1::ListAppsResponse> {
        let caller = Caller::of(&request)?;
        let v1::ListAppsRequest {
            page_size,
            page_token,
        } = request.into_inner();
        let sight = self.sight(&caller, "").await?;
        let fingerprint = page::fingerprint("apps");
        let after = page::read_token(&page_token, fingerprint)?;
        let board = self.reads.board.read();
        let all = apps(&board, &sight, "").map(|(name, app)| (name.to_owned(), String::new(), app));
        let (found, next_page_token) =
            page::by_name(all, after, page::size(page_size)?, fingerprint);
        let apps = found
            .into_iter()
            .map(|app| {
                let name = app.state.name();
                convert::app(name, app, sight.sees_payload(name))
            })
            .collect();
        Ok(Response::new(v1::ListAppsResponse {
            apps,
            next_page_token,
        }))
    }

    async fn get_app(&self, request: Request<v1::GetAppRequest>) -> Answer<v1::GetAppResponse> {
        let caller = Caller::of(&request)?;
        let asked = request.into_inner().app;
        let sight = self.sight(&caller, &asked).await?;
        let board = self.reads.board.read();
        let name = app_name(&board, &sight, &asked)?;
        let app = board
            .apps
            .get(name.as_str())
            .map(|app| convert::app(&name, app, sight.sees_payload(&name)));
        Ok(Response::new(v1::GetAppResponse { app }))
    }

    async fn list_workers(
        &self,
        request: Request<v1::ListWorkersRequest>,
    ) -> Answer<v1::ListWorkersResponse> {
        let caller = Caller::of(&request)?;
        let v1::ListWorkersRequest {
            app,
            page_size,
            page_token,
            filter,
        } = request.into_inner();
        let sight = self.sight(&caller, &app).await?;
        let fingerprint = page::fingerprint(("workers", &app, &filter));
        let after = page::read_token(&page_token, fingerprint)?;
        let filter = WorkerFilter::new(&filter)
            .map_err(|error| page::invalid("filter", error.to_string()))?;
        let board = self.reads.board.read();
        known_app(&board, &sight, &app)?;
        let mut all = Vec::new();
        for (name, app) in apps(&board, &sight, &app) {
            for worker in app.state.workers().filter(|worker| filter.matches(worker)) {
                all.push((name.to_owned(), worker.name.to_string(), (app, worker)));
            }
        }
        let size = page::size(page_size)?;
        let (found, next_page_token) = page::by_name(in_order(all), after, size, fingerprint);
        let workers = found
            .into_iter()
            .map(|(app, worker)| convert::worker(&app.state, app.state.name(), worker, false))
            .collect();
        let as_of = Some(time::micros(time::now()));
        Ok(Response::new(v1::ListWorkersResponse {
            workers,
            next_page_token,
            as_of,
        }))
    }

    async fn get_worker(
        &self,
        request: Request<v1::GetWorkerRequest>,
    ) -> Answer<v1::GetWorkerResponse> {
        let caller = Caller::of(&request)?;
        let v1::GetWorkerRequest { app, name } = request.into_inner();
        let sight = self.sight(&caller, &app).await?;
        let board = self.reads.board.read();
        let app = app_name(&board, &sight, &app)?;
        let state = &board.apps[app.as_str()].state;
        let worker = state.worker(&name).ok_or_else(|| {
            page::not_found(
                "worker",
                &name,
                state.workers().map(|worker| worker.name.to_string()),
            )
        })?;
        let mut worker = convert::worker(state, &app, worker, true);
        if let Some(inspection) = worker.inspection.as_mut()
            && !sight.sees_payload(&app)
        {
            // A schedule in it has arguments of tasks.
            inspection.configuration_json = None;
        }
        let worker = Some(worker);
        Ok(Response::new(v1::GetWorkerResponse { worker }))
    }

    async fn list_tasks(
        &self,
        request: Request<v1::ListTasksRequest>,
    ) -> Answer<v1::ListTasksResponse> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let sight = self.sight(&caller, &request.app).await?;
        let reads = self.reads.clone();
        blocking(move || tasks::list(&reads, &request, &sight))
            .await
            .map(Response::new)
    }

    async fn get_task(&self, request: Request<v1::GetTaskRequest>) -> Answer<v1::GetTaskResponse> {
        let caller = Caller::of(&request)?;
        let v1::GetTaskRequest { app, id, view } = request.into_inner();
        let sight = self.sight(&caller, &app).await?;
        if id.is_empty() {
            return Err(page::invalid("id", "must not be empty"));
        }
        let full = view != i32::from(v1::TaskView::Basic);
        let task_id = TaskId::from(id.as_str());
        let detail = |app: &str| Detail::new(full, sight.sees_payload(app));
        let app = {
            let board = self.reads.board.read();
            let app = app_name(&board, &sight, &app)?;
            if let Some(task) = board.apps[app.as_str()].state.task(&task_id) {
                let task = Some(convert::task(&app, task, detail(&app)));
                return Ok(Response::new(v1::GetTaskResponse { task }));
            }
            app
        };
        let history = self.reads.history.clone();
        let name = app.clone();
        let found = blocking(move || {
            history
                .get(&name, &task_id)
                .map_err(|error| tasks::failed(&error))
        })
        .await?;
        let task = found.ok_or_else(|| {
            Status::not_found(format!(
                "no task {id:?}; it may be older than the retention, or its events were never seen"
            ))
        })?;
        let task = Some(convert::task(&app, &task, detail(&app)));
        Ok(Response::new(v1::GetTaskResponse { task }))
    }

    async fn list_task_names(
        &self,
        request: Request<v1::ListTaskNamesRequest>,
    ) -> Answer<v1::ListTaskNamesResponse> {
        let caller = Caller::of(&request)?;
        let v1::ListTaskNamesRequest {
            app,
            page_size,
            page_token,
        } = request.into_inner();
        let sight = self.sight(&caller, &app).await?;
        let fingerprint = page::fingerprint(("task names", &app));
        let after = page::read_token(&page_token, fingerprint)?;
        let board = self.reads.board.read();
        known_app(&board, &sight, &app)?;
        let mut all = Vec::new();
        for (app_name, app) in apps(&board, &sight, &app) {
            for name in app.state.task_names() {
                all.push((app_name.to_owned(), name.name.to_string(), (app, name)));
            }
        }
        let size = page::size(page_size)?;
        let (found, next_page_token) = page::by_name(in_order(all), after, size, fingerprint);
        let task_names = found
            .into_iter()
            .map(|(app, name)| convert::task_name(app.state.name(), &app.state, name))
            .collect();
        Ok(Response::new(v1::ListTaskNamesResponse {
            task_names,
            next_page_token,
        }))
    }

    async fn get_task_name(
        &self,
        request: Request<v1::GetTaskNameRequest>,
    ) -> Answer<v1::GetTaskNameResponse> {
        let caller = Caller::of(&request)?;
        let v1::GetTaskNameRequest { app, name } = request.into_inner();
        let sight = self.sight(&caller, &app).await?;
        let board = self.reads.board.read();
        let app = app_name(&board, &sight, &app)?;
        let state = &board.apps[app.as_str()].state;
        let found = state.task_name(&name).ok_or_else(|| {
            page::not_found(
                "task name",
                &name,
                state.task_names().map(|name| name.name.to_string()),
            )
        })?;
        let task_name = Some(convert::task_name(&app, state, found));
        Ok(Response::new(v1::GetTaskNameResponse { task_name }))
    }

    async fn list_queues(
        &self,
        request: Request<v1::ListQueuesRequest>,
    ) -> Answer<v1::ListQueuesResponse> {
        let caller = Caller::of(&request)?;
        let v1::ListQueuesRequest {
            app,
            page_size,
            page_token,
        } = request.into_inner();
        let sight = self.sight(&caller, &app).await?;
        let fingerprint = page::fingerprint(("queues", &app));
        let after = page::read_token(&page_token, fingerprint)?;
        let board = self.reads.board.read();
        known_app(&board, &sight, &app)?;
        let mut all = Vec::new();
        for (app_name, app) in apps(&board, &sight, &app) {
            for queue in app.state.queues() {
                all.push((app_name.to_owned(), queue.name.to_string(), (app, queue)));
            }
        }
        let size = page::size(page_size)?;
        let (found, next_page_token) = page::by_name(in_order(all), after, size, fingerprint);
        let queues = found
            .into_iter()
            .map(|(app, queue)| convert::queue(app.state.name(), &app.state, queue))
            .collect();
        let as_of = Some(time::micros(time::now()));
        Ok(Response::new(v1::ListQueuesResponse {
            queues,
            next_page_token,
            as_of,
        }))
    }

    async fn get_queue(
        &self,
        request: Request<v1::GetQueueRequest>,
    ) -> Answer<v1::GetQueueResponse> {
        let caller = Caller::of(&request)?;
        let v1::GetQueueRequest { app, name } = request.into_inner();
        let sight = self.sight(&caller, &app).await?;
        let board = self.reads.board.read();
        let app = app_name(&board, &sight, &app)?;
        let state = &board.apps[app.as_str()].state;
        let found = state.queue(&name).ok_or_else(|| {
            page::not_found(
                "queue",
                &name,
                state.queues().map(|queue| queue.name.to_string()),
            )
        })?;
        let queue = Some(convert::queue(&app, state, found));
        Ok(Response::new(v1::GetQueueResponse { queue }))
    }

    async fn list_gaps(
        &self,
        request: Request<v1::ListGapsRequest>,
    ) -> Answer<v1::ListGapsResponse> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let sight = self.sight(&caller, &request.app).await?;
        gaps::list(&self.reads, request, &sight).map(Response::new)
    }

    async fn get_workflow(
        &self,
        request: Request<v1::GetWorkflowRequest>,
    ) -> Answer<v1::GetWorkflowResponse> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let sight = self.sight(&caller, &request.app).await?;
        let reads = self.reads.clone();
        blocking(move || workflow::read(&reads, request, &sight))
            .await
            .map(Response::new)
    }
}

/// Runs a read of the database off the runtime's threads.
async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    tokio::task::spawn_blocking(read)
        .await
        .unwrap_or_else(|_panicked| {
            Err(Status::internal("a read failed; see the aggregator's log"))
        })
}
