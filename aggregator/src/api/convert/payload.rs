//! Arguments, results and error texts of a task.

use celeriac_proto::v1;

use super::texts;
use crate::state::Task;

/// What billiard sends in place of an exception that it could not pickle: time limits and lost children.
const USELESS: &str = "ExceptionWithTraceback()";

/// The payload, with the exception that the traceback tells where Celery's own text is useless.
pub(super) fn payload(task: &Task) -> v1::Payload {
    let [args, kwargs, result, exception, traceback] = texts(&task.payload);
    let exception = match exception {
        Some(text) if text == USELESS => {
            let last_line = |text: &str| text.trim_end().lines().next_back().map(str::to_owned);
            traceback.as_deref().and_then(last_line).or(Some(text))
        }
        other => other,
    };
    let truncation = |(field, original_bytes): &(Box<str>, u64)| v1::Truncation {
        field: field.to_string(),
        original_bytes: *original_bytes,
    };
    v1::Payload {
        args,
        kwargs,
        result,
        exception,
        traceback,
        truncations: task.payload.truncated.iter().map(truncation).collect(),
        sanitized_fields: task
            .payload
            .sanitized
            .iter()
            .map(ToString::to_string)
            .collect(),
    }
}
