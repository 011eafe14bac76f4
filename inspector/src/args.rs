//! What can be typed on a command line. It checks nothing but form; [`crate::config`] says what is valid.

use std::path::PathBuf;
use std::time::Duration;

use celeriac_process::LogFormat;
use clap::builder::BoolishValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::wire::content::Serializer;
use crate::wire::topology::{DEFAULT_CONTROL_EXCHANGE, DEFAULT_EVENT_EXCHANGE};

/// What the environment variables of `celeriac-inspector` begin with.
pub const ENVIRONMENT: &str = "CELERIAC_INSPECTOR";

/// Headings of groups of options in help texts.
const BROKER: &str = "Broker options";
const INSPECTION: &str = "Inspection options";

/// Reads a Celery app's broker: events, remote control, queue depths.
#[derive(Debug, Parser)]
#[command(name = "celeriac-inspector", version, max_term_width = 100)]
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
    /// Inspect one app and report to an aggregator
    Run(RunArgs),
    /// Print an app's events as they happen
    Tail(TailArgs),
    /// Answer probes for one worker, and drain it before it goes
    Sidecar(SidecarArgs),
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The broker.
    #[command(flatten)]
    pub broker: BrokerArgs,
    /// What the app's settings are, and how it is inspected.
    #[command(flatten)]
    pub options: BrokerOptions,
    /// The aggregator, such as `http://127.0.0.1:5555`
    #[arg(long, value_name = "URL")]
    pub aggregator: String,
    /// Over https, trust the authorities in this PEM file to name the aggregator, and no others [default: those of the
    /// system]
    #[arg(long, value_name = "FILE")]
    pub aggregator_ca: Option<PathBuf>,
    /// A file with the token that says to the aggregator who this is, read anew for each connection
    #[arg(long, value_name = "FILE")]
    pub aggregator_token_file: Option<PathBuf>,
    /// The app's name in the aggregator
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub app: String,
    /// This inspector's name, the same after a restart [default: the app's name]
    #[arg(long, value_name = "NAME")]
    pub instance: Option<String>,
    /// Serve `/livez`, `/readyz` and `/metrics` on this address, such as `127.0.0.1:9808` [default: off]
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
}

/// Which broker.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct BrokerArgs {
    /// The broker's URL, as in Celery's `broker_url`: `redis://[USER][:PASSWORD]@HOST[:PORT]/DB` or
    /// `amqp://USER:PASSWORD@HOST[:PORT]/VHOST`
    #[arg(long, value_name = "URL")]
    pub broker: Option<String>,
    /// A file that holds the broker's URL, to keep its password out of the command line
    #[arg(long, value_name = "FILE")]
    pub broker_file: Option<PathBuf>,
}

/// The app's settings that change names on its broker.
#[derive(Debug, Clone, PartialEq, Args)]
pub struct NameOptions {
    /// One of the app's `broker_transport_options` that change names, such as `global_keyprefix=app1:` (repeatable)
    #[arg(long = "transport-option", value_name = "NAME=VALUE", help_heading = BROKER)]
    pub transport_options: Vec<String>,
    /// The app's `control_exchange`
    #[arg(long, value_name = "NAME", default_value = DEFAULT_CONTROL_EXCHANGE, help_heading = BROKER)]
    pub control_exchange: String,
    /// The app's `event_exchange`
    #[arg(long, value_name = "NAME", default_value = DEFAULT_EVENT_EXCHANGE, help_heading = BROKER)]
    pub event_exchange: String,
}

impl Default for NameOptions {
    fn default() -> Self {
        Self {
            transport_options: Vec::new(),
            control_exchange: DEFAULT_CONTROL_EXCHANGE.to_owned(),
            event_exchange: DEFAULT_EVENT_EXCHANGE.to_owned(),
        }
    }
}

/// The app's settings, and how it is inspected. Shared by everything that inspects.
#[derive(Debug, Clone, PartialEq, Args)]
pub struct BrokerOptions {
    /// The app's settings.
    #[command(flatten)]
    pub names: NameOptions,
    /// Switch task events on in workers that do not send them
    #[arg(long, value_parser = BoolishValueParser::new(), help_heading = INSPECTION)]
    pub enable_events: bool,
    /// Control messages that workers may get on account of inspection, all workers together, per second [default: 50, or
    /// one for each worker when that is more]
    #[arg(long, value_name = "PER_SECOND", help_heading = INSPECTION)]
    pub budget: Option<f64>,
    /// Workers asked by one control message at most
    #[arg(long, value_name = "WORKERS", default_value_t = 50, help_heading = INSPECTION)]
    pub destinations: usize,
    /// How commands to workers are serialized: the app's `task_serializer`, or another one that is in its `accept_content`
    #[arg(long, value_name = "NAME", value_enum, default_value_t, help_heading = INSPECTION)]
    pub control_serializer: ControlSerializer,
    /// Time between two looks at every worker
    #[arg(
        long,
        value_name = "TIME",
        default_value = "60s",
        value_parser = duration,
        help_heading = INSPECTION
    )]
    pub round: Duration,
    /// The app's Redis result backend, as in Celery's `result_backend`, to look up what became of tasks whose events were
    /// missed; of one of several apps: NAME=URL (repeatable). It is only read [default: none]
    #[arg(long, value_name = "[NAME=]URL", help_heading = INSPECTION)]
    pub result_backend: Vec<String>,
    /// A file with the URL of the result backend, or one NAME=URL a line, to keep passwords out of the command line
    #[arg(long, value_name = "FILE", help_heading = INSPECTION)]
    pub result_backend_file: Option<PathBuf>,
    /// The `global_keyprefix` of the app's `result_backend_transport_options`, as `global_keyprefix=app1:`
    #[arg(long, value_name = "NAME=VALUE", help_heading = INSPECTION)]
    pub result_backend_option: Vec<String>,
    /// On RabbitMQ, let events end with the connection: no queue keeps them while the inspector is away
    #[arg(long, value_parser = BoolishValueParser::new(), help_heading = INSPECTION)]
    pub ephemeral: bool,
    /// RabbitMQ's management, `http://[USER:PASSWORD@]HOST:15672`, which tells of all queues and of what is not
    /// acknowledged; with the broker's user unless it names one [default: the broker's host, port 15672, if it is there]
    #[arg(long, value_name = "URL", help_heading = INSPECTION)]
    pub management: Option<String>,
    /// Memory for what the aggregator has not acknowledged, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 32, help_heading = INSPECTION)]
    pub buffer: usize,
}

/// Serializers for commands to workers. `pickle` is never written, and what is signed needs a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ControlSerializer {
    /// Celery's default
    #[default]
    Json,
    /// For apps with `accept_content = ['msgpack']`
    Msgpack,
    /// For apps with `accept_content = ['yaml']`; their workers cannot tell of their pools
    Yaml,
}

impl From<ControlSerializer> for Serializer {
    fn from(named: ControlSerializer) -> Self {
        match named {
            ControlSerializer::Json => Self::Json,
            ControlSerializer::Msgpack => Self::MessagePack,
            ControlSerializer::Yaml => Self::Yaml,
        }
    }
}

/// Arguments of `tail`.
#[derive(Debug, Args)]
pub struct TailArgs {
    /// The broker.
    #[command(flatten)]
    pub broker: BrokerArgs,
    /// The app's settings.
    #[command(flatten)]
    pub names: NameOptions,
    /// How events are printed
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Output,
    /// Only events of this type, such as `task-failed` or `worker-*` (repeatable)
    #[arg(long = "type", value_name = "TYPE")]
    pub types: Vec<String>,
    /// Only events of tasks of this name, such as `shop.tasks.*` (repeatable)
    #[arg(long = "task", value_name = "NAME")]
    pub tasks: Vec<String>,
    /// Only events of this worker, such as `celery@mail-*` (repeatable)
    #[arg(long = "worker", value_name = "NAME")]
    pub workers: Vec<String>,
    /// End after this many events
    #[arg(long, short = 'n', value_name = "N")]
    pub count: Option<u64>,
    /// End after this time, such as `10s` or `5m`
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,
}

/// Arguments of `sidecar`.
#[derive(Debug, Args)]
pub struct SidecarArgs {
    /// The broker.
    #[command(flatten)]
    pub broker: BrokerArgs,
    /// The app's settings.
    #[command(flatten)]
    pub names: NameOptions,
    /// How commands to the worker are serialized: the app's `task_serializer`, or another one that is in its `accept_content`
    #[arg(long, value_name = "NAME", value_enum, default_value_t, help_heading = BROKER)]
    pub control_serializer: ControlSerializer,
    /// The worker's node name, such as `celery@host`
    #[arg(long, value_name = "NODE")]
    pub worker: String,
    /// The app's name in the aggregator
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub app: String,
    /// Who tells of the worker, such as `http://127.0.0.1:5555` [default: nobody; the worker is asked, seldom]
    #[arg(long, value_name = "URL")]
    pub aggregator: Option<String>,
    /// Over https, trust the authorities in this PEM file to name the aggregator, and no others [default: those of the
    /// system]
    #[arg(long, value_name = "FILE")]
    pub aggregator_ca: Option<PathBuf>,
    /// A file with the token that says to the aggregator who this is, read anew for each connection
    #[arg(long, value_name = "FILE")]
    pub aggregator_token_file: Option<PathBuf>,
    /// Serve `/livez`, `/readyz`, `/drain` and `/metrics` on this address, which a kubelet has to reach
    #[arg(long, value_name = "HOST:PORT", default_value = "0.0.0.0:9810")]
    pub listen: String,
    /// `/livez` fails when the worker answers, is idle and has taken nothing for so long from a queue with messages
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub stalled_after: Duration,
    /// How long a drain may take: 30 s less than the pod's grace period
    #[arg(long, value_name = "TIME", default_value = "3570s", value_parser = duration)]
    pub drain_deadline: Duration,
    /// How long after that deadline a worker that still lives gets its queues back
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub drain_lease: Duration,
    /// What a drain is to be asked for with, in the header `x-celeriac-drain-token`; better by environment than typed
    /// [default: no drains]
    #[arg(long, value_name = "TOKEN", conflicts_with = "drain_token_file")]
    pub drain_token: Option<String>,
    /// A file with that token
    #[arg(long, value_name = "FILE")]
    pub drain_token_file: Option<PathBuf>,
}

/// How events are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A line for people
    #[default]
    Human,
    /// A JSON object a line, with Celery's field names and the time it was received
    Json,
}

/// Reads a time such as `10s`, `1.5m` or `2h`.
///
/// # Errors
/// When it is none, or not positive.
pub fn duration(text: &str) -> Result<Duration, String> {
    let example = "write a number and a unit, such as 500ms, 10s, 5m or 1h";
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let number: f64 = text[..text.len() - unit.len()]
        .parse()
        .map_err(|_| example)?;
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return Err(example.to_owned()),
    };
    let duration = Duration::try_from_secs_f64(number * seconds).map_err(|_| example)?;
    if duration.is_zero() {
        return Err("it must be longer than 0".to_owned());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use celeriac_process::with_environment;
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        with_environment(Cli::command(), ENVIRONMENT).debug_assert();
    }

    #[test]
    fn times_are_read_with_their_unit() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2h"), Ok(Duration::from_hours(2)));
        for wrong in [
            "",
            "10",
            "s",
            "-1s",
            "0s",
            "10 parsecs",
            "1e400s",
            "99999999999999999999d",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    /// Kubernetes sets variables of these endings for every Service of a namespace.
    #[test]
    fn no_environment_variable_can_be_mistaken_for_a_service_link() {
        let command = with_environment(Cli::command(), ENVIRONMENT);
        let mut names = Vec::new();
        for subcommand in command.get_subcommands() {
            let variables = subcommand.get_arguments().filter_map(clap::Arg::get_env);
            names.extend(
                variables
                    .filter_map(|name| name.to_str())
                    .map(str::to_owned),
            );
        }
        assert!(
            names.iter().any(|name| name == "CELERIAC_INSPECTOR_BROKER"),
            "{names:?}"
        );
        assert!(
            names
                .iter()
                .any(|name| name == "CELERIAC_INSPECTOR_BROKER_FILE")
        );
        for ending in ["_PORT", "_HOST", "_ADDR", "_PROTO"] {
            assert!(
                names.iter().all(|name| !name.ends_with(ending)),
                "{names:?}"
            );
        }
    }

    #[test]
    fn help_never_shows_what_the_environment_holds() {
        let command = with_environment(Cli::command(), ENVIRONMENT);
        for subcommand in command.get_subcommands() {
            let visible = subcommand
                .get_arguments()
                .filter(|arg| arg.get_env().is_some() && !arg.is_hide_env_values_set());
            assert_eq!(visible.count(), 0);
        }
    }
}
