//! What a real worker answered, from the recordings.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::Value;

use super::redis;

/// The recorded worker whose answers are taken: Celery 5.7, prefork with two processes, events on.
const WORKER: &str = "celery@w1";

type Answers = HashMap<String, Value>;

static REDIS: LazyLock<Answers> = LazyLock::new(|| {
    // Of each line: whether it is a request, the value by which a reply finds it, and the body.
    read(include_str!("../../fixtures/redis-pidbox.jsonl"), |line| {
        let payload = line["payload"].as_str().unwrap_or_default();
        let envelope: Value = serde_json::from_str(payload).expect("it was recorded from kombu");
        let ticket = envelope["headers"]["ticket"].clone();
        redis::body(payload.as_bytes()).map(|body| (line["op"] == "PUBLISH", ticket, body))
    })
});

static RABBITMQ: LazyLock<Answers> = LazyLock::new(|| {
    read(include_str!("../../fixtures/amqp-pidbox.jsonl"), |line| {
        let ticket = line["properties"]["headers"]["ticket"].clone();
        let body = serde_json::from_str(line["body"].as_str().unwrap_or_default()).ok();
        body.map(|body| (line["exchange"] == "celery.pidbox", ticket, body))
    })
});

/// The answers of the worker that was recorded on a broker.
#[derive(Clone, Copy)]
pub(crate) enum Recorded {
    Redis,
    RabbitMq,
}

impl Recorded {
    /// The first recorded answer to a command.
    ///
    /// # Panics
    /// When there is none.
    pub(crate) fn answer(self, method: &str) -> Value {
        self.answers()
            .get(method)
            .unwrap_or_else(|| panic!("no answer to {method} was recorded"))
            .clone()
    }

    /// Whether the recorded worker knows a command.
    pub(crate) fn knows(self, method: &str) -> bool {
        self.answers().contains_key(method)
    }

    fn answers(self) -> &'static Answers {
        match self {
            Self::Redis => &REDIS,
            Self::RabbitMq => &RABBITMQ,
        }
    }
}

fn read(recording: &str, open: impl Fn(&Value) -> Option<(bool, Value, Value)>) -> Answers {
    let mut methods = HashMap::new();
    let mut answers = HashMap::new();
    for line in recording.lines() {
        let line: Value = serde_json::from_str(line).expect("a recording is JSON lines");
        let Some((is_request, ticket, body)) = open(&line) else {
            continue;
        };
        if is_request {
            methods.insert(body["ticket"].to_string(), body["method"].clone());
            continue;
        }
        let method = methods.get(&ticket.to_string());
        let (Some(Value::String(method)), Some(answer)) = (method, body.get(WORKER)) else {
            continue;
        };
        answers
            .entry(method.clone())
            .or_insert_with(|| answer.clone());
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_an_inspector_asks_was_recorded_on_both() {
        for recorded in [Recorded::Redis, Recorded::RabbitMq] {
            for method in [
                "ping",
                "stats",
                "registered",
                "active_queues",
                "conf",
                "report",
                "clock",
            ] {
                assert!(recorded.knows(method), "{method}");
            }
        }
        let transport =
            |recorded: Recorded| recorded.answer("stats")["broker"]["transport"].clone();
        assert_eq!(transport(Recorded::Redis), "redis");
        assert_eq!(transport(Recorded::RabbitMq), "amqp");
    }
}
