//! Commands to workers: what was sent, whether it went out, and what each worker answered.

use celeriac_client::v1;
use celeriac_client::v1::execute_command_request::Command;
use jiff::SignedDuration;
use serde_json::Value;

use super::View;
use super::detail::Detail;
use super::table::{Cell, Table, fixed, text};
use super::text::Tone;
use super::units::{ABSENT, duration, span, timestamp};

/// An answer that is longer stands below the table.
const ANSWER_INLINE_MAX: usize = 120;
/// Task ids that are named before they are only counted.
const IDS_MAX: usize = 3;

/// One row a command; with the app when `name_apps` or wide.
pub(crate) fn table(records: &[v1::CommandRecord], name_apps: bool, view: &View) -> Table {
    let name_apps = name_apps || view.wide;
    let mut columns = Vec::new();
    if name_apps {
        columns.push(text("APP", 6));
    }
    columns.extend([
        fixed("REQUEST ID"),
        fixed("TIME"),
        text("COMMAND", 12),
        text("TO", 8).optional(),
        fixed("OUTCOME"),
        text("ANSWERS", 12),
        text("BY", 6).optional(),
    ]);
    if view.wide {
        columns.push(text("REASON", 10));
    }
    let mut table = Table::new(columns);
    for record in records {
        let request = record.request.clone().unwrap_or_default();
        let mut row: Vec<Cell> = Vec::new();
        if name_apps {
            row.push(request.app.as_str().into());
        }
        let (word, tone) = outcome_word(record);
        row.extend([
            request.request_id.as_str().into(),
            view.time(record.recorded_time.as_ref()).into(),
            what(&request).into(),
            destination(&request).into(),
            Cell::toned(word, tone),
            summary(record).into(),
            or_absent(&record.principal).into(),
        ]);
        if view.wide {
            row.push(or_absent(&request.reason).into());
        }
        table.row(row);
    }
    table
}

fn or_absent(text: &str) -> &str {
    if text.is_empty() { ABSENT } else { text }
}

/// What became of a command that was just sent.
pub(crate) fn outcome(record: &v1::CommandRecord, view: &View) -> String {
    let mut detail = Detail::new(view);
    outcome_fields(&mut detail, record);
    answers(&mut detail, record, view);
    detail.finish()
}

/// One recorded command at length.
pub(crate) fn detail(record: &v1::CommandRecord, view: &View) -> String {
    let request = record.request.clone().unwrap_or_default();
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let mut detail = Detail::new(view);
    detail
        .field("Command", what(&request))
        .field("Request id", &request.request_id)
        .maybe("App", some(&request.app))
        .field("To", destination(&request))
        .maybe("By", some(&record.principal))
        .maybe("Reason", some(&request.reason))
        .field("Recorded", view.moment(record.recorded_time.as_ref()))
        .field("Published", view.moment(record.published_time.as_ref()));
    outcome_fields(&mut detail, record);
    answers(&mut detail, record, view);
    if !record.message_json.is_empty() && record.outcome() != v1::CommandOutcome::Validated {
        detail.block("Message", &pretty(&record.message_json));
    }
    detail.finish()
}

fn outcome_fields(detail: &mut Detail<'_>, record: &v1::CommandRecord) {
    let (word, tone) = outcome_word(record);
    detail.toned("Outcome", word, tone);
    let words = outcome_words(record.outcome());
    if !words.is_empty() {
        detail.field("", words);
    }
    if record.outcome() == v1::CommandOutcome::Validated && !record.message_json.is_empty() {
        detail.block("Would be sent", &pretty(&record.message_json));
    }
}

fn outcome_word(record: &v1::CommandRecord) -> (&'static str, Tone) {
    match record.outcome() {
        v1::CommandOutcome::Unspecified => ("not said", Tone::Warn),
        v1::CommandOutcome::Validated => ("checked only", Tone::Plain),
        v1::CommandOutcome::Published => ("published", Tone::Good),
        v1::CommandOutcome::NotPublished => ("not published", Tone::Bad),
        v1::CommandOutcome::Unknown => ("unknown", Tone::Warn),
    }
}

/// What a person must know of an outcome beyond its word.
pub(crate) fn outcome_words(outcome: v1::CommandOutcome) -> &'static str {
    match outcome {
        v1::CommandOutcome::Validated => "nothing was sent",
        v1::CommandOutcome::NotPublished => "no worker has it; it can be sent again",
        v1::CommandOutcome::Unknown => {
            "it may have gone out and workers may do it: the aggregator or its inspector stopped in between. It is not sent \
             again; see what the workers did, then send a new one if it is still needed"
        }
        v1::CommandOutcome::Unspecified | v1::CommandOutcome::Published => "",
    }
}

fn answers(detail: &mut Detail<'_>, record: &v1::CommandRecord, view: &View) {
    let mut answers: Vec<_> = record.answers.iter().collect();
    answers.sort_by(|a, b| a.worker.cmp(&b.worker));
    let mut columns = vec![text("WORKER", 8), fixed("RESULT"), text("ANSWER", 24)];
    // How soon they answer is what a ping is for.
    let times = is_ping(record);
    if times {
        columns.insert(2, fixed("AFTER"));
    }
    let mut table = Table::new(columns);
    let mut long = Vec::new();
    for answer in answers {
        let (word, tone) = kind(answer.kind());
        let said = said(answer);
        let shown = if said.len() > ANSWER_INLINE_MAX || said.contains('\n') {
            long.push((answer.worker.as_str(), said));
            if answer.meaning.is_empty() {
                "below"
            } else {
                &answer.meaning
            }
            .to_owned()
        } else if answer.meaning.is_empty() {
            said
        } else if said == ABSENT {
            answer.meaning.clone()
        } else {
            format!("{} (Celery's answer: {said})", answer.meaning)
        };
        let mut row = vec![
            answer.worker.as_str().into(),
            Cell::toned(word, tone),
            shown.into(),
        ];
        if times {
            row.insert(2, after(record, answer).into());
        }
        table.row(row);
    }
    if table.is_empty() && record.outcome() == v1::CommandOutcome::Published {
        detail.field("Answers", "none");
    }
    // What a worker says is never cut here: it is what was asked for.
    let whole = View {
        width: None,
        ..view.clone()
    };
    detail.table_as("Answers", &table, &whole);
    for (worker, said) in long {
        detail.block(worker, &said);
    }
}

fn is_ping(record: &v1::CommandRecord) -> bool {
    let command = record
        .request
        .as_ref()
        .and_then(|request| request.command.as_ref());
    matches!(command, Some(Command::Ping(_)))
}

/// How long after the command went out the answer was read; one that was read before the broker had confirmed the command
/// came at once.
fn after(record: &v1::CommandRecord, answer: &v1::CommandAnswer) -> String {
    let moment = |time: &Option<prost_types::Timestamp>| time.as_ref().and_then(timestamp);
    match (moment(&record.published_time), moment(&answer.time)) {
        (Some(published), Some(came)) => {
            span(came.duration_since(published).max(SignedDuration::ZERO))
        }
        _ => ABSENT.to_owned(),
    }
}

/// How a worker answered, in words.
pub(crate) fn kind(kind: v1::AnswerKind) -> (&'static str, Tone) {
    match kind {
        v1::AnswerKind::Unspecified => ("not said", Tone::Warn),
        v1::AnswerKind::Ok => ("ok", Tone::Good),
        v1::AnswerKind::NoEffect => ("no effect", Tone::Warn),
        v1::AnswerKind::Error => ("error", Tone::Bad),
        v1::AnswerKind::NoAnswerYet => ("no answer yet (may still run)", Tone::Warn),
        v1::AnswerKind::NoneExpected => ("none expected", Tone::Dim),
    }
}

/// What a worker said: the text of `{"ok": text}` and `{"error": text}`, other answers as JSON.
pub(crate) fn said(answer: &v1::CommandAnswer) -> String {
    let value = match serde_json::from_str(&answer.answer_json) {
        Ok(value) => value,
        // Nothing, or what no JSON parser takes: it is shown as it is.
        Err(_) if answer.answer_json.is_empty() => return ABSENT.to_owned(),
        Err(_) => return answer.answer_json.clone(),
    };
    let inner = match &value {
        Value::Object(map) if map.len() == 1 => map.get("ok").or_else(|| map.get("error")),
        _ => None,
    };
    match inner.unwrap_or(&value) {
        Value::Null => ABSENT.to_owned(),
        Value::String(text) => text.trim_end().to_owned(),
        value => {
            let line = value.to_string();
            if line.len() > ANSWER_INLINE_MAX {
                pretty(&line)
            } else {
                line
            }
        }
    }
}

fn pretty(json: &str) -> String {
    serde_json::from_str::<Value>(json)
        .and_then(|value| serde_json::to_string_pretty(&value))
        .unwrap_or_else(|_| json.to_owned())
}

/// How many answered how, in words.
fn summary(record: &v1::CommandRecord) -> String {
    let kinds = [
        (v1::AnswerKind::Ok, "ok"),
        (v1::AnswerKind::NoEffect, "no effect"),
        (v1::AnswerKind::Error, "error"),
        (v1::AnswerKind::NoAnswerYet, "no answer yet"),
        (v1::AnswerKind::NoneExpected, "none expected"),
    ];
    let parts: Vec<_> = kinds
        .into_iter()
        .filter_map(|(kind, word)| {
            let answers = record.answers.iter();
            let count = answers.filter(|answer| answer.kind() == kind).count();
            (count > 0).then(|| format!("{count} {word}"))
        })
        .collect();
    if parts.is_empty() {
        ABSENT.to_owned()
    } else {
        parts.join(", ")
    }
}

/// Whom it went to.
pub(crate) fn destination(request: &v1::ExecuteCommandRequest) -> String {
    if request.all_workers {
        "all workers".to_owned()
    } else {
        request.destination.join(", ")
    }
}

/// The command in a line, as it is typed.
pub(crate) fn what(request: &v1::ExecuteCommandRequest) -> String {
    let words = |name: &str, rest: &[&str]| {
        let rest = rest.iter().filter(|word| !word.is_empty());
        let all: Vec<_> = std::iter::once(&name).chain(rest).copied().collect();
        all.join(" ")
    };
    let Some(command) = &request.command else {
        return ABSENT.to_owned();
    };
    match command {
        Command::Ping(_) => "ping".to_owned(),
        Command::Inspect(inspect) => words("inspect", &[&inspect.name, &inspect.arguments_json]),
        Command::Revoke(revoke) => {
            let mut ids = revoke.task_ids[..revoke.task_ids.len().min(IDS_MAX)].join(" ");
            if revoke.task_ids.len() > IDS_MAX {
                ids = format!("{ids} and {} more", revoke.task_ids.len() - IDS_MAX);
            }
            words(
                "revoke",
                &[&ids, &terminate(revoke.terminate, &revoke.signal)],
            )
        }
        Command::RevokeByStampedHeaders(revoke) => {
            let mut headers: Vec<_> = revoke
                .headers
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            headers.sort();
            let how = terminate(revoke.terminate, &revoke.signal);
            words("revoke-by-stamped-headers", &[&headers.join(" "), &how])
        }
        Command::Shutdown(_) => "shutdown".to_owned(),
        Command::PoolGrow(grow) => format!("pool-grow {}", grow.count.max(1)),
        Command::PoolShrink(shrink) => format!("pool-shrink {}", shrink.count.max(1)),
        Command::PoolRestart(restart) => words(
            "pool-restart",
            &[
                &restart.modules.join(" "),
                if restart.reload { "--reload" } else { "" },
            ],
        ),
        Command::Autoscale(bounds) => format!("autoscale {} {}", bounds.max, bounds.min),
        Command::AddConsumer(add) => words("add-consumer", &[&add.queue]),
        Command::CancelConsumer(cancel) => words("cancel-consumer", &[&cancel.queue]),
        Command::RateLimit(limit) => words("rate-limit", &[&limit.task_name, &limit.rate_limit]),
        Command::TimeLimit(limit) => {
            let of = |flag: &str, limit: Option<&prost_types::Duration>| match limit {
                Some(_) => format!("{flag} {}", duration(limit)),
                None => String::new(),
            };
            let (soft, hard) = (
                of("--soft", limit.soft.as_ref()),
                of("--hard", limit.hard.as_ref()),
            );
            words("time-limit", &[&limit.task_name, &soft, &hard])
        }
        Command::EnableEvents(_) => "enable-events".to_owned(),
        Command::DisableEvents(_) => "disable-events".to_owned(),
        Command::Heartbeat(_) => "heartbeat".to_owned(),
        Command::Custom(custom) => words("custom", &[&custom.name, &custom.arguments_json]),
    }
}

fn terminate(terminate: bool, signal: &str) -> String {
    match (terminate, signal) {
        (false, _) => String::new(),
        (true, "") => "--terminate".to_owned(),
        (true, signal) => format!("--terminate --signal {signal}"),
    }
}
