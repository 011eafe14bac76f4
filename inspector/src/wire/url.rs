//! Broker URLs, in every form kombu accepts (`kombu/utils/url.py`, `kombu/connection.py`, `kombu/transport/redis.py`).
//! Parses and describes; it opens nothing.

use std::fmt;
use std::path::PathBuf;

mod management;
mod parse;
#[cfg(test)]
mod tests;

pub use management::ManagementUrl;

/// A broker URL: one server, or kombu's failover list `a;b;c` (the first is tried first).
///
/// `Display` and `Debug` show scheme, address and database only, never user, password or query.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    /// At least one; all of one protocol and one database.
    servers: Vec<Server>,
}

/// What is spoken to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// A Redis (or Valkey) server.
    Redis,
    /// Redis Sentinels, which name the server.
    Sentinel,
    /// AMQP 0-9-1.
    Amqp,
    /// HTTP, to RabbitMQ's management; never a broker.
    Management,
}

/// One server of a [`BrokerUrl`].
#[derive(Clone, PartialEq, Eq)]
pub struct Server {
    /// What is spoken to it.
    pub protocol: Protocol,
    /// Where it is.
    pub address: Address,
    /// Which part of it is used.
    pub space: Space,
    /// User name. `redis://pw@host` is a user name too: a password needs its colon.
    pub username: Option<String>,
    /// Password.
    pub password: Option<String>,
    /// TLS, when it is used.
    pub tls: Option<TlsOptions>,
    /// `heartbeat`, seconds; only AMQP uses it.
    pub heartbeat_seconds: Option<u32>,
    /// `connect_timeout`, seconds; only AMQP uses it.
    pub connect_timeout_seconds: Option<u32>,
    /// `login_method`, such as `PLAIN`; only AMQP uses it.
    pub login_method: Option<String>,
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Host (lower case, IPv6 without brackets) and port.
    Tcp {
        /// Host name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// A Unix socket.
    Unix {
        /// Its path.
        path: PathBuf,
    },
}

/// The part of a server that one app uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Space {
    /// Redis: number of the database.
    Database(i64),
    /// AMQP: the virtual host, such as `/`.
    VirtualHost(String),
}

/// How TLS is used. File names are as given; nothing is read here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsOptions {
    /// What is checked of the server's certificate.
    pub certificate: CertificateCheck,
    /// `ssl_cert_reqs` was given. Without it and without any other `ssl_*` option, kombu checks nothing on `rediss://`.
    pub stated: bool,
    /// `ssl_ca_certs`: trusted certificates, PEM. `None` means those of the system.
    pub ca_certs: Option<PathBuf>,
    /// `ssl_certfile`: our certificate, PEM.
    pub certfile: Option<PathBuf>,
    /// `ssl_keyfile`: its key, PEM. `None` means that it is in `certfile`.
    pub keyfile: Option<PathBuf>,
}

/// What is checked of a server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateCheck {
    /// Nothing: encrypted, but anybody can be at the other end.
    Off,
    /// Signed by a trusted authority, for whatever host.
    Chain,
    /// Signed by a trusted authority for this host.
    ChainAndHost,
}

impl BrokerUrl {
    /// Parses a broker URL as kombu does. White space around it (a newline from a file) is dropped.
    ///
    /// # Errors
    /// Where kombu refuses it, and where what kombu would do with it cannot be meant. The text names the part and the way
    /// out, and shows nothing that could be a secret.
    pub fn parse(text: &str) -> Result<Self, BrokerUrlError> {
        parse::broker_url(text)
    }

    /// The servers, the first to try first; at least one.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// The server to try first.
    pub fn first(&self) -> &Server {
        &self.servers[0]
    }

    /// What is spoken to all of them.
    pub fn protocol(&self) -> Protocol {
        self.first().protocol
    }

    /// The Redis database, the same on all of them; `None` for AMQP.
    pub fn database(&self) -> Option<i64> {
        match self.first().space {
            Space::Database(number) => Some(number),
            Space::VirtualHost(_) => None,
        }
    }

    /// The servers without secrets, joined by `;`.
    pub fn endpoint(&self) -> String {
        let endpoints: Vec<String> = self.servers.iter().map(Server::endpoint).collect();
        endpoints.join(";")
    }
}

impl TlsOptions {
    /// TLS as redis-py's client takes it: `ssl_*` options beside `ssl=True`.
    ///
    /// # Errors
    /// When an option is not known or has a value that is not accepted.
    pub fn of_redis_py(
        options: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, UrlProblem> {
        parse::redis_py_tls(options)
    }
}

impl Server {
    /// Scheme, address and database: no user, no password, no query.
    pub fn endpoint(&self) -> String {
        let space = match &self.space {
            Space::Database(number) => number.to_string(),
            Space::VirtualHost(name) => {
                percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC)
                    .to_string()
            }
        };
        match &self.address {
            Address::Tcp { host, port } if host.contains(':') => {
                format!("{}://[{host}]:{port}/{space}", self.scheme())
            }
            Address::Tcp { host, port } => format!("{}://{host}:{port}/{space}", self.scheme()),
            Address::Unix { path } => format!("redis+socket://{} database {space}", path.display()),
        }
    }

    fn scheme(&self) -> &'static str {
        match (self.protocol, self.tls.is_some()) {
            (Protocol::Redis, false) => "redis",
            (Protocol::Redis, true) => "rediss",
            (Protocol::Sentinel, _) => "sentinel",
            (Protocol::Amqp, false) => "amqp",
            (Protocol::Amqp, true) => "amqps",
            (Protocol::Management, false) => "http",
            (Protocol::Management, true) => "https",
        }
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.endpoint())
    }
}

impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BrokerUrl({self})")
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.endpoint())
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({self})")
    }
}

/// A broker URL that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerUrlError {
    /// Which server of a failover list, from 1; 0 when there is only one.
    pub position: usize,
    /// What is wrong with it.
    pub problem: UrlProblem,
}

impl std::error::Error for BrokerUrlError {}

impl fmt::Display for BrokerUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.position > 0 {
            write!(
                f,
                "server {} of the list in the broker URL: ",
                self.position
            )?;
        } else {
            f.write_str("broker URL: ")?;
        }
        self.problem.fmt(f)
    }
}

/// What is wrong with one server of a broker URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlProblem {
    /// Nothing there.
    #[error("it is empty")]
    Empty,
    /// No `scheme://`.
    #[error(
        "it has no scheme; write for instance redis://HOST:6379/0 (a ; inside a password is written %3B)"
    )]
    NoScheme,
    /// A scheme that is not spoken here.
    #[error("the scheme {scheme}:// is not known; {remedy}")]
    Scheme {
        /// As it was given.
        scheme: String,
        /// What to write instead.
        remedy: &'static str,
    },
    /// Brackets that do not close.
    #[error(
        "the host is not valid; an IPv6 address is written in brackets, such as redis://[::1]:6379/0"
    )]
    Host,
    /// A host in a socket URL.
    #[error(
        "a socket URL has no host: write three slashes, such as redis+socket:///run/redis.sock"
    )]
    SocketHost,
    /// No path in a socket URL.
    #[error("the path of the socket is missing, such as redis+socket:///run/redis.sock")]
    SocketPath,
    /// Not a port.
    #[error(
        "the port is not a number from 0 to 65535; in user and password write / as %2F, ? as %3F, # as %23 and @ as %40"
    )]
    Port,
    /// Not a database.
    #[error(
        "the database (the part after the host) is not a whole number from 0, such as /0; {remedy}"
    )]
    Database {
        /// What to write instead.
        remedy: &'static str,
    },
    /// Percent-encoded bytes that are no text.
    #[error("the {part} is not UTF-8 after percent-decoding")]
    Encoding {
        /// Such as `password`.
        part: &'static str,
    },
    /// An option that is not accepted.
    #[error("the option {name} is not accepted; {remedy}")]
    Option {
        /// Its name.
        name: String,
        /// What to do instead.
        remedy: &'static str,
    },
    /// An option with a value that is not accepted.
    #[error("the option {name} must be {expected}")]
    OptionValue {
        /// Its name.
        name: &'static str,
        /// What it may be.
        expected: &'static str,
    },
    /// Different protocols in a failover list.
    #[error("all servers of a list must be of one kind, redis, sentinel or amqp")]
    MixedProtocols,
    /// Different databases in a failover list.
    #[error(
        "all servers of a list must use the same database or virtual host; Celery's names depend on it"
    )]
    MixedSpaces,
}
