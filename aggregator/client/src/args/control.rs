//! The commands to workers as they are typed, near to what `celery control` and `celery inspect` take.

use std::str::FromStr as _;

use clap::{Args as ClapArgs, Subcommand};
use jiff::SignedDuration;

pub(super) const EXAMPLES: &str = "\
Examples:
  celeriac control ping
  celeriac control revoke 4bb9ac42-6bb5-4a4b-a0fb-3d2b3b9c7c62 --terminate
  celeriac control pool-grow 2 --worker celery@host
  celeriac control add-consumer mail --all --reason 'mail is late'
  celeriac control shutdown --worker celery@host --dry-run
  celeriac command 0b0c7a5e-3f0a-4a0e-9d1e-5a3b8a6f3f55

Names with underscores, as `celery control` has them, are taken too.

A worker's answer is one of: ok; no effect (Celery said ok and did nothing); error; no answer yet (the command may still \
run: `celeriac command ID` shows late answers); none expected (Celery never answers this command).";

pub(super) const STATUS: &str = "\
Exit status: 0 published, and no worker answered with an error; 1 the aggregator cannot be reached or refused; 2 wrong \
usage, or not confirmed; 3 a worker answered with an error (or, for ping and inspect, a worker did not answer or none did); \
4 the command was not published, or it is not known whether it was.";

pub(super) const INSPECT_EXAMPLES: &str = "\
Examples:
  celeriac inspect active
  celeriac inspect stats --worker celery@host -o json
  celeriac inspect conf --arguments '{\"with_defaults\": true}'
  celeriac inspect query_task --arguments '{\"ids\": [\"4bb9ac42-6bb5-4a4b-a0fb-3d2b3b9c7c62\"]}'

What the aggregator knows already is had without asking workers: `celeriac workers`, `celeriac worker NAME`, `celeriac tasks`.";

/// Where a command goes and how it is recorded.
#[derive(Clone, Debug, Default, ClapArgs)]
#[command(next_help_heading = "Command options")]
pub(crate) struct SendArgs {
    /// A worker it goes to, such as celery@host; repeat it or separate names by commas.
    #[arg(
        short = 'd',
        long = "worker",
        visible_alias = "destination",
        global = true,
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub(crate) workers: Vec<String>,
    /// It goes to every worker of the app. ping, inspect, heartbeat and revoke do without --worker; all others must be told.
    #[arg(long, global = true, conflicts_with = "workers")]
    pub(crate) all: bool,
    /// How long to wait for answers, at most 1m.
    #[arg(long, visible_alias = "timeout", global = true, value_name = "TIME", default_value = "5s", value_parser = span)]
    pub(crate) wait: SignedDuration,
    /// Check, and show what would be sent; send nothing.
    #[arg(long, global = true)]
    pub(crate) dry_run: bool,
    /// Why, for the record.
    #[arg(
        long,
        global = true,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) reason: String,
    /// A UUID of this command. The same one again returns the record and sends nothing. Made when not given.
    #[arg(
        long,
        global = true,
        value_name = "UUID",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) request_id: String,
    /// Do not ask before what can do harm; needed for it where there is no terminal.
    #[arg(short, long, global = true)]
    pub(crate) yes: bool,
}

/// `control`.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct ControlArgs {
    #[command(flatten)]
    pub(crate) send: SendArgs,
    #[command(subcommand)]
    pub(crate) command: ControlCommand,
}

/// `inspect`.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct InspectArgs {
    /// stats, active, reserved, scheduled, `query_task`, revoked, registered, `active_queues`, conf, clock, report, memsample,
    /// memdump, objgraph or ping.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Its arguments, as a JSON object.
    #[arg(
        long,
        value_name = "JSON",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) arguments: String,
    #[command(flatten)]
    pub(crate) send: SendArgs,
}

/// What to tell workers.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ControlCommand {
    /// Ask workers whether they are there.
    Ping,
    /// Revoke tasks: workers discard them when they come. Goes to every worker unless --worker names some, because no one
    /// knows which worker will get a task that waits.
    Revoke {
        /// Task ids.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
        #[command(flatten)]
        terminate: TerminateArgs,
    },
    /// Revoke the tasks that carry one of these stamped headers. Goes to every worker unless --worker names some.
    #[command(alias = "revoke_by_stamped_headers")]
    RevokeByStampedHeaders {
        /// Headers, as name=value.
        #[arg(required = true, value_name = "NAME=VALUE", value_parser = pair)]
        headers: Vec<(String, String)>,
        #[command(flatten)]
        terminate: TerminateArgs,
    },
    /// Shut workers down, after the tasks they run. Celery never answers this; watch `celeriac workers`.
    Shutdown,
    /// Add pool processes.
    #[command(alias = "pool_grow")]
    PoolGrow {
        /// How many.
        #[arg(value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..))]
        count: i32,
    },
    /// Remove pool processes that are idle.
    #[command(alias = "pool_shrink")]
    PoolShrink {
        /// How many.
        #[arg(value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..))]
        count: i32,
    },
    /// Restart the pool, ending what it runs. Needs `worker_pool_restarts = True`.
    #[command(alias = "pool_restart")]
    PoolRestart {
        /// A module to import; repeat it for more.
        #[arg(long = "module", value_name = "MODULE")]
        modules: Vec<String>,
        /// Reload modules that are loaded.
        #[arg(long)]
        reload: bool,
    },
    /// Change the bounds of Celery's autoscaler. Needs workers started with --autoscale.
    Autoscale {
        /// Upper bound of pool processes.
        #[arg(value_parser = clap::value_parser!(i32).range(0..))]
        max: i32,
        /// Lower bound of pool processes.
        #[arg(value_parser = clap::value_parser!(i32).range(0..))]
        min: i32,
    },
    /// Consume from a queue.
    #[command(alias = "add_consumer")]
    AddConsumer {
        /// The queue.
        queue: String,
        /// Its exchange; the queue's name unless said.
        #[arg(long, default_value = "", hide_default_value = true)]
        exchange: String,
        /// The exchange's type; direct unless said.
        #[arg(long, default_value = "", hide_default_value = true)]
        exchange_type: String,
        /// The binding key; the queue's name unless said.
        #[arg(long, default_value = "", hide_default_value = true)]
        routing_key: String,
    },
    /// Stop consuming from a queue, until add-consumer or the worker's next start. Celeriac's operator gives workers back the
    /// queues that they lost, but not these.
    #[command(alias = "cancel_consumer")]
    CancelConsumer {
        /// The queue.
        queue: String,
    },
    /// Change the rate limit of a task name.
    #[command(alias = "rate_limit")]
    RateLimit {
        /// The task's name.
        task: String,
        /// Such as 10/s, 10/m or 10/h, by each worker; 0 is none.
        rate: String,
    },
    /// Change the time limits of a task name. Both are set: the one that is not given is removed.
    #[command(alias = "time_limit", group(clap::ArgGroup::new("limit").required(true).multiple(true)))]
    TimeLimit {
        /// The task's name.
        task: String,
        /// After this `SoftTimeLimitExceeded` is raised in the task.
        #[arg(long, value_name = "TIME", group = "limit", value_parser = span)]
        soft: Option<SignedDuration>,
        /// After this the task's process is killed.
        #[arg(long, value_name = "TIME", group = "limit", value_parser = span)]
        hard: Option<SignedDuration>,
        /// Remove both limits.
        #[arg(long, group = "limit", conflicts_with_all = ["soft", "hard"])]
        none: bool,
    },
    /// Make workers send task events.
    #[command(alias = "enable_events")]
    EnableEvents,
    /// Make workers stop sending task events: tasks are then seen only where workers are asked.
    #[command(alias = "disable_events")]
    DisableEvents,
    /// Make workers send a heartbeat now.
    Heartbeat,
    /// Send a command of the app's own, if the aggregator's configuration allows it.
    Custom {
        /// Its name.
        name: String,
        /// Its arguments, as a JSON object.
        #[arg(
            long,
            value_name = "JSON",
            default_value = "",
            hide_default_value = true
        )]
        arguments: String,
    },
}

/// What happens to a revoked task that runs already.
#[derive(Clone, Debug, Default, ClapArgs)]
pub(crate) struct TerminateArgs {
    /// End the process of a task that runs already. Prefork only; whatever else that process runs by then ends too.
    #[arg(long)]
    pub(crate) terminate: bool,
    /// With this signal; SIGTERM unless said.
    #[arg(
        long,
        value_name = "SIGNAL",
        default_value = "",
        hide_default_value = true,
        requires = "terminate"
    )]
    pub(crate) signal: String,
}

/// A span such as `5s` or `1m30s`; a bare number is seconds, as `celery --timeout` has it.
fn span(text: &str) -> Result<SignedDuration, String> {
    let wrong = || format!("{text:?} is no span of time such as 5s, 500ms or 1m30s");
    let span = match text.parse::<f64>() {
        Ok(seconds) => SignedDuration::try_from_secs_f64(seconds).map_err(|_| wrong())?,
        Err(_) => SignedDuration::from_str(text).map_err(|_| wrong())?,
    };
    if span.is_negative() {
        return Err(wrong());
    }
    Ok(span)
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is no header such as name=value")),
    }
}
