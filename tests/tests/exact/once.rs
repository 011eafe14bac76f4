//! What happened once is counted once, however often it is told, with the events of each sender in order, as brokers keep it.

use celeriac_aggregator::state::App;
use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};

use crate::disorder::{Disorder, disorder};
use crate::fold::{config, told};
use crate::lives::{events, plan};
use crate::stream::fold;

/// Sent, received, started, succeeded, failed, retried, revoked, rejected, of all names together: a repeat may give a task
/// its other name again, under which the rest is counted then.
fn statistics(app: &App) -> [u64; 8] {
    let mut sums = [0; 8];
    for name in app.task_names() {
        let counts = [
            name.sent,
            name.received,
            name.started,
            name.succeeded,
            name.failed,
            name.retried,
            name.revoked,
            name.rejected,
        ];
        for (sum, count) in sums.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    sums
}

#[test]
fn what_comes_twice_is_counted_once() {
    let cases = (plan(), disorder(8).prop_map(Disorder::between_senders));
    let outcome = TestRunner::new(config(2_000)).run(&cases, |(mut plan, disorder)| {
        // A repeat from a former life is taken for one of the life that is known.
        plan.workers
            .iter_mut()
            .for_each(|worker| worker.restarts.clear());
        let events = events(&plan);
        let stream = disorder.of(&events);
        let (twice, once) = (fold(&stream), fold(&disorder.once(&events)));
        prop_assert_eq!(
            statistics(&twice),
            statistics(&once),
            "of\n{}",
            told(&stream)
        );
        Ok(())
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(reason, _) | TestError::Abort(reason)) => panic!("{reason}"),
    }
}
