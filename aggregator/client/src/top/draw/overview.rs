//! The first view: how much there is to do, how fast it is done, and what goes wrong.

use ratatui::layout::Rect;

use super::list;
use super::pen::Pen;
use crate::render::View;
use crate::render::table::{Cell, Table, number, text};
use crate::render::text::{Tone, width};
use crate::render::units::{ABSENT, duration};
use crate::render::{queues, workers};
use crate::top::fields::{self, rate};
use crate::top::model::Model;
use crate::top::rows;

const LEVELS: [&str; 8] = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];

/// Draws it, as much as there is room for.
pub(super) fn draw(model: &Model, view: &View, pen: &mut Pen<'_>, area: Rect) {
    let mut place = Place { rest: area };
    totals(model, pen, &mut place);
    rates(model, pen, &mut place);
    sparkline(model, pen, &mut place);
    place.line();
    // Failures stand at the bottom and queues at the top with what they need, within a half each; names have the rest.
    let rest = place.rest.height;
    let failures = lines(model.failures.len().min(8)) + 2;
    let failures = failures.min(rest / 2);
    let wide = area.width >= 100;
    let workers = if wide { model.workers.len() } else { 0 };
    let above = rest - failures;
    let tables = (lines(model.queues.len().max(workers)) + 1).min(above);
    // Half of it, when all cannot be shown and there is room for both.
    let tables = if above - tables < 6 && above >= 12 {
        above / 2
    } else {
        tables
    };
    queues_and_workers(model, view, pen, place.take(tables), wide);
    let names = place.take(above - tables);
    if names.height >= 5 {
        let inner = Rect {
            y: names.y + 1,
            height: names.height - 2,
            ..names
        };
        busiest_names(model, pen, inner);
    }
    latest_failures(model, view, pen, place.rest);
}

fn lines(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX - 2)
}

fn queues_and_workers(model: &Model, view: &View, pen: &mut Pen<'_>, area: Rect, wide: bool) {
    let left = if wide { area.width / 2 - 1 } else { area.width };
    busiest_queues(
        model,
        view,
        pen,
        Rect {
            width: left,
            ..area
        },
    );
    if wide {
        let right = Rect {
            x: area.x + left + 2,
            width: area.width - left - 2,
            ..area
        };
        busiest_workers(model, pen, right);
    }
}

/// Lines from the top to the bottom.
struct Place {
    rest: Rect,
}

impl Place {
    fn take(&mut self, height: u16) -> Rect {
        let height = height.min(self.rest.height);
        let taken = Rect {
            height,
            ..self.rest
        };
        self.rest.y += height;
        self.rest.height -= height;
        taken
    }

    fn line(&mut self) -> Rect {
        self.take(1)
    }
}

/// Pieces of text side by side.
fn pieces(pen: &mut Pen<'_>, mut area: Rect, pieces: &[(&str, Tone)]) {
    for (text, tone) in pieces {
        let used = pen.text(area, text, *tone);
        area.x += used;
        area.width -= used;
    }
}

fn totals(model: &Model, pen: &mut Pen<'_>, place: &mut Place) {
    let sum =
        |of: fn(&celeriac_client::v1::App) -> i64| -> i64 { model.apps.values().map(of).sum() };
    let online = sum(|app| app.workers_online);
    let known = sum(|app| app.workers_known);
    let (active, slots) = (sum(|app| app.active), sum(|app| app.slots));
    let ready = sum(|app| app.ready);
    let unacked: Option<i64> = model
        .apps
        .values()
        .filter_map(|app| app.unacked)
        .reduce(|a, b| a + b);
    let unacked = unacked.map_or_else(|| ABSENT.to_owned(), |count| count.to_string());
    let tone = if online < known {
        Tone::Warn
    } else {
        Tone::Good
    };
    let line = place.line();
    let label = format!("{active} of {slots} slots");
    pieces(
        pen,
        line,
        &[
            ("Workers  ", Tone::Dim),
            (&format!("{online} online"), tone),
            (&format!(" of {known}    "), Tone::Plain),
            ("Busy  ", Tone::Dim),
            (&label, Tone::Busy),
        ],
    );
    let used = "Workers  ".len() + format!("{online} online of {known}    Busy  {label}  ").len();
    let used = u16::try_from(used).unwrap_or(u16::MAX);
    if slots > 0 && line.width > used + 6 {
        #[expect(clippy::cast_precision_loss, reason = "a bar of some tens of columns")]
        let part = active as f64 / slots as f64;
        let bar = Rect {
            x: line.x + used,
            width: (line.width - used - 1).min(30),
            ..line
        };
        pen.gauge(bar, part, Tone::Busy);
    }
    let backlog = if ready > 0 { Tone::Strong } else { Tone::Plain };
    pieces(
        pen,
        place.line(),
        &[
            ("Ready    ", Tone::Dim),
            (&ready.to_string(), backlog),
            ("    Unacked  ", Tone::Dim),
            (&unacked, Tone::Plain),
            ("    Unfinished  ", Tone::Dim),
            (&sum(|app| app.tasks_unfinished).to_string(), Tone::Plain),
            ("    Events  ", Tone::Dim),
            (&sum(|app| app.events_folded).to_string(), Tone::Plain),
        ],
    );
}

fn rates(model: &Model, pen: &mut Pen<'_>, place: &mut Place) {
    let series = &model.series;
    let failing = match series.rate(2) {
        Some(rate) if rate >= 0.05 => Tone::Bad,
        _ => Tone::Plain,
    };
    pieces(
        pen,
        place.line(),
        &[
            ("Per second  ", Tone::Dim),
            (&format!("{} started  ", rate(series.rate(0))), Tone::Plain),
            (&format!("{} ok  ", rate(series.rate(1))), Tone::Good),
            (&format!("{} failed  ", rate(series.rate(2))), failing),
            (&format!("{} retried", rate(series.rate(3))), Tone::Plain),
        ],
    );
}

/// Starts per second, one column a second, the newest at the right.
fn sparkline(model: &Model, pen: &mut Pen<'_>, place: &mut Place) {
    if place.rest.height < 8 {
        return;
    }
    place.line();
    let starts = &model.series.starts;
    let most = starts.iter().flatten().copied().fold(0.0_f64, f64::max);
    let line = place.line();
    let label = format!("Starts/s, at most {} ", rate(Some(most)));
    let used = pen.text(line, &label, Tone::Dim);
    let room = usize::from(line.width.saturating_sub(used + 1));
    let skip = starts.len().saturating_sub(room);
    let bars: String = starts
        .iter()
        .skip(skip)
        .map(|rate| bar(*rate, most))
        .collect();
    let columns = u16::try_from(width(&bars)).unwrap_or(u16::MAX);
    let right = Rect {
        x: line.x + used + u16::try_from(room).unwrap_or(0).saturating_sub(columns),
        width: columns,
        ..line
    };
    pen.text(right, &bars, Tone::Busy);
}

/// A column of the line: a gap where nothing was heard.
fn bar(rate: Option<f64>, most: f64) -> &'static str {
    match rate {
        None => " ",
        Some(rate) if rate <= 0.0 || most <= 0.0 => LEVELS[0],
        Some(rate) => {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "from 0 to 7"
            )]
            let level = (rate / most * 7.0).round().clamp(0.0, 7.0) as usize;
            LEVELS[level]
        }
    }
}

fn busiest_queues(model: &Model, view: &View, pen: &mut Pen<'_>, area: Rect) {
    let rows = rows::queues(model);
    if rows.is_empty() {
        pen.text(area, "no queues yet", Tone::Dim);
        return;
    }
    let mut table = Table::new(vec![
        text("QUEUE", 8),
        number("READY"),
        number("UNACKED"),
        number("OLDEST"),
        number("CONSUMERS"),
    ]);
    for row in rows.iter().take(area.height.saturating_sub(1).into()) {
        let queue = &row.item;
        table.row(vec![
            queue.name.as_str().into(),
            crate::render::units::count(queue.ready).into(),
            queues::unacked(queue).into(),
            queues::oldest(queue, view).into(),
            crate::render::units::count(queue.consumers).into(),
        ]);
    }
    list::table(&table, None, None, pen, area);
}

fn busiest_workers(model: &Model, pen: &mut Pen<'_>, area: Rect) {
    let rows = rows::workers(model);
    if rows.is_empty() {
        pen.text(area, "no workers yet", Tone::Dim);
        return;
    }
    let mut table = Table::new(vec![
        text("WORKER", 8),
        text("STATE", 6),
        number("BUSY"),
        number("START/S"),
    ]);
    for row in rows.iter().take(area.height.saturating_sub(1).into()) {
        let (word, tone) = workers::status(&row.item);
        table.row(vec![
            row.item.name.as_str().into(),
            Cell::toned(word, tone),
            workers::busy(&row.item).into(),
            rate(row.rate(0)).into(),
        ]);
    }
    list::table(&table, None, None, pen, area);
}

fn busiest_names(model: &Model, pen: &mut Pen<'_>, area: Rect) {
    let rows = rows::names(model);
    if rows.is_empty() {
        return;
    }
    let mut table = Table::new(vec![
        text("TASK NAME", 8),
        number("START/S"),
        number("FAIL/S"),
        number("ACTIVE"),
        number("OK"),
        number("FAILED"),
        number("RETRIED"),
        number("P50"),
        number("P95"),
    ]);
    for row in rows.iter().take(area.height.saturating_sub(1).into()) {
        let name = &row.item;
        let tone = if name.failed > 0 {
            Tone::Bad
        } else {
            Tone::Plain
        };
        table.row(vec![
            name.name.as_str().into(),
            rate(row.rate(0)).into(),
            rate(row.rate(2)).into(),
            name.active.to_string().into(),
            name.succeeded.to_string().into(),
            Cell::toned(&name.failed.to_string(), tone),
            name.retried.to_string().into(),
            duration(name.p50_runtime.as_ref()).into(),
            duration(name.p95_runtime.as_ref()).into(),
        ]);
    }
    list::table(&table, None, None, pen, area);
}

fn latest_failures(model: &Model, view: &View, pen: &mut Pen<'_>, area: Rect) {
    let mut place = Place { rest: area };
    if model.failures.is_empty() {
        pen.text(place.line(), "no failures seen", Tone::Dim);
        return;
    }
    pen.text(place.line(), "Latest failures", Tone::Strong);
    let rows: Vec<_> = model
        .failures
        .iter()
        .take(place.rest.height.into())
        .collect();
    let fields = fields::failures(model.several_apps());
    list::table(
        &fields::table(&fields, &rows, view),
        None,
        None,
        pen,
        place.rest,
    );
}
