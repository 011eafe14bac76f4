//! Queues as a table.

use celeriac_client::v1;

use super::View;
use super::table::{Cell, Table, fixed, number, text};
use super::units::{ABSENT, count};

/// One row a queue; with the app when `name_apps` or wide.
pub(crate) fn table(queues: &[v1::Queue], name_apps: bool, view: &View) -> Table {
    let name_apps = name_apps || view.wide;
    let mut columns = Vec::new();
    if name_apps {
        columns.push(text("APP", 6));
    }
    columns.extend([
        text("NAME", 12),
        number("READY"),
        number("UNACKED"),
        number("ACTIVE"),
        number("CONSUMERS"),
        number("OLDEST"),
        number("WORKERS"),
    ]);
    if view.wide {
        columns.extend([
            text("PRIORITIES", 10),
            fixed("READ"),
            fixed("CONSUMERS AS OF"),
            fixed("OLDEST BY"),
            text("CONSUMED BY", 12),
        ]);
    }
    let mut table = Table::new(columns);
    for queue in queues {
        let mut row: Vec<Cell> = Vec::new();
        if name_apps {
            row.push(queue.app.as_str().into());
        }
        row.extend([
            queue.name.as_str().into(),
            count(queue.ready).into(),
            unacked(queue).into(),
            queue.active.to_string().into(),
            count(queue.consumers).into(),
            oldest(queue, view).into(),
            queue.workers.len().to_string().into(),
        ]);
        if view.wide {
            row.extend([
                priorities(queue).into(),
                view.time(queue.depth_time.as_ref()).into(),
                view.time(queue.consumers_as_of.as_ref()).into(),
                method(queue).into(),
                if queue.workers.is_empty() {
                    ABSENT.into()
                } else {
                    queue.workers.join(",").into()
                },
            ]);
        }
        table.row(row);
    }
    table
}

/// Unacknowledged messages, `~` before what was put together from snapshots.
pub(crate) fn unacked(queue: &v1::Queue) -> String {
    match &queue.unacked {
        Some(unacked) if unacked.approximate => format!("~{}", unacked.count),
        Some(unacked) => unacked.count.to_string(),
        None => ABSENT.to_owned(),
    }
}

/// The age of the oldest ready message, `~` before an estimate.
pub(crate) fn oldest(queue: &v1::Queue, view: &View) -> String {
    let Some(oldest) = &queue.oldest else {
        return ABSENT.to_owned();
    };
    let age = view.age(oldest.time.as_ref());
    match oldest.method() {
        v1::AgeMethod::Estimated => format!("~{age}"),
        v1::AgeMethod::Unspecified | v1::AgeMethod::Exact | v1::AgeMethod::Event => age,
    }
}

pub(crate) fn method(queue: &v1::Queue) -> &'static str {
    match queue.oldest.as_ref().map(v1::OldestMessage::method) {
        Some(v1::AgeMethod::Exact) => "exact",
        Some(v1::AgeMethod::Event) => "event",
        Some(v1::AgeMethod::Estimated) => "estimated",
        Some(v1::AgeMethod::Unspecified) | None => ABSENT,
    }
}

/// Depths by priority, as `0:12 3:4`.
pub(crate) fn priorities(queue: &v1::Queue) -> String {
    if queue.priorities.is_empty() {
        return ABSENT.to_owned();
    }
    let depth = |depth: &v1::PriorityDepth| format!("{}:{}", depth.priority, depth.ready);
    queue
        .priorities
        .iter()
        .map(depth)
        .collect::<Vec<_>>()
        .join(" ")
}
