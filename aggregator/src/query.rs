//! What tasks and workers a person asks for: two languages, one expression. Pure: no I/O, no clock, no logging.
//!
//! `filter` is AIP-160 (`aip160`), `search` is Flower's grammar (`flower`); both become one [`Expression`], joined by AND.
//! Lists, watches and history all evaluate that one expression.

mod aip160;
mod error;
mod expression;
mod field;
mod flower;
mod order;
mod pattern;
mod python;
mod task;
mod text;
mod worker;

#[cfg(test)]
mod tests;

pub use error::{Part, Problem, QueryError};
pub use expression::{Comparison, Condition, Expression, TextTest};
pub use field::{Field, Fields, Kind};
pub use order::{Order, OrderField, Place, Position, SortKey};
pub use pattern::Pattern;
pub use task::TaskField;
pub use worker::{WorkerField, WorkerFilter};

use crate::state::{Task, TaskId};

/// Most characters in `filter` or `search`, as in Flower (`MAX_QUERY_LENGTH`).
pub const CHARACTERS_MAX: usize = 2_048;
/// Deepest nesting of parentheses in `filter`. A person writes three; each level costs the parser a few stack frames.
pub const DEPTH_MAX: usize = 32;

/// Which tasks: `filter` and `search`, both of which must hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    expression: Expression<TaskField>,
    needs_payload: bool,
}

impl Query {
    /// Every task.
    pub fn everything() -> Self {
        Self::from(Expression::Everything)
    }

    /// Parses both. An empty text is no condition.
    ///
    /// # Errors
    /// The [`QueryError`] says which of the two is wrong, where, and what would be right.
    pub fn new(filter: &str, search: &str) -> Result<Self, QueryError> {
        let filter = aip160::parse(filter)?;
        let search = flower::parse(search)?;
        Ok(Self::from(Expression::and(vec![filter, search])))
    }

    /// Whether it looks at arguments, results, exceptions or tracebacks, which needs the right to read payloads. Bare
    /// words do.
    pub fn needs_payload(&self) -> bool {
        self.needs_payload
    }

    /// Whether the task is asked for.
    pub fn matches(&self, task: &Task) -> bool {
        self.expression.matches(task)
    }

    /// The expression.
    pub fn expression(&self) -> &Expression<TaskField> {
        &self.expression
    }

    /// The only id that can match, when the expression names one.
    pub fn only_id(&self) -> Option<TaskId> {
        let conditions = match &self.expression {
            Expression::And(all) => all.as_slice(),
            one => std::slice::from_ref(one),
        };
        conditions.iter().find_map(|condition| match condition {
            Expression::Is(Condition::Text {
                field: TaskField::Id,
                test: TextTest::Compare(Comparison::Equal, id),
            }) => Some(TaskId::from(id.as_ref())),
            _ => None,
        })
    }
}

impl From<Expression<TaskField>> for Query {
    fn from(expression: Expression<TaskField>) -> Self {
        let needs_payload = expression.any_condition(&|condition| match condition.field() {
            Some(field) => field.is_payload(),
            None => true,
        });
        Self {
            expression,
            needs_payload,
        }
    }
}
