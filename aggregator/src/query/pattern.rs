//! Text with wildcards.

use std::fmt;

use super::text::{fold, quote_into};

/// Parts of a text with anything between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// Never empty. An empty first or last part stands for a wildcard at that end; inner ones are not empty.
    parts: Vec<Box<str>>,
}

impl Pattern {
    /// A text without wildcards.
    pub fn literal(text: &str) -> Self {
        Self {
            parts: vec![text.into()],
        }
    }

    /// From the parts between the wildcards: one more than there are wildcards.
    pub fn from_parts(parts: Vec<String>) -> Self {
        let last = parts.len().saturating_sub(1);
        let mut parts: Vec<Box<str>> = parts
            .into_iter()
            .enumerate()
            .filter(|(index, part)| *index == 0 || *index == last || !part.is_empty())
            .map(|(_, part)| part.into_boxed_str())
            .collect();
        if parts.is_empty() {
            parts.push(Box::default());
        }
        Self { parts }
    }

    /// The text, when there is no wildcard in it.
    pub fn as_literal(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [one] => Some(one),
            _ => None,
        }
    }

    /// Whether it is wildcards only.
    pub fn is_anything(&self) -> bool {
        self.parts.len() > 1 && self.parts.iter().all(|part| part.is_empty())
    }

    /// The pattern for [`Pattern::is_within`]: without regard to case, wildcards at the ends left out. `None` when no
    /// letter is left.
    pub fn within(&self) -> Option<Self> {
        let parts: Vec<Box<str>> = self
            .parts
            .iter()
            .filter(|part| !part.is_empty())
            .map(|part| fold(part).into())
            .collect();
        (!parts.is_empty()).then_some(Self { parts })
    }

    /// Whether it is all of the text, letter by letter.
    pub fn is_all_of(&self, text: &str) -> bool {
        let Some((first, rest)) = self.parts.split_first() else {
            return false;
        };
        let Some((last, middle)) = rest.split_last() else {
            return text == &**first;
        };
        let Some(text) = text.strip_prefix(&**first) else {
            return false;
        };
        // The last part is taken from the end, so that the leftmost place for each inner part is the best one.
        let Some(text) = text.strip_suffix(&**last) else {
            return false;
        };
        found_in_order(middle, text)
    }

    /// Whether the text holds its parts, one after another. The text must be folded.
    pub fn is_within(&self, folded: &str) -> bool {
        found_in_order(&self.parts, folded)
    }

    /// Whether any text holds it, without regard to case.
    pub fn is_within_unfolded(&self, text: &str) -> bool {
        self.is_within(&fold(text))
    }
}

fn found_in_order(parts: &[Box<str>], mut text: &str) -> bool {
    parts.iter().all(|part| match text.find(&**part) {
        Some(at) => {
            text = &text[at + part.len()..];
            true
        }
        None => false,
    })
}

/// As AIP-160 quotes it.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::from("\"");
        for (index, part) in self.parts.iter().enumerate() {
            if index > 0 {
                out.push('*');
            }
            quote_into(&mut out, part);
        }
        out.push('"');
        f.write_str(&out)
    }
}
