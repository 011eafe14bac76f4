use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::wire::json;
use crate::wire::message::{Frame, Opener};
use crate::wire::recorded;

/// The bodies of a recording's events.
fn bodies(file: &str) -> Vec<Vec<u8>> {
    let mut opener = Opener::default();
    recorded::lines(file)
        .iter()
        .filter(|line| is_event(&line.json))
        .map(|line| opener.open(&line.frame).expect("readable").body.to_vec())
        .collect()
}

fn is_event(line: &Value) -> bool {
    ["channel", "exchange"].iter().any(|name| {
        line[name]
            .as_str()
            .is_some_and(|name| name.contains("celeryev"))
    })
}

fn decode(body: impl AsRef<[u8]>) -> (Vec<Event<'static>>, Vec<(&'static str, u64)>) {
    let (mut events, mut rejects) = (Vec::new(), Rejections::default());
    // Events borrow from it.
    let body: &'static [u8] = body.as_ref().to_vec().leak();
    let count = decode_events(body, 7, &mut events, &mut rejects);
    assert_eq!(count, events.len());
    let rejects = rejects.iter().map(|entry| (entry.reason, entry.count));
    (events, rejects.collect())
}

/// The one event of a body, read without rejects.
fn one(body: impl AsRef<[u8]>) -> Event<'static> {
    let (mut events, rejects) = decode(body);
    assert_eq!((events.len(), rejects), (1, vec![]));
    events.remove(0)
}

/// A task-succeeded event with more fields.
fn with(more: &str) -> String {
    format!(r#"{{"type": "task-succeeded", "hostname": "celery@w1", "uuid": "u", {more}}}"#)
}

/// What was decoded is what a generic parser reads, field by field, and nothing else.
fn same(event: &Event<'_>, wire: &Value) {
    let mut seen = Event {
        received_micros: event.received_micros,
        ..Event::default()
    };
    let text = |value: &Value| value.as_str().map(|text| text.to_owned().into());
    for (name, value) in wire.as_object().expect("an object") {
        match name.as_str() {
            "type" => seen.event_type = text(value).expect("text"),
            "hostname" => seen.hostname = text(value).expect("text"),
            "pid" => seen.pid = value.as_u64(),
            "clock" => seen.clock = value.as_u64(),
            "timestamp" => seen.timestamp = value.as_f64(),
            "utcoffset" => {}
            "uuid" => seen.uuid = text(value),
            "name" => seen.name = text(value),
            "args" => seen.args = text(value),
            "kwargs" => seen.kwargs = text(value),
            "root_id" => seen.root_id = text(value),
            "parent_id" => seen.parent_id = text(value),
            "retries" => seen.retries = value.as_i64(),
            "eta" => seen.eta = text(value),
            "expires" => seen.expires = text(value),
            "queue" => seen.queue = text(value),
            "exchange" => seen.exchange = text(value),
            "routing_key" => seen.routing_key = text(value),
            "result" => seen.result = text(value),
            "runtime" => seen.runtime = value.as_f64(),
            "exception" => seen.exception = text(value),
            "traceback" => seen.traceback = text(value),
            "terminated" => seen.terminated = value.as_bool(),
            "signum" => seen.signum = value.as_i64().map(|number| number.to_string().into()),
            "expired" => seen.expired = value.as_bool(),
            "requeue" => seen.requeue = value.as_bool(),
            "freq" => seen.freq = value.as_f64(),
            "active" => seen.active = value.as_u64(),
            "processed" => seen.processed = value.as_u64(),
            "loadavg" => {
                let loads = value.as_array().expect("a list").iter();
                seen.loadavg = loads.filter_map(Value::as_f64).collect();
            }
            "sw_ident" => seen.sw_ident = text(value),
            "sw_ver" => seen.sw_ver = text(value),
            "sw_sys" => seen.sw_sys = text(value),
            _ => seen.custom.push((name.clone(), value.to_string())),
        }
    }
    let mut event = event.clone();
    event.custom.sort();
    seen.custom.sort();
    assert_eq!(event, seen);
}

fn check_recording(file: &str, state: &str) {
    let expect = recorded::expected_state(state);
    let mut types: BTreeMap<String, u64> = BTreeMap::new();
    let mut total = 0;
    for body in bodies(file) {
        let (events, rejects) = decode(&body);
        assert!(rejects.is_empty());
        let wire: Value = serde_json::from_slice(&body).expect("JSON");
        let wire = match wire {
            Value::Array(list) => list,
            single => vec![single],
        };
        assert_eq!(events.len(), wire.len());
        for (event, wire) in events.iter().zip(&wire) {
            same(event, wire);
            *types.entry(event.event_type.to_string()).or_default() += 1;
            total += 1;
        }
    }
    assert_eq!(Some(total), expect["event_count"].as_u64());
    let expect: BTreeMap<String, u64> =
        serde_json::from_value(expect["types"].clone()).expect("counts");
    assert_eq!(types, expect);
}

#[test]
fn recorded_redis_events_decode_to_every_field_and_celerys_count() {
    check_recording("redis-events.jsonl", "redis-expected-state.json");
}

#[test]
fn recorded_amqp_events_decode_to_every_field_and_celerys_count() {
    check_recording("amqp-events.jsonl", "amqp-expected-state.json");
}

#[test]
fn recorded_events_of_older_celeries_decode_too() {
    let mut seen = 0;
    for body in bodies("redis-compat.jsonl") {
        let (events, rejects) = decode(&body);
        assert!(!events.is_empty() && rejects.is_empty());
        for event in events {
            assert!(event.pid.is_some() && event.clock.is_some() && event.timestamp.is_some());
            assert!(event.sanitized.is_empty() && event.truncated.is_empty());
            seen += 1;
        }
    }
    assert!(seen >= 100, "{seen}");
}

#[test]
fn both_ways_read_the_same_out_of_every_recording() {
    for file in [
        "redis-events.jsonl",
        "amqp-events.jsonl",
        "redis-compat.jsonl",
    ] {
        for body in bodies(file) {
            let mut usual = Vec::new();
            assert!(
                usual::decode(&body, 7, &mut usual),
                "recorded events are usual"
            );
            let (mut careful, mut rejects) = (Vec::new(), Rejections::default());
            careful::decode(&body, 7, &mut careful, &mut rejects);
            assert_eq!((usual, true), (careful, rejects.is_empty()));
        }
    }
}

#[test]
fn numbers_that_python_writes_and_json_lacks_are_absent_and_flagged() {
    let event = one(with(
        r#""runtime": NaN, "timestamp": -Infinity, "clock": 3"#,
    ));
    assert_eq!(
        (event.runtime, event.timestamp, event.clock),
        (None, None, Some(3))
    );
    assert_eq!(event.sanitized, ["runtime", "timestamp"]);
    let event = one(with(r#""loadavg": [1.0, NaN, 2.0]"#));
    assert!(event.loadavg.is_empty());
    assert_eq!(event.sanitized, ["loadavg"]);
    let event = one(with(&format!(
        r#""clock": {0}, "pid": 18446744073709551616"#,
        "9".repeat(400)
    )));
    assert_eq!((event.clock, event.pid), (None, None));
    assert_eq!(event.sanitized, ["clock", "pid"]);
}

#[test]
fn lone_surrogates_are_replaced_and_flagged() {
    let event = one(with(r#""result": "'\ud83d'", "name": "\ud83d\ude00""#));
    assert_eq!(event.result.as_deref(), Some("'\u{fffd}'"));
    assert_eq!(event.name.as_deref(), Some("\u{1f600}"));
    assert_eq!(event.sanitized, ["result"]);
    let event = one(br#"{"type": "task-x", "hostname": "h\udc00", "uuid": "\udc00", "\ud800": 1}"#);
    assert_eq!(
        (event.hostname.as_ref(), event.uuid.as_deref()),
        ("h\u{fffd}", Some("\u{fffd}"))
    );
    assert_eq!(event.custom, [("\u{fffd}".to_owned(), "1".to_owned())]);
    assert_eq!(event.sanitized, ["hostname", "uuid", "\u{fffd}"]);
}

#[test]
fn invalid_utf8_is_replaced_and_flagged() {
    let event = one(b"{\"type\": \"task-failed\", \"hostname\": \"h\", \"uuid\": \"u\", \"exception\": \"E('\xff')\"}");
    assert_eq!(event.exception.as_deref(), Some("E('\u{fffd}')"));
    assert_eq!(event.sanitized, ["exception"]);
}

#[test]
fn values_of_another_type_are_absent_and_flagged_and_what_means_the_same_is_read() {
    let event = one(with(
        r#""pid": "12", "clock": 5.0, "retries": [1], "terminated": 1, "expired": "yes", "freq": 5,
           "args": {"a": 1}, "active": -1, "eta": null, "runtime": null"#,
    ));
    assert_eq!(
        (event.pid, event.clock, event.retries),
        (None, Some(5), None)
    );
    assert_eq!((event.terminated, event.expired), (Some(true), None));
    assert_eq!(
        (event.freq, event.args, event.active),
        (Some(5.0), None, None)
    );
    assert_eq!(
        event.sanitized,
        ["pid", "retries", "expired", "args", "active"]
    );
    assert!(event.custom.is_empty());
}

#[test]
fn signals_come_as_numbers_and_as_names() {
    let revoked = |signum: &str| {
        one(format!(
            r#"{{"type": "task-revoked", "hostname": "h", "uuid": "u", "terminated": true, "signum": {signum}}}"#
        ))
        .signum
    };
    assert_eq!(revoked("15").as_deref(), Some("15"));
    assert_eq!(revoked("\"15\"").as_deref(), Some("15"));
    assert_eq!(revoked("\"SIGKILL\"").as_deref(), Some("SIGKILL"));
    assert_eq!(revoked("null"), None);
}

#[test]
fn custom_events_keep_fields_of_their_own() {
    let event = one(
        r#"{"type": "task-progress", "hostname": "h", "uuid": "u", "done": 1, "meta": {"a": [1, "\ud83d\ude00"]},
            "result": {"part": 2}, "id": 123456789012345678901234567890}"#,
    );
    let expect = [
        ("done", "1"),
        ("meta", r#"{"a": [1, "\ud83d\ude00"]}"#),
        ("result", r#"{"part": 2}"#),
        ("id", "123456789012345678901234567890"),
    ];
    let fields: Vec<_> = event
        .custom
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(fields, expect);
    assert!(event.sanitized.is_empty());

    let event = one(r#"{"type": "foo-bar", "hostname": "a host é", "x": [NaN]}"#);
    assert_eq!((event.hostname.as_ref(), event.uuid), ("a host é", None));
    assert_eq!(event.custom, [("x".to_owned(), "[null]".to_owned())]);
    assert_eq!(event.sanitized, ["x"]);

    // A worker election, as Celery sends it.
    let event =
        one(r#"{"type": "worker-elect", "hostname": "h", "id": "i", "topic": "t", "cver": 1}"#);
    assert_eq!(event.custom.len(), 3);
}

#[test]
fn custom_fields_are_bounded_and_what_is_left_out_is_named() {
    let fields: Vec<_> = (0..100).map(|n| format!(r#""f{n}": "x""#)).collect();
    let event = one(with(&fields.join(", ")));
    assert_eq!((event.custom.len(), event.truncated.len()), (32, 32));
    assert_eq!(event.truncated[0], ("f32".to_owned(), 3));

    let event = one(with(&format!(
        r#""big": "{}", "{}": 1"#,
        "x".repeat(100_000),
        "n".repeat(300)
    )));
    assert_eq!(event.custom[0].1.len(), json::TEXT_BYTES_MAX);
    assert_eq!(event.truncated, [("big".to_owned(), 100_000)]);
    assert_eq!(event.custom[1].0.len(), NAME_BYTES_MAX);
}

#[test]
fn a_result_of_5_megabytes_is_cut_between_characters() {
    let event = one(with(&format!(r#""result": "x{}""#, "é".repeat(2_500_000))));
    assert_eq!(
        event.result.expect("cut, not lost").len(),
        json::TEXT_BYTES_MAX - 1
    );
    assert_eq!(event.truncated, [("result".to_owned(), 5_000_001)]);
    let event = one(with(&format!(
        r#""clock": 1.0, "result": "{}""#,
        "x".repeat(5_000_000)
    )));
    assert_eq!(event.truncated, [("result".to_owned(), 5_000_000)]);
}

#[test]
fn only_what_has_no_identity_is_rejected() {
    let reason = |body: &str| {
        let (events, rejects) = decode(body);
        assert!(events.is_empty());
        assert_eq!(rejects.len(), 1, "{body}");
        rejects[0].0
    };
    let long = "x".repeat(1025);
    let no_type = "event without a readable type";
    let no_uuid = "event without a readable uuid";
    assert_eq!(reason("{}"), no_type);
    assert_eq!(reason(r#"{"type": 1, "hostname": "h"}"#), no_type);
    assert_eq!(reason(r#"{"type": null, "hostname": "h"}"#), no_type);
    assert_eq!(
        reason(r#"{"type": "task-sent", "uuid": "u"}"#),
        "event without a readable hostname"
    );
    assert_eq!(reason(r#"{"type": "task-sent", "hostname": "h"}"#), no_uuid);
    assert_eq!(
        reason(r#"{"type": "task-sent", "hostname": "h", "uuid": null}"#),
        no_uuid
    );
    assert_eq!(
        reason(r#"{"type": "foo-bar", "hostname": "h", "uuid": [1]}"#),
        no_uuid
    );
    assert_eq!(reason(r#"{"type": "task", "hostname": "h"}"#), no_uuid);
    assert_eq!(
        reason(&format!(r#"{{"type": "foo", "hostname": "{long}"}}"#)),
        "event with a type, hostname or uuid longer than 1024 bytes"
    );
    assert_eq!(reason("1"), "event is not an object");
    assert_eq!(reason("null"), "event is not an object");
    for body in ["", "{", "[{}", "\u{80}", "{} {}", "[NaN", "nan"] {
        assert_eq!(reason(body), "body is not JSON", "{body}");
    }
    assert_eq!(
        one(r#"{"type": "task-x", "hostname": "h", "uuid": 17}"#)
            .uuid
            .as_deref(),
        Some("17")
    );
    assert_eq!(decode("[]"), (vec![], vec![]));
}

#[test]
fn one_bad_event_loses_no_other() {
    let good = with(r#""runtime": 1.5"#);
    let deep = with(&format!(r#""x": {}{}"#, "[".repeat(500), "]".repeat(500)));
    let (events, rejects) = decode(format!(r#"[{good}, 7, {{"type": "x"}}, {deep}, {good}]"#));
    assert_eq!(events.len(), 2);
    assert_eq!(events[0], one(&good));
    assert_eq!(
        rejects,
        [
            ("event is not an object", 1),
            ("event without a readable hostname", 1),
            ("event nested deeper than 127 levels", 1)
        ]
    );
}

#[test]
fn nesting_of_any_depth_is_survived() {
    let levels = 2_000_000;
    let nested = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert_eq!(decode(&nested).1, [("event is not an object", 1)]);
    assert_eq!(
        decode(with(&format!(r#""result": {nested}"#))).1,
        [("event nested deeper than 127 levels", 1)]
    );
    assert_eq!(decode("[".repeat(levels)).1, [("body is not JSON", 1)]);
}

#[test]
fn a_message_of_too_many_events_is_read_in_part_and_the_rest_counted() {
    let event = r#"{"type": "a", "hostname": "h"}"#;
    let body = format!("[{}{event}]", format!("{event},").repeat(EVENTS_MAX + 1));
    let (events, rejects) = decode(body);
    assert_eq!(events.len(), EVENTS_MAX);
    assert_eq!(rejects, [("more than 10000 events in one message", 2)]);
}

#[test]
fn of_a_repeated_field_the_last_counts() {
    let event = one(
        r#"{"type": "x", "hostname": "a", "type": "task-y", "uuid": "u", "hostname": "b", "name": "n",
            "name": null, "c": 1, "c": 2, "loadavg": [1, 2, 3], "loadavg": [4, 5, 6]}"#,
    );
    assert_eq!(
        (event.event_type.as_ref(), event.hostname.as_ref()),
        ("task-y", "b")
    );
    assert_eq!((event.name, event.loadavg), (None, vec![4.0, 5.0, 6.0]));
    assert_eq!(event.custom, [("c".to_owned(), "2".to_owned())]);
}

#[test]
fn what_was_decoded_before_stays_when_a_body_is_odd() {
    let mut events = vec![one(with(r#""clock": 1"#))];
    let mut rejects = Rejections::default();
    let body = format!("[{}, 1]", with(r#""clock": 2"#));
    assert_eq!(
        decode_events(body.as_bytes(), 7, &mut events, &mut rejects),
        1
    );
    let clocks: Vec<_> = events.iter().map(|event| event.clock).collect();
    assert_eq!((clocks, rejects.total()), (vec![Some(1), Some(2)], 1));
}

proptest! {
    #[test]
    fn decoding_any_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        decode(bytes);
    }

    /// Either way may be taken: what the usual one accepts, the careful one reads the same.
    #[test]
    fn damaged_events_never_panic_and_both_ways_agree(
        which in any::<prop::sample::Index>(),
        damage in proptest::collection::vec(
            (
                any::<prop::sample::Index>(),
                0..6_usize,
                prop_oneof![
                    Just(""), Just("NaN"), Just("null"), Just("\\ud83d"), Just("\""), Just("{"), Just("]"),
                    Just("1e400"), Just(","), Just("-"), Just("\u{e9}"),
                ],
            ),
            1..4,
        ),
    ) {
        thread_local! {
            static BODIES: Vec<Vec<u8>> = bodies("redis-compat.jsonl");
        }
        let mut body = BODIES.with(|bodies| bodies[which.index(bodies.len())].clone());
        for (place, length, with) in damage {
            let start = place.index(body.len());
            let end = (start + length).min(body.len());
            body.splice(start..end, with.bytes());
        }
        decode(&body);
        let mut usual = Vec::new();
        if usual::decode(&body, 7, &mut usual) {
            let (mut careful, mut rejects) = (Vec::new(), Rejections::default());
            careful::decode(&body, 7, &mut careful, &mut rejects);
            prop_assert!(rejects.is_empty());
            prop_assert_eq!(usual, careful);
        }
    }
}

#[test]
fn frames_are_opened_and_decoded_in_one_go() {
    let frame = Frame::Properties {
        content_type: "application/json".into(),
        content_encoding: "utf-8".into(),
        compression: None,
        ticket: None,
        hostname: None,
        routing_key: None,
        body: with(r#""clock": 1"#).into_bytes(),
    };
    let mut opener = Opener::default();
    assert_eq!(
        one(opener.open(&frame).expect("readable").body).clock,
        Some(1)
    );
}
