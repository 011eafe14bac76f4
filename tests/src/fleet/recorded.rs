//! What a real worker answered, from the recordings.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::Value;

use crate::paths;

/// The recorded worker whose answers are taken: Celery 5.7, prefork with two processes, events on.
const WORKER: &str = "celery@w1";

static ANSWERS: LazyLock<HashMap<String, Value>> = LazyLock::new(read);

/// The first recorded answer to a command.
///
/// # Panics
/// When there is none.
pub(super) fn answer(method: &str) -> Value {
    ANSWERS
        .get(method)
        .unwrap_or_else(|| panic!("no answer to {method} was recorded"))
        .clone()
}

/// Whether the recorded worker knows a command.
pub(super) fn knows(method: &str) -> bool {
    ANSWERS.contains_key(method)
}

fn read() -> HashMap<String, Value> {
    let file = paths::root().join("tests/fixtures/redis-pidbox.jsonl");
    let text = std::fs::read_to_string(file).expect("the recordings are in the checkout");
    let mut methods = HashMap::new();
    let mut answers = HashMap::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).expect("a recording is JSON lines");
        let payload = line["payload"].as_str().expect("a payload is text");
        let envelope: Value = serde_json::from_str(payload).expect("it was recorded from kombu");
        let Some(body) = super::node::body(&envelope) else {
            continue;
        };
        if line["op"] == "PUBLISH" {
            methods.insert(body["ticket"].to_string(), body["method"].clone());
            continue;
        }
        let method = methods.get(&envelope["headers"]["ticket"].to_string());
        let (Some(Value::String(method)), Some(answer)) = (method, body.get(WORKER)) else {
            continue;
        };
        answers
            .entry(method.clone())
            .or_insert_with(|| answer.clone());
    }
    answers
}
