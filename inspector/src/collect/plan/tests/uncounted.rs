//! A broker that does not say how many a request reached, as RabbitMQ without management.

use super::fleet::{fleet, seconds};
use super::*;

/// Two hundred workers come when the inspector has been alone for a while.
fn check(counts: fn(u64) -> Option<u64>) {
    let mut fleet = fleet(0, Limits::default());
    fleet.counts = counts;
    fleet.pass(seconds(90));
    fleet.published.clear();
    fleet.workers = (0..200).map(|number| format!("celery@w{number}")).collect();
    fleet.beat();
    fleet.pass(seconds(10));
    let made = fleet.published.len();
    // One a second to each, and what was saved up.
    assert!(
        (8..=13).contains(&made),
        "{made} messages to each worker in ten seconds"
    );
    fleet.pass(seconds(50));
    for question in [Question::Stats, Question::ActiveQueues] {
        assert_eq!(fleet.asked(question).0, 200, "{question:?}");
    }
}

#[test]
fn that_nobody_was_there_once_is_no_count_of_those_that_came_since() {
    check(|reached| (reached == 0).then_some(0));
}

#[test]
fn a_count_that_is_old_does_not_hide_workers_that_are_known() {
    check(|_| Some(0));
}
