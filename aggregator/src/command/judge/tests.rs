//! Judgements of what real workers answered (`tests/fixtures/redis-pidbox.jsonl`; the texts of other versions and pools are
//! those of `tests/tests/control`, where real workers give them).

use std::collections::BTreeMap;

use super::*;
use crate::state::Micros;

fn record(method: &str, idle: &[&str]) -> Record {
    Record {
        request_id: "id".into(),
        recorded: 0,
        principal: "".into(),
        request: Vec::new(),
        method: method.into(),
        arguments_json: "{}".into(),
        all_workers: true,
        workers: Vec::new(),
        wait_millis: 0,
        reason: "".into(),
        idle: idle.iter().map(|name| (*name).into()).collect(),
        drain: false,
    }
}

/// Every recorded reply to a control command: method, worker, answer.
fn recorded() -> Vec<(String, String, String)> {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/fixtures/redis-pidbox.jsonl"
    );
    let lines = std::fs::read_to_string(file).expect("the recording is in the tree");
    let mut methods: BTreeMap<String, String> = BTreeMap::new();
    let mut replies = Vec::new();
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).expect("JSON lines");
        let text = line["payload"].as_str().expect("a payload");
        let envelope: Value = serde_json::from_str(text).expect("an envelope");
        let body = base64_simd::STANDARD
            .decode_to_vec(envelope["body"].as_str().expect("a body"))
            .expect("base64");
        // Some hold NaN, from task arguments, which the inspector mends.
        let Ok(body) = serde_json::from_slice::<Value>(&body) else {
            continue;
        };
        if let Some(method) = body["method"].as_str() {
            let ticket = body["ticket"].as_str().unwrap_or_default().to_owned();
            methods.insert(ticket, method.to_owned());
            continue;
        }
        let ticket = envelope["headers"]["ticket"].as_str().unwrap_or_default();
        let (worker, answer) = body
            .as_object()
            .and_then(|nodes| nodes.iter().next())
            .expect("one node");
        replies.push((methods[ticket].clone(), worker.clone(), answer.to_string()));
    }
    replies
}

/// The recorded answer that holds a text.
fn answer(method: &str, part: &str) -> String {
    let found = recorded()
        .into_iter()
        .find(|(name, _, answer)| name == method && answer.contains(part));
    found
        .unwrap_or_else(|| panic!("no answer to {method} with {part:?} was recorded"))
        .2
}

fn check(method: &str, part: &str, kind: Kind, says: &str) {
    check_known(&record(method, &[]), part, Known::default(), kind, says);
}

fn check_known(record: &Record, part: &str, known: Known<'_>, kind: Kind, says: &str) {
    let answer = answer(&record.method, part);
    let (judged, meaning) = judge(record, "celery@w1", &answer, known);
    assert_eq!(judged, kind, "{answer}");
    assert!(meaning.contains(says), "{answer}: {meaning}");
    assert_eq!(meaning.is_empty(), says.is_empty(), "{answer}: {meaning}");
}

#[test]
fn what_was_done_is_done() {
    check("ping", "pong", Kind::Done, "");
    check("pool_grow", "pool will grow", Kind::Done, "");
    check("autoscale", "autoscale now", Kind::Done, "");
    check(
        "revoke",
        "flagged as revoked",
        Kind::Done,
        "one that runs already goes on",
    );
    check("revoke", "terminate: 0000", Kind::Done, "");
    check(
        "rate_limit",
        "new rate limit set",
        Kind::Done,
        "at the old rate",
    );
    check(
        "rate_limit",
        "rate limit disabled",
        Kind::Done,
        "at the old rate",
    );
    check("add_consumer", "add consumer extra", Kind::Done, "");
    check("cancel_consumer", "no longer consuming", Kind::Done, "");
    check(
        "pool_restart",
        "reload started",
        Kind::Done,
        "after its next task",
    );
    check("disable_events", "task events disabled", Kind::Done, "");
    check("heartbeat", "null", Kind::Done, "");
    check("stats", "rusage", Kind::Done, "");
    check("conf", "broker_url", Kind::Done, "");
}

#[test]
fn ok_that_did_nothing_is_no_effect() {
    check(
        "revoke",
        "terminate: tasks unknown",
        Kind::NoEffect,
        "nothing to end",
    );
    check(
        "revoke_by_stamped_headers",
        "were not terminated",
        Kind::NoEffect,
        "nothing to end",
    );
    check(
        "enable_events",
        "already enabled",
        Kind::NoEffect,
        "already",
    );
    let off = record("disable_events", &[]);
    check_known(
        &off,
        "already disabled",
        Known::default(),
        Kind::NoEffect,
        "or it was started",
    );
    let sends = Known {
        sends_events: true,
        ..Known::default()
    };
    check_known(
        &off,
        "already disabled",
        sends,
        Kind::NoEffect,
        "goes on sending",
    );
    let idle = ["celery@w1"];
    let cancel = record("cancel_consumer", &idle);
    check_known(
        &cancel,
        "no longer",
        Known::default(),
        Kind::NoEffect,
        "did not consume",
    );
    let add = record("add_consumer", &idle);
    check_known(
        &add,
        "add consumer",
        Known::default(),
        Kind::NoEffect,
        "already",
    );
}

#[test]
fn a_restart_of_a_pool_that_cannot_is_no_effect() {
    let known = Known {
        pool: Some("gevent"),
        ..Known::default()
    };
    let restart = record("pool_restart", &[]);
    check_known(
        &restart,
        "reload started",
        known,
        Kind::NoEffect,
        "only prefork can",
    );
}

#[test]
fn a_signal_that_pool_processes_ignore_ends_nothing() {
    for (signal, pool, kind, says) in [
        ("SIGTERM", Some("prefork"), Kind::Done, ""),
        ("SIGKILL", Some("prefork"), Kind::Done, ""),
        ("SIGINT", Some("prefork"), Kind::NoEffect, "ignore SIGINT"),
        ("WINCH", Some("prefork"), Kind::NoEffect, "ignore SIGWINCH"),
        (
            "SIGUSR1",
            Some("prefork"),
            Kind::Done,
            "SoftTimeLimitExceeded",
        ),
        ("SIGSTOP", Some("prefork"), Kind::Done, "slot is lost"),
        // It ends the greenlet whatever the signal.
        ("SIGINT", Some("gevent"), Kind::Done, ""),
        ("SIGINT", None, Kind::Done, ""),
    ] {
        let arguments = serde_json::json!({"task_id": ["t"], "terminate": true, "signal": signal});
        let record = Record {
            arguments_json: arguments.to_string().into(),
            ..record("revoke", &[])
        };
        let known = Known {
            pool,
            ..Known::default()
        };
        check_known(&record, "terminate: 0000", known, kind, says);
    }
}

#[test]
fn a_green_worker_takes_its_time_and_an_old_one_the_wrong_order() {
    for (pool, version, says) in [
        ("gevent", Some("5.4.0"), "does the latest first"),
        (GREEN, Some("4.4.7"), "does the latest first"),
        ("gevent", Some("5.7.0"), "within some seconds"),
        ("gevent", None, "within some seconds"),
        ("prefork", Some("4.4.7"), ""),
    ] {
        let known = Known {
            pool: Some(pool),
            version,
            ..Known::default()
        };
        for (method, part) in [
            ("add_consumer", "add consumer"),
            ("cancel_consumer", "no longer"),
        ] {
            check_known(&record(method, &[]), part, known, Kind::Done, says);
        }
    }
}

#[test]
fn time_limits_change_nothing_at_once() {
    for (pool, says) in [
        ("threads", "enforces none"),
        ("solo", "enforces none"),
        ("prefork", "goes on with the old ones"),
        ("gevent", "goes on with the old ones"),
    ] {
        let known = Known {
            pool: Some(pool),
            ..Known::default()
        };
        check_known(
            &record("time_limit", &[]),
            "set successfully",
            known,
            Kind::NoEffect,
            says,
        );
    }
}

#[test]
fn errors_are_said_in_plain_words_where_celery_gives_a_repr() {
    check(
        "pool_grow",
        "has no attribute 'grow'",
        Kind::Error,
        "fixed size",
    );
    check(
        "pool_shrink",
        "has no attribute 'shrink'",
        Kind::Error,
        "fixed size",
    );
    check(
        "pool_shrink",
        "All processes busy",
        Kind::Error,
        "none that runs a task",
    );
    check(
        "pool_grow",
        "not supported with autoscale",
        Kind::Error,
        "bounds",
    );
    check(
        "autoscale",
        "Autoscale not enabled",
        Kind::Error,
        "--autoscale",
    );
    check(
        "pool_restart",
        "not enabled",
        Kind::Error,
        "worker_pool_restarts",
    );
    check(
        "rate_limit",
        "unknown task",
        Kind::Error,
        "no task of this name",
    );
    check(
        "time_limit",
        "unknown task",
        Kind::Error,
        "no task of this name",
    );
    check(
        "nosuch",
        "KeyError",
        Kind::Error,
        "does not know this command",
    );
    check(
        "active_queues",
        "unexpected keyword",
        Kind::Error,
        "does not know one of the arguments",
    );
    check("rate_limit", "Invalid rate limit string", Kind::Error, "");
}

#[test]
fn data_that_looks_like_an_answer_is_data() {
    let judged = |json: &str| judge(&record("conf", &[]), "celery@w1", json, Known::default());
    for json in [
        r#"{"error": 1}"#,
        r#"{"ok": 1, "error": "x"}"#,
        "[]",
        "null",
        "\"cut",
        "",
    ] {
        assert_eq!(judged(json), (Kind::Done, String::new()), "{json}");
    }
}

/// A worker whose loop has not come round yet is seen consuming what it was told to cancel; what it is told then is not idle.
#[test]
fn what_was_seen_tells_of_a_command_once_it_had_the_time() {
    let cancel = Record {
        recorded: 100_000_000,
        ..record("cancel_consumer", &[])
    };
    let seconds = |after: Micros| cancel.recorded + after * 1_000_000;
    let consuming = "add_consumer";
    assert!(cancel.may_be_pending(consuming, seconds(-1)));
    assert!(cancel.may_be_pending(consuming, seconds(3)));
    assert!(!cancel.may_be_pending(consuming, seconds(60)));
    let not_consuming = "cancel_consumer";
    assert!(cancel.may_be_pending(not_consuming, seconds(-1)));
    assert!(!cancel.may_be_pending(not_consuming, seconds(3)));
}
