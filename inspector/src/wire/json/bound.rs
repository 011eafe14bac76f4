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
    if raw.len() <= TEXT_BYTES_MAX {
        return (raw.to_owned(), None);
    }
    let decoded = string(raw);
    let text = decoded.as_deref().unwrap_or(raw);
    let mut length = TEXT_BYTES_MAX;
    loop {
        // Escapes make a text up to six times as long.
        let cut = &text[..text.floor_char_boundary(length)];
        let encoded = serde_json::Value::from(cut).to_string();
        if encoded.len() <= TEXT_BYTES_MAX {
            return (encoded, Some(text.len() as u64));
        }
        length = length * TEXT_BYTES_MAX / encoded.len();
    }
}
