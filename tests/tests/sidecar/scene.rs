//! A sidecar as a process, and what its pages say.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use celeriac_tests::product::http_get;
use celeriac_tests::{Inspector, eventually, redis};

/// For how long anything is waited for.
pub(crate) const SOON: Duration = Duration::from_mins(2);

/// The pool's token.
pub(crate) const TOKEN: &str = "planted-drain-token";

pub(crate) struct Sidecar {
    address: SocketAddr,
    _inspector: Inspector,
}

impl Sidecar {
    pub(crate) async fn start(broker: &str, worker: &str, options: &[&str]) -> Self {
        let folder = tempfile::TempDir::new().expect("the temporary folder is writable");
        let token = folder.path().join("token");
        std::fs::write(&token, format!("{TOKEN}\n")).expect("the folder is writable");
        let address = redis::free_address();
        let listen = address.to_string();
        let token = token.display().to_string();
        let mut arguments = vec!["sidecar", "--worker", worker, "--listen", &listen];
        arguments.extend(["--drain-token-file", &token]);
        arguments.extend(options);
        let inspector = Inspector::start(broker, &arguments);
        eventually("it serves", SOON, async || {
            http_get(address, "/livez")
                .map_err(|error| format!("{error}: {}", inspector.process.log()))
        })
        .await;
        Self {
            address,
            _inspector: inspector,
        }
    }

    /// Status and body.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        http_get(self.address, path).expect("it answers probes at any time")
    }

    /// Waits until it is ready.
    pub(crate) async fn ready(&self) {
        eventually("it is ready", SOON, async || {
            let (status, reason) = self.get("/readyz");
            ensure!(status == 200, "{reason}");
            Ok(())
        })
        .await;
    }

    /// Waits until it says that its worker leaves one message of the queue `celery` though it answers; it is ready all the same.
    pub(crate) async fn finds_a_stall(&self) {
        let reason = eventually("it is found", SOON, async || {
            let (status, reason) = self.get("/livez");
            ensure!(status == 503, "{status} {reason}");
            Ok(reason)
        })
        .await;
        assert!(
            reason.starts_with("stalled: it answers")
                && reason.contains("1 messages of its queue \"celery\""),
            "{reason}"
        );
        self.shows("celeriac_sidecar_stalled 1")
            .expect("it is counted");
        let (ready, _) = self.get("/readyz");
        assert_eq!(ready, 200, "that is no reason not to be ready");
    }

    /// It calls its worker alive for so long, at each look.
    pub(crate) async fn lives_on(&self, long: Duration) {
        let until = Instant::now() + long;
        while Instant::now() < until {
            let (status, reason) = self.get("/livez");
            assert_eq!(status, 200, "{reason}");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Whether its metrics have this line.
    pub(crate) fn shows(&self, line: &str) -> anyhow::Result<()> {
        let (_, text) = self.get("/metrics");
        ensure!(text.lines().any(|one| one == line), "{text}");
        Ok(())
    }

    /// Asks for a drain with the token and waits for its end.
    pub(crate) fn drained(&self) -> (u16, String) {
        self.drain(Some(TOKEN))
    }

    /// Asks for a drain.
    pub(crate) fn drain(&self, token: Option<&str>) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(SOON)).expect("it is a socket");
        let header = token.map_or(String::new(), |token| {
            format!("X-Celeriac-Drain-Token: {token}\r\n")
        });
        let request = format!(
            "GET /drain HTTP/1.1\r\nHost: {}\r\n{header}Connection: close\r\n\r\n",
            self.address
        );
        stream.write_all(request.as_bytes()).expect("it listens");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok());
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status.expect("an answer has a status"), body.to_owned())
    }
}

/// The lines of its metrics that hold a word.
pub(crate) fn lines(sidecar: &Sidecar, word: &str) -> Vec<String> {
    let (_, text) = sidecar.get("/metrics");
    let lines = text.lines().filter(|line| line.contains(word));
    lines.map(str::to_owned).collect()
}

/// Whether the tasks' own notes say `what` at least so often.
pub(crate) fn ends(truth: &Path, what: &str, times: usize) -> anyhow::Result<()> {
    let notes = std::fs::read_to_string(truth).unwrap_or_default();
    let word = format!("\"what\": \"{what}\"");
    let found = notes.lines().filter(|line| line.contains(&word)).count();
    ensure!(found >= times, "{found} times:\n{notes}");
    Ok(())
}
