//! Celeriac's own metrics: what is known, what was missed, and whether it can be relied upon.

use std::fmt;

use prometheus_client::metrics::MetricType;

use super::{Family, Page, Value, apps, gauge};
use crate::engine::board::{AppBoard, Board};

type Reading = fn(&AppBoard) -> Option<u64>;

const GAUGES: [(&str, &str, Reading); 5] = [
    (
        "celeriac_tasks_unfinished",
        "Tasks in memory that are not finished.",
        |app| Some(app.state.unfinished_count() as u64),
    ),
    (
        "celeriac_inspector_attached",
        "Whether an inspector's stream is open.",
        |app| {
            Some(u64::from(
                app.inspector
                    .as_ref()
                    .is_some_and(|inspector| inspector.attached),
            ))
        },
    ),
    (
        "celeriac_subscription_live",
        "Whether the inspector is subscribed to events.",
        |app| {
            app.state
                .report()
                .map(|report| u64::from(report.subscribed))
        },
    ),
    (
        "celeriac_broker_reachable",
        "Whether the inspector reaches the broker.",
        |app| {
            let report = app.state.report()?;
            report
                .broker
                .as_ref()
                .map(|broker| u64::from(broker.reachable))
        },
    ),
    (
        "celeriac_unacked",
        "Messages delivered and not acknowledged, whole app.",
        |app| app.state.unacked_total(),
    ),
];

const COUNTERS: [(&str, &str, Reading); 2] = [
    ("celeriac_events_folded", "Distinct events folded.", |app| {
        Some(app.state.events_folded())
    }),
    (
        "celeriac_event_series_overflow",
        "Events counted under `other` because there was no room for a series of their own.",
        |app| Some(app.state.counters().overflow()),
    ),
];

/// Writes them.
pub(super) fn write(page: &mut Page<'_>, board: &Board) -> fmt::Result {
    for (name, help, reading) in GAUGES {
        let family = Family {
            name,
            help,
            kind: MetricType::Gauge,
        };
        let read =
            apps(board).filter_map(|(app, entry)| Some((app, Vec::new(), gauge(reading(entry)?))));
        page.family(&family, read)?;
    }
    for (name, help, reading) in COUNTERS {
        let family = Family {
            name,
            help,
            kind: MetricType::Counter,
        };
        let read = apps(board)
            .filter_map(|(app, entry)| Some((app, Vec::new(), Value::Counter(reading(entry)?))));
        page.family(&family, read)?;
    }
    let rejected = Family {
        name: "celeriac_messages_rejected",
        help: "Messages and events that could not be read, by reason, since the inspector's start.",
        kind: MetricType::Counter,
    };
    let rejections = apps(board).flat_map(|(app, entry)| {
        let report = entry.state.report();
        report.into_iter().flat_map(move |report| {
            report.rejections.iter().map(move |unread| {
                (
                    app,
                    vec![("reason", &*unread.reason)],
                    Value::Counter(unread.count),
                )
            })
        })
    });
    page.family(&rejected, rejections)?;
    let writable = Family {
        name: "celeriac_history_writable",
        help: "Whether the last commit to history succeeded.",
        kind: MetricType::Gauge,
    };
    let ok = gauge(u64::from(board.commit_error.is_none()));
    // One sample for the whole process: no app.
    let several = std::mem::replace(&mut page.several, false);
    let written = page.family(&writable, std::iter::once(("", Vec::new(), ok)));
    page.several = several;
    written
}
