//! Compares a task as Celeriac shows it with the same task as Celery's own `celery.events.state.State` has it.

use celeriac_proto::v1::{Payload, Task};
use prost_types::{Duration, Timestamp};
use serde_json::Value;

/// Celery's times are floats: at today's epoch their steps are 0.24 µs.
const TOLERANCE_NANOS: i128 = 1_000;

/// Every field in which the task differs from what Celery made of the same events.
pub fn differences(task: &Task, celery: &Value) -> Vec<String> {
    let mut differences = Differences {
        id: task.id.clone(),
        found: Vec::new(),
    };
    differences.state(task, celery);
    differences.identity(task, celery);
    differences.times(task, celery);
    differences.payload(task.payload.as_ref(), celery);
    differences.found
}

struct Differences {
    id: String,
    found: Vec<String>,
}

impl Differences {
    fn same<T: PartialEq + std::fmt::Debug + Copy>(&mut self, field: &str, ours: T, celery: T) {
        if ours != celery {
            let id = &self.id;
            self.found
                .push(format!("{id}: {field} is {ours:?}, Celery's is {celery:?}"));
        }
    }

    fn state(&mut self, task: &Task, celery: &Value) {
        let mut expected = text(celery, "state").unwrap_or_default();
        // The one difference that is meant: a late `task-retried` does not reopen a finished task. It is late by its time,
        // or by its place among the retries, since a busy worker gives it the time at which it tells.
        let last_end = ["succeeded", "failed"]
            .into_iter()
            .filter_map(|field| Some((celery[field].as_f64()?, field)))
            .max_by(|a, b| a.0.total_cmp(&b.0));
        if let (true, Some((ended, field))) = (expected == "RETRY", last_end)
            && celery["retried"]
                .as_f64()
                .is_some_and(|retried| retried < ended || celery["late_retry"] == true)
        {
            expected = if field == "failed" {
                "FAILURE"
            } else {
                "SUCCESS"
            };
        }
        self.same("state", task.state.as_str(), expected);
        let finished = ["SUCCESS", "FAILURE", "REVOKED"].contains(&expected);
        if finished {
            self.same("finished", task.finished, true);
        }
    }

    fn identity(&mut self, task: &Task, celery: &Value) {
        for (field, ours) in [
            ("name", &task.name),
            ("worker", &task.worker),
            ("client", &task.client),
            ("queue", &task.queue),
            ("routing_key", &task.routing_key),
            ("root_id", &task.root_id),
            ("parent_id", &task.parent_id),
        ] {
            self.same(field, ours.as_deref(), text(celery, field));
        }
        self.same("retries", task.retries, celery["retries"].as_i64());
    }

    fn times(&mut self, task: &Task, celery: &Value) {
        for (field, ours) in [
            ("sent", task.sent_time),
            ("received", task.received_time),
            ("started", task.started_time),
            ("succeeded", task.succeeded_time),
            ("failed", task.failed_time),
            ("retried", task.retried_time),
            ("revoked", task.revoked_time),
            ("rejected", task.rejected_time),
        ] {
            let expected = celery[field].as_f64().map(nanos_of_seconds);
            self.close(field, ours.map(nanos_of_timestamp), expected);
        }
        for (field, ours) in [("eta", task.eta), ("expires", task.expires)] {
            let expected = text(celery, field).map(|text| {
                let time: jiff::Timestamp =
                    text.parse().expect("Celery writes ISO 8601 with offset");
                time.as_nanosecond()
            });
            self.close(field, ours.map(nanos_of_timestamp), expected);
        }
        let runtime = celery["runtime"].as_f64().map(nanos_of_seconds);
        self.close("runtime", task.runtime.map(nanos_of_duration), runtime);
    }

    fn payload(&mut self, payload: Option<&Payload>, celery: &Value) {
        let none = Payload::default();
        let payload = payload.unwrap_or(&none);
        self.same("args", payload.args.as_deref(), text(celery, "args"));
        self.same("kwargs", payload.kwargs.as_deref(), text(celery, "kwargs"));
        match text(celery, "state") {
            Some("SUCCESS") => {
                self.same("result", payload.result.as_deref(), text(celery, "result"));
            }
            Some("FAILURE" | "RETRY") => {
                let traceback = text(celery, "traceback");
                self.same("traceback", payload.traceback.as_deref(), traceback);
                // For time limits and lost children Celery's own text says nothing.
                let exception = match text(celery, "exception") {
                    Some("ExceptionWithTraceback()") => {
                        traceback.and_then(|text| text.trim_end().lines().next_back())
                    }
                    other => other,
                };
                self.same("exception", payload.exception.as_deref(), exception);
            }
            _ => {}
        }
    }

    fn close(&mut self, field: &str, ours: Option<i128>, celery: Option<i128>) {
        let is_close = match (ours, celery) {
            (None, None) => true,
            (Some(ours), Some(celery)) => (ours - celery).abs() <= TOLERANCE_NANOS,
            _ => false,
        };
        if !is_close {
            self.same(field, ours, celery);
        }
    }
}

fn text<'a>(celery: &'a Value, field: &str) -> Option<&'a str> {
    celery[field].as_str()
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "seconds since 1970 times 10^9 are far below the range of i128"
)]
fn nanos_of_seconds(seconds: f64) -> i128 {
    (seconds * 1e9) as i128
}

fn nanos_of_timestamp(time: Timestamp) -> i128 {
    i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos)
}

fn nanos_of_duration(duration: Duration) -> i128 {
    i128::from(duration.seconds) * 1_000_000_000 + i128::from(duration.nanos)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn failed() -> (Task, Value) {
        let task = Task {
            id: "a".to_owned(),
            state: "FAILURE".to_owned(),
            finished: true,
            worker: Some("celery@h".to_owned()),
            retries: Some(2),
            failed_time: Some(Timestamp {
                seconds: 1_800_000_000,
                nanos: 250_000_000,
            }),
            payload: Some(Payload {
                exception: Some("E: last line".to_owned()),
                traceback: Some("Traceback\nE: last line\n".to_owned()),
                ..Default::default()
            }),
            ..Default::default()
        };
        let celery = json!({
            "state": "FAILURE", "worker": "celery@h", "retries": 2, "failed": 1_800_000_000.25,
            "exception": "ExceptionWithTraceback()", "traceback": "Traceback\nE: last line\n",
        });
        (task, celery)
    }

    #[test]
    fn the_same_task_shows_no_difference() {
        let (task, celery) = failed();
        assert_eq!(differences(&task, &celery), Vec::<String>::new());
    }

    #[test]
    fn each_field_that_differs_is_named() {
        type Break = fn(&mut Task);
        let breaks: [(&str, Break); 6] = [
            ("state", |task| task.state = "SUCCESS".to_owned()),
            ("finished", |task| task.finished = false),
            ("worker", |task| task.worker = None),
            ("retries", |task| task.retries = Some(1)),
            ("failed", |task| task.failed_time = None),
            ("exception", |task| task.payload = None),
        ];
        for (field, break_it) in breaks {
            let (mut task, celery) = failed();
            break_it(&mut task);
            let found = differences(&task, &celery).join("\n");
            assert!(found.contains(field), "{field} is not in {found:?}");
        }
    }
}
