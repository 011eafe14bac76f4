//! The sidecar of one worker: says whether it lives and is ready, and drains it before it goes, so that no probe has to
//! start `celery inspect`, which imports the app.
//!
//! It never subscribes to events: it holds one stream to the aggregator, about its worker, and asks the worker itself only
//! when that stream is absent or silent, and for a drain. `ward` knows and judges (pure), `keeper` asks and looks, `drain`
//! stops intake and gives it back, `pages` answers probes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use celeriac_process::health::Health;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::Names;
use crate::transport::amqp::AmqpOptions;
use crate::transport::broker::{Broker, NotSpoken};
use crate::uplink::worker::News;
use crate::uplink::{GrpcConnector, worker};
use crate::wire::content::Serializer;
use crate::wire::url::{BrokerUrl, Protocol};

mod drain;
mod keeper;
mod metrics;
pub mod pace;
mod pages;
mod shared;
mod talk;
pub mod ward;

use keeper::Keeper;
pub use pages::TOKEN_HEADER;
pub use shared::Shared;
use ward::Rules;

/// News that wait to be taken in; that takes no time.
const NEWS: usize = 16;

/// What is guarded, and how.
#[derive(Debug, Clone)]
pub struct SidecarConfig {
    /// The worker's node name.
    pub worker: String,
    /// The app, as the aggregator names it.
    pub app: String,
    /// Its broker.
    pub broker: BrokerUrl,
    /// The app's settings.
    pub names: Names,
    /// How commands are written.
    pub serializer: Serializer,
    /// Who tells of the worker.
    pub aggregator: Option<GrpcConnector>,
    /// Where probes are answered.
    pub listen: SocketAddr,
    /// For how long a worker may take nothing from a queue with messages.
    pub stalled_after: Duration,
    /// How long a drain may take.
    pub drain_deadline: Duration,
    /// For how long after that intake stays stopped if the worker still lives.
    pub drain_lease: Duration,
    /// What a drain is asked for with; none is done without.
    pub drain_token: Option<DrainToken>,
}

/// A pool's token. It is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct DrainToken(Box<str>);

impl DrainToken {
    /// A token, without what surrounds it in a file; `None` when nothing is left.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(text.into()))
    }

    fn text(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for DrainToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DrainToken")
    }
}

/// Why a sidecar ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum SidecarError {
    /// The broker is of a kind that is not spoken.
    #[error(transparent)]
    Broker(#[from] NotSpoken),
    /// The pages cannot be served.
    #[error("cannot serve probes on {address}")]
    Pages {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
}

impl SidecarConfig {
    fn rules(&self) -> Rules {
        Rules {
            stalled_after: self.stalled_after,
            queues_differ: self.broker.protocol() == Protocol::Amqp,
        }
    }

    fn transport(&self) -> Result<Broker, NotSpoken> {
        let topology = self.names.topology(&self.broker);
        Broker::new(&self.broker, topology, &AmqpOptions::default())
    }
}

/// The sidecar of one worker.
pub struct Sidecar {
    config: SidecarConfig,
    shared: Shared,
}

/// Guards a worker, and answers probes, until `stop`.
///
/// # Errors
/// When the broker is not one that can be spoken to, or probes cannot be answered. A broker, an aggregator or a worker that
/// is away is no error.
pub async fn sidecar(config: SidecarConfig, stop: CancellationToken) -> Result<(), SidecarError> {
    let address = config.listen;
    let failed = |source| SidecarError::Pages { address, source };
    let sidecar = Sidecar::new(config)?;
    let shared = sidecar.shared.clone();
    let health = Health::bind(address, shared.clone())
        .await
        .map_err(failed)?;
    let served = CancellationToken::new();
    let pages = tokio::spawn(health.serve_with(pages::drain_page(), served.clone()));
    sidecar.guard(stop).await;
    // Pages are the last to go: they are asked until the end. Who waits for a drain is told that there is none any more.
    shared.set(shared::Phase::Ending);
    served.cancel();
    match pages.await {
        Ok(ended) => ended.map_err(failed),
        // It does not panic, and nobody aborts it.
        Err(_) => Ok(()),
    }
}

impl Sidecar {
    /// One that has not begun.
    ///
    /// # Errors
    /// When the broker is not one that can be spoken to.
    pub fn new(config: SidecarConfig) -> Result<Self, NotSpoken> {
        // What cannot be spoken to is said at the start.
        config.transport()?;
        let shared = Shared::new(Instant::now(), config.rules(), config.drain_token.clone());
        Ok(Self { config, shared })
    }

    /// What it does beside answering probes, until `stop`.
    pub async fn guard(self, stop: CancellationToken) {
        let Self { config, shared } = self;
        let told = config.aggregator.clone().map(|connector| {
            let (out, news) = mpsc::channel(NEWS);
            let (app, name) = (config.app.clone(), config.worker.clone());
            let watching = tokio::spawn(worker::watch(connector, app, name, out));
            (watching, tokio::spawn(take_in(news, shared.clone())))
        });
        let mut keeper = Keeper::new(
            shared,
            Arc::from(config.worker.as_str()),
            config.serializer,
            (config.drain_deadline, config.drain_lease),
            move || config.transport(),
        );
        tokio::select! {
            () = stop.cancelled() => {}
            () = keeper.run() => {}
        }
        if let Some((watching, taking)) = told {
            watching.abort();
            taking.abort();
        }
    }
}

/// Takes in what the aggregator tells.
async fn take_in(mut news: mpsc::Receiver<News>, shared: Shared) {
    let mut followed = false;
    while let Some(news) = news.recv().await {
        let now = Instant::now();
        match news {
            News::Alive | News::Unknown => shared.ward().on_stream(now),
            News::Worker(told) => {
                shared.ward().on_told(now, &told);
                if !std::mem::replace(&mut followed, true) {
                    tracing::info!("the aggregator tells of the worker");
                }
            }
            News::Lost(reason) => {
                shared.ward().on_stream_lost();
                shared.metrics().streams_lost.inc();
                followed = false;
                tracing::warn!(
                    reason,
                    "the aggregator does not tell of the worker; it is asked directly"
                );
            }
        }
        shared.notify();
    }
}
