//! Grace, spilling and every bound.

use std::time::Duration;

use super::build::{Scene, depths, gap, scene, scene_with, worker};
use crate::state::ids::{Symbol, TaskId};
use crate::state::input::TaskEvent;
use crate::state::limits::{
    EVENT_SERIES_MAX, GAPS_KEPT, Limits, QUEUES_MAX, SENDERS_MAX, TASK_NAMES_MAX, WORKERS_MAX,
};

fn ids(tasks: &[TaskId]) -> Vec<String> {
    tasks.iter().map(ToString::to_string).collect()
}

#[test]
fn a_finished_task_leaves_after_its_grace() {
    let mut w1 = worker("celery@w1", 1);
    let mut scene = scene();
    scene
        .see(w1.receives("a", 0.0))
        .see(w1.starts("a", 1.0))
        .see(w1.succeeds("a", 2.0));
    // A late event in its grace neither reopens it nor keeps it longer.
    scene
        .see(worker("gen7@web", 7).sends("a", 10.0))
        .tick_at(16.9);
    assert!(scene.app.holds(&TaskId::from("a")));
    scene.tick_at(17.0);
    assert_eq!(ids(&scene.changes.evicted), ["a"]);
    assert!(scene.changes.spilled.is_empty() && !scene.app.holds(&TaskId::from("a")));
    assert_eq!(scene.app.tasks_count(), 0);
}

#[test]
fn a_task_from_history_is_in_grace_again() {
    let mut w1 = worker("celery@w1", 1);
    let mut scene = scene();
    scene
        .see(w1.receives("a", 0.0))
        .see(w1.starts("a", 1.0))
        .see(w1.succeeds("a", 2.0));
    let stored = scene.task("a").clone();
    scene.tick_at(100.0);
    scene.app.restore_task(stored);
    scene
        .see(worker("gen7@web", 7).sends("a", 101.0))
        .tick_at(114.9);
    assert_eq!(scene.task("a").client.as_deref(), Some("gen7@web"));
    assert_eq!(scene.attempts("a"), ["1 0.0 1.0 2.0 SUCCESS"]);
    scene.tick_at(115.0);
    assert_eq!(ids(&scene.changes.evicted), ["a"]);
}

#[test]
fn history_may_have_a_row_of_what_finished_once_or_came_from_there() {
    let mut w1 = worker("celery@w1", 1);
    let mut scene = scene();
    scene.see(w1.receives("a", 0.0)).see(w1.receives("b", 0.5));
    let stored = |scene: &Scene| -> Vec<String> {
        let tasks = scene.app.stored_tasks();
        tasks.map(|task| task.id.to_string()).collect()
    };
    assert_eq!(stored(&scene), Vec::<String>::new());
    scene.see(w1.starts("a", 1.0)).see(w1.succeeds("a", 2.0));
    assert_eq!(stored(&scene), ["a"]);
    // It begins again: unfinished, and its row is still there.
    scene.see(w1.receives("a", 3.0));
    assert!(!scene.task("a").is_finished());
    assert_eq!(stored(&scene), ["a"]);
    let mut spilled = scene.task("b").clone();
    spilled.id = TaskId::from("c");
    scene.app.restore_task(spilled);
    assert_eq!(stored(&scene), ["a", "c"]);
}

#[test]
fn the_oldest_in_grace_leave_first_when_there_are_many() {
    let mut w1 = worker("celery@w1", 1);
    let mut scene = scene_with(Limits {
        grace_tasks_max: 2,
        ..Limits::default()
    });
    for (second, id) in ["a", "b", "c", "d"].iter().enumerate() {
        let second = f64::from(u8::try_from(second).unwrap());
        scene
            .see(w1.starts(id, second))
            .see(w1.succeeds(id, second + 0.5));
    }
    scene.tick_at(5.0);
    assert_eq!(ids(&scene.changes.evicted), ["a", "b"]);
}

#[test]
fn the_longest_untouched_move_to_history_when_memory_is_full() {
    let mut w1 = worker("celery@w1", 1);
    let mut scene = scene_with(Limits {
        tasks_max: 3,
        ..Limits::default()
    });
    scene.see(w1.online(0.0));
    for (second, id) in ["a", "b", "c", "d"].iter().enumerate() {
        scene.see(w1.receives(id, f64::from(u8::try_from(second).unwrap())));
    }
    scene.see(w1.starts("a", 10.0)).see(w1.receives("e", 11.0));
    assert_eq!(
        (
            scene.app.unfinished_count(),
            scene.worker("celery@w1").reserved_known
        ),
        (5, 4)
    );
    scene.tick_at(11.5);
    let spilled: Vec<_> = scene
        .changes
        .spilled
        .iter()
        .map(|task| task.id.to_string())
        .collect();
    assert_eq!(spilled, ["b", "c"]);
    assert_eq!(
        (
            scene.app.unfinished_count(),
            scene.worker("celery@w1").reserved_known
        ),
        (3, 2)
    );
    assert_eq!(scene.app.load_of_name("shop.pay"), (2, 1));
    // They come back as they were.
    let back = scene.changes.spilled[0].clone();
    scene.app.restore_task(back);
    scene.see(w1.starts("b", 12.0));
    assert_eq!(scene.attempts("b"), ["1 1.0 12.0 - open"]);
    assert_eq!(scene.app.load_of_name("shop.pay"), (2, 2));
}

#[test]
fn finished_tasks_make_room_before_unfinished_ones() {
    let mut w1 = worker("celery@w1", 1);
    let mut scene = scene_with(Limits {
        tasks_max: 2,
        ..Limits::default()
    });
    scene
        .see(w1.receives("a", 0.0))
        .see(w1.receives("b", 1.0))
        .see(w1.starts("c", 2.0));
    scene.see(w1.succeeds("c", 3.0)).tick_at(3.0);
    assert_eq!(ids(&scene.changes.evicted), ["c"]);
    assert!(scene.changes.spilled.is_empty());
}

#[test]
fn names_beyond_the_bound_are_counted_as_other() {
    let mut w1 = worker("celery@w1", 1);
    let limits = Limits {
        tasks_max: 10_000,
        ..Limits::default()
    };
    let mut scene = scene_with(limits);
    for number in 0..TASK_NAMES_MAX + 3 {
        let name: Symbol = format!("task{number}").into();
        scene.see(TaskEvent {
            name: Some(name),
            ..w1.receives(&number.to_string(), 1.0)
        });
    }
    assert_eq!(scene.app.task_names().count(), TASK_NAMES_MAX + 1);
    assert_eq!(scene.app.task_name("other").unwrap().received, 3);
    assert_eq!(scene.app.load_of_name("other"), (3, 0));
    assert_eq!(scene.app.load_of_name("task0"), (1, 0));
    assert_eq!(scene.app.overflow().task_names, 3);
}

#[test]
fn workers_beyond_the_bound_are_not_watched_until_one_has_gone() {
    let mut scene = scene();
    for number in 0..WORKERS_MAX {
        scene.see(worker(&format!("w{number}"), 1).online(0.0));
    }
    let mut late = worker("late", 1);
    scene.see(late.online(1.0)).see(late.receives("t", 1.0));
    assert!(scene.app.worker("late").is_none());
    assert_eq!(
        (
            scene.task("t").worker.as_deref(),
            scene.app.overflow().workers
        ),
        (Some("late"), 2)
    );
    let series = scene
        .app
        .counters()
        .series()
        .map(|(worker, _, _, _)| worker.to_string());
    assert_eq!(series.collect::<Vec<_>>(), ["other"]);
    let mut leaving = worker("w7", 1);
    leaving.clock = 1;
    scene.see(leaving.offline(2.0)).tick_at(3.0);
    assert_eq!(scene.changes.workers_removed, ["w7".into()]);
    scene.see(late.beats(4.0));
    assert_eq!(scene.worker("late").reserved_known, 1);
}

#[test]
fn senders_beyond_the_bound_are_other_until_the_silent_ones_are_forgotten() {
    let mut scene = scene();
    let mut send = |number: usize, second: f64| {
        let mut client = worker(&format!("gen{number}@web"), 1);
        scene
            .see(client.sends(&number.to_string(), second))
            .tick_at(second);
        let mut senders: Vec<_> = scene
            .app
            .counters()
            .series()
            .map(|(sender, _, _, _)| sender.to_string())
            .collect();
        senders.sort();
        senders
    };
    for number in 0..SENDERS_MAX {
        send(number, 0.0);
    }
    let senders = send(SENDERS_MAX, 1.0);
    assert_eq!(senders.len(), SENDERS_MAX + 1);
    assert!(senders.contains(&"other".to_owned()));
    let senders = send(SENDERS_MAX + 1, 3_601.0);
    assert_eq!(senders, ["other"]);
    assert_eq!(send(SENDERS_MAX + 2, 3_602.0), ["gen202@web", "other"]);
}

#[test]
fn series_beyond_the_bound_are_counted_as_other() {
    let mut scene = scene_with(Limits {
        tasks_max: 1,
        ..Limits::default()
    });
    let names = 200;
    for number in 0..=EVENT_SERIES_MAX {
        let mut worker = worker(&format!("w{}", number / names), 1);
        let name: Symbol = format!("task{}", number % names).into();
        scene.see(TaskEvent {
            name: Some(name),
            ..worker.receives(&number.to_string(), 0.0)
        });
        if number % 1_000 == 0 {
            scene.tick_at(0.0);
        }
    }
    assert_eq!(scene.app.counters().series().count(), EVENT_SERIES_MAX + 1);
    let other = scene
        .app
        .counters()
        .series()
        .find(|(worker, _, _, _)| &***worker == "other")
        .unwrap();
    assert_eq!(
        (
            other.1.as_str(),
            other.3.events[1],
            scene.app.counters().overflow()
        ),
        ("other", 1, 1)
    );
}

#[test]
fn queues_and_gaps_are_bounded() {
    let mut scene = scene();
    let names: Vec<String> = (0..QUEUES_MAX + 2)
        .map(|number| format!("q{number}"))
        .collect();
    let queues: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    scene.see(depths(0.0, &queues));
    assert_eq!(
        (scene.app.queues().count(), scene.app.overflow().queues),
        (QUEUES_MAX, 2)
    );
    for number in 0..GAPS_KEPT + 5 {
        let second = f64::from(u32::try_from(number).unwrap());
        scene.see(gap(second, Some(second + 0.5)));
    }
    assert_eq!(scene.app.gaps().count(), GAPS_KEPT);
    assert_eq!(scene.app.gaps().next().unwrap(), &gap(5.0, Some(5.5)));
}

#[test]
fn names_that_nothing_uses_any_more_are_let_go() {
    let mut w1 = worker("celery@w1", 1);
    let mut scene = scene_with(Limits {
        grace: Duration::ZERO,
        ..Limits::default()
    });
    for number in 0..10_000 {
        let routing_key: Symbol = format!("key{number}").into();
        let second = f64::from(number);
        let mut client = worker("gen7@web", 7);
        scene.see(TaskEvent {
            routing_key: Some(routing_key),
            ..client.sends("t", second)
        });
        scene.see(w1.succeeds("t", second)).tick_at(second);
    }
    assert!(scene.app.names.len() <= 1_100, "{}", scene.app.names.len());
}
