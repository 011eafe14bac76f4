use super::*;

#[test]
fn types_are_kombus_names() {
    assert_eq!(Content::of("application/json"), Content::Json);
    assert_eq!(
        Content::of("Application/JSON; charset=utf-8"),
        Content::Json
    );
    assert_eq!(Content::of("application/x-msgpack"), Content::MessagePack);
    assert_eq!(
        Content::of("application/x-python-serialize"),
        Content::Pickle
    );
    assert_eq!(Content::of("application/data"), Content::Auth);
    assert_eq!(Content::of(""), Content::Unknown);
    assert_eq!(Content::of("application/jsonx"), Content::Unknown);
}

#[test]
fn all_but_pickle_is_read() {
    for content in [
        Content::Json,
        Content::MessagePack,
        Content::Yaml,
        Content::Auth,
    ] {
        assert_eq!(content.refusal(), None);
    }
    assert_eq!(
        Content::Pickle.refusal(),
        Some("content type application/x-python-serialize is never read")
    );
}

#[test]
fn compressions_are_kombus_names() {
    assert_eq!(Compression::of("application/x-gzip"), Compression::Zlib);
    assert_eq!(Compression::of("zstd"), Compression::Zstandard);
    assert_eq!(Compression::of("snappy"), Compression::Unknown);
}

/// A body as JSON.
fn rewritten(content: Content, body: &[u8]) -> Result<String, NotJson> {
    let mut out = b"what was there".to_vec();
    to_json(content, body, &mut out)?;
    Ok(String::from_utf8(out).expect("JSON is text"))
}

fn check(content: Content, body: impl AsRef<[u8]>, json: &str) {
    let body = body.as_ref();
    assert_eq!(
        rewritten(content, body).as_deref(),
        Ok(json),
        "{}",
        String::from_utf8_lossy(body)
    );
}

fn broken(content: Content, body: impl AsRef<[u8]>) {
    let body = body.as_ref();
    assert_eq!(
        rewritten(content, body),
        Err(NotJson::Broken(content)),
        "{}",
        String::from_utf8_lossy(body)
    );
}

#[test]
fn yaml_scalars_are_those_of_pyyaml() {
    for (yaml, json) in [
        ("~", "null"),
        ("", "null"),
        ("Off", "false"),
        ("y", "\"y\""),
        ("-12", "-12"),
        ("+1_000", "1000"),
        ("010", "8"),
        ("0o17", "\"0o17\""),
        ("0x1F", "31"),
        ("0b11", "3"),
        ("1:30", "90"),
        ("1:30:00.5", "5400.5"),
        ("1e5", "\"1e5\""),
        ("1.e+2", "100.0"),
        ("1.0e5", "\"1.0e5\""),
        ("-.5", "\"-.5\""),
        (".5", "0.5"),
        ("-.inf", "null"),
        ("'12'", "\"12\""),
        ("!!str 12", "\"12\""),
        ("!!float 12.0", "12.0"),
        ("2026-11-27 05:00:00", "\"2026-11-27 05:00:00\""),
        (
            "123456789012345678901234567890",
            "123456789012345678901234567890",
        ),
    ] {
        let body = format!("a: {yaml}\n");
        check(Content::Yaml, body, &format!("{{\"a\":{json}}}"));
    }
}

#[test]
fn yaml_aliases_are_written_out_within_bounds() {
    check(
        Content::Yaml,
        "a: &id001 [1, x]\nb: *id001\n? &id002 7\n: *id002\n*id002 : 8\n",
        r#"{"a":[1,"x"],"b":[1,"x"],"7":"7","7":8}"#,
    );
    broken(Content::Yaml, "a: &id001\n- *id001\n");
    broken(Content::Yaml, "a: *nowhere\n");
    broken(Content::Yaml, "? [1]\n: 2\n");
    let mut bomb = "a0: &a0 [aaaaaaaaaaaaaaaa, aaaaaaaaaaaaaaaa]\n".to_owned();
    for level in 1..30 {
        let before = format!("*a{}", level - 1);
        let list = [before.as_str(); 4].join(", ");
        let line = format!("a{level}: &a{level} [{list}]\n");
        bomb.push_str(&line);
    }
    broken(Content::Yaml, bomb);
}

#[test]
fn what_is_not_one_whole_value_is_broken() {
    for yaml in ["a: [1", "1\n---\n2\n", "a: b: c", "\u{0}"] {
        broken(Content::Yaml, yaml);
    }
    broken(Content::Yaml, b"\xff");
    let deep = "[".repeat(200) + &"]".repeat(200);
    broken(Content::Yaml, deep);
    for packed in [
        &b""[..],
        b"\xc1",
        b"\x01\x02",
        b"\x92\x01",
        b"\xa3ab",
        b"\x81\xa1a",
        b"\x81\x90\x01",
        b"\xdd\xff\xff\xff\xff\x01",
        &[0x91; 200],
    ] {
        broken(Content::MessagePack, packed);
    }
    for signed in ["", "!", "aGFsbG8=", "AAEAAWFwcGxpY2F0aW9uL2pzb24="] {
        broken(Content::Auth, signed);
    }
}

#[test]
fn what_json_has_not_is_described() {
    check(
        Content::MessagePack,
        b"\x95\xc4\x02\xff\x00\xd4\x05\x01\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00\xa2\xff\xfe\x81\x01\xca\x3f\x00\x00\x00",
        "[\"\u{fffd}\\u0000\",\"ExtType(code=5, 1 bytes)\",null,\"\u{fffd}\u{fffd}\",{\"1\":0.5}]",
    );
    // A map that stands for more than may be read.
    let mut many = b"\xdd\x01\x00\x00\x00".to_vec();
    many.resize(16 * 1024 * 1024 + 5, 0xc0);
    broken(Content::MessagePack, many);
}

#[test]
fn of_signed_content_it_is_what_was_signed() {
    let sign =
        |parts: &[&[u8]]| base64_simd::STANDARD.encode_to_string(parts.join(&b"\x00\x01"[..]));
    let json = sign(&[
        b"c2lnbmVy",
        b"c2ln",
        b"application/json",
        b"utf-8",
        b"{\"a\": 1}",
    ]);
    check(Content::Auth, json, "{\"a\": 1}");
    let packed = sign(&[
        b"c2lnbmVy",
        b"c2ln",
        b"application/x-msgpack",
        b"binary",
        b"\x92\x00\x01",
    ]);
    check(Content::Auth, packed, "[0,1]");
    // Before 5.1 a signature is bytes as they come.
    let raw = sign(&[
        b"signer",
        b"\x07\x00\x01\xff",
        b"application/json",
        b"utf-8",
        b"[\"\x00\x01\"]",
    ]);
    check(Content::Auth, raw, "[\"\u{0}\u{1}\"]");
    let pickle = sign(&[
        b"s",
        b"s",
        b"application/x-python-serialize",
        b"binary",
        b"\x80",
    ]);
    assert_eq!(
        rewritten(Content::Auth, pickle.as_bytes()),
        Err(NotJson::Refused(Content::Pickle))
    );
    let nested = sign(&[b"s", b"s", b"application/data", b"utf-8", b"x"]);
    broken(Content::Auth, nested);
}

proptest::proptest! {
    #[test]
    fn any_bytes_become_json_or_nothing(body: Vec<u8>) {
        for content in [Content::MessagePack, Content::Yaml, Content::Auth] {
            if let Ok(json) = rewritten(content, &body)
                && content != Content::Auth
            {
                proptest::prop_assert!(crate::wire::json::is_json(&json), "{json}");
            }
        }
    }
}
