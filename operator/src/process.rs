//! The process around the operator: logs to stderr, signals, TLS provider, errors as one chain.

use std::error::Error;
use std::io::IsTerminal as _;

use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// The environment variable that filters logs, such as `info` or `celeriac_operator=debug`.
pub const LOG_FILTER: &str = "CELERIAC_LOG";

/// How logs are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Sends logs to stderr. Levels are those of `CELERIAC_LOG`, `info` when it is unset.
///
/// # Errors
/// When the variable cannot be read as a filter.
pub fn start_logs(format: LogFormat) -> anyhow::Result<()> {
    let filter = match std::env::var(LOG_FILTER) {
        Ok(text) if !text.trim().is_empty() => EnvFilter::try_new(&text)
            .map_err(|error| anyhow::anyhow!("{LOG_FILTER}={text:?} is no filter: {error}"))?,
        // What kube logs of a lost watch is told by our own metrics and conditions; a warning of it is enough.
        _ => EnvFilter::new("info,kube_runtime=warn,kube_client=warn"),
    };
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => logs.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => logs.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("logs cannot be started: {error}"))
}

/// Makes ring the TLS provider of this process; to be called before any client is made. Calling it again changes nothing.
pub fn use_ring() {
    // An error means that a provider is installed already, and there is only one in the tree.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A token that SIGTERM or SIGINT cancels. A second signal ends the process at once.
///
/// # Errors
/// When signals cannot be listened to.
pub fn stop_on_signal() -> std::io::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move {
        for last in [false, true] {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            if last {
                std::process::exit(130);
            }
            tracing::info!(signal = name, "stopping");
            token.cancel();
        }
    });
    Ok(stop)
}

/// An error and its causes in one line, joined by `: `. A cause whose words the line holds already is left out.
pub fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(one) = cause {
        let words = one.to_string();
        if !line.contains(&words) {
            line.push_str(": ");
            line.push_str(&words);
        }
        cause = one.source();
    }
    line
}
