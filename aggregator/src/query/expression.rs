//! The one expression both languages become, and what it says of a thing.

use std::fmt::{self, Display};

use super::field::{Field, Fields, Kind};
use super::pattern::Pattern;
use super::python;
use super::text::{fold, quoted};
use crate::state::Micros;

/// Conditions joined by AND, OR and NOT.
#[derive(Debug, Clone, PartialEq)]
pub enum Expression<F> {
    /// True of everything.
    Everything,
    /// True where all are. At least two, none an `And` or `Everything`.
    And(Vec<Expression<F>>),
    /// True where one is. At least two, none an `Or` or `Everything`.
    Or(Vec<Expression<F>>),
    /// True where it is not.
    Not(Box<Expression<F>>),
    /// True where the condition holds.
    Is(Condition<F>),
}

/// One condition.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition<F> {
    /// Some text field holds it, without regard to case.
    Anywhere(Pattern),
    /// A text field passes a test.
    Text {
        /// The field.
        field: F,
        /// The test.
        test: TextTest,
    },
    /// A number compares so.
    Number {
        /// The field.
        field: F,
        /// How.
        comparison: Comparison,
        /// To what. Finite.
        value: f64,
    },
    /// A flag is so.
    Flag {
        /// The field.
        field: F,
        /// How.
        value: bool,
    },
    /// A time compares so.
    Time {
        /// The field.
        field: F,
        /// How.
        comparison: Comparison,
        /// To what.
        value: Micros,
    },
    /// The field is there and, when text, not empty.
    Present(F),
    /// A dict has that entry; its value, as Python's `str` writes it, is compared without regard to case, as in Flower.
    Entry {
        /// The field.
        field: F,
        /// The key, folded.
        key: Box<str>,
        /// The value, folded.
        value: Box<str>,
    },
}

/// What is asked of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextTest {
    /// It compares so, by Unicode code points.
    Compare(Comparison, Box<str>),
    /// It is the pattern.
    Like(Pattern),
    /// It holds the pattern, without regard to case.
    Holds(Pattern),
}

impl TextTest {
    /// Whether the text passes.
    pub fn passes(&self, text: &str) -> bool {
        match self {
            Self::Compare(comparison, value) => comparison.holds(text, value),
            Self::Like(pattern) => pattern.is_all_of(text),
            Self::Holds(pattern) => pattern.is_within_unfolded(text),
        }
    }
}

/// How two values compare. `!=` is the negation of `Equal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Comparison {
    /// Whether `left` compares so to `right`.
    pub fn holds<T: PartialOrd + ?Sized>(self, left: &T, right: &T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }

    /// Its sign.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

impl<F: Field> Expression<F> {
    /// True where all are; nested ones are laid flat and repeats left out.
    pub fn and(all: Vec<Self>) -> Self {
        let mut flat = Vec::with_capacity(all.len());
        for one in all {
            match one {
                Self::Everything => {}
                Self::And(inner) => inner.into_iter().for_each(|one| push_new(&mut flat, one)),
                other => push_new(&mut flat, other),
            }
        }
        match flat.pop() {
            None => Self::Everything,
            Some(only) if flat.is_empty() => only,
            Some(last) => {
                flat.push(last);
                Self::And(flat)
            }
        }
    }

    /// True where one is, of at least one; nested ones are laid flat and repeats left out.
    pub fn or(any: Vec<Self>) -> Self {
        let mut flat = Vec::with_capacity(any.len());
        for one in any {
            match one {
                Self::Everything => return Self::Everything,
                Self::Or(inner) => inner.into_iter().for_each(|one| push_new(&mut flat, one)),
                other => push_new(&mut flat, other),
            }
        }
        match flat.pop() {
            None => Self::Everything,
            Some(only) if flat.is_empty() => only,
            Some(last) => {
                flat.push(last);
                Self::Or(flat)
            }
        }
    }

    /// True where it is not.
    #[must_use]
    pub fn negated(self) -> Self {
        match self {
            Self::Not(inner) => *inner,
            other => Self::Not(Box::new(other)),
        }
    }

    /// Whether it is true of the thing.
    pub fn matches<T: Fields<Field = F>>(&self, thing: &T) -> bool {
        match self {
            Self::Everything => true,
            Self::And(all) => all.iter().all(|one| one.matches(thing)),
            Self::Or(any) => any.iter().any(|one| one.matches(thing)),
            Self::Not(inner) => !inner.matches(thing),
            Self::Is(condition) => condition.holds(thing),
        }
    }

    /// Whether one of its conditions passes the test.
    pub fn any_condition(&self, test: &dyn Fn(&Condition<F>) -> bool) -> bool {
        match self {
            Self::Everything => false,
            Self::And(inner) | Self::Or(inner) => inner.iter().any(|one| one.any_condition(test)),
            Self::Not(inner) => inner.any_condition(test),
            Self::Is(condition) => test(condition),
        }
    }
}

fn push_new<F: Field>(flat: &mut Vec<Expression<F>>, one: Expression<F>) {
    if !flat.contains(&one) {
        flat.push(one);
    }
}

impl<F: Field> Condition<F> {
    /// Its field; `None` for a bare word.
    pub fn field(&self) -> Option<F> {
        match self {
            Self::Anywhere(_) => None,
            Self::Text { field, .. }
            | Self::Number { field, .. }
            | Self::Flag { field, .. }
            | Self::Time { field, .. }
            | Self::Present(field)
            | Self::Entry { field, .. } => Some(*field),
        }
    }

    fn holds<T: Fields<Field = F>>(&self, thing: &T) -> bool {
        match self {
            Self::Anywhere(pattern) => F::ALL
                .iter()
                .filter(|field| field.kind().is_text())
                .any(|field| thing.any_text(*field, &mut |text| pattern.is_within(&fold(text)))),
            Self::Text { field, test } => thing.any_text(*field, &mut |text| test.passes(text)),
            Self::Number {
                field,
                comparison,
                value,
            } => thing
                .number(*field)
                .is_some_and(|number| comparison.holds(&number, value)),
            Self::Flag { field, value } => thing.flag(*field) == Some(*value),
            Self::Time {
                field,
                comparison,
                value,
            } => thing
                .time(*field)
                .is_some_and(|time| comparison.holds(&time, value)),
            Self::Present(field) => match field.kind() {
                Kind::Text | Kind::Word { .. } | Kind::Map => {
                    thing.any_text(*field, &mut |text| !text.is_empty())
                }
                Kind::Number | Kind::Seconds => thing.number(*field).is_some(),
                Kind::Flag => thing.flag(*field).is_some(),
                Kind::Time => thing.time(*field).is_some(),
            },
            Self::Entry { field, key, value } => {
                thing.any_text(*field, &mut |text| python::has_entry(text, key, value))
            }
        }
    }
}

/// As AIP-160 that reads back as the same expression.
impl<F: Field> Display for Expression<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => Ok(()),
            Self::And(all) => joined(f, all, " AND "),
            Self::Or(any) => joined(f, any, " OR "),
            Self::Not(inner) => {
                f.write_str("NOT ")?;
                operand(f, inner)
            }
            Self::Is(condition) => condition.fmt(f),
        }
    }
}

fn joined<F: Field>(
    f: &mut fmt::Formatter<'_>,
    operands: &[Expression<F>],
    operator: &str,
) -> fmt::Result {
    for (index, one) in operands.iter().enumerate() {
        if index > 0 {
            f.write_str(operator)?;
        }
        operand(f, one)?;
    }
    Ok(())
}

fn operand<F: Field>(f: &mut fmt::Formatter<'_>, one: &Expression<F>) -> fmt::Result {
    match one {
        Expression::Everything => f.write_str("*"),
        Expression::And(_) | Expression::Or(_) => write!(f, "({one})"),
        _ => one.fmt(f),
    }
}

impl<F: Field> Display for Condition<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anywhere(pattern) => pattern.fmt(f),
            Self::Text { field, test } => match test {
                TextTest::Compare(comparison, value) => {
                    write!(
                        f,
                        "{} {} {}",
                        field.name(),
                        comparison.as_str(),
                        quoted(value)
                    )
                }
                TextTest::Like(pattern) => write!(f, "{} = {pattern}", field.name()),
                TextTest::Holds(pattern) => write!(f, "{}:{pattern}", field.name()),
            },
            Self::Number {
                field,
                comparison,
                value,
            } => {
                write!(f, "{} {} {value}", field.name(), comparison.as_str())
            }
            Self::Flag { field, value } => write!(f, "{} = {value}", field.name()),
            Self::Time {
                field,
                comparison,
                value,
            } => {
                write!(f, "{} {} ", field.name(), comparison.as_str())?;
                match jiff::Timestamp::from_microsecond(*value) {
                    Ok(time) => write!(f, "\"{time}\""),
                    Err(_) => write!(f, "\"{value}\""),
                }
            }
            Self::Present(field) => write!(f, "{}:*", field.name()),
            Self::Entry { field, key, value } => {
                write!(f, "{}.{}:{}", field.name(), quoted(key), quoted(value))
            }
        }
    }
}
