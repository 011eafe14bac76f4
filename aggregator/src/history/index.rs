//! The id index: where each task's row is.
//!
//! A new id is first only in memory (`recent`), from which a restart rebuilds it out of the blocks. Each 65,536 rows, a
//! generation, are sorted by hash and merged into `task_index` a few at a time, so that neighbours in the index are
//! written together; a random place per row would write a page per row. Retention takes them out the same way.

use std::collections::VecDeque;

use hashbrown::HashMap;
use rusqlite::Connection;

use super::block::Block;
use super::error::HistoryError;
use super::facts::{BLOCK, COLUMNS, Column};
use super::identity::Identity;
use super::membership::{GENERATION, Membership};
use super::schema::Meta;
use crate::state::Symbol;

/// Filters kept in memory, 128 KiB each: four million rows. Older ids are looked up on disk.
const FILTERS_MAX: u8 = 64;
/// Least and most entries merged in one commit; the most takes about 10 ms.
const MERGE_LEAST: usize = 256;
const MERGE_MOST: usize = 8_192;

/// Rows by id.
#[derive(Debug)]
pub(super) struct Index {
    /// Rows not in `task_index` yet, by hash.
    recent: HashMap<u64, i64>,
    /// Generations in `task_index`, oldest first; those before the first have no filter.
    filters: VecDeque<(i64, Membership)>,
    merging: Option<Batch>,
    cleaning: Option<Batch>,
}

/// Entries of one generation, in the order of the index, and how many are done.
#[derive(Debug)]
struct Batch {
    entries: Vec<(i64, i64)>,
    done: usize,
}

impl Batch {
    fn new(mut entries: Vec<(i64, i64)>) -> Self {
        entries.sort_unstable();
        Self { entries, done: 0 }
    }

    fn slice(&self, most: usize) -> &[(i64, i64)] {
        let rest = &self.entries[self.done..];
        &rest[..rest.len().min(most)]
    }
}

/// What a step did; becomes true with the commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// That many entries.
    Some(usize),
    /// The last of a generation.
    Finished,
}

impl Index {
    /// Rebuilds what is only in memory: ids of the blocks from `meta.indexed` on. The rows after the last block are added
    /// by the caller.
    pub(super) fn open(
        connection: &Connection,
        meta: &Meta,
        apps: &HashMap<Symbol, i64>,
        sealed_end: i64,
    ) -> Result<Self, HistoryError> {
        let mut recent = HashMap::new();
        for number in meta.indexed / BLOCK..sealed_end / BLOCK {
            for (hash, row) in block_entries(connection, meta, apps, number)? {
                recent.insert(hash.cast_unsigned(), row);
            }
        }
        let mut filters = VecDeque::new();
        let sql = "SELECT generation, data FROM membership ORDER BY generation DESC LIMIT ?1";
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query([FILTERS_MAX])?;
        while let Some(row) = rows.next()? {
            let filter = row
                .get_ref(1)?
                .as_blob()
                .ok()
                .and_then(Membership::from_bytes);
            let filter = filter.ok_or_else(|| HistoryError::damaged("a filter of ids"))?;
            filters.push_front((row.get(0)?, filter));
        }
        Ok(Self {
            recent,
            filters,
            merging: None,
            cleaning: None,
        })
    }

    /// Adds a row that is not merged yet.
    pub(super) fn insert(&mut self, hash: u64, row: i64) {
        self.recent.insert(hash, row);
    }

    /// Rows that may hold the id, the newest first: the caller compares ids.
    pub(super) fn rows(
        &self,
        connection: &Connection,
        meta: &Meta,
        hash: u64,
    ) -> Result<Vec<i64>, HistoryError> {
        let recent = self.recent.get(&hash).copied();
        let oldest = self
            .filters
            .front()
            .map_or(meta.indexed, |(oldest, _)| oldest * GENERATION);
        let may_be_merged =
            meta.low < oldest || self.filters.iter().any(|(_, filter)| filter.may_hold(hash));
        let mut rows: Vec<i64> = recent.into_iter().collect();
        if may_be_merged {
            rows.extend(indexed_rows(connection, hash)?);
        }
        Ok(rows)
    }

    /// Merges some entries of the oldest unmerged generation, when it is whole: at least as many as `added`, the rows
    /// this commit adds, so that merging keeps up. To be told by [`Index::merged`] once committed.
    pub(super) fn merge(
        &mut self,
        connection: &Connection,
        meta: &mut Meta,
        sealed_end: i64,
        added: usize,
    ) -> Result<Option<Step>, HistoryError> {
        let end = meta.indexed + GENERATION;
        if sealed_end < end {
            return Ok(None);
        }
        let batch = self.merging.get_or_insert_with(|| {
            let entries = self.recent.iter().filter(|(_, row)| **row < end);
            Batch::new(
                entries
                    .map(|(hash, row)| (hash.cast_signed(), *row))
                    .collect(),
            )
        });
        let slice = batch.slice((added * 4).clamp(MERGE_LEAST, MERGE_MOST));
        let sql = "INSERT OR IGNORE INTO task_index VALUES (?1, ?2)";
        let mut statement = connection.prepare_cached(sql)?;
        for entry in slice {
            statement.execute(*entry)?;
        }
        if batch.done + slice.len() < batch.entries.len() {
            return Ok(Some(Step::Some(slice.len())));
        }
        let sql = "INSERT OR REPLACE INTO membership VALUES (?1, ?2)";
        let values = (meta.indexed / GENERATION, filter_of(batch).to_bytes());
        connection.prepare_cached(sql)?.execute(values)?;
        meta.indexed = end;
        Ok(Some(Step::Finished))
    }

    /// The step was committed; `meta` is as of then.
    pub(super) fn merged(&mut self, step: Step, meta: &Meta) {
        match (step, self.merging.as_mut()) {
            (Step::Some(count), Some(batch)) => batch.done += count,
            (Step::Finished, Some(batch)) => {
                self.filters
                    .push_back((meta.indexed / GENERATION - 1, filter_of(batch)));
                if self.filters.len() > usize::from(FILTERS_MAX) {
                    self.filters.pop_front();
                }
                self.recent.retain(|_, row| *row >= meta.indexed);
                self.merging = None;
            }
            (_, None) => {}
        }
    }

    /// Takes some entries of the oldest generation out of the index, when retention has passed all of it. To be told by
    /// [`Index::cleaned`] once committed.
    pub(super) fn clean(
        &mut self,
        connection: &Connection,
        meta: &mut Meta,
        apps: &HashMap<Symbol, i64>,
        most: usize,
    ) -> Result<Option<Step>, HistoryError> {
        if !meta.has_to_clean() {
            return Ok(None);
        }
        let end = meta.cleaned + GENERATION;
        let batch = if let Some(batch) = &mut self.cleaning {
            batch
        } else {
            let mut entries = Vec::new();
            for number in meta.cleaned / BLOCK..end / BLOCK {
                entries.extend(block_entries(connection, meta, apps, number)?);
            }
            self.cleaning.insert(Batch::new(entries))
        };
        let slice = batch.slice(most);
        let sql = "DELETE FROM task_index WHERE hash = ?1 AND row = ?2";
        let mut statement = connection.prepare_cached(sql)?;
        for entry in slice {
            statement.execute(*entry)?;
        }
        if batch.done + slice.len() < batch.entries.len() {
            return Ok(Some(Step::Some(slice.len())));
        }
        let facts = (meta.cleaned / BLOCK * COLUMNS, end / BLOCK * COLUMNS);
        connection.execute("DELETE FROM fact WHERE id >= ?1 AND id < ?2", facts)?;
        let generation = [meta.cleaned / GENERATION];
        connection.execute("DELETE FROM membership WHERE generation = ?1", generation)?;
        meta.cleaned = end;
        Ok(Some(Step::Finished))
    }

    /// The step was committed; `meta` is as of then.
    pub(super) fn cleaned(&mut self, step: Step, meta: &Meta) {
        match (step, self.cleaning.as_mut()) {
            (Step::Some(count), Some(batch)) => batch.done += count,
            (Step::Finished, _) => {
                self.cleaning = None;
                self.filters
                    .retain(|(generation, _)| generation * GENERATION >= meta.cleaned);
            }
            (_, None) => {}
        }
    }
}

fn filter_of(batch: &Batch) -> Membership {
    let mut filter = Membership::new();
    batch
        .entries
        .iter()
        .for_each(|(hash, _)| filter.insert(hash.cast_unsigned()));
    filter
}

/// Rows in `task_index` with this hash, the newest first.
pub(super) fn indexed_rows(connection: &Connection, hash: u64) -> Result<Vec<i64>, HistoryError> {
    let sql = "SELECT row FROM task_index WHERE hash = ?1 ORDER BY row DESC";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([hash.cast_signed()], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Hash and row of every row of a block.
fn block_entries(
    connection: &Connection,
    meta: &Meta,
    apps: &HashMap<Symbol, i64>,
    number: i64,
) -> Result<Vec<(i64, i64)>, HistoryError> {
    // The zone may be gone with retention; the columns tell how many rows there are.
    let damaged = || HistoryError::damaged("the ids of a block");
    let rows = u32::try_from(BLOCK).map_err(|_| damaged())?;
    let block = Block::sealed(connection, number, rows);
    let (dictionary, codes, ids) = (block.dictionary()?, block.codes(Column::App)?, block.ids()?);
    let apps: Vec<Option<i64>> = dictionary
        .iter()
        .map(|text| apps.get(text.as_ref()?).copied())
        .collect();
    let mut entries = Vec::with_capacity(block.len);
    for (index, (code, row)) in codes.iter().zip(block.first..).enumerate() {
        // The row was gone before its block was sealed.
        if *code == 0 {
            continue;
        }
        let app = apps[usize::from(*code)].ok_or_else(damaged)?;
        let key = ids.key(index).ok_or_else(damaged)?;
        let hash = Identity::of_key(meta.seed, app, key).hash();
        entries.push((hash.cast_signed(), row));
    }
    Ok(entries)
}
