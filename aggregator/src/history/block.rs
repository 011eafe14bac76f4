//! A block while it is read: its columns, each loaded when it is first asked for.

use std::cell::OnceCell;

use rusqlite::{Connection, OptionalExtension};

use super::column::{Ids, decode_codes, decode_integers, decode_numbers, decode_shorts};
use super::error::HistoryError;
use super::facts::{
    BLOCK, COLUMN_COUNT, COLUMNS, Column, Facts, decode_dictionary, encode_columns,
};
use crate::state::Symbol;

/// Rows and their columns.
pub(super) struct Block<'c> {
    /// Its first row.
    pub(super) first: i64,
    /// How many rows.
    pub(super) len: usize,
    source: Source<'c>,
    dictionary: OnceCell<Vec<Option<Symbol>>>,
    codes: [OnceCell<Vec<u16>>; COLUMN_COUNT],
    integers: [OnceCell<Vec<i64>>; COLUMN_COUNT],
    shorts: [OnceCell<Vec<u32>>; COLUMN_COUNT],
    runtime: OnceCell<Vec<f64>>,
    ids: OnceCell<Ids>,
}

enum Source<'c> {
    Table(&'c Connection),
    Memory(Vec<(Column, Vec<u8>)>),
}

impl<'c> Block<'c> {
    /// A sealed block.
    pub(super) fn sealed(connection: &'c Connection, number: i64, rows: u32) -> Self {
        Self::new(number * BLOCK, rows as usize, Source::Table(connection))
    }

    /// Rows that are not in a block yet, given with their columns' contents; they must follow each other.
    pub(super) fn unsealed(first: i64, rows: &[Facts]) -> Self {
        Self::new(first, rows.len(), Source::Memory(encode_columns(rows)))
    }

    fn new(first: i64, len: usize, source: Source<'c>) -> Self {
        Self {
            first,
            len,
            source,
            dictionary: OnceCell::new(),
            codes: std::array::from_fn(|_| OnceCell::new()),
            integers: std::array::from_fn(|_| OnceCell::new()),
            shorts: std::array::from_fn(|_| OnceCell::new()),
            runtime: OnceCell::new(),
            ids: OnceCell::new(),
        }
    }

    fn load<'s, T>(
        &self,
        cell: &'s OnceCell<T>,
        column: Column,
        decode: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<&'s T, HistoryError> {
        if let Some(loaded) = cell.get() {
            return Ok(loaded);
        }
        let decoded = match &self.source {
            Source::Table(connection) => {
                let id = self.first / BLOCK * COLUMNS + column as i64;
                let mut statement =
                    connection.prepare_cached("SELECT data FROM fact WHERE id = ?1")?;
                statement
                    .query_row([id], |row| {
                        Ok(row.get_ref(0)?.as_blob().ok().and_then(decode))
                    })
                    .optional()?
                    .flatten()
            }
            Source::Memory(columns) => columns
                .iter()
                .find(|(it, _)| *it == column)
                .and_then(|(_, bytes)| decode(bytes)),
        };
        let decoded = decoded.ok_or_else(|| HistoryError::damaged("a column of tasks"))?;
        Ok(cell.get_or_init(|| decoded))
    }

    /// Texts by code; the first is "none".
    pub(super) fn dictionary(&self) -> Result<&[Option<Symbol>], HistoryError> {
        Ok(self.load(&self.dictionary, Column::Dictionary, decode_dictionary)?)
    }

    /// A column of codes that are all in the dictionary.
    pub(super) fn codes(&self, column: Column) -> Result<&[u16], HistoryError> {
        let known = self.dictionary()?.len();
        Ok(self.load(&self.codes[column as usize], column, |bytes| {
            decode_codes(bytes).filter(|codes| {
                codes.len() == self.len && codes.iter().all(|code| usize::from(*code) < known)
            })
        })?)
    }

    /// A column of integers.
    pub(super) fn integers(&self, column: Column) -> Result<&[i64], HistoryError> {
        Ok(self.load(&self.integers[column as usize], column, |bytes| {
            decode_integers(bytes).filter(|values| values.len() == self.len)
        })?)
    }

    /// A column of short hashes.
    pub(super) fn shorts(&self, column: Column) -> Result<&[u32], HistoryError> {
        Ok(self.load(&self.shorts[column as usize], column, |bytes| {
            decode_shorts(bytes).filter(|values| values.len() == self.len)
        })?)
    }

    /// The column of runtimes, seconds; NaN is "none".
    pub(super) fn runtime(&self) -> Result<&[f64], HistoryError> {
        Ok(self.load(&self.runtime, Column::Runtime, |bytes| {
            decode_numbers(bytes).filter(|values| values.len() == self.len)
        })?)
    }

    /// The column of ids.
    pub(super) fn ids(&self) -> Result<&Ids, HistoryError> {
        self.load(&self.ids, Column::Id, |bytes| {
            Ids::decode(bytes).filter(|ids| self.len == 0 || ids.key(self.len - 1).is_some())
        })
    }
}
