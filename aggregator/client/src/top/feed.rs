//! Asks the aggregator what the model wants to know, and brings the answers.

use std::time::Duration;

use celeriac_client::{Client, Error, Page as _, Update, v1};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::model::ui::{Target, Thing};
use super::model::{Action, Input};

/// Messages on their way to the model: it takes them faster than they come, and what waits is held by the stream, whose
/// sender makes one delta of several.
const HEARD_MAX: usize = 256;
/// How many failures to begin with: what one page of full tasks has.
const FAILURES_FIRST: i32 = 100;
/// Which tasks are followed one by one: failures are few, or else the latest are what matters.
const FAILURES: &str = "state = FAILURE";
/// After an aggregator that was not there at first.
const AGAIN: Duration = Duration::from_secs(2);

/// What comes out of the feed.
#[derive(Debug)]
pub(crate) enum Heard {
    Input(Input),
    /// The aggregator refuses for good.
    End(Error),
}

/// Requests under way. All end when it is dropped.
#[derive(Debug)]
pub(crate) struct Feed {
    client: Client,
    app: String,
    heard: mpsc::Sender<Heard>,
    watch: JoinHandle<()>,
    tasks: Option<JoinHandle<()>>,
}

impl Feed {
    /// Begins to watch.
    pub(crate) fn start(client: Client, app: String) -> (Self, mpsc::Receiver<Heard>) {
        let (heard, receiver) = mpsc::channel(HEARD_MAX);
        let request = v1::WatchRequest {
            app: app.clone(),
            kinds: Vec::new(),
            task_filter: FAILURES.to_owned(),
            // With exception texts.
            task_view: v1::TaskView::Full.into(),
            resume_token: String::new(),
            skip_task_snapshot: true,
            worker: String::new(),
        };
        let watch = tokio::spawn(follow(client.clone(), request, heard.clone()));
        let feed = Self {
            client,
            app,
            heard,
            watch,
            tasks: None,
        };
        (feed, receiver)
    }

    /// Does what the model wants. Returns the request id of a command.
    pub(crate) fn act(&mut self, action: Action) -> Option<String> {
        let (client, heard) = (self.client.clone(), self.heard.clone());
        match action {
            Action::Quit => {}
            Action::ListTasks {
                generation,
                limit,
                request,
            } => {
                if let Some(before) = self.tasks.take() {
                    before.abort();
                }
                let listing = list(client, heard, generation, limit, request);
                self.tasks = Some(tokio::spawn(listing));
            }
            Action::ListFailures => {
                let request = v1::ListTasksRequest {
                    app: self.app.clone(),
                    page_size: FAILURES_FIRST,
                    filter: FAILURES.to_owned(),
                    order_by: "finish_seen desc".to_owned(),
                    view: v1::TaskView::Full.into(),
                    ..Default::default()
                };
                tokio::spawn(async move {
                    // Without them the view begins with the first new failure: no reason to stop.
                    if let Ok(page) = client.list_tasks(request).await {
                        let _ = heard.send(Heard::Input(Input::Failures(page.tasks))).await;
                    }
                });
            }
            Action::Read(target) => {
                tokio::spawn(async move {
                    let thing = read(&client, &target).await;
                    let input = Input::Thing { target, thing };
                    let _ = heard.send(Heard::Input(input)).await;
                });
            }
            Action::Send(request) => return Some(send(client, heard, *request)),
        }
        None
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.watch.abort();
        if let Some(tasks) = self.tasks.take() {
            tasks.abort();
        }
    }
}

async fn follow(client: Client, request: v1::WatchRequest, heard: mpsc::Sender<Heard>) {
    let mut watch = client.watch(request);
    loop {
        let (told, wait) = match watch.next().await {
            Ok(Update::Message(message)) => (Heard::Input(Input::Message(message)), None),
            Ok(Update::Interrupted { error, .. }) => {
                (Heard::Input(Input::Interrupted(error.to_string())), None)
            }
            Err(error) if error.is_transient() => {
                let told = Heard::Input(Input::Interrupted(error.to_string()));
                (told, Some(AGAIN))
            }
            Err(error) => {
                let _ = heard.send(Heard::End(error)).await;
                return;
            }
        };
        if heard.send(told).await.is_err() {
            return;
        }
        if let Some(wait) = wait {
            tokio::time::sleep(wait).await;
        }
    }
}

/// Lists tasks page by page, and tells how far it is after each.
async fn list(
    client: Client,
    heard: mpsc::Sender<Heard>,
    generation: u64,
    limit: u64,
    request: v1::ListTasksRequest,
) {
    let mut pages = client.pages(request, Some(limit));
    let mut merged: Option<v1::ListTasksResponse> = None;
    loop {
        let input = match pages.next().await {
            Ok(Some(page)) => {
                match &mut merged {
                    None => merged = Some(page),
                    Some(earlier) => earlier.merge(page),
                }
                Input::Tasks {
                    generation,
                    page: merged.clone().unwrap_or_default(),
                    last: !pages.has_next(),
                }
            }
            Ok(None) => Input::Tasks {
                generation,
                page: merged.clone().unwrap_or_default(),
                last: true,
            },
            Err(error) => Input::TasksFailed {
                generation,
                error: error.to_string(),
            },
        };
        let more = matches!(input, Input::Tasks { last: false, .. });
        if heard.send(Heard::Input(input)).await.is_err() || !more {
            return;
        }
    }
}

async fn read(client: &Client, target: &Target) -> Result<Box<Thing>, String> {
    let lacking = || "the aggregator's answer is empty".to_owned();
    match target {
        Target::Task { app, id } => {
            let request = v1::GetTaskRequest {
                app: app.clone(),
                id: id.clone(),
                view: v1::TaskView::Full.into(),
            };
            let answer = client.get_task(request).await;
            let task = answer.map_err(|error| error.to_string())?.task;
            task.map(|task| Box::new(Thing::Task(task)))
                .ok_or_else(lacking)
        }
        Target::Worker { app, name } => {
            let request = v1::GetWorkerRequest {
                app: app.clone(),
                name: name.clone(),
            };
            let answer = client.get_worker(request).await;
            let worker = answer.map_err(|error| error.to_string())?.worker;
            worker
                .map(|worker| Box::new(Thing::Worker(worker)))
                .ok_or_else(lacking)
        }
    }
}

fn send(
    client: Client,
    heard: mpsc::Sender<Heard>,
    mut request: v1::ExecuteCommandRequest,
) -> String {
    let id = Uuid::new_v4().to_string();
    request.request_id.clone_from(&id);
    let request_id = id.clone();
    tokio::spawn(async move {
        let outcome = match client.execute_command(request, |_, _| {}).await {
            Ok(response) => response
                .record
                .map(Box::new)
                .ok_or_else(|| "the aggregator's answer is empty".to_owned()),
            Err(error @ (Error::Broken { .. } | Error::Deadline { .. })) => Err(format!(
                "it is not known whether the command went out: `celeriac command {request_id}` tells ({error})"
            )),
            Err(error) => Err(error.to_string()),
        };
        let input = Input::Sent {
            request_id,
            outcome,
        };
        let _ = heard.send(Heard::Input(input)).await;
    });
    id
}
