//! `celeriac-operator`: parses the command line, starts what it names, and prints why it ended.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use celeriac_operator::args::{Cli, Command, ENVIRONMENT};
use celeriac_operator::config::Config;
use celeriac_operator::convert::convert;
use celeriac_operator::crd::manifests;
use celeriac_operator::uninstall::Uninstall;
use celeriac_process::{
    LogFormat, error_chain, start_logs, stop_on_signal, use_ring, with_environment,
};
use clap::{CommandFactory as _, FromArgMatches as _};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What is logged unless something else is asked for. What kube says of a lost watch is told by metrics and conditions; a warning of
/// it is enough.
const LOGS: &str = "info,kube_runtime=warn,kube_client=warn";

/// Threads of the runtime: the operator waits for the API server most of the time.
const THREADS: usize = 2;

fn main() -> ExitCode {
    let command = with_environment(Cli::command(), ENVIRONMENT);
    let cli = Cli::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit());
    match start(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("celeriac-operator: {}", error_chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn start(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Crd(args) => print_definitions(args.output.as_deref()),
        Command::Convert(args) => print_converted(&args.file),
        Command::Run(args) => {
            let config = Config::try_from(args)?;
            in_runtime(cli.log_format, async |stop| {
                Ok(celeriac_operator::run::run(config, stop).await?)
            })
        }
        Command::Uninstall(args) => {
            let uninstall = Uninstall::from(args);
            in_runtime(cli.log_format, async |stop| Ok(uninstall.run(stop).await?))
        }
    }
}

/// Does what talks to the API server, until it is done or a signal says to stop.
fn in_runtime(
    log_format: LogFormat,
    work: impl AsyncFnOnce(CancellationToken) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    use_ring();
    start_logs(log_format, LOGS)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let stop = stop_on_signal().context("cannot listen to signals")?;
        work(stop).await
    })
}

fn print_converted(file: &Path) -> anyhow::Result<()> {
    let text = if file == Path::new("-") {
        std::io::read_to_string(std::io::stdin()).context("cannot read standard input")?
    } else {
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?
    };
    let conversion = convert(&text)?;
    for note in &conversion.notes {
        anstream::eprintln!("note: {note}");
    }
    for object in &conversion.objects {
        anstream::print!("---\n{}", serde_saphyr::to_string(object)?);
    }
    Ok(())
}

fn print_definitions(folder: Option<&Path>) -> anyhow::Result<()> {
    for (file, text) in manifests()? {
        match folder {
            Some(folder) => {
                let path = folder.join(file);
                std::fs::write(&path, text)
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
            None => anstream::print!("---\n{text}"),
        }
    }
    Ok(())
}
