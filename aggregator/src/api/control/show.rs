//! Recorded commands as the contract shows them.

use celeriac_proto::v1;
use celeriac_proto::v1::execute_command_request::Command;
use prost::Message as _;

use super::super::time::micros;
use crate::command::judge::{GREEN, Kind, Known, judge};
use crate::command::{Publication, Record, Recorded, Reply};
use crate::state::app::App;
use crate::state::worker::{EventsMode, Worker, WorkerStatus};

/// Bytes of answers in one response: clients take 4 MiB unless they are told otherwise.
const ANSWERS_BYTES_MAX: usize = 3 << 20;

/// Room for answers in one response.
pub(super) struct Room(usize);

impl Default for Room {
    fn default() -> Self {
        Self(ANSWERS_BYTES_MAX)
    }
}

/// What a command would be; it was only checked.
pub(super) fn validated(record: &Record, payload: bool) -> v1::CommandRecord {
    v1::CommandRecord {
        outcome: v1::CommandOutcome::Validated.into(),
        ..base(record, payload)
    }
}

/// Celery's commands whose answers hold nothing that tasks carry. What others answer needs the right to read payloads:
/// `active` has arguments, `conf` a schedule with some, a revocation by stamps those stamps, and of apps' own commands nothing is known.
const PLAIN_ANSWERS: [&str; 19] = [
    "active_queues",
    "add_consumer",
    "autoscale",
    "cancel_consumer",
    "clock",
    "disable_events",
    "enable_events",
    "heartbeat",
    "ping",
    "pool_grow",
    "pool_restart",
    "pool_shrink",
    "rate_limit",
    "registered",
    "revoke",
    "revoked",
    "shutdown",
    "stats",
    "time_limit",
];

/// A recorded command. What is known of its workers now helps to say what their answers mean. What tasks carry is in it only
/// with `payload`.
pub(super) fn record(
    recorded: &Recorded,
    state: Option<&App>,
    payload: bool,
    room: &mut Room,
) -> v1::CommandRecord {
    use v1::CommandOutcome as Outcome;
    let base = base(&recorded.record, payload);
    let recorded_time = Some(micros(recorded.record.recorded));
    // A worker that answered proves that it went out.
    let answered = !recorded.replies.is_empty();
    let unknown = |reason: &str| {
        if answered {
            (Outcome::Published, String::new())
        } else {
            (Outcome::Unknown, reason.to_owned())
        }
    };
    let (mut published_time, mut reached) = (None, None);
    let (outcome, outcome_reason) = match &recorded.publication {
        None => unknown("the inspector has not said whether it was published"),
        Some(Publication::Unknown { reason }) => unknown(reason),
        Some(Publication::Published { time, subscribers }) => {
            (published_time, reached) = (Some(micros(*time)), *subscribers);
            (Outcome::Published, String::new())
        }
        Some(Publication::NotPublished { reason }) => (Outcome::NotPublished, reason.clone()),
    };
    v1::CommandRecord {
        recorded_time,
        published_time,
        outcome: outcome.into(),
        answers: if outcome == Outcome::NotPublished {
            Vec::new()
        } else {
            answers(recorded, outcome, state, payload, room)
        },
        outcome_reason,
        subscribers: reached,
        ..base
    }
}

/// An answer without what it says.
fn blank(answer: &mut v1::CommandAnswer) {
    if !answer.answer_json.is_empty() {
        let length = answer.answer_json.len() as u64;
        answer.answer_bytes = answer.answer_bytes.or(Some(length));
        "\"\"".clone_into(&mut answer.answer_json);
    }
}

fn base(record: &Record, payload: bool) -> v1::CommandRecord {
    // Encoded by the check; of a newer version's the fields known here are shown.
    let mut request = v1::ExecuteCommandRequest::decode(record.request.as_slice()).ok();
    let bears_texts = match request.as_mut().map(|asked| asked.command.as_mut()) {
        _ if payload => false,
        Some(Some(Command::Custom(custom))) => {
            custom.arguments_json.clear();
            true
        }
        Some(Some(Command::Inspect(inspect))) => {
            inspect.arguments_json.clear();
            true
        }
        Some(Some(Command::RevokeByStampedHeaders(revoke))) => {
            revoke.headers.values_mut().for_each(String::clear);
            true
        }
        Some(Some(_)) => false,
        // A command that is not known here: nor is what it bears.
        Some(None) | None => true,
    };
    let message_json = if bears_texts {
        String::new()
    } else {
        message(record)
    };
    v1::CommandRecord {
        request,
        principal: record.principal.to_string(),
        message_json,
        ..v1::CommandRecord::default()
    }
}

/// The message in kombu's order of fields.
fn message(record: &Record) -> String {
    let destination = (!record.all_workers).then_some(&record.workers);
    let destination = serde_json::json!(
        destination.map(|names| { names.iter().map(AsRef::as_ref).collect::<Vec<&str>>() })
    );
    let method = serde_json::json!(&*record.method);
    format!(
        r#"{{"method":{method},"arguments":{},"destination":{destination},"pattern":null,"matcher":null}}"#,
        record.arguments_json
    )
}

fn answers(
    recorded: &Recorded,
    outcome: v1::CommandOutcome,
    state: Option<&App>,
    payload: bool,
    room: &mut Room,
) -> Vec<v1::CommandAnswer> {
    let Recorded {
        record, replies, ..
    } = recorded;
    let worker = |name: &str| state.and_then(|state| state.worker(name));
    let mut answers: Vec<v1::CommandAnswer> = replies
        .iter()
        .map(|reply| answer(record, reply, worker(&reply.worker), room))
        .collect();
    let silent = record
        .workers
        .iter()
        .filter(|name| !replies.iter().any(|reply| *reply.worker == ***name));
    answers.extend(silent.map(|name| no_answer(record, name, outcome, worker(name))));
    answers.sort_by(|a, b| a.worker.cmp(&b.worker));
    if !payload && !PLAIN_ANSWERS.contains(&&*record.method) {
        answers.iter_mut().for_each(blank);
    }
    answers
}

fn answer(
    record: &Record,
    reply: &Reply,
    worker: Option<&Worker>,
    room: &mut Room,
) -> v1::CommandAnswer {
    let known = Known {
        pool: worker.and_then(pool),
        version: worker.and_then(|worker| worker.sw_ver.as_deref()),
        sends_events: worker.is_some_and(|worker| worker.events == EventsMode::On),
    };
    let (kind, meaning) = judge(record, &reply.worker, &reply.value_json, known);
    let kind = match kind {
        Kind::Done => v1::AnswerKind::Ok,
        Kind::NoEffect => v1::AnswerKind::NoEffect,
        Kind::Error => v1::AnswerKind::Error,
    };
    let length = reply.value_json.len();
    let fits = length <= room.0;
    room.0 = room.0.saturating_sub(length);
    let (answer_json, answer_bytes) = if fits {
        (reply.value_json.clone(), reply.size)
    } else {
        ("\"\"".to_owned(), reply.size.or(Some(length as u64)))
    };
    v1::CommandAnswer {
        worker: reply.worker.clone(),
        kind: kind.into(),
        answer_json,
        meaning,
        time: Some(micros(reply.time)),
        answer_bytes,
        entries: entries(reply),
    }
}

/// How many entries an answer has that is a list, and was not cut.
fn entries(reply: &Reply) -> Option<u64> {
    reply.size.is_none().then_some(())?;
    let list: Vec<serde::de::IgnoredAny> = serde_json::from_str(&reply.value_json).ok()?;
    u64::try_from(list.len()).ok()
}

fn no_answer(
    record: &Record,
    name: &str,
    outcome: v1::CommandOutcome,
    worker: Option<&Worker>,
) -> v1::CommandAnswer {
    use v1::AnswerKind as Kind;
    let pool = worker.and_then(pool);
    let status = worker.map(|worker| worker.status);
    let (kind, meaning) = if !record.is_answered() {
        (
            Kind::NoneExpected,
            "Celery gives no answer to a shutdown. The worker finishes the tasks it runs, then goes off line.",
        )
    } else if outcome == v1::CommandOutcome::Unknown {
        (
            Kind::NoAnswerYet,
            "It is not known whether the command reached it.",
        )
    } else if status == Some(WorkerStatus::Offline) {
        (
            Kind::NoAnswerYet,
            "It is off line. A worker that starts later does not get the command.",
        )
    } else if pool == Some("solo") {
        (
            Kind::NoAnswerYet,
            "A solo worker runs commands between tasks: while it runs one, the command waits, and it will still run.",
        )
    } else {
        (
            Kind::NoAnswerYet,
            "It is busy, or does not take remote control (worker_enable_remote_control). The command may still run.",
        )
    };
    v1::CommandAnswer {
        worker: name.to_owned(),
        kind: kind.into(),
        meaning: meaning.to_owned(),
        ..v1::CommandAnswer::default()
    }
}

/// The worker's pool. Celery before 5.3 does not name it; then it shows in what its `stats` hold.
fn pool(worker: &Worker) -> Option<&str> {
    let inspection = worker.inspection.as_deref()?;
    inspection
        .pool()
        .or_else(|| match inspection.processes.as_slice() {
            _ if inspection.threads.is_some() => Some("threads"),
            // A solo worker is its own only process.
            [only] if Some(*only) == worker.pid => Some("solo"),
            [_, ..] => Some("prefork"),
            [] => inspection.max_concurrency.map(|_| GREEN),
        })
}
