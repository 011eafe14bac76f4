//! The aggregator's program: settings, logs, signals.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use celeriac_aggregator::args::{Args, LogFormat};
use celeriac_aggregator::config::Config;
use celeriac_aggregator::inprocess::{ENVIRONMENT, QUIET_LOGS, with_environment};
use clap::{CommandFactory as _, FromArgMatches as _};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// The system allocator keeps fragments of bursts for long; mimalloc gives them back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line, each cause once.
            let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
            eprintln!("celeriac-aggregator: {}", causes.join(": "));
            ExitCode::FAILURE
        }
    }
}

fn start() -> anyhow::Result<()> {
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_installed| anyhow::anyhow!("a TLS provider is installed already"))?;
    let matches = with_environment(Args::command(), ENVIRONMENT).get_matches();
    let args = Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let config = Config::try_from(args)?;
    log_to_stderr(config.log_format)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let stop = CancellationToken::new();
        tokio::spawn(stop_on_signal(stop.clone())?);
        celeriac_aggregator::run::run(config, stop).await?;
        Ok(())
    })
}

fn log_to_stderr(format: LogFormat) -> anyhow::Result<()> {
    let filter = match std::env::var("CELERIAC_LOG") {
        Ok(text) => EnvFilter::try_new(&text)
            .map_err(|error| anyhow::anyhow!("CELERIAC_LOG={text:?} cannot be read: {error}"))?,
        Err(_unset) => EnvFilter::new(format!("info,{QUIET_LOGS}")),
    };
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
    Ok(())
}

/// Cancels `stop` on SIGTERM or SIGINT; a second signal ends the process at once.
fn stop_on_signal(stop: CancellationToken) -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        for last in [false, true] {
            tokio::select! {
                _signal = terminate.recv() => {}
                _signal = interrupt.recv() => {}
            }
            if last {
                std::process::exit(130);
            }
            stop.cancel();
        }
    })
}
