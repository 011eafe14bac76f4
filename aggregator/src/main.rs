//! The aggregator's program: settings, logs, signals.

use std::process::ExitCode;

use celeriac_aggregator::args::Args;
use celeriac_aggregator::config::Config;
use celeriac_aggregator::inprocess::{ENVIRONMENT, QUIET_LOGS};
use celeriac_process::{error_chain, start_logs, stop_on_signal, use_ring, with_environment};
use clap::{CommandFactory as _, FromArgMatches as _};

/// The system allocator keeps fragments of bursts for long; mimalloc gives them back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("celeriac-aggregator: {}", error_chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn start() -> anyhow::Result<()> {
    use_ring();
    let matches = with_environment(Args::command(), ENVIRONMENT).get_matches();
    let args = Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let config = Config::try_from(args)?;
    start_logs(config.log_format, &format!("info,{QUIET_LOGS}"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        celeriac_aggregator::run::run(config, stop_on_signal()?).await?;
        Ok(())
    })
}
