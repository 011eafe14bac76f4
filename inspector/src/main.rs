//! `celeriac-inspector`: one app's broker, read and asked. Parses the command line, starts what it names, and prints why it
//! ended.

use std::process::ExitCode;

use anyhow::Context;
use celeriac_inspector::args::{Cli, Command, ENVIRONMENT};
use celeriac_inspector::config::{RunConfig, TailConfig};
use celeriac_inspector::run::inspect;
use celeriac_inspector::sidecar::{SidecarConfig, sidecar};
use celeriac_inspector::tail::tail;
use celeriac_inspector::transport::amqp::QUIET_LOGS;
use celeriac_inspector::uplink::GrpcConnector;
use celeriac_process::health::Health;
use celeriac_process::{error_chain, start_logs, stop_on_signal, use_ring, with_environment};
use clap::{CommandFactory, FromArgMatches};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Threads of the runtime: one reads the broker, one feeds the aggregator.
const THREADS: usize = 2;

fn main() -> ExitCode {
    let command = with_environment(Cli::command(), ENVIRONMENT);
    let cli = Cli::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit());
    match start(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("celeriac-inspector: {}", error_chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn start(cli: Cli) -> anyhow::Result<()> {
    use_ring();
    // What `tail` says beside events is said only when something is amiss.
    let default_filter = match cli.command {
        Command::Run(_) | Command::Sidecar(_) => "info",
        Command::Tail(_) => "warn",
    };
    start_logs(cli.log_format, &format!("{default_filter},{QUIET_LOGS}"))?;
    let mut builder = match cli.command {
        // There is one of it beside every worker, and it has little to do.
        Command::Sidecar(_) => tokio::runtime::Builder::new_current_thread(),
        Command::Run(_) | Command::Tail(_) => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder.worker_threads(THREADS).enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    runtime.block_on(async {
        let stop = stop_on_signal().context("cannot listen to signals")?;
        match cli.command {
            Command::Run(args) => run(args.try_into()?, stop).await,
            Command::Tail(args) => {
                let config = TailConfig::try_from(args)?;
                let out = std::io::BufWriter::new(anstream::stdout());
                Ok(tail(&config, out, stop).await?)
            }
            Command::Sidecar(args) => {
                let config = SidecarConfig::try_from(args)?;
                tracing::info!(
                    worker = config.worker,
                    app = config.app,
                    broker = %config.broker,
                    version = env!("CARGO_PKG_VERSION"),
                    "guarding"
                );
                Ok(sidecar(config, stop).await?)
            }
        }
    })
}

async fn run(config: RunConfig, stop: CancellationToken) -> anyhow::Result<()> {
    tracing::info!(
        app = config.inspector.app,
        broker = %config.inspector.broker,
        aggregator = %config.aggregator,
        version = env!("CARGO_PKG_VERSION"),
        "inspecting"
    );
    let served = CancellationToken::new();
    let health = match config.listen {
        None => None,
        Some(address) => {
            let health = Health::bind(address, config.inspector.metrics.clone())
                .await
                .with_context(|| format!("cannot listen on {address}"))?;
            Some(tokio::spawn(health.serve(served.clone())))
        }
    };
    let connector = GrpcConnector::new(config.aggregator, config.trust);
    // Boxed: it is all that an inspector is.
    let inspected = Box::pin(inspect(config.inspector, connector, stop)).await;
    // Health is the last to go: it is asked until the end.
    served.cancel();
    if let Some(health) = health {
        health.await?.context("serving health and metrics failed")?;
    }
    Ok(inspected?)
}
