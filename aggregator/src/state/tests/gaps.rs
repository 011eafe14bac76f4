//! Gaps, what is counted into them, and what becomes of tasks that were in one.

use super::build::{Node, Scene, answers, at, gap, processed, report, request, scene, worker};
use crate::state::gap::GapCause;
use crate::state::ids::Micros;
use crate::state::input::{Input, Outcome, Outcomes, Report, Snapshot};
use crate::state::task::{Phase, TaskState};
use crate::state::{Gap, Worker};

/// Gaps in words: cause, worker, span in seconds, starts missed.
fn told(scene: &Scene) -> Vec<String> {
    let seconds = |time: Micros| (time - at(0.0)) / 1_000_000;
    let line = |gap: &Gap| {
        let end = gap
            .end
            .map_or("open".to_owned(), |end| seconds(end).to_string());
        let worker = gap.worker.as_deref().unwrap_or("all");
        let missed = gap.missed_starts.map_or("?".to_owned(), |n| n.to_string());
        format!(
            "{:?} {worker} {}-{end} {missed}",
            gap.cause,
            seconds(gap.start)
        )
    };
    scene.app.gaps().map(line).collect()
}

fn missed(scene: &Scene, name: &str) -> Option<u64> {
    scene.app.worker(name).and_then(Worker::missed_starts)
}

/// A worker that has been seen at work: one start, counted, by second 4.
fn at_work(scene: &mut Scene, name: &str) -> Node {
    let mut node = worker(name, 7);
    scene
        .see(report(0.0, true))
        .see(node.online(0.0))
        .see(node.starts(&format!("first of {name}"), 1.0))
        .see(processed(node.beats(2.0), 1))
        .see(processed(node.beats(4.0), 1));
    node
}

#[test]
fn missed_starts_are_counted_into_the_gap_of_their_time_for_each_worker_and_in_all() {
    let mut scene = scene();
    let (mut a, mut b) = (at_work(&mut scene, "a"), at_work(&mut scene, "b"));
    scene.see(gap(5.0, None)).see(report(5.0, false));
    assert_eq!(told(&scene), ["Reconnect all 5-open ?"]);
    // 7 and 2 started and are not seen; the clocks go on.
    (a.clock, b.clock) = (a.clock + 30, b.clock + 9);
    scene.see(gap(5.0, Some(9.0))).see(report(9.0, true));
    scene
        .see(processed(a.beats(10.0), 8))
        .see(processed(b.beats(10.0), 3));
    // As many as ever start at once: they hide nothing.
    for number in 0..20 {
        scene.see(a.starts(&number.to_string(), 11.0));
    }
    assert_eq!(missed(&scene, "a"), Some(0));
    scene
        .see(processed(a.beats(12.0), 28))
        .see(processed(b.beats(12.0), 3));
    assert_eq!(
        told(&scene),
        [
            "Reconnect all 5-9 9",
            "Reconnect a 5-9 7",
            "Reconnect b 5-9 2"
        ]
    );
    // And once only.
    scene
        .see(processed(a.beats(14.0), 28))
        .see(processed(a.beats(16.0), 28));
    assert_eq!(told(&scene)[1], "Reconnect a 5-9 7");
    assert_eq!(
        (missed(&scene, "a"), missed(&scene, "b")),
        (Some(7), Some(2))
    );
}

#[test]
fn a_gap_in_which_nothing_was_missed_says_so() {
    let mut scene = scene();
    let mut a = at_work(&mut scene, "a");
    scene.see(gap(5.0, Some(6.0)));
    scene
        .see(processed(a.beats(7.0), 1))
        .see(processed(a.beats(9.0), 1));
    assert_eq!(told(&scene), ["Reconnect all 5-6 0"]);
}

#[test]
fn without_a_known_gap_it_is_one_of_its_own_between_two_heartbeats() {
    let mut scene = scene();
    let mut a = at_work(&mut scene, "a");
    a.clock += 3;
    scene
        .see(a.starts("seen", 5.0))
        .see(processed(a.beats(6.0), 4))
        .see(processed(a.beats(8.0), 4));
    assert_eq!(told(&scene), ["Unexplained a 4-6 2"]);
    let detail = scene.app.gaps().last().map(|gap| gap.detail.clone());
    let detail = detail.unwrap_or_default();
    assert!(
        detail.contains("2 of 3") && detail.contains("send_events=False"),
        "{detail}"
    );
}

#[test]
fn a_constant_share_is_one_gap_that_names_its_cause() {
    let mut scene = scene();
    let mut a = at_work(&mut scene, "a");
    let mut done = 1;
    for beat in 0..60 {
        let time = 5.0 + 2.0 * f64::from(beat);
        scene.see(a.starts(&beat.to_string(), time));
        // Every second start is of a task that sends no events.
        a.clock += 1;
        done += 2;
        scene.see(processed(a.beats(time + 1.0), done));
    }
    assert_eq!(told(&scene), ["Unexplained a 4-122 59"]);
    let detail = scene.app.gaps().last().map(|gap| gap.detail.clone());
    let detail = detail.unwrap_or_default();
    assert!(
        detail.contains("some of its tasks have `send_events=False`"),
        "{detail}"
    );
}

#[test]
fn a_worker_whose_events_are_off_has_no_gap() {
    let mut scene = scene();
    let mut a = at_work(&mut scene, "a");
    for (beat, done) in (0..5).zip(10..) {
        scene.see(processed(a.beats(6.0 + 2.0 * f64::from(beat)), done));
    }
    assert_eq!(told(&scene), Vec::<String>::new());
    // Once they are on again, only what is missed then counts.
    scene
        .see(a.starts("on again", 17.0))
        .see(processed(a.beats(18.0), 16))
        .see(processed(a.beats(20.0), 16))
        .see(processed(a.beats(22.0), 16));
    assert_eq!((told(&scene), missed(&scene, "a")), (Vec::new(), Some(0)));
}

#[test]
fn a_start_that_is_missed_before_a_long_rest_is_counted_in_the_end() {
    let mut scene = scene();
    let mut a = at_work(&mut scene, "a");
    a.clock += 1;
    for beat in 0..8 {
        scene.see(processed(a.beats(6.0 + 2.0 * f64::from(beat)), 2));
    }
    assert_eq!(told(&scene), ["Unexplained a 4-6 1"]);
}

#[test]
fn nobody_attached_is_a_gap_until_events_flow_again() {
    let mut scene = scene();
    let mut a = at_work(&mut scene, "a");
    let detached = Gap {
        cause: GapCause::Detached,
        ..gap(4.0, None)
    };
    scene.see(detached).see(report(30.0, false));
    assert_eq!(told(&scene), ["Detached all 4-open ?"]);
    scene.see(report(31.0, true));
    a.clock += 100;
    scene
        .see(processed(a.beats(32.0), 51))
        .see(processed(a.beats(34.0), 51));
    assert_eq!(told(&scene), ["Detached all 4-31 50", "Detached a 4-31 50"]);
}

#[test]
fn a_broker_that_kept_the_events_of_the_time_without_an_inspector_leaves_no_gap() {
    let mut scene = scene();
    at_work(&mut scene, "a");
    let away = Gap {
        cause: GapCause::Detached,
        ..gap(4.0, None)
    };
    let kept = Report {
        kept: true,
        ..report(9.0, true)
    };
    scene.see(away).see(kept);
    assert!(scene.app.gaps().all(Gap::is_void), "{:?}", told(&scene));
}

#[test]
fn a_loss_whose_end_its_inspector_did_not_see_ends_with_the_next_inspector() {
    let mut scene = scene();
    at_work(&mut scene, "a");
    scene
        .see(gap(5.0, None))
        .see(Input::TakeOver { time: at(20.0) });
    assert_eq!(told(&scene), ["Reconnect all 5-20 ?"]);
}

#[test]
fn the_account_goes_on_after_a_restart() {
    let mut before = scene();
    let mut a = at_work(&mut before, "a");
    let stored = before.worker("a").clone();
    let mut after = scene();
    after.app.restore_worker(stored);
    let detached = Gap {
        cause: GapCause::Detached,
        ..gap(4.0, None)
    };
    a.clock += 10;
    after
        .see(detached)
        .see(report(9.0, true))
        .see(processed(a.beats(10.0), 4))
        .see(processed(a.beats(12.0), 4));
    assert_eq!(told(&after), ["Detached all 4-9 3", "Detached a 4-9 3"]);
}

#[test]
fn starts_in_flight_in_a_pool_of_threads_are_no_gap_and_lasting_ones_are() {
    let mut scene = scene();
    let mut a = at_work(&mut scene, "a");
    scene.see(Snapshot {
        stats: Some(crate::state::input::Stats {
            pool_implementation: Some("celery.concurrency.thread:TaskPool".into()),
            ..crate::state::input::Stats::default()
        }),
        ..answers("a", 4.5)
    });
    // The heartbeat counts one whose event has a later clock: it is acknowledged in between.
    let mut done = 1;
    for beat in 0..20 {
        let time = 6.0 + 2.0 * f64::from(beat);
        done += 1;
        scene
            .see(processed(a.beats(time), done))
            .see(a.starts(&beat.to_string(), time + 0.1));
        if beat % 5 == 0 {
            scene.see(processed(a.beats(time + 1.0), done));
        }
    }
    assert_eq!(told(&scene), Vec::<String>::new());
    a.clock += 1;
    for beat in 0..10 {
        scene.see(processed(a.beats(50.0 + 2.0 * f64::from(beat)), done + 1));
        scene.see(a.receives("quiet no more", 50.5));
    }
    assert_eq!(told(&scene).len(), 1, "{:?}", told(&scene));
    assert_eq!(missed(&scene, "a"), Some(1));
}

#[test]
fn what_was_unfinished_in_a_gap_is_unconfirmed_until_something_tells_of_it() {
    let mut scene = scene();
    let mut a = at_work(&mut scene, "a");
    scene
        .see(a.receives("held", 4.0))
        .see(a.receives("began", 4.0))
        .see(a.starts("ended", 4.0))
        .see(a.starts("told", 4.0))
        .see(gap(5.0, Some(9.0)));
    let doubted = |scene: &Scene, id: &str| scene.task(id).doubted.is_some();
    for id in ["held", "began", "ended", "told"] {
        assert!(doubted(&scene, id), "{id}");
    }
    assert_eq!(scene.app.unconfirmed_count(), 5, "and the first");
    scene.see(a.succeeds("told", 9.5));
    assert!(!doubted(&scene, "told"));
    // An answer to what was asked before the gap ended says nothing.
    scene.see(answers("a", 8.0));
    assert_eq!(scene.task("held").absent_snapshots, 0);
    let mut began = request("began");
    began.time_start = Some(1_795_347_607.0);
    let lists = |seconds: f64| Snapshot {
        active: Some(vec![began.clone()]),
        reserved: Some(vec![request("held")]),
        ..answers("a", seconds)
    };
    scene.see(lists(10.0));
    assert!(!doubted(&scene, "held") && !doubted(&scene, "began"));
    assert_eq!(scene.task("held").state, TaskState::Received);
    let began = scene.task("began");
    assert_eq!(
        (&began.state, began.phase()),
        (&TaskState::Started, Phase::Active)
    );
    assert_eq!(began.started, Some(1_795_347_607.0));
    assert!(doubted(&scene, "ended"), "once is not enough");
    scene.see(lists(11.0));
    let ended = scene.task("ended");
    assert!(ended.outcome_unknown && ended.ended_in_gap && ended.doubted.is_none());
    let reason = ended.outcome_unknown_reason().unwrap_or_default();
    assert!(
        reason.contains("ended or requeued, outcome unknown (gap)"),
        "{reason}"
    );
}

#[test]
fn an_event_that_came_before_the_gap_ended_takes_no_doubt_away() {
    let mut scene = scene();
    let mut a = at_work(&mut scene, "a");
    scene.see(gap(5.0, Some(9.0)));
    // In the same batch, after the gap: it was received before.
    scene.see(a.starts("late in the batch", 4.9));
    assert!(scene.task("late in the batch").doubted.is_some());
    // One that its worker kept back while it could not publish: what followed it may have been lost.
    let mut kept_back = a.starts("kept back", 6.0);
    kept_back.received = at(9.5);
    scene.see(kept_back);
    assert!(scene.task("kept back").doubted.is_some());
    scene.see(a.starts("new", 9.6));
    assert!(scene.task("new").doubted.is_none());
}

#[test]
fn a_worker_that_does_not_answer_leaves_its_tasks_unconfirmed() {
    let mut scene = scene();
    let mut a = at_work(&mut scene, "a");
    scene.see(a.starts("busy", 4.0)).see(gap(5.0, Some(9.0)));
    for seconds in [20.0, 40.0, 60.0] {
        scene.see(Snapshot {
            hostname: "a".to_owned(),
            asked: at(seconds),
            received: at(seconds),
            unanswered: vec!["active".into(), "reserved".into(), "scheduled".into()],
            ..Snapshot::default()
        });
    }
    let busy = scene.task("busy");
    assert!(busy.doubted.is_some() && !busy.outcome_unknown && !busy.is_finished());
}

fn outcome(id: &str, status: &str) -> Outcome {
    Outcome {
        id: id.into(),
        status: status.into(),
        done: Some(at(7.0)),
        result: (status == "SUCCESS").then(|| "3".into()),
        exception: (status == "FAILURE").then(|| "ValueError('boom')".into()),
        traceback: None,
        truncated: Vec::new(),
    }
}

#[test]
fn outcomes_of_doubted_tasks_are_looked_up_and_only_those_that_end_one_are_taken() {
    let mut scene = scene();
    let mut a = at_work(&mut scene, "a");
    for id in ["fine", "failed", "runs", "told"] {
        scene.see(a.starts(id, 4.0));
    }
    scene.see(gap(5.0, Some(9.0))).see(a.succeeds("told", 9.5));
    let taken = scene.app.take_wanted(at(10.0), 100, 30_000_000);
    let mut taken: Vec<String> = taken.iter().map(ToString::to_string).collect();
    taken.sort();
    assert_eq!(taken, ["failed", "fine", "first of a", "runs"]);
    assert!(
        scene.app.take_wanted(at(11.0), 100, 30_000_000).is_empty(),
        "one answer at a time"
    );
    scene.see(Input::Results(Outcomes {
        configured: true,
        outcomes: vec![
            outcome("fine", "SUCCESS"),
            outcome("failed", "FAILURE"),
            outcome("runs", "STARTED"),
            // Its event told already.
            outcome("told", "FAILURE"),
        ],
        error: None,
    }));
    let fine = scene.task("fine");
    assert_eq!(
        (&fine.state, fine.is_finished()),
        (&TaskState::Success, true)
    );
    assert!(fine.from_backend && fine.doubted.is_none());
    assert_eq!(fine.payload.result.as_deref(), Some("3"));
    assert_eq!(fine.succeeded, Some(1_795_347_607.0));
    assert_eq!(scene.attempts("fine"), ["1 - 4.0 7.0 SUCCESS"]);
    assert_eq!(
        scene.task("failed").payload.exception.as_deref(),
        Some("ValueError('boom')")
    );
    assert!(scene.task("runs").doubted.is_some() && !scene.task("runs").is_finished());
    assert_eq!(scene.task("told").state, TaskState::Success);
}

#[test]
fn without_a_result_backend_nothing_more_is_looked_up_until_another_inspector_comes() {
    let mut scene = scene();
    let mut a = at_work(&mut scene, "a");
    scene.see(a.starts("x", 4.0)).see(gap(5.0, Some(9.0)));
    assert!(!scene.app.take_wanted(at(10.0), 1, 0).is_empty());
    scene.see(Input::Results(Outcomes::default()));
    scene.see(gap(11.0, Some(12.0)));
    assert!(scene.app.take_wanted(at(13.0), 10, 0).is_empty());
    scene
        .see(Input::TakeOver { time: at(14.0) })
        .see(gap(14.0, Some(15.0)));
    assert!(!scene.app.take_wanted(at(16.0), 10, 0).is_empty());
}
