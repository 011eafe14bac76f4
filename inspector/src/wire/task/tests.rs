use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::wire::recorded;

/// The recorded messages of both brokers: what was read, and headers and properties as a generic parser reads them.
fn recorded_tasks() -> Vec<(TaskMessage, Value, Value)> {
    let mut tasks = Vec::new();
    for line in recorded::lines("redis-tasks.jsonl") {
        let payload = line.json["payload"].as_str().expect("text");
        let wire: Value = serde_json::from_str(payload).expect("JSON");
        let task = TaskMessage::from_envelope(payload.as_bytes()).expect("readable");
        assert_eq!(task.content_type.as_deref(), wire["content-type"].as_str());
        let delivery = &wire["properties"]["delivery_info"];
        assert_eq!(
            task.routing_key.as_deref(),
            delivery["routing_key"].as_str()
        );
        assert_eq!(task.exchange.as_deref(), delivery["exchange"].as_str());
        tasks.push((task, wire["headers"].clone(), wire["properties"].clone()));
    }
    for line in recorded::lines("amqp-tasks.jsonl") {
        let wire = line.json["properties"].clone();
        let Frame::Properties { body, .. } = &line.frame else {
            panic!("AMQP has properties");
        };
        let task = TaskMessage::from_properties(&wire.to_string(), body).expect("readable");
        assert_eq!(task.content_type.as_deref(), wire["content_type"].as_str());
        tasks.push((task, wire["headers"].clone(), wire));
    }
    tasks
}

#[test]
fn recorded_tasks_are_read_from_their_headers_whatever_the_body_is() {
    let tasks = recorded_tasks();
    assert_eq!(tasks.len(), 53 + 53);
    for (task, headers, properties) in &tasks {
        let text = |name: &str| headers[name].as_str();
        assert_eq!(task.protocol, Protocol::Two);
        assert_eq!(task.id.as_deref(), text("id"));
        assert_eq!(task.task.as_deref(), text("task"));
        assert_eq!(task.shadow.as_deref(), text("shadow"));
        assert_eq!(task.lang.as_deref(), Some("py"));
        assert_eq!(task.root_id.as_deref(), text("root_id"));
        assert_eq!(task.parent_id.as_deref(), text("parent_id"));
        assert_eq!(task.group.as_deref(), text("group"));
        assert_eq!(task.group_index, headers["group_index"].as_i64());
        assert_eq!(task.retries, headers["retries"].as_i64());
        assert_eq!(task.eta.as_deref(), text("eta"));
        assert_eq!(task.expires.as_deref(), text("expires"));
        assert_eq!(task.args.as_deref(), text("argsrepr"));
        assert_eq!(task.kwargs.as_deref(), text("kwargsrepr"));
        assert_eq!(task.origin.as_deref(), text("origin"));
        assert_eq!(task.hard_limit_seconds, headers["timelimit"][0].as_f64());
        assert_eq!(task.soft_limit_seconds, headers["timelimit"][1].as_f64());
        assert_eq!(task.ignore_result, headers["ignore_result"].as_bool());
        assert_eq!(task.compression.as_deref(), text("compression"));
        assert_eq!(task.priority, properties["priority"].as_i64());
        assert_eq!(task.reply_to.as_deref(), properties["reply_to"].as_str());
        assert_eq!(task.sent_micros, None, "Celery does not write it down");
        assert_eq!(
            task.stamps.len(),
            headers["stamps"]
                .as_object()
                .map_or(0, serde_json::Map::len)
        );
        assert!(task.truncated.is_empty() && !task.redelivered);
    }
    let any = |test: &dyn Fn(&TaskMessage) -> bool| tasks.iter().any(|(task, _, _)| test(task));
    assert!(any(
        &|task| task.stamps == [("user".to_owned(), "\"u1\"".to_owned())]
    ));
    assert!(any(
        &|task| task.custom == [("x-custom".to_owned(), "\"v\"".to_owned())]
    ));
    assert!(any(
        &|task| task.hard_limit_seconds.is_some() && task.shadow.is_some()
    ));
    assert!(any(&|task| task.eta.is_some() && task.priority != Some(0)));
    let pickle = "application/x-python-serialize";
    assert!(any(
        &|task| task.content_type.as_deref() == Some(pickle) && task.task.is_some()
    ));
}

fn envelope(headers: &Value, properties: &Value, body: &str) -> TaskMessage {
    let envelope = json!({"body": body, "content-type": "application/json", "content-encoding": "utf-8",
        "headers": headers, "properties": properties});
    TaskMessage::from_envelope(envelope.to_string().as_bytes()).expect("readable")
}

#[test]
fn the_time_of_sending_is_taken_from_whoever_wrote_it_down() {
    let sent = |headers: Value, properties: Value| envelope(&headers, &properties, "").sent_micros;
    assert_eq!(
        sent(json!({}), json!({"timestamp": 1_795_347_644})),
        Some(1_795_347_644_000_000)
    );
    // RabbitMQ's message interceptor sets both.
    let finer = json!({"timestamp_in_ms": 1_795_347_644_123_i64});
    assert_eq!(
        sent(finer, json!({"timestamp": 1_795_347_644})),
        Some(1_795_347_644_123_000)
    );
    assert_eq!(sent(json!({}), json!({"timestamp": "yesterday"})), None);
    assert_eq!(sent(json!({}), json!({"timestamp": 9e18})), None);
}

#[test]
fn a_message_put_back_says_so() {
    let delivery =
        json!({"delivery_info": {"exchange": "", "routing_key": "q", "redelivered": true}});
    assert!(envelope(&json!({"task": "a"}), &delivery, "").redelivered);
    assert!(envelope(&json!({"task": "a", "redelivered": true}), &json!({}), "").redelivered);
    assert!(!envelope(&json!({"task": "a"}), &json!({}), "").redelivered);
}

/// The body as `as_task_v1` of Celery makes it.
#[test]
fn protocol_1_is_recognised_and_read_from_a_json_body() {
    let body = r#"{"task": "demo.add", "id": "i", "args": [1, 2], "kwargs": {}, "group": null, "retries": 2,
        "eta": "2026-01-01T00:00:00+00:00", "expires": null, "utc": true, "callbacks": null, "errbacks": null,
        "timelimit": [20, 10], "taskset": "g", "chord": null}"#;
    let encoded = base64_simd::STANDARD.encode_to_string(body);
    let base64 = json!({"body_encoding": "base64", "delivery_tag": "t", "priority": 3});
    let task = envelope(&json!({}), &base64, &encoded);
    let expect = TaskMessage {
        protocol: Protocol::One,
        id: Some("i".into()),
        task: Some("demo.add".into()),
        group: Some("g".into()),
        retries: Some(2),
        eta: Some("2026-01-01T00:00:00+00:00".into()),
        hard_limit_seconds: Some(20.0),
        soft_limit_seconds: Some(10.0),
        content_type: Some("application/json".into()),
        priority: Some(3),
        ..TaskMessage::default()
    };
    assert_eq!(task, expect);
    let properties = json!({"content_type": "application/json", "headers": {}, "priority": 3});
    let amqp = TaskMessage::from_properties(&properties.to_string(), body.as_bytes());
    assert_eq!(amqp, Ok(expect));

    let properties = json!({"content_type": "application/x-python-serialize", "headers": {}});
    let pickled =
        TaskMessage::from_properties(&properties.to_string(), b"\x80\x04\x95").expect("read");
    assert_eq!((pickled.protocol, pickled.id), (Protocol::One, None));
}

#[test]
fn odd_headers_are_absent_and_spoil_nothing() {
    let text =
        br#"{"body": "", "headers": {"task": "a", "id": 5, "retries": NaN, "argsrepr": "\ud83d",
        "timelimit": null, "stamps": [1], "eta": {}}, "properties": {"priority": "high"}}"#;
    let task = TaskMessage::from_envelope(text).expect("readable");
    assert_eq!(
        (task.task.as_deref(), task.id, task.retries),
        (Some("a"), None, None)
    );
    assert_eq!(
        (task.args.as_deref(), task.priority, task.eta),
        (Some("\u{fffd}"), None, None)
    );

    let long = "x".repeat(70_000);
    let task = envelope(&json!({"task": "a", "kwargsrepr": long}), &json!({}), "");
    assert_eq!(task.truncated, [("kwargsrepr".to_owned(), 70_000)]);
    let headers: serde_json::Map<String, Value> =
        (0..100).map(|n| (format!("h{n}"), json!(n))).collect();
    assert_eq!(
        envelope(&headers.into(), &json!({}), "").custom.len(),
        HEADERS_MAX
    );
}

#[test]
fn what_is_no_envelope_is_refused() {
    let refused = |bytes: &[u8]| {
        TaskMessage::from_envelope(bytes)
            .expect_err("refused")
            .reason()
    };
    let deep = format!(
        r#"{{"properties": {{"x": {}{}}}}}"#,
        "[".repeat(200),
        "]".repeat(200)
    );
    for bytes in [
        &b""[..],
        b"[]",
        b"{}",
        b"{\"properties\": 1}",
        b"\xff",
        deep.as_bytes(),
    ] {
        assert_eq!(refused(bytes), "truncated or invalid envelope");
    }
    assert_eq!(
        refused(&vec![b' '; MESSAGE_BYTES_MAX + 1]),
        "larger than 16 MiB"
    );
}

proptest! {
    #[test]
    fn damaged_tasks_never_panic(
        which in any::<prop::sample::Index>(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        thread_local! {
            static PAYLOADS: Vec<Vec<u8>> = recorded::lines("redis-tasks.jsonl")
                .iter()
                .map(|line| line.json["payload"].as_str().expect("text").as_bytes().to_vec())
                .collect();
        }
        let mut bytes = PAYLOADS.with(|payloads| payloads[which.index(payloads.len())].clone());
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let _ = TaskMessage::from_envelope(&bytes);
        let _ = TaskMessage::from_properties(&String::from_utf8_lossy(&bytes), &bytes);
    }
}
