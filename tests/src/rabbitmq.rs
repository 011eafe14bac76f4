//! Private RabbitMQ nodes on free loopback ports, one of a kind for a test binary, with a virtual host for each test.
//!
//! A node takes up to ten seconds to start, so it is shared; its end is the end of the test binary, whichever way that
//! comes: its processes die with it, and its folder is removed by a shell that waits for it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use tempfile::TempDir;

use crate::certificates::Authority;
use crate::janitor::Janitor;
use crate::paths;
use crate::process::Process;
use crate::redis::free_address;
use crate::wait::eventually_blocking;

mod host;
mod http;
mod kind;

pub use host::VirtualHost;
pub use http::Management;
pub use kind::Kind;

/// How long a node may take to start; on two busy cores it needs half a minute.
const START: Duration = Duration::from_mins(2);

/// How long a command of `rabbitmqctl`, which starts an Erlang of its own, may take.
const SOON: Duration = Duration::from_mins(1);

/// A running node.
pub struct RabbitMq {
    kind: Kind,
    /// Before the processes are gone, names are resolved by it.
    node: Option<Process>,
    #[expect(dead_code, reason = "it dies with this value")]
    epmd: Process,
    #[expect(dead_code, reason = "it removes the folder when this is dropped")]
    janitor: Janitor,
    folder: PathBuf,
    amqp: SocketAddr,
    amqps: SocketAddr,
    authority: Authority,
    management: SocketAddr,
    distribution: SocketAddr,
    epmd_address: SocketAddr,
}

static THREE: LazyLock<RabbitMq> = LazyLock::new(|| RabbitMq::start(Kind::Three));
static FOUR: LazyLock<RabbitMq> = LazyLock::new(|| RabbitMq::start(Kind::Four));
static STRICT: LazyLock<RabbitMq> = LazyLock::new(|| RabbitMq::start(Kind::Strict));
static HOSTS: AtomicU32 = AtomicU32::new(0);

impl RabbitMq {
    /// The node of Debian's own version that the tests of this binary share, and a new virtual host on it.
    pub fn host() -> VirtualHost {
        Self::host_on(Kind::Three)
    }

    /// The node of a kind that the tests of this binary share, and a new virtual host on it.
    pub fn host_on(kind: Kind) -> VirtualHost {
        VirtualHost::of(match kind {
            Kind::Three => &THREE,
            Kind::Four => &FOUR,
            Kind::Strict => &STRICT,
        })
    }

    /// Starts a node and waits until it answers.
    ///
    /// # Panics
    /// When RabbitMQ is not installed or does not start.
    pub fn start(kind: Kind) -> Self {
        let folder = TempDir::new()
            .expect("the temporary folder is writable")
            .keep();
        let epmd_address = free_address();
        let authority = Authority::in_folder("authority", &folder);
        authority.sign("server", "127.0.0.1");
        authority.sign("client", "inspector");
        let mut node = Self {
            kind,
            node: None,
            amqps: free_address(),
            authority,
            epmd: start_epmd(epmd_address),
            janitor: Janitor::of(&folder),
            folder,
            amqp: free_address(),
            management: free_address(),
            distribution: free_address(),
            epmd_address,
        };
        node.restart();
        node
    }

    /// Starts it, again if need be, on the same ports and with the same data.
    ///
    /// # Panics
    /// When it does not answer in time.
    pub fn restart(&mut self) {
        self.kill();
        let file = |name: &str, text: String| {
            std::fs::write(self.folder.join(name), text).expect("the node's folder is writable");
        };
        file("rabbitmq.conf", self.configuration());
        file("enabled_plugins", "[rabbitmq_management].\n".to_owned());
        self.node = Some(self.script("rabbitmq-server", &[]));
        eventually_blocking("RabbitMQ answers", START, || {
            self.api().get("/api/overview")?;
            // Management answers a moment before clients are let in.
            std::net::TcpStream::connect(self.amqp)?;
            anyhow::Ok(())
        });
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut node) = self.node.take() {
            node.kill9();
        }
    }

    /// Where it speaks AMQP.
    pub fn address(&self) -> SocketAddr {
        self.amqp
    }

    /// Where it speaks AMQP over TLS, with clients that show a certificate of its authority; `client` is one.
    pub fn tls_address(&self) -> SocketAddr {
        self.amqps
    }

    /// Who signs its certificates.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Where its management serves.
    pub fn management(&self) -> SocketAddr {
        self.management
    }

    /// Its management as the default user.
    pub fn api(&self) -> Management {
        Management::new(self.management, "guest", "guest")
    }

    /// A virtual host of a new name, with all rights for the default user.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn make_host(&self) -> String {
        let number = HOSTS.fetch_add(1, Ordering::Relaxed);
        let name = format!("test{number}");
        self.add_host(&name);
        name
    }

    /// Makes a virtual host, again after it was deleted.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn add_host(&self, name: &str) {
        self.api()
            .put(&format!("/api/vhosts/{name}"), &json!({}))
            .expect("the node makes a virtual host");
        self.permit(name, "guest", [".*"; 3]);
    }

    /// Makes a user with a password like its name, and its rights (configure, write, read) on a virtual host.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn add_user(&self, host: &str, user: &str, rights: [&str; 3]) {
        self.api()
            .put(
                &format!("/api/users/{user}"),
                &json!({"password": user, "tags": ""}),
            )
            .expect("the node makes a user");
        self.permit(host, user, rights);
    }

    /// Closes connections to a virtual host whose client name begins with `prefix`, as an operator does; how many.
    ///
    /// # Errors
    /// When management does not answer.
    pub fn close_connections(&self, host: &str, prefix: &str) -> anyhow::Result<usize> {
        let api = self.api();
        let list = api.get(&format!("/api/vhosts/{host}/connections"))?;
        let mut closed = 0;
        for connection in list.as_array().context("it answers with a list")? {
            let client = connection["client_properties"]["connection_name"].as_str();
            if client.is_some_and(|client| client.starts_with(prefix)) {
                let name = connection["name"]
                    .as_str()
                    .context("connections have names")?;
                api.delete(&format!("/api/connections/{}", http::escape(name)))?;
                closed += 1;
            }
        }
        Ok(closed)
    }

    fn permit(&self, host: &str, user: &str, [configure, write, read]: [&str; 3]) {
        let rights = json!({"configure": configure, "write": write, "read": read});
        self.api()
            .put(&format!("/api/permissions/{host}/{user}"), &rights)
            .expect("the node takes rights");
    }

    /// Runs `rabbitmqctl`; what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        let mut process = self.script("rabbitmqctl", &[&["-q"], arguments].concat());
        let status = eventually_blocking("rabbitmqctl ends", SOON, || {
            process.exited().ok_or_else(|| process.log())
        });
        let log = process.log();
        assert!(status.success(), "rabbitmqctl {arguments:?}: {log}");
        log
    }

    /// Starts one of RabbitMQ's own scripts.
    fn script(&self, name: &str, arguments: &[&str]) -> Process {
        let (program, before) = self.kind.command(name);
        Process::start(name, program, |command| {
            self.environment(command);
            command.args(before).args(arguments);
        })
    }

    fn configuration(&self) -> String {
        let [ca, certificate, key] =
            ["ca.crt", "server.crt", "server.key"].map(|name| self.authority.file(name));
        format!(
            "listeners.ssl.default = {}\nssl_options.cacertfile = {ca}\nssl_options.certfile = {certificate}\n\
             ssl_options.keyfile = {key}\nssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = true\n\
             listeners.tcp.default = {}\nmanagement.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {}\n\
             management.rates_mode = basic\ncollect_statistics_interval = 1000\n\
             log.console = true\nlog.console.level = warning\nlog.file = false\n{}",
            self.amqps,
            self.amqp,
            self.management.port(),
            self.kind.configuration()
        )
    }

    /// Everything the node would look for elsewhere, so that it meets no other node and no setting of this machine.
    fn environment(&self, command: &mut Command) {
        let folder = &self.folder;
        command
            // Where it leaves what its database looked like when it broke.
            .current_dir(folder)
            .env("HOME", folder)
            .env("RABBITMQ_NODENAME", "celeriac@localhost")
            .env(
                "RABBITMQ_DIST_PORT",
                self.distribution.port().to_string(),
            )
            .env("RABBITMQ_CONFIG_FILE", folder.join("rabbitmq.conf"))
            .env("RABBITMQ_CONF_ENV_FILE", folder.join("no-such-file"))
            .env(
                "RABBITMQ_ENABLED_PLUGINS_FILE",
                folder.join("enabled_plugins"),
            )
            .env("RABBITMQ_MNESIA_BASE", folder.join("mnesia"))
            .env("RABBITMQ_LOG_BASE", folder.join("log"))
            .env("RABBITMQ_LOGS", "-")
            .env("RABBITMQ_FEATURE_FLAGS_FILE", folder.join("feature_flags"))
            .env("RABBITMQ_PID_FILE", folder.join("pid"))
            // Becomes the node instead of waiting for it, so that it dies with us.
            .env("RUNNING_UNDER_SYSTEMD", "true")
            // Its schedulers do not burn the processor while they have nothing to do.
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none",
            )
            .env("ERL_EPMD_PORT", self.epmd_address.port().to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1");
    }
}

/// The port mapper of the node alone. Otherwise the node would start one for everybody, and leave it.
fn start_epmd(address: SocketAddr) -> Process {
    let program = paths::program("epmd", "rabbitmq-server");
    Process::start("epmd", program, |command| {
        command
            .env("ERL_EPMD_PORT", address.port().to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1");
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_starts_serves_and_is_gone_afterwards() {
        check(Kind::Three);
    }

    #[test]
    fn a_node_of_rabbitmq_4_too() {
        check(Kind::Strict);
    }

    fn check(kind: Kind) {
        let node = RabbitMq::start(kind);
        let version = node.api().get("/api/overview").expect("it serves");
        let version = version["rabbitmq_version"].as_str().unwrap_or_default();
        assert!(version.starts_with(kind.version()), "{version}");
        let host = node.make_host();
        let queue = format!("/api/queues/{host}/q");
        node.api()
            .put(&queue, &json!({"durable": true}))
            .expect("it makes a queue");
        let folder = node.folder.clone();
        let addresses = [node.amqp, node.management, node.epmd_address];
        drop(node);
        for address in addresses {
            std::net::TcpStream::connect(address).expect_err("nobody listens there any more");
        }
        assert!(!folder.exists(), "{}", folder.display());
    }
}
