//! Tasks that workers are asked for by id after a gap.

use super::build::{
    Node, Scene, answers, at, depths, gap, processed, report, request, scene, worker,
};
use crate::state::Query;
use crate::state::ids::{Micros, TaskId};
use crate::state::input::{Queried, Snapshot, WorkerEvent};
use crate::state::task::TaskState;

const PATIENCE: Micros = 60_000_000;

/// What is asked of whom now, in words; nothing when it is empty.
fn asked(scene: &mut Scene, seconds: f64) -> String {
    let Some(query) = scene.app.take_query(at(seconds), PATIENCE) else {
        return String::new();
    };
    let tasks: Vec<String> = query.tasks.iter().map(ToString::to_string).collect();
    let mut workers: Vec<&str> = query.workers.iter().map(|name| &**name).collect();
    workers.sort_unstable();
    format!("{} of {}", tasks.join(" "), workers.join(" "))
}

/// The answer to `query_task`.
fn queried(worker: &str, seconds: f64, tasks: &[&str], found: &[&str]) -> Snapshot {
    let found = found.iter().map(|id| (false, request(id)));
    Snapshot {
        hostname: worker.to_owned(),
        asked: at(seconds),
        received: at(seconds + 0.1),
        queried: Some(Queried {
            tasks: tasks.iter().map(|id| TaskId::from(*id)).collect(),
            found: found.collect(),
        }),
        ..Snapshot::default()
    }
}

/// Lists that were cut.
fn cut(worker: &str, seconds: f64) -> Snapshot {
    Snapshot {
        cut: true,
        ..answers(worker, seconds)
    }
}

fn version(event: WorkerEvent, version: &str) -> WorkerEvent {
    WorkerEvent {
        sw_ver: Some(version.into()),
        ..event
    }
}

/// A worker of that version that runs `runs`, and `sent`, which nobody has received, before a gap from 5 to 9.
fn after_a_gap(scene: &mut Scene, celery: &str) -> Node {
    let mut a = worker("a", 7);
    let mut client = worker("gen1@h", 1);
    scene
        .see(report(0.0, true))
        .see(version(a.online(0.0), celery))
        .see(a.receives("runs", 1.0))
        .see(a.starts("runs", 1.1))
        .see(client.sends("sent", 2.0))
        .see(depths(3.0, &[("mail", 1)]))
        .see(gap(5.0, Some(9.0)));
    a
}

fn state(scene: &Scene, id: &str) -> (String, bool, bool) {
    let task = scene.task(id);
    let gap = task.outcome_unknown && task.ended_in_gap;
    (
        task.state.as_str().to_owned(),
        task.doubted.is_some(),
        gap && task
            .outcome_unknown_reason()
            .is_some_and(|why| why.contains("gap")),
    )
}

fn unconfirmed(state: &str) -> (String, bool, bool) {
    (state.to_owned(), true, false)
}

fn over(state: &str) -> (String, bool, bool) {
    (state.to_owned(), false, true)
}

#[test]
fn what_its_worker_lists_no_more_is_asked_for_by_id_and_then_over() {
    let mut scene = scene();
    after_a_gap(&mut scene, "5.7.0");
    assert_eq!(asked(&mut scene, 10.0), "", "its lists come first");
    scene.see(answers("a", 10.0));
    assert_eq!(state(&scene, "runs"), unconfirmed("STARTED"), "once only");
    assert_eq!(asked(&mut scene, 11.0), "runs of a");
    assert_eq!(asked(&mut scene, 12.0), "", "one query at a time");
    scene.see(queried("a", 11.0, &["runs"], &[]));
    assert_eq!(state(&scene, "runs"), over("STARTED"));
    assert_eq!(asked(&mut scene, 90.0), "", "nothing is left to ask");
}

#[test]
fn what_a_worker_has_is_confirmed_and_filled_in() {
    let mut scene = scene();
    let mut a = after_a_gap(&mut scene, "5.7.0");
    // Its first events were missed.
    scene
        .see(a.starts("nameless", 4.0))
        .see(gap(5.0, Some(9.0)))
        .see(cut("a", 10.0));
    assert_eq!(asked(&mut scene, 11.0), "runs nameless of a");
    scene.see(queried(
        "a",
        11.0,
        &["runs", "nameless"],
        &["runs", "nameless"],
    ));
    for id in ["runs", "nameless"] {
        assert_eq!(state(&scene, id), ("STARTED".to_owned(), false, false));
    }
    let nameless = scene.task("nameless");
    assert_eq!(nameless.name.as_deref(), Some("shop.pay"));
    assert_eq!(nameless.payload.args.as_deref(), Some("[1, 2]"));
}

#[test]
fn a_worker_that_lists_too_much_is_asked_twice() {
    let mut scene = scene();
    after_a_gap(&mut scene, "5.7.0");
    scene.see(cut("a", 10.0));
    assert_eq!(asked(&mut scene, 11.0), "runs of a");
    scene.see(queried("a", 11.0, &["runs"], &[]));
    assert_eq!(state(&scene, "runs"), unconfirmed("STARTED"));
    assert_eq!(asked(&mut scene, 12.0), "", "not at once");
    assert_eq!(asked(&mut scene, 15.0), "runs of a");
    scene.see(queried("a", 15.0, &["runs"], &[]));
    assert_eq!(state(&scene, "runs"), over("STARTED"));
}

#[test]
fn before_5_7_a_task_that_may_wait_for_its_eta_is_over_only_by_complete_lists() {
    let mut scene = scene();
    after_a_gap(&mut scene, "5.4.0");
    scene.see(cut("a", 10.0));
    for time in [11.0, 80.0, 150.0] {
        assert_eq!(asked(&mut scene, time), "runs of a", "{time}");
        scene.see(queried("a", time, &["runs"], &[]));
        assert_eq!(state(&scene, "runs"), unconfirmed("STARTED"));
    }
    scene.see(answers("a", 160.0));
    assert_eq!(asked(&mut scene, 220.0), "runs of a");
    scene.see(queried("a", 220.0, &["runs"], &[]));
    assert_eq!(state(&scene, "runs"), over("STARTED"));
}

#[test]
fn a_worker_that_answers_nothing_leaves_its_tasks_unconfirmed() {
    let mut scene = scene();
    after_a_gap(&mut scene, "5.7.0");
    scene.see(answers("a", 10.0));
    assert_eq!(asked(&mut scene, 11.0), "runs of a");
    scene.see(Snapshot {
        hostname: "a".to_owned(),
        asked: at(11.0),
        received: at(21.0),
        unanswered: vec!["query_task".into()],
        ..Snapshot::default()
    });
    assert_eq!(state(&scene, "runs"), unconfirmed("STARTED"));
    assert_eq!(asked(&mut scene, 90.0), "", "until it answers again");
    scene.see(cut("a", 100.0));
    assert_eq!(asked(&mut scene, 101.0), "runs of a");
}

/// Two workers that have answered since the gap, and neither has anything but `runs`.
fn two_workers(celery: &str) -> Scene {
    let mut scene = scene();
    let a = after_a_gap(&mut scene, celery);
    let mut b = worker("b", 8);
    scene.see(version(b.online(9.5), celery));
    let has_runs = Snapshot {
        active: Some(vec![request("runs")]),
        ..answers(&a.name, 10.0)
    };
    scene.see(has_runs).see(answers("b", 10.0));
    assert_eq!(state(&scene, "runs"), ("STARTED".to_owned(), false, false));
    scene
}

#[test]
fn what_waits_in_its_queue_stays_as_it_is() {
    let mut scene = two_workers("5.7.0");
    for time in [11.0, 80.0, 150.0] {
        scene.see(depths(time, &[("mail", 3)]));
        assert_eq!(asked(&mut scene, time + 1.0), "");
        assert_eq!(state(&scene, "sent"), unconfirmed("PENDING"));
    }
    // Nor is a queue that is not read known to be empty.
    scene.see(depths(160.0, &[]));
    assert_eq!(asked(&mut scene, 161.0), "");
}

#[test]
fn what_is_neither_in_its_empty_queue_nor_in_any_worker_twice_is_over() {
    let mut scene = two_workers("5.7.0");
    scene.see(depths(11.0, &[("mail", 0)]));
    for (time, then) in [(12.0, unconfirmed("PENDING")), (20.0, over("PENDING"))] {
        assert_eq!(asked(&mut scene, time), "sent of a b");
        scene
            .see(queried("a", time, &["sent"], &[]))
            // Of one worker alone, or before its queue was read again, it says nothing.
            .see(depths(time + 0.5, &[("mail", 0)]))
            .see(queried("b", time + 1.0, &["sent"], &[]))
            .see(depths(time + 0.9, &[("mail", 0)]));
        assert_eq!(state(&scene, "sent"), unconfirmed("PENDING"));
        scene.see(depths(time + 1.5, &[("mail", 0)]));
        assert_eq!(state(&scene, "sent"), then);
    }
    let reason = scene.task("sent").outcome_unknown_reason();
    let reason = reason.unwrap_or_default();
    assert!(
        reason.starts_with("ended or requeued, outcome unknown (gap)"),
        "{reason}"
    );
}

#[test]
fn a_queue_that_fills_again_proves_nothing() {
    let mut scene = two_workers("5.7.0");
    scene.see(depths(11.0, &[("mail", 0)]));
    assert_eq!(asked(&mut scene, 12.0), "sent of a b");
    scene
        .see(queried("a", 12.0, &["sent"], &[]))
        .see(queried("b", 12.0, &["sent"], &[]))
        .see(depths(13.0, &[("mail", 1)]));
    assert_eq!(scene.task("sent").absent_snapshots, 0);
    assert_eq!(state(&scene, "sent"), unconfirmed("PENDING"));
}

#[test]
fn what_another_worker_has_by_now_is_there() {
    let mut scene = two_workers("5.7.0");
    scene.see(depths(11.0, &[("mail", 0)]));
    assert_eq!(asked(&mut scene, 12.0), "sent of a b");
    scene
        .see(queried("b", 12.0, &["sent"], &["sent"]))
        .see(queried("a", 12.0, &["sent"], &[]))
        .see(depths(13.0, &[("mail", 0)]));
    let sent = scene.task("sent");
    assert_eq!(sent.state, TaskState::Received);
    assert_eq!(sent.worker.as_deref(), Some("b"));
    assert_eq!(state(&scene, "sent"), ("RECEIVED".to_owned(), false, false));
}

#[test]
fn one_worker_that_does_not_answer_leaves_it_open_whether_a_task_is_anywhere() {
    let mut scene = two_workers("5.7.0");
    scene.see(depths(11.0, &[("mail", 0)]));
    assert_eq!(asked(&mut scene, 12.0), "sent of a b");
    scene
        .see(queried("a", 12.0, &["sent"], &[]))
        .see(depths(13.0, &[("mail", 0)]));
    // Neither an answer nor word that there is none: given up after a while, and asked again.
    assert_eq!(asked(&mut scene, 73.0), "");
    assert_eq!(state(&scene, "sent"), unconfirmed("PENDING"));
    assert_eq!(asked(&mut scene, 134.0), "sent of a b");
}

#[test]
fn an_event_that_comes_meanwhile_is_the_answer() {
    let mut scene = two_workers("5.7.0");
    let mut b = worker("b", 8);
    b.clock = 10;
    scene.see(depths(11.0, &[("mail", 0)]));
    assert_eq!(asked(&mut scene, 12.0), "sent of a b");
    scene
        .see(queried("a", 12.0, &["sent"], &[]))
        .see(b.receives("sent", 12.5))
        .see(queried("b", 12.2, &["sent"], &[]))
        .see(depths(13.0, &[("mail", 0)]));
    assert_eq!(state(&scene, "sent"), ("RECEIVED".to_owned(), false, false));
    assert_eq!(scene.task("sent").absent_snapshots, 0);
    scene.see(processed(b.beats(14.0), 0));
    assert_eq!(asked(&mut scene, 20.0), "");
}

#[test]
fn queries_are_bounded_and_take_a_part_of_the_budget_only() {
    let mut scene = scene();
    scene.see(report(0.0, true));
    let mut nodes: Vec<Node> = (0..120)
        .map(|number| worker(&format!("w{number}"), number))
        .collect();
    for node in &mut nodes {
        scene.see(node.online(0.0));
        for task in 0..5 {
            scene.see(node.starts(&format!("{task} of {}", node.name), 1.0));
        }
    }
    scene.see(gap(5.0, Some(9.0)));
    for node in &nodes {
        scene.see(cut(&node.name, 10.0));
    }
    let query = scene.app.take_query(at(11.0), PATIENCE);
    let Query { tasks, workers } = query.expect("much is sought");
    assert_eq!(tasks.len(), 100);
    assert!(workers.len() <= 100, "{}", workers.len());
    let ids: Vec<String> = tasks.iter().map(ToString::to_string).collect();
    let names: Vec<&str> = ids.iter().map(String::as_str).collect();
    for worker in &workers {
        scene.see(queried(worker, 11.0, &names, &names));
    }
    // Each request names 50 workers and goes to all: a second of their budget, of which queries take a quarter.
    let requests = u32::try_from(workers.len().div_ceil(50)).unwrap();
    let rested = 11.0 + 4.0 * f64::from(requests);
    assert_eq!(asked(&mut scene, rested - 0.1), "");
    assert_ne!(asked(&mut scene, rested), "");
}
