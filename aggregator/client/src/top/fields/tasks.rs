//! The columns of tasks and of failures.

use celeriac_client::v1;

use super::{Field, Key, app_field, down, moment, span, up, words};
use crate::render::table::{Cell, fixed, number, text};
use crate::render::text::Tone;
use crate::render::units::{ABSENT, duration};
use crate::render::{View, tasks};

fn task_name(task: &v1::Task) -> &str {
    task.name.as_deref().unwrap_or(ABSENT)
}

/// Tasks, in the order of the aggregator.
pub(crate) fn tasks(name_apps: bool) -> Vec<Field<v1::Task>> {
    let mut fields: Vec<Field<v1::Task>> = vec![
        up(
            text("ID", 8),
            |t: &v1::Task, _: &View| t.id.as_str().into(),
            |t: &v1::Task| words(&t.id),
        ),
        up(
            text("NAME", 10),
            |t, _| task_name(t).into(),
            |t| words(task_name(t)),
        ),
        up(
            fixed("STATE"),
            |t, _| {
                let (word, tone) = tasks::state(t);
                Cell::toned(&word, tone)
            },
            |t| words(&t.state),
        ),
        down(
            number("RUNTIME"),
            |t, _| duration(t.runtime.as_ref()).into(),
            |t| span(t.runtime.as_ref()),
        ),
        down(
            fixed("FIRST SEEN"),
            |t, view| view.time(t.first_seen.as_ref()).into(),
            |t| moment(t.first_seen.as_ref()),
        ),
        down(
            fixed("LAST SEEN").optional(),
            |t, view| view.time(t.last_seen.as_ref()).into(),
            |t| moment(t.last_seen.as_ref()),
        ),
        up(
            text("WORKER", 8).optional(),
            |t, _| t.worker.as_deref().unwrap_or(ABSENT).into(),
            |t| t.worker.as_deref().map_or(Key::Absent, words),
        ),
        up(
            text("QUEUE", 6).optional(),
            |t, _| t.queue.as_deref().unwrap_or(ABSENT).into(),
            |t| t.queue.as_deref().map_or(Key::Absent, words),
        ),
    ];
    if name_apps {
        fields.push(app_field());
    }
    fields
}

/// Failures, the latest first.
pub(crate) fn failures(name_apps: bool) -> Vec<Field<v1::Task>> {
    let mut fields: Vec<Field<v1::Task>> = vec![
        down(
            fixed("FAILED"),
            |t: &v1::Task, view: &View| view.time(t.finish_seen.as_ref()).into(),
            |t: &v1::Task| moment(t.finish_seen.as_ref()),
        ),
        up(
            text("NAME", 10),
            |t: &v1::Task, _: &View| task_name(t).into(),
            |t: &v1::Task| words(task_name(t)),
        ),
        up(
            text("EXCEPTION", 36),
            |t, _| {
                let summary = t.exception_summary.as_deref().unwrap_or(ABSENT);
                Cell::toned(summary, Tone::Bad)
            },
            |t| t.exception_summary.as_deref().map_or(Key::Absent, words),
        ),
        up(
            text("WORKER", 8).optional(),
            |t, _| t.worker.as_deref().unwrap_or(ABSENT).into(),
            |t| t.worker.as_deref().map_or(Key::Absent, words),
        ),
        up(text("ID", 8), |t, _| t.id.as_str().into(), |t| words(&t.id)),
    ];
    if name_apps {
        fields.push(app_field());
    }
    fields
}
