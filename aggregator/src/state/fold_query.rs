//! Tasks that workers are asked for by id, since their lists name them no more after a gap: whether any worker has them.
//!
//! A task that was in a worker is that worker's to tell of. One that was in none may wait in its queue, which no worker
//! knows: it is asked of all, and what they answer counts only if its queue is empty, then and after.

use std::collections::VecDeque;

use super::app::{App, Watched};
use super::changes::Changes;
use super::ids::{Micros, Symbol, TaskId};
use super::input::Snapshot;
use super::limits::{QUERY_TASKS_MAX, WANTED_MAX};
use super::task::{Phase, Task, TaskState};
use super::units::micros;
use super::worker::WorkerStatus;

/// Tasks that are looked at before some can be asked for; the rest have their turn a second later.
const LOOKED_AT_MAX: usize = 1_000;
/// One that nobody had is asked for again after this: what was on its way from a queue to a worker has arrived.
const AGAIN_AFTER: std::time::Duration = std::time::Duration::from_secs(3);
/// One of which the answers said nothing is asked for again after this.
const INCONCLUSIVE_AGAIN: std::time::Duration = std::time::Duration::from_mins(1);
/// For how much longer answers are awaited for each worker that is asked: the budget of a large fleet takes its time.
const EACH_WORKER_WITHIN: std::time::Duration = std::time::Duration::from_millis(200);
/// Celery finds tasks that wait for their ETA by id since this version.
const FINDS_SCHEDULED: (u64, u64) = (5, 7);

/// Tasks to ask workers for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The tasks.
    pub tasks: Vec<TaskId>,
    /// Whom to ask.
    pub workers: Vec<Symbol>,
}

/// Tasks that are to be asked for by id, and those that are asked for now.
#[derive(Debug, Default)]
pub(super) struct Sought {
    /// With the time before which each is not asked for (our own clock).
    ids: VecDeque<(Micros, TaskId)>,
    open: Option<Open>,
    /// No other query before (our own clock).
    rest_until: Micros,
}

/// A query under way.
#[derive(Debug)]
struct Open {
    query: Query,
    /// When it was made (our own clock).
    made: Micros,
    /// Workers whose answer is to come.
    awaited: Vec<Symbol>,
    /// When the first and the last of them were asked, so far (inspector's clock).
    asked: Option<(Micros, Micros)>,
    /// Of tasks in no worker: those that may still be in none.
    nowhere: Vec<TaskId>,
}

/// Who can tell of a task.
enum Teller {
    /// The worker that has it.
    Holder(Symbol),
    /// Any worker.
    Anybody,
}

impl Sought {
    /// Seeks a task. When there are too many the oldest is given up: it stays unconfirmed.
    pub(super) fn seek(&mut self, id: &TaskId, not_before: Micros) {
        if self.ids.len() == WANTED_MAX {
            self.ids.pop_front();
        }
        self.ids.push_back((not_before, id.clone()));
    }
}

impl App {
    /// Tasks to ask workers for now, if any; none while answers are awaited, for `patience` at most.
    pub fn take_query(&mut self, now: Micros, patience: Micros) -> Option<Query> {
        if let Some(open) = &self.sought.open {
            let longer = micros(EACH_WORKER_WITHIN) * as_micros(open.query.workers.len());
            if now.saturating_sub(open.made) < patience + longer {
                return None;
            }
            self.end_query(now + micros(INCONCLUSIVE_AGAIN));
        }
        let idle = self.sought.ids.is_empty() || now < self.sought.rest_until;
        if idle || !self.subscription.is_live() {
            return None;
        }
        let (tasks, holders, anybody) = self.choose_sought(now);
        if tasks.is_empty() {
            return None;
        }
        let online = || self.online().map(|watched| watched.worker.name.clone());
        let (workers, nowhere) = if anybody {
            (online().collect(), tasks.clone())
        } else {
            (holders, Vec::new())
        };
        self.sought.rest_until = now + rest_after(workers.len(), online().count());
        let query = Query { tasks, workers };
        self.sought.open = Some(Open {
            made: now,
            awaited: query.workers.clone(),
            asked: None,
            nowhere,
            query: query.clone(),
        });
        Some(query)
    }

    /// Tasks that can be asked for, all of holders or all of anybody.
    fn choose_sought(&mut self, now: Micros) -> (Vec<TaskId>, Vec<Symbol>, bool) {
        let (mut tasks, mut holders, mut anybody) = (Vec::new(), Vec::new(), false);
        let since = |watched: &Watched| watched.told_since().unwrap_or(Micros::MIN);
        let all_since = self.online().map(since).min().unwrap_or(Micros::MIN);
        for _ in 0..self.sought.ids.len().min(LOOKED_AT_MAX) {
            let Some((not_before, id)) = self.sought.ids.pop_front() else {
                break;
            };
            let known = self.tasks.find(&id).map(|slot| self.tasks.task(slot));
            // One that has been told of since, or has left memory, needs no asking.
            let Some(task) = known.filter(|task| task.doubted.is_some() && !task.is_finished())
            else {
                continue;
            };
            let teller = (now >= not_before)
                .then(|| self.teller(task, all_since))
                .flatten();
            match teller {
                Some(Teller::Holder(worker)) if !anybody && tasks.len() < QUERY_TASKS_MAX => {
                    if !holders.contains(&worker) {
                        holders.push(worker);
                    }
                    tasks.push(id);
                }
                Some(Teller::Anybody) if holders.is_empty() && tasks.len() < QUERY_TASKS_MAX => {
                    anybody = true;
                    tasks.push(id);
                }
                _ => self.sought.ids.push_back((not_before, id)),
            }
        }
        (tasks, holders, anybody)
    }

    /// Who can tell of a task now: only workers that have listed theirs since the gap (all have since `all_since`), and for one
    /// that is in no worker only while nothing waits in its queue.
    fn teller(&self, task: &Task, all_since: Micros) -> Option<Teller> {
        let doubted = task.doubted?;
        if matches!(task.phase(), Phase::Active | Phase::Reserved) {
            let watched = self.workers.get(task.worker.as_ref()?)?;
            let told = watched.told_since().is_some_and(|since| since >= doubted);
            return told.then(|| Teller::Holder(watched.worker.name.clone()));
        }
        let queue = self.queues.get(task.queue.as_ref()?)?;
        let empty = queue.ready == Some(0) && queue.read > Some(doubted);
        // One that was lost with its worker is in none, and says so.
        (!task.lost && empty && all_since >= doubted).then_some(Teller::Anybody)
    }

    fn online(&self) -> impl Iterator<Item = &Watched> {
        let watched = self.workers.values();
        watched.filter(|watched| watched.worker.status == WorkerStatus::Online)
    }

    /// What a worker answered when asked for tasks by id.
    pub(super) fn fold_queried(
        &mut self,
        name: &Symbol,
        snapshot: &Snapshot,
        changes: &mut Changes,
    ) {
        let Some(queried) = &snapshot.queried else {
            return;
        };
        for (runs, request) in &queried.found {
            let state = if *runs {
                TaskState::Started
            } else {
                TaskState::Received
            };
            self.fold_request(name, snapshot, request, &state, changes);
        }
        let Some(Watched { worker, listed, .. }) = self.workers.get(name) else {
            return;
        };
        let (incarnation, listed, finds_all) = (
            worker.incarnation,
            listed.all,
            !worker.is_before(FINDS_SCHEDULED),
        );
        let mut unsure = Vec::new();
        for id in &queried.tasks {
            let slot = self.tasks.find(id);
            let found = queried.found.iter().any(|(_, request)| request.id == *id);
            let Some(slot) = slot.filter(|_| !found) else {
                unsure.push(id);
                continue;
            };
            let task = self.tasks.task(slot);
            let Some(doubted) = task.doubted else {
                continue;
            };
            // What it does not find by id would be in its lists, were they complete.
            if !finds_all && listed < doubted {
                unsure.push(id);
            } else if task.is_held_by(name, incarnation) {
                self.miss(slot, snapshot.asked, snapshot.received, changes);
            }
        }
        let Some(open) = &mut self.sought.open else {
            return;
        };
        if open.query.tasks == queried.tasks {
            let (first, last) = open.asked.unwrap_or((snapshot.asked, snapshot.asked));
            open.asked = Some((first.min(snapshot.asked), last.max(snapshot.asked)));
            open.awaited.retain(|awaited| awaited != name);
            open.nowhere.retain(|id| !unsure.contains(&id));
            self.end_answered();
        }
    }

    /// A worker did not answer: what it may have stays as it is.
    pub(super) fn query_unanswered(&mut self, snapshot: &Snapshot) {
        let asked = snapshot
            .unanswered
            .iter()
            .any(|name| **name == *"query_task");
        let Some(open) = self.sought.open.as_mut().filter(|_| asked) else {
            return;
        };
        let awaited = open.awaited.len();
        open.awaited.retain(|name| **name != *snapshot.hostname);
        if open.awaited.len() < awaited {
            open.nowhere.clear();
            self.end_answered();
        }
    }

    /// Ends a query whose answers have all come, unless a reading of queues has to come too.
    fn end_answered(&mut self) {
        let over = |open: &Open| open.awaited.is_empty() && open.nowhere.is_empty();
        if self.sought.open.as_ref().is_some_and(over) {
            self.end_query(self.now + micros(INCONCLUSIVE_AGAIN));
        }
    }

    /// Queues were read: tasks that no worker had before, and that do not wait there, are in neither.
    pub(super) fn settle_query(&mut self, read: Micros, changes: &mut Changes) {
        let Some(open) = self
            .sought
            .open
            .as_ref()
            .filter(|open| open.awaited.is_empty())
        else {
            return;
        };
        let Some((asked, _)) = open.asked.filter(|(_, last)| *last < read) else {
            return;
        };
        for id in open.nowhere.clone() {
            let Some(slot) = self.tasks.find(&id) else {
                continue;
            };
            let task = self.tasks.task(slot);
            let queue = task.queue.as_ref().and_then(|name| self.queues.get(name));
            let empty = queue.is_some_and(|queue| queue.ready == Some(0));
            let waits = task.doubted.is_some() && !task.lost && task.phase() == Phase::Waiting;
            if empty && waits {
                self.miss(slot, asked, read, changes);
            }
        }
        self.end_query(self.now + micros(INCONCLUSIVE_AGAIN));
    }

    /// Ends the query; what is still doubted is asked for again, sooner when nobody had it.
    fn end_query(&mut self, later: Micros) {
        let Some(open) = self.sought.open.take() else {
            return;
        };
        let soon = self.now + micros(AGAIN_AFTER);
        for id in open.query.tasks {
            let known = self.tasks.find(&id).map(|slot| self.tasks.task(slot));
            if let Some(task) = known.filter(|task| task.doubted.is_some()) {
                let missed = task.absent_snapshots > 0;
                self.sought.seek(&id, if missed { soon } else { later });
            }
        }
    }
}

impl Watched {
    /// When a worker that is there, and has left nothing unanswered since, was asked for the last lists it gave.
    fn told_since(&self) -> Option<Micros> {
        let online = self.worker.status == WorkerStatus::Online;
        let answers = self.worker.inspection.as_deref()?.silent_rounds == 0;
        (online && answers).then_some(self.listed.some)
    }
}

/// For how long no other query follows one that asks so many workers of all that are on line: a request names 50, and goes to
/// all. With it queries take a quarter of the budget, which is 50 deliveries a second or one for each worker.
fn rest_after(asked: usize, online: usize) -> Micros {
    let requests = as_micros(asked.div_ceil(50));
    4 * requests * 20_000 * as_micros(online.min(50))
}

fn as_micros(count: usize) -> Micros {
    Micros::try_from(count).unwrap_or(Micros::MAX)
}
