//! The columns of each list: what a cell shows and what it is ordered by, side by side.

mod names;
mod queues;
mod tasks;
mod workers;

use std::cmp::Ordering;

pub(crate) use self::names::names;
pub(crate) use self::queues::queues;
pub(crate) use self::tasks::{failures, tasks};
pub(crate) use self::workers::workers;
use super::model::things::Named;
use crate::render::View;
use crate::render::table::{Cell, Column, Table, text};
use crate::render::units::ABSENT;

/// What rows are ordered by. What is absent comes last in both directions.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
pub(crate) enum Key {
    Text(String),
    Number(f64),
    Absent,
}

/// One column of a list of `T`.
pub(crate) struct Field<T> {
    pub(crate) column: Column,
    cell: fn(&T, &View) -> Cell,
    key: fn(&T) -> Key,
    /// The largest comes first unless it is turned.
    down: bool,
}

impl<T> Field<T> {
    /// Whether the largest comes first.
    pub(crate) fn is_down(&self, reverse: bool) -> bool {
        self.down != reverse
    }
}

const fn up<T>(column: Column, cell: fn(&T, &View) -> Cell, key: fn(&T) -> Key) -> Field<T> {
    Field {
        column,
        cell,
        key,
        down: false,
    }
}

const fn down<T>(column: Column, cell: fn(&T, &View) -> Cell, key: fn(&T) -> Key) -> Field<T> {
    Field {
        column,
        cell,
        key,
        down: true,
    }
}

/// Rows in the order of a column, as a table.
pub(crate) fn table<T>(fields: &[Field<T>], rows: &[&T], view: &View) -> Table {
    let mut table = Table::new(fields.iter().map(|field| field.column).collect());
    for row in rows {
        table.row(fields.iter().map(|field| (field.cell)(row, view)).collect());
    }
    table
}

/// Orders rows by a column; equal ones by app and name, so that they do not jump.
pub(crate) fn sort<T: Named>(fields: &[Field<T>], rows: &mut [&T], by: usize, reverse: bool) {
    let Some(field) = fields.get(by) else { return };
    rows.sort_by_cached_key(|row| Ordered {
        key: (field.key)(row),
        down: field.down != reverse,
        name: (row.key().0.to_owned(), row.key().1.to_owned()),
    });
}

struct Ordered {
    key: Key,
    down: bool,
    name: (String, String),
}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> Ordering {
        let absent = (self.key == Key::Absent).cmp(&(other.key == Key::Absent));
        let keys = match (&self.key, &other.key) {
            (Key::Number(one), Key::Number(other)) => one.total_cmp(other),
            (Key::Text(one), Key::Text(other)) => one.cmp(other),
            _ => Ordering::Equal,
        };
        absent
            .then(if self.down { keys.reverse() } else { keys })
            .then_with(|| self.name.cmp(&other.name))
    }
}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ordered {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ordered {}

fn words(text: &str) -> Key {
    Key::Text(text.to_lowercase())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "an order; counters lose precision beyond 2^53"
)]
fn amount(number: Option<i64>) -> Key {
    number.map_or(Key::Absent, |number| Key::Number(number as f64))
}

fn total(number: u64) -> Key {
    amount(i64::try_from(number).ok())
}

fn rated(rate: Option<f64>) -> Key {
    rate.map_or(Key::Absent, Key::Number)
}

fn span(duration: Option<&prost_types::Duration>) -> Key {
    let seconds = duration.map(|span| i64_seconds(span.seconds) + f64::from(span.nanos) / 1e9);
    seconds.map_or(Key::Absent, Key::Number)
}

fn moment(time: Option<&prost_types::Timestamp>) -> Key {
    let seconds = time.map(|time| i64_seconds(time.seconds) + f64::from(time.nanos) / 1e9);
    seconds.map_or(Key::Absent, Key::Number)
}

#[expect(clippy::cast_precision_loss, reason = "exact for 285 million years")]
fn i64_seconds(seconds: i64) -> f64 {
    seconds as f64
}

/// A rate per second in three digits: `0`, `0.3`, `12.5`, `1204`.
pub(crate) fn rate(rate: Option<f64>) -> String {
    match rate {
        None => ABSENT.to_owned(),
        Some(rate) if rate < 0.05 => "0".to_owned(),
        Some(rate) if rate < 99.95 => format!("{rate:.1}"),
        Some(rate) => format!("{rate:.0}"),
    }
}

/// The app, last so that the places of other columns do not depend on how many apps there are.
fn app_field<T: Named>() -> Field<T> {
    up(
        text("APP", 4),
        |row, _| row.key().0.into(),
        |row| words(row.key().0),
    )
}
