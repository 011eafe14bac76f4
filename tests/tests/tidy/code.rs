//! Rust text with what is not code blanked out, so that a word in a comment or a string breaks no rule.

/// The code of a file: comments and the insides of string and character literals become blanks, lines stay where they are.
pub(crate) fn code(text: &str) -> String {
    let bytes: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_end(&bytes, at);
        if end == at {
            out.push(bytes[at]);
            at += 1;
        } else {
            out.extend(
                bytes[at..end]
                    .iter()
                    .map(|&c| if c == '\n' { c } else { ' ' }),
            );
            at = end;
        }
    }
    out
}

/// The code without items marked `#[cfg(test)]`.
pub(crate) fn code_without_tests(text: &str) -> String {
    let mut code = code(text);
    while let Some(start) = code.find("#[cfg(test)]") {
        let end = item_end(&code, start + "#[cfg(test)]".len());
        let blank: String = code[start..end]
            .chars()
            .map(|c| if c == '\n' { c } else { ' ' })
            .collect();
        code.replace_range(start..end, &blank);
    }
    code
}

/// Lines that contain a word as a whole, not inside a longer identifier.
pub(crate) fn lines_with(code: &str, word: &str) -> Vec<usize> {
    lines_where(code, word, |_| true)
}

/// Lines that name a crate: the word as a whole and not behind `::`, where it would be a module of that name.
pub(crate) fn lines_naming(code: &str, word: &str) -> Vec<usize> {
    lines_where(code, word, |before| !before.trim_end().ends_with("::"))
}

fn lines_where(code: &str, word: &str, accept: impl Fn(&str) -> bool) -> Vec<usize> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut lines: Vec<usize> = code
        .match_indices(word)
        .filter(|(at, _)| {
            let before = &code[..*at];
            let after = &code[at + word.len()..];
            let starts = !word.starts_with(is_name) || !before.ends_with(is_name);
            let ends = !word.ends_with(is_name) || !after.starts_with(is_name);
            starts && ends && accept(before)
        })
        .map(|(at, _)| code[..at].matches('\n').count() + 1)
        .collect();
    lines.dedup();
    lines
}

/// The end of a comment or literal that starts at `at`, or `at` when none does.
fn literal_end(text: &[char], at: usize) -> usize {
    let starts = |word: &str| text[at..].iter().copied().take(word.len()).eq(word.chars());
    let find = |from: usize, word: &str| {
        (from..text.len())
            .find(|&i| text[i..].iter().copied().take(word.len()).eq(word.chars()))
            .map_or(text.len(), |i| i + word.len())
    };
    if starts("//") {
        return find(at, "\n") - usize::from(text[at..].contains(&'\n'));
    }
    if starts("/*") {
        return find(at + 2, "*/");
    }
    let after_name = at > 0 && (text[at - 1].is_alphanumeric() || text[at - 1] == '_');
    if text[at] == 'r' && !after_name {
        let hashes = text[at + 1..].iter().take_while(|&&c| c == '#').count();
        if text.get(at + 1 + hashes) == Some(&'"') {
            let close = format!("\"{}", "#".repeat(hashes));
            return find(at + 2 + hashes, &close);
        }
    }
    match text[at] {
        '"' => {
            let mut end = at + 1;
            while end < text.len() && text[end] != '"' {
                end += if text[end] == '\\' { 2 } else { 1 };
            }
            (end + 1).min(text.len())
        }
        // A character, as opposed to a lifetime.
        '\'' if text.get(at + 1) == Some(&'\\') => find(at + 3, "'"),
        '\'' if text.get(at + 2) == Some(&'\'') => at + 3,
        _ => at,
    }
}

/// The end of the item that starts after `from`: its closing brace, or its semicolon.
fn item_end(code: &str, from: usize) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code[from..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth <= 1 => return from + at + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return from + at + 1,
            _ => {}
        }
    }
    code.len()
}

#[test]
fn comments_strings_and_characters_are_blanked() {
    let text = "a /* b */ \"c\\\"d\" r#\"e\"f\"# '\\'' 'g' &'h i // j\nk";
    let words: Vec<String> = code(text).split_whitespace().map(str::to_owned).collect();
    assert_eq!(words, ["a", "&'h", "i", "k"]);
}

#[test]
fn test_items_are_cut_and_lines_kept() {
    let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() { {} }\n}\nfn c() {}\n#[cfg(test)]\nmod t;\nfn d() {}";
    let cut = code_without_tests(text);
    assert!(!cut.contains("fn b") && !cut.contains("mod t"), "{cut}");
    assert_eq!(lines_naming(&cut, "d"), [9]);
}

#[test]
fn words_are_matched_whole_and_from_the_crate_root() {
    assert_eq!(
        lines_naming("redis::x; self::redis::y; my_redis::z", "redis::"),
        [1]
    );
    assert_eq!(lines_naming("use lapin;\nlapinski;", "lapin"), [1]);
}
