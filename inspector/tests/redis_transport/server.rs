//! A redis-server of a test's own.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// A server on a free port of the loopback, without persistence. Stopped when dropped.
pub(crate) struct Server {
    process: Option<Child>,
    folder: TempDir,
    pub(crate) port: u16,
    arguments: Vec<String>,
}

/// A port nobody listens on.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
    listener
        .local_addr()
        .expect("a bound listener has an address")
        .port()
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// With more settings, such as `["--requirepass", "x"]`.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let mut server = Self::planned(arguments);
        server.run();
        server
    }

    /// Not running yet.
    pub(crate) fn planned(arguments: &[&str]) -> Self {
        Self {
            process: None,
            folder: tempfile::tempdir().expect("a folder for the server"),
            port: free_port(),
            arguments: arguments
                .iter()
                .map(|&argument| argument.to_owned())
                .collect(),
        }
    }

    /// Starts it, on the same port as before.
    pub(crate) fn run(&mut self) {
        let mut command = Command::new("redis-server");
        command
            .args([
                "--save",
                "",
                "--appendonly",
                "no",
                "--bind",
                "127.0.0.1",
                "--loglevel",
                "warning",
            ])
            .args(["--port", &self.port.to_string()])
            .args(["--dir", &self.folder.path().to_string_lossy()])
            .args(["--unixsocket", &self.socket().to_string_lossy()])
            .args(&self.arguments)
            .stdout(Stdio::null())
            .stdin(Stdio::null());
        let process = command
            .spawn()
            .expect("redis-server cannot be started: install Debian's redis-server, 6.0 or newer");
        self.process = Some(process);
        self.wait_until_ready();
    }

    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if std::os::unix::net::UnixStream::connect(self.socket()).is_ok() {
                return;
            }
            let process = self.process.as_mut().expect("it was started");
            if let Some(status) = process.try_wait().expect("a child can be asked") {
                panic!("redis-server ended at once: {status}");
            }
            assert!(Instant::now() < deadline, "redis-server did not get ready");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        let _ = std::fs::remove_file(self.socket());
    }

    /// Stops answering, without closing anything.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().expect("the server runs");
        let pid = i32::try_from(process.id()).expect("a pid fits");
        kill(Pid::from_raw(pid), signal).expect("a child can be signalled");
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// A connection of the test itself, as the default user without a password, over the socket.
    pub(crate) fn client(&self, database: i64) -> redis::Connection {
        let url = format!("unix://{}?db={database}", self.socket().display());
        redis::Client::open(url)
            .and_then(|client| client.get_connection())
            .expect("the test connects to its own server")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs one command and reads its answer.
pub(crate) fn run<T: redis::FromRedisValue>(client: &mut redis::Connection, command: &[&str]) -> T {
    let mut built = redis::cmd(command[0]);
    built.arg(&command[1..]);
    built
        .query(client)
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}
