//! Lists of tasks: unfinished ones from memory and finished ones from history, merged in one order.

use std::cmp::Ordering;

use celeriac_proto::v1;
use hashbrown::HashSet;
use tonic::Status;

use super::{apps, known_app};
use crate::access::Sight;
use crate::api::convert::Detail;
use crate::api::{Reads, convert, page, time};
use crate::history::{HistoryError, ListQuery};
use crate::query::{Order, Position, Query};
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
        let mut names = Vec::new();
        let mut held: HashSet<(Symbol, TaskId), ahash::RandomState> = HashSet::default();
        let mut found = Vec::new();
        for (name, app) in apps(&board, sight, &request.app) {
            let name = Symbol::from(name);
            held.extend(
                app.state
                    .tasks()
                    .map(|task| (name.clone(), task.id.clone())),
            );
            let matching = app.state.tasks().filter(|task| query.matches(task));
            found.extend(matching.map(|task| (order.position(&name, task), task)));
            names.push(name);
        }
        (
            names,
            held,
            first_of(found, order, after.as_ref(), size, detail),
        )
    };
    let page = reads
        .history
        .list(&ListQuery {
            apps: Some(&app_names),
            order,
            after: after.as_ref(),
            limit: size + 1,
            // What memory holds is newer than its row.
            exclude: &|app, id| in_memory.contains(&(app.clone(), id.clone())),
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

/// The first `size + 1` after the cursor: one more than the page, to know whether there is a next.
fn first_of(
    mut found: Vec<(Position, &Task)>,
    order: Order,
    after: Option<&Position>,
    size: usize,
    detail: impl Fn(&str) -> Detail,
) -> Vec<Placed> {
    let beyond =
        |at: &Position| after.is_none_or(|after| order.compare(at, after) == Ordering::Greater);
    found.retain(|(at, _)| beyond(at));
    let in_order = |a: &(Position, &Task), b: &(Position, &Task)| order.compare(&a.0, &b.0);
    if found.len() > size + 1 {
        found.select_nth_unstable_by(size, in_order);
        found.truncate(size + 1);
    }
    found.sort_unstable_by(in_order);
    let placed = |(at, task): (Position, &Task)| {
        let task = convert::task(&at.app, task, detail(&at.app));
        Placed { at, task }
    };
    found.into_iter().map(placed).collect()
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
