//! Redis (and Valkey, and both behind Sentinels) as Celery's broker: pub/sub for events and control requests, lists for queues and replies. Follows
//! `kombu/transport/redis.py`; names come from [`Topology`]. Needs RESP3, which is Redis 6 or newer.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{
    DepthReading, Patience, Published, Subscription, Transport, TransportError, now_micros, tls,
};
use crate::wire::message::Frame;
use crate::wire::pidbox::ControlMessage;
use crate::wire::topology::Topology;
use crate::wire::url::BrokerUrl;

mod cutter;
mod failure;
mod link;
mod replies;
mod results;
mod sentinel;
mod session;
mod subscription;
mod survey;
mod tap;

use link::Dialer;
use replies::Replies;
pub(super) use results::Results;
use session::Session;

/// A Redis broker. Nothing is connected before the first use, so it can be made while the broker is down.
///
/// Two connections: one subscribes, one sends commands. Both reconnect by themselves.
pub struct RedisTransport {
    dialer: Arc<Dialer>,
    session: Arc<Session>,
    topology: Arc<Topology>,
    replies: Replies,
}

/// A broker URL that is not one of Redis.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRedis {
    /// It is of another kind.
    #[error(
        "{endpoint} is not a Redis server (redis://, rediss:// or redis+socket://) or Sentinel (sentinel://)"
    )]
    Kind {
        /// Broker without secrets.
        endpoint: String,
    },
    /// It is of Sentinels, which watch several masters by name.
    #[error(
        "{endpoint} needs the name of the master: --transport-option master_name=NAME, as in the app's \
         broker_transport_options"
    )]
    NoMasterName {
        /// Broker without secrets.
        endpoint: String,
    },
}

impl RedisTransport {
    /// A transport to the first server of `url` that answers.
    ///
    /// # Errors
    /// When the URL is one of an AMQP broker, or of Sentinels and the topology does not say which master they are asked for.
    pub fn new(url: &BrokerUrl, topology: Topology) -> Result<Self, NotRedis> {
        Self::with_patience(url, topology, Patience::default())
    }

    /// As [`RedisTransport::new`], with other time-outs.
    ///
    /// # Errors
    /// When the URL is one of an AMQP broker, or of Sentinels and the topology does not say which master they are asked for.
    pub fn with_patience(
        url: &BrokerUrl,
        topology: Topology,
        patience: Patience,
    ) -> Result<Self, NotRedis> {
        let dialer = Arc::new(Dialer::new(url, topology.sentinel(), patience)?);
        tls::warn_of_unchecked_certificates(url);
        let topology = Arc::new(topology);
        let session = Arc::new(Session::new(Arc::clone(&dialer), Arc::clone(&topology)));
        let replies = Replies::new(Arc::clone(&session), &topology);
        Ok(Self {
            dialer,
            session,
            topology,
            replies,
        })
    }

    /// The broker without secrets.
    pub fn endpoint(&self) -> String {
        self.dialer.endpoint().to_owned()
    }
}

impl Transport for RedisTransport {
    fn subscribe(&self, stop: CancellationToken) -> Subscription {
        Subscription::start(&stop, |inbox| {
            subscription::keep(
                Arc::clone(&self.dialer),
                self.topology.event_patterns(),
                inbox,
            )
        })
    }

    async fn publish_control(&self, message: &ControlMessage) -> Result<Published, TransportError> {
        self.replies.publish(message).await
    }

    async fn turn(&self, every: Duration) -> Result<bool, TransportError> {
        session::turn(&self.session, &self.topology.turn_key(), every).await
    }

    fn reply_queue(&self) -> &str {
        self.replies.queue()
    }

    async fn take_replies(&self) -> Result<Vec<Frame>, TransportError> {
        self.replies.take().await
    }

    async fn depths(&self, queues: &[String]) -> Result<DepthReading, TransportError> {
        let reading = survey::depths(&self.session, &self.topology, queues).await?;
        self.replies.refresh_if_due().await;
        Ok(reading)
    }

    async fn discover_queues(&self) -> Result<Vec<String>, TransportError> {
        survey::discover(&self.session, &self.topology).await
    }

    async fn server_version(&self) -> Result<String, TransportError> {
        survey::version(&self.session).await
    }

    async fn results(&self, _: &[String]) -> Result<Option<Vec<Vec<u8>>>, TransportError> {
        Ok(None) // a backend is beside the broker: see `transport::broker`
    }

    async fn close(&self) {
        self.replies.retire().await;
        self.session.close().await;
    }
}
