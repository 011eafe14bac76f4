//! What a person should change, gathered from apps and workers, and the gaps and rejections behind it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use celeriac_client::v1;

use super::View;
use super::table::{Table, fixed, number, text};
use super::text::plain;
use super::units::{count, duration};

/// Worker names that one line of advice names before it only counts.
const NAMES_MAX: usize = 3;

/// One kind of advice and whom it is about.
struct Concern<'a> {
    first: &'a v1::Advice,
    workers: Vec<&'a str>,
}

/// A line for each kind of advice and app: the sentence, whom it is about, for how long. The same advice of many workers
/// is one line. The app is named when `name_apps`.
pub(crate) fn lines(apps: &[v1::App], workers: &[v1::Worker], name_apps: bool) -> Vec<String> {
    let of_apps = apps.iter().flat_map(|app| {
        app.advice
            .iter()
            .map(|advice| (app.name.as_str(), advice.worker.as_deref(), advice))
    });
    let of_workers = workers.iter().flat_map(|worker| {
        let name = worker.name.as_str();
        worker
            .advice
            .iter()
            .map(move |advice| (worker.app.as_str(), Some(name), advice))
    });
    let mut concerns: BTreeMap<(&str, &str), Concern<'_>> = BTreeMap::new();
    for (app, worker, advice) in of_apps.chain(of_workers) {
        let concern = concerns
            .entry((app, advice.code.as_str()))
            .or_insert_with(|| Concern {
                first: advice,
                workers: Vec::new(),
            });
        if let Some(worker) = worker
            && !concern.workers.contains(&worker)
        {
            concern.workers.push(worker);
        }
    }
    concerns
        .iter()
        .map(|((app, _), concern)| line(app, concern, name_apps))
        .collect()
}

fn line(app: &str, concern: &Concern<'_>, name_app: bool) -> String {
    let mut out = String::from("advice: ");
    if name_app {
        out.push_str(app);
        out.push_str(": ");
    }
    out.push_str(&concern.first.message);
    if !concern.workers.is_empty() {
        let named = concern.workers.len().min(NAMES_MAX);
        let _ = write!(out, " [{}", concern.workers[..named].join(", "));
        if concern.workers.len() > named {
            let _ = write!(out, " and {} more", concern.workers.len() - named);
        }
        out.push(']');
    }
    if concern.first.age.is_some() {
        let _ = write!(out, " (for {})", duration(concern.first.age.as_ref()));
    }
    plain(&out).into_owned()
}

/// Why a gap is there, in a word or two.
pub(crate) fn cause(gap: &v1::Gap) -> &'static str {
    match gap.cause() {
        v1::GapCause::Unspecified => "unknown",
        v1::GapCause::Reconnect => "reconnect",
        v1::GapCause::Overflow => "overflow",
        v1::GapCause::Unexplained => "unexplained",
        v1::GapCause::Detached => "detached",
        v1::GapCause::SlowReader => "slow reader",
    }
}

/// Gaps as a table, without rows when there are none.
pub(crate) fn gaps<'a>(gaps: impl Iterator<Item = &'a v1::Gap>, view: &View) -> Table {
    let mut table = Table::new(vec![
        text("APP", 6),
        fixed("CAUSE"),
        fixed("FROM"),
        fixed("TO"),
        text("WORKER", 8),
        number("MISSED STARTS"),
        number("DROPPED"),
        text("DETAIL", 12),
    ]);
    for gap in gaps {
        let end = match gap.end_time {
            Some(_) => view.time(gap.end_time.as_ref()),
            None => "open".to_owned(),
        };
        table.row(vec![
            gap.app.as_str().into(),
            cause(gap).into(),
            view.time(gap.start_time.as_ref()).into(),
            end.into(),
            gap.worker.as_deref().unwrap_or("all").into(),
            count(gap.missed_starts).into(),
            count(gap.dropped_messages).into(),
            gap.detail.as_str().into(),
        ]);
    }
    table
}

/// What could not be read, as a table, without rows when there is nothing.
pub(crate) fn rejections(apps: &[v1::App]) -> Table {
    let mut table = Table::new(vec![
        text("APP", 6),
        number("COUNT"),
        text("REASON", 20),
        text("SAMPLE", 12),
    ]);
    for app in apps {
        for rejection in &app.rejections {
            table.row(vec![
                app.name.as_str().into(),
                rejection.count.to_string().into(),
                rejection.reason.as_str().into(),
                rejection.sample.as_deref().unwrap_or("-").into(),
            ]);
        }
    }
    table
}
