//! What was typed. Nothing past `config` sees it. Each option is an environment variable too: `CELERIAC_AGGREGATOR_` and
//! its name.

use std::path::PathBuf;

use celeriac_process::LogFormat;
use clap::{Parser, Subcommand, ValueEnum};

use crate::access::Role;

/// What else to do than to serve.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a token: prints it, once, and the line for `--tokens-file`, which holds only its digest.
    Token(TokenArgs),
}

/// Arguments of `token`.
#[derive(Debug, clap::Args)]
pub struct TokenArgs {
    /// Who will bear it; the name stands in records and in the audit log.
    pub name: String,
    /// What they may do; may be repeated.
    #[arg(long = "role", value_name = "ROLE", required = true)]
    pub roles: Vec<Role>,
    /// On which app; may be repeated [default: all]
    #[arg(long = "app", value_name = "NAME")]
    pub apps: Vec<String>,
}

/// How callers are known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum AuthMode {
    /// They are not.
    #[default]
    None,
    /// By a file of tokens.
    Tokens,
    /// By Kubernetes: its tokens, its roles.
    Kubernetes,
}

/// Shows Celery apps live, keeps their history, and serves both over gRPC and HTTP on one port.
#[derive(Debug, Parser)]
#[command(name = "celeriac-aggregator", version, max_term_width = 100)]
pub struct Args {
    /// What else to do than to serve.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Address to serve on. Without an auth mode it must be a loopback address.
    #[arg(long, default_value = "127.0.0.1:5555", value_name = "IP:PORT")]
    pub listen: String,

    /// How callers are known. `none`: everybody is served, on a loopback address only. `tokens`: who bears a token of
    /// `--tokens-file`. `kubernetes`: who bears a token of Kubernetes for `--audience`; what they may do say its roles, by
    /// the resources `tasks`, `payloads`, `control` and `ingest` of the group inspect.celeriac.dev. Anything but `none` may be reached from other machines, over TLS.
    #[arg(long, value_enum, default_value_t, value_name = "MODE")]
    pub auth: AuthMode,

    /// The tokens: a line for each, `NAME SHA256 ROLE[,ROLE]=APP[,APP] …`, as `celeriac-aggregator token` writes it. It is
    /// read again when it changes.
    #[arg(long, value_name = "FILE")]
    pub tokens_file: Option<PathBuf>,

    /// The audience that tokens of Kubernetes must be for. Others are refused.
    #[arg(long, value_name = "NAME")]
    pub audience: Option<String>,

    /// The folder with the service account that asks Kubernetes about tokens and roles: `token` and `ca.crt`. It needs the
    /// role `system:auth-delegator` in all namespaces.
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/var/run/secrets/kubernetes.io/serviceaccount"
    )]
    pub kubernetes_account: PathBuf,

    /// Serve other machines in clear, with tokens that anybody on the way can read: only where a mesh or a proxy on this
    /// machine does the encryption.
    #[arg(long, conflicts_with = "tls_cert")]
    pub insecure_no_tls: bool,

    /// The certificate to serve with, and what leads from it to an authority: a PEM file. It is read again when it changes.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// The certificate's private key: a PEM file, not encrypted.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

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
