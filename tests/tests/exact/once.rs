//! What happened once is counted once, however often it is told: after other events, in another batch, to another life of
//! the process.

use std::collections::BTreeMap;
use std::time::Duration;

use celeriac_aggregator::metrics::Metrics;
use celeriac_aggregator::state::ledger::Ledger;
use celeriac_aggregator::state::worker::EventsMode;
use celeriac_aggregator::state::{App, Input, Limits, Micros, Task, TaskName, Worker};
use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};
use serde_json::json;

use crate::aggregator::Aggregator;
use crate::disorder::disorder;
use crate::fold::{config, told};
use crate::lives::{events, id, plan, receive};
use crate::stream::{Sent, fold, inputs};

/// Everything that is known of an app.
#[derive(Debug, PartialEq)]
struct Known {
    tasks: BTreeMap<String, Task>,
    workers: BTreeMap<String, Worker>,
    names: BTreeMap<String, TaskName>,
    folded: u64,
}

impl Known {
    /// Whether a worker's events are on is found anew by each life of the process, and the account of its starts with it:
    /// both are left out.
    fn of(app: &App, tasks: impl Iterator<Item = Task>) -> Self {
        let workers = app.workers().map(|worker| Worker {
            events: EventsMode::Unknown,
            eventless_heartbeats: 0,
            ledger: Ledger::default(),
            ..worker.clone()
        });
        Self {
            tasks: tasks.map(|task| (task.id.to_string(), task)).collect(),
            workers: workers.map(|one| (one.name.to_string(), one)).collect(),
            names: (app.task_names())
                .map(|one| (one.name.to_string(), one.clone()))
                .collect(),
            folded: app.events_folded(),
        }
    }

    fn of_memory(app: &App) -> Self {
        Self::of(app, app.tasks().cloned())
    }
}

fn run(outcome: Result<(), TestError<impl std::fmt::Debug>>) {
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(reason, _) | TestError::Abort(reason)) => panic!("{reason}"),
    }
}

/// A stream in which each thing is told once, and the same with repeats.
fn told_twice(once: &[Sent], places: &[usize]) -> Vec<Sent> {
    let mut now = 0;
    let told = places.iter().map(|place| {
        let sent = once[*place].clone();
        now = sent.received.max(now);
        Sent {
            received: now,
            ..sent
        }
    });
    told.collect()
}

#[test]
fn what_is_told_twice_is_the_same_as_told_once() {
    let cases = (plan(), disorder(12));
    run(
        TestRunner::new(config(2_000)).run(&cases, |(plan, disorder)| {
            let once = disorder.once(&events(&plan));
            let twice = told_twice(&once, &disorder.twice(once.len()));
            let (ours, expected) = (fold(&twice), fold(&once));
            prop_assert_eq!(
                Known::of_memory(&ours),
                Known::of_memory(&expected),
                "of\n{}",
                told(&twice)
            );
            prop_assert_eq!(ours.events_repeated(), (twice.len() - once.len()) as u64);
            Ok(())
        }),
    );
}

/// What happens after an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// The next comes in the same batch.
    Nothing,
    Fold,
    Commit,
    /// Time passes: finished tasks leave memory.
    Tick,
    /// The process is killed and starts again. What was not committed is told again, and so many events before it.
    Kill(usize),
}

fn after() -> impl Strategy<Value = After> {
    prop_oneof![
        6 => Just(After::Nothing),
        3 => Just(After::Fold),
        3 => Just(After::Commit),
        2 => Just(After::Tick),
        1 => (0..30_usize).prop_map(After::Kill),
    ]
}

/// Finished tasks leave memory at once, and time alone changes nothing else.
const LIMITS: Limits = Limits {
    offline_after: Duration::from_hours(1),
    worker_retention: Duration::from_hours(2),
    grace: Duration::ZERO,
    grace_tasks_max: 0,
    tasks_max: 1_000,
};

/// Counters of Flower and celery-exporter, by series.
type Counted = BTreeMap<String, f64>;

fn counted(aggregator: &Aggregator) -> Counted {
    let page = Metrics::new(aggregator.board.clone()).text();
    let page = page.expect("it can be written");
    let of_peers = |line: &&str| line.starts_with("flower_") || line.starts_with("celery_");
    let counters = page.lines().filter(of_peers).filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let name = series.split('{').next()?;
        let is_counter = ["_total", "_bucket", "_sum", "_count"]
            .iter()
            .any(|end| name.ends_with(end));
        is_counter.then(|| (series.to_owned(), value.parse().expect("a number")))
    });
    counters.collect()
}

fn add(sum: &mut Counted, counted: Counted) {
    for (series, value) in counted {
        *sum.entry(series).or_default() += value;
    }
}

/// Told to an aggregator, with each of `afters` taking place once, after the event of its number.
struct Told {
    aggregator: Aggregator,
    counted: Counted,
}

impl Told {
    fn of(once: &[Sent], places: &[usize], afters: &[After]) -> Self {
        let inputs = inputs(&told_twice(once, places));
        let mut afters: Vec<Option<After>> = afters.iter().copied().map(Some).collect();
        let mut told = Self {
            aggregator: Aggregator::new(LIMITS),
            counted: Counted::new(),
        };
        let (mut batch, mut at, mut committed) = (Vec::new(), 0, 0);
        let mut kept = Counted::new();
        while at < inputs.len() {
            batch.push(inputs[at].clone());
            let (now, number) = (inputs[at].0, places[at]);
            at += 1;
            match afters.get_mut(number).and_then(Option::take) {
                None | Some(After::Nothing) => continue,
                Some(After::Fold) => {
                    told.aggregator.fold(&mut batch);
                    continue;
                }
                Some(After::Kill(before)) => {
                    batch.clear();
                    told.aggregator = told.aggregator.after_kill();
                    add(&mut told.counted, std::mem::take(&mut kept));
                    at = committed - before.min(committed);
                    continue;
                }
                Some(After::Commit) => told.commit(&mut batch),
                Some(After::Tick) => told.tick(&mut batch, now),
            }
            committed = committed.max(at);
            kept = counted(&told.aggregator);
        }
        let now = inputs.last().map_or(0, |(now, _)| *now);
        told.tick(&mut batch, now);
        add(&mut told.counted, counted(&told.aggregator));
        told
    }

    fn commit(&mut self, batch: &mut Vec<(Micros, Input)>) {
        self.aggregator.fold(batch);
        self.aggregator.commit();
    }

    fn tick(&mut self, batch: &mut Vec<(Micros, Input)>, now: Micros) {
        self.aggregator.fold(batch);
        self.aggregator.tick(now);
    }

    fn known(&self, of: &App) -> Known {
        let tasks = of.tasks().filter_map(|task| self.aggregator.task(task));
        let tasks: Vec<Task> = tasks.collect();
        let board = self.aggregator.board.read();
        let empty = App::new("shop".into(), LIMITS);
        let app = board.apps.values().next().map_or(&empty, |app| &app.state);
        Known::of(app, tasks.into_iter())
    }
}

#[test]
fn what_is_told_again_to_another_life_of_the_process_counts_once() {
    let afters = prop::collection::vec(after(), 0..120);
    let cases = (plan(), disorder(8), afters);
    let config = ProptestConfig {
        // Each has two databases of its own on a real disk.
        cases: config(2_000).cases / 32,
        max_shrink_iters: 1_000,
        ..config(0)
    };
    run(
        TestRunner::new(config).run(&cases, |(plan, disorder, afters)| {
            let once = disorder.once(&events(&plan));
            let places = disorder.twice(once.len());
            let without_kills: Vec<After> = (afters.iter())
                .map(|after| match after {
                    After::Kill(_) => After::Nothing,
                    other => *other,
                })
                .collect();
            let each: Vec<usize> = (0..once.len()).collect();
            let ours = Told::of(&once, &places, &afters);
            let expected = Told::of(&once, &each, &without_kills);
            let all = fold(&once);
            let stream = told(&told_twice(&once, &places));
            prop_assert_eq!(
                ours.known(&all),
                expected.known(&all),
                "of\n{}\nand {:?}",
                &stream,
                &afters
            );
            prop_assert_eq!(
                ours.counted,
                expected.counted,
                "of\n{}\nand {:?}",
                &stream,
                &afters
            );
            Ok(())
        }),
    );
}

#[test]
fn a_task_revoked_in_the_queue_is_counted_once() {
    let event = |event_type: &str, clock: u32| Sent {
        event: json!({
            "hostname": "celery@w0", "utcoffset": 0, "pid": 100, "clock": clock, "type": event_type, "uuid": id(0),
            "timestamp": 1_795_000_000 + clock, "name": "shop.task", "retries": 0, "terminated": false, "expired": false,
        }),
        received: 0,
        life: 1,
    };
    let revoked = event("task-revoked", 1);
    let stream = receive(vec![revoked.clone(), event("task-received", 2), revoked]);
    let app = fold(&stream);
    let counted: Vec<_> = app
        .task_names()
        .map(|name| (name.received, name.revoked))
        .collect();
    assert_eq!(counted, [(1, 1)]);
}
