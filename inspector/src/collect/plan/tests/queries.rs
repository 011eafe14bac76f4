//! Tasks that workers are asked for by id.

use super::fleet::{fleet, seconds};
use super::*;
use crate::wire::content::Serializer;

fn nodes(count: usize) -> Vec<Node> {
    let name = |number| Node::from(format!("celery@w{number}").as_str());
    (0..count).map(name).collect()
}

fn tasks(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("t-{number}")).collect()
}

#[test]
fn they_are_asked_for_in_lists_of_workers_and_within_the_budget() {
    let mut fleet = fleet(500, Limits::default());
    fleet.beat();
    fleet.pass(seconds(180));
    let (from, before) = (fleet.now, fleet.deliveries(fleet.now));
    assert!(fleet.plan.on_query(tasks(3), &nodes(120)));
    fleet.pass(seconds(60));
    assert_eq!(fleet.asked(Question::QueryTask), (120, 3));
    let asked = |(_, one): &&(Instant, Request)| one.question == Question::QueryTask;
    for (_, request) in fleet.published.iter().filter(asked) {
        assert!(!request.destination.is_empty() && request.destination.len() <= 50);
        let message = request.message().encode(Serializer::Json, 0.0);
        let body: serde_json::Value = serde_json::from_slice(&message.body).expect("JSON");
        assert_eq!(
            body["arguments"]["ids"],
            serde_json::json!(["t-0", "t-1", "t-2"])
        );
    }
    // One delivery a second to each of 500, what was saved up aside.
    let made = fleet.deliveries(from + seconds(60)) - before;
    assert!(made <= 61 * 500, "{made} deliveries in a minute");
    assert_eq!(fleet.broadcasts().len(), 1, "the ping at the start");
}

#[test]
fn nobody_is_asked_when_nobody_is_named_and_what_waits_is_bounded() {
    let mut fleet = fleet(1, Limits::default());
    fleet.beat();
    fleet.pass(seconds(10));
    assert!(fleet.plan.on_query(tasks(1), &[]));
    fleet.pass(seconds(10));
    assert_eq!(fleet.asked(Question::QueryTask), (0, 0));
    assert!(!fleet.plan.on_query(tasks(1), &nodes(10_000)));
}
