//! Workers as a table.

use celeriac_client::v1;

use super::View;
use super::table::{Cell, Table, fixed, number, text};
use super::text::Tone;
use super::units::{ABSENT, count, duration, size};

/// One row a worker; with the app when `name_apps` or wide.
pub(crate) fn table(workers: &[v1::Worker], name_apps: bool, view: &View) -> Table {
    let name_apps = name_apps || view.wide;
    let mut columns = Vec::new();
    if name_apps {
        columns.push(text("APP", 6));
    }
    columns.extend([
        text("NAME", 12),
        fixed("STATUS"),
        fixed("POOL"),
        number("BUSY"),
        number("PROCESSED"),
        number("FAILED").optional(),
        fixed("EVENTS"),
        fixed("SEEN"),
        text("QUEUES", 8).optional(),
    ]);
    if view.wide {
        columns.extend([
            number("SUCCEEDED"),
            number("RETRIED"),
            number("RESERVED"),
            number("SCHEDULED"),
            number("PREFETCH"),
            fixed("LOAD"),
            number("PID"),
            number("LIFE"),
            number("UPTIME"),
            number("MEMORY"),
            text("SOFTWARE", 10),
        ]);
    }
    let mut table = Table::new(columns);
    for worker in workers {
        let mut row = Vec::new();
        if name_apps {
            row.push(worker.app.as_str().into());
        }
        row.extend(usual(worker, view));
        if view.wide {
            row.extend(wide(worker));
        }
        table.row(row);
    }
    table
}

fn usual(worker: &v1::Worker, view: &View) -> [Cell; 9] {
    let inspection = worker.inspection.as_ref();
    let (status, tone) = status(worker);
    [
        worker.name.as_str().into(),
        Cell::toned(status, tone),
        inspection
            .and_then(|inspection| inspection.pool.as_deref())
            .unwrap_or(ABSENT)
            .into(),
        busy(worker).into(),
        count(worker.processed).into(),
        events(worker, "task-failed").into(),
        events_cell(worker),
        view.time(worker.last_seen.as_ref()).into(),
        queues(worker).into(),
    ]
}

fn wide(worker: &v1::Worker) -> [Cell; 11] {
    let inspection = worker.inspection.as_ref();
    let of = |number: fn(&v1::WorkerInspection) -> Option<i64>| count(inspection.and_then(number));
    let incarnation = worker.incarnation.as_ref();
    [
        events(worker, "task-succeeded").into(),
        events(worker, "task-retried").into(),
        worker.reserved_known.to_string().into(),
        of(|inspection| inspection.scheduled).into(),
        prefetch(worker).into(),
        load(worker).into(),
        count(incarnation.and_then(|incarnation| incarnation.pid)).into(),
        count(incarnation.map(|incarnation| incarnation.number)).into(),
        duration(inspection.and_then(|inspection| inspection.uptime.as_ref())).into(),
        memory(worker).into(),
        worker.software.as_deref().unwrap_or(ABSENT).into(),
    ]
}

/// The status in a word.
pub(crate) fn status(worker: &v1::Worker) -> (&'static str, Tone) {
    match worker.status() {
        v1::WorkerStatus::Unspecified => ("UNKNOWN", Tone::Plain),
        v1::WorkerStatus::Online => ("ONLINE", Tone::Good),
        v1::WorkerStatus::Offline => ("OFFLINE", Tone::Bad),
        v1::WorkerStatus::Silent => ("SILENT", Tone::Bad),
    }
}

/// Whether it sends task events, in a word.
pub(crate) fn events_mode(worker: &v1::Worker) -> (&'static str, Tone) {
    match worker.events() {
        v1::EventsMode::Unspecified => (ABSENT, Tone::Plain),
        v1::EventsMode::On => ("on", Tone::Plain),
        v1::EventsMode::Off => ("off", Tone::Warn),
    }
}

pub(crate) fn events_cell(worker: &v1::Worker) -> Cell {
    let (word, tone) = events_mode(worker);
    Cell::toned(word, tone)
}

/// Running tasks of slots, as `2/4`. The running ones are the last heartbeat's, else the last answer's.
pub(crate) fn busy(worker: &v1::Worker) -> String {
    let inspection = worker.inspection.as_ref();
    let active = worker
        .active
        .or(inspection.and_then(|inspection| inspection.active));
    let slots = inspection.and_then(|inspection| inspection.slots);
    format!("{}/{}", count(active), count(slots))
}

/// How many events of a type came in this life; unknown where events are not known to be on.
pub(crate) fn events(worker: &v1::Worker, kind: &str) -> String {
    match (worker.event_counts.get(kind), worker.events()) {
        (Some(seen), _) => seen.to_string(),
        (None, v1::EventsMode::On) => "0".to_owned(),
        (None, _) => ABSENT.to_owned(),
    }
}

/// The queues it consumes from; `none` when it said that there are none.
pub(crate) fn queues(worker: &v1::Worker) -> String {
    match &worker.inspection {
        Some(inspection) if !inspection.queues.is_empty() => {
            let names: Vec<_> = inspection
                .queues
                .iter()
                .map(|queue| queue.name.as_str())
                .collect();
            names.join(",")
        }
        Some(inspection) if inspection.queues_known => "none".to_owned(),
        _ => ABSENT.to_owned(),
    }
}

/// The prefetch count; 0 on the wire is no limit.
pub(crate) fn prefetch(worker: &v1::Worker) -> String {
    match worker
        .inspection
        .as_ref()
        .and_then(|inspection| inspection.prefetch_count)
    {
        Some(0) => "no limit".to_owned(),
        other => count(other),
    }
}

/// Load averages over 1, 5 and 15 minutes.
pub(crate) fn load(worker: &v1::Worker) -> String {
    if worker.load_average.is_empty() {
        return ABSENT.to_owned();
    }
    let shown: Vec<_> = worker
        .load_average
        .iter()
        .map(|load| format!("{load:.2}"))
        .collect();
    shown.join(" ")
}

/// The memory peak of its main process.
pub(crate) fn memory(worker: &v1::Worker) -> String {
    let peak = worker
        .inspection
        .as_ref()
        .and_then(|inspection| inspection.peak_memory_bytes);
    peak.and_then(|bytes| u64::try_from(bytes).ok())
        .map_or_else(|| ABSENT.to_owned(), size)
}
