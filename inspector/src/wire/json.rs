//! JSON as Python's `json.dumps` writes it, which is more than the standard allows: `NaN`, `Infinity`, lone surrogates,
//! integers of any size. Reads it strictly or mends it, and says what was mended; never recurses on foreign input.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

mod bound;
mod cursor;
mod object;
mod repair;
#[cfg(test)]
mod tests;
mod text;

pub use bound::{TEXT_BYTES_MAX, bounded_json, bounded_json_to, bounded_text};
pub(in crate::wire) use cursor::Cursor;
pub use object::{FIELDS_MAX, List, Object, boolean, float, integer, string, unsigned};
pub use text::{MaybeText, Text};

use repair::Scan;

/// Deepest nesting that is read: what `serde_json` accepts too.
pub const DEPTH_MAX: usize = 127;

/// Why a text cannot be read as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// No JSON, not even as Python writes it.
    #[error("not JSON")]
    Syntax,
    /// Deeper than [`DEPTH_MAX`].
    #[error("nested deeper than 127 levels")]
    TooDeep,
}

/// A text made fit for a strict parser, and where it was mended.
///
/// Bare `NaN`, `Infinity` and `-Infinity`, and numbers beyond the range of a double, became `null`; lone surrogate
/// escapes and invalid UTF-8 inside strings became U+FFFD. It is not yet known to be JSON.
pub struct Document<'a> {
    text: Cow<'a, str>,
    marks: Vec<usize>,
    depth: usize,
}

impl<'a> Document<'a> {
    /// Mends `bytes`; borrows when nothing is to be mended.
    ///
    /// # Errors
    /// [`JsonError::Syntax`] when there is invalid UTF-8 outside of strings.
    pub fn read(bytes: &'a [u8]) -> Result<Self, JsonError> {
        Scan::new(bytes).run().into_document()
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text, owned.
    pub fn into_text(self) -> String {
        self.text.into_owned()
    }

    /// Whether anything was mended.
    pub fn mended(&self) -> bool {
        !self.marks.is_empty()
    }

    /// Whether anything was mended in `part`, a slice of [`Document::text`].
    pub fn mended_in(&self, part: &str) -> bool {
        if self.marks.is_empty() {
            return false;
        }
        let Some(from) = part.as_ptr().addr().checked_sub(self.text.as_ptr().addr()) else {
            return false;
        };
        let first = self.marks.partition_point(|mark| *mark < from);
        self.marks
            .get(first)
            .is_some_and(|mark| *mark < from + part.len())
    }

    /// Deepest nesting of arrays and objects.
    pub fn depth(&self) -> usize {
        self.depth
    }
}

/// Deepest nesting of arrays and objects in a text.
pub fn depth(text: &str) -> usize {
    Scan::new(text.as_bytes()).run().deepest()
}

/// Whether a strict parser reads `text`, a single value without blanks around it, without mending.
pub fn is_clean(text: &str) -> bool {
    // A scalar without escapes, and short enough for a number to be in range, needs no scan.
    let scalar = !text.starts_with(['{', '[', 'N', 'I']) && !text.starts_with("-I");
    if scalar && text.len() < 300 && !text.contains(['\\', 'e', 'E']) {
        return true;
    }
    let scan = Scan::new(text.as_bytes()).run();
    scan.is_clean() && scan.deepest() <= DEPTH_MAX
}

/// Reads a value, strictly first, mended second; true says that it was mended.
///
/// Integers beyond 64 bits come as the nearest double.
///
/// # Errors
/// When it is no JSON, or nested too deep.
pub fn value(bytes: &[u8]) -> Result<(Value, bool), JsonError> {
    if let Ok(value) = serde_json::from_slice(bytes) {
        return Ok((value, false));
    }
    let document = Document::read(bytes)?;
    if document.depth() > DEPTH_MAX {
        return Err(JsonError::TooDeep);
    }
    match serde_json::from_str(document.text()) {
        Ok(value) => Ok((value, document.mended())),
        Err(_) => Err(JsonError::Syntax),
    }
}

/// Whether `text` is one JSON value and nothing else.
pub fn is_json(text: &str) -> bool {
    let mut reader = serde_json::Deserializer::from_str(text);
    serde::de::IgnoredAny::deserialize(&mut reader).is_ok() && reader.end().is_ok()
}
