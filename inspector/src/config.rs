//! What is valid: checked settings, nothing raw. Built from a command line, or by a program that inspects in-process.

use std::fs;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use crate::args::{BrokerArgs, BrokerOptions, NameOptions, Output, RunArgs, TailArgs};
use crate::collect::Pace;
use crate::collect::budget::Rate;
use crate::collect::plan::Limits;
use crate::metrics::Metrics;
use crate::tail::Filter;
use crate::transport::amqp::{AmqpOptions, Keeping};
use crate::uplink::{AggregatorUrl, AggregatorUrlError, Identity, Source, Trust};
use crate::wire::topology::{Topology, TransportOptionError, TransportOptions};
use crate::wire::url::{BrokerUrl, BrokerUrlError, ManagementUrl, Protocol, UrlProblem};

/// Bytes of a broker file that are read at most: a URL is far shorter, another file may not be.
const BROKER_FILE_BYTES_MAX: u64 = 64 * 1024;

/// Characters of an app's or instance's name at most: what a Kubernetes `namespace/name` may have.
const NAME_MAX: usize = 253;

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The broker's URL.
    #[error(transparent)]
    BrokerUrl(#[from] BrokerUrlError),
    /// A transport option.
    #[error(transparent)]
    TransportOption(#[from] TransportOptionError),
    /// The aggregator's URL.
    #[error(transparent)]
    AggregatorUrl(#[from] AggregatorUrlError),
    /// A token would be sent where others can read it.
    #[error(
        "--aggregator-token-file: a token is not sent to {aggregator} in clear, where others could read it; use https://"
    )]
    TokenInClear {
        /// Where it would go.
        aggregator: AggregatorUrl,
    },
    /// An authority is named, and no certificate is asked for.
    #[error("--aggregator-ca has no use with {aggregator}; write https://")]
    CaWithoutTls {
        /// The aggregator.
        aggregator: AggregatorUrl,
    },
    /// The file that holds the broker's URL.
    #[error("cannot read the broker's URL from {}", path.display())]
    BrokerFile {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is longer than a URL.
    #[error("{} holds more than a broker's URL", path.display())]
    BrokerFileContent {
        /// Which file.
        path: PathBuf,
    },
    /// Neither URL nor file.
    #[error("no broker is named; use --broker URL or --broker-file FILE")]
    NoBroker,
    /// A number out of range.
    #[error("--{option} must be {expected}")]
    Range {
        /// Which option.
        option: &'static str,
        /// What it may be.
        expected: &'static str,
    },
    /// A name that cannot be one.
    #[error("--{option} must be 1 to {NAME_MAX} visible ASCII characters without spaces")]
    Name {
        /// Which option.
        option: &'static str,
    },
    /// The URL of RabbitMQ's management.
    #[error("--management cannot be used")]
    Management(#[source] UrlProblem),
    /// The result backend's URL.
    #[error("--result-backend cannot be used")]
    ResultBackend(#[source] BrokerUrlError),
    /// The result backend is not one that is read.
    #[error(
        "--result-backend {endpoint} is not a Redis server (redis://, rediss:// or redis+socket://), and no other is read"
    )]
    ResultBackendKind {
        /// Backend without secrets.
        endpoint: String,
    },
    /// An option of the result backend.
    #[error("--result-backend-option takes global_keyprefix=TEXT and nothing else, not {option:?}")]
    ResultBackendOption {
        /// What was typed.
        option: String,
    },
    /// A worker's name that is none.
    #[error("--worker must be a node name such as celery@host, not {worker:?}")]
    Worker {
        /// What was typed.
        worker: String,
    },
    /// The token for drains.
    #[error("--drain-token-file {} holds no token that can be read", path.display())]
    DrainToken {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Something about an aggregator, and none is named.
    #[error("--{option} has no use without --aggregator")]
    NoAggregator {
        /// Which option.
        option: &'static str,
    },
    /// The address to listen on.
    #[error("--listen takes an address such as 127.0.0.1:9808")]
    Listen {
        /// Why not.
        source: io::Error,
    },
}

/// The app's settings that change names on its broker.
#[derive(Debug, Clone, PartialEq)]
pub struct Names {
    /// Its transport options.
    pub transport: TransportOptions,
    /// Its `control_exchange`.
    pub control_exchange: String,
    /// Its `event_exchange`.
    pub event_exchange: String,
}

impl TryFrom<NameOptions> for Names {
    type Error = ConfigError;

    fn try_from(options: NameOptions) -> Result<Self, ConfigError> {
        let texts = options.transport_options.iter().map(String::as_str);
        Ok(Self {
            transport: TransportOptions::parse(texts)?,
            control_exchange: name("control-exchange", options.control_exchange)?,
            event_exchange: name("event-exchange", options.event_exchange)?,
        })
    }
}

impl Names {
    /// The names on `broker`.
    pub fn topology(&self, broker: &BrokerUrl) -> Topology {
        let database = broker.database().unwrap_or_default();
        Topology::new(database, self.transport.clone())
            .with_control_exchange(self.control_exchange.clone())
            .with_event_exchange(self.event_exchange.clone())
            .behind_sentinels(broker.protocol() == Protocol::Sentinel)
    }
}

/// How an app is inspected.
#[derive(Debug, Clone, PartialEq)]
pub struct CollectOptions {
    /// The app's settings.
    pub names: Names,
    /// What bounds remote control.
    pub limits: Limits,
    /// How often things are done.
    pub pace: Pace,
    /// Bytes kept until the aggregator acknowledges.
    pub buffer_bytes_max: usize,
    /// Where outcomes are looked up.
    pub result_backends: ResultBackends,
    /// Has the broker keep nothing while the inspector is away.
    pub ephemeral: bool,
    /// RabbitMQ's management, when it is not where it usually is.
    pub management: Option<ManagementUrl>,
}

impl TryFrom<BrokerOptions> for CollectOptions {
    type Error = ConfigError;

    fn try_from(options: BrokerOptions) -> Result<Self, ConfigError> {
        let range = |option, expected| Err(ConfigError::Range { option, expected });
        // At most what one broker connection could publish; at least one delivery in 100 s.
        let per_second = options.budget.unwrap_or(1.0);
        if !(0.01..=1_000_000.0).contains(&per_second) {
            return range("budget", "a number from 0.01 to 1000000");
        }
        if !(1..=1_000).contains(&options.destinations) {
            return range("destinations", "a number from 1 to 1000");
        }
        if !(1..=65_536).contains(&options.buffer) {
            return range("buffer", "a number of MiB from 1 to 65536");
        }
        if !(5..=86_400).contains(&options.round.as_secs()) {
            return range("round", "a time from 5s to 24h");
        }
        let result_backends = ResultBackends::new(
            options.result_backend,
            options.result_backend_file,
            &options.result_backend_option,
        )?;
        Ok(Self {
            names: options.names.try_into()?,
            limits: Limits {
                deliveries: options.budget.map_or(Rate::Fleet, Rate::Fixed),
                destination_max: options.destinations,
                round: options.round,
                enable_events: options.enable_events,
                serializer: options.control_serializer.into(),
                ..Limits::default()
            },
            pace: Pace::default(),
            buffer_bytes_max: options.buffer * 1024 * 1024,
            result_backends,
            ephemeral: options.ephemeral,
            management: options
                .management
                .as_deref()
                .map(ManagementUrl::parse)
                .transpose()
                .map_err(ConfigError::Management)?,
        })
    }
}

impl CollectOptions {
    /// The names on the broker of an app with these options.
    pub fn topology(&self, broker: &BrokerUrl) -> Topology {
        self.names.topology(broker)
    }
}

mod results;
mod sidecar;
pub use results::{ResultBackend, ResultBackends};

/// One app to inspect.
#[derive(Debug, Clone)]
pub struct InspectorConfig {
    /// The app's name.
    pub app: String,
    /// This inspector's stable name.
    pub instance: String,
    /// The broker.
    pub broker: BrokerUrl,
    /// How it is inspected.
    pub options: CollectOptions,
    /// What is counted.
    pub metrics: Metrics,
}

impl InspectorConfig {
    /// An inspector of `app`, named as it, that counts for itself.
    pub fn new(app: &str, broker: BrokerUrl, options: CollectOptions) -> Self {
        Self {
            app: app.to_owned(),
            instance: app.to_owned(),
            broker,
            options,
            metrics: Metrics::default(),
        }
    }

    /// What is asked of a broker that is one of AMQP.
    pub fn amqp(&self) -> AmqpOptions {
        AmqpOptions {
            keeping: if self.options.ephemeral {
                Keeping::Ephemeral
            } else {
                Keeping::Instance(self.instance.clone())
            },
            management: self.options.management.clone(),
        }
    }

    /// Who the inspector is for the aggregator.
    pub fn identity(&self) -> Identity {
        let transport = match self.broker.protocol() {
            Protocol::Redis | Protocol::Sentinel => "redis",
            Protocol::Amqp | Protocol::Management => "amqp",
        };
        Identity {
            instance: self.instance.clone(),
            source: Source {
                app: self.app.clone(),
                endpoint: self.broker.endpoint(),
                transport,
            },
        }
    }
}

/// `celeriac-inspector run`.
#[derive(Debug, Clone)]
pub struct RunConfig {
    /// What to inspect.
    pub inspector: InspectorConfig,
    /// Where to report.
    pub aggregator: AggregatorUrl,
    /// What is trusted to name it, and what says who this is.
    pub trust: Trust,
    /// Where to serve health and metrics.
    pub listen: Option<SocketAddr>,
}

impl TryFrom<RunArgs> for RunConfig {
    type Error = ConfigError;

    fn try_from(args: RunArgs) -> Result<Self, ConfigError> {
        let broker = broker(args.broker)?;
        let app = name("app", args.app)?;
        let mut inspector = InspectorConfig::new(&app, broker, args.options.try_into()?);
        if let Some(instance) = args.instance {
            inspector.instance = name("instance", instance)?;
        }
        let trust = Trust {
            ca: args.aggregator_ca,
            token_file: args.aggregator_token_file,
        };
        let (aggregator, trust) = aggregator(&args.aggregator, trust)?;
        Ok(Self {
            inspector,
            aggregator,
            trust,
            listen: args.listen.as_deref().map(listen).transpose()?,
        })
    }
}

/// `celeriac-inspector tail`.
#[derive(Debug, Clone)]
pub struct TailConfig {
    /// The broker.
    pub broker: BrokerUrl,
    /// The app's settings.
    pub names: Names,
    /// How events are printed.
    pub output: Output,
    /// Which events are printed.
    pub filter: Filter,
    /// After how many events to end.
    pub count: Option<u64>,
    /// After what time to end.
    pub duration: Option<std::time::Duration>,
}

impl TryFrom<TailArgs> for TailConfig {
    type Error = ConfigError;

    fn try_from(args: TailArgs) -> Result<Self, ConfigError> {
        Ok(Self {
            broker: broker(args.broker)?,
            names: args.names.try_into()?,
            output: args.output,
            filter: Filter {
                types: args.types,
                tasks: args.tasks,
                workers: args.workers,
            },
            count: args.count,
            duration: args.duration,
        })
    }
}

/// An aggregator that may be spoken to so.
fn aggregator(url: &str, trust: Trust) -> Result<(AggregatorUrl, Trust), ConfigError> {
    let aggregator: AggregatorUrl = url.parse()?;
    if trust.token_file.is_some() && !aggregator.is_private() {
        return Err(ConfigError::TokenInClear { aggregator });
    }
    if trust.ca.is_some() && !aggregator.is_tls() {
        return Err(ConfigError::CaWithoutTls { aggregator });
    }
    Ok((aggregator, trust))
}

/// The broker's URL, from the command line or a file.
///
/// # Errors
/// When there is none, or it cannot be used.
pub fn broker(args: BrokerArgs) -> Result<BrokerUrl, ConfigError> {
    let text = match (args.broker, args.broker_file) {
        (Some(text), _) => text,
        (None, Some(path)) => broker_file(path)?,
        (None, None) => return Err(ConfigError::NoBroker),
    };
    Ok(BrokerUrl::parse(text.trim())?)
}

/// The text of a file that holds a broker's URL.
///
/// # Errors
/// When it cannot be read, or holds more than a URL.
pub fn broker_file(path: PathBuf) -> Result<String, ConfigError> {
    match fs::metadata(&path).map(|metadata| metadata.len()) {
        Ok(bytes) if bytes > BROKER_FILE_BYTES_MAX => Err(ConfigError::BrokerFileContent { path }),
        Ok(_) => {
            fs::read_to_string(&path).map_err(|source| ConfigError::BrokerFile { path, source })
        }
        Err(source) => Err(ConfigError::BrokerFile { path, source }),
    }
}

/// A name that is safe in logs, labels and channel names.
fn name(option: &'static str, name: String) -> Result<String, ConfigError> {
    let visible = name.bytes().all(|byte| byte.is_ascii_graphic());
    if name.is_empty() || name.len() > NAME_MAX || !visible {
        return Err(ConfigError::Name { option });
    }
    Ok(name)
}

fn listen(text: &str) -> Result<SocketAddr, ConfigError> {
    let mut addresses = text
        .to_socket_addrs()
        .map_err(|source| ConfigError::Listen { source })?;
    let none = || io::Error::new(io::ErrorKind::NotFound, "no address of that name");
    addresses
        .next()
        .ok_or_else(|| ConfigError::Listen { source: none() })
}

#[cfg(test)]
mod tests;
