//! The command line `celeriac`: asks an aggregator and shows the answer. It talks to no broker and keeps no state. Called
//! `kubectl-celery`, it is a plugin of kubectl.

mod args;
mod canonical;
mod commands;
mod config;
mod output;
mod plugin;
mod render;
mod top;

use std::io::{self, Write as _};
use std::process::ExitCode;

use celeriac_client::{Code, Error};
use clap::Parser as _;

use crate::args::Args;
use crate::config::Config;
use crate::output::{Failure, Verdict};
use crate::render::text::{Tone, plain};

/// The exit status of wrong usage, as clap has it.
const USAGE: u8 = 2;
/// The exit status when a worker answered a command with an error, or a question not at all.
const WORKER_ERROR: u8 = 3;
/// The exit status when a command did not go out, or may not have.
const NOT_PUBLISHED: u8 = 4;

fn main() -> ExitCode {
    if plugin::is_called() {
        return plugin::main();
    }
    let config = match Config::try_from(Args::parse()) {
        Ok(config) => config,
        Err(error) => {
            complain(&with_sources(&error), anstream::ColorChoice::Auto);
            return ExitCode::from(USAGE);
        }
    };
    let color = config.color;
    // One thread is enough for one connection, and starts faster.
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("cannot start: {error}"), color);
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(commands::run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has seen enough.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            complain(&explained(&failure), color);
            status(&failure)
        }
    }
}

fn status(failure: &Failure) -> ExitCode {
    match failure {
        Failure::Client(_) | Failure::Output(_) => ExitCode::FAILURE,
        Failure::Setup(_) | Failure::Ca { .. } | Failure::Unconfirmed(_) | Failure::NoTerminal => {
            ExitCode::from(USAGE)
        }
        Failure::Command(Verdict::Errors(_) | Verdict::Silent(_) | Verdict::Nobody) => {
            ExitCode::from(WORKER_ERROR)
        }
        Failure::Unanswered { .. } | Failure::Command(Verdict::NotPublished | Verdict::Unknown) => {
            ExitCode::from(NOT_PUBLISHED)
        }
    }
}

/// Prints an error. Standard error that cannot be written to leaves nobody to tell.
fn complain(message: &str, color: anstream::ColorChoice) {
    let mut stderr = anstream::AutoStream::new(io::stderr(), color);
    let label = Tone::Bad.paint("error:", true);
    let _ = writeln!(stderr, "{label} {}", plain(message));
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

/// The failure with what to do about it, where that is known.
fn explained(failure: &Failure) -> String {
    let hint = match failure {
        Failure::Client(Error::Unreachable { .. }) => {
            "; is celeriac-aggregator running? use --server ADDR or CELERIAC_SERVER to name another"
        }
        Failure::Client(Error::NotGrpc { .. }) => {
            "; use --server ADDR or CELERIAC_SERVER to name the aggregator"
        }
        Failure::Client(error) if error.code() == Code::Unimplemented => {
            "; is the aggregator older than this command?"
        }
        _ => "",
    };
    format!("{}{hint}", with_sources(failure))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_may_be_on_its_way_says_how_to_find_out() {
        let failure = Failure::Unanswered {
            request_id: "id-1".to_owned(),
            error: Error::Broken {
                address: "h:1".parse().expect("an address"),
                reason: "connection reset".to_owned(),
            },
        };
        let said = explained(&failure);
        for part in [
            "`celeriac command id-1` tells",
            "--request-id id-1",
            "http://h:1 broke: connection reset",
        ] {
            assert!(said.contains(part), "{part} in {said}");
        }
        assert_eq!(status(&failure), ExitCode::from(NOT_PUBLISHED));
    }
}
