//! Pages of tasks.

use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension};

use super::error::HistoryError;
use super::mask::needs_rows;
use super::reader::{Reader, find};
use super::scan::{Blocks, Reached, TimeLimits};
use super::schema::Meta;
use super::writer::{decode_task, live_rows, read_apps};
use crate::query::{Field, Order, Position, Query};
use crate::state::{Symbol, Task, TaskId};

/// Rows decoded for one page, where columns cannot decide: some 50 ms.
const DECODED_MAX: u64 = 20_000;
/// Time for one page. Checked between blocks and between rows.
const TIME_MAX: Duration = Duration::from_millis(100);
/// Time for one page of an order that may have to look at every block before the first row is known.
const TIME_MAX_UNBOUNDED: Duration = Duration::from_secs(5);
/// Rows decoded at once, at least.
const ROUND_LEAST: usize = 512;

/// Which tasks, in which order, and how much of them.
#[derive(Clone, Copy)]
pub struct ListQuery<'q> {
    /// Only of these apps. `None` is all.
    pub apps: Option<&'q [Symbol]>,
    /// Which tasks.
    pub query: &'q Query,
    /// In which order.
    pub order: Order,
    /// Only after this place.
    pub after: Option<&'q Position>,
    /// Most tasks to return; 0 is 1.
    pub limit: usize,
    /// Tasks to leave out: those in memory, which is newer. Must have been fixed before the call: a task that leaves memory
    /// is in history first, so it is found in one of the two.
    pub exclude: &'q dyn Fn(&Symbol, &TaskId) -> bool,
    /// Most rows to decode where the columns cannot decide.
    pub decoded_max: u64,
    /// Time after which a page is returned short.
    pub time_max: Duration,
}

impl<'q> ListQuery<'q> {
    /// The first 50 of these tasks, the newest first, with the usual bounds.
    pub fn new(query: &'q Query) -> Self {
        Self {
            apps: None,
            query,
            order: Order::default(),
            after: None,
            limit: 50,
            exclude: &|_, _| false,
            decoded_max: DECODED_MAX,
            time_max: TIME_MAX,
        }
    }
}

/// Tasks in order, and where to go on.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The tasks with their apps. May be fewer than asked for, even none, and still not the last.
    pub tasks: Vec<(Symbol, Task)>,
    /// All tasks up to here were looked at: `after` for the next page. `None` when that is all of them.
    pub next: Option<Position>,
    /// Rows looked at.
    pub scanned: u64,
    /// Rows in history.
    pub total: u64,
}

impl Reader {
    /// Lists tasks.
    ///
    /// Every filter and every order works. Fields that are in columns (all but arguments, results, exceptions, tracebacks,
    /// and bare words) are filtered at a few nanoseconds a row; for the others rows are decoded, at most `decoded_max` for
    /// a page, which may therefore be short. Orders by time stop at the end of the page or of `time_max`; orders by
    /// `runtime`, `name`, `state` and `worker` must find the whole page, and fail with [`HistoryError::TooLong`] when that
    /// takes over five seconds.
    ///
    /// A place stays valid whatever is added or deleted: following `next` to the end gives every task that was there
    /// throughout exactly once.
    ///
    /// # Errors
    /// The database cannot be read, or the order takes too long.
    pub fn list(&self, query: &ListQuery<'_>) -> Result<Page, HistoryError> {
        self.read(|connection| {
            let meta = Meta::read(connection)?;
            let total = live_rows(&meta, meta.next_row(connection)?);
            match query.query.only_id() {
                Some(id) => list_one(connection, &meta, query, &id, total),
                None => Listing::new(connection, &meta, query, total)?.run(),
            }
        })
    }
}

/// The page of a query that can match only one id.
fn list_one(
    connection: &Connection,
    meta: &Meta,
    query: &ListQuery<'_>,
    id: &TaskId,
    total: u64,
) -> Result<Page, HistoryError> {
    let mut found = Vec::new();
    for (app, number) in read_apps(connection)? {
        let asked = query.apps.is_none_or(|apps| apps.contains(&app));
        if !asked || (query.exclude)(&app, id) {
            continue;
        }
        let Some((_, task)) = find(connection, meta, &app, number, id)? else {
            continue;
        };
        let position = query.order.position(&app, &task);
        let is_after = query
            .after
            .is_none_or(|after| query.order.compare(&position, after).is_gt());
        if is_after && query.query.matches(&task) {
            found.push((position, (app, task)));
        }
    }
    found.sort_by(|left, right| query.order.compare(&left.0, &right.0));
    let next =
        (found.len() > query.limit.max(1)).then(|| found[query.limit.saturating_sub(1)].0.clone());
    found.truncate(query.limit.max(1));
    let scanned = found.len() as u64;
    Ok(Page {
        tasks: found.into_iter().map(|(_, task)| task).collect(),
        next,
        scanned,
        total,
    })
}

struct Listing<'c, 'q> {
    connection: &'c Connection,
    query: &'q ListQuery<'q>,
    blocks: Blocks<'c>,
    names: Vec<(Symbol, i64)>,
    needs_rows: bool,
    started: Instant,
    tasks: Vec<(Symbol, Task)>,
    decoded: u64,
    total: u64,
}

impl<'c, 'q> Listing<'c, 'q> {
    fn new(
        connection: &'c Connection,
        meta: &Meta,
        query: &'q ListQuery<'q>,
        total: u64,
    ) -> Result<Self, HistoryError> {
        Ok(Self {
            connection,
            query,
            blocks: Blocks::read(connection, meta)?,
            names: read_apps(connection)?.into_iter().collect(),
            needs_rows: needs_rows(query.query.expression()),
            started: Instant::now(),
            tasks: Vec::with_capacity(query.limit.min(1_000)),
            decoded: 0,
            total,
        })
    }

    fn run(mut self) -> Result<Page, HistoryError> {
        let mut after = self.query.after.cloned();
        let mut want = self.query.limit.max(1);
        if self.needs_rows {
            want = want.max(ROUND_LEAST);
        }
        loop {
            let limits = TimeLimits {
                soft: self.started + self.query.time_max,
                hard: self.started + TIME_MAX_UNBOUNDED,
            };
            let Some(round) = self
                .blocks
                .round(self.query, after.as_ref(), want, limits)?
            else {
                let field = self.query.order.field.field().name();
                return Err(HistoryError::TooLong {
                    field,
                    rows: self.total,
                });
            };
            for candidate in round.candidates {
                self.take(candidate.row)?;
                after = Some(candidate.position);
                if self.is_over() {
                    return Ok(self.page(after));
                }
            }
            match round.reached {
                None => return Ok(self.page(None)),
                Some(Reached::Place(place)) => return Ok(self.page(Some(place))),
                Some(Reached::LastCandidate) => {}
            }
            // Whoever matches little is looked for further at once.
            want = (want * 4).min(16 * ROUND_LEAST).max(self.query.limit);
        }
    }

    fn is_over(&self) -> bool {
        self.tasks.len() >= self.query.limit.max(1)
            || self.decoded >= self.query.decoded_max
            || self.decoded.is_multiple_of(64) && self.started.elapsed() >= self.query.time_max
    }

    /// Adds the row's task, if it is still there and matches.
    fn take(&mut self, row: i64) -> Result<(), HistoryError> {
        self.decoded += 1;
        let mut statement = self
            .connection
            .prepare_cached("SELECT app, data FROM task WHERE row = ?1")?;
        let found = statement
            .query_row([row], |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get_ref(1)?.as_blob().map(decode_task),
                ))
            })
            .optional()?;
        let Some((app, task)) = found else {
            return Ok(());
        };
        let task = task.map_err(|_| HistoryError::damaged("a task"))??;
        let name = self.names.iter().find(|(_, number)| *number == app);
        let (name, _) = name.ok_or_else(|| HistoryError::damaged("the app of a task"))?;
        if self.query.query.matches(&task) {
            self.tasks.push((name.clone(), task));
        }
        Ok(())
    }

    fn page(self, next: Option<Position>) -> Page {
        // Where rows are decoded, blocks are gone through again from where the last page ended.
        let scanned = if self.needs_rows {
            self.decoded
        } else {
            self.blocks.scanned
        };
        Page {
            tasks: self.tasks,
            next,
            scanned,
            total: self.total,
        }
    }
}
