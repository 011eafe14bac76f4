use proptest::prelude::*;
use serde_json::json;

use super::*;

/// What a text is mended to, and whether it was.
fn check(text: &[u8], expect: &str, mended: bool) {
    let document = Document::read(text).expect("readable");
    assert_eq!(document.text(), expect);
    assert_eq!(document.mended(), mended, "{expect}");
}

// The inputs are what Python 3.11 writes for `json.dumps` of such values.
#[test]
fn words_that_python_writes_become_null_outside_of_strings_only() {
    check(
        br#"{"a": NaN, "b": [Infinity, -Infinity, -1.5], "NaN": "Infinity \" NaN"}"#,
        r#"{"a": null, "b": [null, null, -1.5], "NaN": "Infinity \" NaN"}"#,
        true,
    );
    check(b"NaN", "null", true);
    check(br#""-Infinity""#, r#""-Infinity""#, false);
}

#[test]
fn lone_surrogates_become_the_replacement_character_and_pairs_stay() {
    check(br#""\ud83d\ude00""#, r#""\ud83d\ude00""#, false);
    check(br#""\uD83D x""#, r#""\ufffd x""#, true);
    check(br#""\ude00\ud83d""#, r#""\ufffd\ufffd""#, true);
    check(br#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#, true);
    check(br#""\\ud83d""#, r#""\\ud83d""#, false);
    check(br#""\ud83d"#, r#""\ufffd"#, true);
}

#[test]
fn invalid_utf8_is_replaced_inside_of_strings_only() {
    check(b"\"h\xc3\xa9 \xff\"", "\"h\u{e9} \u{fffd}\"", true);
    check(
        "\"h\u{e9}\u{1f600}\"".as_bytes(),
        "\"h\u{e9}\u{1f600}\"",
        false,
    );
    assert_eq!(
        Document::read(b"{\xff: 1}").map(|document| document.mended()),
        Err(JsonError::Syntax)
    );
}

#[test]
fn numbers_of_any_size_are_read() {
    let digits = "9".repeat(400);
    let (value, mended) = value(digits.as_bytes()).expect("readable");
    assert_eq!((value, mended), (json!(null), true));
    let (value, mended) =
        super::value(b"[18446744073709551616, 12345678901234567890123]").expect("beyond 64 bits");
    assert_eq!(
        value,
        json!([18_446_744_073_709_551_616.0, 1.234_567_890_123_456_8e22])
    );
    assert!(!mended);
    check(b"1e400", "null", true);
    check(b"1e300", "1e300", false);
    check(b"1e-400", "1e-400", false);
}

#[test]
fn marks_tell_which_part_was_mended() {
    let document = Document::read(br#"{"a": [1, NaN], "b": "x", "c": "\ud800\ud801", "d": 1}"#)
        .expect("readable");
    let object = Object::read(document.text()).expect("an object");
    let mended: Vec<_> = object
        .fields()
        .filter(|(_, raw)| document.mended_in(raw))
        .map(|(name, _)| name.to_owned())
        .collect();
    assert_eq!(mended, ["a", "c"]);
    assert!(!document.mended_in("another text"));
}

#[test]
fn nesting_is_measured_without_recursion_and_limited_like_the_parser_limits_it() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert_eq!(depth(&nested(1_000_000)), 1_000_000);
    assert_eq!(depth(r#"{"a": "[[[", "b": [{}]}"#), 3);
    assert!(value(nested(DEPTH_MAX).as_bytes()).is_ok());
    assert_eq!(
        value(nested(DEPTH_MAX + 1).as_bytes()),
        Err(JsonError::TooDeep)
    );
    assert!(!is_clean(&nested(DEPTH_MAX + 1)));
    assert!(is_json(&nested(1_000_000)));
}

#[test]
fn what_is_no_json_is_refused() {
    for text in [
        "",
        "{",
        "{\"a\": nan}",
        "NaNs",
        "[1,]",
        "1 2",
        "\u{1}",
        "'a'",
    ] {
        assert_eq!(value(text.as_bytes()), Err(JsonError::Syntax), "{text}");
    }
}

#[test]
fn of_a_repeated_name_the_last_counts() {
    let object = Object::read(r#"{"a": 1, "b": 2, "a": [3]}"#).expect("an object");
    let fields: Vec<_> = object.fields().collect();
    assert_eq!(fields, [("a", "[3]"), ("b", "2")]);
}

#[test]
fn scalars_are_read_by_meaning() {
    let read = |raw| (integer(raw), unsigned(raw), float(raw), boolean(raw));
    assert_eq!(read("5"), (Some(5), Some(5), Some(5.0), None));
    assert_eq!(read("5.0"), (Some(5), Some(5), Some(5.0), None));
    assert_eq!(read("-5"), (Some(-5), None, Some(-5.0), None));
    assert_eq!(read("5.5"), (None, None, Some(5.5), None));
    assert_eq!(read("1"), (Some(1), Some(1), Some(1.0), Some(true)));
    assert_eq!(read("false"), (None, None, None, Some(false)));
    assert_eq!(read("\"5\""), (None, None, None, None));
    assert_eq!(read("1e30"), (None, None, Some(1e30), None));
    assert_eq!(unsigned("18446744073709551615"), Some(u64::MAX));
    assert_eq!(integer("18446744073709551615"), None);
}

#[test]
fn long_values_stay_json_when_cut() {
    let list = format!("[{}1]", "1, ".repeat(100_000));
    let (cut, full_bytes) = bounded_json(&list);
    assert_eq!(full_bytes, Some(list.len() as u64));
    let text: String = serde_json::from_str(&cut).expect("still JSON");
    assert!(list.starts_with(&text) && cut.len() <= TEXT_BYTES_MAX && text.len() > 65_000);

    let quotes = serde_json::to_string(&"\"\u{1}é".repeat(50_000)).expect("JSON");
    let (cut, full_bytes) = bounded_json(&quotes);
    assert_eq!(full_bytes, Some(200_000));
    let text: String = serde_json::from_str(&cut).expect("still JSON");
    assert!(text.starts_with("\"\u{1}é\"") && cut.len() <= TEXT_BYTES_MAX);
    assert_eq!(bounded_json("[1]"), ("[1]".to_owned(), None));
}

#[test]
fn long_texts_are_cut_between_characters() {
    let text = format!("x{}", "é".repeat(40_000));
    let (cut, full_bytes) = bounded_text(&text);
    assert_eq!((cut.len(), full_bytes), (TEXT_BYTES_MAX - 1, Some(80_001)));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::btree_map(".*", inner, 0..6).prop_map(Value::from_iter),
        ]
    })
}

proptest! {
    #[test]
    fn strict_json_is_never_touched(value in any_json()) {
        let text = value.to_string();
        let document = Document::read(text.as_bytes()).expect("readable");
        prop_assert!(!document.mended());
        prop_assert_eq!(document.text(), text.as_str());
        prop_assert!(is_clean(&text));
    }

    #[test]
    fn nothing_panics_on_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = value(&bytes);
        if let Ok(document) = Document::read(&bytes) {
            let text = document.text();
            let _ = (Object::read(text), List::read(text, 3), bounded_json(text), document.mended_in(text));
            let again = Document::read(text.as_bytes()).expect("readable");
            prop_assert_eq!(again.text(), text);
        }
    }

    #[test]
    fn nothing_panics_on_texts_made_of_jsons_parts(
        parts in proptest::collection::vec(
            prop_oneof![
                Just("{"), Just("}"), Just("["), Just("]"), Just("\""), Just("\\"), Just(","), Just(":"),
                Just("NaN"), Just("-Infinity"), Just("1e999"), Just("\\ud83d"), Just("\\ude00"), Just("é"),
            ],
            0..40,
        )
    ) {
        let text = parts.concat();
        let clean = is_clean(&text);
        if let Ok((_, mended)) = value(text.as_bytes()) {
            prop_assert_eq!(mended, !clean);
        }
    }
}
