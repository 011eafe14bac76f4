//! Probes and hooks: a GET, a connection or a command, as Kubernetes describes them.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::{
    Container, ExecAction, HTTPGetAction, LifecycleHandler, Probe, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::process::Started;
use super::trusting;

/// What is asked of a container.
pub(super) enum Action<'a> {
    Exec(&'a ExecAction),
    Get(&'a HTTPGetAction),
    Connect(&'a TCPSocketAction),
    Sleep(Duration),
}

impl<'a> Action<'a> {
    pub(super) fn of_probe(probe: &'a Probe) -> Result<Self> {
        let exec = probe.exec.as_ref().map(Self::Exec);
        let get = probe.http_get.as_ref().map(Self::Get);
        let connect = probe.tcp_socket.as_ref().map(Self::Connect);
        exec.or(get)
            .or(connect)
            .context("only exec, httpGet and tcpSocket probes are known here")
    }

    pub(super) fn of_hook(hook: &'a LifecycleHandler) -> Result<Self> {
        let exec = hook.exec.as_ref().map(Self::Exec);
        let get = hook.http_get.as_ref().map(Self::Get);
        let sleep = hook.sleep.as_ref().map(|sleep| {
            Self::Sleep(Duration::from_secs(
                u64::try_from(sleep.seconds).unwrap_or(0),
            ))
        });
        exec.or(get)
            .or(sleep)
            .context("only exec, httpGet and sleep hooks are known here")
    }

    /// Does it; the error says how it failed. A GET succeeds with 200 to 399.
    pub(super) async fn run(
        &self,
        container: &Container,
        address: Ipv4Addr,
        started: &Started,
    ) -> Result<()> {
        match self {
            Self::Exec(exec) => {
                started
                    .execute(exec.command.as_deref().unwrap_or_default())
                    .await
            }
            Self::Get(action) => {
                let host = action.host.clone().unwrap_or_else(|| address.to_string());
                let status = get(&host, port(container, &action.port)?, action).await?;
                ensure!((200..400).contains(&status), "HTTP {status}");
                Ok(())
            }
            Self::Connect(action) => {
                let host = action.host.clone().unwrap_or_else(|| address.to_string());
                TcpStream::connect((host.as_str(), port(container, &action.port)?)).await?;
                Ok(())
            }
            Self::Sleep(duration) => {
                sleep(*duration).await;
                Ok(())
            }
        }
    }
}

/// Waits until a probe has succeeded (`true`) or failed as often in a row as it says.
pub(super) async fn verdict(
    probe: &Probe,
    container: &Container,
    address: Ipv4Addr,
    started: &Started,
    wanted: bool,
) -> Result<()> {
    let seconds = |value: Option<i32>, usual: u64| {
        let value = value.and_then(|value| u64::try_from(value).ok());
        Duration::from_secs(value.filter(|&value| value > 0).unwrap_or(usual))
    };
    let threshold = if wanted {
        probe.success_threshold.unwrap_or(1)
    } else {
        probe.failure_threshold.unwrap_or(3)
    };
    let action = Action::of_probe(probe)?;
    let mut in_a_row = 0;
    loop {
        let limit = seconds(probe.timeout_seconds, 1);
        let result = timeout(limit, action.run(container, address, started)).await;
        if matches!(result, Ok(Ok(()))) == wanted {
            in_a_row += 1;
            if in_a_row >= threshold {
                return Ok(());
            }
        } else {
            in_a_row = 0;
        }
        sleep(seconds(probe.period_seconds, 10)).await;
    }
}

fn port(container: &Container, port: &IntOrString) -> Result<u16> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let ports = container.ports.iter().flatten();
            let mut named = ports.filter(|port| port.name.as_ref() == Some(name));
            match named.next() {
                Some(port) => port.container_port,
                None => name
                    .parse()
                    .with_context(|| format!("no port is called {name}"))?,
            }
        }
    };
    Ok(u16::try_from(number)?)
}

async fn get(host: &str, port: u16, action: &HTTPGetAction) -> Result<u16> {
    let mut request = format!(
        "GET {} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: kube-probe/tests\r\nConnection: close\r\n",
        action.path.as_deref().unwrap_or("/")
    );
    for header in action.http_headers.iter().flatten() {
        let _ = write!(request, "{}: {}\r\n", header.name, header.value);
    }
    request.push_str("\r\n");
    let stream = TcpStream::connect((host, port)).await?;
    let answer = match action.scheme.as_deref() {
        None | Some("HTTP") => ask(stream, &request).await?,
        Some("HTTPS") => ask(trusting::connect(host, stream).await?, &request).await?,
        Some(other) => bail!("{other} is no scheme of a probe"),
    };
    let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok());
    status.context("no HTTP answer")
}

/// The whole answer: a hook is over when it has come.
async fn ask(stream: impl AsyncRead + AsyncWrite, request: &str) -> Result<String> {
    let mut stream = std::pin::pin!(stream);
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    let read = stream.take(64 * 1024).read_to_end(&mut answer).await;
    // Some servers end TLS without a farewell, as probes do not mind.
    if answer.is_empty() {
        read?;
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
