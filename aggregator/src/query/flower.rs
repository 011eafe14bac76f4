//! Flower's search (2.1 and later): its grammar, its limits and its error texts (`flower/utils/search.py`).
//!
//! One difference: a bare term is looked for in all text fields, exceptions, queues and ids of the workflow among them;
//! Flower looks at seven.

use pest::Parser;
use pest::iterators::Pair;

use super::CHARACTERS_MAX;
use super::error::{Part, QueryError};
use super::expression::{Comparison, Condition, Expression, TextTest};
use super::pattern::Pattern;
use super::task::TaskField;
use super::text::fold;

/// `MAX_QUERY_TOKENS`.
const TOKENS_MAX: usize = 128;
/// `MAX_QUERY_DEPTH`.
const DEPTH_MAX: usize = 5;
/// `MIN_SUBSTRING_LENGTH`.
const SUBSTRING_MIN: usize = 3;

#[derive(pest_derive::Parser)]
#[grammar = "query/flower.pest"]
struct Grammar;

type Search = Result<Expression<TaskField>, QueryError>;

/// Parses a search. An empty one is everything.
pub(super) fn parse(text: &str) -> Search {
    let text = text.trim();
    if text.chars().count() > CHARACTERS_MAX {
        let text = format!("Query exceeds {CHARACTERS_MAX} characters");
        return Err(QueryError::limit(Part::Search, text, None));
    }
    let tokens = tokens(text)?;
    if tokens.is_empty() {
        return Ok(Expression::Everything);
    }
    let mut terms = Terms {
        tokens: &tokens,
        index: 0,
    };
    let expression = terms.any(0)?;
    match terms.current() {
        None => Ok(expression),
        Some(token) => Err(unexpected(token)),
    }
}

struct Token {
    kind: TokenKind,
    text: String,
    position: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum TokenKind {
    Left,
    Right,
    And,
    Or,
    Term,
}

fn error(text: impl Into<String>, position: usize) -> QueryError {
    QueryError::syntax(Part::Search, text, position)
}

fn unexpected(token: &Token) -> QueryError {
    error(format!("Unexpected '{}'", token.text), token.position)
}

fn tokens(text: &str) -> Result<Vec<Token>, QueryError> {
    let pairs = Grammar::parse(Rule::tokens, text)
        .map_err(|_| error("Expected a search term", 0))?
        .flat_map(Pair::into_inner);
    let mut tokens = Vec::new();
    let mut counted = (0, 0);
    for pair in pairs {
        let start = pair.as_span().start();
        counted = (start, counted.1 + text[counted.0..start].chars().count());
        let position = counted.1;
        let kind = match pair.as_rule() {
            Rule::left => TokenKind::Left,
            Rule::right => TokenKind::Right,
            Rule::term => TokenKind::Term,
            _ => continue,
        };
        tokens.push(if kind == TokenKind::Term {
            term_token(pair, position)?
        } else {
            Token {
                kind,
                text: pair.as_str().to_owned(),
                position,
            }
        });
        if tokens.len() > TOKENS_MAX {
            let text = format!("Query exceeds {TOKENS_MAX} tokens");
            return Err(QueryError::limit(Part::Search, text, None));
        }
    }
    Ok(tokens)
}

fn term_token(pair: Pair<'_, Rule>, position: usize) -> Result<Token, QueryError> {
    let mut text = String::new();
    let mut quoted = false;
    for part in pair.into_inner() {
        match part.as_rule() {
            Rule::open => return Err(error("Unterminated quoted phrase", position)),
            Rule::phrase => {
                quoted = true;
                part.into_inner()
                    .for_each(|letter| text.push_str(unescaped(&letter)));
            }
            _ => text.push_str(unescaped(&part)),
        }
    }
    let kind = match text.as_str() {
        "" => return Err(error("Empty search term", position)),
        "NOT" if !quoted => return Err(error("NOT is not supported", position)),
        "AND" if !quoted => TokenKind::And,
        "OR" if !quoted => TokenKind::Or,
        _ => TokenKind::Term,
    };
    Ok(Token {
        kind,
        text,
        position,
    })
}

fn unescaped<'t>(letter: &Pair<'t, Rule>) -> &'t str {
    let text = letter.as_str();
    if letter.as_rule() == Rule::escape {
        &text[1..]
    } else {
        text
    }
}

struct Terms<'t> {
    tokens: &'t [Token],
    index: usize,
}

impl<'t> Terms<'t> {
    fn current(&self) -> Option<&'t Token> {
        self.tokens.get(self.index)
    }

    fn current_kind(&self) -> Option<TokenKind> {
        self.current().map(|token| token.kind)
    }

    /// Whether a term or a group can begin here.
    fn begins(&self) -> bool {
        matches!(self.current_kind(), Some(TokenKind::Term | TokenKind::Left))
    }

    fn any(&mut self, depth: usize) -> Search {
        let mut children = vec![self.all(depth)?];
        while let Some(operator) = self.current().filter(|token| token.kind == TokenKind::Or) {
            self.index += 1;
            if !self.begins() {
                return Err(error(
                    "OR must be followed by a search term",
                    operator.position,
                ));
            }
            children.push(self.all(depth)?);
        }
        Ok(Expression::or(children))
    }

    fn all(&mut self, depth: usize) -> Search {
        let mut children = vec![self.one(depth)?];
        while let Some(token) = self.current() {
            match token.kind {
                TokenKind::Right | TokenKind::Or => break,
                TokenKind::And => {
                    self.index += 1;
                    if !self.begins() {
                        return Err(error(
                            "AND must be followed by a search term",
                            token.position,
                        ));
                    }
                }
                TokenKind::Term | TokenKind::Left => {}
            }
            children.push(self.one(depth)?);
        }
        Ok(Expression::and(children))
    }

    fn one(&mut self, depth: usize) -> Search {
        let end = self
            .tokens
            .last()
            .map_or(0, |last| last.position + last.text.chars().count());
        let Some(token) = self.current() else {
            return Err(error("Expected a search term", end));
        };
        match token.kind {
            TokenKind::Left => {
                if depth >= DEPTH_MAX {
                    let text = format!("Query nesting exceeds {DEPTH_MAX} levels");
                    return Err(QueryError::limit(Part::Search, text, Some(token.position)));
                }
                self.index += 1;
                if self.current_kind() == Some(TokenKind::Right) {
                    return Err(error("Empty group", token.position));
                }
                let inner = self.any(depth + 1)?;
                if self.current_kind() != Some(TokenKind::Right) {
                    return Err(error("Missing closing parenthesis", token.position));
                }
                self.index += 1;
                Ok(inner)
            }
            TokenKind::Term => {
                self.index += 1;
                term(token)
            }
            _ => Err(error("Expected a search term", token.position)),
        }
    }
}

fn field(name: &str) -> Option<TaskField> {
    match fold(name).as_ref() {
        "name" => Some(TaskField::Name),
        "state" => Some(TaskField::State),
        "worker" => Some(TaskField::Worker),
        "args" => Some(TaskField::Args),
        "kwargs" => Some(TaskField::Kwargs),
        "result" => Some(TaskField::Result),
        _ => None,
    }
}

fn term(token: &Token) -> Search {
    let qualified = token
        .text
        .split_once(':')
        .and_then(|(name, value)| field(name).map(|field| (field, value)));
    let (field, value) = match qualified {
        Some((field, value)) => (Some(field), value),
        None => (None, token.text.as_str()),
    };
    if field.is_none() && value.starts_with('-') {
        return Err(error("Negation with '-' is not supported", token.position));
    }
    if value.is_empty() {
        return Err(error("Search qualifier requires a value", token.position));
    }
    if field == Some(TaskField::State) {
        // Celery's states are in upper case, so this compares without regard to case.
        let test = TextTest::Compare(Comparison::Equal, value.to_uppercase().into());
        return Ok(Expression::Is(Condition::Text {
            field: TaskField::State,
            test,
        }));
    }
    if let (Some(field @ TaskField::Kwargs), Some((key, value))) = (field, value.split_once('=')) {
        let (key, value) = (fold(key.trim()).into(), fold(value.trim()).into());
        return Ok(Expression::Is(Condition::Entry { field, key, value }));
    }
    if value.trim().chars().count() < SUBSTRING_MIN {
        let text =
            format!("Substring search terms must contain at least {SUBSTRING_MIN} characters");
        return Err(error(text, token.position));
    }
    let pattern = Pattern::literal(&fold(value));
    Ok(Expression::Is(match field {
        Some(field) => Condition::Text {
            field,
            test: TextTest::Holds(pattern),
        },
        None => Condition::Anywhere(pattern),
    }))
}
