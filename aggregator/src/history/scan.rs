//! Finds the first so many rows of an order that an expression lets through, after a place in that order, by columns.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Instant;

use rusqlite::Connection;

use super::block::Block;
use super::bound::{Bound, Edge};
use super::error::HistoryError;
use super::facts::{BLOCK, Column, Facts, Zone};
use super::keys::Keys;
use super::list::ListQuery;
use super::mask::{NO, YES, evaluate, time_column};
use super::schema::Meta;
use super::sweep::decode_zone;
use super::writer::{fill_up, read_apps, read_rows};
use crate::query::{Expression, Order, Position, SortKey};
use crate::state::{Micros, Symbol, TaskId};

/// A row in the order.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) position: Position,
    pub(super) row: i64,
    order: Order,
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Candidate {}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Candidate {
    /// Of rows in the same place the newest first. A row that was replaced stays in its block, often in the same place as
    /// the one that replaced it; a round that ends between the two must have seen the one that is there.
    fn cmp(&self, other: &Self) -> Ordering {
        self.order
            .compare(&self.position, &other.position)
            .then(other.row.cmp(&self.row))
    }
}

/// What a round of scanning found.
#[derive(Debug)]
pub(super) struct Round {
    /// In order. Rows may have been replaced since.
    pub(super) candidates: Vec<Candidate>,
    /// How far the order was looked through. `None` when to its end.
    pub(super) reached: Option<Reached>,
}

/// How far a round got.
#[derive(Debug)]
pub(super) enum Reached {
    /// To the last candidate; there may be more.
    LastCandidate,
    /// To this place: time ran out.
    Place(Position),
}

/// When a round is to stop.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimeLimits {
    /// An order by time, at the next place that is final.
    pub(super) soft: Instant,
    /// Any other order, without an answer.
    pub(super) hard: Instant,
}

/// The blocks to scan, read once for all rounds.
pub(super) struct Blocks<'c> {
    connection: &'c Connection,
    /// All apps that have rows.
    apps: Vec<Symbol>,
    low: i64,
    sealed: Vec<(i64, Zone)>,
    unsealed: Block<'c>,
    unsealed_rows: u64,
    /// Rows looked at.
    pub(super) scanned: u64,
}

impl<'c> Blocks<'c> {
    /// The blocks of the state that the connection sees. Rows in no block yet become one in memory.
    pub(super) fn read(connection: &'c Connection, meta: &Meta) -> Result<Self, HistoryError> {
        let mut sealed = Vec::new();
        let mut statement = connection.prepare_cached("SELECT number, zone FROM block")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            sealed.push((row.get(0)?, decode_zone(row.get_ref(1)?)?));
        }
        let names: Vec<(Symbol, i64)> = read_apps(connection)?.into_iter().collect();
        let first = meta.next_row(connection)? / BLOCK * BLOCK;
        let mut facts = Vec::new();
        read_rows(connection, first, |row, app, task| {
            let name = names.iter().find(|(_, number)| *number == app);
            let (name, _) = name.ok_or_else(|| HistoryError::damaged("the app of a task"))?;
            fill_up(&mut facts, row - first);
            facts.push(Facts::new(name, &task));
            Ok(())
        })?;
        Ok(Self {
            connection,
            apps: names.into_iter().map(|(name, _)| name).collect(),
            low: meta.low,
            sealed,
            unsealed: Block::unsealed(first, &facts),
            unsealed_rows: facts.len() as u64,
            scanned: 0,
        })
    }

    /// The first `want` rows after `after`. `None` when the hard limit came first.
    ///
    /// Blocks are taken in the order of the best row each may have, so it stops when it has enough; an order by time also
    /// when time is up: what it has found before the best of the next block is final.
    pub(super) fn round(
        &mut self,
        query: &ListQuery<'_>,
        after: Option<&Position>,
        want: usize,
        limits: TimeLimits,
    ) -> Result<Option<Round>, HistoryError> {
        let order = query.order;
        let is_asked = |apps: &[Symbol]| self.apps.iter().all(|app| apps.contains(app));
        let mut scan = Scan {
            query,
            apps: query.apps.filter(|apps| !is_asked(apps)),
            after,
            want,
            low: self.low,
            heap: BinaryHeap::new(),
        };
        scan.block(&self.unsealed)?;
        self.scanned += self.unsealed_rows;
        let by_time = time_column(order.field.field()).is_some();
        let bound = |zone: &Zone| Bound::of(order, zone, after);
        let mut blocks: Vec<(Bound, i64, u32)> = self
            .sealed
            .iter()
            .map(|(number, zone)| (bound(zone), *number, zone.rows))
            .collect();
        blocks.sort_by(|left, right| left.0.compare(&right.0, order).then(right.1.cmp(&left.1)));
        let mut reached_time = None;
        let mut any = false;
        for (bound, number, rows) in blocks {
            let best = match bound {
                Bound::Behind => break,
                Bound::From(best) => Some(best),
                Bound::Unknown => None,
            };
            if best
                .as_ref()
                .is_some_and(|best| scan.is_settled_before(best))
            {
                break;
            }
            let now = Instant::now();
            let time = best.and_then(|best| best.time());
            if !by_time && now >= limits.hard {
                return Ok(None);
            }
            if let Some(time) = time
                && now >= limits.soft
            {
                // Only where that is further than before: a list must end.
                let place = before(time, order);
                if after.map_or(any, |after| order.compare(&place, after).is_gt()) {
                    reached_time = Some(place);
                    break;
                }
            }
            scan.block(&Block::sealed(self.connection, number, rows))?;
            self.scanned += u64::from(rows);
            any = true;
        }
        Ok(Some(scan.finish(reached_time)))
    }
}

/// The place right before every row with this time.
fn before(time: Micros, order: Order) -> Position {
    // Descending, the last place of the next greater time; ascending, the last of the next smaller one.
    let (time, first_seen, id) = if order.descending {
        (time.saturating_add(1), i64::MIN, TaskId::Uuid([0; 16]))
    } else {
        (
            time.saturating_sub(1),
            i64::MAX,
            TaskId::Text("\u{10FFFF}".into()),
        )
    };
    let app = if order.descending { "" } else { "\u{10FFFF}" };
    Position {
        key: SortKey::Time(time),
        first_seen,
        app: app.into(),
        id,
    }
}

struct Scan<'q, 'l> {
    query: &'q ListQuery<'l>,
    /// Only of these; `None` when that is all there are.
    apps: Option<&'q [Symbol]>,
    after: Option<&'q Position>,
    want: usize,
    low: i64,
    /// The best so far, the worst of them on top.
    heap: BinaryHeap<Candidate>,
}

impl Scan<'_, '_> {
    fn worst(&self) -> Option<&Candidate> {
        if self.heap.len() < self.want {
            None
        } else {
            self.heap.peek()
        }
    }

    /// Whether nothing from this place on can be among the first.
    fn is_settled_before(&self, best: &Edge) -> bool {
        let order = self.query.order;
        self.worst()
            .is_some_and(|worst| best.is_after(order, &worst.position))
    }

    fn block(&mut self, block: &Block<'_>) -> Result<(), HistoryError> {
        let passed = usize::try_from(self.low - block.first)
            .unwrap_or(0)
            .min(block.len);
        let through = self.through(block, passed)?;
        if through
            .as_ref()
            .is_some_and(|rows| rows.iter().all(|row| *row == NO))
        {
            return Ok(());
        }
        let keys = Keys::of(block, self.query.order)?;
        let places = (self.after, self.worst().map(|worst| &worst.position));
        // Most rows are decided by this alone.
        for index in keys.within(block, self.query.order, places, passed)? {
            if through.as_ref().is_none_or(|rows| rows[index] != NO) {
                self.row(block, &keys, index)?;
            }
        }
        Ok(())
    }

    /// Which rows the apps and the expression let through, those before `passed` excepted. `None` is all.
    fn through(&self, block: &Block<'_>, passed: usize) -> Result<Option<Vec<u8>>, HistoryError> {
        let expression = self.query.query.expression();
        let everything = matches!(expression, Expression::Everything);
        if self.apps.is_none() && everything {
            return Ok(None);
        }
        let mut wanted = vec![YES; block.len];
        wanted[..passed].fill(NO);
        if let Some(apps) = self.apps {
            let by_code: Vec<bool> = block
                .dictionary()?
                .iter()
                .map(|text| text.as_ref().is_some_and(|text| apps.contains(text)))
                .collect();
            let codes = block.codes(Column::App)?;
            for (row, code) in wanted.iter_mut().zip(codes) {
                if !by_code[usize::from(*code)] {
                    *row = NO;
                }
            }
        }
        if !everything {
            let mask = evaluate(expression, block, &wanted)?;
            let rows = wanted.iter_mut().zip(&mask);
            rows.for_each(|(wanted, row)| *wanted = (*wanted).min(*row));
        }
        Ok(Some(wanted))
    }

    fn row(
        &mut self,
        block: &Block<'_>,
        keys: &Keys<'_>,
        index: usize,
    ) -> Result<(), HistoryError> {
        let order = self.query.order;
        let key = keys.key(index);
        let first_seen = || Ok::<_, HistoryError>(block.integers(Column::FirstSeen)?[index]);
        // Most others are decided before their ids are looked at.
        let place = |other: Option<&Position>| {
            let Some(other) = other else {
                return Ok::<_, HistoryError>(Ordering::Equal);
            };
            Ok(match order.compare_keys(&key, &other.key) {
                Ordering::Equal => order.turned(first_seen()?.cmp(&other.first_seen)),
                unequal => unequal,
            })
        };
        if place(self.after)? == Ordering::Less
            || place(self.worst().map(|worst| &worst.position))? == Ordering::Greater
        {
            return Ok(());
        }
        let first_seen = first_seen()?;
        let app = &block.dictionary()?[usize::from(block.codes(Column::App)?[index])];
        // The row was gone before its block was sealed.
        let Some(app) = app.clone() else {
            return Ok(());
        };
        let damaged = || HistoryError::damaged("the ids of a block");
        let id = block.ids()?.get(index).ok_or_else(damaged)?;
        let position = Position {
            key,
            first_seen,
            app,
            id,
        };
        if self
            .after
            .is_some_and(|after| order.compare(&position, after) != Ordering::Greater)
            || (self.query.exclude)(&position.app, &position.id)
        {
            return Ok(());
        }
        let row = block.first + i64::try_from(index).unwrap_or(0);
        let candidate = Candidate {
            position,
            row,
            order,
        };
        if self.worst().is_some_and(|worst| candidate > *worst) {
            return Ok(());
        }
        self.heap.push(candidate);
        if self.heap.len() > self.want {
            self.heap.pop();
        }
        Ok(())
    }

    fn finish(self, reached_time: Option<Position>) -> Round {
        let (order, full) = (self.query.order, self.heap.len() >= self.want);
        let mut candidates = self.heap.into_sorted_vec();
        let Some(place) = reached_time else {
            return Round {
                candidates,
                reached: full.then_some(Reached::LastCandidate),
            };
        };
        // Blocks that were not scanned may have rows that come before these.
        candidates
            .retain(|candidate| order.compare(&candidate.position, &place) != Ordering::Greater);
        Round {
            candidates,
            reached: Some(Reached::Place(place)),
        }
    }
}
