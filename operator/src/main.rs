//! `celeriac-operator`: parses the command line, starts what it names, and prints why it ended.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use celeriac_operator::args::{Cli, Command};
use celeriac_operator::crd::manifests;
use celeriac_operator::process::error_chain;
use clap::Parser as _;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match start(Cli::parse()) {
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
    }
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
