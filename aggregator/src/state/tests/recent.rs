//! Events that are told again.

use super::build::{scene, worker};
use crate::state::counters::Series;
use crate::state::input::{TaskEvent, WorkerEvent};
use crate::state::limits::RECENT_EVENTS_MAX;
use crate::state::recent::{Recent, of_task, of_worker};
use crate::state::{App, Changes, Input, Limits};

/// Spread as identities are.
fn spread(number: usize) -> u64 {
    (number as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[test]
fn the_last_ones_are_known_and_none_of_long_ago() {
    let mut recent = Recent::default();
    let all = 3 * RECENT_EVENTS_MAX + 7;
    for number in 0..all {
        assert!(recent.admit(spread(number)), "{number}");
        assert!(!recent.admit(spread(number)), "{number}");
        let oldest = (number + 1).saturating_sub(RECENT_EVENTS_MAX);
        assert!(!recent.admit(spread(oldest)), "{oldest} after {number}");
    }
    for number in all - RECENT_EVENTS_MAX..all {
        assert!(!recent.admit(spread(number)), "{number}");
    }
    for number in 0..all - 2 * RECENT_EVENTS_MAX {
        assert!(recent.admit(spread(number)), "{number} is too long ago");
    }
}

/// They are on disk: what an earlier version wrote has to be told by a later one.
#[test]
fn identities_are_the_same_for_ever() {
    let mut w1 = worker("celery@w1", 1);
    let uuid = "459a14f9-01ad-4d26-95da-ef49a81d10ce";
    let identities = [
        of_task(&w1.starts("t", 1.0)),
        of_task(&w1.starts(uuid, 1.5)),
        of_worker(&w1.beats(2.0)),
    ];
    // By a reimplementation in Python.
    let expected = [
        13_585_794_368_676_826_899,
        8_338_819_978_504_354_738,
        1_837_982_981_285_932_396,
    ];
    assert_eq!(identities, expected.map(Some));
}

#[test]
fn every_part_tells_events_apart() {
    let mut w1 = worker("celery@w1", 1);
    let event = w1.progresses("t", 1.0);
    let identity = of_task(&event);
    assert_eq!(of_task(&event.clone()), identity);
    let others = [
        TaskEvent {
            hostname: "celery@w2".into(),
            ..event.clone()
        },
        TaskEvent {
            pid: Some(2),
            ..event.clone()
        },
        TaskEvent {
            pid: None,
            ..event.clone()
        },
        TaskEvent {
            clock: event.clock.map(|clock| clock + 1),
            ..event.clone()
        },
        TaskEvent {
            timestamp: event.timestamp.map(f64::next_up),
            ..event.clone()
        },
        TaskEvent {
            event_type: "task-progresses".into(),
            ..event.clone()
        },
        TaskEvent {
            id: "u".into(),
            ..event.clone()
        },
        TaskEvent {
            id: "459a14f9-01ad-4d26-95da-ef49a81d10ce".into(),
            ..event.clone()
        },
    ];
    let mut identities: Vec<_> = others.iter().map(of_task).chain([identity]).collect();
    identities.sort_unstable();
    identities.dedup();
    assert_eq!(identities.len(), others.len() + 1);
    // Fields that say what happened are no part of it.
    let same = TaskEvent {
        received: event.received + 1,
        result: Some("1".into()),
        ..event
    };
    assert_eq!(of_task(&same), identity);
}

#[test]
fn without_a_clock_or_a_time_nothing_is_taken_for_a_repeat() {
    let event = worker("celery@w1", 1).progresses("t", 1.0);
    let untold = [
        TaskEvent {
            clock: None,
            ..event.clone()
        },
        TaskEvent {
            timestamp: None,
            ..event
        },
    ];
    let mut scene = scene();
    for event in untold {
        scene.see(event.clone()).see(event);
    }
    let beat = WorkerEvent {
        clock: None,
        ..worker("celery@w1", 1).beats(2.0)
    };
    scene.see(beat.clone()).see(beat);
    assert_eq!(scene.worker("celery@w1").event_counts[8], 4);
    assert_eq!(scene.app.events_repeated(), 0);
}

#[test]
fn what_is_told_again_changes_nothing_and_is_counted() {
    let (mut client, mut w1) = (worker("gen7@web", 7), worker("celery@w1", 1));
    let inputs: Vec<Input> = vec![
        w1.online(0.0).into(),
        client.sends("t", 0.5).into(),
        w1.receives("t", 1.0).into(),
        w1.starts("t", 2.0).into(),
        w1.rejects("t", 3.0).into(),
        w1.receives("t", 4.0).into(),
        w1.starts("t", 5.0).into(),
        w1.progresses("t", 5.5).into(),
        w1.fails("t", 6.0).into(),
        w1.beats(7.0).into(),
        w1.offline(8.0).into(),
    ];
    let mut scene = scene();
    for input in &inputs {
        scene.see(input.clone());
    }
    let known = |app: &App| {
        let series: Vec<Series> = app.counters().series().map(|one| one.3.clone()).collect();
        let names: Vec<_> = app.task_names().cloned().collect();
        let workers: Vec<_> = app.workers().cloned().collect();
        let tasks: Vec<_> = app.tasks().cloned().collect();
        (series, names, workers, tasks, app.events_folded())
    };
    let before = known(&scene.app);
    let mut changes = Changes::default();
    for input in inputs.iter().rev().chain(&inputs) {
        scene.app.apply(0, input.clone(), &mut changes);
    }
    assert_eq!(known(&scene.app), before);
    assert_eq!(scene.app.events_repeated(), 2 * inputs.len() as u64);
    assert!(changes.tasks.is_empty() && changes.workers.is_empty() && changes.told.is_empty());
}

#[test]
fn what_was_folded_before_a_restart_is_known_after_it() {
    let mut w1 = worker("celery@w1", 1);
    let events = [w1.receives("t", 1.0), w1.starts("t", 2.0)];
    let mut changes = Changes::default();
    let mut app = App::new("shop".into(), Limits::default());
    for event in &events {
        app.apply(0, event.clone().into(), &mut changes);
    }
    let mut after = App::new("shop".into(), Limits::default());
    after.restore_told(changes.told);
    let mut changes = Changes::default();
    for event in events {
        after.apply(0, event.into(), &mut changes);
    }
    assert_eq!((after.events_repeated(), changes.told), (2, Vec::new()));
}
