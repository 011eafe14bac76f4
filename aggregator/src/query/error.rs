//! What is wrong with a query, in words for the person who wrote it.

use std::fmt;

/// The text that is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `filter`, AIP-160.
    Filter,
    /// `search`, Flower's grammar.
    Search,
    /// `order_by`.
    OrderBy,
}

impl Part {
    /// The request field's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Search => "search",
            Self::OrderBy => "order_by",
        }
    }
}

/// A query that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryError {
    /// Which text.
    pub part: Part,
    /// What is wrong.
    pub problem: Problem,
    /// Where, in characters from 0 as Flower counts. `None` when it is the text as a whole.
    pub position: Option<usize>,
}

/// What is wrong with a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The grammar is broken; in words, without a full stop.
    Syntax(String),
    /// Too long, too deep or too many; in words, without a full stop.
    Limit(String),
    /// No such field.
    UnknownField {
        /// As written.
        field: String,
        /// Those there are.
        known: Vec<&'static str>,
    },
    /// The field cannot be compared so.
    Operator {
        /// The field.
        field: &'static str,
        /// As written.
        operator: &'static str,
        /// Those it takes.
        allowed: &'static str,
    },
    /// The field can never have that value.
    Value {
        /// The field.
        field: &'static str,
        /// As written.
        value: String,
        /// What would do.
        expected: String,
    },
}

impl QueryError {
    pub(super) fn syntax(part: Part, text: impl Into<String>, position: usize) -> Self {
        Self {
            part,
            problem: Problem::Syntax(text.into()),
            position: Some(position),
        }
    }

    pub(super) fn limit(part: Part, text: impl Into<String>, position: Option<usize>) -> Self {
        Self {
            part,
            problem: Problem::Limit(text.into()),
            position,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(text) | Self::Limit(text) => f.write_str(text),
            Self::UnknownField { field, known } => {
                write!(f, "Unknown field \"{field}\" (known: {})", known.join(", "))
            }
            Self::Operator {
                field,
                operator,
                allowed,
            } => {
                write!(
                    f,
                    "Field \"{field}\" does not take {operator} (it takes {allowed})"
                )
            }
            Self::Value {
                field,
                value,
                expected,
            } => {
                write!(
                    f,
                    "Field \"{field}\" cannot be \"{value}\" (expected {expected})"
                )
            }
        }
    }
}

/// Flower's form: `<message> at position <n>.`
impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some(position) => write!(f, "{} at position {position}.", self.problem),
            None => write!(f, "{}.", self.problem),
        }
    }
}

impl std::error::Error for QueryError {}
