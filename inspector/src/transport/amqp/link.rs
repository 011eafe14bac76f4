//! One connection: socket, TLS, greeting; and channels on it, each answer within a time. Knows nothing of queues.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_rs::Runtime;
use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{AsyncTcpStream, Channel, Connection, ConnectionProperties, ExchangeKind, Queue};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::compat::TokioAsyncReadCompatExt;

use super::super::servers::Servers;
use super::super::{Patience, TransportError, failure as shared, socket};
use super::failure;
use super::runtime::{Socket, Sockets};
use crate::wire::url::{BrokerUrl, Server, Space};

/// Largest frame, bytes. lapin keeps 32 of them in each direction; larger messages come in several.
const FRAME_BYTES_MAX: u32 = 16 * 1024;

/// Opens connections to the servers of a broker URL.
pub(super) struct Dialer {
    servers: Servers,
    patience: Patience,
}

/// An open connection. Dropping it closes it.
pub(super) struct Link {
    connection: Connection,
    server: Arc<Server>,
    response: Duration,
}

impl Dialer {
    pub(super) fn new(url: &BrokerUrl, patience: Patience) -> Self {
        Self {
            servers: Servers::of(url),
            patience,
        }
    }

    pub(super) fn endpoint(&self) -> String {
        self.servers.endpoint().to_owned()
    }

    pub(super) fn patience(&self) -> Patience {
        self.patience
    }

    /// Connects to the server that answered last, else to the next that answers. `purpose` is in the connection's name.
    ///
    /// # Errors
    /// That of the server that was tried first.
    pub(super) async fn dial(&self, purpose: &str) -> Result<Link, TransportError> {
        let dial = |server| self.dial_one(server, purpose);
        self.servers.dial(dial).await
    }

    async fn dial_one(&self, server: Arc<Server>, purpose: &str) -> Result<Link, TransportError> {
        let limit = server
            .connect_timeout_seconds
            .filter(|seconds| *seconds > 0)
            .map_or(self.patience.connect, |seconds| {
                Duration::from_secs(seconds.into())
            });
        let deadline = Instant::now() + limit;
        let socket = socket::open(&server, deadline, limit).await?.compat();
        let connection = timeout_at(deadline, self.greet(&server, socket, purpose))
            .await
            .map_err(|_| shared::timed_out(&server, "the greeting", limit))?
            .map_err(|error| failure::greeting(&server, limit, &error))?;
        Ok(Link {
            connection,
            server,
            response: self.patience.response,
        })
    }

    async fn greet(
        &self,
        server: &Server,
        socket: Socket,
        purpose: &str,
    ) -> lapin::Result<Connection> {
        let name = format!("celeriac-inspector {purpose}");
        let properties = ConnectionProperties::default()
            .with_connection_name(name.as_str().into())
            .with_client_property("product".into(), "celeriac-inspector".into())
            .with_client_property("version".into(), env!("CARGO_PKG_VERSION").into());
        // Reconnects are ours, so it connects once.
        let socket = Mutex::new(Some(socket));
        let hand_over = async move |_: AMQPUri, _: Runtime<Sockets>| {
            let socket = socket.lock().take();
            socket
                .map(AsyncTcpStream::Plain)
                .ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionAborted).into())
        };
        let runtime = Runtime::new(Sockets::current());
        Connection::connector(self.identity(server), runtime, hand_over, properties).await
    }

    /// Who and what, for lapin: the address in it is not used.
    fn identity(&self, server: &Server) -> AMQPUri {
        let vhost = match &server.space {
            Space::VirtualHost(name) => name.clone(),
            Space::Database(_) => "/".to_owned(),
        };
        AMQPUri {
            scheme: AMQPScheme::AMQP,
            authority: AMQPAuthority {
                userinfo: AMQPUserInfo {
                    username: server.username.clone().unwrap_or_default(),
                    password: server.password.clone().unwrap_or_default(),
                },
                host: String::new(),
                port: 0,
            },
            vhost,
            query: AMQPQueryString {
                frame_max: Some(FRAME_BYTES_MAX),
                heartbeat: Some(self.heartbeat(server)),
                auth_mechanism: server
                    .login_method
                    .as_ref()
                    .and_then(|method| method.to_ascii_uppercase().parse().ok()),
                ..AMQPQueryString::default()
            },
        }
    }

    /// The URL's own, else often enough that a dead connection is noticed within the time that a gap reaches back.
    fn heartbeat(&self, server: &Server) -> u16 {
        let seconds = server
            .heartbeat_seconds
            .map_or_else(|| self.patience.ping_answer.as_secs().max(1), u64::from);
        u16::try_from(seconds).unwrap_or(u16::MAX)
    }
}

impl Link {
    /// A new channel.
    pub(super) async fn channel(&self) -> Result<Channel, TransportError> {
        self.ask("a channel", self.connection.create_channel())
            .await
            .map_err(|error| self.explain("a channel", &error))
    }

    /// Whether another connection is needed.
    pub(super) fn is_unusable(&self) -> bool {
        !self.connection.status().connected()
    }

    /// Why the server takes no messages now, when it does not.
    pub(super) fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    /// Awaits an answer for the usual time; a time-out is an error of its own kind.
    pub(super) async fn ask<T>(
        &self,
        action: &'static str,
        answer: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T, Refused> {
        match timeout(self.response, answer).await {
            Ok(answer) => answer.map_err(Refused::Error),
            Err(_) => Err(Refused::Silent(action)),
        }
    }

    /// In the transport's words.
    pub(super) fn explain(&self, action: &'static str, refused: &Refused) -> TransportError {
        match refused {
            Refused::Error(error) => failure::explain(&self.server, action, self.response, error),
            Refused::Silent(action) => shared::timed_out(&self.server, action, self.response),
        }
    }

    /// Looks for a queue without changing anything. `None` when it is not there. The channel is spent unless it is there.
    pub(super) async fn find_queue(
        &self,
        channel: &Channel,
        name: &str,
    ) -> Result<Option<Queue>, Refused> {
        let Ok(name) = lapin::types::ShortString::try_new(name) else {
            return Ok(None);
        };
        let options = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let declared = channel.queue_declare(name, options, FieldTable::default());
        match self.ask("a queue's depth", declared).await {
            Ok(queue) => Ok(Some(queue)),
            Err(Refused::Error(error))
                if failure::is_missing(&error) || failure::is_locked(&error) =>
            {
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }

    /// Makes sure of an exchange, as it is if it is there already: somebody may have made it otherwise, and we may not be
    /// allowed to.
    pub(super) async fn ensure_exchange(
        &self,
        name: &str,
        kind: ExchangeKind,
        durable: bool,
    ) -> Result<(), TransportError> {
        if self.has_exchange(name, kind.clone()).await? {
            return Ok(());
        }
        let channel = self.channel().await?;
        let options = ExchangeDeclareOptions {
            durable,
            ..ExchangeDeclareOptions::default()
        };
        let declared = channel.exchange_declare(name.into(), kind, options, FieldTable::default());
        match self.ask("an exchange", declared).await {
            Ok(()) => {
                self.done(&channel).await;
                Ok(())
            }
            // Made otherwise a moment ago, which will do.
            Err(Refused::Error(error)) if failure::is_different(&error) => Ok(()),
            Err(refused) => Err(self.explain("declaring an exchange", &refused)),
        }
    }

    /// Whether an exchange is there.
    pub(super) async fn has_exchange(
        &self,
        name: &str,
        kind: ExchangeKind,
    ) -> Result<bool, TransportError> {
        let channel = self.channel().await?;
        let options = ExchangeDeclareOptions {
            passive: true,
            ..ExchangeDeclareOptions::default()
        };
        let declared = channel.exchange_declare(name.into(), kind, options, FieldTable::default());
        match self.ask("an exchange", declared).await {
            Ok(()) => {
                self.done(&channel).await;
                Ok(true)
            }
            Err(Refused::Error(error)) if failure::is_missing(&error) => Ok(false),
            Err(refused) => Err(self.explain("looking for an exchange", &refused)),
        }
    }

    /// Gives a channel back. A failure is the connection's, which is told elsewhere.
    pub(super) async fn done(&self, channel: &Channel) {
        let _ = self
            .ask("a closed channel", channel.close(200, "done".into()))
            .await;
    }

    /// Closes the connection in order.
    pub(super) async fn shut(self) {
        let closed = self.connection.close(200, "done".into());
        let _ = timeout(self.response, closed).await;
    }
}

/// Why something was not answered as wished.
#[derive(Debug)]
pub(super) enum Refused {
    /// What lapin says of it.
    Error(lapin::Error),
    /// Nothing came in time.
    Silent(&'static str),
}
