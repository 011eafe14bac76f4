//! The recorded traffic in `tests/fixtures`, for tests of this module.

use serde_json::Value;

use super::message::Frame;

/// One line of a recording.
pub(crate) struct Line {
    /// The line as it is.
    pub(crate) json: Value,
    /// The message it holds.
    pub(crate) frame: Frame,
}

/// All of a recording, in order.
pub(crate) fn lines(file: &str) -> Vec<Line> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/");
    let text = std::fs::read_to_string(format!("{folder}{file}"))
        .unwrap_or_else(|error| panic!("recording {file}: {error}"));
    text.lines()
        .map(|line| {
            let json: Value = serde_json::from_str(line).expect("a recording is JSON lines");
            let frame = frame(&json);
            Line { json, frame }
        })
        .collect()
}

/// What Celery's own `State` made of a recording.
pub(crate) fn expected_state(file: &str) -> Value {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/");
    let text = std::fs::read_to_string(format!("{folder}{file}"))
        .unwrap_or_else(|error| panic!("expected state {file}: {error}"));
    serde_json::from_str(&text).expect("an expected state is JSON")
}

fn frame(line: &Value) -> Frame {
    if let Some(payload) = line["payload"].as_str() {
        return Frame::Envelope(payload.as_bytes().to_vec().into());
    }
    let properties = &line["properties"];
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Frame::Properties {
        content_type: text(&properties["content_type"]).unwrap_or_default(),
        content_encoding: text(&properties["content_encoding"]).unwrap_or_default(),
        compression: text(&properties["headers"]["compression"]),
        ticket: text(&properties["headers"]["ticket"]),
        hostname: None,
        routing_key: None,
        body: match line["body"].as_str() {
            Some(body) => body.as_bytes().to_vec(),
            None => base64_simd::STANDARD
                .decode_to_vec(line["body"]["base64"].as_str().expect("a body"))
                .expect("base64"),
        },
    }
}
