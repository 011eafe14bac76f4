//! One connection: socket, TLS, greeting. Knows nothing of what is said over it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, FromRedisValue, Pipeline, ProtocolVersion, RedisConnectionInfo,
    RedisError, Value,
};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::super::servers::Servers;
use super::super::socket::{self, Duplex};
use super::super::{Patience, TransportError, failure as shared};
use super::NotRedis;
use super::failure::{self, explain};
use super::sentinel::Sentinels;
use super::tap::{Messages, Tap};
use crate::wire::topology::SentinelOptions;
use crate::wire::url::{BrokerUrl, Protocol, Server, Space};

/// Longest pause before a reconnect behind Sentinels: a failover is no failure of a server that needs rest, the question to
/// a Sentinel is cheap, and every second without a connection is one of the gap.
const SENTINEL_RETRY_MAX: Duration = Duration::from_secs(1);

/// Opens connections to the servers of a broker URL.
pub(super) struct Dialer {
    way: Way,
    patience: Patience,
}

enum Way {
    /// To the servers of the URL, in turn.
    Direct(Servers),
    /// To the server that those of the URL name.
    Sentinels(Box<Sentinels>),
}

/// An open connection. Dropping it closes it.
pub(super) struct Link {
    speaker: Speaker,
    driver: JoinHandle<()>,
}

/// Says commands over a [`Link`]. Cheap to clone; useless once the link is dropped.
#[derive(Clone)]
pub(super) struct Speaker {
    connection: MultiplexedConnection,
    server: Arc<Server>,
    response: Duration,
    /// An answer is missing or cannot be read: the connection must not be used again.
    broken: Arc<AtomicBool>,
}

impl Dialer {
    /// # Errors
    /// When the URL is one of an AMQP broker, or of Sentinels and it is not said what they are asked for.
    pub(super) fn new(
        url: &BrokerUrl,
        sentinel: &SentinelOptions,
        patience: Patience,
    ) -> Result<Self, NotRedis> {
        let (endpoint, mut patience) = (url.endpoint(), patience);
        let way = match url.protocol() {
            Protocol::Redis => Way::Direct(Servers::of(url)),
            Protocol::Sentinel => {
                patience.retry_max = patience.retry_max.min(SENTINEL_RETRY_MAX);
                let sentinels = Sentinels::of(url, sentinel);
                Way::Sentinels(Box::new(
                    sentinels.ok_or(NotRedis::NoMasterName { endpoint })?,
                ))
            }
            Protocol::Amqp | Protocol::Management => return Err(NotRedis::Kind { endpoint }),
        };
        Ok(Self { way, patience })
    }

    pub(super) fn endpoint(&self) -> &str {
        match &self.way {
            Way::Direct(servers) => servers.endpoint(),
            Way::Sentinels(sentinels) => sentinels.endpoint(),
        }
    }

    pub(super) fn patience(&self) -> Patience {
        self.patience
    }

    /// Connects to the server that answered last, else to the next that answers; behind Sentinels to the master. Messages
    /// of subscriptions go into `messages`.
    ///
    /// # Errors
    /// That of the server that was tried first, or that says most.
    pub(super) async fn dial(
        &self,
        messages: Option<Arc<Messages>>,
    ) -> Result<Link, TransportError> {
        match &self.way {
            Way::Direct(servers) => {
                let dial = |server| dial(server, messages.clone(), self.patience);
                servers.dial(dial).await
            }
            // Boxed, as it would make every call larger; there is one for each connection.
            Way::Sentinels(sentinels) => Box::pin(sentinels.dial(self.patience, messages)).await,
        }
    }

    /// Why `link` must be left though it works; asks the Sentinels, if there are any.
    pub(super) async fn moved(&self, link: &Link) -> Option<TransportError> {
        match &self.way {
            Way::Direct(_) => None,
            Way::Sentinels(sentinels) => Box::pin(sentinels.moved(link, self.patience)).await,
        }
    }

    /// Whether `link` can be used: it is whole, and no other connection has found another master.
    pub(super) fn keeps(&self, link: &Link) -> bool {
        let left = match &self.way {
            Way::Direct(_) => false,
            Way::Sentinels(sentinels) => sentinels.is_left(link),
        };
        !left && !link.is_unusable()
    }
}

/// Connects to one server.
pub(super) async fn dial(
    server: Arc<Server>,
    messages: Option<Arc<Messages>>,
    patience: Patience,
) -> Result<Link, TransportError> {
    let limit = patience.connect;
    let deadline = Instant::now() + limit;
    let stream = socket::open(&server, deadline, limit).await?;
    timeout_at(deadline, greet(&server, stream, messages, patience))
        .await
        .map_err(|_| shared::timed_out(&server, "HELLO 3", limit))?
}

async fn greet(
    server: &Arc<Server>,
    stream: Box<dyn Duplex>,
    messages: Option<Arc<Messages>>,
    patience: Patience,
) -> Result<Link, TransportError> {
    let stream = match messages {
        Some(messages) => Box::new(Tap::new(stream, messages, server.tls.is_none())),
        None => stream,
    };
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(patience.response));
    let (connection, driver) =
        MultiplexedConnection::new_with_config(&identity(server), stream, config)
            .await
            .map_err(|error| failure::greeting(server, patience.connect, &error))?;
    let speaker = Speaker {
        connection,
        server: Arc::clone(server),
        response: patience.response,
        broken: Arc::default(),
    };
    let link = Link {
        speaker,
        driver: tokio::spawn(driver),
    };
    // For CLIENT LIST. A user without the right to it is not a reason to fail.
    let mut named = redis::cmd("CLIENT");
    named.arg("SETNAME").arg("celeriac-inspector");
    if let Err(error) = link.speaker().ask::<()>("CLIENT SETNAME", &named).await {
        if link.is_unusable() {
            return Err(error);
        }
        tracing::debug!(%error, "the connection has no name");
    }
    Ok(link)
}

fn identity(server: &Server) -> RedisConnectionInfo {
    let mut identity = RedisConnectionInfo::default()
        .set_protocol(ProtocolVersion::RESP3)
        .set_lib_name("celeriac", env!("CARGO_PKG_VERSION"));
    // Sentinels have no databases.
    if let (Space::Database(number), Protocol::Redis) = (&server.space, server.protocol) {
        identity = identity.set_db(*number);
    }
    if let Some(username) = &server.username {
        // redis-py sends an empty password when there is only a user name.
        identity = identity.set_username(username).set_password("");
    }
    if let Some(password) = &server.password {
        identity = identity.set_password(password);
    }
    identity
}

impl Link {
    pub(super) fn speaker(&self) -> Speaker {
        self.speaker.clone()
    }

    pub(super) fn server(&self) -> &Server {
        &self.speaker.server
    }

    /// Whether another connection is needed.
    pub(super) fn is_unusable(&self) -> bool {
        self.driver.is_finished() || self.speaker.broken.load(Ordering::Relaxed)
    }

    /// Waits until the other side has closed the connection. Must not be called again after that.
    pub(super) async fn closed(&mut self) -> TransportError {
        // The driver ends when the connection does; how is not told.
        let _ = (&mut self.driver).await;
        shared::closed(&self.speaker.server)
    }

    /// Closes the connection; afterwards nothing more is pushed.
    pub(super) async fn shut(mut self) {
        if !self.driver.is_finished() {
            self.driver.abort();
            let _ = (&mut self.driver).await;
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Speaker {
    /// Sends one command.
    pub(super) async fn ask<T: FromRedisValue>(
        &self,
        action: &'static str,
        command: &Cmd,
    ) -> Result<T, TransportError> {
        let mut connection = self.connection.clone();
        let answer = command.query_async(&mut connection).await;
        answer.map_err(|error| self.failed(action, &error))
    }

    /// What the server says of itself: `server`, `version`, `role` and more. Every user may ask that, unlike INFO.
    pub(super) async fn hello(&self) -> Result<HashMap<String, String>, TransportError> {
        let hello: HashMap<String, Value> = self.ask("HELLO", &redis::cmd("HELLO")).await?;
        let texts = hello.into_iter().filter_map(|(name, value)| match value {
            Value::BulkString(bytes) => Some((name, String::from_utf8_lossy(&bytes).into_owned())),
            Value::SimpleString(text) => Some((name, text)),
            _ => None,
        });
        Ok(texts.collect())
    }

    /// Sends several commands at once. An error of one is an error of all.
    pub(super) async fn ask_all<T: FromRedisValue>(
        &self,
        action: &'static str,
        commands: &Pipeline,
    ) -> Result<T, TransportError> {
        let mut connection = self.connection.clone();
        let answer = commands.query_async(&mut connection).await;
        answer.map_err(|error| self.failed(action, &error))
    }

    /// Subscribes to patterns; returns when the server has confirmed them.
    pub(super) async fn psubscribe(&self, patterns: &[String]) -> Result<(), TransportError> {
        let mut connection = self.connection.clone();
        let answer = connection.psubscribe(patterns).await;
        answer.map_err(|error| self.failed("PSUBSCRIBE", &error))
    }

    /// The error of an answer that was waited for until `limit`.
    pub(super) fn timed_out(&self, action: &'static str, limit: Duration) -> TransportError {
        shared::timed_out(&self.server, action, limit)
    }

    fn failed(&self, action: &'static str, error: &RedisError) -> TransportError {
        // A master that became a replica: the next connection may find the new one.
        let demoted = error.code() == Some("READONLY");
        if demoted || error.is_timeout() || error.is_unrecoverable_error() {
            self.broken.store(true, Ordering::Relaxed);
        }
        explain(&self.server, action, self.response, error)
    }
}
