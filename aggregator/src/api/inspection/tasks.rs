//! Lists of tasks: unfinished ones from memory and finished ones from history, merged in one order.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use celeriac_proto::v1;
use hashbrown::{HashMap, HashSet};
use tonic::Status;

use super::{apps, known_app};
use crate::access::Sight;
use crate::api::convert::Detail;
use crate::api::{Reads, convert, page, time};
use crate::history::{HistoryError, ListQuery};
use crate::query::{Order, Place, Position, Query};
use crate::state::app::App;
use crate::state::{Symbol, Task, TaskId};

/// A task with its place in the list.
struct Placed {
    at: Position,
    task: v1::Task,
}

/// One page.
pub(super) fn list(
    reads: &Reads,
    request: &v1::ListTasksRequest,
    sight: &Sight,
) -> Result<v1::ListTasksResponse, Status> {
    let size = page::size(request.page_size)?;
    let query = query(request, sight)?;
    let order = Order::parse(&request.order_by)
        .map_err(|error| page::invalid("order_by", error.to_string()))?;
    let full = request.view() == v1::TaskView::Full;
    let detail = |app: &str| Detail::new(full, sight.sees_payload(app));
    let fingerprint = page::fingerprint((
        "tasks",
        &request.app,
        &request.filter,
        &request.search,
        &request.order_by,
    ));
    let after = read_cursor(&request.page_token, fingerprint)?;
    let as_of = time::now();
    let (app_names, in_memory, memory) = {
        let board = reads.board.read();
        known_app(&board, sight, &request.app)?;
        let mut held: HashMap<Symbol, HashSet<TaskId, ahash::RandomState>> = HashMap::default();
        let apps: Vec<_> = apps(&board, sight, &request.app).collect();
        let mut first = First::new(order, after.as_ref(), size + 1);
        for (_, app) in &apps {
            let ids = app.state.stored_tasks().map(|task| task.id.clone());
            held.insert(app.state.name().clone(), ids.collect());
            first.take(&query, &app.state);
        }
        let names: Vec<Symbol> = held.keys().cloned().collect();
        (names, held, first.placed(detail))
    };
    let page = reads
        .history
        .list(&ListQuery {
            apps: Some(&app_names),
            order,
            after: after.as_ref(),
            limit: size + 1,
            // What memory holds is newer than its row.
            exclude: &|app, id| in_memory.get(app).is_some_and(|ids| ids.contains(id)),
            ..ListQuery::new(&query)
        })
        .map_err(|error| failed(&error))?;
    let short = page.next.is_some() && page.tasks.len() <= size;
    let scan = short.then_some(v1::ScanProgress {
        scanned: page.scanned,
        total: page.total,
    });
    let from_history = page.tasks.iter().map(|(app, task)| Placed {
        at: order.position(app, task),
        task: convert::task(app, task, detail(app)),
    });
    let merged = merge(memory, from_history.collect(), order, page.next.as_ref());
    let (tasks, next) = cut(merged, size, page.next);
    let next_page_token = next.map(|at| write_cursor(&at, fingerprint)).transpose()?;
    Ok(v1::ListTasksResponse {
        tasks,
        next_page_token: next_page_token.unwrap_or_default(),
        as_of: Some(time::micros(as_of)),
        scan,
    })
}

/// What is asked for, if it may be.
fn query(request: &v1::ListTasksRequest, sight: &Sight) -> Result<Query, Status> {
    let query = Query::new(&request.filter, &request.search)
        .map_err(|error| page::invalid(error.part.as_str(), error.to_string()))?;
    if query.needs_payload() {
        sight.require_payload(&request.app)?;
    }
    Ok(query)
}

/// A task in memory, where it stands.
struct Found<'t> {
    order: Order,
    place: Place<'t>,
    app: &'t str,
    task: &'t Task,
}

impl PartialEq for Found<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Found<'_> {}

impl PartialOrd for Found<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Found<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order.compare_places(self.place, other.place)
    }
}

/// The first so many of an order after a place. All tasks in memory pass through it while the fold waits, so that only
/// what is among the first is kept, and nothing is copied.
struct First<'t> {
    order: Order,
    after: Option<Place<'t>>,
    most: usize,
    /// The last of them on top.
    found: BinaryHeap<Found<'t>>,
}

impl<'t> First<'t> {
    fn new(order: Order, after: Option<&'t Position>, most: usize) -> Self {
        Self {
            order,
            after: after.map(Place::from),
            most,
            found: BinaryHeap::new(),
        }
    }

    /// Looks at all tasks of an app, those first that may come first: then few of the others are kept for a while.
    fn take(&mut self, query: &Query, app: &'t App) {
        let tasks = app.tasks();
        if self.order.descending {
            tasks.rev().for_each(|task| self.add(query, app, task));
        } else {
            tasks.for_each(|task| self.add(query, app, task));
        }
    }

    fn add(&mut self, query: &Query, app: &'t App, task: &'t Task) {
        let order = self.order;
        let place = order.place(app.name(), task);
        let is_over = |after| order.compare_places(place, after) != Ordering::Greater;
        let is_full = self.found.len() >= self.most;
        let last = self.found.peek().filter(|_| is_full);
        let is_late = |last: &Found<'_>| order.compare_places(place, last.place).is_gt();
        if self.after.is_some_and(is_over) || last.is_some_and(is_late) || !query.matches(task) {
            return;
        }
        if is_full {
            self.found.pop();
        }
        self.found.push(Found {
            order,
            place,
            app: app.name(),
            task,
        });
    }

    fn placed(self, detail: impl Fn(&str) -> Detail) -> Vec<Placed> {
        let placed = |found: Found<'_>| Placed {
            at: found.place.into(),
            task: convert::task(found.app, found.task, detail(found.app)),
        };
        let found = self.found.into_sorted_vec();
        found.into_iter().map(placed).collect()
    }
}

/// Both in one order. Beyond `until`, where history's part of a long scan ends, nothing may be shown yet.
fn merge(
    memory: Vec<Placed>,
    history: Vec<Placed>,
    order: Order,
    until: Option<&Position>,
) -> Vec<Placed> {
    let within =
        |at: &Position| until.is_none_or(|until| order.compare(at, until) != Ordering::Greater);
    let mut seen: HashSet<(Symbol, TaskId), ahash::RandomState> = HashSet::default();
    let mut merged: Vec<Placed> = memory
        .into_iter()
        .filter(|placed| within(&placed.at))
        .chain(history)
        .collect();
    // A task that went from memory to history between the two reads is in both.
    merged.retain(|placed| seen.insert((placed.at.app.clone(), placed.at.id.clone())));
    merged.sort_by(|a, b| order.compare(&a.at, &b.at));
    merged
}

/// The page, and the place after which the next begins: after its last task, or where the scan ended.
fn cut(
    mut merged: Vec<Placed>,
    size: usize,
    scan_ended: Option<Position>,
) -> (Vec<v1::Task>, Option<Position>) {
    let next = if merged.len() > size {
        merged.truncate(size);
        merged.last().map(|placed| placed.at.clone())
    } else {
        scan_ended
    };
    (merged.into_iter().map(|placed| placed.task).collect(), next)
}

fn write_cursor(at: &Position, fingerprint: u64) -> Result<String, Status> {
    let bytes = minicbor::to_vec(at)
        .map_err(|_infallible_write| Status::internal("a page token cannot be written"))?;
    Ok(page::token(fingerprint, &[&bytes]))
}

fn read_cursor(token: &str, fingerprint: u64) -> Result<Option<Position>, Status> {
    let Some(parts) = page::read_token(token, fingerprint)? else {
        return Ok(None);
    };
    let position = parts.first().and_then(|bytes| minicbor::decode(bytes).ok());
    let refuse = || page::invalid("page_token", "is not a token that this server gave");
    position.map(Some).ok_or_else(refuse)
}

/// A fault of the database as a status; the log has the details.
pub(super) fn failed(error: &HistoryError) -> Status {
    if let HistoryError::TooLong { .. } = error {
        return Status::resource_exhausted(error.to_string());
    }
    tracing::error!(
        error = error as &dyn std::error::Error,
        "history cannot be read"
    );
    Status::unavailable("history cannot be read now; see the aggregator's log")
}
