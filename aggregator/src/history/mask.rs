//! What an expression says of each row of a block: no, maybe, yes. "Maybe" is what the columns cannot tell.
//!
//! As numbers these are Kleene's logic: AND is the least, OR the greatest, NOT the distance from yes.

use super::block::Block;
use super::column::NONE;
use super::error::HistoryError;
use super::facts::{Column, FINISHED, LOST, OUTCOME_UNKNOWN};
use super::identity::short;
use crate::query::{Comparison, Condition, Expression, Field, TaskField, TextTest};
use crate::state::TaskId;

/// It does not match.
pub(super) const NO: u8 = 0;
/// The row itself must be looked at.
pub(super) const MAYBE: u8 = 1;
/// It matches.
pub(super) const YES: u8 = 2;

type Mask = Result<Vec<u8>, HistoryError>;

fn known(truth: bool) -> u8 {
    if truth { YES } else { NO }
}

/// Evaluates the expression over the block. Rows for which `wanted` is [`NO`] may get any answer.
pub(super) fn evaluate(expression: &Expression<TaskField>, block: &Block, wanted: &[u8]) -> Mask {
    match expression {
        Expression::Everything => Ok(vec![YES; block.len]),
        Expression::Not(inner) => {
            let mut mask = evaluate(inner, block, wanted)?;
            for row in &mut mask {
                *row = YES - *row;
            }
            Ok(mask)
        }
        Expression::And(all) => {
            let mut mask: Vec<u8> = wanted.iter().map(|row| known(*row != NO)).collect();
            for one in in_order_of_cost(all) {
                if mask.iter().all(|row| *row == NO) {
                    break;
                }
                let other = evaluate(one, block, &mask)?;
                mask.iter_mut()
                    .zip(&other)
                    .for_each(|(row, other)| *row = (*row).min(*other));
            }
            Ok(mask)
        }
        Expression::Or(any) => {
            let mut mask = vec![NO; block.len];
            for one in any {
                let other = evaluate(one, block, wanted)?;
                mask.iter_mut()
                    .zip(&other)
                    .for_each(|(row, other)| *row = (*row).max(*other));
            }
            Ok(mask)
        }
        Expression::Is(condition) => evaluate_condition(condition, block, wanted),
    }
}

/// Ids last: they are the only column that has to be written out as text.
fn in_order_of_cost(all: &[Expression<TaskField>]) -> impl Iterator<Item = &Expression<TaskField>> {
    let costly = |one: &&Expression<TaskField>| {
        one.any_condition(&|condition| condition.field() == Some(TaskField::Id))
    };
    all.iter()
        .filter(move |one| !costly(one))
        .chain(all.iter().filter(costly))
}

fn evaluate_condition(condition: &Condition<TaskField>, block: &Block, wanted: &[u8]) -> Mask {
    match condition {
        Condition::Anywhere(pattern) => {
            let mut mask = vec![MAYBE; block.len];
            for column in TaskField::ALL
                .iter()
                .filter_map(|field| code_column(*field))
            {
                let found = texts(block, column, &mut |text| pattern.is_within_unfolded(text))?;
                mask.iter_mut()
                    .zip(&found)
                    .for_each(|(row, found)| *row = (*row).max(*found));
            }
            Ok(mask)
        }
        Condition::Text { field, test } => evaluate_text(*field, test, block, wanted),
        Condition::Number {
            field: TaskField::Retries,
            comparison,
            value,
        } =>
        {
            #[expect(clippy::cast_precision_loss, reason = "as the query compares them")]
            integers(block, Column::Retries, |retries| {
                comparison.holds(&(retries as f64), value)
            })
        }
        Condition::Number {
            comparison, value, ..
        } => {
            let runtime = block.runtime()?.iter();
            Ok(runtime
                .map(|it| known(!it.is_nan() && comparison.holds(it, value)))
                .collect())
        }
        Condition::Flag { field, value } => {
            let bit = match field {
                TaskField::Finished => FINISHED,
                TaskField::Lost => LOST,
                _ => OUTCOME_UNKNOWN,
            };
            integers(block, Column::Flags, |flags| (flags & bit != 0) == *value)
        }
        Condition::Time {
            field,
            comparison,
            value,
        } => match time_column(*field) {
            Some(column) => integers(block, column, |time| comparison.holds(&time, value)),
            None => Ok(vec![MAYBE; block.len]),
        },
        Condition::Present(field) => evaluate_present(*field, block),
        Condition::Entry { .. } => Ok(vec![MAYBE; block.len]),
    }
}

fn evaluate_text(field: TaskField, test: &TextTest, block: &Block, wanted: &[u8]) -> Mask {
    if let Some(column) = code_column(field) {
        return texts(block, column, &mut |text| test.passes(text));
    }
    match field {
        TaskField::Id => {
            let ids = block.ids()?;
            // No two ids share a key, so that the one that is asked for needs no text of any.
            let key = match test {
                TextTest::Compare(Comparison::Equal, id) => Some(TaskId::from(&**id).key()),
                _ => None,
            };
            let passes = |index| match &key {
                Some(key) => ids.key(index) == Some(key),
                None => ids
                    .get(index)
                    .is_some_and(|id| test.passes(&id.to_string())),
            };
            let row = |(index, wanted): (usize, &u8)| match *wanted {
                NO => NO,
                _ => known(passes(index)),
            };
            Ok(wanted.iter().enumerate().map(row).collect())
        }
        TaskField::RootId | TaskField::ParentId => {
            let wanted = match test {
                TextTest::Compare(Comparison::Equal, id) => Some(short(&TaskId::from(&**id))),
                _ => None,
            };
            let column = if field == TaskField::RootId {
                Column::Root
            } else {
                Column::Parent
            };
            let row = |hash: &u32| match wanted {
                _ if *hash == 0 => NO,
                Some(wanted) if wanted != *hash => NO,
                _ => MAYBE,
            };
            Ok(block.shorts(column)?.iter().map(row).collect())
        }
        _ => Ok(vec![MAYBE; block.len]),
    }
}

fn evaluate_present(field: TaskField, block: &Block) -> Mask {
    if let Some(column) = code_column(field) {
        return texts(block, column, &mut |text| !text.is_empty());
    }
    if let Some(column) = time_column(field) {
        return integers(block, column, |_| true);
    }
    match field {
        TaskField::Retries => integers(block, Column::Retries, |_| true),
        TaskField::Runtime => Ok(block
            .runtime()?
            .iter()
            .map(|it| known(!it.is_nan()))
            .collect()),
        TaskField::Finished | TaskField::Lost | TaskField::OutcomeUnknown => {
            Ok(vec![YES; block.len])
        }
        // An id may be empty text.
        TaskField::RootId | TaskField::ParentId => {
            let column = if field == TaskField::RootId {
                Column::Root
            } else {
                Column::Parent
            };
            let row = |hash: &u32| if *hash == 0 { NO } else { MAYBE };
            Ok(block.shorts(column)?.iter().map(row).collect())
        }
        _ => Ok(vec![MAYBE; block.len]),
    }
}

/// A test over a column of codes: once per text, not per row.
fn texts(block: &Block, column: Column, test: &mut dyn FnMut(&str) -> bool) -> Mask {
    let by_code: Vec<u8> = block
        .dictionary()?
        .iter()
        .map(|text| text.as_deref().map_or(NO, |text| known(test(text))))
        .collect();
    if by_code.iter().all(|code| *code == NO) {
        return Ok(vec![NO; block.len]);
    }
    Ok(block
        .codes(column)?
        .iter()
        .map(|code| by_code[usize::from(*code)])
        .collect())
}

fn integers(block: &Block, column: Column, test: impl Fn(i64) -> bool) -> Mask {
    let row = |value: &i64| known(*value != NONE && test(*value));
    Ok(block.integers(column)?.iter().map(row).collect())
}

/// The column of codes of a text field.
pub(super) fn code_column(field: TaskField) -> Option<Column> {
    match field {
        TaskField::Name => Some(Column::Name),
        TaskField::State => Some(Column::State),
        TaskField::Worker => Some(Column::Worker),
        TaskField::Queue => Some(Column::Queue),
        TaskField::Client => Some(Column::Client),
        _ => None,
    }
}

/// The column of a time.
pub(super) fn time_column(field: TaskField) -> Option<Column> {
    match field {
        TaskField::FirstSeen => Some(Column::FirstSeen),
        TaskField::LastSeen => Some(Column::LastSeen),
        TaskField::FinishSeen => Some(Column::FinishSeen),
        TaskField::SentTime => Some(Column::Sent),
        TaskField::ReceivedTime => Some(Column::Received),
        TaskField::StartedTime => Some(Column::Started),
        _ => None,
    }
}

/// Whether the columns alone may leave rows undecided.
pub(super) fn needs_rows(expression: &Expression<TaskField>) -> bool {
    expression.any_condition(&|condition| match condition {
        Condition::Anywhere(_) | Condition::Entry { .. } => true,
        other => other.field().is_some_and(|field| {
            field.is_payload() || matches!(field, TaskField::RootId | TaskField::ParentId)
        }),
    })
}
