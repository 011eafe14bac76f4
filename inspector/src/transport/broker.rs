//! The back end that a broker URL means, and the result backend beside it.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::amqp::{AmqpOptions, AmqpTransport};
use super::redis::{NotRedis, RedisTransport, Results};
use super::{DepthReading, Patience, Published, Subscription, Transport, TransportError};
use crate::wire::message::Frame;
use crate::wire::pidbox::ControlMessage;
use crate::wire::topology::Topology;
use crate::wire::url::{BrokerUrl, Protocol};

/// A broker of whatever kind.
pub struct Broker {
    kind: Kind,
    results: Option<Results>,
}

enum Kind {
    Redis(RedisTransport),
    Amqp(Box<AmqpTransport>),
}

/// A broker URL of a kind that is not spoken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSpoken {
    /// It is of none of the kinds that are.
    #[error(
        "{endpoint} cannot be used: spoken are Redis (redis://, rediss://, redis+socket://, sentinel://) and AMQP (amqp://, \
         amqps://, pyamqp://)"
    )]
    Kind {
        /// Broker without secrets.
        endpoint: String,
    },
    /// It is of Redis, and something is missing.
    #[error(transparent)]
    Redis(#[from] NotRedis),
}

/// Whether a URL can be used at all.
///
/// # Errors
/// When it cannot.
pub fn check(url: &BrokerUrl, topology: &Topology) -> Result<(), NotSpoken> {
    let endpoint = url.endpoint();
    match url.protocol() {
        Protocol::Redis | Protocol::Amqp => Ok(()),
        Protocol::Sentinel if topology.sentinel().master_name.is_some() => Ok(()),
        Protocol::Sentinel => Err(NotRedis::NoMasterName { endpoint }.into()),
        Protocol::Management => Err(NotSpoken::Kind { endpoint }),
    }
}

impl Broker {
    /// A transport to the first server of `url` that answers, or to the master that it names.
    ///
    /// # Errors
    /// When the URL is of a kind that is not spoken.
    pub fn new(url: &BrokerUrl, topology: Topology, amqp: &AmqpOptions) -> Result<Self, NotSpoken> {
        let not_spoken = || NotSpoken::Kind {
            endpoint: url.endpoint(),
        };
        let patience = Patience::default();
        let kind = match url.protocol() {
            Protocol::Redis | Protocol::Sentinel => {
                Kind::Redis(RedisTransport::with_patience(url, topology, patience)?)
            }
            Protocol::Amqp => Kind::Amqp(Box::new(
                AmqpTransport::new(url, &topology, amqp, patience).map_err(|_| not_spoken())?,
            )),
            Protocol::Management => return Err(not_spoken()),
        };
        Ok(Self {
            kind,
            results: None,
        })
    }

    /// Lets it read outcomes from a Redis result backend, whose `global_keyprefix` is `prefix`.
    ///
    /// # Errors
    /// When the URL is not one of a Redis server.
    pub fn with_results(mut self, url: &BrokerUrl, prefix: &str) -> Result<Self, NotSpoken> {
        let results = Results::new(url, prefix.to_owned(), Patience::default())?;
        self.results = Some(results);
        Ok(self)
    }
}

/// Calls the same of whichever it is.
macro_rules! either {
    ($self:ident, $transport:ident => $call:expr) => {
        match &$self.kind {
            Kind::Redis($transport) => $call,
            Kind::Amqp($transport) => $call,
        }
    };
    // Boxed, so that a future is not as large as both together; calls are a few a second.
    ($self:ident, await $transport:ident => $call:expr) => {
        match &$self.kind {
            Kind::Redis($transport) => Box::pin($call).await,
            Kind::Amqp($transport) => Box::pin($call).await,
        }
    };
}

impl Transport for Broker {
    fn subscribe(&self, stop: CancellationToken) -> Subscription {
        either!(self, transport => transport.subscribe(stop))
    }

    async fn publish_control(&self, message: &ControlMessage) -> Result<Published, TransportError> {
        either!(self, await transport => transport.publish_control(message))
    }

    async fn publish_to(
        &self,
        node: &str,
        message: &ControlMessage,
    ) -> Result<Published, TransportError> {
        either!(self, await transport => transport.publish_to(node, message))
    }

    async fn turn(&self, every: Duration) -> Result<bool, TransportError> {
        either!(self, await transport => transport.turn(every))
    }

    fn reply_queue(&self) -> &str {
        either!(self, transport => transport.reply_queue())
    }

    async fn take_replies(&self) -> Result<Vec<Frame>, TransportError> {
        either!(self, await transport => transport.take_replies())
    }

    async fn depths(&self, queues: &[String]) -> Result<DepthReading, TransportError> {
        either!(self, await transport => transport.depths(queues))
    }

    async fn discover_queues(&self) -> Result<Vec<String>, TransportError> {
        either!(self, await transport => transport.discover_queues())
    }

    async fn server_version(&self) -> Result<String, TransportError> {
        either!(self, await transport => transport.server_version())
    }

    async fn results(&self, task_ids: &[String]) -> Result<Option<Vec<Vec<u8>>>, TransportError> {
        match &self.results {
            Some(results) => results.values(task_ids).await.map(Some),
            None => Ok(None),
        }
    }

    async fn close(&self) {
        if let Some(results) = &self.results {
            results.close().await;
        }
        either!(self, await transport => transport.close());
    }
}
