//! Arguments of tasks whose names are those of secrets: their values go no further than here. What is read are Python `repr`s
//! and JSON; a positional argument has no name, and cannot be told from any other.

use serde_json::Value;

use super::json;
use super::pidbox::MASK;

/// Parts of names of arguments that are hidden. Fewer than of settings: `key` and `api` are ordinary arguments.
const HIDDEN: [&str; 10] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "credential",
    "authorization",
    "apikey",
    "privatekey",
    "accesskey",
];

/// One of these is in every name with one of those, so that of other names nothing is copied.
const HINTS: [&[u8]; 6] = [
    b"pass",
    b"secret",
    b"token",
    b"credential",
    b"authorization",
    b"key",
];

/// Texts of which nothing can be learnt.
const EMPTY: [&str; 4] = ["None", "null", "''", "\"\""];

/// A `repr` with the value of every argument masked that has the name of a secret, at whatever depth; nothing when there is
/// none. Of a value that is cut all that is there is masked.
pub fn masked(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut masked = String::new();
    let (mut copied, mut from) = (0, 0);
    while let Some(at) = memchr::memchr(b':', &bytes[from..]) {
        let colon = from + at;
        from = colon + 1;
        let Some((name, quote)) = name_before(text, colon) else {
            continue;
        };
        if !is_secret(name) {
            continue;
        }
        let blanks = bytes[from..].iter().take_while(|byte| **byte == b' ');
        let begin = from + blanks.count();
        let end = begin + value_length(&bytes[begin..]);
        if EMPTY.contains(&&text[begin..end]) {
            continue;
        }
        for part in [&text[copied..begin], quote, MASK, quote] {
            masked.push_str(part);
        }
        (copied, from) = (end, end);
    }
    if copied == 0 {
        return None;
    }
    masked.push_str(&text[copied..]);
    Some(masked)
}

/// JSON with the same masked, also within its strings; nothing when there is none.
pub fn masked_json(raw: &str) -> Option<String> {
    // Of nearly every one that is all.
    let text = masked(raw)?;
    let Ok((mut value, _)) = json::value(raw.as_bytes()) else {
        return Some(text);
    };
    mask(&mut value);
    Some(value.to_string())
}

/// Recursion is bounded: the parser refuses deep nesting.
fn mask(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some(masked) = masked(text) {
                *text = masked;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::Object(fields) => {
            for (name, value) in fields {
                if is_secret(name) && !value.is_null() && value != "" {
                    *value = MASK.into();
                } else {
                    mask(value);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The quoted name that ends before a colon, and its quote, which has a backslash where JSON stands in JSON.
fn name_before(text: &str, colon: usize) -> Option<(&str, &str)> {
    let before = text[..colon].trim_end_matches(' ');
    let quote = ["\\\"", "\"", "'"]
        .into_iter()
        .find(|quote| before.ends_with(quote))?;
    let before = &before[..before.len() - quote.len()];
    let name = &before[before.rfind(quote)? + quote.len()..];
    Some((name, quote))
}

/// Whether an argument's name is that of a secret. Counts of tokens are none.
fn is_secret(name: &str) -> bool {
    let has = |hint: &&[u8]| {
        let mut parts = name.as_bytes().windows(hint.len());
        parts.any(|part| part.eq_ignore_ascii_case(hint))
    };
    if !HINTS.iter().any(has) {
        return false;
    }
    let plain = name.chars().filter(|c| !matches!(c, '_' | '-' | ' '));
    let plain: String = plain.map(|c| c.to_ascii_lowercase()).collect();
    let plain = plain.replace("tokens", "");
    HIDDEN.iter().any(|part| plain.contains(part))
}

/// How long a value is: up to the comma or the bracket that ends it.
fn value_length(bytes: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' if matches!(bytes.get(at + 1), Some(b'"')) => {
                at += escaped_string_length(&bytes[at..]);
                continue;
            }
            b'"' | b'\'' => {
                at += string_length(&bytes[at..], *byte);
                continue;
            }
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' | b',' if depth == 0 => break,
            b')' | b']' | b'}' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    at.min(bytes.len())
}

/// A string with its quotes; to the end of one that is cut.
fn string_length(bytes: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match *byte {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The same of a string of JSON that stands in another string: `\"…\"`.
fn escaped_string_length(bytes: &[u8]) -> usize {
    let mut at = 2;
    while let Some(byte) = bytes.get(at) {
        at += match (byte, bytes.get(at + 1), bytes.get(at + 2)) {
            (b'\\', Some(b'"'), _) => return at + 2,
            // What is escaped in that string: a quote or a backslash, or one character.
            (b'\\', Some(b'\\'), Some(b'\\')) => 4,
            (b'\\', Some(b'\\'), _) => 3,
            _ => 1,
        };
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn check(text: &str, expect: &str) {
        assert_eq!(masked(text).unwrap_or_else(|| text.to_owned()), expect);
    }

    #[test]
    fn values_under_the_name_of_a_secret_are_masked_and_others_are_not() {
        check("{'id': 3, 'note': 'a: b'}", "{'id': 3, 'note': 'a: b'}");
        check(
            "{'user': 'ann', 'password': 'pw', 'id': 3}",
            "{'user': 'ann', 'password': '********', 'id': 3}",
        );
        check(
            r#"({'apiKey': b'x\'y', "auth-token": "a, b"}, 7)"#,
            r#"({'apiKey': '********', "auth-token": "********"}, 7)"#,
        );
        check(
            "{'credentials': {'user': 'a', 'key': ['b', Secret('c')]}, 'n': 1}",
            "{'credentials': '********', 'n': 1}",
        );
        check("{'token': 12345}", "{'token': '********'}");
        check("{'max_tokens': 512}", "{'max_tokens': 512}");
        check("{'password': None}", "{'password': None}");
        check("{'password': ''}", "{'password': ''}");
        check("{'key': 'invoices/7'}", "{'key': 'invoices/7'}");
    }

    #[test]
    fn every_hidden_name_is_hinted_at() {
        for part in HIDDEN {
            assert!(is_secret(part) && is_secret(&part.to_uppercase()), "{part}");
        }
        assert!(is_secret("X-Api-Key") && is_secret("private_key"));
        assert!(!is_secret("key") && !is_secret("passenger") && !is_secret("max_tokens"));
    }

    #[test]
    fn of_a_text_that_is_cut_nothing_of_the_secret_is_left() {
        check("{'password': 'hunt...", "{'password': '********'");
        check("{'password': {'a': ['b', ...", "{'password': '********'");
        check("{'password': ", "{'password': '********'");
        check("{'password':", "{'password':'********'");
        check("{'passw...", "{'passw...");
    }

    #[test]
    fn json_stays_json_and_what_stands_in_its_strings_is_read_too() {
        let value = json!({"user": "a", "password": "b\"c\\", "deep": [{"secret": [1, "}"]}], "token": null});
        let hidden =
            json!({"user": "a", "password": MASK, "deep": [{"secret": MASK}], "token": null});
        let read = |text: &str| -> Value { serde_json::from_str(text).expect("it is JSON") };
        let found = masked_json(&value.to_string()).expect("there is a secret");
        assert_eq!(read(&found), hidden);
        let python = json!(r#"{'password': 'b\'c"d', 'x': "y"}"#).to_string();
        let found = read(&masked_json(&python).expect("there is a secret"));
        assert_eq!(found, json!(r#"{'password': '********', 'x': "y"}"#));
        let inside = json!({"body": value.to_string()}).to_string();
        let found = read(&masked_json(&inside).expect("there is a secret"));
        assert_eq!(read(found["body"].as_str().expect("a string")), hidden);
        assert_eq!(masked_json(r#"{"note": "a: b", "max_tokens": 5}"#), None);
    }

    proptest! {
        /// As Python writes a text that JSON in it has been written to.
        #[test]
        fn whatever_the_secret_is_nothing_of_it_is_left_and_all_else_is(
            secret in "[^*]{8,20}", deep in any::<bool>(), twice in any::<bool>(),
        ) {
            let of = |secret: &str| {
                let secret = if deep { json!([{"x": secret}, 1]) } else { json!(secret) };
                let value = json!({"a": 1, "password": secret, "z": [2]}).to_string();
                if twice { json!(value).to_string() } else { value }
            };
            let found = masked(&of(&secret)).expect("there is a secret");
            let empty = json!({"a": 1, "password": MASK, "z": [2]}).to_string();
            prop_assert_eq!(found, if twice { json!(empty).to_string() } else { empty });
        }

        #[test]
        fn anything_can_be_read(text in ".{0,80}", more in "[\\\\'\":{}(), passwordtoken]{0,60}") {
            for text in [text, more] {
                let _ = (masked(&text), masked_json(&text));
            }
        }
    }
}
