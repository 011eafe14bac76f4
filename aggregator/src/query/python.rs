//! Entries of a Python dict, read from its `repr` as Celery sends keyword arguments. JSON objects read the same way.

use super::text::fold;

/// Whether the dict has an entry whose key and value, as `str` writes them and folded, are these. Flower compares the
/// same way (`flower/utils/search.py`, `_kwargs_pairs`), after `ast.literal_eval`; this one also reads entries beside
/// values that are no literals.
pub(super) fn has_entry(text: &str, key: &str, value: &str) -> bool {
    let Some(body) = text.trim().strip_prefix('{') else {
        return false;
    };
    let mut rest = body;
    loop {
        let (found_key, after) = item(rest, ':');
        let Some(after) = after.strip_prefix(':') else {
            return false;
        };
        let (found_value, after) = item(after, ',');
        // The closing brace of the dict, or a comma, must follow: what was cut short is no value.
        if !after.starts_with([',', '}']) {
            return false;
        }
        if is(found_key, key) && is(found_value, value) {
            return true;
        }
        match after.strip_prefix(',') {
            Some(after) => rest = after,
            None => return false,
        }
    }
}

/// The text up to `end` or a closing bracket outside quotes and inner brackets, and what follows.
fn item(text: &str, end: char) -> (&str, &str) {
    let mut depth = 0_usize;
    let mut quote = None;
    let mut escaped = false;
    for (at, letter) in text.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if letter == '\\' => escaped = true,
            Some(open) if letter == open => quote = None,
            Some(_) => {}
            None => match letter {
                '\'' | '"' => quote = Some(letter),
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' if depth > 0 => depth -= 1,
                '}' => return (text[..at].trim(), &text[at..]),
                _ if letter == end && depth == 0 => return (text[..at].trim(), &text[at..]),
                _ => {}
            },
        }
    }
    (text.trim(), "")
}

fn is(literal: &str, wanted: &str) -> bool {
    match string_value(literal) {
        Some(value) => fold(&value) == wanted,
        None => fold(literal) == wanted,
    }
}

/// The value of a string literal. `None` when it is none.
fn string_value(literal: &str) -> Option<String> {
    let quote = literal
        .chars()
        .next()
        .filter(|letter| matches!(letter, '\'' | '"'))?;
    let inner = literal.strip_prefix(quote)?.strip_suffix(quote)?;
    let mut value = String::with_capacity(inner.len());
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            value.push(letter);
            continue;
        }
        match letters.next()? {
            'n' => value.push('\n'),
            'r' => value.push('\r'),
            't' => value.push('\t'),
            'x' => value.push(code_point(&mut letters, 2)?),
            'u' => value.push(code_point(&mut letters, 4)?),
            'U' => value.push(code_point(&mut letters, 8)?),
            other => value.push(other),
        }
    }
    Some(value)
}

fn code_point(letters: &mut std::str::Chars<'_>, digits: usize) -> Option<char> {
    let mut code = 0_u32;
    for _ in 0..digits {
        code = code
            .checked_mul(16)?
            .checked_add(letters.next()?.to_digit(16)?)?;
    }
    char::from_u32(code)
}

#[cfg(test)]
mod tests {
    use super::has_entry;

    #[track_caller]
    fn check(text: &str, key: &str, value: &str, expect: bool) {
        assert_eq!(
            has_entry(text, key, value),
            expect,
            "{text} has {key}={value}"
        );
    }

    /// Values as Python's `str` writes them: what `ast.literal_eval` and `str` make of these in Python 3.11.
    #[test]
    fn entries_are_found_as_python_sees_them() {
        let text = r#"{'id': 3, 'name': 'Ann, \'O\'', 'list': [1, {'id': 4}], "q": "a:b", 'ok': True, 'e': '\xe4'}"#;
        check(text, "id", "3", true);
        check(text, "id", "4", false);
        check(text, "name", "ann, 'o'", true);
        check(text, "list", "[1, {'id': 4}]", true);
        check(text, "q", "a:b", true);
        check(text, "ok", "true", true);
        check(text, "e", "ä", true);
        check(text, "missing", "3", false);
    }

    #[test]
    fn what_was_cut_or_is_no_dict_has_no_such_entry() {
        check("{'id': 31415", "id", "31415", false);
        check("{'a': 1, 'id': 31415...", "a", "1", true);
        check("[1, 2]", "1", "2", false);
        check("{}", "", "", false);
        check("", "", "", false);
        check("{'a': <object at 0x7f>, 'b': 2}", "b", "2", true);
        check(r#"{"id": 7, "x": null}"#, "id", "7", true);
    }
}
