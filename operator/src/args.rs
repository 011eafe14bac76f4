//! What can be typed on a command line. It checks nothing but form.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::process::LogFormat;

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
}

/// Arguments of `crd`.
#[derive(Debug, clap::Args)]
pub struct CrdArgs {
    /// Write one file for each definition into this folder instead
    #[arg(long, value_name = "FOLDER")]
    pub output: Option<PathBuf>,
}
