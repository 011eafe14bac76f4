//! The column of a block that a list is ordered by, and which of its rows may be next in that order.

use std::cmp::Ordering;

use super::block::Block;
use super::column::NONE;
use super::error::HistoryError;
use super::facts::Column;
use super::mask::{code_column, time_column};
use crate::query::{Order, Position, SortKey};
use crate::state::{Micros, Symbol};

/// The values of a block's rows.
pub(super) enum Keys<'b> {
    Times(&'b [i64]),
    Numbers(&'b [f64]),
    Codes(&'b [u16], &'b [Option<Symbol>]),
}

impl<'b> Keys<'b> {
    /// Of this order.
    pub(super) fn of(block: &'b Block<'_>, order: Order) -> Result<Self, HistoryError> {
        let field = order.field.field();
        if let Some(column) = time_column(field) {
            return Ok(Self::Times(block.integers(column)?));
        }
        Ok(match code_column(field) {
            Some(column) => Self::Codes(block.codes(column)?, block.dictionary()?),
            None => Self::Numbers(block.runtime()?),
        })
    }

    /// Of one row.
    pub(super) fn key(&self, index: usize) -> SortKey {
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

    /// Rows of `block` from `first` on whose value is neither before that of `after` nor after that of `worst`. A list may
    /// have to look at every block for a few rows, so that this is what its time goes into: one or two comparisons a row.
    pub(super) fn within(
        &self,
        block: &Block<'_>,
        order: Order,
        (after_place, worst_place): (Option<&Position>, Option<&Position>),
        first: usize,
    ) -> Result<Vec<usize>, HistoryError> {
        let after = after_place.map(|place| &place.key);
        let worst = worst_place.map(|place| &place.key);
        let fits = |key: &SortKey| {
            after.is_none_or(|after| order.compare_keys(key, after) != Ordering::Less)
                && worst.is_none_or(|worst| order.compare_keys(key, worst) != Ordering::Greater)
        };
        let absent = fits(&SortKey::Absent);
        // What is absent comes last: after it there is nothing else.
        let present = !matches!(after, Some(SortKey::Absent));
        let (least, most) = if order.descending {
            (worst, after)
        } else {
            (after, worst)
        };
        Ok(match self {
            Self::Times(times) => {
                let time = |key| match key {
                    Some(&SortKey::Time(time)) => Some(time),
                    _ => None,
                };
                let least = time(least).unwrap_or(NONE + 1);
                let most = time(most).unwrap_or(Micros::MAX);
                rows(times, first, |time| match *time {
                    NONE => absent,
                    time => present && least <= time && time <= most,
                })
            }
            Self::Numbers(numbers) => {
                let number = |key| match key {
                    Some(&SortKey::Number(number)) => Some(number),
                    _ => None,
                };
                let least = number(least).unwrap_or(f64::NEG_INFINITY);
                let most = number(most).unwrap_or(f64::INFINITY);
                rows(numbers, first, |number| {
                    present && least <= *number && *number <= most || absent && number.is_nan()
                })
            }
            Self::Codes(codes, dictionary) => {
                let key =
                    |text: &Option<Symbol>| text.clone().map_or(SortKey::Absent, SortKey::Text);
                let by_code: Vec<bool> = dictionary.iter().map(|text| fits(&key(text))).collect();
                let rows = rows(codes, first, |code| by_code[usize::from(*code)]);
                // Most rows may have one value, such as a state: then it is `first_seen` that tells.
                let tied = |place: Option<&Position>| {
                    let place = place?;
                    let code = dictionary.iter().position(|text| key(text) == place.key)?;
                    Some((u16::try_from(code).ok()?, place.first_seen))
                };
                let (after, worst) = (tied(after_place), tied(worst_place));
                if rows.is_empty() || after.is_none() && worst.is_none() {
                    return Ok(rows);
                }
                let seen = block.integers(Column::FirstSeen)?;
                between(rows, order, codes, seen, after, worst)
            }
        })
    }
}

fn rows<T>(values: &[T], first: usize, fits: impl Fn(&T) -> bool) -> Vec<usize> {
    let rows = values.iter().enumerate().skip(first);
    rows.filter(|(_, value)| fits(value))
        .map(|(index, _)| index)
        .collect()
}

/// Of these rows those that are not before `after` nor after `worst`: places of a code and `first_seen`.
fn between(
    mut rows: Vec<usize>,
    order: Order,
    codes: &[u16],
    seen: &[Micros],
    after: Option<(u16, Micros)>,
    worst: Option<(u16, Micros)>,
) -> Vec<usize> {
    let is = |row: usize, place: Option<(u16, Micros)>, side: Ordering| {
        place.is_some_and(|(code, first_seen)| {
            codes[row] == code && order.turned(seen[row].cmp(&first_seen)) == side
        })
    };
    rows.retain(|row| !is(*row, after, Ordering::Less) && !is(*row, worst, Ordering::Greater));
    rows
}
