//! Apps as a table.

use std::fmt::Write as _;

use celeriac_client::v1;

use super::table::{Cell, Table, fixed, number, text};
use super::text::Tone;
use super::units::{ABSENT, count};
use super::{View, advice};

/// One row an app; wide, with the inspector, and gaps and unread messages below.
pub(crate) fn table(apps: &[v1::App], view: &View) -> String {
    let mut columns = vec![
        text("NAME", 8),
        text("BROKER", 12),
        fixed("STATUS"),
        number("WORKERS"),
        number("BUSY"),
        number("READY"),
        number("UNACKED").optional(),
        number("UNFINISHED").optional(),
        number("EVENTS").optional(),
    ];
    if view.wide {
        columns.extend([
            text("BROKER VERSION", 8),
            text("INSPECTOR", 8),
            fixed("VERSION"),
            fixed("SINCE"),
        ]);
    }
    let mut table = Table::new(columns);
    for app in apps {
        table.row(row(app, view));
    }
    let mut out = table.render(view);
    if view.wide {
        let gaps = advice::gaps(apps.iter().flat_map(|app| &app.gaps), view);
        for (title, below) in [("Gaps", gaps), ("Not read", advice::rejections(apps))] {
            if !below.is_empty() {
                let _ = write!(out, "\n{}\n", Tone::Strong.paint(title, view.color));
                out.push_str(&below.render(view));
            }
        }
    }
    out
}

fn row(app: &v1::App, view: &View) -> Vec<Cell> {
    let broker = app.broker.as_ref();
    let (status, tone) = status(app);
    let mut row: Vec<Cell> = vec![
        app.name.as_str().into(),
        broker
            .map_or(ABSENT, |broker| broker.endpoint.as_str())
            .into(),
        Cell::toned(status, tone),
        format!("{}/{}", app.workers_online, app.workers_known).into(),
        format!("{}/{}", app.active, app.slots).into(),
        app.ready.to_string().into(),
        count(app.unacked).into(),
        app.tasks_unfinished.to_string().into(),
        app.events_folded.to_string().into(),
    ];
    if view.wide {
        let inspector = app.inspector.as_ref();
        row.extend([
            broker
                .and_then(|broker| broker.version.as_deref())
                .unwrap_or(ABSENT)
                .into(),
            inspector
                .map_or(ABSENT, |inspector| inspector.instance.as_str())
                .into(),
            inspector
                .map_or(ABSENT, |inspector| inspector.version.as_str())
                .into(),
            view.time(inspector.and_then(|inspector| inspector.since.as_ref()))
                .into(),
        ]);
    }
    row
}

/// The most important thing to know of an app, in a word or two.
pub(crate) fn status(app: &v1::App) -> (&'static str, Tone) {
    match (&app.inspector, &app.broker) {
        (None, _) => ("no inspector", Tone::Bad),
        (Some(inspector), _) if !inspector.attached => ("inspector gone", Tone::Bad),
        (Some(_), Some(broker)) if !broker.reachable => ("broker down", Tone::Bad),
        (Some(inspector), _) if inspector.subscription() == v1::SubscriptionState::Reconnecting => {
            ("reconnecting", Tone::Warn)
        }
        (Some(_), None) => ("starting", Tone::Warn),
        (Some(_), Some(_)) => ("ok", Tone::Good),
    }
}

/// Why a broker is not reached, a line an app.
pub(crate) fn unreachable(apps: &[v1::App]) -> Vec<String> {
    apps.iter()
        .filter_map(|app| {
            let broker = app.broker.as_ref().filter(|broker| !broker.reachable)?;
            let reason = broker
                .unreachable_reason
                .as_deref()
                .unwrap_or("it does not answer");
            let line = format!(
                "{}: broker {} is not reached: {reason}",
                app.name, broker.endpoint
            );
            Some(super::text::plain(&line).into_owned())
        })
        .collect()
}
