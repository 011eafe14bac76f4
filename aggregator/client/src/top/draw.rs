//! The model on a terminal of any size. Pure: it reads the model and writes cells. All text of others comes through
//! `Cell`, `Detail` or `plain`, which leave nothing in it that a terminal obeys.

mod list;
mod overlay;
mod overview;
mod pen;

use std::fmt::Write as _;

use celeriac_client::v1;
use jiff::tz::TimeZone;
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use self::pen::Pen;
use super::model::tasks::ORDERS;
use super::model::ui::View as Tab;
use super::model::{Link, Model};
use super::{fields, rows};
use crate::args::Times;
use crate::render::text::{Tone, plain};
use crate::render::units::span;
use crate::render::{View, advice};

/// Below this nothing useful fits.
const LEAST: (u16, u16) = (30, 8);

/// For how long the banner speaks of a gap that is over; the list of gaps keeps it.
const RECENT: jiff::SignedDuration = jiff::SignedDuration::from_mins(10);

/// How to draw: what is known of the terminal.
#[derive(Clone, Debug)]
pub(crate) struct Style {
    pub(crate) color: bool,
    /// Whether it shows more than ASCII.
    pub(crate) unicode: bool,
    pub(crate) times: Times,
    pub(crate) zone: TimeZone,
}

/// Draws everything.
pub(crate) fn draw(model: &Model, style: &Style, frame: &mut Frame<'_>) {
    let area = frame.area();
    let buffer = frame.buffer_mut();
    let mut pen = Pen::new(buffer, style.color);
    if area.width < LEAST.0 || area.height < LEAST.1 {
        pen.text(area, "terminal too small", Tone::Warn);
    } else {
        screen(model, style, &mut pen, area);
    }
    if !style.unicode {
        to_ascii(buffer);
    }
}

fn screen(model: &Model, style: &Style, pen: &mut Pen<'_>, area: Rect) {
    let view = render_view(model, style, area.width);
    let line = |y: u16| Rect::new(area.x, area.y + y, area.width, 1);
    title(model, pen, line(0));
    tabs(model, pen, line(1));
    let banner = banner(model);
    let bottom = area.height - 1;
    let body_end = bottom - u16::from(banner.is_some());
    let body = Rect::new(area.x, area.y + 2, area.width, body_end - 2);
    let range = lists(model, &view, pen, body);
    if let Some(text) = banner {
        pen.text(line(bottom - 1), &text, Tone::Warn);
    }
    footer(model, &range, pen, line(bottom));
    overlay::draw(model, &view, pen, area);
}

/// How text is rendered on a terminal of this width.
fn render_view(model: &Model, style: &Style, width: u16) -> View {
    View {
        now: model.now,
        times: style.times,
        zone: style.zone.clone(),
        width: Some(width.into()),
        wide: false,
        color: false,
    }
}

fn title(model: &Model, pen: &mut Pen<'_>, area: Rect) {
    let apps: Vec<_> = model.apps.values().collect();
    let what = match apps.as_slice() {
        [] => "waiting for an app".to_owned(),
        [app] => {
            let endpoint = app
                .broker
                .as_ref()
                .map_or("", |broker| broker.endpoint.as_str());
            format!("{}  {endpoint}", app.name)
        }
        apps => format!("{} apps", apps.len()),
    };
    let (state, tone) = state(model);
    let room = pen.right(area, &state, tone);
    let rest = Rect {
        width: area.width.saturating_sub(room + 1),
        ..area
    };
    let used = pen.text(rest, "celeriac top", Tone::Strong);
    let rest = Rect {
        x: rest.x + used + 2,
        width: rest.width.saturating_sub(used + 2),
        ..rest
    };
    pen.text(rest, &plain(&what), Tone::Plain);
}

/// How the connection is, with as of when the screen is true.
fn state(model: &Model) -> (String, Tone) {
    let silent = model.stale().map(|silent| span(silent.round_to_seconds()));
    match (&model.link, silent) {
        (Link::Loading, _) => ("loading".to_owned(), Tone::Warn),
        (Link::Interrupted(_), Some(silent)) => (format!("reconnecting, {silent} old"), Tone::Bad),
        (Link::Interrupted(_), None) => ("reconnecting".to_owned(), Tone::Bad),
        (Link::Live, Some(silent)) => (format!("stale, {silent} old"), Tone::Bad),
        (Link::Live, None) => {
            let apps = model.apps.values().map(crate::render::apps::status);
            match apps.max_by_key(|(_, tone)| matches!(tone, Tone::Bad | Tone::Warn)) {
                Some((word, tone)) if tone != Tone::Good => (word.to_owned(), tone),
                _ => {
                    let time = model
                        .as_of
                        .as_ref()
                        .and_then(crate::render::units::timestamp);
                    let time = time.map(|time| time.strftime(" %H:%M:%SZ").to_string());
                    (format!("live{}", time.unwrap_or_default()), Tone::Good)
                }
            }
        }
    }
}

/// Rounding of spans, so that a second is not shown in tenths.
trait Seconds {
    fn round_to_seconds(self) -> Self;
}

impl Seconds for jiff::SignedDuration {
    fn round_to_seconds(self) -> Self {
        Self::from_secs(self.as_secs())
    }
}

fn tabs(model: &Model, pen: &mut Pen<'_>, area: Rect) {
    let counts = [
        None,
        Some(model.workers.len()),
        Some(model.queues.len()),
        Some(model.names.len()),
        None,
        Some(model.failures.len()),
    ];
    // On a narrow terminal numbers go first, then names of tabs that are not shown.
    let label = |tab: Tab, numbers: bool, names: bool| {
        let number = tab.index() + 1;
        match (counts[tab.index()], numbers) {
            _ if !names && tab != model.ui.view => number.to_string(),
            (Some(count), true) => format!("{number} {} {count}", tab.title()),
            _ => format!("{number} {}", tab.title()),
        }
    };
    let width = |numbers: bool, names: bool| -> usize {
        Tab::ALL
            .iter()
            .map(|tab| label(*tab, numbers, names).len() + 2)
            .sum()
    };
    let room = usize::from(area.width);
    let numbers = width(true, true) <= room;
    let names = numbers || width(false, true) <= room;
    let mut rest = area;
    for tab in Tab::ALL {
        let text = format!(" {} ", label(tab, numbers, names));
        let used = if tab == model.ui.view {
            pen.selected(rest, &text)
        } else {
            pen.text(rest, &text, Tone::Plain)
        };
        rest.x += used;
        rest.width -= used;
    }
}

/// The view itself. Returns which rows of its list are on the screen.
fn lists(model: &Model, view: &View, pen: &mut Pen<'_>, area: Rect) -> String {
    let several = model.several_apps();
    let state = model.ui.list();
    let mut area = area;
    if let Some(about) = about(model) {
        pen.text(Rect { height: 1, ..area }, &about.0, about.1);
        area.y += 1;
        area.height = area.height.saturating_sub(1);
    }
    match model.ui.view {
        Tab::Overview => {
            overview::draw(model, view, pen, area);
            String::new()
        }
        Tab::Workers => {
            let rows = rows::workers(model);
            list::draw(&fields::workers(several), &rows, state, view, pen, area)
        }
        Tab::Queues => {
            let rows = rows::queues(model);
            list::draw(&fields::queues(several), &rows, state, view, pen, area)
        }
        Tab::Names => {
            let rows = rows::names(model);
            list::draw(&fields::names(several), &rows, state, view, pen, area)
        }
        Tab::Tasks => {
            let rows = rows::tasks(model);
            list::draw_unsorted(&fields::tasks(several), &rows, state, view, pen, area)
        }
        Tab::Failures => {
            let rows = rows::failures(model);
            list::draw(&fields::failures(several), &rows, state, view, pen, area)
        }
    }
}

/// What a list is narrowed by and ordered by, above it.
fn about(model: &Model) -> Option<(String, Tone)> {
    if model.ui.view != Tab::Tasks {
        let filter = &model.ui.list().filter;
        return (!filter.is_empty()).then(|| {
            (
                plain(&format!("filter: {filter}")).into_owned(),
                Tone::Strong,
            )
        });
    }
    let tasks = &model.tasks;
    if let Some(error) = &tasks.error {
        return Some((plain(error).into_owned(), Tone::Bad));
    }
    let (order, down) = ORDERS[tasks.order];
    let direction = if down == tasks.reverse { "asc" } else { "desc" };
    let mut text = format!("by {order} {direction}");
    if !tasks.filter.is_empty() {
        let _ = write!(text, "  filter: {}", tasks.filter);
    }
    if !tasks.search.is_empty() {
        let _ = write!(text, "  search: {}", tasks.search);
    }
    let shown = tasks.rows.len();
    let more = if tasks.more { "+" } else { "" };
    match &tasks.scan {
        _ if tasks.loading() && shown == 0 => text.push_str("  loading"),
        Some(scan) if tasks.loading() => {
            let _ = write!(
                text,
                "  {shown} found, {} of about {} looked at",
                scan.scanned, scan.total
            );
        }
        _ => {
            let _ = write!(text, "  {shown}{more} shown");
        }
    }
    Some((plain(&text).into_owned(), Tone::Dim))
}

/// The most important thing to know or change, in a line.
fn banner(model: &Model) -> Option<String> {
    let lines = notes(model);
    let first = lines.first()?;
    Some(match lines.len() {
        1 => format!("! {first}  (a: more)"),
        count => format!("! {first}  (a: {} more)", count - 1),
    })
}

/// Whether a gap is over, and still of interest.
fn ended_lately(gap: &v1::Gap, now: jiff::Timestamp) -> bool {
    let end = gap
        .end_time
        .as_ref()
        .and_then(crate::render::units::timestamp);
    end.is_some_and(|end| now.duration_since(end) < RECENT)
}

/// What a person should know or change: brokers that are not reached, gaps, advice.
fn notes(model: &Model) -> Vec<String> {
    let apps: Vec<v1::App> = model.apps.values().cloned().collect();
    let workers: Vec<v1::Worker> = model.workers.iter().map(|row| row.item.clone()).collect();
    let mut lines = Vec::new();
    if let Link::Interrupted(error) = &model.link {
        lines.push(plain(error).into_owned());
    }
    lines.extend(crate::render::apps::unreachable(&apps));
    let gaps = apps.iter().flat_map(|app| &app.gaps).chain(&model.gaps);
    let open = gaps.filter(|gap| gap.end_time.is_none()).count();
    if open > 0 {
        lines.push(format!(
            "{open} open gap{}: events are being missed",
            if open == 1 { "" } else { "s" }
        ));
    }
    lines.extend(advice::lines(&apps, &workers, model.several_apps()));
    let gaps = apps.iter().flat_map(|app| &app.gaps).chain(&model.gaps);
    let recent: Vec<_> = gaps.filter(|gap| ended_lately(gap, model.now)).collect();
    if !recent.is_empty() {
        let missed: u64 = recent.iter().filter_map(|gap| gap.missed_starts).sum();
        let plural = if recent.len() == 1 { "" } else { "s" };
        lines.push(format!(
            "{} gap{plural} in the last 10 minutes, {missed} task starts known to be missed",
            recent.len()
        ));
    }
    lines
}

fn footer(model: &Model, range: &str, pen: &mut Pen<'_>, area: Rect) {
    if let Some(notice) = &model.ui.notice {
        pen.text(area, &plain(notice), Tone::Strong);
        return;
    }
    let keys = match model.ui.view {
        Tab::Overview => "1-6/Tab views  a advice  ? help  q quit",
        Tab::Workers => "Enter details  c control  s sort  r reverse  / filter  ? help",
        Tab::Queues | Tab::Names => "Enter tasks  s sort  r reverse  / filter  ? help  q quit",
        Tab::Tasks | Tab::Failures => {
            "Enter details  c revoke  s sort  r reverse  / filter  ? help"
        }
    };
    pen.text(area, keys, Tone::Dim);
    if usize::from(area.width) > keys.len() + range.len() {
        pen.right(area, range, Tone::Dim);
    }
}

/// Replaces what a terminal without UTF-8 cannot show.
fn to_ascii(buffer: &mut Buffer) {
    for cell in &mut buffer.content {
        if cell.symbol().is_ascii() {
            continue;
        }
        let plain = match cell.symbol() {
            "…" => "~",
            "─" => "-",
            "│" => "|",
            "┌" | "┐" | "└" | "┘" => "+",
            "▲" => "^",
            "▼" => "v",
            "▁" | "▂" => ".",
            "▃" | "▄" | "▅" => ":",
            "▆" | "▇" | "█" => "#",
            "µ" => "u",
            _ => "?",
        };
        cell.set_symbol(plain);
    }
}

#[cfg(test)]
mod tests;
