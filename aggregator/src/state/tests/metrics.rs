//! Counters behind `/metrics`, by the rules of Flower and celery-exporter.

use super::build::{Scene, scene, worker};
use crate::state::counters::{Series, exception_class};
use crate::state::ids::Symbol;
use crate::state::input::{TaskEvent, TaskEventKind};
use crate::state::limits::{CUSTOM_TYPES_MAX, EXCEPTION_CLASSES_MAX};

fn series<'a>(scene: &'a Scene, worker: &str, name: &str) -> &'a Series {
    let mut all = scene.app.counters().series();
    all.find(|(w, n, _, _)| w.as_str() == worker && n.as_str() == name)
        .map(|(_, _, _, series)| series)
        .unwrap()
}

fn counted(scene: &Scene, kind: TaskEventKind) -> u64 {
    series(scene, "celery@w1", "shop.pay").events[kind as usize]
}

#[test]
fn every_distinct_event_counts_once() {
    let mut w1 = worker("celery@w1", 1);
    let mut scene = scene();
    scene.see(worker("gen7@web", 7).sends("t", 0.0));
    scene.see(w1.receives("t", 1.0)).see(w1.starts("t", 2.0));
    let failed = w1.fails("t", 3.0);
    scene
        .see(failed.clone())
        .see(failed)
        .see(w1.fails("t", 3.1));
    assert_eq!(series(&scene, "gen7@web", "shop.pay").events[0], 1);
    assert_eq!(counted(&scene, TaskEventKind::Received), 1);
    // Both of a hard time limit, as the peers do; the statistics of the name count its outcome.
    assert_eq!(counted(&scene, TaskEventKind::Failed), 2);
    assert_eq!(scene.app.task_name("shop.pay").unwrap().failed, 1);
    assert_eq!(
        series(&scene, "celery@w1", "shop.pay").failures,
        [("ValueError".into(), 2)]
    );
    assert_eq!(
        scene.worker("celery@w1").event_counts,
        [0, 1, 1, 0, 2, 0, 0, 0, 0]
    );
    assert_eq!(scene.app.events_folded(), 5);
}

#[test]
fn runtimes_go_into_pythons_default_buckets() {
    let mut w1 = worker("celery@w1", 1);
    let mut scene = scene();
    for (number, runtime) in [0.005, 0.006, 0.2, 9.0, 11.0].into_iter().enumerate() {
        let id = number.to_string();
        scene.see(w1.receives(&id, 1.0)).see(w1.starts(&id, 2.0));
        scene.see(TaskEvent {
            runtime: Some(runtime),
            ..w1.succeeds(&id, 3.0)
        });
    }
    let histogram = series(&scene, "celery@w1", "shop.pay")
        .runtime
        .clone()
        .unwrap();
    assert_eq!(
        histogram.buckets,
        [1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 1]
    );
    assert_eq!(
        (histogram.count(), histogram.sum),
        (5, 0.005 + 0.006 + 0.2 + 9.0 + 11.0)
    );
    let name = scene.app.task_name("shop.pay").unwrap();
    assert_eq!((name.runtime_count, name.runtime_max), (5, 11.0));
    // To within 6 %, and none is longer than the longest.
    let [p50, p95] = [50, 95].map(|percent| name.runtime_quantile(percent).unwrap());
    assert!((p50 - 0.2).abs() < 0.012, "{p50}");
    assert!((p95 - 11.0).abs() < 0.66 && p95 <= 11.0, "{p95}");
}

#[test]
fn prefetch_is_measured_from_receipt_to_start() {
    let mut w1 = worker("celery@w1", 1);
    let mut scene = scene();
    let gauges = |scene: &Scene| {
        let series = series(scene, "celery@w1", "shop.pay");
        (series.prefetched, series.prefetch_seconds)
    };
    scene.see(w1.receives("a", 1.0)).see(w1.receives("b", 1.0));
    assert_eq!(gauges(&scene), (2, None));
    scene.see(w1.starts("a", 3.0));
    assert_eq!(gauges(&scene), (1, Some(2.0)));
    scene.see(w1.succeeds("a", 4.0));
    assert_eq!(gauges(&scene), (1, Some(0.0)));
    // An ETA task waits by design.
    scene
        .see(TaskEvent {
            eta: Some(1),
            ..w1.receives("eta", 5.0)
        })
        .see(w1.starts("eta", 6.0));
    assert_eq!(gauges(&scene), (1, Some(0.0)));
    // A start whose receipt was missed takes nothing below zero, and a receipt after its start does not wait.
    scene.see(w1.starts("b", 7.0));
    let late = w1.receives("c", 7.5);
    scene
        .see(TaskEvent {
            name: Some("shop.pay".into()),
            ..w1.starts("c", 8.0)
        })
        .see(late);
    assert_eq!(gauges(&scene).0, 0);
    scene
        .see(w1.receives("d", 9.0))
        .see(worker("celery@w1", 2).online(10.0));
    assert_eq!(gauges(&scene).0, 0, "a new life begins with empty hands");
}

#[test]
fn a_task_without_a_name_has_an_empty_label_as_in_flower() {
    let mut scene = scene();
    scene.see(worker("celery@w1", 1).starts("t", 1.0));
    assert_eq!(
        series(&scene, "celery@w1", "").events[TaskEventKind::Started as usize],
        1
    );
    assert_eq!(scene.app.task_names().count(), 0);
}

#[test]
fn exceptions_are_counted_by_class() {
    for (exception, traceback, class) in [
        (Some("ValueError('boom 2')"), None, "ValueError"),
        (Some("NotRegistered('demo.unknown')"), None, "NotRegistered"),
        (
            Some("ExceptionWithTraceback()"),
            Some(
                "Traceback\nbilliard.exceptions.WorkerLostError: Worker exited prematurely: exitcode 9 Job: 24.\n",
            ),
            "WorkerLostError",
        ),
        (
            Some("ExceptionWithTraceback()"),
            None,
            "ExceptionWithTraceback",
        ),
        (Some("<weird object at 0x7f>"), None, "UnknownException"),
        (None, None, "UnknownException"),
    ] {
        assert_eq!(exception_class(exception, traceback), class);
    }
}

#[test]
fn classes_and_custom_types_are_bounded() {
    let mut w1 = worker("celery@w1", 1);
    let mut scene = scene();
    for number in 0..CUSTOM_TYPES_MAX + 2 {
        let id = number.to_string();
        scene.see(w1.receives(&id, 1.0)).see(w1.starts(&id, 2.0));
        let event_type: Symbol = format!("task-step-{number}").into();
        scene.see(TaskEvent {
            event_type,
            ..w1.progresses(&id, 2.5)
        });
        let exception = Some(format!("Error{number}()").into());
        scene.see(TaskEvent {
            exception,
            ..w1.fails(&id, 3.0)
        });
    }
    let series = series(&scene, "celery@w1", "shop.pay");
    assert_eq!(series.custom.len(), CUSTOM_TYPES_MAX + 1);
    assert_eq!(series.custom.last(), Some(&("other".into(), 2)));
    assert_eq!(series.failures.len(), EXCEPTION_CLASSES_MAX + 1);
    assert_eq!(
        series.failures.iter().map(|(_, count)| count).sum::<u64>(),
        102
    );
}

#[test]
fn queues_are_told_apart_and_what_waits_is_counted_over_all_of_them() {
    let (mut client, mut w1) = (worker("gen7@web", 7), worker("celery@w1", 1));
    let mut scene = scene();
    // `task-sent` often comes after `task-received`: until then the queue is not known.
    scene.see(w1.receives("t", 1.0)).see(client.sends("t", 0.9));
    scene.see(w1.starts("t", 2.0)).see(w1.succeeds("t", 3.0));
    let of_worker = |(worker, _, queue, series): (&Symbol, &Symbol, &Symbol, &Series)| {
        (worker.as_str() == "celery@w1").then(|| (queue.to_string(), series.clone()))
    };
    let mut found: Vec<_> = scene
        .app
        .counters()
        .series()
        .filter_map(of_worker)
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let events: Vec<_> = found
        .iter()
        .map(|(queue, series)| (queue.as_str(), series.events))
        .collect();
    let expected = [
        ("", [0, 1, 0, 0, 0, 0, 0, 0]),
        ("mail", [0, 0, 1, 1, 0, 0, 0, 0]),
    ];
    assert_eq!(events, expected);
    let mut sum = Series::default();
    for (_, series) in &found {
        sum.add(series);
    }
    assert_eq!(sum.events, [0, 1, 1, 1, 0, 0, 0, 0]);
    assert_eq!((sum.prefetched, sum.prefetch_seconds), (0, Some(0.0)));
    assert_eq!(sum.runtime.unwrap().count(), 1);
}
