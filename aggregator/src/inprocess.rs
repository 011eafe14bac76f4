//! Inspectors inside the aggregator's process: the only file that names the inspector. They come in through the same door
//! as remote ones, over channels in place of a socket.

use celeriac_inspector::args::BrokerOptions;
use celeriac_inspector::config::{CollectOptions, ConfigError, InspectorConfig};
use celeriac_inspector::run::inspect;
use celeriac_inspector::transport::broker::{self, NotSpoken};
use celeriac_inspector::uplink::{Connector, Duplex, LinkError};
use celeriac_inspector::wire::url::{BrokerUrl, BrokerUrlError};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::access::Caller;
use crate::api::Ingest;

pub use celeriac_inspector::transport::amqp::QUIET_LOGS;

/// How brokers are inspected, as typed.
pub type InspectArgs = BrokerOptions;

/// What the environment variables of the aggregator begin with.
pub const ENVIRONMENT: &str = "CELERIAC_AGGREGATOR";

/// Batches on their way from an inspector; the engine's own queue is behind them.
const REQUESTS_MAX: usize = 8;
/// Responses on their way to an inspector.
const RESPONSES_MAX: usize = 64;

/// A broker that cannot be inspected.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// Its URL.
    #[error(transparent)]
    Url(#[from] BrokerUrlError),
    /// An option.
    #[error(transparent)]
    Options(#[from] ConfigError),
    /// It is of a kind that is not spoken yet.
    #[error(transparent)]
    Kind(#[from] NotSpoken),
}

/// One app that is inspected from this process.
#[derive(Debug)]
pub struct InProcess {
    config: InspectorConfig,
}

impl InProcess {
    /// An inspector of `app` on this broker.
    ///
    /// # Errors
    /// The URL or an option cannot be used; no error holds the password.
    pub fn new(app: &str, url: &str, options: &InspectArgs) -> Result<Self, InspectError> {
        let broker = BrokerUrl::parse(url)?;
        let options = CollectOptions::try_from(options.clone())?;
        broker::check(&broker, &options.topology(&broker))?;
        Ok(Self {
            config: InspectorConfig::new(app, broker, options),
        })
    }

    /// The app's name.
    pub fn name(&self) -> &str {
        &self.config.app
    }

    /// Inspects until `stop`.
    pub async fn inspect(self, ingest: Ingest, stop: CancellationToken) {
        let app = self.config.app.clone();
        if let Err(error) = inspect(self.config, Door { ingest }, stop).await {
            tracing::error!(
                app,
                error = &error as &dyn std::error::Error,
                "the inspector ended"
            );
        }
    }
}

/// The way from an inspector in this process to the ingest service.
struct Door {
    ingest: Ingest,
}

impl Connector for Door {
    async fn open(&mut self) -> Result<Duplex, LinkError> {
        let (requests, inbound) = mpsc::channel(REQUESTS_MAX);
        let (outbound, responses) = mpsc::channel(RESPONSES_MAX);
        let inbound = futures_util::StreamExt::map(ReceiverStream::new(inbound), Ok::<_, Status>);
        // Ends when the inspector drops its half.
        let session = self
            .ingest
            .clone()
            .session(inbound, outbound, Caller::ourselves());
        tokio::spawn(session);
        Ok(Duplex {
            requests,
            responses,
        })
    }
}
