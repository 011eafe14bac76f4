//! What a named signal does to a task of a prefork pool; other pools end a task whatever the signal, or not at all.

use super::Record;

/// Why the tasks go on, when the processes that run them do not heed the signal: Celery's pool processes ignore SIGINT
/// (`WORKER_SIGIGNORE`), Python SIGPIPE and SIGXFSZ, the system the rest.
pub(super) fn without_effect(record: &Record, pool: &str) -> Option<String> {
    let signal = named(record)?;
    let ignored = matches!(
        signal.as_str(),
        "INT" | "PIPE" | "XFSZ" | "CHLD" | "CLD" | "CONT" | "URG" | "WINCH"
    );
    (ignored && pool == "prefork").then(|| {
        format!(
            "The tasks go on: its pool processes ignore SIG{signal}. Celery has noted them as revoked all the same. SIGTERM or \
             SIGKILL ends them."
        )
    })
}

/// What the signal does other than end the process; empty when it ends it.
pub(super) fn effect(record: &Record, pool: &str) -> &'static str {
    let signal = named(record).filter(|_| pool == "prefork");
    match signal.as_deref() {
        // billiard's `SIG_SOFT_TIMEOUT`.
        Some("USR1") => {
            "SIGUSR1 raises SoftTimeLimitExceeded in the task: it ends unless it handles that, and its process lives on."
        }
        Some("STOP" | "TSTP" | "TTIN" | "TTOU") => {
            "The signal halts the process: the task neither goes on nor ends, and its slot is lost until the process is told to \
             continue (SIGCONT) or killed."
        }
        _ => "",
    }
}

/// The signal in the command's arguments, without `SIG`.
fn named(record: &Record) -> Option<String> {
    let arguments: serde_json::Value = serde_json::from_str(&record.arguments_json).ok()?;
    let signal = arguments["signal"].as_str()?;
    Some(signal.strip_prefix("SIG").unwrap_or(signal).to_owned())
}
