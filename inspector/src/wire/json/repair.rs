//! One pass over a text that finds, and replaces, what a strict JSON parser refuses and Python writes.

use std::borrow::Cow;
use std::ops::Range;

use super::{Document, JsonError};

/// The longest run of digits that is surely in the range of a double, and the parser's.
const SAFE_NUMBER_LENGTH: usize = 300;

/// The pass. Copies only from the first replacement on; keeps no stack, so that depth costs nothing.
pub(super) struct Scan<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
    deepest: usize,
    /// Input up to here is in `out`, when anything is.
    copied: usize,
    out: Vec<u8>,
    /// Where in `out` the values and strings begin in which something was replaced, ascending. At most one for each
    /// string or word, so at most one for every two bytes of text.
    marks: Vec<usize>,
}

impl<'a> Scan<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self {
            text,
            at: 0,
            depth: 0,
            deepest: 0,
            copied: 0,
            out: Vec::new(),
            marks: Vec::new(),
        }
    }

    pub(super) fn run(mut self) -> Self {
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b'"' => self.string(),
                b'{' | b'[' => {
                    self.depth += 1;
                    self.deepest = self.deepest.max(self.depth);
                    self.at += 1;
                }
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    self.at += 1;
                }
                b'N' => self.word(b"NaN"),
                b'I' => self.word(b"Infinity"),
                b'-' if self.text[self.at..].starts_with(b"-I") => self.word(b"-Infinity"),
                b'-' | b'0'..=b'9' => self.number(),
                _ => self.at += 1,
            }
        }
        self
    }

    pub(super) fn deepest(&self) -> usize {
        self.deepest
    }

    pub(super) fn is_clean(&self) -> bool {
        self.marks.is_empty()
    }

    pub(super) fn into_document(mut self) -> Result<Document<'a>, JsonError> {
        let text = if self.marks.is_empty() {
            Cow::Borrowed(std::str::from_utf8(self.text).map_err(|_| JsonError::Syntax)?)
        } else {
            self.out.extend_from_slice(&self.text[self.copied..]);
            Cow::Owned(String::from_utf8(self.out).map_err(|_| JsonError::Syntax)?)
        };
        Ok(Document {
            text,
            marks: self.marks,
            depth: self.deepest,
        })
    }

    /// Where the input position will be in the output.
    fn position(&self, at: usize) -> usize {
        self.out.len() + (at - self.copied)
    }

    fn replace(&mut self, range: Range<usize>, with: &[u8], mark: usize) {
        if self.out.is_empty() {
            self.out.reserve(self.text.len());
        }
        self.out
            .extend_from_slice(&self.text[self.copied..range.start]);
        self.out.extend_from_slice(with);
        self.copied = range.end;
        if self.marks.last() != Some(&mark) {
            self.marks.push(mark);
        }
    }

    fn word(&mut self, word: &[u8]) {
        let start = self.at;
        if self.text[start..].starts_with(word) {
            self.at += word.len();
            let mark = self.position(start);
            self.replace(start..self.at, b"null", mark);
        } else {
            self.at += 1;
        }
    }

    fn number(&mut self) {
        let start = self.at;
        let rest = &self.text[start..];
        let length = rest
            .iter()
            .position(|byte| !matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'))
            .unwrap_or(rest.len());
        let token = &rest[..length];
        self.at += length;
        if length < SAFE_NUMBER_LENGTH && !token.iter().any(|byte| matches!(byte, b'e' | b'E')) {
            return;
        }
        let number: Option<f64> = std::str::from_utf8(token)
            .ok()
            .and_then(|token| token.parse().ok());
        if number.is_some_and(f64::is_infinite) {
            let mark = self.position(start);
            self.replace(start..self.at, b"null", mark);
        }
    }

    fn string(&mut self) {
        let mark = self.position(self.at);
        self.at += 1;
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b'"' => {
                    self.at += 1;
                    return;
                }
                b'\\' => self.escape(mark),
                0x80.. => self.beyond_ascii(mark),
                _ => self.at += 1,
            }
        }
    }

    fn escape(&mut self, mark: usize) {
        let start = self.at;
        let (length, lone) = match self.escaped_unit(start) {
            None => (2, false),
            Some(0xD800..=0xDBFF) => match self.escaped_unit(start + 6) {
                Some(0xDC00..=0xDFFF) => (12, false),
                _ => (6, true),
            },
            Some(0xDC00..=0xDFFF) => (6, true),
            Some(_) => (6, false),
        };
        self.at += length;
        if lone {
            self.replace(start..self.at, b"\\ufffd", mark);
        }
    }

    /// The UTF-16 unit that a `\uXXXX` at this position stands for.
    fn escaped_unit(&self, at: usize) -> Option<u16> {
        let digits = self.text.get(at..at + 6)?.strip_prefix(b"\\u")?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    }

    /// A run of bytes that are not ASCII: kept when they are UTF-8.
    fn beyond_ascii(&mut self, mark: usize) {
        let text = self.text;
        let rest = &text[self.at..];
        let length = rest.iter().position(u8::is_ascii).unwrap_or(rest.len());
        let run = &rest[..length];
        if std::str::from_utf8(run).is_ok() {
            self.at += length;
            return;
        }
        for chunk in run.utf8_chunks() {
            self.at += chunk.valid().len();
            if !chunk.invalid().is_empty() {
                let start = self.at;
                self.at += chunk.invalid().len();
                self.replace(start..self.at, "\u{fffd}".as_bytes(), mark);
            }
        }
    }
}
