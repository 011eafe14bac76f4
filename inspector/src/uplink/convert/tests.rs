//! Every recorded event, field by field, and the bounds of a batch.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;
use crate::wire::event::{Event, decode_events};
use crate::wire::message::{Frame, Opener};
use crate::wire::rejection::Rejections;

const REDIS: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../tests/fixtures/redis-events.jsonl"
));
const AMQP: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../tests/fixtures/amqp-events.jsonl"
));

fn source() -> Source {
    Source {
        app: "shop".into(),
        endpoint: "redis://broker:6379/0".into(),
        transport: "redis",
    }
}

/// A recorded line: the message, and the JSON of its body as the sender wrote it.
fn recorded(line: &str) -> (Frame, Value) {
    let line: Value = serde_json::from_str(line).expect("fixtures are JSON lines");
    if let Some(payload) = line["payload"].as_str() {
        let envelope: Value = serde_json::from_str(payload).expect("an envelope");
        let body = envelope["body"].as_str().expect("a body").as_bytes();
        let body = base64_simd::STANDARD.decode_to_vec(body).expect("base64");
        let body = serde_json::from_slice(&body).expect("a JSON body");
        return (Frame::Envelope(payload.as_bytes().to_vec().into()), body);
    }
    let body = line["body"].as_str().expect("a body");
    let frame = Frame::Properties {
        content_type: "application/json".into(),
        content_encoding: "utf-8".into(),
        compression: None,
        ticket: None,
        hostname: None,
        routing_key: None,
        body: body.as_bytes().to_vec(),
    };
    (frame, serde_json::from_str(body).expect("a JSON body"))
}

/// What a converted event says of one of the sender's fields.
fn said(event: &v1::Event, field: &str) -> Value {
    match field {
        "type" => Value::from(event.r#type.clone()),
        "hostname" => Value::from(event.hostname.clone()),
        "pid" => Value::from(event.pid),
        "clock" => Value::from(event.clock),
        "timestamp" => Value::from(event.timestamp),
        "uuid" => Value::from(event.uuid.clone()),
        "name" => Value::from(event.name.clone()),
        "args" => Value::from(event.args.clone()),
        "kwargs" => Value::from(event.kwargs.clone()),
        "root_id" => Value::from(event.root_id.clone()),
        "parent_id" => Value::from(event.parent_id.clone()),
        "retries" => Value::from(event.retries),
        "eta" => Value::from(event.eta.clone()),
        "expires" => Value::from(event.expires.clone()),
        "queue" => Value::from(event.queue.clone()),
        "exchange" => Value::from(event.exchange.clone()),
        "routing_key" => Value::from(event.routing_key.clone()),
        "result" => Value::from(event.result.clone()),
        "runtime" => Value::from(event.runtime),
        "exception" => Value::from(event.exception.clone()),
        "traceback" => Value::from(event.traceback.clone()),
        "terminated" => Value::from(event.terminated),
        "signum" => Value::from(event.signum.clone()),
        "expired" => Value::from(event.expired),
        "requeue" => Value::from(event.requeue),
        "freq" => Value::from(event.freq),
        "active" => Value::from(event.active),
        "processed" => Value::from(event.processed),
        "loadavg" => Value::from(event.loadavg.clone()),
        "sw_ident" => Value::from(event.sw_ident.clone()),
        "sw_ver" => Value::from(event.sw_ver.clone()),
        "sw_sys" => Value::from(event.sw_sys.clone()),
        custom => event.custom.get(custom).map_or(Value::Null, |json| {
            serde_json::from_str(json).expect("custom values are JSON")
        }),
    }
}

fn decoded(event: &[u8]) -> v1::Event {
    v1::Event::decode(event).expect("an encoded event")
}

/// Whether they are the same, numbers by value: Celery writes `5` and `5.0` for the same frequency, and a signal as a number
/// or a text.
fn same(sent: &Value, said: &Value) -> bool {
    match (sent, said) {
        (Value::Number(sent), Value::Number(said)) => sent.as_f64() == said.as_f64(),
        (Value::Number(sent), Value::String(said)) => sent.to_string() == *said,
        (Value::Array(sent), Value::Array(said)) => {
            sent.len() == said.len() && sent.iter().zip(said).all(|(sent, said)| same(sent, said))
        }
        _ => sent == said,
    }
}

/// Converts every recorded event and compares every field. Gives how many events there were.
fn check(fixture: &str) -> usize {
    let mut opener = Opener::default();
    let mut rejections = Rejections::default();
    let mut compared = BTreeSet::new();
    let mut count = 0;
    for (place, line) in fixture.lines().enumerate() {
        let (frame, body) = recorded(line);
        let mut events = Vec::new();
        let opened = opener.open(&frame).expect("recorded events are JSON");
        decode_events(opened.body, 17, &mut events, &mut rejections);
        let observation = Observation {
            events: events.iter().collect(),
            messages: 1,
            ..Observation::default()
        };
        let mut pieces = batches(&source(), observation);
        assert_eq!(pieces.len(), 1, "line {place}");
        let batch = pieces.remove(0).batch;
        let wire = batch.encode_to_vec();
        let batch = v1::Batch::decode(wire.as_slice()).expect("encoded above");
        let sent = match body {
            Value::Array(events) => events,
            single => vec![single],
        };
        assert_eq!(batch.events.len(), sent.len(), "line {place}");
        for (sent, converted) in sent.iter().zip(&batch.events) {
            let converted = &decoded(converted);
            assert_eq!(converted.received_micros, 17);
            for (field, value) in sent.as_object().expect("events are objects") {
                // Not carried: timestamps are UTC already.
                if field == "utcoffset" {
                    continue;
                }
                let said = said(converted, field);
                assert!(
                    same(value, &said),
                    "line {place}: {field} was {value}, is {said}"
                );
                compared.insert(field.clone());
            }
            count += 1;
        }
    }
    assert!(rejections.is_empty());
    assert!(compared.len() >= 34, "only {compared:?} were compared");
    count
}

#[test]
fn every_event_recorded_on_redis_is_carried_field_by_field() {
    assert_eq!(check(REDIS), 2_703);
}

#[test]
fn every_event_recorded_on_amqp_is_carried_field_by_field() {
    assert_eq!(check(AMQP), 2_706);
}

#[test]
fn what_was_cut_mended_or_is_custom_is_carried_too() {
    let pairs = |name: &str| {
        ["", "a", "b"]
            .map(|value| (format!("{name}{value}"), value.to_owned()))
            .to_vec()
    };
    let sizes = vec![("args".to_owned(), 70_000), (String::new(), 0)];
    let seen = Event {
        event_type: "task-x".into(),
        hostname: "\u{e9}@h".into(),
        retries: Some(-1),
        received_micros: -5,
        expired: Some(false),
        uuid: Some("".into()),
        custom: pairs("field"),
        truncated: sizes.clone(),
        sanitized: vec!["x".to_owned(), String::new()],
        ..Event::default()
    };
    let [encoded] = &[&seen].into_iter().collect::<Events>().into_slices()[..] else {
        panic!("one event was given")
    };
    let expected = v1::Event {
        r#type: "task-x".to_owned(),
        hostname: "\u{e9}@h".to_owned(),
        retries: Some(-1),
        received_micros: -5,
        expired: Some(false),
        uuid: Some(String::new()),
        custom: pairs("field").into_iter().collect(),
        truncated: sizes.into_iter().collect(),
        sanitized: vec!["x".to_owned(), String::new()],
        ..v1::Event::default()
    };
    assert_eq!(decoded(encoded), expected);
}

fn event_of(bytes: usize) -> Event<'static> {
    Event {
        event_type: "task-failed".into(),
        traceback: Some("x".repeat(bytes).into()),
        ..Event::default()
    }
}

#[test]
fn a_large_observation_is_divided_and_nothing_is_lost() {
    let observation = Observation {
        events: [event_of(60_000)].iter().cycle().take(40).collect(),
        messages: 40,
        from_micros: 3,
        to_micros: 4,
        depths: Some(DepthReading::default()),
        gaps: vec![Gap {
            cause: GapCause::Reconnect,
            start_micros: 1,
            end_micros: Some(2),
            dropped_messages: None,
            detail: String::new(),
        }],
        ..Observation::default()
    };
    let pieces = batches(&source(), observation);
    assert_eq!(pieces.len(), 3);
    for piece in &pieces {
        assert!(piece.batch.encoded_len() <= BATCH_BYTES_MAX + 1_000);
    }
    assert_eq!(
        pieces
            .iter()
            .map(|piece| piece.batch.events.len())
            .sum::<usize>(),
        40
    );
    assert_eq!(pieces.iter().map(|piece| piece.messages).sum::<u64>(), 40);
    assert_eq!(
        pieces
            .iter()
            .filter(|piece| piece.batch.depths.is_some())
            .count(),
        1
    );
    assert_eq!(
        pieces
            .iter()
            .map(|piece| piece.batch.gaps.len())
            .sum::<usize>(),
        1
    );
}

#[test]
fn messages_that_held_nothing_readable_make_no_batch() {
    let observation = Observation {
        messages: 3,
        from_micros: 1,
        ..Observation::default()
    };
    assert_eq!(batches(&source(), observation), vec![]);
}

#[test]
fn a_queue_with_one_level_has_no_priorities() {
    let one = QueueDepth {
        ready: vec![(0, 3)],
        ..QueueDepth::default()
    };
    let two = QueueDepth {
        ready: vec![(0, 3), (3, 4)],
        ..QueueDepth::default()
    };
    let (one, two) = (depth(one), depth(two));
    assert_eq!((one.ready, one.priorities.len()), (3, 0));
    assert_eq!((two.ready, two.priorities.len()), (7, 2));
}

#[test]
fn times_before_1970_keep_positive_nanoseconds() {
    assert_eq!(
        timestamp(-1),
        prost_types::Timestamp {
            seconds: -1,
            nanos: 999_999_000
        }
    );
    assert_eq!(
        timestamp(1_500_000),
        prost_types::Timestamp {
            seconds: 1,
            nanos: 500_000_000
        }
    );
}

#[test]
fn an_empty_answer_differs_from_none() {
    let seen = Snapshot {
        queues: Some(vec![]),
        active: Some(HeldTasks::default()),
        ..Snapshot::default()
    };
    let converted = snapshot(seen);
    assert_eq!(converted.queues, Some(v1::QueueList::default()));
    assert_eq!(converted.active, Some(v1::RequestList::default()));
    assert_eq!((converted.reserved, converted.registered), (None, None));
}
