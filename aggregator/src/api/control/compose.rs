//! Celery's exact arguments (`celery/app/control.py`, `celery/worker/control.py`), from what was asked; and what may not be
//! asked. `election` and `hello` have no representation here: the one crashes a worker that is alone, the other changes
//! workers' clocks and revoked tasks.

use std::collections::BTreeSet;

use celeriac_proto::v1;
use celeriac_proto::v1::execute_command_request::Command;
use serde_json::{Map, Value, json};
use tonic::Status;

use super::super::page::invalid;

mod inspect;
mod limits;

/// Ids in one request. A worker keeps 50,000 revoked ids; a thousand UUIDs are 40 KB on the wire to every worker.
const IDS_MAX: usize = 1_000;
/// Longest id, task name or queue name, bytes. AMQP allows 255 for a queue; ids that people make are not longer.
const NAME_MAX: usize = 255;
/// Most processes asked for at once: each is tens of MB, and a slip of the finger should not cost a machine.
const PROCESSES_MAX: i32 = 1_000;
/// Modules to import in a restart.
const MODULES_MAX: usize = 100;
/// Largest arguments of an app's own command, bytes.
const ARGUMENTS_MAX: usize = 64 * 1024;

/// A command as Celery takes it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Composed {
    pub(super) method: String,
    pub(super) arguments: Map<String, Value>,
}

/// What Celery is sent for a command.
///
/// # Errors
/// `INVALID_ARGUMENT` with field, value and way out.
pub(super) fn compose(command: &Command, allowed: &BTreeSet<String>) -> Result<Composed, Status> {
    let (method, arguments) = match command {
        Command::Ping(v1::PingCommand {}) => ("ping", json!({})),
        Command::Inspect(asked) => return inspect::compose(asked),
        Command::Revoke(asked) => ("revoke", revoke(asked)?),
        Command::RevokeByStampedHeaders(asked) => {
            ("revoke_by_stamped_headers", by_stamped_headers(asked)?)
        }
        Command::Shutdown(v1::ShutdownCommand {}) => ("shutdown", json!({})),
        Command::PoolGrow(asked) => (
            "pool_grow",
            json!({"n": count("pool_grow.count", asked.count)?}),
        ),
        Command::PoolShrink(asked) => (
            "pool_shrink",
            json!({"n": count("pool_shrink.count", asked.count)?}),
        ),
        Command::PoolRestart(asked) => ("pool_restart", pool_restart(asked)?),
        Command::Autoscale(asked) => ("autoscale", limits::autoscale(*asked)?),
        Command::AddConsumer(asked) => ("add_consumer", add_consumer(asked)?),
        Command::CancelConsumer(asked) => (
            "cancel_consumer",
            json!({"queue": name("cancel_consumer.queue", &asked.queue)?}),
        ),
        Command::RateLimit(asked) => ("rate_limit", limits::rate(asked)?),
        Command::TimeLimit(asked) => ("time_limit", limits::time(asked)?),
        Command::EnableEvents(v1::EnableEventsCommand {}) => ("enable_events", json!({})),
        Command::DisableEvents(v1::DisableEventsCommand {}) => ("disable_events", json!({})),
        Command::Heartbeat(v1::HeartbeatCommand {}) => ("heartbeat", json!({})),
        Command::Custom(asked) => return custom(asked, allowed),
    };
    let Value::Object(arguments) = arguments else {
        return Err(Status::internal("arguments are an object by construction"));
    };
    Ok(Composed {
        method: method.to_owned(),
        arguments,
    })
}

/// Why a name is none of an app's own command that may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandNameError {
    /// It harms workers.
    #[error("election and hello are never sent: they crash or change workers")]
    Harmful,
    /// It is Celery's own.
    #[error(
        "it is a command of Celery's own: those need no permission, and have fields of their own"
    )]
    Builtin,
    /// It is no name.
    #[error("a command's name is a Python name: letters, digits and _, at most 255")]
    Name,
}

/// Celery's control commands, and other names of its inspect commands (`alias=` in `celery/worker/control.py`).
const BUILTIN: [&str; 21] = [
    "add_consumer",
    "autoscale",
    "cancel_consumer",
    "disable_events",
    "dump_active",
    "dump_conf",
    "dump_reserved",
    "dump_revoked",
    "dump_schedule",
    "dump_tasks",
    "enable_events",
    "heartbeat",
    "pool_grow",
    "pool_restart",
    "pool_shrink",
    "rate_limit",
    "revoke",
    "revoke_by_stamped_headers",
    "shutdown",
    "terminate",
    "time_limit",
];

/// Checks the name of an app's own command.
///
/// # Errors
/// When Celery has a command of that name, or it is none.
pub fn check_custom_name(text: &str) -> Result<(), CommandNameError> {
    if matches!(text, "election" | "hello") {
        return Err(CommandNameError::Harmful);
    }
    if text == "ping" || inspect::NAMES.contains(&text) || BUILTIN.contains(&text) {
        return Err(CommandNameError::Builtin);
    }
    if text.len() <= NAME_MAX && is_python_name(text) {
        Ok(())
    } else {
        Err(CommandNameError::Name)
    }
}

fn custom(asked: &v1::CustomCommand, allowed: &BTreeSet<String>) -> Result<Composed, Status> {
    let refuse = |why: String| {
        invalid(
            "custom.name",
            format!("{:?} is not sent: {why}", asked.name),
        )
    };
    check_custom_name(&asked.name).map_err(|error| refuse(error.to_string()))?;
    if !allowed.contains(&asked.name) {
        return Err(refuse(format!(
            "start the aggregator with --allow-command {} to allow it",
            asked.name
        )));
    }
    Ok(Composed {
        method: asked.name.clone(),
        arguments: object("custom.arguments_json", &asked.arguments_json)?,
    })
}

/// A JSON object; empty is none.
fn object(field: &str, text: &str) -> Result<Map<String, Value>, Status> {
    if text.is_empty() {
        return Ok(Map::new());
    }
    if text.len() > ARGUMENTS_MAX {
        let description = format!(
            "must have at most {ARGUMENTS_MAX} bytes, has {}",
            text.len()
        );
        return Err(invalid(field, description));
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(invalid(
            field,
            "must be a JSON object, such as {\"key\": 1}",
        )),
        Err(error) => Err(invalid(field, format!("is not JSON: {error}"))),
    }
}

fn revoke(asked: &v1::RevokeCommand) -> Result<Value, Status> {
    let ids = names("revoke.task_ids", &asked.task_ids)?;
    let signal = signal("revoke.signal", &asked.signal, asked.terminate)?;
    Ok(json!({"task_id": ids, "terminate": asked.terminate, "signal": signal}))
}

fn by_stamped_headers(asked: &v1::RevokeByStampedHeadersCommand) -> Result<Value, Status> {
    let field = "revoke_by_stamped_headers.headers";
    if asked.headers.is_empty() || asked.headers.len() > IDS_MAX {
        let description = format!(
            "must have 1 to {IDS_MAX} headers, has {}",
            asked.headers.len()
        );
        return Err(invalid(field, description));
    }
    let mut headers = Map::new();
    for (header, stamp) in &asked.headers {
        let header = name(field, header)?;
        headers.insert(header.to_owned(), json!([name(field, stamp)?]));
    }
    let signal = signal(
        "revoke_by_stamped_headers.signal",
        &asked.signal,
        asked.terminate,
    )?;
    Ok(json!({"headers": headers, "terminate": asked.terminate, "signal": signal}))
}

fn pool_restart(asked: &v1::PoolRestartCommand) -> Result<Value, Status> {
    let field = "pool_restart.modules";
    if asked.modules.len() > MODULES_MAX {
        let description = format!(
            "must name at most {MODULES_MAX}, names {}",
            asked.modules.len()
        );
        return Err(invalid(field, description));
    }
    for module in &asked.modules {
        if module.len() > NAME_MAX || !module.split('.').all(is_python_name) {
            let description = format!("{module:?} is no Python module, such as shop.tasks");
            return Err(invalid(field, description));
        }
    }
    // Celery imports the app's own modules when none is named.
    let modules = (!asked.modules.is_empty()).then_some(&asked.modules);
    Ok(json!({"modules": modules, "reload": asked.reload, "reloader": null}))
}

fn add_consumer(asked: &v1::AddConsumerCommand) -> Result<Value, Status> {
    let queue = name("add_consumer.queue", &asked.queue)?;
    let optional = |field: &str, text: &String| -> Result<Option<String>, Status> {
        if text.is_empty() {
            return Ok(None);
        }
        name(field, text).map(|text| Some(text.to_owned()))
    };
    let exchange = optional("add_consumer.exchange", &asked.exchange)?;
    let routing_key = optional("add_consumer.routing_key", &asked.routing_key)?;
    let kind = match asked.exchange_type.as_str() {
        "" => "direct",
        kind @ ("direct" | "topic" | "fanout" | "headers") => kind,
        other => {
            let description = format!("must be direct, topic, fanout or headers, is {other:?}");
            return Err(invalid("add_consumer.exchange_type", description));
        }
    };
    Ok(
        json!({"queue": queue, "exchange": exchange, "exchange_type": kind, "routing_key": routing_key}),
    )
}

/// 0 is 1.
fn count(field: &str, asked: i32) -> Result<i32, Status> {
    if !(0..=PROCESSES_MAX).contains(&asked) {
        let description = format!("must be 0 (which is 1) to {PROCESSES_MAX}, is {asked}");
        return Err(invalid(field, description));
    }
    Ok(asked.max(1))
}

/// A text of at most [`NAME_MAX`], not empty, without control characters.
fn name<'a>(field: &str, text: &'a str) -> Result<&'a str, Status> {
    if text.is_empty() {
        return Err(invalid(field, "must not be empty"));
    }
    if text.len() > NAME_MAX {
        let description = format!("must have at most {NAME_MAX} bytes, has {}", text.len());
        return Err(invalid(field, description));
    }
    if text.chars().any(char::is_control) {
        return Err(invalid(
            field,
            format!("{text:?} holds a control character"),
        ));
    }
    Ok(text)
}

fn names<'a>(field: &str, texts: &'a [String]) -> Result<&'a [String], Status> {
    if texts.is_empty() || texts.len() > IDS_MAX {
        let description = format!("must have 1 to {IDS_MAX} entries, has {}", texts.len());
        return Err(invalid(field, description));
    }
    for text in texts {
        name(field, text)?;
    }
    Ok(texts)
}

fn is_python_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Names in Python's module `signal` on Linux, without `SIG`; a test compares them with Python's.
const SIGNALS: [&str; 36] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL",
    "PIPE", "POLL", "PROF", "PWR", "QUIT", "RTMAX", "RTMIN", "SEGV", "STKFLT", "STOP", "SYS",
    "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU",
    "XFSZ",
];

/// A signal as Celery takes it; SIGTERM when none is named, as Celery's own client sends.
fn signal(field: &str, text: &str, terminate: bool) -> Result<String, Status> {
    if text.is_empty() {
        return Ok("SIGTERM".to_owned());
    }
    if !terminate {
        return Err(invalid(
            field,
            "says nothing without `terminate`; set that, or no signal",
        ));
    }
    let bare = text.strip_prefix("SIG").unwrap_or(text);
    if SIGNALS.contains(&bare) {
        return Ok(format!("SIG{bare}"));
    }
    let description = format!(
        "{text:?} is no signal of Python's module `signal`; write for instance SIGTERM, SIGKILL or SIGUSR1"
    );
    Err(invalid(field, description))
}
