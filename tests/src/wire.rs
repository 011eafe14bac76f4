//! Raw messages as a Celery worker would publish them on Redis, for what no worker can be made to send.

use serde_json::{Value, json};

use crate::redis::Redis;

/// The channel of task events of workers with the default options on database 0 (`celery-wire`: routing key
/// `task.multi`).
pub const TASK_CHANNEL: &str = "/0.celeryev/task.multi";

/// kombu's Redis envelope around a body (kombu `transport/virtual/base.py`, `body_encoding` base64).
pub fn envelope(body: &[u8], content_type: &str, content_encoding: &str) -> String {
    json!({
        "body": base64_simd::STANDARD.encode_to_string(body),
        "content-type": content_type,
        "content-encoding": content_encoding,
        "headers": {"hostname": "celery@raw"},
        "properties": {
            "delivery_mode": 1,
            "delivery_info": {"exchange": "celeryev", "routing_key": "task.multi"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": uuid::Uuid::new_v4().to_string(),
        },
    })
    .to_string()
}

/// Publishes an event body as JSON text, which need not be valid JSON.
pub fn publish_json(redis: &Redis, body: &str) {
    publish(
        redis,
        &envelope(body.as_bytes(), "application/json", "utf-8"),
    );
}

/// Publishes a payload as it is on the channel of task events.
///
/// # Panics
/// When nobody is subscribed, since then the message tests nothing.
pub fn publish(redis: &Redis, payload: &str) {
    let receivers = redis.cli(&["PUBLISH", TASK_CHANNEL, payload]).number();
    assert!(receivers > 0, "nobody is subscribed to {TASK_CHANNEL}");
}

/// An event of a worker with the fields that all events have.
pub fn event(kind: &str, hostname: &str, clock: u64, fields: &Value) -> Value {
    let mut event = json!({
        "type": kind,
        "hostname": hostname,
        "utcoffset": 0.0,
        "pid": 4711,
        "clock": clock,
        "timestamp": 1_800_000_000.25,
    });
    if let (Some(event), Some(fields)) = (event.as_object_mut(), fields.as_object()) {
        event.extend(fields.clone());
    }
    event
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::celery::Celery;

    #[tokio::test]
    async fn celery_itself_reads_what_is_published_here() {
        let redis = Redis::start();
        let recorder = Celery::new("5.7", &redis.url()).recorder().await;
        let failed = json!({"uuid": "raw", "exception": "E()"});
        let events = json!([event("task-failed", "celery@raw", 1, &failed)]);
        publish_json(&redis, &events.to_string());
        let recording = recorder.finish();
        assert_eq!(recording.tasks["raw"]["state"], "FAILURE");
        assert_eq!(recording.tasks["raw"]["worker"], "celery@raw");
    }
}
