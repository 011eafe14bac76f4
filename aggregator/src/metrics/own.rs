//! Celeriac's own metrics: what is known, what was missed, and whether it can be relied upon.

use std::fmt;

use prometheus_client::metrics::MetricType;

use super::{Family, Page, Value, apps, gauge};
use crate::engine::board::{AppBoard, Board};
use crate::state::{Gap, GapCause};

type Reading = fn(&AppBoard) -> Option<u64>;

const GAUGES: [(&str, &str, Reading); 6] = [
    (
        "celeriac_tasks_unconfirmed",
        "Unfinished tasks of which nothing has been heard since a gap.",
        |app| Some(app.state.unconfirmed_count() as u64),
    ),
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

const COUNTERS: [(&str, &str, Reading); 3] = [
    ("celeriac_events_folded", "Distinct events folded.", |app| {
        Some(app.state.events_folded())
    }),
    (
        "celeriac_events_repeated",
        "Events that were told again, by a broker or an inspector, and left out.",
        |app| Some(app.state.events_repeated()),
    ),
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
    gaps(page, board)?;
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

/// What was missed, and whether it still is.
fn gaps(page: &mut Page<'_>, board: &Board) -> fmt::Result {
    let missed = Family {
        name: "celeriac_missed_starts",
        help: "Task starts of each worker's present life for which no event came.",
        kind: MetricType::Gauge,
    };
    let of_workers = apps(board).flat_map(|(app, entry)| {
        entry.state.workers().filter_map(move |worker| {
            let missed = worker.missed_starts()?;
            Some((app, vec![("worker", &*worker.name)], gauge(missed)))
        })
    });
    page.family(&missed, of_workers)?;
    let known = Family {
        name: "celeriac_gaps",
        help: "Gaps kept, by cause: the latest spans in which events were or may have been missed.",
        kind: MetricType::Gauge,
    };
    let by_cause = apps(board).flat_map(|(app, entry)| {
        CAUSES.into_iter().map(move |(cause, label)| {
            let of_cause = |gap: &&Gap| gap.cause == cause && is_of_its_own(gap);
            let count = entry.state.gaps().filter(of_cause).count();
            (app, vec![("cause", label)], gauge(count as u64))
        })
    });
    page.family(&known, by_cause)?;
    let open = Family {
        name: "celeriac_gap_open_since_seconds",
        help: "When the gap began that is not over, seconds since the Unix epoch. Absent while events flow.",
        kind: MetricType::Gauge,
    };
    let since = apps(board).filter_map(|(app, entry)| {
        let open = entry.state.gaps().filter(|gap| gap.end.is_none());
        let start = open.map(|gap| gap.start).min()?;
        let seconds = u64::try_from(start / 1_000_000).ok()?;
        Some((app, Vec::new(), gauge(seconds)))
    });
    page.family(&open, since)
}

const CAUSES: [(GapCause, &str); 4] = [
    (GapCause::Reconnect, "reconnect"),
    (GapCause::Overflow, "overflow"),
    (GapCause::Unexplained, "unexplained"),
    (GapCause::Detached, "detached"),
];

/// Whether it is a gap, not one worker's share of it.
fn is_of_its_own(gap: &Gap) -> bool {
    gap.worker.is_none() || gap.cause == GapCause::Unexplained
}
