//! The fold against Celery, on recordings of real workers, disordered.

use std::cell::RefCell;

use base64_simd::STANDARD;
use celeriac_tests::paths;
use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};
use serde_json::Value;

use crate::disorder::disorder;
use crate::fold::config;
use crate::lives::receive;
use crate::oracle::Oracle;
use crate::same::differences;
use crate::stream::{Sent, fold};

/// The events of a recording, in the order in which they came.
pub(crate) fn recording(name: &str) -> Vec<Sent> {
    let path = paths::root().join("tests/fixtures").join(name);
    let text = std::fs::read_to_string(&path).expect("fixtures are in the checkout");
    let mut processes = Vec::new();
    let mut stream = Vec::new();
    for line in text.lines() {
        let record: Value = serde_json::from_str(line).expect("a line is JSON");
        let body = match record["payload"].as_str() {
            Some(payload) => of_redis(payload),
            None => serde_json::from_str(record["body"].as_str().expect("AMQP bodies are texts")),
        };
        let events = match body.expect("Celery sent JSON") {
            Value::Array(events) => events,
            event => vec![event],
        };
        for event in events {
            // Of the recorded workers none had the process id of another life.
            let process = (event["hostname"].clone(), event["pid"].clone());
            let known = processes.iter().position(|one| *one == process);
            let life = known.unwrap_or_else(|| {
                processes.push(process);
                processes.len() - 1
            });
            let life = u32::try_from(life).expect("there are few processes");
            stream.push(Sent {
                event,
                received: 0,
                life,
            });
        }
    }
    receive(stream)
}

fn of_redis(payload: &str) -> serde_json::Result<Value> {
    let envelope: Value = serde_json::from_str(payload)?;
    let body = envelope["body"].as_str().unwrap_or_default();
    let body = STANDARD.decode_to_vec(body).expect("kombu sends base64");
    serde_json::from_slice(&body)
}

fn check(name: &str, celery: &str) {
    let stream = recording(name);
    assert!(stream.len() > 2_000, "{name} has {} events", stream.len());
    let oracle = RefCell::new(Oracle::start(celery));
    let as_recorded = oracle.borrow_mut().ask(&stream);
    let found = differences(&fold(&stream), &as_recorded);
    assert!(found.is_empty(), "{}", found.join("\n"));
    let outcome = TestRunner::new(ProptestConfig {
        // Hundreds of tasks each.
        cases: config(2_000).cases / 100,
        ..config(0)
    })
    .run(&disorder(400), |disorder| {
        let stream = disorder.of(&stream);
        let found = differences(&fold(&stream), &oracle.borrow_mut().ask(&stream));
        prop_assert!(found.is_empty(), "{disorder:?}: {}", found.join("\n"));
        Ok(())
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(reason, _) | TestError::Abort(reason)) => panic!("{name}: {reason}"),
    }
}

#[test]
fn recordings_from_redis_are_folded_as_celery_does_in_any_order() {
    check("redis-events.jsonl", "5.7");
}

#[test]
fn recordings_from_amqp_are_folded_as_celery_does_in_any_order() {
    check("amqp-events.jsonl", "5.7");
}
