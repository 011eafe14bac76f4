//! Tasks as a table.

use celeriac_client::v1;

use super::View;
use super::table::{Cell, Table, fixed, number, text};
use super::text::Tone;
use super::units::{ABSENT, count, duration};

/// One row a task; with the app when `name_apps` or wide.
pub(crate) fn table(tasks: &[v1::Task], name_apps: bool, view: &View) -> Table {
    let name_apps = name_apps || view.wide;
    let mut columns = Vec::new();
    if name_apps {
        columns.push(text("APP", 6));
    }
    columns.extend([
        fixed("ID"),
        text("NAME", 12),
        fixed("STATE"),
        text("WORKER", 10).optional(),
        number("RUNTIME"),
        fixed("SEEN"),
    ]);
    if view.wide {
        columns.extend([
            text("QUEUE", 6),
            number("RETRIES"),
            number("ATTEMPTS"),
            fixed("RECEIVED"),
            fixed("STARTED"),
            fixed("ENDED"),
            text("ARGS", 8),
            text("KWARGS", 8),
            text("OUTCOME", 8),
        ]);
    }
    let mut table = Table::new(columns);
    for task in tasks {
        let mut row = Vec::new();
        if name_apps {
            row.push(task.app.as_str().into());
        }
        let (state, tone) = state(task);
        row.extend([
            task.id.as_str().into(),
            task.name.as_deref().unwrap_or(ABSENT).into(),
            Cell::toned(&state, tone),
            task.worker.as_deref().unwrap_or(ABSENT).into(),
            duration(task.runtime.as_ref()).into(),
            view.time(task.first_seen.as_ref()).into(),
        ]);
        if view.wide {
            row.extend(wide(task, view));
        }
        table.row(row);
    }
    table
}

fn wide(task: &v1::Task, view: &View) -> [Cell; 9] {
    let payload = task.payload.as_ref();
    let outcome = payload
        .and_then(|payload| payload.result.as_deref())
        .or(task.exception_summary.as_deref())
        .or(payload.and_then(|payload| payload.exception.as_deref()));
    [
        task.queue.as_deref().unwrap_or(ABSENT).into(),
        count(task.retries).into(),
        task.attempt_count.to_string().into(),
        view.time(task.received_time.as_ref()).into(),
        view.time(task.started_time.as_ref()).into(),
        view.time(task.finish_seen.as_ref()).into(),
        payload
            .and_then(|payload| payload.args.as_deref())
            .unwrap_or(ABSENT)
            .into(),
        payload
            .and_then(|payload| payload.kwargs.as_deref())
            .unwrap_or(ABSENT)
            .into(),
        outcome.unwrap_or(ABSENT).into(),
    ]
}

/// Celery's state, and what is amiss with it.
pub(crate) fn state(task: &v1::Task) -> (String, Tone) {
    if task.outcome_unknown {
        (format!("{} (outcome unknown)", task.state), Tone::Warn)
    } else if task.lost {
        (format!("{} (lost)", task.state), Tone::Bad)
    } else if task.unconfirmed {
        (format!("{} (unconfirmed)", task.state), Tone::Warn)
    } else {
        (task.state.clone(), Tone::of_state(&task.state))
    }
}
