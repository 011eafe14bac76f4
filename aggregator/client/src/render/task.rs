//! One task at length.

use celeriac_client::v1;

use super::detail::Detail;
use super::table::{Cell, Table, fixed, number, text};
use super::text::{Tone, plain};
use super::units::{ABSENT, between, count, duration, size};
use super::{View, tasks};

const LOST: &str = "Its worker went offline or began a new life while the task was there. With late acknowledgement the \
                    broker delivers it again; otherwise it is gone.";
const OUTCOME_UNKNOWN: &str = "It is over, but how is not known: its worker no longer has it and sent no final event. \
                               Tasks that raise Ignore do that, and events can be lost in a gap.";
const UNCONFIRMED: &str = "Events were missed in a gap after what is known of it, and nothing has told of it since: it may have \
                           gone on, or ended.";

/// Everything known of a task.
pub(crate) fn detail(task: &v1::Task, view: &View) -> String {
    let mut detail = Detail::new(view);
    identity(&mut detail, task);
    times(&mut detail, task, view);
    if let Some(payload) = &task.payload {
        texts(&mut detail, payload);
    } else if let Some(summary) = &task.exception_summary {
        detail.block("Exception", summary);
    }
    let shown = u64::try_from(task.attempts.len()).unwrap_or(u64::MAX);
    let title = if task.attempt_count > shown {
        format!("Attempts (the last {shown} of {})", task.attempt_count)
    } else {
        "Attempts".to_owned()
    };
    detail.table(&title, &attempts(task, view));
    if !task.custom_fields.is_empty() {
        let mut fields: Vec<_> = task
            .custom_fields
            .iter()
            .map(|(name, value)| plain(&format!("{name} = {value}")).into_owned())
            .collect();
        fields.sort();
        detail.block("Custom fields", &fields.join("\n"));
    }
    detail.finish()
}

fn identity(detail: &mut Detail<'_>, task: &v1::Task) {
    let (state, tone) = tasks::state(task);
    detail
        .field("Task", &task.id)
        .field("Name", task.name.as_deref().unwrap_or(ABSENT))
        .toned("State", state, tone);
    if task.lost {
        detail.toned("Lost", LOST, Tone::Bad);
    }
    if task.outcome_unknown {
        let reason = task.outcome_unknown_reason.as_deref();
        detail.toned(
            "Outcome unknown",
            reason.unwrap_or(OUTCOME_UNKNOWN),
            Tone::Warn,
        );
    }
    if task.unconfirmed {
        detail.toned("Unconfirmed", UNCONFIRMED, Tone::Warn);
    }
    if task.from_result_backend {
        detail.field("Outcome from", "the result backend: its events were missed");
    }
    detail
        .field("App", &task.app)
        .field("Worker", task.worker.as_deref().unwrap_or(ABSENT))
        .maybe("Queue", task.queue.as_deref())
        .maybe("Exchange", task.exchange.as_deref())
        .maybe("Routing key", task.routing_key.as_deref())
        .maybe("Sent by", task.client.as_deref())
        .maybe("Parent", task.parent_id.as_deref());
    match task.root_id.as_deref() {
        Some(root) if root == task.id => detail.field("Root", "itself"),
        root => detail.maybe("Root", root),
    };
    detail.field("Retries", count(task.retries));
    if let Some(revocation) = &task.revocation {
        detail.toned("Revoked", revoked(revocation), Tone::Warn);
    }
    match task.requeued {
        Some(true) => detail.field("Rejected", "with redelivery asked for"),
        Some(false) => detail.field("Rejected", "for good"),
        None => detail,
    };
}

fn revoked(revocation: &v1::Revocation) -> String {
    let signal = revocation
        .signal
        .as_deref()
        .map(|signal| format!(" by signal {signal}"));
    match (revocation.expired, revocation.terminated) {
        (true, _) => "it expired before it started".to_owned(),
        (false, true) => format!("its process was told to end{}", signal.unwrap_or_default()),
        (false, false) => "before it started".to_owned(),
    }
}

fn times(detail: &mut Detail<'_>, task: &v1::Task, view: &View) {
    detail.section("Times");
    for (label, time) in [
        ("Sent", task.sent_time.as_ref()),
        ("Not before (ETA)", task.eta.as_ref()),
        ("Not after", task.expires.as_ref()),
        ("Received", task.received_time.as_ref()),
        ("Started", task.started_time.as_ref()),
        ("Retried", task.retried_time.as_ref()),
        ("Succeeded", task.succeeded_time.as_ref()),
        ("Failed", task.failed_time.as_ref()),
        ("Revoked", task.revoked_time.as_ref()),
        ("Rejected", task.rejected_time.as_ref()),
    ] {
        if time.is_some() {
            detail.field(label, view.moment(time));
        }
    }
    if task.runtime.is_some() {
        detail.field("Runtime", duration(task.runtime.as_ref()));
    }
    detail
        .field("First seen", view.moment(task.first_seen.as_ref()))
        .field("Last seen", view.moment(task.last_seen.as_ref()));
}

fn texts(detail: &mut Detail<'_>, payload: &v1::Payload) {
    for (title, field, text) in [
        ("Args", "args", &payload.args),
        ("Kwargs", "kwargs", &payload.kwargs),
        ("Result", "result", &payload.result),
        ("Exception", "exception", &payload.exception),
        ("Traceback", "traceback", &payload.traceback),
    ] {
        let Some(text) = text else { continue };
        let mut notes = Vec::new();
        if let Some(cut) = payload.truncations.iter().find(|cut| cut.field == field) {
            notes.push(format!("cut, {} in full", size(cut.original_bytes)));
        }
        if payload
            .sanitized_fields
            .iter()
            .any(|sanitized| sanitized == field)
        {
            notes.push("what JSON cannot hold was replaced".to_owned());
        }
        let title = if notes.is_empty() {
            title.to_owned()
        } else {
            format!("{title} ({})", notes.join("; "))
        };
        detail.block(&title, text);
    }
}

fn attempts(task: &v1::Task, view: &View) -> Table {
    let mut table = Table::new(vec![
        number("NO"),
        text("WORKER", 8),
        number("LIFE"),
        fixed("RECEIVED"),
        fixed("STARTED"),
        fixed("ENDED"),
        number("TOOK"),
        fixed("OUTCOME"),
        text("EXCEPTION", 10),
    ]);
    for attempt in &task.attempts {
        let outcome = attempt.outcome.as_deref();
        table.row(vec![
            attempt.number.to_string().into(),
            attempt.worker.as_deref().unwrap_or(ABSENT).into(),
            attempt.incarnation.to_string().into(),
            view.time(attempt.received_time.as_ref()).into(),
            view.time(attempt.started_time.as_ref()).into(),
            view.time(attempt.ended_time.as_ref()).into(),
            between(attempt.started_time.as_ref(), attempt.ended_time.as_ref()).into(),
            Cell::toned(
                outcome.unwrap_or("running"),
                Tone::of_state(outcome.unwrap_or("STARTED")),
            ),
            attempt
                .exception_summary
                .as_deref()
                .unwrap_or(ABSENT)
                .into(),
        ]);
    }
    table
}
