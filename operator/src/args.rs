//! What can be typed on a command line. It checks nothing but form; [`crate::config`] says what is valid.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use celeriac_process::LogFormat;

use crate::autoscale::{DOWN_WINDOW, DOWN_WINDOW_MAX};

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
    /// Turn objects of celery.celeryproject.org/v4 (RyanSiu1995/celery-operator) into ours, as YAML on standard output
    Convert(ConvertArgs),
    /// Run the operator
    Run(RunArgs),
    /// Take the operator's finalizers off every object, so that none waits for it once it is gone
    Uninstall(UninstallArgs),
}

/// Arguments of `convert`.
#[derive(Debug, clap::Args)]
pub struct ConvertArgs {
    /// The file to read, of one or many documents; standard input when left out or `-`
    #[arg(value_name = "FILE", default_value = "-")]
    pub file: PathBuf,
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
    /// Where the inspectors of apps report to, and where live numbers of status are from, such as
    /// `http://celeriac-aggregator:5555`; without it there are neither
    #[arg(long, value_name = "URL")]
    pub aggregator: Option<String>,
    /// The image of inspectors whose app names none
    #[arg(long, value_name = "IMAGE", default_value = concat!("celeriac/inspector:", env!("CARGO_PKG_VERSION")))]
    pub inspector_image: String,
    /// The authority that signs the aggregator's certificate, a PEM file; inspectors are told it too [default: those of the
    /// system]
    #[arg(long, value_name = "FILE", requires = "aggregator")]
    pub aggregator_ca: Option<PathBuf>,
    /// What the tokens of inspectors are made for; each then has a ServiceAccount of its own [default: they have no token]
    #[arg(long, value_name = "NAME", requires = "aggregator")]
    pub aggregator_audience: Option<String>,
    /// A file with the operator's own token for the aggregator, read anew for each connection
    #[arg(long, value_name = "FILE", requires = "aggregator")]
    pub aggregator_token_file: Option<PathBuf>,
    /// Pools that the operator scales get fewer workers only when for so many seconds no more were wanted, and not before it
    /// has looked on for as long
    #[arg(long, value_name = "SECONDS", default_value_t = DOWN_WINDOW.as_secs(),
        value_parser = clap::value_parser!(u64).range(5..=DOWN_WINDOW_MAX.as_secs()))]
    pub scale_down_window: u64,
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

/// Arguments of `uninstall`.
#[derive(Debug, clap::Args)]
pub struct UninstallArgs {
    /// In this namespace only (repeatable) [default: all]
    #[arg(long, value_name = "NAME")]
    pub namespace: Vec<String>,
    /// The Lease that says which of several operators acts; it is taken first, so that none sets a finalizer again
    #[arg(long, value_name = "NAME", default_value = "celeriac-operator")]
    pub lease: String,
    /// Its namespace, and that of the Deployment [default: that of the pod or kubeconfig]
    #[arg(long, value_name = "NAME")]
    pub lease_namespace: Option<String>,
    /// The operator's Deployment, which is set to no replicas first [default: somebody else stops the operator]
    #[arg(long, value_name = "NAME")]
    pub stop_deployment: Option<String>,
    /// After how many seconds to give up
    #[arg(long, value_name = "SECONDS", default_value_t = 240, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: u64,
}

#[cfg(test)]
mod tests {
    use celeriac_process::with_environment;
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        with_environment(Cli::command(), ENVIRONMENT).debug_assert();
    }
}
