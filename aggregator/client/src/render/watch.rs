//! A watch as lines, one a change. It remembers what it said of each thing but tasks, and does not say it again: counters
//! and heartbeats that a line does not show are no news.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use celeriac_client::v1;
use celeriac_client::v1::watch_delta::Change;
use celeriac_client::v1::watch_item::Item;
use celeriac_client::v1::watch_response::Message;

use super::text::{Tone, plain};
use super::units::{ABSENT, count, duration};
use super::{View, advice, apps, queues, tasks, workers};

/// A change: its kind, its state, the runtime of a task, and the rest in words.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    kind: v1::WatchKind,
    state: String,
    tone: Tone,
    runtime: String,
    rest: String,
}

/// Turns messages into lines.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// The last line of each app, worker, queue and task name that is there. They are bounded where they come from.
    said: HashMap<(v1::WatchKind, String, String), Line>,
}

impl Lines {
    /// The line for a message, ended by a line feed; empty when it is no news.
    pub(crate) fn of(&mut self, message: &v1::WatchResponse, view: &View) -> String {
        let line = match &message.message {
            Some(Message::Item(item)) => self.item(item, view),
            Some(Message::Delta(delta)) => match &delta.change {
                Some(Change::Set(item)) => self.item(item, view),
                Some(Change::Removed(removed)) => self.removed(removed),
                None => None,
            },
            Some(Message::Gap(gap)) => return gap_line(gap, message.time.as_ref(), view),
            // What was said stays said: a new snapshot tells what has changed meanwhile.
            Some(Message::SnapshotBegin(_) | Message::SnapshotEnd(_) | Message::Heartbeat(_))
            | None => None,
        };
        line.map_or_else(String::new, |line| line.show(message.time.as_ref(), view))
    }

    fn item(&mut self, item: &v1::WatchItem, view: &View) -> Option<Line> {
        let (app, name, line) = match item.item.as_ref()? {
            Item::Task(task) => return Some(of_task(task, view)),
            Item::App(app) => ("", &app.name, of_app(app)),
            Item::Worker(worker) => (worker.app.as_str(), &worker.name, of_worker(worker)),
            Item::Queue(queue) => (queue.app.as_str(), &queue.name, of_queue(queue)),
            Item::TaskName(name) => (name.app.as_str(), &name.name, of_task_name(name)),
        };
        match self.said.entry((line.kind, app.to_owned(), name.clone())) {
            Entry::Occupied(said) if *said.get() == line => None,
            Entry::Occupied(mut said) => {
                said.insert(line.clone());
                Some(line)
            }
            Entry::Vacant(vacant) => Some(vacant.insert(line).clone()),
        }
    }

    fn removed(&mut self, removed: &v1::Removed) -> Option<Line> {
        // A task that no longer matches, or that has grown old, is no event of the task's life.
        if removed.kind() == v1::WatchKind::Task {
            return None;
        }
        let app = match removed.kind() {
            v1::WatchKind::App => String::new(),
            _ => removed.app.clone(),
        };
        self.said
            .remove(&(removed.kind(), app, removed.name.clone()));
        Some(Line {
            kind: removed.kind(),
            state: "GONE".to_owned(),
            tone: Tone::Dim,
            runtime: ABSENT.to_owned(),
            rest: removed.name.clone(),
        })
    }
}

impl Line {
    fn show(&self, time: Option<&prost_types::Timestamp>, view: &View) -> String {
        let kind = match self.kind {
            v1::WatchKind::Unspecified => ABSENT,
            v1::WatchKind::App => "app",
            v1::WatchKind::Worker => "worker",
            v1::WatchKind::Queue => "queue",
            v1::WatchKind::Task => "task",
            v1::WatchKind::TaskName => "name",
        };
        shown(
            time,
            kind,
            (&self.state, self.tone),
            &self.runtime,
            &self.rest,
            view,
        )
    }
}

fn shown(
    time: Option<&prost_types::Timestamp>,
    kind: &str,
    (state, tone): (&str, Tone),
    runtime: &str,
    rest: &str,
    view: &View,
) -> String {
    let time = Tone::Dim.paint(&view.clock(time), view.color);
    let state = plain(state);
    let padding = " ".repeat(9_usize.saturating_sub(super::text::width(&state)));
    let state = tone.paint(&state, view.color);
    format!(
        "{time}  {kind:6}  {state}{padding}  {runtime:>7}  {}\n",
        plain(rest)
    )
}

fn gap_line(gap: &v1::Gap, time: Option<&prost_types::Timestamp>, view: &View) -> String {
    let worker = gap.worker.as_deref().unwrap_or("all workers");
    let missed = gap
        .missed_starts
        .map(|missed| format!(", {missed} starts missed"));
    let dropped = gap
        .dropped_messages
        .map(|dropped| format!(", {dropped} messages dropped"));
    let (missed, dropped) = (missed.unwrap_or_default(), dropped.unwrap_or_default());
    let rest = format!(
        "{} of {worker}{missed}{dropped}: {}",
        advice::cause(gap),
        gap.detail
    );
    shown(time, "gap", ("GAP", Tone::Warn), ABSENT, &rest, view)
}

fn of_task(task: &v1::Task, view: &View) -> Line {
    let (state, tone) = tasks::state(task);
    let name = task.name.as_deref().unwrap_or(ABSENT);
    let worker = task.worker.as_deref().unwrap_or(ABSENT);
    let queue = match &task.queue {
        Some(queue) if view.wide => format!("  {queue}"),
        _ => String::new(),
    };
    let exception = match &task.exception_summary {
        Some(summary) => format!("  {summary}"),
        None => String::new(),
    };
    Line {
        kind: v1::WatchKind::Task,
        state,
        tone,
        runtime: duration(task.runtime.as_ref()),
        rest: format!("{name}  {}  {worker}{queue}{exception}", task.id),
    }
}

fn of_app(app: &v1::App) -> Line {
    let (status, tone) = apps::status(app);
    let (state, why) = match tone {
        Tone::Good => ("OK", String::new()),
        _ => ("DEGRADED", format!("  {status}")),
    };
    let workers = format!(
        "{}/{} workers online",
        app.workers_online, app.workers_known
    );
    Line {
        kind: v1::WatchKind::App,
        state: state.to_owned(),
        tone,
        runtime: ABSENT.to_owned(),
        rest: format!("{}{why}  {workers}", app.name),
    }
}

fn of_worker(worker: &v1::Worker) -> Line {
    let (status, tone) = workers::status(worker);
    let slots = count(
        worker
            .inspection
            .as_ref()
            .and_then(|inspection| inspection.slots),
    );
    let (events, _) = workers::events_mode(worker);
    let queues = workers::queues(worker);
    Line {
        kind: v1::WatchKind::Worker,
        state: status.to_owned(),
        tone,
        runtime: ABSENT.to_owned(),
        rest: format!(
            "{}  slots {slots}  events {events}  queues {queues}",
            worker.name
        ),
    }
}

fn of_queue(queue: &v1::Queue) -> Line {
    let (ready, consumers) = (count(queue.ready), count(queue.consumers));
    let unacked = queues::unacked(queue);
    Line {
        kind: v1::WatchKind::Queue,
        state: format!("{ready} ready"),
        tone: Tone::Plain,
        runtime: ABSENT.to_owned(),
        rest: format!("{}  unacked {unacked}  consumers {consumers}", queue.name),
    }
}

fn of_task_name(name: &v1::TaskName) -> Line {
    Line {
        kind: v1::WatchKind::TaskName,
        state: format!("{} active", name.active),
        tone: Tone::Plain,
        runtime: duration(name.mean_runtime.as_ref()),
        rest: format!(
            "{}  received {}  succeeded {}  failed {}  retried {}",
            name.name, name.received, name.succeeded, name.failed, name.retried
        ),
    }
}
