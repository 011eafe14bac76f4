//! Answers and depth readings.

use super::build::{Scene, answers, at, consumed, depths, gap, request, scene, worker};
use crate::state::input::{Snapshot, Stats, TaskRequest};
use crate::state::task::{Phase, TaskState};

#[test]
fn answers_fill_in_what_events_did_not_tell() {
    let mut w1 = worker("celery@w1", 1);
    let mut scene = scene();
    scene.see(w1.online(0.0)).see(w1.starts("known", 1.0));
    assert_eq!(scene.task("known").name, None);
    scene.see(Snapshot {
        active: Some(vec![request("known"), request("new")]),
        reserved: Some(vec![request("held")]),
        scheduled: Some(vec![TaskRequest {
            eta: Some(at(99.0)),
            ..request("later")
        }]),
        ..answers("celery@w1", 2.0)
    });
    let known = scene.task("known");
    assert_eq!(
        (known.name.as_deref(), known.queue.as_deref()),
        (Some("shop.pay"), Some("mail"))
    );
    assert_eq!(known.payload.args.as_deref(), Some("[1, 2]"));
    for (id, state, phase) in [
        ("new", TaskState::Started, Phase::Active),
        ("held", TaskState::Received, Phase::Reserved),
        ("later", TaskState::Received, Phase::Reserved),
    ] {
        let task = scene.task(id);
        assert_eq!((&task.state, task.phase()), (&state, phase), "{id}");
        assert_eq!(
            (task.timestamp, task.received, task.started),
            (None, None, None),
            "{id}"
        );
        assert_eq!(
            (task.first_seen, task.worker.as_deref()),
            (at(2.1), Some("celery@w1")),
            "{id}"
        );
    }
    assert_eq!(scene.task("later").eta, Some(at(99.0)));
    assert_eq!(scene.app.load_of_queue("mail"), (2, 2));
    assert_eq!(scene.app.load_of_name("shop.pay"), (2, 2));
    let inspection = scene.worker("celery@w1").inspection.clone().unwrap();
    assert_eq!(
        (inspection.active, inspection.reserved, inspection.scheduled),
        (Some(2), Some(1), Some(1))
    );
    assert_eq!(inspection.held_by_queue, [("mail".into(), 2)]);
    // Events of such a task go on from there.
    scene.see(w1.succeeds("new", 3.0));
    assert_eq!(scene.attempts("new"), ["1 - - 3.0 SUCCESS"]);
}

#[test]
fn what_was_answered_stays_until_it_is_answered_anew() {
    let mut scene = scene();
    let stats = |processes| {
        Some(Stats {
            pool_implementation: Some("celery.concurrency.prefork:TaskPool".into()),
            processes,
            max_concurrency: Some(4),
            ..Stats::default()
        })
    };
    scene.see(Snapshot {
        stats: stats(vec![11, 12]),
        queues: Some(vec![consumed("mail")]),
        registered: Some(vec!["shop.pay".into()]),
        ..answers("celery@w1", 0.0)
    });
    scene.see(Snapshot {
        active: None,
        unanswered: vec!["active".into()],
        ..answers("celery@w1", 60.0)
    });
    let inspection = scene.worker("celery@w1").inspection.clone().unwrap();
    assert_eq!(
        (inspection.time, inspection.queues_time),
        (at(60.1), at(0.1))
    );
    assert_eq!(
        (inspection.pool(), inspection.slots(), inspection.active),
        (Some("prefork"), Some(2), Some(0))
    );
    assert_eq!(inspection.registered, ["shop.pay".into()]);
    assert_eq!(inspection.unanswered, [Box::<str>::from("active")]);
    // An older answer that was overtaken is left out.
    scene.see(Snapshot {
        stats: stats(vec![1]),
        ..answers("celery@w1", 30.0)
    });
    assert_eq!(
        scene
            .worker("celery@w1")
            .inspection
            .as_ref()
            .unwrap()
            .processes,
        [11, 12]
    );
}

#[test]
fn the_workers_of_a_queue_are_those_that_last_said_so() {
    let mut scene = scene();
    let consumes = |name: &str, seconds, queues: &[&str]| Snapshot {
        queues: Some(queues.iter().map(|queue| consumed(queue)).collect()),
        ..answers(name, seconds)
    };
    let names = |scene: &Scene, queue: &str| -> Vec<String> {
        let mut names: Vec<_> = scene
            .app
            .workers_of_queue(queue)
            .map(|worker| worker.name.to_string())
            .collect();
        names.sort();
        names
    };
    scene.see(depths(0.0, &[("mail", 1)]));
    scene
        .see(consumes("w1", 1.0, &["mail", "slow"]))
        .see(consumes("w2", 1.0, &["mail"]));
    assert_eq!(names(&scene, "mail"), ["w1", "w2"]);
    assert_eq!(scene.changes.queues, ["mail".into()]);
    scene.see(answers("w1", 2.0));
    assert_eq!(names(&scene, "mail"), ["w1", "w2"], "not asked is not gone");
    scene.see(consumes("w1", 3.0, &["slow"]));
    assert_eq!(
        (names(&scene, "mail"), names(&scene, "slow")),
        (vec!["w2".to_owned()], vec!["w1".to_owned()])
    );
}

/// A task of w1 that its lists do not name.
fn started() -> Scene {
    let mut w1 = worker("celery@w1", 1);
    let mut scene = scene();
    scene
        .see(w1.online(0.0))
        .see(w1.receives("t", 1.0))
        .see(w1.starts("t", 2.0));
    scene
}

#[test]
fn what_is_on_no_list_twice_is_over_and_how_is_not_known() {
    let mut scene = started();
    scene.see(answers("celery@w1", 10.0));
    assert!(!scene.task("t").is_finished());
    scene.see(answers("celery@w1", 20.0));
    let task = scene.task("t");
    assert!(task.outcome_unknown);
    assert_eq!(
        (task.finish_seen, task.state.as_str()),
        (Some(at(20.1)), "STARTED")
    );
    assert_eq!(scene.changes.tasks, std::slice::from_ref(&task.id));
    assert_eq!(
        (
            scene.app.unfinished_count(),
            scene.app.load_of_name("shop.pay")
        ),
        (0, (0, 0))
    );
}

#[test]
fn an_event_or_a_list_brings_back_what_was_given_up() {
    let mut w1 = worker("celery@w1", 1);
    w1.clock = 3;
    let mut scene = started();
    scene
        .see(answers("celery@w1", 10.0))
        .see(answers("celery@w1", 20.0));
    scene.see(Snapshot {
        active: Some(vec![request("t")]),
        ..answers("celery@w1", 30.0)
    });
    assert!(!scene.task("t").outcome_unknown && !scene.task("t").is_finished());
    scene
        .see(answers("celery@w1", 40.0))
        .see(answers("celery@w1", 50.0));
    assert!(scene.task("t").outcome_unknown);
    scene.see(w1.succeeds("t", 51.0));
    let task = scene.task("t");
    assert!(!task.outcome_unknown);
    assert_eq!(
        (task.finish_seen, task.state.as_str()),
        (Some(at(51.0)), "SUCCESS")
    );
}

#[test]
fn only_whole_answers_after_the_last_event_count() {
    let mut w1 = worker("celery@w1", 1);
    w1.clock = 3;
    let mut scene = started();
    for (second, snapshot) in [
        // Asked before the last event of the task was seen.
        (1.5, answers("celery@w1", 1.5)),
        (
            10.0,
            Snapshot {
                cut: true,
                ..answers("celery@w1", 10.0)
            },
        ),
        (
            20.0,
            Snapshot {
                scheduled: None,
                ..answers("celery@w1", 20.0)
            },
        ),
        (30.0, answers("celery@w1", 30.0)),
        (
            40.0,
            Snapshot {
                active: Some(vec![request("t")]),
                ..answers("celery@w1", 40.0)
            },
        ),
        (50.0, answers("celery@w1", 50.0)),
    ] {
        scene.see(snapshot);
        assert!(!scene.task("t").is_finished(), "{second}");
    }
    // An event in between begins the count anew.
    scene
        .see(w1.progresses("t", 55.0))
        .see(answers("celery@w1", 60.0));
    assert!(!scene.task("t").is_finished());
    scene.see(answers("celery@w1", 70.0));
    assert!(scene.task("t").is_finished());
}

#[test]
fn tasks_of_a_former_life_are_lost_and_not_over() {
    let mut scene = started();
    let mut again = worker("celery@w1", 2);
    scene
        .see(again.online(5.0))
        .see(answers("celery@w1", 10.0))
        .see(answers("celery@w1", 20.0));
    assert!(scene.task("t").lost && !scene.task("t").is_finished());
}

#[test]
fn a_lost_task_that_another_worker_has_is_there() {
    let mut scene = started();
    let mut w2 = worker("celery@w2", 2);
    scene
        .see(worker("celery@w1", 9).online(5.0))
        .see(w2.online(5.0));
    assert!(scene.task("t").lost);
    scene.see(Snapshot {
        reserved: Some(vec![request("t")]),
        ..answers("celery@w2", 10.0)
    });
    assert_eq!(
        (scene.task("t").lost, scene.task("t").worker.as_deref()),
        (false, Some("celery@w2"))
    );
    scene
        .see(answers("celery@w1", 20.0))
        .see(answers("celery@w1", 30.0));
    assert!(!scene.task("t").is_finished(), "it is not w1's any more");
}

#[test]
fn a_list_from_before_the_last_event_moves_nothing() {
    let mut scene = started();
    let mut w2 = worker("celery@w2", 2);
    scene
        .see(w2.online(0.0))
        .see(worker("celery@w1", 9).online(5.0));
    let early = Snapshot {
        received: at(6.0),
        reserved: Some(vec![request("t")]),
        ..answers("celery@w2", 1.0)
    };
    scene.see(early);
    assert_eq!(
        (scene.task("t").lost, scene.task("t").worker.as_deref()),
        (true, Some("celery@w1"))
    );
}

#[test]
fn a_list_does_not_reopen_what_finished() {
    let mut w1 = worker("celery@w1", 1);
    w1.clock = 3;
    let mut scene = started();
    scene.see(w1.succeeds("t", 3.0));
    scene.see(Snapshot {
        active: Some(vec![request("t")]),
        ..answers("celery@w1", 4.0)
    });
    assert_eq!(
        (scene.task("t").finish_seen, scene.task("t").state.as_str()),
        (Some(at(3.0)), "SUCCESS")
    );
}

#[test]
fn queues_come_change_and_go_with_the_readings() {
    let mut scene = scene();
    scene.see(depths(0.0, &[("mail", 0), ("slow", 2)]));
    assert_eq!(scene.changes.queues, ["mail".into(), "slow".into()]);
    assert!(scene.changes.app, "the unacked total is the app's");
    scene.see(depths(1.0, &[("mail", 3), ("slow", 2)]));
    assert_eq!(
        (&scene.changes.queues[..], scene.changes.app),
        (&["mail".into()][..], false)
    );
    scene.see(depths(2.0, &[("mail", 1)]));
    let mail = scene.app.queue("mail").unwrap();
    assert_eq!(
        (mail.ready, mail.nonempty_since, mail.read),
        (Some(1), Some(at(1.0)), Some(at(2.0)))
    );
    assert_eq!(scene.changes.queues_removed, ["slow".into()]);
    assert!(scene.app.queue("slow").is_none());
    // A reading that was overtaken is left out.
    scene.see(depths(1.5, &[("slow", 9)]));
    assert!(scene.app.queue("slow").is_none());
    scene.see(depths(3.0, &[("mail", 0)]));
    assert_eq!(scene.app.queue("mail").unwrap().nonempty_since, None);
    assert_eq!(scene.app.unacked_total(), Some(1));
}

#[test]
fn a_gap_that_closes_takes_the_place_of_the_open_one() {
    let mut scene = scene();
    scene
        .see(gap(1.0, None))
        .see(gap(1.0, Some(2.0)))
        .see(gap(5.0, None));
    let ends: Vec<_> = scene.app.gaps().map(|gap| gap.end).collect();
    assert_eq!(ends, [Some(at(2.0)), None]);
    assert_eq!(scene.changes.gaps, [gap(5.0, None)]);
}
