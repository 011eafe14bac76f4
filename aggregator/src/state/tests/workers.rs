//! Workers: lives, silence, lost tasks, and whether their events are on.

use super::build::{
    answers, at, gap, processed, report, request, scene, scene_with, up_for, worker,
};
use crate::state::input::{Snapshot, Stats, TaskEvent, WorkerEvent, WorkerEventKind};
use crate::state::limits::Limits;
use crate::state::task::Phase;
use crate::state::worker::{EventsMode, WorkerStatus};

#[test]
fn offline_and_online_with_rising_counters_is_the_same_life() {
    let mut w1 = worker("celery@w1", 1);
    let mut scene = scene();
    scene
        .see(w1.online(0.0))
        .see(w1.receives("t", 1.0))
        .see(processed(w1.beats(2.0), 5));
    scene.see(processed(w1.offline(3.0), 5));
    assert_eq!(scene.worker("celery@w1").status, WorkerStatus::Offline);
    assert!(scene.task("t").lost);
    assert_eq!(
        (
            scene.task("t").phase(),
            scene.worker("celery@w1").reserved_known
        ),
        (Phase::Waiting, 0)
    );
    scene.see(processed(w1.online(4.0), 5));
    assert_eq!(scene.worker("celery@w1").incarnation, 1);
    assert_eq!(scene.worker("celery@w1").status_since, at(4.0));
    // It never was away: the task is where it was.
    assert!(!scene.task("t").lost);
    assert_eq!(scene.worker("celery@w1").reserved_known, 1);
}

/// In a container the process id is the same in every life.
#[test]
fn another_life_shows_by_counters_that_went_back() {
    for (clock, done) in [(3, 50), (900, 0)] {
        let mut w1 = worker("celery@w1", 1);
        let mut scene = scene();
        scene
            .see(w1.online(0.0))
            .see(w1.receives("old", 1.0))
            .see(w1.starts("old", 2.0));
        w1.clock = 500;
        scene.see(processed(w1.beats(3.0), 20));
        w1.clock = clock;
        scene.see(processed(w1.online(60.0), done));
        let known = scene.worker("celery@w1");
        assert_eq!(
            (known.incarnation, known.incarnation_since),
            (2, at(60.0)),
            "{clock} {done}"
        );
        assert_eq!(known.event_counts, [0; 9]);
        assert_eq!(known.missed_starts(), None);
        assert!(scene.task("old").lost);
        // Any later event takes the flag away; a new attempt is of the new life.
        scene.see(w1.receives("old", 61.0));
        assert!(!scene.task("old").lost);
        let lives: Vec<u64> = scene
            .task("old")
            .attempts
            .iter()
            .map(|a| a.incarnation)
            .collect();
        assert_eq!(lives, [1, 2]);
    }
}

#[test]
fn another_process_is_another_life_and_its_first_tasks_are_not_lost() {
    let (mut old, mut new) = (worker("celery@w1", 10), worker("celery@w1", 11));
    let mut scene = scene();
    scene.see(old.online(0.0)).see(old.receives("old", 1.0));
    // `worker-online` was missed: the task of the new process came before its first heartbeat.
    scene.see(new.receives("new", 5.0)).see(new.beats(6.0));
    assert_eq!(scene.worker("celery@w1").incarnation, 2);
    assert!(scene.task("old").lost && !scene.task("new").lost);
    assert_eq!(scene.task("new").attempts[0].incarnation, 2);
    // A word of the old process that was overtaken changes nothing.
    scene.see(old.offline(5.5));
    let known = scene.worker("celery@w1");
    assert_eq!((known.incarnation, known.status), (2, WorkerStatus::Online));
}

#[test]
fn repeated_worker_events_are_no_new_life() {
    let mut w1 = worker("celery@w1", 1);
    let events = [
        w1.online(0.0),
        processed(w1.beats(2.0), 3),
        processed(w1.beats(4.0), 9),
    ];
    let mut scene = scene();
    for event in events.iter().chain(&events) {
        scene.forget_told().see(event.clone());
    }
    let known = scene.worker("celery@w1");
    assert_eq!(
        (known.incarnation, known.processed, known.clock),
        (1, Some(9), Some(3))
    );
}

#[test]
fn what_was_sent_before_worker_offline_at_the_same_time_is_no_new_life() {
    let mut w1 = worker("celery@w1", 1);
    let mut scene = scene();
    scene.see(w1.online(0.0));
    let beat = w1.beats(2.0);
    scene.see(w1.offline(2.0)).see(beat);
    let known = scene.worker("celery@w1");
    assert_eq!(
        (known.incarnation, known.status),
        (1, WorkerStatus::Offline)
    );
}

#[test]
fn lives_that_all_begin_with_the_same_number_are_told_apart() {
    let mut scene = scene();
    for life in 1..4_u32 {
        // In a container the process id is always the same.
        scene.see(worker("celery@w1", 1).online(f64::from(life)));
        assert_eq!(scene.worker("celery@w1").incarnation, u64::from(life));
    }
}

#[test]
fn an_uptime_shorter_than_our_acquaintance_is_another_life() {
    let mut w1 = worker("celery@w1", 1);
    let mut scene = scene();
    scene
        .see(w1.online(0.0))
        .see(w1.receives("old", 10.0))
        .see(w1.receives("new", 95.0));
    let asked = |seconds, uptime| Snapshot {
        stats: Some(up_for(uptime)),
        active: None,
        ..answers("celery@w1", seconds)
    };
    scene.see(asked(100.0, 96.0));
    assert_eq!(scene.worker("celery@w1").incarnation, 1);
    scene.see(asked(110.0, 20.0));
    assert_eq!(scene.worker("celery@w1").incarnation, 2);
    assert!(scene.task("old").lost);
    assert!(
        !scene.task("new").lost,
        "it came after the new life had begun"
    );
    scene.see(asked(120.0, 30.0));
    assert_eq!(scene.worker("celery@w1").incarnation, 2);
}

#[test]
fn an_answer_of_a_life_that_is_over_says_nothing_of_this_one() {
    let (mut old, mut new) = (worker("celery@w1", 10), worker("celery@w1", 11));
    let mut scene = scene();
    scene
        .see(old.online(0.0))
        .see(new.online(5.0))
        .see(new.receives("t", 5.1));
    let stats = Some(Stats {
        pid: Some(10),
        ..Stats::default()
    });
    scene.see(Snapshot {
        stats,
        received: at(6.0),
        ..answers("celery@w1", 4.9)
    });
    assert_eq!(scene.worker("celery@w1").incarnation, 2);
    assert_eq!(scene.worker("celery@w1").inspection, None);
}

#[test]
fn a_heartbeat_that_was_asked_for_changes_neither_freq_nor_counters() {
    let mut w1 = worker("celery@w1", 1);
    let mut scene = scene();
    scene.see(w1.online(0.0)).see(WorkerEvent {
        active: Some(2),
        ..processed(w1.beats(2.0), 7)
    });
    scene.see(w1.beats_as_asked(3.0));
    let known = scene.worker("celery@w1");
    assert_eq!(
        (known.freq, known.active, known.processed),
        (Some(2.0), Some(2), Some(7))
    );
    assert_eq!((known.clock, known.loadavg.len()), (Some(2), 3));
    assert_eq!(known.last_heartbeat, Some(at(3.0)));
}

#[test]
fn silence_is_called_by_time_and_ended_by_anything() {
    let mut w1 = worker("celery@w1", 1);
    let mut scene = scene();
    scene
        .see(report(0.0, true))
        .see(w1.online(0.0))
        .see(w1.receives("t", 0.0))
        .pass_until(10.0);
    assert_eq!(scene.worker("celery@w1").status, WorkerStatus::Online);
    scene.pass_until(11.0);
    assert_eq!(scene.worker("celery@w1").status, WorkerStatus::Silent);
    assert_eq!(scene.changes.workers, ["celery@w1".into()]);
    assert!(scene.task("t").lost);
    scene.see(w1.starts("t", 12.0));
    assert_eq!(scene.worker("celery@w1").status, WorkerStatus::Online);
    assert!(!scene.task("t").lost);
}

#[test]
fn twice_the_heartbeat_interval_is_waited_for_and_without_one_celerys_default() {
    let mut scene = scene();
    let (mut slow, mut quiet) = (worker("celery@slow", 1), worker("celery@quiet", 2));
    scene.see(report(0.0, true));
    scene
        .see(WorkerEvent {
            freq: Some(20.0),
            ..slow.online(0.0)
        })
        .see(quiet.receives("t", 0.0));
    scene.pass_until(41.0);
    assert_eq!(scene.worker("celery@slow").status, WorkerStatus::Online);
    scene.pass_until(42.0);
    assert_eq!(scene.worker("celery@slow").status, WorkerStatus::Silent);
    scene.pass_until(121.0);
    assert_eq!(scene.worker("celery@quiet").status, WorkerStatus::Online);
    scene.pass_until(122.0);
    assert_eq!(scene.worker("celery@quiet").status, WorkerStatus::Silent);
}

#[test]
fn nobody_is_called_silent_while_we_do_not_listen() {
    let mut w1 = worker("celery@w1", 1);
    let mut scene = scene();
    scene
        .see(report(0.0, true))
        .see(w1.online(0.0))
        .see(report(5.0, false));
    for second in 6..100 {
        scene
            .see(report(f64::from(second), false))
            .tick_at(f64::from(second));
    }
    assert_eq!(scene.worker("celery@w1").status, WorkerStatus::Online);
    // The clock of all begins anew.
    scene
        .see(report(100.0, true))
        .tick_at(100.0)
        .pass_until(110.0);
    assert_eq!(scene.worker("celery@w1").status, WorkerStatus::Online);
    scene.pass_until(111.0);
    assert_eq!(scene.worker("celery@w1").status, WorkerStatus::Silent);
}

#[test]
fn nobody_is_called_silent_when_the_inspector_itself_is() {
    let mut w1 = worker("celery@w1", 1);
    let mut scene = scene();
    scene
        .see(report(0.0, true))
        .see(w1.online(0.0))
        .tick_at(31.0)
        .tick_at(500.0);
    assert_eq!(scene.worker("celery@w1").status, WorkerStatus::Online);
    scene.see(report(500.0, true)).tick_at(510.0);
    assert_eq!(scene.worker("celery@w1").status, WorkerStatus::Online);
    scene.see(report(511.0, true)).tick_at(511.0);
    assert_eq!(scene.worker("celery@w1").status, WorkerStatus::Silent);
}

#[test]
fn after_offline_only_a_worker_event_revives() {
    let mut w1 = worker("celery@w1", 1);
    let mut scene = scene();
    scene
        .see(w1.online(0.0))
        .see(w1.receives("t", 0.5))
        .see(w1.starts("t", 0.6));
    scene
        .see(w1.offline(1.0))
        .see(w1.succeeds("t", 2.0))
        .see(answers("celery@w1", 3.0));
    assert_eq!(scene.worker("celery@w1").status, WorkerStatus::Offline);
    assert!(scene.task("t").is_finished() && !scene.task("t").lost);
    let other = WorkerEvent {
        kind: WorkerEventKind::Other,
        ..w1.beats(3.5)
    };
    scene.see(other);
    assert_eq!(scene.worker("celery@w1").status, WorkerStatus::Offline);
    scene.see(w1.beats(4.0));
    assert_eq!(scene.worker("celery@w1").status, WorkerStatus::Online);
    assert_eq!(scene.worker("celery@w1").incarnation, 1);
}

#[test]
fn a_goodbye_of_a_stranger_is_not_kept() {
    let mut scene = scene();
    scene.see(worker("celery@w1", 1).offline(0.0));
    assert_eq!(scene.app.workers().count(), 0);
}

#[test]
fn workers_that_are_gone_leave_and_their_tasks_stay() {
    let mut w1 = worker("celery@w1", 1);
    let mut scene = scene();
    scene
        .see(w1.online(0.0))
        .see(w1.receives("t", 1.0))
        .see(w1.offline(2.0));
    assert_eq!(scene.app.counters().series().count(), 1);
    scene.tick_at(3_601.0);
    assert!(scene.app.worker("celery@w1").is_some());
    scene.tick_at(3_602.0);
    assert!(scene.app.worker("celery@w1").is_none());
    assert_eq!(scene.changes.workers_removed, ["celery@w1".into()]);
    assert_eq!(scene.app.counters().series().count(), 0);
    assert!(scene.task("t").lost);
    // When it comes back, what is known of it is known again.
    scene
        .see(w1.starts("t", 4_000.0))
        .see(w1.receives("u", 4_000.0));
    assert_eq!(scene.worker("celery@w1").reserved_known, 1);
}

#[test]
fn events_are_off_when_tasks_run_and_none_is_heard_of() {
    let mut w1 = worker("celery@w1", 1);
    let mut scene = scene();
    let events = |scene: &super::build::Scene| scene.worker("celery@w1").events;
    scene
        .see(w1.online(0.0))
        .see(w1.beats(2.0))
        .see(processed(w1.beats(4.0), 3));
    assert_eq!(events(&scene), EventsMode::Unknown);
    scene
        .see(processed(w1.beats(6.0), 3))
        .see(processed(w1.beats(8.0), 4));
    assert_eq!(events(&scene), EventsMode::Off);
    assert_eq!(scene.worker("celery@w1").missed_starts(), None);
    let codes: Vec<_> = scene
        .app
        .advice()
        .iter()
        .map(|advice| advice.code)
        .collect();
    assert_eq!(codes, ["EVENTS_OFF"]);
    assert!(scene.app.advice_of("celery@w1")[0].message.contains("`-E`"));
    // A custom event comes from inside a task, and comes without `-E`.
    scene.see(TaskEvent {
        pid: Some(99),
        ..w1.progresses("t", 8.5)
    });
    assert_eq!(events(&scene), EventsMode::Off);
    scene.see(w1.starts("t", 9.0));
    assert_eq!(events(&scene), EventsMode::On);
    // What ran before they were on was not missed.
    scene
        .see(processed(w1.beats(10.0), 5))
        .see(processed(w1.beats(12.0), 5));
    assert_eq!(scene.worker("celery@w1").missed_starts(), Some(0));
}

#[test]
fn growth_while_we_did_not_listen_says_nothing_of_events_and_is_missed() {
    let mut w1 = worker("celery@w1", 1);
    let mut scene = scene();
    scene.see(report(0.0, true)).see(w1.online(0.0));
    scene
        .see(w1.starts("a", 1.0))
        .see(processed(w1.beats(2.0), 1));
    scene
        .see(report(3.0, false))
        .see(report(9.0, true))
        .see(processed(w1.beats(10.0), 5));
    assert_eq!(
        scene.worker("celery@w1").missed_starts(),
        Some(0),
        "a heartbeat may overtake events"
    );
    scene
        .see(gap(10.0, Some(11.0)))
        .see(processed(w1.beats(12.0), 6));
    assert_eq!(scene.worker("celery@w1").missed_starts(), Some(4));
    assert_eq!(scene.worker("celery@w1").eventless_heartbeats, 0);
    assert_eq!(scene.worker("celery@w1").events, EventsMode::On);
}

#[test]
fn stored_workers_and_tasks_are_taken_up() {
    let mut w1 = worker("celery@w1", 1);
    let mut before = scene();
    before
        .see(w1.online(0.0))
        .see(w1.receives("t", 1.0))
        .see(w1.receives("done", 1.0));
    before
        .see(w1.revokes("done", 2.0))
        .see(answers("celery@w1", 3.0))
        .see(gap(3.0, None));
    let mut after = scene_with(Limits::default());
    let app = &mut after.app;
    before
        .app
        .tasks()
        .cloned()
        .for_each(|task| app.restore_task(task));
    before
        .app
        .workers()
        .cloned()
        .for_each(|worker| app.restore_worker(worker));
    before
        .app
        .task_names()
        .cloned()
        .for_each(|name| app.restore_task_name(name));
    before
        .app
        .gaps()
        .cloned()
        .for_each(|gap| app.restore_gap(gap));
    app.restore_events_folded(before.app.events_folded());
    assert_eq!(after.worker("celery@w1"), before.worker("celery@w1"));
    assert_eq!(
        (
            after.app.unfinished_count(),
            after.app.load_of_name("shop.pay")
        ),
        (1, (1, 0))
    );
    assert_eq!(
        after.app.task_name("shop.pay"),
        before.app.task_name("shop.pay")
    );
    assert_eq!(
        (after.app.gaps().count(), after.app.events_folded()),
        (1, 3)
    );
    // Events go on where they were, and what is in memory is not replaced by what was stored.
    after.see(w1.starts("t", 4.0));
    after.app.restore_task(before.task("t").clone());
    assert_eq!(after.attempts("t"), ["1 1.0 4.0 - open"]);
    assert_eq!(after.worker("celery@w1").incarnation, 1);
}

#[test]
fn a_worker_is_known_by_its_answers_alone() {
    let mut scene = scene();
    let list = Some(vec![request("t")]);
    scene.see(Snapshot {
        reserved: list,
        ..answers("celery@w1", 0.0)
    });
    let known = scene.worker("celery@w1");
    assert_eq!(
        (known.status, known.last_seen),
        (WorkerStatus::Online, at(0.1))
    );
    assert_eq!((known.last_heartbeat, known.reserved_known), (None, 1));
}
