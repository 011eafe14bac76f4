//! What keys do. Pure: a key and the model give a new model and what to ask for.

pub(crate) mod orders;

use super::fields;
use super::model::ui::{Detail, Line, Overlay, Target, View};
use super::model::{Action, Model};
use super::rows;

/// A key, whatever the terminal sent for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Char(char),
    /// With Ctrl held.
    Ctrl(char),
    Enter,
    Esc,
    Tab,
    BackTab,
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
    Backspace,
}

/// Rows that are not the list's: title, tabs, rule, column titles, banner, footer.
pub(crate) const CHROME_ROWS: usize = 6;
/// Characters of a filter or a queue name: more than any is long.
const LINE_MAX: usize = 512;

/// Does what a key asks for.
pub(crate) fn update(model: &mut Model, key: Key) -> Vec<Action> {
    model.ui.notice = None;
    if key == Key::Ctrl('c') {
        return vec![Action::Quit];
    }
    if model.ui.overlays.is_empty() {
        return view_key(model, key);
    }
    overlay_key(model, key)
}

fn view_key(model: &mut Model, key: Key) -> Vec<Action> {
    let page = isize::try_from(page(model)).unwrap_or(isize::MAX);
    match key {
        Key::Char('q') => return vec![Action::Quit],
        Key::Char(digit @ '1'..='6') => {
            let index = usize::from(digit as u8 - b'1');
            return go(model, View::ALL[index]);
        }
        Key::Tab | Key::Right | Key::Char('l') => return turn(model, 1),
        Key::BackTab | Key::Left | Key::Char('h') => return turn(model, View::ALL.len() - 1),
        Key::Up | Key::Char('k') => return step(model, -1),
        Key::Down | Key::Char('j') => return step(model, 1),
        Key::PageUp | Key::Ctrl('b') => return step(model, -page),
        Key::PageDown | Key::Ctrl('f') | Key::Char(' ') => return step(model, page),
        Key::Home | Key::Char('g') => return step(model, isize::MIN),
        Key::End | Key::Char('G') => return step(model, isize::MAX),
        Key::Char('s' | '>') => return sort(model, true),
        Key::Char('<') => return sort(model, false),
        Key::Char('r') => return reverse(model),
        Key::Char('?') => model.ui.overlays.push(Overlay::Help { scroll: 0 }),
        Key::Char('a' | '!') => model.ui.overlays.push(Overlay::Advice { scroll: 0 }),
        Key::Char('/') => open_filter(model),
        Key::Enter => return enter(model),
        Key::Char('c') => orders::open(model),
        Key::Esc => return clear(model),
        _ => {}
    }
    Vec::new()
}

/// Rows of a list on the screen.
pub(crate) fn page(model: &Model) -> usize {
    usize::from(model.ui.size.1)
        .saturating_sub(CHROME_ROWS)
        .max(1)
}

fn turn(model: &mut Model, by: usize) -> Vec<Action> {
    let index = (model.ui.view.index() + by) % View::ALL.len();
    go(model, View::ALL[index])
}

/// Shows a view; tasks are asked for when they were not.
pub(crate) fn go(model: &mut Model, view: View) -> Vec<Action> {
    model.ui.view = view;
    let now = model.now;
    match view {
        View::Tasks => model.tasks.poll(now).into_iter().collect(),
        _ => Vec::new(),
    }
}

fn step(model: &mut Model, by: isize) -> Vec<Action> {
    let height = page(model);
    let mut state = model.ui.list().clone();
    let mut at_end = false;
    match model.ui.view {
        View::Overview => {}
        View::Workers => state.step(&rows::workers(model), by, height),
        View::Queues => state.step(&rows::queues(model), by, height),
        View::Names => state.step(&rows::names(model), by, height),
        View::Tasks => {
            let rows = rows::tasks(model);
            state.step(&rows, by, height);
            at_end = by > 0 && state.cursor(&rows) + 1 >= rows.len();
        }
        View::Failures => state.step(&rows::failures(model), by, height),
    }
    *model.ui.list_mut() = state;
    let now = model.now;
    if at_end {
        return model.tasks.extend(now).into_iter().collect();
    }
    Vec::new()
}

fn sort(model: &mut Model, forward: bool) -> Vec<Action> {
    let several = model.several_apps();
    let columns = match model.ui.view {
        View::Overview => return Vec::new(),
        View::Tasks => {
            let now = model.now;
            model.ui.list_mut().reset();
            return model.tasks.sort(now, forward).into_iter().collect();
        }
        View::Workers => fields::workers(several).len(),
        View::Queues => fields::queues(several).len(),
        View::Names => fields::names(several).len(),
        View::Failures => fields::failures(several).len(),
    };
    let step = if forward { 1 } else { columns - 1 };
    let state = model.ui.list_mut();
    state.sort = (state.sort + step) % columns;
    state.reverse = false;
    Vec::new()
}

fn reverse(model: &mut Model) -> Vec<Action> {
    if model.ui.view == View::Tasks {
        let now = model.now;
        model.ui.list_mut().reset();
        return model.tasks.turn(now).into_iter().collect();
    }
    let state = model.ui.list_mut();
    state.reverse = !state.reverse;
    Vec::new()
}

fn open_filter(model: &mut Model) {
    let (text, search) = match model.ui.view {
        View::Overview => return,
        View::Tasks if !model.tasks.search.is_empty() => (model.tasks.search.clone(), true),
        View::Tasks => (model.tasks.filter.clone(), false),
        _ => (model.ui.list().filter.clone(), false),
    };
    let line = Line { text };
    model.ui.overlays.push(Overlay::Filter { line, search });
}

/// Takes a filter away; what is left to leave is told how.
fn clear(model: &mut Model) -> Vec<Action> {
    if model.ui.view == View::Tasks && model.tasks.narrowed() {
        return narrow(model, String::new(), false);
    }
    let state = model.ui.list_mut();
    if state.filter.is_empty() {
        // Over a slow line an arrow key can come as Esc and more: it must not end the program.
        model.ui.notice = Some("q quits".to_owned());
    } else {
        state.filter.clear();
        state.reset();
    }
    Vec::new()
}

fn narrow(model: &mut Model, text: String, search: bool) -> Vec<Action> {
    let (filter, search) = if search {
        (String::new(), text)
    } else {
        (text, String::new())
    };
    let now = model.now;
    model.ui.lists[View::Tasks.index()].reset();
    model
        .tasks
        .narrow(now, filter, search)
        .into_iter()
        .collect()
}

/// Opens what the cursor is on: a worker or a task at length, the tasks of a queue or of a name.
fn enter(model: &mut Model) -> Vec<Action> {
    if let Some(target) = orders::target(model) {
        model.ui.overlays.push(Overlay::Detail(Detail {
            target: target.clone(),
            thing: None,
            scroll: 0,
        }));
        return vec![Action::Read(target)];
    }
    let state = model.ui.list();
    let filter = match model.ui.view {
        View::Queues => {
            let rows = rows::queues(model);
            rows.get(state.cursor(&rows))
                .map(|row| format!("queue = {}", quoted(&row.item.name)))
        }
        View::Names => {
            let rows = rows::names(model);
            rows.get(state.cursor(&rows))
                .map(|row| format!("name = {}", quoted(&row.item.name)))
        }
        _ => None,
    };
    let Some(filter) = filter else {
        return Vec::new();
    };
    model.ui.view = View::Tasks;
    narrow(model, filter, false)
}

/// A text as AIP-160 quotes it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn overlay_key(model: &mut Model, key: Key) -> Vec<Action> {
    if key == Key::Esc {
        model.ui.overlays.pop();
        return Vec::new();
    }
    let page = page(model);
    match model.ui.overlays.last_mut() {
        Some(Overlay::Help { scroll } | Overlay::Advice { scroll }) => {
            let open = scrolled(scroll, key, page);
            if !open {
                model.ui.overlays.pop();
            }
        }
        Some(Overlay::Detail(detail)) => {
            if scrolled(&mut detail.scroll, key, page) {
                return Vec::new();
            }
            match key {
                Key::Char('c') => orders::open(model),
                Key::Char('q') | Key::Enter => {
                    model.ui.overlays.pop();
                }
                _ => {}
            }
        }
        Some(Overlay::Sent(sent)) => {
            let open = scrolled(&mut sent.scroll, key, page);
            if !open && matches!(key, Key::Char('q') | Key::Enter) {
                model.ui.overlays.pop();
            }
        }
        Some(Overlay::Filter { line, search }) => match key {
            Key::Tab if model.ui.view == View::Tasks => *search = !*search,
            Key::Enter => {
                let (text, search) = (line.text.trim().to_owned(), *search);
                model.ui.overlays.pop();
                if model.ui.view == View::Tasks {
                    return narrow(model, text, search);
                }
            }
            _ => {
                typed(line, key);
                // Lists that are here follow as it is typed.
                if model.ui.view != View::Tasks {
                    let text = line.text.clone();
                    let state = model.ui.list_mut();
                    state.filter = text;
                    state.reset();
                }
            }
        },
        Some(Overlay::Menu { .. } | Overlay::Queue { .. } | Overlay::Confirm(_)) => {
            return orders::key(model, key);
        }
        None => {}
    }
    Vec::new()
}

/// Whether a key scrolled. The end is found when it is drawn.
fn scrolled(scroll: &mut usize, key: Key, page: usize) -> bool {
    *scroll = match key {
        Key::Up | Key::Char('k') => scroll.saturating_sub(1),
        Key::Down | Key::Char('j') => scroll.saturating_add(1),
        Key::PageUp | Key::Ctrl('b') => scroll.saturating_sub(page),
        Key::PageDown | Key::Ctrl('f') | Key::Char(' ') => scroll.saturating_add(page),
        Key::Home | Key::Char('g') => 0,
        _ => return false,
    };
    true
}

/// A key of a line of text.
pub(crate) fn typed(line: &mut Line, key: Key) {
    match key {
        Key::Char(c) if line.text.len() + c.len_utf8() <= LINE_MAX => line.text.push(c),
        Key::Backspace => {
            line.text.pop();
        }
        Key::Ctrl('u') => line.text.clear(),
        Key::Ctrl('w') => {
            let end = line.text.trim_end().rfind(' ').map_or(0, |at| at + 1);
            line.text.truncate(end);
        }
        _ => {}
    }
}

/// The target of an overlay, when it has one.
pub(crate) fn overlay_target(overlay: &Overlay) -> Option<&Target> {
    match overlay {
        Overlay::Detail(detail) => Some(&detail.target),
        Overlay::Menu { target, .. } | Overlay::Queue { target, .. } => Some(target),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
