//! Finds the first so many rows of an order that an expression lets through, after a place in that order, by columns.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Instant;

use rusqlite::Connection;

use super::block::Block;
use super::bound::{Bound, Edge};
use super::column::NONE;
use super::error::HistoryError;
use super::facts::{BLOCK, Column, Facts, Zone};
use super::list::ListQuery;
use super::mask::{NO, code_column, evaluate, time_column};
use super::schema::Meta;
use super::sweep::decode_zone;
use super::writer::{fill_up, read_apps, read_rows};
use crate::query::{Order, Position, SortKey};
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
        let mut scan = Scan {
            query,
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
        let mut wanted = vec![super::mask::YES; block.len];
        let passed = usize::try_from(self.low - block.first)
            .unwrap_or(0)
            .min(block.len);
        wanted[..passed].fill(NO);
        if let Some(apps) = self.query.apps {
            let by_code: Vec<bool> = block
                .dictionary()?
                .iter()
                .map(|text| text.as_ref().is_some_and(|text| apps.contains(text)))
                .collect();
            let codes = block.codes(Column::App)?;
            for (row, code) in wanted.iter_mut().zip(codes) {
                *row = if by_code[usize::from(*code)] {
                    *row
                } else {
                    NO
                };
            }
        }
        let mask = evaluate(self.query.query.expression(), block, &wanted)?;
        let rows = wanted
            .iter()
            .zip(&mask)
            .map(|(wanted, row)| *wanted.min(row) != NO);
        let rows: Vec<usize> = rows
            .enumerate()
            .filter(|(_, through)| *through)
            .map(|(index, _)| index)
            .collect();
        if rows.is_empty() {
            return Ok(());
        }
        let keys = Keys::of(block, self.query.order)?;
        let skipped = self.skipped_codes(&keys);
        for index in rows {
            self.row(block, &keys, &skipped, index)?;
        }
        Ok(())
    }

    /// For an order by text: by code, whether every row with it is out of the question.
    fn skipped_codes(&self, keys: &Keys<'_>) -> Vec<bool> {
        let Keys::Codes(_, dictionary) = keys else {
            return Vec::new();
        };
        let order = self.query.order;
        let skipped = |text: &Option<Symbol>| {
            let key = text.clone().map_or(SortKey::Absent, SortKey::Text);
            let is_behind = self
                .after
                .is_some_and(|after| order.compare_keys(&key, &after.key) == Ordering::Less);
            is_behind
                || self.worst().is_some_and(|worst| {
                    order.compare_keys(&key, &worst.position.key) == Ordering::Greater
                })
        };
        dictionary.iter().map(skipped).collect()
    }

    fn row(
        &mut self,
        block: &Block<'_>,
        keys: &Keys<'_>,
        skipped: &[bool],
        index: usize,
    ) -> Result<(), HistoryError> {
        if let (Keys::Codes(codes, _), false) = (keys, skipped.is_empty())
            && skipped[usize::from(codes[index])]
        {
            return Ok(());
        }
        let order = self.query.order;
        let key = keys.key(index);
        let first_seen = || Ok::<_, HistoryError>(block.integers(Column::FirstSeen)?[index]);
        // Most rows are decided by the key alone, most others before their ids are looked at.
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
        let damaged = || HistoryError::damaged("the ids of a block");
        let id = block.ids()?.get(index).ok_or_else(damaged)?;
        let app = block.dictionary()?[usize::from(block.codes(Column::App)?[index])].clone();
        let position = Position {
            key,
            first_seen,
            app: app.ok_or_else(damaged)?,
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

/// The column a list is ordered by.
enum Keys<'b> {
    Times(&'b [i64]),
    Numbers(&'b [f64]),
    Codes(&'b [u16], &'b [Option<Symbol>]),
}

impl<'b> Keys<'b> {
    fn of(block: &'b Block<'_>, order: Order) -> Result<Self, HistoryError> {
        let field = order.field.field();
        if let Some(column) = time_column(field) {
            return Ok(Self::Times(block.integers(column)?));
        }
        Ok(match code_column(field) {
            Some(column) => Self::Codes(block.codes(column)?, block.dictionary()?),
            None => Self::Numbers(block.runtime()?),
        })
    }

    fn key(&self, index: usize) -> SortKey {
        match self {
            Self::Times(times) => match times[index] {
                NONE => SortKey::Absent,
                time => SortKey::Time(time),
            },
            Self::Numbers(numbers) => match numbers[index] {
                number if number.is_nan() => SortKey::Absent,
                number => SortKey::Number(number),
            },
            Self::Codes(codes, dictionary) => dictionary[usize::from(codes[index])]
                .clone()
                .map_or(SortKey::Absent, SortKey::Text),
        }
    }
}
