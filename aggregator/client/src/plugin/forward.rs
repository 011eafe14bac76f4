//! A port of this machine that leads to the aggregator, by `kubectl port-forward`.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout};
use tokio::time::timeout;

use super::find::Aggregator;
use super::kubectl::Kubectl;

/// How long it may take to open: a few round trips through the API server.
const OPEN: Duration = Duration::from_secs(20);

/// What is kept of what it complains of.
const COMPLAINT_BYTES_MAX: u64 = 4096;

/// Why no port leads to the aggregator.
#[derive(Debug, thiserror::Error)]
pub(super) enum ForwardError {
    #[error("kubectl cannot be started; is it on the PATH?")]
    Start(#[source] std::io::Error),
    #[error("kubectl port-forward: {said}")]
    Refused { said: String },
    #[error("kubectl port-forward has opened no port within {} s", OPEN.as_secs())]
    Late,
}

/// An open way. It ends when this is dropped.
pub(super) struct Forward {
    port: u16,
    #[expect(dead_code, reason = "it is killed when this is dropped")]
    child: Child,
}

impl Forward {
    pub(super) async fn open(
        kubectl: &Kubectl,
        aggregator: &Aggregator,
    ) -> Result<Self, ForwardError> {
        let mut child = kubectl
            .command()
            .args(["port-forward", "--address=127.0.0.1"])
            .args(["--namespace", &aggregator.namespace])
            .arg(format!("service/{}", aggregator.name))
            // Any port that is free here.
            .arg(format!(":{}", aggregator.port))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(ForwardError::Start)?;
        let (Some(out), Some(complaints)) = (child.stdout.take(), child.stderr.take()) else {
            let said = "its output cannot be read".to_owned();
            return Err(ForwardError::Refused { said });
        };
        let mut out = BufReader::new(out);
        match timeout(OPEN, port(&mut out)).await {
            Err(_elapsed) => Err(ForwardError::Late),
            Ok(None) => {
                let mut said = String::new();
                // What cannot be read of it is not said.
                let _ = complaints
                    .take(COMPLAINT_BYTES_MAX)
                    .read_to_string(&mut said)
                    .await;
                let said = said.trim().to_owned();
                Err(ForwardError::Refused { said })
            }
            Ok(Some(port)) => {
                // It says a line for each connection, and would wait for ever for somebody to read them.
                let mut lines = out.lines();
                tokio::spawn(async move { while let Ok(Some(_line)) = lines.next_line().await {} });
                let mut lines = BufReader::new(complaints).lines();
                tokio::spawn(async move { while let Ok(Some(_line)) = lines.next_line().await {} });
                Ok(Self { port, child })
            }
        }
    }

    /// The port of this machine.
    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

/// The port that kubectl names, if it names one before it ends.
async fn port(out: &mut BufReader<ChildStdout>) -> Option<u16> {
    let mut line = String::new();
    loop {
        line.clear();
        if out.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if let Some(port) = port_of(&line) {
            return Some(port);
        }
    }
}

/// Of the line `Forwarding from 127.0.0.1:40123 -> 5555`.
fn port_of(line: &str) -> Option<u16> {
    let rest = line.strip_prefix("Forwarding from 127.0.0.1:")?;
    rest.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_read_from_what_kubectl_says() {
        assert_eq!(
            port_of("Forwarding from 127.0.0.1:40123 -> 5555\n"),
            Some(40123)
        );
        assert_eq!(port_of("Forwarding from [::1]:40123 -> 5555\n"), None);
        assert_eq!(port_of("Handling connection for 40123\n"), None);
    }
}
