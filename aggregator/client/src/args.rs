//! The command line as it is typed. It checks spelling only; what the words mean is `config`'s.

pub(crate) mod control;

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

const ABOUT: &str = "See what a Celery app does, and control its workers";

const EXAMPLES: &str = "\
Examples:
  celeriac workers
  celeriac tasks --filter 'state = FAILURE AND name = \"shop.mail\"' --limit 20
  celeriac tasks --search 'kwargs:order_id=7' --order-by 'runtime desc' -o wide
  celeriac task 4bb9ac42-6bb5-4a4b-a0fb-3d2b3b9c7c62
  celeriac watch tasks --filter 'state = FAILURE'
  celeriac tasks --all -o json | jq '.tasks[].id'
  celeriac control revoke 4bb9ac42-6bb5-4a4b-a0fb-3d2b3b9c7c62 --terminate

Exit status: 0 done, 1 the aggregator cannot be reached or refused, 2 wrong usage; see `celeriac control --help` for more.";

/// See what a Celery app does, and control its workers.
#[derive(Clone, Debug, Parser)]
#[command(name = "celeriac", version, about = ABOUT, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, ClapArgs)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// The aggregator, as host:port, http://host:port or https://host:port.
    // Read as text, because clap repeats what it cannot read, and that could hold a password.
    #[arg(
        long,
        global = true,
        value_name = "ADDR",
        env = "CELERIAC_SERVER",
        hide_env_values = true,
        default_value = "127.0.0.1:5555"
    )]
    pub(crate) server: String,
    /// Over https, trust the authorities in this PEM file, and no others [default: those of the system]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "CELERIAC_CA",
        hide_env_values = true
    )]
    pub(crate) ca: Option<PathBuf>,
    /// The name in the server's certificate, where the address is another, as behind a forwarded port.
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        env = "CELERIAC_SERVER_NAME",
        hide_env_values = true
    )]
    pub(crate) server_name: Option<String>,
    /// A file with the token that says who you are; the token itself may be in `CELERIAC_TOKEN`, and is no option, since
    /// everybody on a machine can read its command lines.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "CELERIAC_TOKEN_FILE",
        hide_env_values = true
    )]
    pub(crate) token_file: Option<PathBuf>,
    /// The Celery app; needed only where the aggregator serves several. Lists show all apps without it.
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        env = "CELERIAC_APP",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) app: String,
    /// How to print: json and yaml are the gRPC message in proto3 JSON form.
    #[arg(
        short,
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "table"
    )]
    pub(crate) output: Format,
    /// When to use colours; `NO_COLOR` is honoured.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: When,
    /// How to print times.
    #[arg(long, global = true, value_name = "STYLE", default_value = "relative")]
    pub(crate) time: Times,
}

/// Forms of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    // Columns for a person.
    Table,
    // More columns.
    Wide,
    // Canonical proto3 JSON.
    Json,
    // The same as YAML.
    Yaml,
}

/// When to do something that depends on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    // On a terminal.
    Auto,
    // Always.
    Always,
    // Never.
    Never,
}

/// How times are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Times {
    // As "3s ago".
    Relative,
    // In this machine's time zone.
    Local,
    // In UTC.
    Utc,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// List workers.
    #[command(visible_alias = "w")]
    Workers {
        /// AIP-160 filter over name, status, events, pool, queue, software, active, processed and slots.
        #[arg(
            long,
            value_name = "FILTER",
            default_value = "",
            hide_default_value = true
        )]
        filter: String,
    },
    /// Show one worker: pool, queues, counters, registered tasks; with -o wide its configuration.
    Worker {
        /// The node name, such as celery@host.
        name: String,
    },
    /// List queues with their depths.
    #[command(visible_alias = "q")]
    Queues,
    /// List tasks, newest first.
    #[command(visible_alias = "t")]
    Tasks(TasksArgs),
    /// Show one task: its life, arguments, result, attempts.
    Task {
        /// The task id.
        id: String,
    },
    /// Show the workflow that a task belongs to as a tree: what called what.
    Workflow {
        /// The id of any of its tasks.
        id: String,
        /// The most tasks to show, the oldest ones.
        #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
        limit: u64,
    },
    /// List task names with statistics.
    TaskNames,
    /// List gaps, newest first: spans in which events were or may have been missed, and how many starts were.
    Gaps {
        /// Only what was missed of this worker, such as celery@host.
        #[arg(
            long,
            value_name = "NAME",
            default_value = "",
            hide_default_value = true
        )]
        worker: String,
        /// The most gaps to show.
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
        limit: u64,
    },
    /// List apps: broker, inspector, totals; with -o wide gaps and messages that could not be read.
    Apps,
    /// Print changes as they happen, over disconnects.
    Watch(WatchArgs),
    /// Watch workers, queues and tasks live on this terminal, and control them. `?` in it shows the keys.
    Top,
    /// Send a command to workers, as `celery control` does: recorded, sent at most once, answered by each worker.
    #[command(after_help = format!("{}\n\n{}", control::EXAMPLES, control::STATUS))]
    Control(control::ControlArgs),
    /// Ask workers, as `celery inspect` does.
    #[command(after_help = format!("{}\n\n{}", control::INSPECT_EXAMPLES, control::STATUS))]
    Inspect(control::InspectArgs),
    /// List commands that were sent, newest first.
    Commands {
        /// The most commands to show.
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
        limit: u64,
    },
    /// Show one command with the answers so far, late ones included.
    #[command(name = "command")]
    Record {
        /// Its request id.
        #[arg(value_name = "ID")]
        request_id: String,
    },
    /// Print a completion script.
    Completions {
        /// The shell it is for.
        shell: clap_complete::Shell,
    },
}

/// Options of `tasks`.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct TasksArgs {
    /// AIP-160 filter, such as `state = FAILURE AND runtime > 5`.
    #[arg(
        long,
        value_name = "FILTER",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) filter: String,
    /// Flower's search grammar, such as `state:FAILURE name:mail`, on top of --filter.
    #[arg(
        long,
        value_name = "SEARCH",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) search: String,
    /// `first_seen`, `last_seen`, `finish_seen`, `runtime`, `name`, `state` or `worker`, with ` asc` or ` desc`.
    #[arg(
        long,
        value_name = "FIELD",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) order_by: String,
    /// The most tasks to show.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: u64,
    /// Show all tasks there are.
    #[arg(long, conflicts_with = "limit")]
    pub(crate) all: bool,
    /// How much of each task json and yaml hold; full needs the right to read payloads. -o wide always asks for full.
    #[arg(long, value_name = "VIEW", default_value = "basic")]
    pub(crate) view: TaskView,
}

/// How much of a task to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TaskView {
    // Without arguments, results, attempts and custom fields.
    Basic,
    // Everything.
    Full,
}

/// Options of `watch`.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct WatchArgs {
    /// What to watch; all but task-names unless said.
    #[arg(value_name = "KIND")]
    pub(crate) kinds: Vec<Kind>,
    /// AIP-160 filter on tasks.
    #[arg(
        long,
        value_name = "FILTER",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) filter: String,
    /// Begin with the tasks there are, not only with their changes.
    #[arg(long)]
    pub(crate) snapshot: bool,
    /// How much of each task json and yaml hold; full needs the right to read payloads.
    #[arg(long, value_name = "VIEW", default_value = "basic")]
    pub(crate) view: TaskView,
}

/// Kinds of things to watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    // Apps.
    Apps,
    // Workers.
    Workers,
    // Queues.
    Queues,
    // Tasks.
    Tasks,
    // Task names.
    TaskNames,
}
