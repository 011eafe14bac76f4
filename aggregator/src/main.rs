//! The aggregator's program: settings, logs, signals.

use std::process::ExitCode;

use celeriac_aggregator::access::tokens::new_token;
use celeriac_aggregator::args::{Args, Command, TokenArgs};
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
    if let Some(Command::Token(asked)) = &args.command {
        return token(asked);
    }
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

/// The token and the line go to standard output, one a line; what they are, to standard error.
fn token(asked: &TokenArgs) -> anyhow::Result<()> {
    use std::io::Write as _;
    let new = new_token(&asked.name, &asked.roles, &asked.apps)?;
    let mut out = std::io::stdout().lock();
    eprintln!("The token, which is shown only now:");
    writeln!(out, "{}", new.token)?;
    eprintln!("Its line for --tokens-file:");
    writeln!(out, "{}", new.line)?;
    Ok(())
}
