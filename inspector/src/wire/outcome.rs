//! Outcomes of tasks as Celery keeps them in a result backend: keys and values. Follows `celery/backends/base.py`.

use serde_json::{Map, Value};

use super::argument::masked_json;
use super::json::{bounded_json, bounded_text};

/// Bytes read of one value at most: results of tasks that return documents are not for a monitor to carry.
pub const OUTCOME_BYTES_MAX: usize = 256 * 1024;

/// What a compressed value begins with (`result_compression`).
const COMPRESSED: &[u8] = b"\x00celery-compressed\x00";

/// The outcome of a task. Texts are at most 64 KiB.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Celery's state, such as `SUCCESS`.
    pub status: String,
    /// When it was done: ISO 8601.
    pub date_done: Option<String>,
    /// The return value as JSON text, of a success.
    pub result: Option<String>,
    /// The exception: class and arguments, of anything else.
    pub exception: Option<String>,
    /// The traceback.
    pub traceback: Option<String>,
    /// Texts that were cut: field and full size in bytes.
    pub truncated: Vec<(&'static str, u64)>,
}

/// Why a value is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableOutcome {
    /// `result_compression` is set.
    #[error("a result is compressed (`result_compression`), which is not read")]
    Compressed,
    /// Longer than [`OUTCOME_BYTES_MAX`].
    #[error("a result is longer than 256 KiB, which is not read")]
    TooLong,
    /// Another serializer.
    #[error("a result is not JSON (`result_serializer`), and nothing else is read")]
    NotJson,
    /// JSON, but no outcome.
    #[error("a result has no status")]
    NoStatus,
}

/// The key of a task's outcome. `prefix` is the backend's own `global_keyprefix`; Celery parts it from the rest.
pub fn key(prefix: &str, task_id: &str) -> String {
    let parted = prefix.is_empty() || prefix.ends_with([':', '_', '-', '.']);
    let part = if parted { "" } else { "_" };
    format!("{prefix}{part}celery-task-meta-{task_id}")
}

impl Outcome {
    /// Reads a value, of which [`OUTCOME_BYTES_MAX`] bytes and one more were fetched at most.
    ///
    /// # Errors
    /// When it is not one that can be read; nothing is guessed.
    pub fn read(value: &[u8]) -> Result<Self, UnreadableOutcome> {
        if value.starts_with(COMPRESSED) {
            return Err(UnreadableOutcome::Compressed);
        }
        if value.len() > OUTCOME_BYTES_MAX {
            return Err(UnreadableOutcome::TooLong);
        }
        let Ok(Value::Object(meta)) = serde_json::from_slice(value) else {
            return Err(UnreadableOutcome::NotJson);
        };
        let text = |key: &str| meta.get(key).and_then(Value::as_str).map(str::to_owned);
        let mut outcome = Self {
            status: text("status").ok_or(UnreadableOutcome::NoStatus)?,
            date_done: text("date_done"),
            ..Self::default()
        };
        let mut cut = |field, (text, size): (String, Option<u64>)| {
            outcome.truncated.extend(size.map(|size| (field, size)));
            text
        };
        let result = meta.get("result").filter(|result| !result.is_null());
        match (outcome.status.as_str(), result) {
            ("SUCCESS", result) => {
                let json = result.map_or_else(|| "null".to_owned(), Value::to_string);
                let json = masked_json(&json).unwrap_or(json);
                outcome.result = Some(cut("result", bounded_json(&json)));
            }
            (_, Some(Value::Object(raised))) => {
                outcome.exception =
                    exception(raised).map(|text| cut("exception", bounded_text(&text)));
            }
            _ => {}
        }
        outcome.traceback = text("traceback").map(|text| cut("traceback", bounded_text(&text)));
        Ok(outcome)
    }
}

/// An exception as Python shows it, as far as JSON tells.
fn exception(raised: &Map<String, Value>) -> Option<String> {
    let class = raised.get("exc_type")?.as_str()?;
    let arguments = match raised.get("exc_message") {
        Some(Value::Array(arguments)) => arguments.iter().map(argument).collect(),
        Some(Value::Null) | None => Vec::new(),
        Some(other) => vec![argument(other)],
    };
    Some(format!("{class}({})", arguments.join(", ")))
}

fn argument(value: &Value) -> String {
    match value {
        Value::String(text) => format!("'{text}'"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_celerys() {
        assert_eq!(key("", "a"), "celery-task-meta-a");
        assert_eq!(key("shop", "a"), "shop_celery-task-meta-a");
        assert_eq!(key("shop:", "a"), "shop:celery-task-meta-a");
    }

    #[test]
    fn a_success_and_a_failure_are_read() {
        let value =
            br#"{"status": "SUCCESS", "result": [1, "x"], "traceback": null, "children": [],
            "date_done": "2026-11-22T11:46:07.984708+00:00", "task_id": "a"}"#;
        let outcome = Outcome::read(value).unwrap();
        assert_eq!(outcome.status, "SUCCESS");
        assert_eq!(outcome.result.as_deref(), Some(r#"[1,"x"]"#));
        assert!(outcome.date_done.is_some() && outcome.exception.is_none());
        let value = br#"{"status": "FAILURE", "traceback": "Traceback ...\n", "date_done": null, "task_id": "a",
            "result": {"exc_type": "ValueError", "exc_message": ["boom 2"], "exc_module": "builtins"}}"#;
        let outcome = Outcome::read(value).unwrap();
        assert_eq!(outcome.exception.as_deref(), Some("ValueError('boom 2')"));
        assert_eq!(outcome.traceback.as_deref(), Some("Traceback ...\n"));
        assert_eq!(outcome.result, None);
    }

    #[test]
    fn what_cannot_be_read_is_said_and_not_guessed() {
        let compressed = b"\x00celery-compressed\x00application/zstd\x00...";
        for (value, why) in [
            (&compressed[..], UnreadableOutcome::Compressed),
            (b"\x80\x04\x95", UnreadableOutcome::NotJson),
            (b"[]", UnreadableOutcome::NotJson),
            (b"{}", UnreadableOutcome::NoStatus),
        ] {
            assert_eq!(Outcome::read(value), Err(why));
        }
        let long = vec![b' '; OUTCOME_BYTES_MAX + 1];
        assert_eq!(Outcome::read(&long), Err(UnreadableOutcome::TooLong));
    }

    #[test]
    fn long_results_are_cut_and_say_so() {
        let value = format!(
            r#"{{"status": "SUCCESS", "result": "{}"}}"#,
            "x".repeat(100_000)
        );
        let outcome = Outcome::read(value.as_bytes()).unwrap();
        assert_eq!(outcome.truncated, [("result", 100_000)]);
    }
}
