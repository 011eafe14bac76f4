//! Texts from workers, cut to a bound.

use super::string;

/// Longest text kept of one field, bytes. A traceback is a few KiB; what is longer is shown in part.
pub const TEXT_BYTES_MAX: usize = 64 * 1024;

/// A text of at most [`TEXT_BYTES_MAX`], cut between characters, and its full size in bytes when it was cut.
pub fn bounded_text(text: &str) -> (String, Option<u64>) {
    if text.len() <= TEXT_BYTES_MAX {
        return (text.to_owned(), None);
    }
    let cut = &text[..text.floor_char_boundary(TEXT_BYTES_MAX)];
    (cut.to_owned(), Some(text.len() as u64))
}

/// A JSON text of at most [`TEXT_BYTES_MAX`], and the full size in bytes when it was cut.
///
/// The result is always JSON: of a string that is too long the beginning, of anything else a string with the beginning of
/// its JSON text.
pub fn bounded_json(raw: &str) -> (String, Option<u64>) {
    bounded_json_to(raw, TEXT_BYTES_MAX)
}

/// As [`bounded_json`], with another bound.
pub fn bounded_json_to(raw: &str, bytes_max: usize) -> (String, Option<u64>) {
    if raw.len() <= bytes_max {
        return (raw.to_owned(), None);
    }
    let decoded = string(raw);
    let text = decoded.as_deref().unwrap_or(raw);
    let mut length = bytes_max;
    loop {
        // Escapes make a text up to six times as long.
        let cut = &text[..text.floor_char_boundary(length)];
        let encoded = serde_json::Value::from(cut).to_string();
        if encoded.len() <= bytes_max {
            return (encoded, Some(text.len() as u64));
        }
        length = length * bytes_max / encoded.len();
    }
}
