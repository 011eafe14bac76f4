//! What lies over a view: help, advice, details, menus and questions.

use std::fmt::Write as _;

use celeriac_client::v1;
use ratatui::layout::Rect;

use super::pen::Pen;
use crate::config::control::harm;
use crate::render::text::{Tone, lines, plain, width};
use crate::render::{View, advice, command, task, worker};
use crate::top::model::Model;
use crate::top::model::ui::{Detail, Overlay, Sent, Target, Thing, View as Tab};
use crate::top::update::orders::orders;

const HELP: &str = "\
Views        1-6, Tab, Shift-Tab, left, right
Move         up and down or k and j, PgUp, PgDn, Home, End
Enter        worker or task at length; tasks of a queue or a name
s < >        order by the next or previous column
r            turn the order round
/            filter; Esc takes it away
  Tasks      in AIP-160: state = FAILURE AND runtime > 2
             Tab: search in Flower's grammar: state:FAILURE kwargs:id=3
  others     rows that have the text
c            control a worker or revoke a task; asks before it sends
a            advice and gaps
q, Ctrl-C    quit

Rates are over the last ten seconds. A ~ marks what is estimated. OLDEST
BY says how an age is known: exact (the message says), event (task-sent),
estimated (since when the queue has not been empty).
Tasks are read from the aggregator each second, finished ones from its
history too; s orders all of them, not only those on the screen.";

pub(super) fn draw(model: &Model, view: &View, pen: &mut Pen<'_>, area: Rect) {
    for overlay in &model.ui.overlays {
        match overlay {
            Overlay::Help { scroll } => text(pen, area, "Help", HELP, *scroll, ""),
            Overlay::Advice { scroll } => {
                let said = notes(model, view);
                text(pen, area, "Advice and gaps", &said, *scroll, "");
            }
            Overlay::Detail(shown) => detail(shown, view, pen, area),
            Overlay::Menu { target, index } => menu(target, *index, pen, area),
            Overlay::Queue {
                target,
                order,
                line,
            } => {
                let place = middle(area, 60, 5);
                let inner = pen.frame(place, target.name(), Tone::Strong);
                pen.text(row(inner, 0), order.words(), Tone::Plain);
                input(pen, row(inner, 1), "queue> ", &line.text);
                pen.text(row(inner, 2), "Enter goes on, Esc goes back", Tone::Dim);
            }
            Overlay::Confirm(request) => confirm(request, pen, area),
            Overlay::Sent(shown) => sent(shown, view, pen, area),
            Overlay::Filter { line, search } => filter(model, &line.text, *search, pen, area),
        }
    }
}

fn row(area: Rect, at: u16) -> Rect {
    Rect::new(area.x, area.y + at, area.width, u16::from(at < area.height))
}

/// A place in the middle, no larger than there is.
fn middle(area: Rect, width: u16, height: u16) -> Rect {
    let (width, height) = (width.min(area.width), height.min(area.height));
    Rect::new(
        area.x + (area.width - width) / 2,
        area.y + (area.height - height) / 2,
        width,
        height,
    )
}

/// A line of text that is being typed: its end is always seen.
fn input(pen: &mut Pen<'_>, area: Rect, prompt: &str, text: &str) {
    let used = pen.text(area, prompt, Tone::Strong);
    let rest = Rect {
        x: area.x + used,
        width: area.width - used,
        ..area
    };
    let shown = plain(text);
    let room = usize::from(rest.width).saturating_sub(1);
    let mut start = 0;
    for (at, _) in shown.char_indices() {
        start = at;
        if width(&shown[at..]) <= room {
            break;
        }
    }
    let used = pen.text(rest, &shown[start..], Tone::Plain);
    pen.reverse(Rect {
        x: rest.x + used,
        width: u16::from(rest.width > used),
        ..rest
    });
}

/// Text in a box over everything, from line `scroll` on, long lines wrapped.
fn text(pen: &mut Pen<'_>, area: Rect, title: &str, text: &str, scroll: usize, keys: &str) {
    let inner = pen.frame(area, &plain(title), Tone::Strong);
    let height = usize::from(inner.height.saturating_sub(1));
    let wrapped: Vec<String> = text
        .lines()
        .flat_map(|line| wrap(line, inner.width.into()))
        .collect();
    let from = scroll.min(wrapped.len().saturating_sub(height));
    for (at, line) in wrapped.iter().skip(from).take(height).enumerate() {
        let place = row(inner, u16::try_from(at).unwrap_or(u16::MAX));
        let heading = !line.is_empty() && !line.starts_with(' ') && !line.contains("  ");
        let tone = if heading && !title.starts_with("Help") {
            Tone::Strong
        } else {
            Tone::Plain
        };
        pen.text(place, line, tone);
    }
    let last = row(inner, inner.height.saturating_sub(1));
    let shown = if wrapped.len() > height {
        let to = (from + height).min(wrapped.len());
        format!(
            "{keys}Esc closes, arrows scroll ({}-{to} of {})",
            from + 1,
            wrapped.len()
        )
    } else {
        format!("{keys}Esc closes")
    };
    pen.text(last, &shown, Tone::Dim);
}

/// A line in pieces of at most so many columns, broken between words where that does not leave much room unused. The text
/// of others was made harmless before.
fn wrap(line: &str, most: usize) -> Vec<String> {
    let most = most.max(2);
    let mut pieces = Vec::new();
    let mut piece = String::new();
    let mut used = 0;
    for c in line.chars() {
        let columns = width(c.encode_utf8(&mut [0; 4]));
        if used + columns > most {
            let word = piece.rfind(' ').map_or(0, |at| at + 1);
            let end = if word > piece.len() / 2 {
                word
            } else {
                piece.len()
            };
            let rest = piece.split_off(end);
            used = width(&rest);
            pieces.push(std::mem::replace(&mut piece, rest));
        }
        used += columns;
        piece.push(c);
    }
    pieces.push(piece);
    pieces
}

fn notes(model: &Model, view: &View) -> String {
    let mut said = super::notes(model).join("\n");
    if said.is_empty() {
        said.push_str("nothing is amiss");
    }
    let apps = model.apps.values().flat_map(|app| &app.gaps);
    let gaps: Vec<_> = apps
        .chain(&model.gaps)
        .map(|gap| gap_words(gap, view))
        .collect();
    if !gaps.is_empty() {
        said.push_str("\n\nGaps, in which events were or may have been missed\n");
        said.push_str(&gaps.join("\n"));
    }
    said
}

/// A gap in a sentence.
fn gap_words(gap: &v1::Gap, view: &View) -> String {
    let mut said = format!(
        "  {}, from {} ",
        advice::cause(gap),
        view.time(gap.start_time.as_ref())
    );
    let end = match gap.end_time {
        Some(_) => format!("to {}", view.time(gap.end_time.as_ref())),
        None => "and still open".to_owned(),
    };
    said.push_str(&end);
    let _ = write!(said, ", {}", gap.worker.as_deref().unwrap_or("all workers"));
    if let Some(missed) = gap.missed_starts {
        let _ = write!(said, ", {missed} starts missed");
    }
    if let Some(dropped) = gap.dropped_messages {
        let _ = write!(said, ", {dropped} messages dropped");
    }
    if !gap.detail.is_empty() {
        let _ = write!(said, ": {}", gap.detail);
    }
    plain(&said).into_owned()
}

fn detail(shown: &Detail, view: &View, pen: &mut Pen<'_>, area: Rect) {
    let title = match &shown.target {
        Target::Task { id, .. } => format!("Task {id}"),
        Target::Worker { name, .. } => format!("Worker {name}"),
    };
    let narrow = View {
        width: Some(usize::from(area.width).saturating_sub(4)),
        ..view.clone()
    };
    let said = match &shown.thing {
        None => "loading".to_owned(),
        Some(Err(error)) => plain(error).into_owned(),
        Some(Ok(thing)) => match thing.as_ref() {
            Thing::Task(shown) => task::detail(shown, &narrow),
            Thing::Worker(shown) => worker::detail(shown, &narrow),
        },
    };
    text(pen, area, &title, &said, shown.scroll, "c control, ");
}

fn menu(target: &Target, index: usize, pen: &mut Pen<'_>, area: Rect) {
    let orders = orders(target);
    let height = u16::try_from(orders.len())
        .unwrap_or(u16::MAX)
        .saturating_add(3);
    let inner = pen.frame(
        middle(area, 52, height),
        &plain(target.name()),
        Tone::Strong,
    );
    for (at, order) in orders.iter().enumerate() {
        let place = row(inner, u16::try_from(at).unwrap_or(u16::MAX));
        let line = format!("{}  {}", order.key(), order.words());
        pen.text(place, &line, Tone::Plain);
        if at == index {
            pen.reverse(place);
        }
    }
    let last = row(inner, inner.height.saturating_sub(1));
    pen.text(last, "a key or Enter chooses, Esc goes back", Tone::Dim);
}

fn confirm(request: &v1::ExecuteCommandRequest, pen: &mut Pen<'_>, area: Rect) {
    let harm = request
        .command
        .as_ref()
        .and_then(|command| harm(command, request.all_workers));
    let tone = if harm.is_some() {
        Tone::Bad
    } else {
        Tone::Warn
    };
    let place = middle(area, 72, 9);
    let inner = pen.frame(place, "Send this command?", tone);
    let most = usize::from(inner.width);
    let mut said = wrap(&plain(&command::what(request)), most);
    said.extend(wrap(
        &plain(&format!("to {}", command::destination(request))),
        most,
    ));
    if request.all_workers {
        let why = "(all, because no one knows which of them has it or will get it)";
        said.extend(wrap(why, most));
    }
    if harm.is_some() {
        said.extend(wrap("This cannot be taken back.", most));
    }
    for (at, line) in said
        .iter()
        .take(usize::from(inner.height).saturating_sub(2))
        .enumerate()
    {
        pen.text(
            row(inner, u16::try_from(at).unwrap_or(u16::MAX)),
            line,
            Tone::Plain,
        );
    }
    let last = row(inner, inner.height.saturating_sub(1));
    pen.text(last, "y sends it, n does not", Tone::Strong);
}

fn sent(shown: &Sent, view: &View, pen: &mut Pen<'_>, area: Rect) {
    let narrow = View {
        width: Some(usize::from(area.width).saturating_sub(4)),
        ..view.clone()
    };
    let what = command::what(&shown.request);
    let said = match &shown.outcome {
        None => format!("{what}\n\nwaiting for answers, for up to 5 s"),
        Some(Err(error)) => format!("{what}\n\n{error}"),
        Some(Ok(record)) => command::outcome(record, &narrow),
    };
    let said: Vec<_> = lines(&said).collect();
    let mut said = said.join("\n");
    if !shown.request_id.is_empty() {
        let _ = write!(said, "\n\nrequest id {}", shown.request_id);
    }
    text(pen, area, &what, &said, shown.scroll, "");
}

fn filter(model: &Model, line: &str, search: bool, pen: &mut Pen<'_>, area: Rect) {
    let tasks = model.ui.view == Tab::Tasks;
    let (prompt, keys) = match (tasks, search) {
        (true, false) => ("filter (AIP-160)> ", "Tab: search as in Flower"),
        (true, true) => ("search (Flower)> ", "Tab: filter in AIP-160"),
        (false, _) => ("filter> ", "Esc closes, Enter too"),
    };
    let bottom = Rect::new(area.x, area.bottom() - 1, area.width, 1);
    pen.text(bottom, &" ".repeat(area.width.into()), Tone::Plain);
    let room = u16::try_from(keys.len()).unwrap_or(0) + 1;
    let wide = area.width > 60;
    if wide {
        pen.right(bottom, keys, Tone::Dim);
    }
    let place = Rect {
        width: if wide {
            bottom.width - room
        } else {
            bottom.width
        },
        ..bottom
    };
    input(pen, place, prompt, line);
}
