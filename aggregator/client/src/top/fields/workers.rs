//! The columns of workers.

use celeriac_client::v1;

use super::{Field, Key, amount, app_field, down, moment, rate, rated, up, words};
use crate::render::table::{Cell, fixed, number, text};
use crate::render::text::Tone;
use crate::render::units::{ABSENT, count};
use crate::render::{View, workers};
use crate::top::model::things::Tracked;

type Worker = Tracked<v1::Worker>;

fn pool(worker: &Worker) -> Option<&str> {
    let inspection = worker.item.inspection.as_ref()?;
    inspection.pool.as_deref()
}

/// Starts per second, by what its heartbeats count.
fn starts(worker: &Worker) -> Option<f64> {
    worker.item.processed.and(worker.rate(0))
}

fn state(worker: &Worker) -> Cell {
    let (word, tone) = workers::status(&worker.item);
    Cell::toned(word, tone)
}

fn load(worker: &Worker) -> Cell {
    let load = worker.item.load_average.first();
    load.map_or_else(|| ABSENT.to_owned(), |load| format!("{load:.2}"))
        .into()
}

fn flags_key(worker: &Worker) -> Key {
    if worker.item.advice.is_empty() {
        Key::Absent
    } else {
        words(&flags(&worker.item))
    }
}

/// What is wrong with a worker, by the codes of its advice.
fn flags(worker: &v1::Worker) -> String {
    let codes: Vec<_> = worker
        .advice
        .iter()
        .map(|advice| advice.code.to_lowercase().replace('_', " "))
        .collect();
    codes.join(", ")
}

fn slots_busy(worker: &v1::Worker) -> Option<i64> {
    let inspection = worker.inspection.as_ref();
    worker
        .active
        .or(inspection.and_then(|inspection| inspection.active))
}

/// Workers.
pub(crate) fn workers(name_apps: bool) -> Vec<Field<Worker>> {
    let mut fields: Vec<Field<Worker>> = vec![
        up(
            text("WORKER", 10),
            |w: &Worker, _: &View| w.item.name.as_str().into(),
            |w: &Worker| words(&w.item.name),
        ),
        up(
            fixed("STATE"),
            |w, _| state(w),
            |w| words(workers::status(&w.item).0),
        ),
        up(
            fixed("POOL"),
            |w, _| pool(w).unwrap_or(ABSENT).into(),
            |w| pool(w).map_or(Key::Absent, words),
        ),
        down(
            number("BUSY"),
            |w, _| workers::busy(&w.item).into(),
            |w| amount(slots_busy(&w.item)),
        ),
        down(
            number("PROCESSED"),
            |w, _| count(w.item.processed).into(),
            |w| amount(w.item.processed),
        ),
        down(
            number("START/S"),
            |w, _| rate(starts(w)).into(),
            |w| rated(starts(w)),
        ),
        down(
            number("LOAD"),
            |w, _| load(w),
            |w| rated(w.item.load_average.first().copied()),
        ),
        up(
            text("FLAGS", 10),
            |w, _| Cell::toned(&flags(&w.item), Tone::Warn),
            flags_key,
        ),
        up(
            text("QUEUES", 6).optional(),
            |w, _| workers::queues(&w.item).into(),
            |w| words(&workers::queues(&w.item)),
        ),
        down(
            fixed("SEEN").optional(),
            |w, view| view.time(w.item.last_seen.as_ref()).into(),
            |w| moment(w.item.last_seen.as_ref()),
        ),
    ];
    if name_apps {
        fields.push(app_field());
    }
    fields
}
