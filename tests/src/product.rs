//! The product's own binaries as a user runs them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use celeriac_proto::v1::inspection_service_client::InspectionServiceClient;
use celeriac_proto::v1::{
    App, GetAppRequest, GetTaskRequest, GetWorkerRequest, ListQueuesRequest, ListTaskNamesRequest,
    ListTasksRequest, ListWorkersRequest, Queue, SubscriptionState, Task, TaskName, TaskView,
    Worker,
};
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::paths::{self, Profile};
use crate::process::Process;
use crate::redis::free_address;
use crate::wait::eventually;

/// How long a debug build may take to start or stop on two busy cores.
const START: Duration = Duration::from_secs(20);
/// Larger than any page a test asks for.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// What an inspector asks of a worker at first, most wanted first (`inspector/src/collect/plan.rs`).
pub const FIRST_LOOK: [&str; 7] = [
    "stats",
    "active_queues",
    "scheduled",
    "reserved",
    "active",
    "registered",
    "conf",
];

/// A running `celeriac-aggregator`.
pub struct Aggregator {
    /// Its process.
    pub process: Process,
    address: SocketAddr,
    data: TempDir,
    start: AggregatorBuilder,
}

/// What an [`Aggregator`] is to be like.
#[derive(Clone)]
pub struct AggregatorBuilder {
    profile: Profile,
    brokers: Vec<String>,
    arguments: Vec<String>,
}

impl AggregatorBuilder {
    /// Inspects this broker in-process: a URL, or `NAME=URL`.
    #[must_use]
    pub fn broker(mut self, broker: &str) -> Self {
        self.brokers.push(broker.to_owned());
        self
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Runs the release build.
    #[must_use]
    pub fn release(self) -> Self {
        self.profile(Profile::Release)
    }

    /// Runs this build.
    #[must_use]
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// Starts it with a data folder of its own and waits until it serves.
    ///
    /// # Panics
    /// When it does not serve in time.
    pub async fn start(self) -> Aggregator {
        let data = TempDir::new().expect("the temporary folder is writable");
        let address = free_address();
        let process = self.launch(address, data.path());
        let mut aggregator = Aggregator {
            process,
            address,
            data,
            start: self,
        };
        aggregator.serving().await;
        aggregator
    }

    /// Starts the process and does not wait.
    pub fn launch(&self, listen: SocketAddr, data: &Path) -> Process {
        let program = paths::binary(self.profile, "celeriac-aggregator");
        Process::start("celeriac-aggregator", program, |command| {
            clean(command);
            // By environment, as the docs advise: a URL may hold a password.
            if !self.brokers.is_empty() {
                command.env("CELERIAC_AGGREGATOR_BROKER", self.brokers.join(" "));
            }
            command
                .args(["--listen", &listen.to_string(), "--data-dir"])
                .arg(data)
                .args(&self.arguments);
        })
    }
}

impl Aggregator {
    /// Describes an aggregator to start.
    pub fn builder() -> AggregatorBuilder {
        AggregatorBuilder {
            profile: Profile::Debug,
            brokers: Vec::new(),
            arguments: Vec::new(),
        }
    }

    /// Starts one on this broker and waits until it is subscribed to its events.
    pub async fn on(broker: &str) -> Self {
        let aggregator = Self::builder().broker(broker).start().await;
        aggregator.subscribed().await;
        aggregator
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its data folder.
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// Kills it with SIGKILL.
    pub fn kill9(&mut self) {
        self.process.kill9();
    }

    /// Stops it by SIGTERM.
    ///
    /// # Panics
    /// When it does not end in time, or not with success.
    pub fn stop(&mut self) {
        let status = self.process.stop(START);
        assert!(status.success(), "it ended with {status} after SIGTERM");
    }

    /// Starts it again, on the same port and data, and waits until it serves.
    pub async fn restart(&mut self) {
        self.process.kill9();
        self.process = self.start.launch(self.address, self.data.path());
        self.serving().await;
    }

    /// A client of its inspection service.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn inspection(&self) -> anyhow::Result<InspectionServiceClient<Channel>> {
        Ok(
            InspectionServiceClient::connect(format!("http://{}", self.address))
                .await?
                .max_decoding_message_size(MESSAGE_BYTES_MAX),
        )
    }

    /// Its only app.
    ///
    /// # Errors
    /// When it cannot be asked, or has no app yet.
    pub async fn app(&self) -> anyhow::Result<App> {
        let response = self
            .inspection()
            .await?
            .get_app(GetAppRequest::default())
            .await?;
        response
            .into_inner()
            .app
            .ok_or_else(|| anyhow::anyhow!("an answer without an app"))
    }

    /// All workers.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn workers(&self) -> anyhow::Result<Vec<Worker>> {
        let request = ListWorkersRequest {
            page_size: 1000,
            ..Default::default()
        };
        let mut client = self.inspection().await?;
        Ok(client.list_workers(request).await?.into_inner().workers)
    }

    /// One worker by node name.
    ///
    /// # Errors
    /// When it cannot be asked or does not know it.
    pub async fn worker(&self, name: &str) -> anyhow::Result<Worker> {
        let request = GetWorkerRequest {
            app: String::new(),
            name: name.to_owned(),
        };
        let response = self.inspection().await?.get_worker(request).await?;
        response
            .into_inner()
            .worker
            .ok_or_else(|| anyhow::anyhow!("an answer without a worker"))
    }

    /// All queues.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn queues(&self) -> anyhow::Result<Vec<Queue>> {
        let request = ListQueuesRequest {
            page_size: 1000,
            ..Default::default()
        };
        let mut client = self.inspection().await?;
        Ok(client.list_queues(request).await?.into_inner().queues)
    }

    /// All task names.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn task_names(&self) -> anyhow::Result<Vec<TaskName>> {
        let request = ListTaskNamesRequest {
            page_size: 1000,
            ..Default::default()
        };
        let mut client = self.inspection().await?;
        Ok(client
            .list_task_names(request)
            .await?
            .into_inner()
            .task_names)
    }

    /// All tasks that match, in full, over as many pages as there are.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn tasks(&self, filter: &str) -> anyhow::Result<Vec<Task>> {
        let mut client = self.inspection().await?;
        let mut request = ListTasksRequest {
            page_size: 1000,
            filter: filter.to_owned(),
            order_by: "first_seen asc".to_owned(),
            view: TaskView::Full.into(),
            ..Default::default()
        };
        let mut tasks = Vec::new();
        loop {
            let page = client.list_tasks(request.clone()).await?.into_inner();
            tasks.extend(page.tasks);
            if page.next_page_token.is_empty() {
                return Ok(tasks);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// One task, in full.
    ///
    /// # Errors
    /// When it cannot be asked or does not know it.
    pub async fn task(&self, id: &str) -> anyhow::Result<Task> {
        let request = GetTaskRequest {
            app: String::new(),
            id: id.to_owned(),
            view: TaskView::Full.into(),
        };
        let response = self.inspection().await?.get_task(request).await?;
        response
            .into_inner()
            .task
            .ok_or_else(|| anyhow::anyhow!("an answer without a task"))
    }

    /// Waits until it says that its inspector is subscribed to the broker's events.
    ///
    /// # Panics
    /// When that does not happen in time.
    pub async fn subscribed(&self) {
        eventually("the inspector is subscribed", START, async || {
            let app = self.app().await?;
            let subscription = app
                .inspector
                .as_ref()
                .map(celeriac_proto::v1::Inspector::subscription);
            anyhow::ensure!(
                subscription == Some(SubscriptionState::Live),
                "{:?} {:?}",
                app.inspector,
                app.broker
            );
            anyhow::Ok(())
        })
        .await;
    }

    /// Waits until everything it has shown so far is on disk: until the next batch but one is acknowledged, since what is
    /// shown may be in a batch that is being written.
    ///
    /// # Panics
    /// When batches stop.
    pub async fn settled(&self) {
        let acknowledged = async || -> anyhow::Result<u64> {
            let inspector = self.app().await?.inspector;
            Ok(inspector.map_or(0, |inspector| inspector.acknowledged_sequence))
        };
        let before = acknowledged().await.expect("it was just asked");
        eventually("two more batches are on disk", START, async || {
            let now = acknowledged().await?;
            anyhow::ensure!(now >= before + 2, "acknowledged {now}, before {before}");
            anyhow::Ok(())
        })
        .await;
    }

    /// A GET of its HTTP side: status and body.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub fn get(&self, path: &str) -> std::io::Result<(u16, String)> {
        http_get(self.address, path)
    }

    async fn serving(&mut self) {
        eventually("the aggregator serves", START, async || {
            if let Some(status) = self.process.exited() {
                panic!("it ended with {status}:\n{}", self.process.log());
            }
            match http_get(self.address, "/livez") {
                Ok((200, _)) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }
}

/// A running `celeriac-inspector`.
pub struct Inspector {
    /// Its process.
    pub process: Process,
}

impl Inspector {
    /// Starts a subcommand (`run`, `tail`) on a broker.
    pub fn start(broker: &str, arguments: &[&str]) -> Self {
        Self::start_built(Profile::Debug, broker, arguments)
    }

    /// [`Inspector::start`] of a build.
    pub fn start_built(profile: Profile, broker: &str, arguments: &[&str]) -> Self {
        let program = paths::binary(profile, "celeriac-inspector");
        let process = Process::start("celeriac-inspector", program, |command| {
            clean(command);
            command
                .env("CELERIAC_INSPECTOR_BROKER", broker)
                .args(arguments);
        });
        Self { process }
    }
}

/// Runs the command line against an aggregator.
///
/// # Panics
/// When the binary does not start.
pub fn celeriac(server: SocketAddr, arguments: &[&str]) -> Output {
    let mut command = Command::new(paths::binary(Profile::Debug, "celeriac"));
    clean(&mut command);
    command
        .args(["--server", &server.to_string()])
        .args(arguments)
        .output()
        .expect("a built binary starts")
}

/// Runs a binary to its end with one broker URL in the environment, as its own flags would name it.
///
/// # Panics
/// When it does not end in time.
pub fn run_to_end(
    name: &str,
    environment: (&str, &str),
    arguments: &[&str],
) -> (Option<i32>, String) {
    let program: PathBuf = paths::binary(Profile::Debug, name);
    let mut process = Process::start(name, program, |command| {
        clean(command);
        command.env(environment.0, environment.1).args(arguments);
    });
    let status = crate::wait::eventually_blocking("it ends by itself", START, || {
        process.exited().ok_or_else(|| process.log())
    });
    (status.code(), process.log())
}

/// Takes our variables out of a child's environment, so that what a developer has set changes no test.
fn clean(command: &mut Command) {
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("CELERIAC_") {
            command.env_remove(key);
        }
    }
    command.env("NO_COLOR", "1");
}

/// One GET over HTTP/1.1, connection closed after it: status and body.
///
/// # Errors
/// When nobody answers.
pub fn http_get(address: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    let status = response
        .split_ascii_whitespace()
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| std::io::Error::other(format!("no status line: {response:?}")))?;
    let body = response.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, body.to_owned()))
}
