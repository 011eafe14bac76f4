//! What was typed. Nothing past `config` sees it. Each option is an environment variable too: `CELERIAC_AGGREGATOR_` and
//! its name.

use std::path::PathBuf;

use celeriac_process::LogFormat;
use clap::Parser;

/// Shows Celery apps live, keeps their history, and serves both over gRPC and HTTP on one port.
#[derive(Debug, Parser)]
#[command(name = "celeriac-aggregator", version, max_term_width = 100)]
pub struct Args {
    /// Address to serve on. Without an auth mode it must be a loopback address.
    #[arg(long, default_value = "127.0.0.1:5555", value_name = "IP:PORT")]
    pub listen: String,

    /// Folder for history and journal; made when missing. Default: celeriac in the user's state folder.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// A broker to inspect from this process, as URL or NAME=URL; may be repeated. A password on the command line can be
    /// read by everybody on this machine: prefer `CELERIAC_AGGREGATOR_BROKER` (several separated by white space) or
    /// `--broker-file`.
    #[arg(long, value_name = "[NAME=]URL")]
    pub broker: Vec<String>,

    /// A file with one URL or NAME=URL a line; # begins a comment.
    #[arg(long, value_name = "FILE")]
    pub broker_file: Option<PathBuf>,

    /// How long finished tasks are kept: an age, a count, both, or `off`.
    #[arg(long, default_value = "7d,1000000", value_name = "AGE,COUNT")]
    pub retention: String,

    /// A worker counts as silent after max(2 × its heartbeat interval + 1 s, this).
    #[arg(long, default_value = "10s", value_name = "TIME")]
    pub offline_after: String,

    /// A worker that is gone leaves lists and metrics after this.
    #[arg(long, default_value = "1h", value_name = "TIME")]
    pub worker_retention: String,

    /// The name of an app's own control or inspect command that may be sent (`celeriac control custom`); may be repeated,
    /// and in the environment several are separated by white space. Others are refused; Celery's own need no permission.
    #[arg(long, value_name = "NAME")]
    pub allow_command: Vec<String>,

    /// How the brokers are inspected.
    #[command(flatten)]
    pub inspect: crate::inprocess::InspectArgs,

    /// How logs are written, to standard error. Which ones is said by `CELERIAC_LOG`, such as `info` or `celeriac=debug`.
    #[arg(long, value_enum, default_value_t)]
    pub log_format: LogFormat,
}
