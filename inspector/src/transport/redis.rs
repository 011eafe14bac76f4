//! Redis (and Valkey) as Celery's broker: pub/sub for events and control requests, lists for queues and replies. Follows
//! `kombu/transport/redis.py`; names come from [`Topology`]. Needs RESP3, which is Redis 6 or newer.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::inbox::Inbox;
use super::{DepthReading, Published, Subscription, Transport, TransportError, now_micros};
use crate::wire::message::Frame;
use crate::wire::pidbox::ControlMessage;
use crate::wire::topology::Topology;
use crate::wire::url::{BrokerUrl, CertificateCheck, Protocol, TlsOptions};

mod cutter;
mod failure;
mod link;
mod replies;
mod results;
mod session;
mod subscription;
mod survey;
mod tap;
mod tls;

use link::Dialer;
use replies::Replies;
use results::Results;
use session::Session;

/// A Redis broker. Nothing is connected before the first use, so it can be made while the broker is down.
///
/// Two connections: one subscribes, one sends commands. Both reconnect by themselves.
pub struct RedisTransport {
    dialer: Arc<Dialer>,
    session: Arc<Session>,
    topology: Arc<Topology>,
    replies: Replies,
    results: Option<Results>,
}

/// How long a broker is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For TCP, TLS and greeting together.
    pub connect: Duration,
    /// For the answer to a command. Longer than the pauses of a busy server (a long script, a fork, a slow disk).
    pub response: Duration,
    /// Between two checks that the subscription is alive.
    pub ping_every: Duration,
    /// For the answer to such a check.
    pub ping_answer: Duration,
    /// Pause before the first reconnect; doubles up to `retry_max`, plus a random part of as much again.
    pub retry_min: Duration,
    /// Longest pause before a reconnect, without its random part.
    pub retry_max: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            response: Duration::from_secs(5),
            ping_every: Duration::from_secs(5),
            ping_answer: Duration::from_secs(10),
            retry_min: Duration::from_millis(200),
            retry_max: Duration::from_secs(10),
        }
    }
}

/// A broker URL that is not one of a plain Redis server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{endpoint} is not a Redis server (redis://, rediss:// or redis+socket://)")]
pub struct NotRedis {
    /// Broker without secrets.
    pub endpoint: String,
}

impl RedisTransport {
    /// A transport to the first server of `url` that answers.
    ///
    /// # Errors
    /// When the URL is one of Sentinels or of an AMQP broker.
    pub fn new(url: &BrokerUrl, topology: Topology) -> Result<Self, NotRedis> {
        Self::with_patience(url, topology, Patience::default())
    }

    /// As [`RedisTransport::new`], with other time-outs.
    ///
    /// # Errors
    /// When the URL is one of Sentinels or of an AMQP broker.
    pub fn with_patience(
        url: &BrokerUrl,
        topology: Topology,
        patience: Patience,
    ) -> Result<Self, NotRedis> {
        if url.protocol() != Protocol::Redis {
            return Err(NotRedis {
                endpoint: url.endpoint(),
            });
        }
        warn_of_unchecked_certificates(url);
        let topology = Arc::new(topology);
        let dialer = Arc::new(Dialer::new(url, patience));
        let session = Arc::new(Session::new(Arc::clone(&dialer), Arc::clone(&topology)));
        let replies = Replies::new(Arc::clone(&session), &topology);
        Ok(Self {
            dialer,
            session,
            topology,
            replies,
            results: None,
        })
    }

    /// Lets it read outcomes from a Redis result backend, whose `global_keyprefix` is `prefix`.
    ///
    /// # Errors
    /// When the URL is one of Sentinels or not one of Redis.
    pub fn with_results(mut self, url: &BrokerUrl, prefix: &str) -> Result<Self, NotRedis> {
        if url.protocol() != Protocol::Redis {
            return Err(NotRedis {
                endpoint: url.endpoint(),
            });
        }
        let patience = self.dialer.patience();
        self.results = Some(Results::new(url, prefix.to_owned(), patience));
        Ok(self)
    }

    /// The broker without secrets.
    pub fn endpoint(&self) -> String {
        self.dialer.endpoint()
    }
}

/// Says once what kombu only does: without options, `rediss://` trusts anybody.
fn warn_of_unchecked_certificates(url: &BrokerUrl) {
    for server in url.servers() {
        let trusts_anybody =
            |tls: &TlsOptions| tls.certificate == CertificateCheck::Off && !tls.stated;
        if server.tls.as_ref().is_some_and(trusts_anybody) {
            tracing::warn!(
                endpoint = %server.endpoint(),
                "the broker's certificate is not checked, as Celery does without ssl_cert_reqs; add \
                 ?ssl_cert_reqs=required (and ssl_ca_certs=FILE for an authority of your own) to the broker URL"
            );
        }
    }
}

impl Transport for RedisTransport {
    fn subscribe(&self, stop: CancellationToken) -> Subscription {
        let inbox = Arc::new(Inbox::default());
        let attach = subscription::keep(
            Arc::clone(&self.dialer),
            self.topology.event_patterns(),
            Arc::clone(&inbox),
        );
        let unread = stop.child_token();
        let reader = Subscription::new(Arc::clone(&inbox), unread.clone().drop_guard());
        tokio::spawn(async move {
            tokio::select! {
                () = unread.cancelled() => {}
                () = attach => {}
            }
            inbox.close();
        });
        reader
    }

    async fn publish_control(&self, message: &ControlMessage) -> Result<Published, TransportError> {
        self.replies.publish(message).await
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
        self.replies.retire().await;
        self.session.close().await;
    }
}
