//! The client: one lazily opened channel, and the reads of `celeriac.v1` over it. It repeats those reads that the
//! aggregator could not take; commands are `control`'s.

use std::time::{Duration, Instant};

use backon::{ExponentialBuilder, Retryable as _};
use celeriac_proto::v1;
use celeriac_proto::v1::control_service_client::ControlServiceClient;
use celeriac_proto::v1::demand_service_client::DemandServiceClient;
use celeriac_proto::v1::inspection_service_client::InspectionServiceClient;
use celeriac_proto::v1::watch_service_client::WatchServiceClient;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::credentials::Credentials;
use crate::{Address, Error, List, Pages, TokenError, Watch};

/// Room for a page of 100 tasks whose five texts are all at their bound of 64 KiB (31 MiB), twice.
const DECODE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// An aggregator in the same cluster answers a SYN within milliseconds; what takes longer is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A page over a million tasks takes 50 ms; a scan without an index returns short pages well before this.
const DEADLINE: Duration = Duration::from_secs(30);
/// Finds a vanished peer of an open stream within 30 s, where TCP alone would take hours.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Three heartbeats of a watch (15 s each) missed in a row.
const WATCH_SILENCE: Duration = Duration::from_secs(45);
/// An aggregator that was restarted serves again within this, its journal replayed.
const COMMAND_PATIENCE: Duration = Duration::from_secs(30);
/// No further try begins after this, so that a wrong address is reported while a person still looks.
const RETRY_WINDOW: Duration = Duration::from_secs(3);

/// Settings of a [`Client`] before it exists.
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    address: Address,
    ca_pem: Option<Vec<u8>>,
    server_name: Option<String>,
    credentials: Credentials,
    deadline: Duration,
    connect_timeout: Duration,
    watch_silence: Duration,
    command_patience: Duration,
}

/// A connection, and the token that goes with each call.
pub(crate) type Transport = InterceptedService<Channel, Credentials>;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// What is to be trusted cannot be used, or the system trusts nobody.
    #[error("TLS to {address} cannot be set up; is the authority's certificate a PEM file?")]
    Tls {
        /// The aggregator.
        address: Address,
        /// Why.
        source: tonic::transport::Error,
    },
    /// A token would be sent where others can read it.
    #[error("a token is not sent to {address} in clear, where others could read it; use https://")]
    TokenInClear {
        /// The aggregator.
        address: Address,
    },
    /// The token cannot be sent.
    #[error(transparent)]
    Token(#[from] TokenError),
}

impl Builder {
    /// Trusts the authorities in this PEM text over TLS, and no others. Those of the system unless set.
    pub fn ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca_pem = Some(pem.into());
        self
    }

    /// The name that the server's certificate must have, where the address is another, as behind a forwarded port. That of
    /// the address unless set.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// The token to send with each call.
    ///
    /// # Errors
    /// It is no token.
    pub fn token(mut self, token: &str) -> Result<Self, SetupError> {
        self.credentials = Credentials::fixed(token)?;
        Ok(self)
    }

    /// A file with the token to send, read at each call: Kubernetes replaces projected tokens.
    pub fn token_file(mut self, path: impl Into<std::path::PathBuf>) -> Self {
        self.credentials = Credentials::File(path.into());
        self
    }

    /// How long one read may take, all its tries together. 30 s unless set.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How long one try to connect may take. 5 s unless set.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// After how long without any message, heartbeats included, a watch takes its stream for dead and opens a new one.
    /// 45 s unless set.
    pub fn watch_silence(mut self, silence: Duration) -> Self {
        self.watch_silence = silence;
        self
    }

    /// For how long a command whose connection broke is asked for again. 30 s unless set.
    pub fn command_patience(mut self, patience: Duration) -> Self {
        self.command_patience = patience;
        self
    }

    /// A client that connects at its first call.
    ///
    /// # Errors
    /// TLS cannot be set up, or the token cannot be read or may not be sent.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    pub fn build(self) -> Result<Client, SetupError> {
        let address = &self.address;
        if self.credentials.is_some() && !address.is_tls() && !address.is_loopback() {
            let address = address.clone();
            return Err(SetupError::TokenInClear { address });
        }
        self.credentials.check()?;
        let endpoint = self.secured(Endpoint::from(address.uri()))?;
        let channel = endpoint
            .connect_timeout(self.connect_timeout)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .tcp_nodelay(true)
            .connect_lazy();
        Ok(Client {
            transport: InterceptedService::new(channel, self.credentials.clone()),
            settings: self,
        })
    }

    /// The endpoint with TLS, where the address says so.
    fn secured(&self, endpoint: Endpoint) -> Result<Endpoint, SetupError> {
        if !self.address.is_tls() {
            return Ok(endpoint);
        }
        let mut tls = match &self.ca_pem {
            Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        if let Some(name) = &self.server_name {
            tls = tls.domain_name(name);
        }
        endpoint.tls_config(tls).map_err(|source| SetupError::Tls {
            address: self.address.clone(),
            source,
        })
    }
}

/// A client of one aggregator. Clones share one connection.
#[derive(Clone, Debug)]
pub struct Client {
    settings: Builder,
    transport: Transport,
}

impl Client {
    /// A client with the usual settings that connects at its first call.
    ///
    /// # Errors
    /// TLS cannot be set up.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    pub fn connect(address: Address) -> Result<Self, SetupError> {
        Self::builder(address).build()
    }

    /// Settings for a client.
    pub fn builder(address: Address) -> Builder {
        Builder {
            address,
            ca_pem: None,
            server_name: None,
            credentials: Credentials::None,
            deadline: DEADLINE,
            connect_timeout: CONNECT_TIMEOUT,
            watch_silence: WATCH_SILENCE,
            command_patience: COMMAND_PATIENCE,
        }
    }

    /// The aggregator it asks.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.settings.address
    }

    /// Walks a list page by page, at most `limit` things; `None` is all there are.
    ///
    /// `page_size` and `page_token` of the request are set by the walk.
    pub fn pages<L: List>(&self, request: L, limit: Option<u64>) -> Pages<L> {
        Pages::new(self.clone(), request, limit)
    }

    /// Follows changes. Nothing is sent before the first [`Watch::next`].
    #[must_use]
    pub fn watch(&self, request: v1::WatchRequest) -> Watch {
        Watch::new(self.clone(), request, self.settings.watch_silence)
    }

    /// Opens one watch stream.
    pub(crate) async fn open_watch(
        &self,
        request: v1::WatchRequest,
    ) -> Result<Streaming<v1::WatchResponse>, Error> {
        let service = WatchServiceClient::new(self.transport.clone())
            .max_decoding_message_size(DECODE_BYTES_MAX);
        self.repeat(|| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.watch(request).await }
        })
        .await
    }

    pub(crate) fn command_patience(&self) -> Duration {
        self.settings.command_patience
    }

    /// The service of commands, which never repeats a call by itself.
    pub(crate) fn control(&self) -> ControlServiceClient<Transport> {
        ControlServiceClient::new(self.transport.clone())
            .max_decoding_message_size(DECODE_BYTES_MAX)
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.settings.deadline
    }

    pub(crate) fn watch_silence(&self) -> Duration {
        self.settings.watch_silence
    }

    pub(crate) fn demand(&self) -> DemandServiceClient<Transport> {
        DemandServiceClient::new(self.transport.clone()).max_decoding_message_size(DECODE_BYTES_MAX)
    }

    async fn read<Q, P, C, F>(&self, request: Q, call: C) -> Result<P, Error>
    where
        Q: Clone,
        C: Fn(InspectionServiceClient<Transport>, Request<Q>) -> F,
        F: Future<Output = Result<Response<P>, Status>>,
    {
        let service = InspectionServiceClient::new(self.transport.clone())
            .max_decoding_message_size(DECODE_BYTES_MAX);
        self.repeat(|| {
            let mut timed = Request::new(request.clone());
            timed.set_timeout(self.settings.deadline);
            call(service.clone(), timed)
        })
        .await
    }

    /// Tries until it is done, refused, or out of time. UNAVAILABLE alone is repeated (AIP-194), 100 ms, 200 ms, 400 ms
    /// apart with jitter, later where the aggregator says so.
    pub(crate) async fn repeat<P, F>(&self, attempt: impl FnMut() -> F) -> Result<P, Error>
    where
        F: Future<Output = Result<Response<P>, Status>>,
    {
        let started = Instant::now();
        let address = self.address();
        let deadline = self.settings.deadline;
        let patience = RETRY_WINDOW.min(deadline / 2);
        let delays = ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(100))
            .with_factor(2.0)
            .with_max_times(3)
            .with_jitter();
        let tries = attempt
            .retry(delays)
            .when(|status| status.code() == Code::Unavailable)
            .adjust(|status, delay| {
                let asked = match Error::from_status(status, address, deadline) {
                    Error::Refused(refusal) => refusal.retry_after,
                    _ => None,
                };
                delay
                    .map(|delay| delay.max(asked.unwrap_or_default()))
                    .filter(|delay| started.elapsed() + *delay < patience)
            });
        match tokio::time::timeout(deadline, tries).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(Error::from_status(&status, address, deadline)),
            Err(_) => Err(Error::Deadline {
                address: address.clone(),
                deadline,
            }),
        }
    }
}

/// One method a read of `InspectionService`.
macro_rules! reads {
    ($($(#[$doc:meta])* $name:ident($request:ident) -> $response:ident;)*) => {
        impl Client {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                ///
                /// When the aggregator cannot be reached, gives no answer in time, or refuses.
                pub async fn $name(&self, request: v1::$request) -> Result<v1::$response, Error> {
                    self.read(request, |mut service, request| async move {
                        service.$name(request).await
                    })
                    .await
                }
            )*
        }
    };
}

reads! {
    /// Reads one page of apps.
    list_apps(ListAppsRequest) -> ListAppsResponse;
    /// Reads one app.
    get_app(GetAppRequest) -> GetAppResponse;
    /// Reads one page of workers.
    list_workers(ListWorkersRequest) -> ListWorkersResponse;
    /// Reads one worker.
    get_worker(GetWorkerRequest) -> GetWorkerResponse;
    /// Reads one page of tasks.
    list_tasks(ListTasksRequest) -> ListTasksResponse;
    /// Reads one task.
    get_task(GetTaskRequest) -> GetTaskResponse;
    /// Reads one page of task names.
    list_task_names(ListTaskNamesRequest) -> ListTaskNamesResponse;
    /// Reads one task name.
    get_task_name(GetTaskNameRequest) -> GetTaskNameResponse;
    /// Reads one page of queues.
    list_queues(ListQueuesRequest) -> ListQueuesResponse;
    /// Reads one queue.
    get_queue(GetQueueRequest) -> GetQueueResponse;
    /// Reads one page of gaps.
    list_gaps(ListGapsRequest) -> ListGapsResponse;
    /// Reads one page of a workflow.
    get_workflow(GetWorkflowRequest) -> GetWorkflowResponse;
}
