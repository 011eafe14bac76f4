//! Private Sentinels on free loopback ports: real `redis-server --sentinel` processes.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;
use tempfile::TempDir;

use crate::certificates::Authority;
use crate::paths;
use crate::process::Process;
use crate::redis::free_address;
use crate::resp::Connection;
use crate::wait::eventually_blocking;

/// How long Sentinels may take to see the master, its replicas and each other: they greet each other every 2 s, and look at
/// the master every 10 s, or every second once that is down.
const START: Duration = Duration::from_secs(30);

/// The name that these Sentinels know the master by.
pub const MASTER_NAME: &str = "shop";

/// Running Sentinels that watch one master.
pub struct Sentinels {
    all: Vec<Sentinel>,
    password: Option<String>,
    master_password: String,
}

struct Sentinel {
    address: SocketAddr,
    /// In the URL: where it speaks TLS, if it does.
    told: SocketAddr,
    process: Process,
    _folder: TempDir,
}

/// What [`Sentinels`] are to be like.
pub struct SentinelsBuilder {
    count: usize,
    replicas: usize,
    password: Option<String>,
    master_password: String,
    down_after: Duration,
    /// Settings of TLS, by which clients are to come then.
    tls: Option<String>,
}

impl SentinelsBuilder {
    /// Requires this password of whoever asks them.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// The password of the servers that they watch.
    #[must_use]
    pub fn master_password(mut self, password: &str) -> Self {
        password.clone_into(&mut self.master_password);
        self
    }

    /// How many replicas to wait for.
    #[must_use]
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// After what time without an answer they take the master for dead.
    #[must_use]
    pub fn down_after(mut self, down_after: Duration) -> Self {
        self.down_after = down_after;
        self
    }

    /// Lets them speak TLS, to the master too, with the certificate `server` of this authority.
    #[must_use]
    pub fn tls(mut self, authority: &Authority) -> Self {
        self.tls = Some(format!(
            "tls-replication yes\ntls-auth-clients no\ntls-ca-cert-file {}\ntls-cert-file {}\ntls-key-file {}",
            authority.file("ca.crt"),
            authority.file("server.crt"),
            authority.file("server.key"),
        ));
        self
    }

    /// Starts them and waits until they know the master, its replicas and each other.
    ///
    /// # Panics
    /// When redis-server is not installed or they do not get that far.
    pub fn watch(self, master: SocketAddr) -> Sentinels {
        let all = (0..self.count).map(|_| self.launch(master)).collect();
        let sentinels = Sentinels {
            all,
            password: self.password,
            master_password: self.master_password,
        };
        for index in 0..self.count {
            eventually_blocking("a Sentinel knows everybody", START, || {
                let state = sentinels.state(index)?;
                let number = |name: &str| field(&state, name).parse::<usize>();
                ensure!(field(&state, "flags") == "master", "{state:?}");
                ensure!(number("num-slaves")? >= self.replicas, "{state:?}");
                ensure!(
                    number("num-other-sentinels")? >= self.count - 1,
                    "{state:?}"
                );
                Ok(())
            });
        }
        sentinels
    }

    fn launch(&self, master: SocketAddr) -> Sentinel {
        let address = free_address();
        let folder = TempDir::new().expect("the temporary folder is writable");
        let mut text = self.configuration(address, master, &folder);
        let mut told = address;
        if let Some(tls) = &self.tls {
            told = free_address();
            // Writing to a text cannot fail.
            let _ = writeln!(text, "{tls}\ntls-port {}", told.port());
        }
        let config = folder.path().join("sentinel.conf");
        std::fs::write(&config, text).expect("the Sentinel's folder is writable");
        let program = paths::program("redis-server", "redis-server");
        let process = Process::start("sentinel", program, |command| {
            command.arg(&config).arg("--sentinel");
        });
        Sentinel {
            address,
            told,
            process,
            _folder: folder,
        }
    }

    fn configuration(&self, address: SocketAddr, master: SocketAddr, folder: &TempDir) -> String {
        let quorum = self.count / 2 + 1;
        let mut lines = vec![
            "bind 127.0.0.1".to_owned(),
            format!("port {}", address.port()),
            format!("dir {}", folder.path().display()),
            format!(
                "sentinel monitor {MASTER_NAME} {} {} {quorum}",
                master.ip(),
                master.port()
            ),
            format!(
                "sentinel down-after-milliseconds {MASTER_NAME} {}",
                self.down_after.as_millis()
            ),
            format!("sentinel failover-timeout {MASTER_NAME} 5000"),
        ];
        if !self.master_password.is_empty() {
            lines.push(format!(
                "sentinel auth-pass {MASTER_NAME} {}",
                self.master_password
            ));
        }
        if let Some(password) = &self.password {
            lines.push(format!("requirepass {password}"));
            lines.push(format!("sentinel sentinel-pass {password}"));
        }
        lines.join("\n") + "\n"
    }
}

impl Sentinels {
    /// Describes Sentinels to start, which take the master for dead after a minute.
    pub fn builder(count: usize) -> SentinelsBuilder {
        SentinelsBuilder {
            count,
            replicas: 0,
            password: None,
            master_password: String::new(),
            down_after: Duration::from_mins(1),
            tls: None,
        }
    }

    /// The broker URL of them all.
    pub fn url(&self, database: u32) -> String {
        self.url_with(&self.master_password, database)
    }

    /// The same, with another password for the master.
    pub fn url_with(&self, password: &str, database: u32) -> String {
        let user = match password {
            "" => String::new(),
            password => format!(":{password}@"),
        };
        let urls: Vec<String> = self
            .all
            .iter()
            .map(|sentinel| format!("sentinel://{user}{}/{database}", sentinel.told))
            .collect();
        urls.join(";")
    }

    /// The transport options that an app needs beside the URL, as `NAME=VALUE`.
    pub fn options(&self) -> Vec<String> {
        let mut options = vec![format!("master_name={MASTER_NAME}")];
        if let Some(password) = &self.password {
            let kwargs = serde_json::json!({"password": password});
            options.push(format!("sentinel_kwargs={kwargs}"));
        }
        options
    }

    /// The same as Celery's setting `broker_transport_options`.
    pub fn celery_options(&self) -> serde_json::Value {
        match &self.password {
            Some(password) => serde_json::json!({
                "master_name": MASTER_NAME, "sentinel_kwargs": {"password": password},
            }),
            None => serde_json::json!({"master_name": MASTER_NAME}),
        }
    }

    /// Where one of them says that the master is.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn master(&self, index: usize) -> anyhow::Result<SocketAddr> {
        let state = self.state(index)?;
        Ok(format!("{}:{}", field(&state, "ip"), field(&state, "port")).parse()?)
    }

    /// Has one of them watch another master under the same name.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn turn_to(&self, index: usize, master: SocketAddr) {
        let (ip, port) = (master.ip().to_string(), master.port().to_string());
        for words in [
            &["SENTINEL", "REMOVE", MASTER_NAME][..],
            &["SENTINEL", "MONITOR", MASTER_NAME, &ip, &port, "1"],
        ] {
            self.connect(index)
                .and_then(|mut connection| connection.command(words))
                .unwrap_or_else(|error| panic!("{words:?}: {error:#}"));
        }
    }

    /// Kills one of them with SIGKILL.
    pub fn kill(&mut self, index: usize) {
        self.all[index].process.kill9();
    }

    fn connect(&self, index: usize) -> anyhow::Result<Connection> {
        let mut connection = Connection::open(self.all[index].address)?;
        if let Some(password) = &self.password {
            connection.command(&["AUTH", password])?;
        }
        Ok(connection)
    }

    /// Names and values in turn.
    fn state(&self, index: usize) -> anyhow::Result<Vec<String>> {
        let words = ["SENTINEL", "MASTER", MASTER_NAME];
        Ok(self.connect(index)?.command(&words)?.texts())
    }
}

fn field<'a>(state: &'a [String], name: &str) -> &'a str {
    let mut pairs = state.chunks(2);
    let found = pairs.find(|pair| pair[0] == name);
    found.map_or("", |pair| &pair[1])
}
