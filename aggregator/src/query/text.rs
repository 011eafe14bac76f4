//! Letters without their case.

use std::borrow::Cow;

/// The text in lower case, character by character, so that a part of a text folds to a part of the folded text (which
/// `str::to_lowercase` does not promise for a final sigma).
pub(super) fn fold(text: &str) -> Cow<'_, str> {
    if text
        .bytes()
        .all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase())
    {
        return Cow::Borrowed(text);
    }
    if text.is_ascii() {
        return Cow::Owned(text.to_ascii_lowercase());
    }
    Cow::Owned(text.chars().flat_map(char::to_lowercase).collect())
}

/// Writes a text as AIP-160 quotes it, so that it reads back as it was; `*` would be a wildcard.
pub(super) fn quote_into(out: &mut String, text: &str) {
    for letter in text.chars() {
        if matches!(letter, '"' | '\\' | '*') {
            out.push('\\');
        }
        out.push(letter);
    }
}

/// The text in quotes.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    quote_into(&mut out, text);
    out.push('"');
    out
}
