//! AIP-160: the strict filter language.
//!
//! `field = value` with `= != < > <= >=`, `field:value` ("has": a text holds it, without regard to case), `field:*`
//! (present), `kwargs.key:value` (a dict's entry), `AND`, `OR` (binding tighter), `NOT` and `-`, parentheses, also on
//! the right (`state = (FAILURE OR RETRY)`), and bare words, which search all text fields. `*` is a wildcard in `=`,
//! `!=`, `:` and bare words; `\*` is a star.

use pest::Parser;
use pest::error::InputLocation;
use pest::iterators::Pair;

use super::error::{Part, Problem, QueryError};
use super::expression::{Comparison, Condition, Expression, TextTest};
use super::field::{Field, Kind};
use super::pattern::Pattern;
use super::text::fold;
use super::{CHARACTERS_MAX, DEPTH_MAX};

#[derive(pest_derive::Parser)]
#[grammar = "query/aip160.pest"]
struct Grammar;

/// Parses a filter. An empty one is everything.
pub(super) fn parse<F: Field>(text: &str) -> Result<Expression<F>, QueryError> {
    check_limits(text)?;
    let mut pairs = Grammar::parse(Rule::filter, text).map_err(|error| {
        let at = match error.location {
            InputLocation::Pos(at) | InputLocation::Span((at, _)) => at,
        };
        let found = match text[at..].chars().next() {
            Some(letter) => format!("Unexpected '{letter}'"),
            None => "Unexpected end".to_owned(),
        };
        QueryError::syntax(Part::Filter, found, position(text, at))
    })?;
    let expression = pairs.next().and_then(|filter| {
        filter
            .into_inner()
            .find(|pair| pair.as_rule() == Rule::expression)
    });
    match expression {
        Some(pair) => Reader {
            text,
            subject: None,
        }
        .expression(pair),
        None => Ok(Expression::Everything),
    }
}

/// Refuses what would cost the parser too much, before it starts: it recurses with every parenthesis.
fn check_limits(text: &str) -> Result<(), QueryError> {
    if text.chars().count() > CHARACTERS_MAX {
        let text = format!("Filter exceeds {CHARACTERS_MAX} characters");
        return Err(QueryError::limit(Part::Filter, text, None));
    }
    let mut depth = 0_usize;
    let mut quote = None;
    let mut letters = text.chars().enumerate();
    while let Some((at, letter)) = letters.next() {
        match (quote, letter) {
            (Some(_), '\\') => drop(letters.next()),
            (Some((open, _)), letter) if letter == open => quote = None,
            (None, '"' | '\'') => quote = Some((letter, at)),
            (None, '(') => {
                depth += 1;
                if depth > DEPTH_MAX {
                    let text = format!("Filter nesting exceeds {DEPTH_MAX} levels");
                    return Err(QueryError::limit(Part::Filter, text, Some(at)));
                }
            }
            (None, ')') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    match quote {
        Some((_, at)) => Err(QueryError::syntax(
            Part::Filter,
            "Unterminated quoted text",
            at,
        )),
        None => Ok(()),
    }
}

fn position(text: &str, byte: usize) -> usize {
    text[..byte].chars().count()
}

/// What stands left of a value.
#[derive(Clone)]
struct Subject<F> {
    field: F,
    /// The key of a dict's entry.
    key: Option<Box<str>>,
    operator: Operator,
}

#[derive(Clone, Copy, PartialEq)]
enum Operator {
    Compare(Comparison),
    NotEqual,
    Has,
}

impl Operator {
    fn named(sign: &str) -> Self {
        match sign {
            "=" => Self::Compare(Comparison::Equal),
            "<" => Self::Compare(Comparison::Less),
            "<=" => Self::Compare(Comparison::LessOrEqual),
            ">" => Self::Compare(Comparison::Greater),
            ">=" => Self::Compare(Comparison::GreaterOrEqual),
            "!=" => Self::NotEqual,
            _ => Self::Has,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Compare(comparison) => comparison.as_str(),
            Self::NotEqual => "!=",
            Self::Has => ":",
        }
    }
}

/// Reads parsed pairs; inside `field = ( … )` bare words are values of the subject.
struct Reader<'t, F> {
    text: &'t str,
    subject: Option<Subject<F>>,
}

type Read<F> = Result<Expression<F>, QueryError>;

impl<F: Field> Reader<'_, F> {
    fn expression(&self, pair: Pair<'_, Rule>) -> Read<F> {
        let sequences = pair.into_inner().map(|sequence| self.sequence(sequence));
        Ok(Expression::and(sequences.collect::<Result<_, _>>()?))
    }

    fn sequence(&self, pair: Pair<'_, Rule>) -> Read<F> {
        let factors = pair.into_inner().map(|factor| {
            let terms = factor.into_inner().map(|term| self.term(term));
            Ok(Expression::or(terms.collect::<Result<_, _>>()?))
        });
        Ok(Expression::and(factors.collect::<Result<_, _>>()?))
    }

    fn term(&self, pair: Pair<'_, Rule>) -> Read<F> {
        let mut negated = false;
        let mut read = Expression::Everything;
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::negation => negated = true,
                Rule::composite => read = self.composite(part)?,
                _ => read = self.restriction(part)?,
            }
        }
        Ok(if negated { read.negated() } else { read })
    }

    fn composite(&self, pair: Pair<'_, Rule>) -> Read<F> {
        match pair.into_inner().next() {
            Some(expression) => self.expression(expression),
            None => Ok(Expression::Everything),
        }
    }

    fn restriction(&self, pair: Pair<'_, Rule>) -> Read<F> {
        let at = position(self.text, pair.as_span().start());
        let mut parts = pair.into_inner();
        let (Some(first), second, third) = (parts.next(), parts.next(), parts.next()) else {
            return Err(self.unexpected(at));
        };
        let (Some(comparator), Some(arg)) = (second, third) else {
            let literal = Literal::read(first);
            return match &self.subject {
                Some(subject) => subject.condition(&literal, at),
                None => anywhere(&literal, at),
            };
        };
        if self.subject.is_some() {
            let text = "Expected a value, not a comparison";
            return Err(QueryError::syntax(Part::Filter, text, at));
        }
        let subject = Self::subject(first, Operator::named(comparator.as_str()), at)?;
        let at = position(self.text, arg.as_span().start());
        match arg.into_inner().next() {
            Some(group) if group.as_rule() == Rule::composite => Reader {
                text: self.text,
                subject: Some(subject),
            }
            .composite(group),
            Some(literal) => subject.condition(&Literal::read(literal), at),
            None => Err(self.unexpected(at)),
        }
    }

    /// The grammar gives every rule its parts; this is the answer if it ever did not.
    fn unexpected(&self, at: usize) -> QueryError {
        let letter = self.text.chars().nth(at).unwrap_or(' ');
        QueryError::syntax(Part::Filter, format!("Unexpected '{letter}'"), at)
    }

    fn subject(
        member: Pair<'_, Rule>,
        operator: Operator,
        at: usize,
    ) -> Result<Subject<F>, QueryError> {
        let written = member.as_str().to_owned();
        let mut parts = member.into_inner();
        let name = parts.next().map_or("", |word| word.as_str());
        let quoted_key = parts.next().map(|quoted| Literal::read(quoted).text());
        if let (Some(field), None) = (F::named(name), &quoted_key) {
            return Ok(Subject {
                field,
                key: None,
                operator,
            });
        }
        if let Some((name, key)) = name.split_once('.') {
            let field = F::named(name).filter(|field| field.kind() == Kind::Map);
            let key = match quoted_key {
                Some(quoted) if key.is_empty() => quoted,
                Some(_) => String::new(),
                None => key.to_owned(),
            };
            if let (Some(field), false) = (field, key.is_empty()) {
                let key = Some(fold(&key).into());
                return Ok(Subject {
                    field,
                    key,
                    operator,
                });
            }
        }
        let known = F::ALL.iter().map(|field| field.name()).collect();
        let problem = Problem::UnknownField {
            field: written,
            known,
        };
        Err(QueryError {
            part: Part::Filter,
            problem,
            position: Some(at),
        })
    }
}

/// A value as written: letters, and wildcards between them.
struct Literal {
    parts: Vec<String>,
    quoted: bool,
}

impl Literal {
    fn read(pair: Pair<'_, Rule>) -> Self {
        let quoted = pair.as_rule() == Rule::quoted;
        let inner = if quoted {
            pair.into_inner().next().map_or("", |inner| inner.as_str())
        } else {
            pair.as_str()
        };
        let mut parts = vec![String::new()];
        let mut letters = inner.chars().peekable();
        while let Some(letter) = letters.next() {
            if letter == '*' {
                parts.push(String::new());
                continue;
            }
            let next = letters.peek().copied();
            let escaped = letter == '\\' && matches!(next, Some('*' | '\\' | '"' | '\''));
            let letter = if escaped {
                letters.next().unwrap_or(letter)
            } else {
                letter
            };
            if let Some(part) = parts.last_mut() {
                part.push(letter);
            }
        }
        Self { parts, quoted }
    }

    /// The letters, wildcards as stars.
    fn text(&self) -> String {
        self.parts.join("*")
    }

    fn pattern(&self) -> Pattern {
        Pattern::from_parts(self.parts.clone())
    }
}

fn anywhere<F: Field>(literal: &Literal, at: usize) -> Read<F> {
    let pattern = literal.pattern();
    if pattern.is_anything() {
        return Ok(Expression::Everything);
    }
    match pattern.within() {
        Some(pattern) => Ok(Expression::Is(Condition::Anywhere(pattern))),
        None => Err(QueryError::syntax(Part::Filter, "Empty search text", at)),
    }
}

impl<F: Field> Subject<F> {
    fn condition(&self, literal: &Literal, at: usize) -> Read<F> {
        let field = self.field;
        if self.key.is_none() && literal.pattern().is_anything() && self.takes_presence(literal) {
            let present = Expression::Is(Condition::Present(field));
            return Ok(if self.operator == Operator::NotEqual {
                present.negated()
            } else {
                present
            });
        }
        let (comparison, negated) = match self.operator {
            Operator::Compare(comparison) => (comparison, false),
            Operator::NotEqual => (Comparison::Equal, true),
            Operator::Has => (Comparison::Equal, false),
        };
        let condition = match field.kind() {
            Kind::Text | Kind::Word { .. } | Kind::Map => self.text(literal, comparison, at)?,
            Kind::Number | Kind::Seconds => {
                let value = self.number(literal, at)?;
                Condition::Number {
                    field,
                    comparison,
                    value,
                }
            }
            Kind::Flag => self.flag(literal, comparison, at)?,
            Kind::Time => {
                let text = literal.text();
                let time: jiff::Timestamp = text.parse().map_err(|_| {
                    self.wrong(&text, "a time such as \"2026-01-31T10:00:00Z\"", at)
                })?;
                Condition::Time {
                    field,
                    comparison,
                    value: time.as_microsecond(),
                }
            }
        };
        let read = Expression::Is(condition);
        Ok(if negated { read.negated() } else { read })
    }

    fn takes_presence(&self, literal: &Literal) -> bool {
        match self.operator {
            Operator::Has => true,
            Operator::Compare(Comparison::Equal) | Operator::NotEqual => {
                self.field.kind().is_text() || !literal.quoted
            }
            Operator::Compare(_) => false,
        }
    }

    fn text(
        &self,
        literal: &Literal,
        comparison: Comparison,
        at: usize,
    ) -> Result<Condition<F>, QueryError> {
        let field = self.field;
        let text = literal.text();
        if let Some(key) = &self.key {
            if comparison != Comparison::Equal {
                return Err(self.operator_error("= != :", at));
            }
            let key = key.clone();
            return Ok(Condition::Entry {
                field,
                key,
                value: fold(&text).into(),
            });
        }
        let pattern = literal.pattern();
        let is_word = matches!(field.kind(), Kind::Word { .. });
        self.check_word(&text, &pattern, at)?;
        let asked = match (self.operator, pattern.as_literal()) {
            (Operator::Has, Some(_)) if is_word => TextTest::Compare(comparison, text.into()),
            (Operator::Has, _) => match pattern.within() {
                Some(_) if is_word => TextTest::Like(pattern),
                Some(pattern) => TextTest::Holds(pattern),
                None => return Err(self.wrong(&text, "some text", at)),
            },
            (Operator::Compare(Comparison::Equal) | Operator::NotEqual, None) => {
                TextTest::Like(pattern)
            }
            _ => TextTest::Compare(comparison, text.into()),
        };
        Ok(Condition::Text { field, test: asked })
    }

    /// A word that the field can never have would silently match nothing.
    fn check_word(&self, text: &str, pattern: &Pattern, at: usize) -> Result<(), QueryError> {
        let Kind::Word { known, closed } = self.field.kind() else {
            return Ok(());
        };
        let unknown = closed
            && pattern
                .as_literal()
                .is_some_and(|word| !known.contains(&word));
        if unknown || text.chars().any(char::is_lowercase) {
            let more = if closed {
                ""
            } else {
                " or another word in upper case"
            };
            let expected = format!("one of {}{more}", known.join(", "));
            return Err(self.wrong(text, &expected, at));
        }
        Ok(())
    }

    fn number(&self, literal: &Literal, at: usize) -> Result<f64, QueryError> {
        let text = literal.text();
        let (digits, expected) = match self.field.kind() {
            // AIP-160 writes durations with the unit.
            Kind::Seconds => (
                text.strip_suffix('s').unwrap_or(&text),
                "a number of seconds",
            ),
            _ => (text.as_str(), "a number"),
        };
        match digits.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(value),
            _ => Err(self.wrong(&text, expected, at)),
        }
    }

    fn flag(
        &self,
        literal: &Literal,
        comparison: Comparison,
        at: usize,
    ) -> Result<Condition<F>, QueryError> {
        if comparison != Comparison::Equal {
            return Err(self.operator_error("= != :", at));
        }
        let text = literal.text();
        let value = match text.as_str() {
            "true" => true,
            "false" => false,
            _ => return Err(self.wrong(&text, "true or false", at)),
        };
        Ok(Condition::Flag {
            field: self.field,
            value,
        })
    }

    fn wrong(&self, value: &str, expected: &str, at: usize) -> QueryError {
        let problem = Problem::Value {
            field: self.field.name(),
            value: value.to_owned(),
            expected: expected.to_owned(),
        };
        QueryError {
            part: Part::Filter,
            problem,
            position: Some(at),
        }
    }

    fn operator_error(&self, allowed: &'static str, at: usize) -> QueryError {
        let problem = Problem::Operator {
            field: self.field.name(),
            operator: self.operator.as_str(),
            allowed,
        };
        QueryError {
            part: Part::Filter,
            problem,
            position: Some(at),
        }
    }
}
