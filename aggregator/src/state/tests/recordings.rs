//! Whole recordings of real workers, against what `celery.events.state.State` made of them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::build::scene;
use super::reader::{recorded_events, recording};
use crate::state::app::App;
use crate::state::ids::{Micros, TaskId};
use crate::state::input::{Input, TaskEvent, TaskEventKind};
use crate::state::task::Task;
use crate::state::worker::WorkerStatus;

fn fold(name: &str) -> App {
    let mut scene = scene();
    for (received, input) in recorded_events(name) {
        scene.app.apply(received, input, &mut scene.changes);
    }
    scene.app
}

/// The fields of a task that the expectation holds.
fn as_celery_has_it(task: &Task) -> Value {
    json!({
        "state": task.state.as_str(),
        "name": task.name.as_deref(),
        "worker": task.worker.as_deref(),
        "client": task.client.as_deref(),
        "retries": task.retries,
        "runtime": task.runtime,
        "exception": task.payload.exception,
        "parent_id": task.parent_id.as_ref().map(ToString::to_string),
        "timestamp": task.timestamp,
    })
}

fn check(transport: &str) {
    let app = fold(&format!("{transport}-events.jsonl"));
    let expected: Value =
        serde_json::from_str(&recording(&format!("{transport}-expected-state.json"))).unwrap();
    let tasks = expected["tasks"].as_object().unwrap();
    assert_eq!(app.tasks().count(), tasks.len());
    for (id, expected) in tasks {
        let task = app
            .task(&TaskId::from(id.as_str()))
            .unwrap_or_else(|| panic!("{id} is missing"));
        assert_eq!(&as_celery_has_it(task), expected, "task {id}");
    }
    let mut states = BTreeMap::new();
    for task in app.tasks() {
        *states.entry(task.state.as_str()).or_insert(0) += 1;
    }
    assert_eq!(json!(states), expected["states"]);
    let workers = expected["workers"].as_object().unwrap();
    assert_eq!(app.workers().count(), workers.len());
    for (name, expected) in workers {
        let worker = app.worker(name).unwrap();
        for (field, value) in [
            ("pid", json!(worker.pid)),
            ("freq", json!(worker.freq)),
            ("active", json!(worker.active)),
            ("processed", json!(worker.processed)),
            ("clock", json!(worker.clock)),
            ("sw_ver", json!(worker.sw_ver.as_deref())),
            ("alive_at_end", json!(worker.status == WorkerStatus::Online)),
        ] {
            assert_eq!(value, expected[field], "{field} of {name}");
        }
    }
    check_counts(&app, &expected);
}

/// Statistics of names and counters add up to the events there were.
fn check_counts(app: &App, expected: &Value) {
    let types = &expected["types"];
    let sum = |count: fn(&crate::state::TaskName) -> u64| app.task_names().map(count).sum::<u64>();
    assert_eq!(json!(sum(|name| name.sent)), types["task-sent"]);
    assert_eq!(json!(sum(|name| name.received)), types["task-received"]);
    assert_eq!(
        json!(sum(|name| name.received)),
        expected["task_count_received"]
    );
    assert_eq!(json!(sum(|name| name.started)), types["task-started"]);
    assert_eq!(json!(sum(|name| name.succeeded)), types["task-succeeded"]);
    assert_eq!(json!(sum(|name| name.retried)), types["task-retried"]);
    assert_eq!(json!(sum(|name| name.revoked)), types["task-revoked"]);
    let events = types.as_object().unwrap().iter();
    let task_events = events.filter(|(name, _)| name.starts_with("task-"));
    let task_events: u64 = task_events.map(|(_, count)| count.as_u64().unwrap()).sum();
    assert_eq!(app.events_folded(), task_events);
    let counted = app.counters().series().map(|(_, _, _, series)| {
        series.events.iter().sum::<u64>() + series.custom.iter().map(|(_, n)| n).sum::<u64>()
    });
    assert_eq!(counted.sum::<u64>(), task_events);
}

#[test]
fn redis_recording_gives_celerys_states() {
    check("redis");
}

#[test]
fn amqp_recording_gives_celerys_states() {
    check("amqp");
}

#[test]
fn every_attempt_of_the_recordings_is_whole_and_in_order() {
    for name in ["redis-events.jsonl", "amqp-events.jsonl"] {
        let app = fold(name);
        for task in app.tasks() {
            let id = &task.id;
            for (place, attempt) in task.attempts.iter().enumerate() {
                assert_eq!(attempt.number as usize, place + 1, "{id}");
                assert!(attempt.received.is_some(), "{id} {attempt:?}");
                if let (Some(received), Some(started)) = (attempt.received, attempt.started) {
                    assert!(received <= started, "{id}");
                }
                if let (Some(started), Some(ended)) = (attempt.started, attempt.ended) {
                    assert!(started <= ended, "{id}");
                }
            }
            // One attempt per retry and one for the last run, in the order of their retries.
            if task.retried.is_some() && task.is_finished() {
                let retries: Vec<_> = task.attempts.iter().filter_map(|a| a.retries).collect();
                let expected: Vec<i64> = (0..=task.retries.unwrap()).collect();
                assert_eq!(retries, expected, "{id}");
                let (last, former) = task.attempts.split_last().unwrap();
                assert!(
                    former
                        .iter()
                        .all(|a| a.outcome.as_ref().unwrap().as_str() == "RETRY"),
                    "{id}"
                );
                assert!(
                    task.attempts
                        .iter()
                        .all(|attempt| attempt.started.is_some()),
                    "{id}"
                );
                assert_eq!(last.outcome.as_ref(), Some(&task.state), "{id}");
            }
        }
    }
}

#[test]
fn a_hard_time_limit_is_one_failure_although_celery_sends_two() {
    for name in ["redis-events.jsonl", "amqp-events.jsonl"] {
        let app = fold(name);
        let limited = |task: &&Task| {
            let attempt = task.attempts.last();
            attempt.and_then(|a| a.exception.as_deref())
                == Some("billiard.exceptions.TimeLimitExceeded: TimeLimitExceeded(1,)")
        };
        let limited: Vec<_> = app.tasks().filter(limited).collect();
        assert_eq!(limited.len(), 1, "{name}");
        assert_eq!(limited[0].attempts.len(), 1);
        assert_eq!(
            limited[0].payload.exception.as_deref(),
            Some("ExceptionWithTraceback()")
        );
        assert_eq!(
            limited[0].exception_summary().as_deref(),
            Some("billiard.exceptions.TimeLimitExceeded: TimeLimitExceeded(1,)")
        );
    }
}

/// In the recordings `processed` grows by the starts seen, but for the end of the first life of w3, while its events were
/// switched off: that is no loss.
#[test]
fn nothing_is_missed_in_the_recordings() {
    for name in ["redis-events.jsonl", "amqp-events.jsonl"] {
        let missed = missed_by_life(recorded_events(name));
        // w3 was killed and came back with another process id; the others lived once.
        let lives = [
            ("celery@w1", 1),
            ("celery@w2", 1),
            ("celery@w3", 1),
            ("celery@w3", 2),
        ];
        let expected = lives.map(|(worker, life)| ((worker.to_owned(), life), 0));
        assert_eq!(missed, expected.into(), "{name}");
    }
}

/// Every third of the first starts of each process is left out: exactly those are missed.
#[test]
fn exactly_the_starts_that_are_left_out_of_the_recordings_are_missed() {
    for name in ["redis-events.jsonl", "amqp-events.jsonl"] {
        let recorded: Vec<_> = recorded_events(name).into_iter().collect();
        let process = |event: &TaskEvent| (event.hostname.to_string(), event.pid);
        let is_start = |event: &TaskEvent| event.kind == TaskEventKind::Started;
        let mut starts: BTreeMap<_, usize> = BTreeMap::new();
        for (_, input) in &recorded {
            if let Input::Task(event) = input
                && is_start(event)
            {
                *starts.entry(process(event)).or_default() += 1;
            }
        }
        let mut so_far: BTreeMap<_, usize> = BTreeMap::new();
        let mut left_out: BTreeMap<String, u64> = BTreeMap::new();
        let kept = recorded.into_iter().filter(|(_, input)| {
            let Input::Task(event) = input else {
                return true;
            };
            if !is_start(event) {
                return true;
            }
            let number = so_far.entry(process(event)).or_default();
            *number += 1;
            let leave_out = *number % 3 == 0 && *number < starts[&process(event)] / 2;
            if leave_out {
                *left_out.entry(event.hostname.to_string()).or_default() += 1;
            }
            !leave_out
        });
        let mut missed: BTreeMap<String, u64> = BTreeMap::new();
        for ((worker, _), count) in missed_by_life(kept) {
            *missed.entry(worker).or_default() += count;
        }
        assert!(left_out.values().sum::<u64>() > 50, "{left_out:?}");
        assert_eq!(missed, left_out, "{name}");
    }
}

/// The most that was called missed in each life: (worker, life).
fn missed_by_life(
    inputs: impl IntoIterator<Item = (Micros, Input)>,
) -> BTreeMap<(String, u64), u64> {
    let mut scene = scene();
    let mut most = BTreeMap::new();
    for (received, input) in inputs {
        let is_worker = matches!(input, Input::Worker(_));
        scene.app.apply(received, input, &mut scene.changes);
        for worker in scene.app.workers().filter(|_| is_worker) {
            let most = most
                .entry((worker.name.to_string(), worker.incarnation))
                .or_insert(0);
            *most = worker.missed_starts().unwrap_or(0).max(*most);
        }
    }
    most
}
