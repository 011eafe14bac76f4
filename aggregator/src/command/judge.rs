//! What a worker's answer means. Celery says "ok" to much that it did not do, and tells of what it cannot do as the Python
//! `repr` of an exception; both are said in plain words here. Texts are those of `celery/worker/control.py`, 4.4 to 5.7.

use serde_json::Value;

use super::Record;

/// How a worker answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It did what was asked.
    Done,
    /// It said "ok" and did nothing.
    NoEffect,
    /// It could not.
    Error,
}

/// What was known of the worker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Known<'a> {
    /// Its pool, such as `prefork`; [`GREEN`] where it is one of two.
    pub pool: Option<&'a str>,
    /// Its version of Celery, such as `5.4.0`.
    pub version: Option<&'a str>,
    /// It was seen sending task events.
    pub sends_events: bool,
}

/// The pool of a worker whose Celery does not name it, and which has neither processes nor threads.
pub const GREEN: &str = "gevent or eventlet";

impl Known<'_> {
    fn is_green(&self) -> bool {
        matches!(self.pool, Some("gevent" | "eventlet" | GREEN))
    }

    /// Whether its Celery is older than this; false when that is not known.
    fn is_before(&self, major: u32, minor: u32) -> bool {
        let mut numbers = self.version.unwrap_or_default().split('.').map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(its_major)), Some(Ok(its_minor))) => (its_major, its_minor) < (major, minor),
            _ => false,
        }
    }
}

/// Judges the answer of one worker to a command. The text is empty where Celery's own words say it.
pub fn judge(record: &Record, worker: &str, answer_json: &str, known: Known<'_>) -> (Kind, String) {
    match Answer::read(answer_json) {
        Answer::Error(text) => (Kind::Error, error(record, &text).to_owned()),
        Answer::Ok(text) => match nothing_done(record, worker, &text, known) {
            Some(why) => (Kind::NoEffect, why),
            None => (Kind::Done, done(record, &text, known)),
        },
        Answer::Data => (Kind::Done, String::new()),
    }
}

/// An answer by Celery's convention.
enum Answer {
    /// `{"ok": …}`; empty when it is no text.
    Ok(String),
    /// `{"error": …}`.
    Error(String),
    Data,
}

impl Answer {
    fn read(json: &str) -> Self {
        let Ok(Value::Object(fields)) = serde_json::from_str(json) else {
            return Self::Data;
        };
        if fields.len() != 1 {
            return Self::Data;
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match (fields.get("ok"), fields.get("error")) {
            (Some(ok), _) => Self::Ok(text(ok)),
            (None, Some(error)) if error.is_string() => Self::Error(text(error)),
            (None, _) => Self::Data,
        }
    }
}

/// Why an "ok" did nothing.
fn nothing_done(record: &Record, worker: &str, text: &str, known: Known<'_>) -> Option<String> {
    let idle = record.idle.iter().any(|name| **name == *worker);
    let why = match &*record.method {
        "revoke" if text == "terminate: tasks unknown" => {
            "It holds none of these tasks, so there was nothing to end. It has noted the ids and will not run them if they come \
             to it."
        }
        "revoke_by_stamped_headers" if text.ends_with("were not terminated") => {
            "It runs no task with such a stamp, so there was nothing to end. It has noted the stamps and will not run tasks that \
             bear one."
        }
        "revoke" | "revoke_by_stamped_headers" if ended_some(text) => {
            return signal::without_effect(record, known.pool?);
        }
        "enable_events" if text == "task events already enabled" => "It sends task events already.",
        "disable_events" if text == "task events already disabled" && known.sends_events => {
            "It goes on sending task events: it was started with -E (or worker_send_task_events), and Celery switches off only \
             what enable_events switched on. Start it without -E."
        }
        "disable_events" if text == "task events already disabled" => {
            "Its task events were off already; or it was started with -E (or worker_send_task_events), and then it goes on \
             sending them."
        }
        "cancel_consumer" if idle => {
            "It did not consume from this queue when it was last asked; Celery says the same either way."
        }
        "add_consumer" if idle => {
            "It consumed from this queue already when it was last asked; Celery says the same either way."
        }
        // `WorkController.reload` passes over a pool that cannot.
        "pool_restart" => match known.pool? {
            "prefork" => return None,
            pool => {
                return Some(format!(
                    "It has imported the modules, but its pool ({pool}) cannot be restarted: only prefork can. Restart the worker."
                ));
            }
        },
        // `create_request_cls` takes the limits when the worker's strategies are made, and never looks again.
        "time_limit" if text == "time limits set successfully" => match known.pool {
            Some(pool @ ("threads" | "solo")) => {
                return Some(format!(
                    "It has noted the limits, but its pool ({pool}) enforces none; only prefork does, and gevent the hard one."
                ));
            }
            Some(_) | None => {
                "It has noted the limits, but goes on with the old ones: Celery applies new ones to tasks only once the worker \
                 has connected to its broker anew, or its pool was restarted (pool_restart)."
            }
        },
        _ => return None,
    };
    Some(why.to_owned())
}

/// Whether tasks that ran were told to end.
fn ended_some(text: &str) -> bool {
    text.starts_with("terminate: ") || (text.starts_with("headers ") && text.ends_with(" revoked"))
}

/// What an "ok" that did something leaves unsaid.
fn done(record: &Record, text: &str, known: Known<'_>) -> String {
    match &*record.method {
        "revoke" if text.ends_with("flagged as revoked") => {
            "It will not start these tasks; one that runs already goes on (terminate ends it)."
        }
        "revoke_by_stamped_headers" if text.ends_with("flagged as revoked, but not terminated") => {
            "It will not start tasks with such a stamp; one that runs already goes on (terminate ends it)."
        }
        "revoke" | "revoke_by_stamped_headers" if ended_some(text) => {
            known.pool.map_or("", |pool| signal::effect(record, pool))
        }
        // `Consumer.reset_rate_limits` makes new buckets; what waits in an old one is let go by that one's timer.
        "rate_limit" => {
            "It applies to tasks that come from now on; those that it holds back already go on at the old rate."
        }
        // `Consumer._pending_operations` is a list that is worked off from its end before 5.7.
        "add_consumer" | "cancel_consumer" if known.is_green() && known.is_before(5, 7) => {
            "It does so within some seconds, when its loop comes round. Of several such commands in that time its Celery (before \
             5.7) does the latest first: wait until its queues are as wanted before the next."
        }
        "add_consumer" | "cancel_consumer" if known.is_green() => {
            "It does so within some seconds, when its loop comes round."
        }
        // A pool process looks whether it is to end only after a task: billiard's `Worker.workloop`.
        "pool_restart" => {
            "It has imported the modules; each process of its pool is replaced after its next task, so that one still runs the \
             old code. One that gets no task goes on."
        }
        _ => "",
    }
    .to_owned()
}

/// What an error means, where Celery's text is a Python `repr` or misleads.
fn error(record: &Record, text: &str) -> &'static str {
    let has = |part: &str| text.contains(part);
    if has("has no attribute 'grow'") || has("has no attribute 'shrink'") {
        return "Its pool has a fixed size: threads and solo cannot grow or shrink. Start it with another --concurrency.";
    }
    if has("Can't shrink pool. All processes busy!") {
        return "Fewer processes were idle than were to go: the idle ones, if any, were removed, and none that runs a task was \
                stopped. Ask again when tasks have ended.";
    }
    if has("is not supported with autoscale") {
        return "Celery's autoscaler decides the size of its pool: use autoscale to change the bounds.";
    }
    if has("Autoscale not enabled") {
        return "It was started without --autoscale; this command only changes the bounds of one that runs. Use pool_grow and \
                pool_shrink, or start it with --autoscale.";
    }
    if has("Pool restarts not enabled") {
        return "Set worker_pool_restarts = True in the app, and restart the worker once; then its pool can be restarted by command.";
    }
    if has("does not implement kill_job") || has("does not implement terminate_job") {
        return "Its pool cannot end a task that runs: prefork can, and gevent since Celery 5.5. The tasks are noted \
                as revoked; those that run go on.";
    }
    if text == "unknown task" {
        return "It has no task of this name: the name is another, or the worker runs other code. `inspect registered` lists \
                what it has.";
    }
    let no_dispatcher = has("'NoneType' object has no attribute 'groups'")
        || has("'NoneType' object has no attribute 'send'");
    if text == "event dispatcher unavailable" || no_dispatcher {
        return "It can send no events at all: it was started with --without-heartbeat and --without-gossip and without -E. Start \
                it without one of the former, or with -E.";
    }
    if *text == format!("KeyError('{}')", record.method) {
        return "It does not know this command: its Celery is too old for it, or its app does not define it.";
    }
    if has("got an unexpected keyword argument") {
        return "Its Celery does not know one of the arguments: another version takes it.";
    }
    if has("Requires the objgraph library") {
        return "Install the Python package objgraph beside the worker.";
    }
    if has("No module named 'psutil'") || has("requires the psutil library") {
        return "Install the Python package psutil beside the worker.";
    }
    ""
}

mod signal;
#[cfg(test)]
mod tests;
