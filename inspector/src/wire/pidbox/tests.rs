use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::wire::message::{Frame, Opener};
use crate::wire::recorded;

mod requests;
mod stats;

/// A setting as Celery writes it in the answers to `conf` with defaults: no JSON.
const ENDLESS: &str = r#""result_backend_max_retries": Infinity"#;

/// A recorded reply: the command it answers, the reply, and its value as a generic parser reads it.
struct Recorded {
    method: String,
    reply: Reply,
    wire: Value,
    endless: bool,
}

/// The requests of a recording, and its replies in order.
fn recording(file: &str) -> (Vec<Value>, Vec<Recorded>) {
    let mut opener = Opener::default();
    let (mut requests, mut replies) = (Vec::new(), Vec::new());
    for line in recorded::lines(file) {
        let place = |name: &str| line.json[name].as_str().unwrap_or_default().to_owned();
        if [place("channel"), place("exchange")]
            .concat()
            .contains("celeryev")
        {
            continue;
        }
        let message = opener.open(&line.frame).expect("readable");
        let text = std::str::from_utf8(message.body).expect("text");
        let strict = text.replace(ENDLESS, r#""result_backend_max_retries": null"#);
        let body: Value = serde_json::from_str(&strict).expect("JSON");
        if body.get("method").is_some() {
            requests.push(body);
            continue;
        }
        let reply = Reply::read(&message).expect("a reply");
        replies.push(Recorded {
            method: String::new(),
            wire: body[&reply.hostname].clone(),
            endless: text.contains(ENDLESS),
            reply,
        });
    }
    // Some replies were recorded before their requests.
    let methods: BTreeMap<&str, &str> = requests
        .iter()
        .filter_map(|request| Some((request["ticket"].as_str()?, request["method"].as_str()?)))
        .collect();
    for recorded in &mut replies {
        let ticket = recorded
            .reply
            .ticket
            .as_deref()
            .expect("every reply has one");
        methods[ticket].clone_into(&mut recorded.method);
    }
    (requests, replies)
}

fn both() -> Vec<Recorded> {
    let mut replies = recording("redis-pidbox.jsonl").1;
    replies.extend(recording("amqp-pidbox.jsonl").1);
    replies
}

fn of(method: &str) -> Vec<Recorded> {
    let replies: Vec<_> = both()
        .into_iter()
        .filter(|recorded| recorded.method == method)
        .collect();
    assert!(!replies.is_empty(), "no reply to {method} is recorded");
    replies
}

/// A reply with this value.
fn reply(value: &str) -> Reply {
    read(&format!(r#"{{"celery@w1": {value}}}"#)).expect("a reply")
}

fn read(body: &str) -> Result<Reply, ReplyError> {
    let frame = Frame::Properties {
        content_type: "application/json".into(),
        content_encoding: "utf-8".into(),
        compression: None,
        ticket: Some("t".into()),
        hostname: None,
        routing_key: None,
        body: body.as_bytes().to_vec(),
    };
    Reply::read(&Opener::default().open(&frame).expect("readable"))
}

#[test]
fn every_recorded_reply_is_sorted_by_celerys_convention() {
    for file in [
        "redis-pidbox.jsonl",
        "amqp-pidbox.jsonl",
        "redis-compat.jsonl",
    ] {
        let (_, replies) = recording(file);
        for recorded in replies {
            let expect = match (&recorded.wire["ok"], &recorded.wire["error"]) {
                (Value::Null, Value::Null) => Answer::Data(recorded.wire.clone()),
                (Value::Null, error) => Answer::Error(error.as_str().expect("text").to_owned()),
                (ok, _) => Answer::Ok(ok.clone()),
            };
            assert_eq!(recorded.reply.answer(), expect, "{}", recorded.method);
            assert_eq!(recorded.reply.sanitized, recorded.endless);
        }
    }
    let count = |file| recording(file).1.len();
    assert_eq!(count("redis-pidbox.jsonl"), 159);
    assert_eq!(count("redis-compat.jsonl"), 27);
}

#[test]
fn recorded_errors_are_the_workers_words() {
    let errors: Vec<_> = of("pool_shrink")
        .into_iter()
        .filter(|recorded| recorded.reply.hostname == "celery@w2")
        .map(|recorded| recorded.reply.answer())
        .collect();
    let expect = "AttributeError(\"'TaskPool' object has no attribute 'shrink'\")";
    assert_eq!(errors, vec![Answer::Error(expect.into()); 2]);
    for recorded in of("objgraph") {
        let expect = AnswerError::Worker("ImportError('Requires the objgraph library')".into());
        assert_eq!(recorded.reply.objgraph(), Err(expect));
    }
}

#[test]
fn recorded_pings_clocks_and_texts_are_read() {
    for recorded in of("ping") {
        assert_eq!(recorded.reply.ping(), Ok(()));
    }
    for recorded in of("clock") {
        assert_eq!(recorded.reply.clock().ok(), recorded.wire["clock"].as_u64());
    }
    for recorded in of("report") {
        // Nothing in it looks like a password: Celery has masked it.
        assert_eq!(
            recorded.reply.report().ok().as_deref(),
            recorded.wire["ok"].as_str()
        );
    }
    for recorded in of("memsample") {
        assert_eq!(
            recorded.reply.memsample().ok().as_deref(),
            recorded.wire.as_str()
        );
    }
    for recorded in of("memdump") {
        assert_eq!(
            recorded.reply.memdump().ok().as_deref(),
            recorded.wire.as_str()
        );
    }
    for recorded in of("revoked") {
        let ids: Vec<String> = serde_json::from_value(recorded.wire).expect("ids");
        assert_eq!(recorded.reply.revoked(), Ok(ids));
    }
}

/// A task as a generic parser reads it.
fn task(wire: &Value) -> TaskRequest {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let delivery = &wire["delivery_info"];
    TaskRequest {
        id: text(&wire["id"]).expect("an id"),
        name: text(&wire["name"]),
        task_type: text(&wire["type"]),
        args: Some(wire["args"].to_string().replace(',', ", ")),
        kwargs: Some(wire["kwargs"].to_string()),
        hostname: text(&wire["hostname"]),
        time_start: wire["time_start"].as_f64(),
        acknowledged: wire["acknowledged"].as_bool().expect("a flag"),
        exchange: text(&delivery["exchange"]),
        routing_key: text(&delivery["routing_key"]),
        priority: delivery["priority"].as_i64(),
        redelivered: delivery["redelivered"].as_bool().expect("a flag"),
        worker_pid: wire["worker_pid"].as_u64(),
        eta: None,
        truncated: vec![],
    }
}

#[test]
fn recorded_tasks_are_read_to_every_field() {
    let mut seen = 0;
    let mut check = |held: HeldTasks, expect: Vec<TaskRequest>| {
        seen += held.tasks.len();
        assert_eq!((held.total, held.unreadable), (expect.len() as u64, 0));
        assert_eq!(held.tasks, expect);
    };
    for recorded in of("active") {
        let expect = recorded.wire.as_array().expect("a list").iter().map(task);
        check(recorded.reply.active().expect("tasks"), expect.collect());
    }
    for recorded in of("reserved") {
        let expect = recorded.wire.as_array().expect("a list").iter().map(task);
        check(recorded.reply.reserved().expect("tasks"), expect.collect());
    }
    for recorded in of("scheduled") {
        let entries = recorded.wire.as_array().expect("a list").iter();
        let expect = entries.map(|entry| TaskRequest {
            eta: entry["eta"].as_str().map(str::to_owned),
            ..task(&entry["request"])
        });
        check(recorded.reply.scheduled().expect("tasks"), expect.collect());
    }
    assert!(seen >= 20, "{seen}");
}

#[test]
fn recorded_answers_to_query_task_are_read() {
    let mut states = Vec::new();
    for recorded in of("query_task") {
        let queried = recorded.reply.query_task().expect("tasks");
        let wire = recorded.wire.as_object().expect("an object");
        assert_eq!(queried.len(), wire.len());
        for found in queried {
            let pair = &wire[&found.request.id];
            assert_eq!(found.request, task(&pair[1]));
            let name = format!("{:?}", found.state).to_lowercase();
            assert_eq!(Some(name.as_str()), pair[0].as_str());
            states.push(name);
        }
    }
    states.sort();
    states.dedup();
    assert_eq!(states, ["active", "reserved", "scheduled"]);
}

#[test]
fn recorded_queues_and_names_are_read() {
    for recorded in of("active_queues") {
        if recorded.wire.get("error").is_some() {
            let error = recorded.reply.active_queues().expect_err("bad argument");
            assert!(matches!(error, AnswerError::Worker(text) if text.starts_with("TypeError(")));
            continue;
        }
        let queues = recorded.reply.active_queues().expect("queues");
        let wire = recorded.wire.as_array().expect("a list");
        assert_eq!(queues.len(), wire.len());
        for (queue, wire) in queues.iter().zip(wire) {
            assert_eq!(Some(queue.name.as_str()), wire["name"].as_str());
            assert_eq!(
                Some(queue.exchange.as_str()),
                wire["exchange"]["name"].as_str()
            );
            assert_eq!(
                Some(queue.exchange_type.as_str()),
                wire["exchange"]["type"].as_str()
            );
            assert_eq!(
                Some(queue.routing_key.as_str()),
                wire["routing_key"].as_str()
            );
            assert_eq!((queue.durable, queue.exclusive), (true, false));
            assert_eq!((queue.max_priority, &queue.queue_arguments), (None, &None));
        }
    }
    for recorded in of("registered") {
        let tasks = recorded.reply.registered().expect("tasks");
        let texts = tasks.iter().map(|task| match &task.attributes {
            Some(attributes) => format!("{} [{attributes}]", task.name),
            None => task.name.clone(),
        });
        assert_eq!(json!(texts.collect::<Vec<_>>()), recorded.wire);
        assert!(tasks.iter().all(|task| !task.name.contains([' ', '['])));
    }
}

#[test]
fn recorded_settings_are_as_celery_masked_them_or_more_so() {
    let endless = of("conf")
        .iter()
        .filter(|recorded| recorded.endless)
        .count();
    assert_eq!(endless, 2);
    for recorded in of("conf") {
        let conf: Value =
            serde_json::from_str(&recorded.reply.conf().expect("settings")).expect("JSON");
        let (conf, wire) = (
            conf.as_object().expect("object"),
            recorded.wire.as_object().expect("object"),
        );
        assert_eq!(conf.len(), wire.len());
        for (name, value) in wire {
            assert_eq!(&conf[name], value, "{name}: Celery has masked it already");
        }
    }
    let conf = reply(r#"{"my_token": "x", "url": "amqp://u:p@h", "task_time_limit": NaN}"#).conf();
    let expect = r#"{"my_token":"********","task_time_limit":null,"url":"amqp://u:********@h"}"#;
    assert_eq!(conf.as_deref(), Ok(expect));
}

#[test]
fn what_python_writes_and_json_lacks_is_read_in_a_reply() {
    let digits = "9".repeat(30);
    let held = reply(&format!(
        r#"[{{"id": "a", "args": [NaN, {digits}], "kwargs": {{"s": "\ud83d"}}, "time_start": Infinity,
            "delivery_info": null, "acknowledged": true}}, {{"id": null}}, 5]"#
    ));
    assert!(held.sanitized);
    let held = held.active().expect("tasks");
    assert_eq!((held.total, held.unreadable, held.tasks.len()), (3, 2, 1));
    assert_eq!(
        held.tasks[0].args.as_deref(),
        Some(format!("[null, {digits}]").as_str())
    );
    assert_eq!(held.tasks[0].kwargs.as_deref(), Some(r#"{"s": "\ufffd"}"#));
    assert_eq!(
        (held.tasks[0].time_start, held.tasks[0].acknowledged),
        (None, true)
    );

    let wrapped = r#"{"__type__": "datetime", "__value__": "2026-01-02T03:04:05+00:00"}"#;
    let held = reply(&format!(
        r#"[{{"id": "a", "args": [{wrapped}], "time_start": 8123.5}}]"#
    ));
    let task = &held.active().expect("tasks").tasks[0];
    assert_eq!(task.args.as_deref(), Some(format!("[{wrapped}]").as_str()));
    assert_eq!(task.time_start, None, "a monotonic clock is no time");
    assert!(!held.sanitized);
}

#[test]
fn long_arguments_are_cut_and_named() {
    let held = reply(&format!(
        r#"[{{"id": "a", "args": ["{}"]}}]"#,
        "x".repeat(100_000)
    ));
    let task = held.active().expect("tasks").tasks.remove(0);
    assert_eq!(task.truncated, [("args".to_owned(), 100_004)]);
    let text: String = serde_json::from_str(&task.args.expect("cut, not lost")).expect("JSON");
    assert!(text.starts_with("[\"xxx"));
}

#[test]
fn answers_of_another_shape_are_errors_and_not_empty() {
    let shape = AnswerError::Shape;
    assert_eq!(reply(r#"{"ok": "no"}"#).ping(), Err(shape("ping")));
    assert_eq!(reply("[]").stats(), Err(shape("stats")));
    assert_eq!(reply(r#"{"ok": []}"#).active(), Err(shape("active")));
    assert_eq!(reply("null").reserved(), Err(shape("reserved")));
    assert_eq!(
        reply(r#"[{"name": "a"}, 1]"#).active_queues(),
        Err(shape("active_queues"))
    );
    assert_eq!(reply("null").active_queues(), Ok(vec![]));
    assert_eq!(reply("[]").conf(), Err(shape("conf")));
    assert_eq!(reply("{}").query_task(), Ok(vec![]));
    assert_eq!(reply(r#"{"a": {}}"#).query_task(), Err(shape("query_task")));
    assert_eq!(reply("[1]").revoked(), Err(shape("revoked")));
    assert_eq!(reply("[null]").registered(), Err(shape("registered")));
    assert_eq!(
        reply(r#"{"error": {"a": 1}}"#).answer(),
        Answer::Data(json!({"error": {"a": 1}}))
    );
    let error = reply(r#"{"error": "OperationalError('amqp://u:hunter2@h')"}"#).stats();
    let expect = "the worker answered with an error: OperationalError('amqp://u:********@h')";
    assert_eq!(
        error.map_err(|error| error.to_string()),
        Err(expect.to_owned())
    );
}

#[test]
fn a_task_that_was_asked_for_is_never_overlooked() {
    let found = reply(r#"{"a": ["brand new state", null]}"#).query_task();
    let request = TaskRequest {
        id: "a".into(),
        ..TaskRequest::default()
    };
    let state = TaskState::Ready;
    assert_eq!(found, Ok(vec![QueriedTask { state, request }]));
}

#[test]
fn an_answer_is_not_in_debug_output() {
    let shown = format!("{:?}", reply(r#"{"my_password": "hunter2"}"#));
    assert!(
        shown.contains("celery@w1") && !shown.contains("hunter2"),
        "{shown}"
    );
}

#[test]
fn what_is_no_reply_is_refused() {
    let deep = format!(r#"{{"celery@w1": {}{}}}"#, "[".repeat(200), "]".repeat(200));
    for (body, expect) in [
        ("", ReplyError::NotJson),
        ("{", ReplyError::NotJson),
        ("{}", ReplyError::NotOneNode),
        ("[]", ReplyError::NotOneNode),
        (r#"{"": 1}"#, ReplyError::NotOneNode),
        (r#"{"a": 1, "b": 2}"#, ReplyError::NotOneNode),
        (deep.as_str(), ReplyError::TooDeep),
    ] {
        assert_eq!(read(body), Err(expect), "{body:.40}");
    }
}

proptest! {
    #[test]
    fn damaged_replies_never_panic(
        which in any::<prop::sample::Index>(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        thread_local! {
            static REPLIES: Vec<Recorded> = both();
        }
        let (mut body, method) = REPLIES.with(|replies| {
            let recorded = &replies[which.index(replies.len())];
            let body = format!(r#"{{"celery@w1": {}}}"#, recorded.reply.value);
            (body.into_bytes(), recorded.method.clone())
        });
        for (place, byte) in damage {
            let place = place.index(body.len());
            body[place] = byte;
        }
        let frame = Frame::Properties {
            content_type: "application/json".into(), content_encoding: "utf-8".into(),
            compression: None, ticket: None, hostname: None,
        routing_key: None,
        body,
        };
        let mut opener = Opener::default();
        if let Ok(reply) = Reply::read(&opener.open(&frame).expect("readable")) {
            // The value is fit for any parser.
            prop_assert!(serde_json::from_str::<Value>(&reply.value).is_ok(), "{method}: {}", reply.value);
            let _ = (reply.answer(), reply.ping(), reply.stats(), reply.active(), reply.reserved(), reply.scheduled());
            let _ = (reply.query_task(), reply.revoked(), reply.registered(), reply.active_queues(), reply.conf());
            let _ = (reply.clock(), reply.report(), reply.memsample(), reply.memdump(), reply.objgraph());
        }
    }
}
