//! An aggregator that is made of fixed answers, in a runtime of its own, so that it can die at once and come back.

mod control;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use celeriac_client::{Address, Client, v1};
use celeriac_proto::v1::control_service_server::ControlServiceServer;
use celeriac_proto::v1::inspection_service_server::{InspectionService, InspectionServiceServer};
use celeriac_proto::v1::watch_service_server::{WatchService, WatchServiceServer};
use futures_util::Stream;
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, async_trait};

/// What it answers, and what it was asked.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) apps: Vec<v1::App>,
    pub(crate) workers: Vec<v1::Worker>,
    pub(crate) queues: Vec<v1::Queue>,
    pub(crate) gaps: Vec<v1::Gap>,
    pub(crate) tasks: Vec<v1::Task>,
    pub(crate) names: Vec<v1::TaskName>,
    /// Given to the next calls before anything else.
    pub(crate) refusals: VecDeque<Status>,
    /// How long each answer takes.
    pub(crate) delay: Duration,
    /// Every second page is empty, as after a scan that found nothing.
    pub(crate) empty_pages: bool,
    /// Each page names itself as the next one.
    pub(crate) stuck: bool,
    /// All calls, with what mattered of each.
    pub(crate) calls: Vec<String>,
    /// The messages of a watch; the token of a message is its number from 1.
    pub(crate) messages: Vec<v1::watch_response::Message>,
    /// How many messages of a watch went out, to the watcher that is furthest.
    pub(crate) sent: usize,
    /// What workers answer to the next commands.
    pub(crate) answers: Vec<v1::CommandAnswer>,
    /// What becomes of the next commands; unspecified is PUBLISHED.
    pub(crate) outcome: v1::CommandOutcome,
    /// How long a command takes once it is recorded.
    pub(crate) answer_delay: Duration,
    /// Recorded commands, oldest first.
    pub(crate) records: Vec<v1::CommandRecord>,
}

type Shared = Arc<(Mutex<Script>, Notify)>;

/// A running fake.
pub(crate) struct Fake {
    shared: Shared,
    address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Fake {
    pub(crate) fn start(script: Script) -> Self {
        let shared = Arc::new((Mutex::new(script), Notify::new()));
        let mut fake = Self {
            shared,
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            runtime: None,
        };
        fake.revive();
        fake
    }

    /// Listens again on the same address.
    pub(crate) fn revive(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener =
            std::net::TcpListener::bind(self.address).expect("a port that was ours is free again");
        listener
            .set_nonblocking(true)
            .expect("a new socket takes this");
        self.address = listener.local_addr().expect("it is bound");
        let entered = runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener).expect("it does not block");
        drop(entered);
        let service = Service(Arc::clone(&self.shared));
        runtime.spawn(
            tonic::transport::Server::builder()
                .add_service(InspectionServiceServer::new(service.clone()))
                .add_service(WatchServiceServer::new(service.clone()))
                .add_service(ControlServiceServer::new(service))
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        self.runtime = Some(runtime);
    }

    /// Dies with all its connections, as from SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // On a thread, because tests are async and this waits until every socket is closed.
            let shutdown = std::thread::spawn(|| runtime.shutdown_timeout(Duration::from_secs(5)));
            shutdown.join().expect("it does not panic");
        }
    }

    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.shared
            .0
            .lock()
            .expect("no test panics while it holds this")
    }

    /// Sends a message to all watchers, now and later.
    pub(crate) fn say(&self, message: v1::watch_response::Message) {
        self.script().messages.push(message);
        self.shared.1.notify_waiters();
    }

    pub(crate) fn address(&self) -> Address {
        self.address
            .to_string()
            .parse()
            .expect("a socket address is one")
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address()).expect("no TLS")
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[derive(Clone)]
struct Service(Shared);

impl Service {
    /// Notes the call, waits, and refuses if it is to.
    async fn called(&self, call: String) -> Result<(), Status> {
        let (delay, refusal) = {
            let mut script = self.script();
            script.calls.push(call);
            (script.delay, script.refusals.pop_front())
        };
        tokio::time::sleep(delay).await;
        refusal.map_or(Ok(()), Err)
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.0.0.lock().expect("no test panics while it holds this")
    }

    /// A page of things: the token is the number of the first thing, with `e` after an empty page.
    fn page<T: Clone>(
        &self,
        things: fn(&Script) -> &Vec<T>,
        size: i32,
        token: &str,
    ) -> Result<(Vec<T>, String), Status> {
        let script = self.script();
        if script.stuck {
            return Ok((things(&script).clone(), "same".to_owned()));
        }
        let scanned = token.strip_suffix('e');
        let start: usize = match scanned.unwrap_or(token) {
            "" => 0,
            number => number
                .parse()
                .map_err(|_| Status::invalid_argument("page_token"))?,
        };
        if script.empty_pages && scanned.is_none() {
            return Ok((Vec::new(), format!("{start}e")));
        }
        let size = usize::try_from(size).map_err(|_| Status::invalid_argument("page_size"))?;
        let size = if size == 0 { 50 } else { size.min(1_000) };
        let all = things(&script);
        let end = all.len().min(start + size);
        let next = if end < all.len() {
            end.to_string()
        } else {
            String::new()
        };
        Ok((all[start..end].to_vec(), next))
    }
}

/// The root whose workflow this fake answers as an older aggregator does that has no such call.
pub(crate) const LACKING: &str = "lacking";

/// A list method, or a single read, of the fake.
macro_rules! answers {
    ($(list $list:ident($list_request:ident) -> $list_response:ident . $things:ident $(, $time:ident)? of $of:ident;)*
     $(get $get:ident($get_request:ident . $key:ident) -> $get_response:ident . $thing:ident of $from:ident by $name:ident;)*) => {
        #[async_trait]
        impl InspectionService for Service {
            $(async fn $list(
                &self,
                request: Request<v1::$list_request>,
            ) -> Result<Response<v1::$list_response>, Status> {
                let request = request.into_inner();
                let (size, token) = (request.page_size, request.page_token);
                self.called(format!("{} {size} {token:?}", stringify!($list))).await?;
                let (things, next_page_token) = self.page(|script| &script.$of, size, &token)?;
                Ok(Response::new(v1::$list_response {
                    $things: things,
                    next_page_token,
                    $($time: None,)?
                }))
            })*

            $(async fn $get(
                &self,
                request: Request<v1::$get_request>,
            ) -> Result<Response<v1::$get_response>, Status> {
                let key = request.into_inner().$key;
                self.called(format!("{} {key}", stringify!($get))).await?;
                let found = self.script().$from.iter().find(|thing| thing.$name == key).cloned();
                match found {
                    Some(thing) => Ok(Response::new(v1::$get_response { $thing: Some(thing) })),
                    None => Err(Status::not_found(format!("{} {key:?} is not known", stringify!($thing)))),
                }
            })*

            async fn list_tasks(
                &self,
                request: Request<v1::ListTasksRequest>,
            ) -> Result<Response<v1::ListTasksResponse>, Status> {
                let request = request.into_inner();
                let (size, token) = (request.page_size, request.page_token);
                self.called(format!(
                    "list_tasks {size} {token:?} {:?} {:?} {:?}",
                    request.filter, request.search, request.order_by
                ))
                .await?;
                let (tasks, next_page_token) = self.page(|script| &script.tasks, size, &token)?;
                let seconds = i64::try_from(self.script().calls.len()).unwrap_or(i64::MAX);
                Ok(Response::new(v1::ListTasksResponse {
                    tasks,
                    next_page_token,
                    as_of: Some(prost_types::Timestamp { seconds, nanos: 0 }),
                    scan: Some(v1::ScanProgress { scanned: 100, total: 1_000 }),
                }))
            }

            async fn get_workflow(
                &self,
                request: Request<v1::GetWorkflowRequest>,
            ) -> Result<Response<v1::GetWorkflowResponse>, Status> {
                let v1::GetWorkflowRequest { app, root_id, page_size, page_token } = request.into_inner();
                if root_id == LACKING {
                    return Err(Status::unimplemented("GetWorkflow comes in a later version"));
                }
                self.called(format!("get_workflow {app:?} {root_id} {page_size} {page_token:?}")).await?;
                let (tasks, next_page_token) = self.page(|script| &script.tasks, page_size, &page_token)?;
                Ok(Response::new(v1::GetWorkflowResponse { tasks, next_page_token }))
            }
        }
    };
}

answers! {
    list list_apps(ListAppsRequest) -> ListAppsResponse.apps of apps;
    list list_workers(ListWorkersRequest) -> ListWorkersResponse.workers, as_of of workers;
    list list_queues(ListQueuesRequest) -> ListQueuesResponse.queues, as_of of queues;
    list list_gaps(ListGapsRequest) -> ListGapsResponse.gaps, as_of of gaps;
    list list_task_names(ListTaskNamesRequest) -> ListTaskNamesResponse.task_names of names;
    get get_app(GetAppRequest.app) -> GetAppResponse.app of apps by name;
    get get_worker(GetWorkerRequest.name) -> GetWorkerResponse.worker of workers by name;
    get get_queue(GetQueueRequest.name) -> GetQueueResponse.queue of queues by name;
    get get_task(GetTaskRequest.id) -> GetTaskResponse.task of tasks by id;
    get get_task_name(GetTaskNameRequest.name) -> GetTaskNameResponse.task_name of names by name;
}

#[async_trait]
impl WatchService for Service {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<v1::WatchResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let request = request.into_inner();
        self.called(format!("watch {:?}", request.resume_token))
            .await?;
        let sent: usize = match request.resume_token.as_str() {
            "" => 0,
            token => token
                .parse()
                .map_err(|_| Status::invalid_argument("resume_token"))?,
        };
        let shared = Arc::clone(&self.0);
        let stream = futures_util::stream::unfold(sent, move |sent| {
            let shared = Arc::clone(&shared);
            async move {
                loop {
                    let more = shared.1.notified();
                    let message = {
                        let mut script = shared.0.lock().expect("no test panics");
                        script.sent = script.sent.max(sent);
                        script.messages.get(sent).cloned()
                    };
                    if let Some(message) = message {
                        let response = v1::WatchResponse {
                            resume_token: (sent + 1).to_string(),
                            time: Some(prost_types::Timestamp {
                                seconds: 1,
                                nanos: 0,
                            }),
                            message: Some(message),
                        };
                        return Some((Ok(response), sent + 1));
                    }
                    more.await;
                }
            }
        });
        Ok(Response::new(Box::pin(stream)))
    }
}

/// A task with nothing but what tests look at.
pub(crate) fn task(id: &str, state: &str) -> v1::Task {
    v1::Task {
        app: "shop".into(),
        id: id.into(),
        name: Some("shop.add".into()),
        state: state.into(),
        ..Default::default()
    }
}

/// That a task is new or has changed.
pub(crate) fn changed(task: v1::Task) -> v1::watch_response::Message {
    let item = v1::WatchItem {
        item: Some(v1::watch_item::Item::Task(task)),
    };
    v1::watch_response::Message::Delta(v1::WatchDelta {
        change: Some(v1::watch_delta::Change::Set(item)),
    })
}
