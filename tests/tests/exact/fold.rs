//! The fold against Celery, on lives that are made up and then disordered.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use celeriac_aggregator::state::App;
use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};

use crate::disorder::{Disorder, disorder};
use crate::lives::{Plan, events, plan, plan_in_containers};
use crate::oracle::{Answer, Oracle};
use crate::same::{differences, differences_of_workers};
use crate::stream::{Sent, fold};

/// How many streams a property is tried with, by default `usual`.
pub(crate) fn config(usual: u32) -> ProptestConfig {
    let cases = std::env::var("CELERIAC_EXACT_CASES").ok();
    let cases = cases.map(|text| text.parse().expect("CELERIAC_EXACT_CASES is a number"));
    ProptestConfig {
        cases: cases.unwrap_or(usual),
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    }
}

/// What came, a line an event, to be read when a test fails.
pub(crate) fn told(stream: &[Sent]) -> String {
    let lines = stream.iter().map(|sent| format!("  {}", sent.event));
    lines.collect::<Vec<_>>().join("\n")
}

/// How often each of the named differences took effect.
pub(crate) type Effects = BTreeMap<String, u32>;

fn check(celery: &str, cases: u32) -> Effects {
    compare(celery, cases, (plan(), disorder(4)), |app, answer, _| {
        differences(app, answer)
    })
}

/// Compares the fold of streams with what Celery makes of them.
fn compare(
    celery: &str,
    cases: u32,
    streams: impl Strategy<Value = (Plan, Disorder)>,
    differences: impl Fn(&App, &Answer, &[Sent]) -> Vec<String>,
) -> Effects {
    let oracle = RefCell::new(Oracle::start(celery));
    let effects = RefCell::new(Effects::new());
    let outcome = TestRunner::new(config(cases)).run(&streams, |(plan, disorder)| {
        let stream = disorder.of(&events(&plan));
        let answer = oracle.borrow_mut().ask(&stream);
        let found = differences(&fold(&stream), &answer, &stream);
        prop_assert!(
            found.is_empty(),
            "{}\nof\n{}",
            found.join("\n"),
            told(&stream)
        );
        for rule in answer.rules() {
            *effects.borrow_mut().entry(rule.to_owned()).or_default() += 1;
        }
        Ok(())
    });
    match outcome {
        Ok(()) => {}
        // The plan behind the smallest stream says less than the stream, which is in the reason.
        Err(TestError::Fail(reason, _) | TestError::Abort(reason)) => {
            panic!("Celery {celery}: {reason}")
        }
    }
    effects.into_inner()
}

#[test]
fn the_fold_is_celerys_state_for_any_stream() {
    let effects = check("5.7", 2_000);
    // Each of the named differences is needed: without it the comparison would have failed.
    for rule in [
        "repeat",
        "late-retry",
        "offline",
        "overtaken",
        "life",
        "asked",
        "pid-of-task-events",
    ] {
        assert!(
            effects.contains_key(rule),
            "{rule} took no effect in {effects:?}"
        );
    }
}

/// Where the process id tells nothing, a worker's own order does, which brokers keep.
#[test]
fn lives_with_one_process_id_are_told_apart() {
    let streams = (
        plan_in_containers(),
        disorder(4).prop_map(Disorder::between_senders),
    );
    let effects = compare("5.7", 1_000, streams, |app, answer, stream| {
        let mut found = differences(app, answer);
        for worker in app.workers() {
            let of_worker = stream
                .iter()
                .filter(|sent| sent.text("hostname") == &*worker.name);
            let lives: BTreeSet<u32> = of_worker.map(|sent| sent.life).collect();
            if worker.incarnation != lives.len() as u64 {
                found.push(format!(
                    "{}: {} of {lives:?}",
                    worker.name, worker.incarnation
                ));
            }
        }
        found
    });
    assert!(effects.contains_key("life"), "in {effects:?}");
}

#[test]
fn workers_with_one_process_id_are_celerys_in_any_order() {
    let streams = (plan_in_containers(), disorder(4));
    let effects = compare("5.7", 1_000, streams, |app, answer, _| {
        differences_of_workers(app, answer)
    });
    assert!(effects.contains_key("overtaken"), "in {effects:?}");
}

#[test]
fn the_fold_is_the_state_of_older_celerys_too() {
    check("5.4", 300);
    check("4.4", 300);
}
