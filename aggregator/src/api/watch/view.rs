//! What one watcher is to see: which kinds, which tasks, and what it has been shown.

use std::collections::VecDeque;

use celeriac_proto::v1;
use celeriac_proto::v1::watch_delta::Change;
use celeriac_proto::v1::watch_item::Item;
use celeriac_proto::v1::watch_response::Message;
use hashbrown::HashSet;

use crate::access::Sight;
use crate::api::convert;
use crate::api::convert::Detail;
use crate::engine::board::{AppBoard, Board};
use crate::engine::changelog::{Entry, Key};
use crate::query::Query;
use crate::state::{Symbol, Task, TaskId};

/// Tasks remembered as shown to a watcher with a filter, so that it can be told when one no longer matches. Beyond it the
/// oldest are forgotten: such a watcher keeps a task that has left its view.
const SHOWN_MAX: usize = 50_000;

/// One watcher's view.
pub(super) struct View {
    app: String,
    sight: Sight,
    kinds: Vec<v1::WatchKind>,
    /// Nothing but this worker; empty is everything.
    worker: String,
    query: Query,
    filtered: bool,
    full: bool,
    skip_task_snapshot: bool,
    shown: HashSet<TaskId, ahash::RandomState>,
    shown_order: VecDeque<TaskId>,
    missing: Vec<(String, TaskId)>,
}

impl View {
    pub(super) fn new(request: &v1::WatchRequest, query: Query, sight: Sight) -> Self {
        let one = !request.worker.is_empty();
        Self {
            app: request.app.clone(),
            sight,
            kinds: if one {
                vec![v1::WatchKind::Worker]
            } else {
                request.kinds().collect()
            },
            worker: request.worker.clone(),
            query,
            filtered: !request.task_filter.trim().is_empty(),
            full: request.task_view() == v1::TaskView::Full,
            skip_task_snapshot: request.skip_task_snapshot,
            shown: HashSet::default(),
            shown_order: VecDeque::new(),
            missing: Vec::new(),
        }
    }

    fn sees(&self, kind: v1::WatchKind) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&kind)
    }

    /// Whether it is of one worker only.
    pub(super) fn is_of_one(&self) -> bool {
        !self.worker.is_empty()
    }

    fn sees_key(&self, key: &Key) -> bool {
        match key {
            _ if !self.is_of_one() => true,
            Key::Worker(name) => **name == *self.worker,
            Key::App | Key::Queue(_) | Key::TaskName(_) | Key::Task(_) => false,
        }
    }

    fn sees_app(&self, app: &str) -> bool {
        (self.app.is_empty() || self.app == app) && self.sight.sees(app)
    }

    fn detail(&self, app: &str) -> Detail {
        Detail::new(self.full, self.sight.sees_payload(app))
    }

    /// Everything there is to show now.
    pub(super) fn everything(&self, board: &Board) -> Vec<(Symbol, Key)> {
        let mut keys = Vec::new();
        for (name, app) in board.apps.iter().filter(|(name, _)| self.sees_app(name)) {
            let mut add = |key| keys.push((name.clone(), key));
            let state = &app.state;
            if self.sees(v1::WatchKind::App) {
                add(Key::App);
            }
            if self.is_of_one() {
                if let Some(worker) = state.worker(&self.worker) {
                    add(Key::Worker(worker.name.clone()));
                }
            } else if self.sees(v1::WatchKind::Worker) {
                state
                    .workers()
                    .for_each(|worker| add(Key::Worker(worker.name.clone())));
            }
            if self.sees(v1::WatchKind::Queue) {
                state
                    .queues()
                    .for_each(|queue| add(Key::Queue(queue.name.clone())));
            }
            if self.sees(v1::WatchKind::TaskName) {
                state
                    .task_names()
                    .for_each(|name| add(Key::TaskName(name.name.clone())));
            }
            if self.sees(v1::WatchKind::Task) && !self.skip_task_snapshot {
                let matching = state.tasks().filter(|task| self.query.matches(task));
                matching.for_each(|task| add(Key::Task(task.id.clone())));
            }
        }
        keys
    }

    /// The items of a slice of [`View::everything`], as they are now; what has gone meanwhile follows as a delta.
    pub(super) fn items(&mut self, board: &Board, keys: &[(Symbol, Key)]) -> Vec<v1::WatchItem> {
        let item = |(name, key): &(Symbol, Key)| {
            let app = board.apps.get(name)?;
            if let Key::Task(id) = key {
                self.show(id);
            }
            self.item(name, app, key)
        };
        keys.iter().filter_map(item).collect()
    }

    fn item(&self, name: &str, app: &AppBoard, key: &Key) -> Option<v1::WatchItem> {
        let state = &app.state;
        let item = match key {
            Key::App => Item::App(convert::app(name, app, self.sight.sees_payload(name))),
            Key::Worker(worker) => {
                let worker = convert::worker(state, name, state.worker(worker)?, false);
                Item::Worker(if self.is_of_one() {
                    without_names(worker)
                } else {
                    worker
                })
            }
            Key::Queue(queue) => Item::Queue(convert::queue(name, state, state.queue(queue)?)),
            Key::TaskName(task) => {
                Item::TaskName(convert::task_name(name, state, state.task_name(task)?))
            }
            Key::Task(id) => Item::Task(convert::task(name, state.task(id)?, self.detail(name))),
        };
        Some(v1::WatchItem { item: Some(item) })
    }

    /// The messages for what changed, repeats left out.
    pub(super) fn changes<'a>(
        &mut self,
        board: &Board,
        entries: impl Iterator<Item = &'a Entry>,
    ) -> Vec<Message> {
        let mut seen: HashSet<(&Symbol, &Key), ahash::RandomState> = HashSet::default();
        let mut messages = Vec::new();
        for entry in entries {
            match entry {
                Entry::Gap(app, gap) if !self.is_of_one() && self.sees_app(app) => {
                    messages.push(Message::Gap(convert::gap(app, gap)));
                }
                Entry::Changed(app, key)
                    if self.sees_key(key) && self.sees_app(app) && seen.insert((app, key)) =>
                {
                    messages.extend(self.change(board, app, key).map(Message::Delta));
                }
                Entry::Gap(..) | Entry::Changed(..) => {}
            }
        }
        messages
    }

    fn change(&mut self, board: &Board, app: &Symbol, key: &Key) -> Option<v1::WatchDelta> {
        let kind = match key {
            Key::App => v1::WatchKind::App,
            Key::Worker(_) => v1::WatchKind::Worker,
            Key::Queue(_) => v1::WatchKind::Queue,
            Key::TaskName(_) => v1::WatchKind::TaskName,
            Key::Task(_) => v1::WatchKind::Task,
        };
        if !self.sees(kind) {
            return None;
        }
        let found = board.apps.get(app)?;
        if let Key::Task(id) = key {
            let Some(task) = found.state.task(id) else {
                self.missing.push((app.to_string(), id.clone()));
                return None;
            };
            return self.task(app, task);
        }
        let gone = || match key {
            Key::Worker(name) | Key::Queue(name) | Key::TaskName(name) => removed(kind, app, name),
            Key::App | Key::Task(_) => removed(kind, app, app),
        };
        let set = self.item(app, found, key).map(|item| v1::WatchDelta {
            change: Some(Change::Set(item)),
        });
        Some(set.unwrap_or_else(gone))
    }

    /// The delta for a task as it is now: set, or removed when it no longer matches.
    pub(super) fn task(&mut self, app: &str, task: &Task) -> Option<v1::WatchDelta> {
        if self.query.matches(task) {
            self.show(&task.id);
            let item = Item::Task(convert::task(app, task, self.detail(app)));
            let item = v1::WatchItem { item: Some(item) };
            return Some(v1::WatchDelta {
                change: Some(Change::Set(item)),
            });
        }
        let was_shown = self.shown.remove(&task.id);
        was_shown.then(|| removed(v1::WatchKind::Task, app, &task.id.to_string()))
    }

    /// Tasks that changed and are in history only; asked for once.
    pub(super) fn take_missing(&mut self) -> Vec<(String, TaskId)> {
        std::mem::take(&mut self.missing)
    }

    fn show(&mut self, id: &TaskId) {
        if !self.filtered || !self.shown.insert(id.clone()) {
            return;
        }
        self.shown_order.push_back(id.clone());
        if self.shown_order.len() > SHOWN_MAX
            && let Some(oldest) = self.shown_order.pop_front()
        {
            self.shown.remove(&oldest);
        }
    }
}

/// A worker without what can be long and is not about itself: every sidecar gets one with each heartbeat of its worker.
fn without_names(mut worker: v1::Worker) -> v1::Worker {
    worker.event_counts.clear();
    worker.gaps.clear();
    worker.advice.clear();
    if let Some(inspection) = &mut worker.inspection {
        inspection.registered.clear();
        inspection.totals.clear();
    }
    worker
}

fn removed(kind: v1::WatchKind, app: &str, name: &str) -> v1::WatchDelta {
    let removed = v1::Removed {
        kind: kind.into(),
        app: app.to_owned(),
        name: name.to_owned(),
    };
    v1::WatchDelta {
        change: Some(Change::Removed(removed)),
    }
}
