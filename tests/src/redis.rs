//! A private redis-server on a free loopback port.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use tempfile::TempDir;

use crate::certificates::Authority;
use crate::monitor::Monitor;
use crate::paths;
use crate::process::Process;
use crate::resp::{Connection, Value};
use crate::wait::eventually_blocking;

/// How long a redis-server may take to accept connections; on two busy cores it needs well under a second.
const START: Duration = Duration::from_secs(10);

/// A running redis-server.
pub struct Redis {
    process: Option<Process>,
    address: SocketAddr,
    folder: TempDir,
    options: RedisBuilder,
}

/// What a [`Redis`] is to be like.
#[derive(Clone, Default)]
pub struct RedisBuilder {
    password: Option<String>,
    master: Option<SocketAddr>,
    users: Vec<String>,
    lines: Vec<String>,
    valkey: bool,
    tls: Option<SocketAddr>,
}

impl RedisBuilder {
    /// Requires this password of the default user.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// Is a valkey-server.
    #[must_use]
    pub fn valkey(mut self) -> Self {
        self.valkey = true;
        self
    }

    /// Speaks TLS too, at another address, with the certificate `server` of this authority; `clients` says whether clients
    /// have to show one: `yes`, `no` or `optional`.
    #[must_use]
    pub fn tls(mut self, authority: &Authority, clients: &str) -> Self {
        let address = free_address();
        self.tls = Some(address);
        self.config(&format!("tls-port {}", address.port()))
            .config(&format!("tls-cert-file {}", authority.file("server.crt")))
            .config(&format!("tls-key-file {}", authority.file("server.key")))
            .config(&format!("tls-ca-cert-file {}", authority.file("ca.crt")))
            .config(&format!("tls-auth-clients {clients}"))
    }

    /// Adds an ACL user, in the words of `ACL SETUSER` (`name on >secret ~* &* +@all`).
    #[must_use]
    pub fn user(mut self, rule: &str) -> Self {
        self.users.push(rule.to_owned());
        self
    }

    /// Listens on one more address, and for whoever reaches it.
    #[must_use]
    pub fn listen(self, address: Ipv4Addr) -> Self {
        self.config(&format!("bind 127.0.0.1 {address}"))
            .config("protected-mode no")
    }

    /// Adds a line of redis.conf.
    #[must_use]
    pub fn config(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }

    /// Copies another server, which has the same password.
    #[must_use]
    pub fn replica_of(mut self, master: SocketAddr) -> Self {
        self.master = Some(master);
        self
    }

    /// Keeps the data over [`Redis::restart`].
    #[must_use]
    pub fn persistent(self) -> Self {
        self.config("appendonly yes").config("appendfsync always")
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Panics
    /// When redis-server is not installed or does not start.
    pub fn start(self) -> Redis {
        let mut redis = Redis {
            process: None,
            address: free_address(),
            folder: TempDir::new().expect("the temporary folder is writable"),
            options: self,
        };
        redis.restart();
        redis
    }
}

impl Redis {
    /// Starts a server without password that keeps nothing on disk.
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// Describes a server to start.
    pub fn builder() -> RedisBuilder {
        RedisBuilder::default()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it speaks TLS.
    ///
    /// # Panics
    /// When it does not.
    pub fn tls_address(&self) -> SocketAddr {
        self.options.tls.expect("it was started with TLS")
    }

    /// Its broker URL for database 0, with the password of the default user.
    pub fn url(&self) -> String {
        self.url_of(self.address, 0)
    }

    /// Its broker URL for a database.
    pub fn url_db(&self, database: u32) -> String {
        self.url_of(self.address, database)
    }

    /// The URL by which it is reached at another address, such as a [`Proxy`](crate::Proxy) in front of it.
    pub fn url_of(&self, address: SocketAddr, database: u32) -> String {
        let password = self.options.password.as_ref();
        let user = password.map_or(String::new(), |password| format!(":{password}@"));
        format!("redis://{user}{address}/{database}")
    }

    /// Starts it, again if need be, on the same port.
    ///
    /// # Panics
    /// When it does not answer in time.
    pub fn restart(&mut self) {
        self.kill();
        let config = self.folder.path().join("redis.conf");
        std::fs::write(&config, self.configuration()).expect("the server's folder is writable");
        let program = if self.options.valkey {
            paths::valkey()
        } else {
            paths::program("redis-server", "redis-server")
        };
        self.process = Some(Process::start("redis-server", program, |command| {
            command.arg(&config);
        }));
        eventually_blocking("redis-server answers", START, || {
            let pong = self.connect()?.command(&["PING"])?;
            anyhow::ensure!(pong == Value::Text("PONG".to_owned()), "{pong:?}");
            if self.options.master.is_some() {
                let role = self.connect()?.command(&["ROLE"])?.texts();
                anyhow::ensure!(role.iter().any(|word| word == "connected"), "{role:?}");
            }
            Ok(())
        });
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill9();
        }
    }

    /// Runs one command on database 0.
    ///
    /// # Panics
    /// When the server does not answer, or answers with an error.
    pub fn cli(&self, words: &[&str]) -> Value {
        self.connect()
            .and_then(|mut connection| connection.command(words))
            .unwrap_or_else(|error| panic!("redis {words:?}: {error:#}"))
    }

    /// All keys of database 0, sorted.
    pub fn keys(&self) -> Vec<String> {
        let mut keys = self.cli(&["KEYS", "*"]).texts();
        keys.sort();
        keys
    }

    /// Starts to record every command the server runs.
    pub fn monitor(&self) -> Monitor {
        Monitor::start(self.connect().expect("the server was just reached"))
    }

    /// A new connection as the default user.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses the password.
    pub fn connect(&self) -> anyhow::Result<Connection> {
        let mut connection = Connection::open(self.address)?;
        if let Some(password) = &self.options.password {
            connection.command(&["AUTH", password])?;
        }
        Ok(connection)
    }

    fn configuration(&self) -> String {
        use std::fmt::Write;

        let mut text = format!(
            // A replica is served at once, not after waiting for others.
            "bind 127.0.0.1\nport {}\ndir {}\nsave \"\"\nrepl-diskless-sync-delay 0\n",
            self.address.port(),
            self.folder.path().display()
        );
        for (key, values) in [("user", &self.options.users), ("", &self.options.lines)] {
            for value in values {
                let _ = writeln!(text, "{key} {value}");
            }
        }
        if let Some(password) = &self.options.password {
            // The second for when it copies another, or becomes one that does.
            let _ = writeln!(text, "requirepass {password}\nmasterauth {password}");
        }
        if let Some(master) = self.options.master {
            let (ip, port) = (master.ip(), master.port());
            let _ = writeln!(text, "replicaof {ip} {port}");
        }
        text
    }
}

/// A loopback address with a port that was free a moment ago.
///
/// # Panics
/// When the system has none.
pub fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .expect("loopback has free ports")
}
