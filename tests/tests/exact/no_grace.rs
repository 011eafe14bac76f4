//! With no grace and no room in memory the same comes out: late events meet finished tasks in history, and events of
//! unfinished ones meet those that memory had no room for; also when the process is killed in between.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use celeriac_aggregator::state::{App, Limits, Task, TaskName};
use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};
use serde_json::json;

use crate::aggregator::Aggregator;
use crate::disorder::disorder;
use crate::fold::{config, told};
use crate::lives::{events, id, plan, receive};
use crate::oracle::{Answer, Oracle};
use crate::same::{differences_of_tasks, differences_of_workers};
use crate::stream::{Sent, fold, inputs};

/// Nothing stays that need not.
const NO_ROOM: Limits = Limits {
    offline_after: Duration::from_secs(10),
    worker_retention: Duration::from_hours(1),
    grace: Duration::ZERO,
    grace_tasks_max: 0,
    tasks_max: 1,
};

/// What happens between two events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Between {
    /// They come in one batch.
    Nothing,
    /// What came so far is folded.
    Fold,
    Commit,
    /// Time passes: all but one task leave memory.
    Tick,
    /// The process is killed and starts again; what was not committed is sent again.
    Kill,
}

fn between() -> impl Strategy<Value = Between> {
    prop_oneof![
        4 => Just(Between::Nothing),
        4 => Just(Between::Fold),
        2 => Just(Between::Commit),
        6 => Just(Between::Tick),
        1 => Just(Between::Kill),
    ]
}

/// What comes of a stream.
fn run(stream: &[Sent], betweens: &[Between]) -> Aggregator {
    let inputs = inputs(stream);
    let mut aggregator = Aggregator::new(NO_ROOM);
    let (mut batch, mut committed) = (Vec::new(), 0);
    let mut place = 0;
    let mut betweens = betweens.iter().copied();
    while place < inputs.len() {
        batch.push(inputs[place].clone());
        place += 1;
        let between = betweens.next().unwrap_or(Between::Nothing);
        if between == Between::Kill {
            aggregator = aggregator.after_kill();
            batch.clear();
            place = committed;
            continue;
        }
        if between == Between::Nothing {
            continue;
        }
        let received = inputs[place - 1].0;
        aggregator.fold(&mut batch);
        match between {
            Between::Commit => aggregator.commit(),
            Between::Tick => aggregator.tick(received),
            Between::Nothing | Between::Fold | Between::Kill => continue,
        }
        committed = place;
    }
    aggregator.fold(&mut batch);
    aggregator.tick(inputs.last().map_or(0, |(received, _)| *received));
    aggregator
}

fn statistics(app: &App) -> BTreeMap<String, TaskName> {
    let names = app.task_names();
    names
        .map(|name| (name.name.to_string(), name.clone()))
        .collect()
}

/// The lines of two values that differ, side by side.
fn unlike(ours: &impl Debug, expected: &impl Debug) -> String {
    let (ours, expected) = (format!("{ours:#?}"), format!("{expected:#?}"));
    let pairs = ours.lines().zip(expected.lines());
    let shown = pairs.filter(|(ours, expected)| ours != expected);
    let shown = shown.map(|(ours, expected)| format!("{ours}   with memory: {}", expected.trim()));
    shown.collect::<Vec<_>>().join("\n")
}

/// Everything in which the two ends differ.
fn differences(aggregator: &Aggregator, whole: &App, answer: &Answer) -> Vec<String> {
    let mut found = Vec::new();
    let mut tasks = Vec::new();
    let mut strict = true;
    for expected in whole.tasks() {
        let workers = expected
            .attempts
            .iter()
            .filter_map(|attempt| attempt.worker.as_deref());
        let lives = workers
            .flat_map(|worker| answer.rules_of(worker))
            .any(|rule| rule == "life");
        strict &= !lives;
        let task = aggregator
            .task(expected)
            .map(|task| forgiven(task, expected, lives));
        if task.as_ref() != Some(expected) {
            found.push(unlike(&task, &Some(expected)));
        }
        tasks.extend(task);
    }
    found.extend(differences_of_tasks(tasks.iter(), answer));
    let board = aggregator.board.read();
    let Some(app) = board.apps.values().next() else {
        return found;
    };
    found.extend(differences_of_workers(&app.state, answer));
    if strict && statistics(&app.state) != statistics(whole) {
        found.push(unlike(&statistics(&app.state), &statistics(whole)));
    }
    let (folded, expected) = (app.state.events_folded(), whole.events_folded());
    if strict && folded != expected {
        found.push(format!("{folded} events folded, with memory {expected}"));
    }
    if app.state.tasks_count() > NO_ROOM.tasks_max {
        found.push(format!("{} tasks in memory", app.state.tasks_count()));
    }
    found
}

/// A task without the two differences that come of having left memory:
///
/// * lost: a worker that goes away marks what memory holds of it; of the others their next event tells.
/// * life: an event that came before the first worker event of its life is put into the life it belongs to when that one
///   comes, if its task is still in memory. Brokers keep the order of a sender's events, so that none comes before.
fn forgiven(mut task: Task, expected: &Task, lives: bool) -> Task {
    if !task.is_finished() {
        task.lost = expected.lost;
    }
    if lives {
        task.attempts.clone_from(&expected.attempts);
        task.attempt_count = expected.attempt_count;
        if let (Some(end), Some(expected)) = (&mut task.final_event, &expected.final_event) {
            end.incarnation = expected.incarnation;
        }
    }
    task
}

#[test]
fn without_grace_or_room_the_same_comes_of_any_stream() {
    let oracle = RefCell::new(Oracle::start("5.7"));
    let cases = (plan(), disorder(4), prop::collection::vec(between(), 0..80));
    let config = ProptestConfig {
        // Each has a database of its own on a real disk.
        cases: config(2_000).cases / 16,
        max_shrink_iters: 1_000,
        ..config(0)
    };
    let outcome = TestRunner::new(config).run(&cases, |(plan, disorder, betweens)| {
        let stream = disorder.of(&events(&plan));
        let answer = oracle.borrow_mut().ask(&stream);
        let found = differences(&run(&stream, &betweens), &fold(&stream), &answer);
        prop_assert!(
            found.is_empty(),
            "{}\nof\n{}\nand {betweens:?}",
            found.join("\n"),
            told(&stream)
        );
        Ok(())
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(reason, _) | TestError::Abort(reason)) => panic!("{reason}"),
    }
}

#[test]
fn a_task_that_has_just_left_memory_is_whole_at_its_next_event() {
    let event = |event_type: &str, task: usize, clock: u32| Sent {
        event: json!({
            "hostname": "celery@w0", "utcoffset": 0, "pid": 100, "clock": clock, "type": event_type, "uuid": id(task),
            "timestamp": 1_795_000_000 + clock, "name": "shop.task", "retries": 0,
        }),
        received: 0,
        life: 1,
    };
    let stream = receive(vec![
        event("task-received", 0, 1),
        event("task-received", 1, 2),
        event("task-started", 0, 3),
    ]);
    let aggregator = run(&stream, &[Between::Nothing, Between::Tick, Between::Fold]);
    for expected in fold(&stream).tasks() {
        assert_eq!(aggregator.task(expected).as_ref(), Some(expected));
    }
}
