use std::cell::RefCell;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::wire::pidbox::ControlMessage;
use crate::wire::recorded;

fn envelope(value: &Value) -> Frame {
    Frame::Envelope(value.to_string().into())
}

/// The body of a message, or why it is not read.
fn open(frame: &Frame) -> Result<Vec<u8>, Unreadable> {
    Opener::default()
        .open(frame)
        .map(|message| message.body.to_vec())
}

#[test]
fn every_recorded_json_message_opens_to_the_body_that_was_sent() {
    let mut opener = Opener::default();
    let mut opened_total = 0;
    for file in [
        "redis-events.jsonl",
        "redis-pidbox.jsonl",
        "redis-compat.jsonl",
    ] {
        for line in recorded::lines(file) {
            let payload: Value =
                serde_json::from_str(line.json["payload"].as_str().expect("text")).expect("JSON");
            let expect = base64_simd::STANDARD
                .decode_to_vec(payload["body"].as_str().expect("text"))
                .expect("base64");
            let message = opener.open(&line.frame).expect("JSON, not compressed");
            assert_eq!(message.body, expect);
            assert_eq!(
                message.ticket.as_deref(),
                payload["headers"]["ticket"].as_str()
            );
            opened_total += 1;
        }
    }
    for file in ["amqp-events.jsonl", "amqp-pidbox.jsonl"] {
        for line in recorded::lines(file) {
            let message = opener.open(&line.frame).expect("JSON, not compressed");
            assert_eq!(
                message.body,
                line.json["body"].as_str().expect("text").as_bytes()
            );
            let ticket = line.json["properties"]["headers"]["ticket"].as_str();
            assert_eq!(message.ticket.as_deref(), ticket);
            opened_total += 1;
        }
    }
    assert_eq!(opened_total, 2361 + 220 + 197 + 2010 + 219);
}

#[test]
fn recorded_messages_of_other_serializers_become_json_but_for_pickle() {
    let mut counts = std::collections::BTreeMap::new();
    let mut opener = Opener::default();
    for line in recorded::lines("serializers.jsonl") {
        let serializer = line.json["serializer"].as_str().expect("text");
        *counts.entry(serializer.to_owned()).or_insert(0) += 1;
        let opened = opener.open(&line.frame);
        if serializer == "pickle" {
            let refused = opened.expect_err("never read");
            assert_eq!(refused.sample(), None);
            assert_eq!(refused.to_string(), refused.reason());
            assert_eq!(
                refused.reason(),
                "content type application/x-python-serialize is never read"
            );
            continue;
        }
        let body = opened.expect("read").body;
        let value: Value = serde_json::from_slice(body).expect("JSON");
        assert!(value.is_object() || value.is_array(), "{value}");
    }
    let counts: Vec<_> = counts.into_iter().collect();
    let expect = [("auth", 8), ("msgpack", 36), ("pickle", 36), ("yaml", 34)];
    assert_eq!(counts, expect.map(|(name, count)| (name.to_owned(), count)));
}

#[test]
fn recorded_tasks_open_unless_compressed_or_of_another_serializer() {
    let mut refused = Vec::new();
    for file in ["redis-tasks.jsonl", "amqp-tasks.jsonl"] {
        for line in recorded::lines(file) {
            match open(&line.frame) {
                Ok(body) => assert!(body.starts_with(b"[[")),
                Err(unreadable) => refused.push(unreadable.reason()),
            }
        }
    }
    let each = [
        "compression application/x-gzip is not read yet",
        "content type application/x-python-serialize is never read",
    ];
    assert_eq!(refused, [each, each].concat());
}

#[test]
fn a_truncated_envelope_is_refused_wherever_it_ends() {
    let line = &recorded::lines("redis-events.jsonl")[0];
    let Frame::Envelope(whole) = &line.frame else {
        panic!("Redis has envelopes");
    };
    for length in 0..whole.len() {
        let refused = open(&Frame::Envelope(whole.slice(..length))).expect_err("cut");
        assert_eq!(refused.reason(), "truncated or invalid envelope");
        assert!(refused.sample().expect("a sample").chars().count() <= 256);
    }
}

#[test]
fn the_encodings_of_kombus_virtual_transports_are_read() {
    let with = |body: &str, properties: Value| {
        envelope(&json!({
            "body": body, "content-type": "application/json", "content-encoding": "utf-8",
            "headers": null, "properties": properties,
        }))
    };
    let encoded = |encoding: Value| json!({"delivery_tag": "t", "body_encoding": encoding});
    assert_eq!(
        open(&with("[1]", json!({"delivery_tag": "t"}))),
        Ok(b"[1]".to_vec())
    );
    assert_eq!(
        open(&with("[1]", encoded(json!(null)))),
        Ok(b"[1]".to_vec())
    );
    assert_eq!(
        open(&with("{\"a\": 1}", encoded(json!("UTF-8")))),
        Ok(b"{\"a\": 1}".to_vec())
    );
    assert_eq!(
        open(&with("WzFd", encoded(json!("base64")))),
        Ok(b"[1]".to_vec())
    );
    assert_eq!(
        open(&with("Wz\nFd\n", encoded(json!("base64")))),
        Ok(b"[1]".to_vec())
    );
    assert_eq!(open(&with("", encoded(json!("base64")))), Ok(Vec::new()));
    let refused = |frame: &Frame| open(frame).expect_err("unreadable").reason();
    assert_eq!(
        refused(&with("W*Fd", encoded(json!("base64")))),
        "body is not base64"
    );
    assert_eq!(
        refused(&with("[1]", encoded(json!("rot13")))),
        "unknown body encoding"
    );
}

#[test]
fn odd_headers_do_not_spoil_a_message() {
    // NaN and a lone surrogate, as Python writes them, in headers that are not needed.
    let text =
        br#"{"body": "WzFd", "content-type": "application/json", "content-encoding": "utf-8",
        "headers": {"x": NaN, "argsrepr": "\ud83d", "ticket": ["no", "text"], "clock": {"a": 1}},
        "properties": {"body_encoding": "base64", "delivery_tag": "t"}}"#;
    let mut opener = Opener::default();
    let frame = Frame::Envelope(text.to_vec().into());
    let message = opener.open(&frame).expect("readable");
    assert_eq!((message.body, message.ticket), (&b"[1]"[..], None));
}

#[test]
fn what_kombu_does_not_name_is_refused_with_its_name() {
    let unknown = |content_type: Value, headers: Value| {
        open(&envelope(&json!({
            "body": "", "content-type": content_type, "headers": headers,
            "properties": {"body_encoding": "base64"},
        })))
        .expect_err("unknown")
    };
    let refused = unknown(json!("text/\u{7}x"), json!({}));
    assert_eq!(
        (refused.reason(), refused.sample()),
        ("unknown content type", Some("text/\\u{7}x"))
    );
    assert_eq!(
        unknown(json!(null), json!({})).reason(),
        "unknown content type"
    );
    let refused = unknown(json!("application/json"), json!({"compression": "snappy"}));
    assert_eq!(
        (refused.reason(), refused.sample()),
        ("unknown compression", Some("snappy"))
    );
}

#[test]
fn messages_over_16_mib_are_refused_and_others_give_their_memory_back() {
    let frame = |bytes: usize| Frame::Properties {
        content_type: "application/json".into(),
        content_encoding: "utf-8".into(),
        compression: None,
        ticket: None,
        hostname: None,
        routing_key: None,
        body: vec![b' '; bytes],
    };
    assert_eq!(
        open(&frame(MESSAGE_BYTES_MAX)).map(|body| body.len()),
        Ok(MESSAGE_BYTES_MAX)
    );
    assert_eq!(
        open(&frame(MESSAGE_BYTES_MAX + 1)),
        Err(Unreadable::TooLarge)
    );
    let large = Frame::Envelope(vec![b' '; MESSAGE_BYTES_MAX + 1].into());
    assert_eq!(open(&large), Err(Unreadable::TooLarge));

    let text = "A".repeat(8 * 1024 * 1024);
    let mut opener = Opener::default();
    let large = envelope(&json!({"body": text, "content-type": "application/json",
        "properties": {"body_encoding": "base64"}}));
    assert_eq!(
        opener.open(&large).expect("readable").body.len(),
        6 * 1024 * 1024
    );
    opener.open(&frame(1)).expect("readable");
    assert!(opener.body.capacity() == 0);
}

#[test]
fn a_request_is_enveloped_as_kombu_envelopes_it() {
    let mut requests = 0;
    for line in recorded::lines("redis-pidbox.jsonl") {
        if line.json["op"] != "PUBLISH" {
            continue;
        }
        let mut recorded: Value =
            serde_json::from_str(line.json["payload"].as_str().expect("text")).expect("JSON");
        let message = ControlMessage {
            body: open(&line.frame).expect("readable"),
            content_type: "application/json",
            content_encoding: "utf-8",
            expires: recorded["headers"]["expires"].as_f64().expect("a number"),
        };
        let properties = &recorded["properties"];
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let ours = encode_envelope(
            &message,
            &text(&properties["delivery_info"]["exchange"]),
            &text(&properties["delivery_info"]["routing_key"]),
            &text(&properties["delivery_tag"]),
        );
        // The clock is the sender's own.
        recorded["headers"]["clock"] = json!(0);
        let ours: Value = serde_json::from_slice(&ours).expect("JSON");
        assert_eq!(ours, recorded);
        requests += 1;
    }
    assert_eq!(requests, 61);
}

proptest! {
    #[test]
    fn opening_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = open(&Frame::Envelope(bytes.into()));
    }

    /// Either way may be taken: what the usual one accepts, the whole one reads the same.
    #[test]
    fn damaged_envelopes_are_read_alike_both_ways(
        which in any::<prop::sample::Index>(),
        damage in proptest::collection::vec(
            (
                any::<prop::sample::Index>(),
                0..6_usize,
                prop_oneof![
                    Just(""), Just("null"), Just("\\u0041"), Just("\\"), Just("\""), Just("{"), Just("]"), Just(","),
                    Just("-"), Just("0"), Just("1e4"), Just("\n"), Just("\u{e9}"), Just("\"body\": \"\", "),
                ],
            ),
            0..4,
        ),
    ) {
        thread_local! {
            static FRAMES: Vec<Frame> = recorded::lines("redis-events.jsonl")
                .into_iter().chain(recorded::lines("redis-pidbox.jsonl")).map(|line| line.frame).collect();
        }
        let frame = FRAMES.with(|frames| frames[which.index(frames.len())].clone());
        let Frame::Envelope(bytes) = frame else { panic!("Redis has envelopes") };
        let mut bytes = bytes.to_vec();
        let undamaged = damage.is_empty();
        for (place, length, with) in damage {
            let start = place.index(bytes.len());
            let end = (start + length).min(bytes.len());
            bytes.splice(start..end, with.bytes());
        }
        match usual::read(&bytes) {
            Some(usual) => prop_assert_eq!(usual, serde_json::from_slice(&bytes).expect("it is strict JSON")),
            None => prop_assert!(!undamaged, "recorded envelopes are usual"),
        }
        // One that has read the recording knows how its envelopes end.
        thread_local! {
            static VERSED: RefCell<Opener> = FRAMES.with(|frames| {
                let mut opener = Opener::default();
                for frame in frames {
                    drop(opener.open(frame));
                }
                RefCell::new(opener)
            });
        }
        let frame = Frame::Envelope(bytes.into());
        VERSED.with_borrow_mut(|versed| {
            let mut fresh = Opener::default();
            prop_assert_eq!(versed.open(&frame), fresh.open(&frame));
            Ok(())
        })?;
    }

    #[test]
    fn opening_a_damaged_message_never_panics(
        which in 0..200_usize,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        thread_local! {
            static FRAMES: Vec<Frame> = recorded::lines("redis-pidbox.jsonl")
                .into_iter().map(|line| line.frame).collect();
        }
        let frame = FRAMES.with(|frames| frames[which].clone());
        let Frame::Envelope(bytes) = frame else { panic!("Redis has envelopes") };
        let mut bytes = bytes.to_vec();
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Err(unreadable) = open(&Frame::Envelope(bytes.into())) {
            prop_assert!(unreadable.sample().is_none_or(|sample| sample.chars().count() <= 256));
        }
    }
}

#[test]
fn a_message_that_is_not_read_still_says_where_it_came_from() {
    let event = br#"{"body": "gAR9lC4=", "content-type": "application/x-python-serialize", "headers": {"hostname": "celery@w1"},
        "properties": {"delivery_info": {"exchange": "celeryev", "routing_key": "task.multi"}, "body_encoding": "base64"}}"#;
    let origin = Frame::Envelope(event.to_vec().into()).origin();
    assert_eq!(origin.hostname.as_deref(), Some("celery@w1"));
    assert_eq!(origin.routing_key.as_deref(), Some("task.multi"));
    let reply = br#"{"body": "", "headers": {"ticket": "a.1", "hostname": 7}}"#;
    let origin = Frame::Envelope(reply.to_vec().into()).origin();
    assert_eq!(
        (origin.ticket.as_deref(), origin.hostname),
        (Some("a.1"), None)
    );
    assert_eq!(
        Frame::Envelope(b"no envelope".to_vec().into()).origin(),
        Origin::default()
    );
}
