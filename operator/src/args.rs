//! What can be typed on a command line. It checks nothing but form; [`crate::config`] says what is valid.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::process::LogFormat;

/// What the environment variables of `celeriac-operator` begin with.
pub const ENVIRONMENT: &str = "CELERIAC_OPERATOR";

/// Runs Celery apps on Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "celeriac-operator", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How logs are written to stderr; `CELERIAC_LOG` filters them
    #[arg(long, global = true, value_enum, default_value_t)]
    pub log_format: LogFormat,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the definitions of the custom resources as YAML
    Crd(CrdArgs),
    /// Run the operator
    Run(RunArgs),
}

/// Arguments of `crd`.
#[derive(Debug, clap::Args)]
pub struct CrdArgs {
    /// Write one file for each definition into this folder instead
    #[arg(long, value_name = "FOLDER")]
    pub output: Option<PathBuf>,
}

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// Look after this namespace only (repeatable) [default: all]
    #[arg(long, value_name = "NAME")]
    pub namespace: Vec<String>,
    /// Where the inspectors of apps report to, such as `http://celeriac-aggregator:5555`; without it there are none
    #[arg(long, value_name = "URL")]
    pub aggregator: Option<String>,
    /// The image of inspectors whose app names none
    #[arg(long, value_name = "IMAGE", default_value = concat!("celeriac/inspector:", env!("CARGO_PKG_VERSION")))]
    pub inspector_image: String,
    /// Serve `/livez`, `/readyz` and `/metrics` on this address, such as `127.0.0.1:9809` [default: off]
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// The Lease that says which of several operators acts
    #[arg(long, value_name = "NAME", default_value = "celeriac-operator")]
    pub lease: String,
    /// Its namespace [default: the operator's own]
    #[arg(long, value_name = "NAME")]
    pub lease_namespace: Option<String>,
}

/// Lets every long option of `command` and its subcommands be given by environment variable too: `--lease-namespace` is
/// `<prefix>_LEASE_NAMESPACE`. A repeatable option takes several values from its variable, one a line.
#[must_use]
pub fn with_environment(command: clap::Command, prefix: &'static str) -> clap::Command {
    let command = command.mut_args(|arg| {
        let given_by_clap = matches!(arg.get_id().as_str(), "help" | "version");
        let (false, Some(long)) = (given_by_clap, arg.get_long()) else {
            return arg;
        };
        let name = format!("{prefix}_{}", long.to_ascii_uppercase().replace('-', "_"));
        let repeats = matches!(arg.get_action(), clap::ArgAction::Append);
        // clap keeps names for the life of the process; a command line is built once.
        let arg = arg.env(&*name.leak()).hide_env_values(true);
        if repeats {
            arg.value_delimiter('\n')
        } else {
            arg
        }
    });
    command.mut_subcommands(|subcommand| with_environment(subcommand, prefix))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        with_environment(Cli::command(), ENVIRONMENT).debug_assert();
    }
}
