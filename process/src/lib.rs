//! What every Celeriac server program does alike: logs to stderr, settings by environment, signals, TLS provider, errors as one
//! chain, health pages. It knows nothing of Celery.

use std::error::Error;
use std::io::IsTerminal;

use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

pub mod health;

/// The environment variable that filters logs, such as `info` or `celeriac_inspector=debug`.
pub const LOG_FILTER: &str = "CELERIAC_LOG";

/// How logs are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Sends logs to stderr. Levels are those of `CELERIAC_LOG`, `default_filter` when it is unset or empty.
///
/// # Errors
/// When the variable cannot be read as a filter, or logs go somewhere already.
pub fn start_logs(format: LogFormat, default_filter: &str) -> Result<(), LogError> {
    let given = std::env::var(LOG_FILTER).unwrap_or_default();
    let given = given.replace(char::is_whitespace, "");
    let text = if given.is_empty() {
        default_filter
    } else {
        &given
    };
    // By targets and levels only: what filters by fields brings regular expressions, 300 KiB of them.
    let filter: Targets = text.parse().map_err(|source| LogError::Filter { source })?;
    let filtered = tracing_subscriber::registry().with(filter);
    let logs = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => {
            let logs = logs.with_ansi(std::io::stderr().is_terminal());
            filtered.with(logs).try_init()
        }
        LogFormat::Json => filtered.with(logs.json().flatten_event(true)).try_init(),
    };
    started.map_err(|source| LogError::Started { source })
}

/// Why there are no logs.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter cannot be read.
    #[error("{LOG_FILTER} is no filter such as `info` or `celeriac_inspector=debug`")]
    Filter {
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Logs go somewhere already.
    #[error("logs were started already")]
    Started {
        /// The library's words.
        source: TryInitError,
    },
}

/// Lets every long option of `command` and its subcommands be given by environment variable too: `--control-exchange` is
/// `<prefix>_CONTROL_EXCHANGE`. Values are not shown in help texts, since some are secrets. A repeatable option takes several
/// values from its variable, one a line.
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

/// Makes ring the TLS provider of this process; to be called before any client is made. Calling it again changes nothing.
pub fn use_ring() {
    // An error means that a provider is installed already, and there is only one in the tree.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A token that SIGTERM or SIGINT cancels. A second signal ends the process at once.
///
/// # Errors
/// When signals cannot be listened to.
pub fn stop_on_signal() -> std::io::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move {
        for last in [false, true] {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            if last {
                std::process::exit(130);
            }
            tracing::info!(signal = name, "stopping");
            token.cancel();
        }
    });
    Ok(stop)
}

/// An error and its causes in one line, joined by `: `. A cause whose words the line holds already is left out.
pub fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(one) = cause {
        let words = one.to_string();
        if !line.contains(&words) {
            line.push_str(": ");
            line.push_str(&words);
        }
        cause = one.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{words}")]
    struct Layer {
        words: &'static str,
        source: Option<Box<Layer>>,
    }

    fn chain(words: &[&'static str]) -> Layer {
        let (words, causes) = words.split_first().expect("a chain has a beginning");
        let source = (!causes.is_empty()).then(|| Box::new(chain(causes)));
        Layer { words, source }
    }

    #[test]
    fn a_chain_is_one_line_without_repeats() {
        let line = |words: &[&'static str]| error_chain(&chain(words));
        assert_eq!(line(&["cannot start"]), "cannot start");
        assert_eq!(
            line(&["cannot start", "transport error", "connection refused"]),
            "cannot start: transport error: connection refused"
        );
        assert_eq!(
            line(&["cannot start: refused", "refused", "os error 111"]),
            "cannot start: refused: os error 111"
        );
    }
}
