//! What a command to workers means: the request, whom it goes to when nobody was named, and what harm it can do.

use celeriac_client::v1;
use celeriac_client::v1::execute_command_request::Command;
use jiff::SignedDuration;

use crate::args::control::{ControlArgs, ControlCommand, InspectArgs, SendArgs, TerminateArgs};

/// A command that is ready to be sent, but for its request id where none was given.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sending {
    pub(crate) request: v1::ExecuteCommandRequest,
    /// What it will do that cannot be taken back, as a question begins: `Shut down`. `None` when it does no harm.
    pub(crate) harm: Option<&'static str>,
    /// Why it goes to all workers although nobody said so.
    pub(crate) why_all: Option<&'static str>,
    /// The harm is agreed to.
    pub(crate) yes: bool,
    /// Whether it asks, so that no answer is a failure.
    pub(crate) asks: bool,
}

/// Why a command cannot be sent as it is given.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CommandError {
    /// Nobody was named.
    #[error("this changes workers, so say which: --worker NAME (again for more), or --all")]
    NoDestination,
    /// Arguments that are no JSON object.
    #[error("--arguments takes a JSON object, such as '{{\"ids\": [\"…\"]}}': {0}")]
    Arguments(String),
}

const TO_ASK: &str = "no --worker given: asking all workers, as Celery does";
const TO_REVOKE: &str = "no --worker given: telling all workers, as Celery does, because no one knows which of them will \
                         get a task that waits";

/// What `inspect` asks for.
pub(super) fn inspect(args: InspectArgs, app: String) -> Result<Sending, CommandError> {
    let command = if args.name == "ping" {
        Command::Ping(v1::PingCommand {})
    } else {
        Command::Inspect(v1::InspectCommand {
            name: args.name,
            arguments_json: object(args.arguments)?,
        })
    };
    sending(command, args.send, app)
}

/// What `control` asks for.
pub(super) fn control(args: ControlArgs, app: String) -> Result<Sending, CommandError> {
    let command = match args.command {
        ControlCommand::Ping => Command::Ping(v1::PingCommand {}),
        ControlCommand::Revoke { ids, terminate } => {
            let TerminateArgs { terminate, signal } = terminate;
            Command::Revoke(v1::RevokeCommand {
                task_ids: ids,
                terminate,
                signal,
            })
        }
        ControlCommand::RevokeByStampedHeaders { headers, terminate } => {
            let TerminateArgs { terminate, signal } = terminate;
            Command::RevokeByStampedHeaders(v1::RevokeByStampedHeadersCommand {
                headers: headers.into_iter().collect(),
                terminate,
                signal,
            })
        }
        ControlCommand::Shutdown => Command::Shutdown(v1::ShutdownCommand {}),
        ControlCommand::PoolGrow { count } => Command::PoolGrow(v1::PoolGrowCommand { count }),
        ControlCommand::PoolShrink { count } => {
            Command::PoolShrink(v1::PoolShrinkCommand { count })
        }
        ControlCommand::PoolRestart { modules, reload } => {
            Command::PoolRestart(v1::PoolRestartCommand { modules, reload })
        }
        ControlCommand::Autoscale { max, min } => {
            Command::Autoscale(v1::AutoscaleCommand { max, min })
        }
        ControlCommand::AddConsumer {
            queue,
            exchange,
            exchange_type,
            routing_key,
        } => Command::AddConsumer(v1::AddConsumerCommand {
            queue,
            exchange,
            exchange_type,
            routing_key,
        }),
        ControlCommand::CancelConsumer { queue } => {
            Command::CancelConsumer(v1::CancelConsumerCommand {
                queue,
                drain: false,
            })
        }
        ControlCommand::RateLimit { task, rate } => Command::RateLimit(v1::RateLimitCommand {
            task_name: task,
            rate_limit: rate,
        }),
        ControlCommand::TimeLimit {
            task, soft, hard, ..
        } => Command::TimeLimit(v1::TimeLimitCommand {
            task_name: task,
            soft: soft.map(duration),
            hard: hard.map(duration),
        }),
        ControlCommand::EnableEvents => Command::EnableEvents(v1::EnableEventsCommand {}),
        ControlCommand::DisableEvents => Command::DisableEvents(v1::DisableEventsCommand {}),
        ControlCommand::Heartbeat => Command::Heartbeat(v1::HeartbeatCommand {}),
        ControlCommand::Custom { name, arguments } => Command::Custom(v1::CustomCommand {
            name,
            arguments_json: object(arguments)?,
        }),
    };
    sending(command, args.send, app)
}

fn sending(command: Command, send: SendArgs, app: String) -> Result<Sending, CommandError> {
    let named = send.all || !send.workers.is_empty();
    let why_all = if named { None } else { why_all(&command) };
    if !named && why_all.is_none() {
        return Err(CommandError::NoDestination);
    }
    let all_workers = send.workers.is_empty();
    Ok(Sending {
        harm: harm(&command, all_workers).filter(|_| !send.dry_run),
        why_all,
        yes: send.yes,
        asks: matches!(command, Command::Ping(_) | Command::Inspect(_)),
        request: v1::ExecuteCommandRequest {
            app,
            request_id: send.request_id,
            destination: send.workers,
            all_workers,
            wait: Some(duration(send.wait)),
            validate_only: send.dry_run,
            reason: send.reason,
            command: Some(command),
        },
    })
}

/// Why a command goes to all workers when none is named; `None` where workers must be named.
fn why_all(command: &Command) -> Option<&'static str> {
    match command {
        Command::Ping(_) | Command::Inspect(_) | Command::Heartbeat(_) => Some(TO_ASK),
        Command::Revoke(_) | Command::RevokeByStampedHeaders(_) => Some(TO_REVOKE),
        _ => None,
    }
}

/// What a command does that cannot be taken back, or stops work.
pub(crate) fn harm(command: &Command, all_workers: bool) -> Option<&'static str> {
    match command {
        Command::Shutdown(_) => Some("Shut down"),
        Command::PoolRestart(_) => Some("Restart the pool, ending the tasks that run, of"),
        Command::Revoke(revoke) if revoke.terminate => {
            Some("Revoke, and end the processes that run these tasks, on")
        }
        Command::RevokeByStampedHeaders(revoke) if revoke.terminate => {
            Some("Revoke, and end the processes that run tasks with these headers, on")
        }
        Command::CancelConsumer(_) if all_workers => Some("Stop consuming from this queue on"),
        _ => None,
    }
}

fn object(text: String) -> Result<String, CommandError> {
    if text.is_empty() {
        return Ok(text);
    }
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(CommandError::Arguments(error.to_string())),
    }
}

fn duration(span: SignedDuration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: span.as_secs(),
        nanos: span.subsec_nanos(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::Args;
    use crate::config::{Action, Config, ConfigError};

    fn config(line: &str) -> Result<Sending, ConfigError> {
        let args = Args::try_parse_from(line.split_whitespace())
            .unwrap_or_else(|error| panic!("{line}: {error}"));
        match Config::try_from(args)?.action {
            Action::Send(sending) => Ok(*sending),
            other => panic!("{line} is {other:?}"),
        }
    }

    #[test]
    fn every_command_of_celery_is_taken_as_celery_spells_it() {
        for (line, command) in [
            ("ping", Command::Ping(v1::PingCommand {})),
            (
                "revoke a b --terminate --signal KILL",
                Command::Revoke(v1::RevokeCommand {
                    task_ids: vec!["a".into(), "b".into()],
                    terminate: true,
                    signal: "KILL".into(),
                }),
            ),
            (
                "revoke_by_stamped_headers user=7=8",
                Command::RevokeByStampedHeaders(v1::RevokeByStampedHeadersCommand {
                    headers: [("user".to_owned(), "7=8".to_owned())].into(),
                    ..Default::default()
                }),
            ),
            ("shutdown", Command::Shutdown(v1::ShutdownCommand {})),
            (
                "pool_grow",
                Command::PoolGrow(v1::PoolGrowCommand { count: 1 }),
            ),
            (
                "pool-shrink 3",
                Command::PoolShrink(v1::PoolShrinkCommand { count: 3 }),
            ),
            (
                "autoscale 8 2",
                Command::Autoscale(v1::AutoscaleCommand { max: 8, min: 2 }),
            ),
            (
                "time_limit shop.add --soft 1.5 --hard 2m",
                Command::TimeLimit(v1::TimeLimitCommand {
                    task_name: "shop.add".into(),
                    soft: Some(prost_types::Duration {
                        seconds: 1,
                        nanos: 500_000_000,
                    }),
                    hard: Some(prost_types::Duration {
                        seconds: 120,
                        nanos: 0,
                    }),
                }),
            ),
            (
                "custom reload --arguments {\"hard\":true}",
                Command::Custom(v1::CustomCommand {
                    name: "reload".into(),
                    arguments_json: "{\"hard\":true}".into(),
                }),
            ),
        ] {
            let sending = config(&format!("celeriac control {line} -d celery@a,celery@b"));
            let request = sending.expect(line).request;
            assert_eq!(request.command, Some(command), "{line}");
            assert_eq!(request.destination, ["celery@a", "celery@b"], "{line}");
            assert!(!request.all_workers, "{line}");
        }
    }

    #[test]
    fn only_what_asks_or_is_a_broadcast_by_nature_does_without_a_destination() {
        for line in [
            "control ping",
            "inspect active",
            "control heartbeat",
            "control revoke a",
        ] {
            let sending = config(&format!("celeriac {line}")).expect(line);
            assert!(
                sending.request.all_workers && sending.why_all.is_some(),
                "{line}"
            );
        }
        for line in [
            "shutdown",
            "pool-grow",
            "add-consumer q",
            "rate-limit t 1/s",
            "custom c",
        ] {
            let refused = config(&format!("celeriac control {line}")).expect_err(line);
            assert_eq!(refused, CommandError::NoDestination.into(), "{line}");
            let all = config(&format!("celeriac control {line} --all")).expect(line);
            assert!(all.request.all_workers && all.why_all.is_none(), "{line}");
        }
    }

    #[test]
    fn what_does_harm_is_asked_about_unless_it_is_only_checked() {
        for (line, harms) in [
            ("shutdown --all", true),
            ("shutdown -d celery@a", true),
            ("shutdown --all --dry-run", false),
            ("pool-restart --all", true),
            ("revoke a", false),
            ("revoke a --terminate", true),
            ("revoke-by-stamped-headers a=b --terminate", true),
            ("cancel-consumer q --all", true),
            ("cancel-consumer q -d celery@a", false),
            ("pool-grow --all", false),
        ] {
            let sending = config(&format!("celeriac control {line}")).expect(line);
            assert_eq!(sending.harm.is_some(), harms, "{line}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_wrong_usage() {
        for line in [
            "control",
            "control ping --all --worker celery@a",
            "control revoke",
            "control revoke a --signal KILL",
            "control pool-grow 0 --all",
            "control time-limit shop.add --all",
            "control time-limit shop.add --none --soft 3 --all",
            "control ping --wait -3",
            "control ping --wait soon",
            "control revoke-by-stamped-headers user --all",
        ] {
            let words = format!("celeriac {line}");
            let error = Args::try_parse_from(words.split_whitespace()).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
        let refused = config("celeriac inspect conf --arguments [1]").expect_err("a list");
        assert!(refused.to_string().contains("a JSON object"), "{refused}");
    }
}
