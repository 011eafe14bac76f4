//! Attempts, ends, and what late and repeated events do to them.

use super::build::{START, at, scene, worker};
use crate::state::input::TaskEvent;
use crate::state::task::{Phase, TaskState};

fn retry(event: TaskEvent, retries: i64) -> TaskEvent {
    TaskEvent {
        retries: Some(retries),
        ..event
    }
}

fn with_exception(event: TaskEvent, exception: &str, traceback: Option<&str>) -> TaskEvent {
    TaskEvent {
        exception: Some(exception.into()),
        traceback: traceback.map(Into::into),
        ..event
    }
}

#[test]
fn a_task_lives_from_sent_to_success() {
    let (mut client, mut w1) = (worker("gen7@web", 7), worker("celery@w1", 1));
    let mut scene = scene();
    let phase = |scene: &super::build::Scene| scene.task("t").phase();
    scene.see(client.sends("t", 0.0));
    assert_eq!(phase(&scene), Phase::Waiting);
    scene.see(w1.receives("t", 1.0));
    assert_eq!(
        (phase(&scene), scene.app.load_of_queue("mail")),
        (Phase::Reserved, (1, 0))
    );
    scene.see(w1.starts("t", 2.0));
    assert_eq!(
        (phase(&scene), scene.app.load_of_name("shop.pay")),
        (Phase::Active, (0, 1))
    );
    scene.see(w1.succeeds("t", 3.0));
    assert_eq!(
        (phase(&scene), scene.app.load_of_name("shop.pay")),
        (Phase::Finished, (0, 0))
    );
    let task = scene.task("t");
    assert_eq!(task.state, TaskState::Success);
    assert_eq!(task.finish_seen, Some(at(3.0)));
    assert_eq!((task.first_seen, task.last_seen), (at(0.0), at(3.0)));
    assert_eq!(task.client.as_deref(), Some("gen7@web"));
    assert_eq!(task.worker.as_deref(), Some("celery@w1"));
    assert_eq!(
        (task.sent, task.succeeded),
        (Some(START), Some(START + 3.0))
    );
    assert_eq!(task.payload.result.as_deref(), Some("3"));
    assert_eq!(scene.attempts("t"), ["1 1.0 2.0 3.0 SUCCESS"]);
    assert_eq!(
        (scene.app.unfinished_count(), scene.app.events_folded()),
        (0, 4)
    );
}

#[test]
fn a_worker_receives_the_next_attempt_before_it_says_that_it_retries() {
    let mut w1 = worker("celery@w1", 1);
    let mut scene = scene();
    scene.see(w1.receives("t", 1.0));
    scene.see(retry(w1.receives("t", 2.0), 1));
    scene.see(w1.starts("t", 2.1)).see(w1.retries("t", 2.2));
    assert_eq!(scene.task("t").state, TaskState::Retry);
    assert_eq!(scene.task("t").phase(), Phase::Reserved);
    scene.see(w1.starts("t", 3.0)).see(w1.succeeds("t", 4.0));
    assert_eq!(
        scene.attempts("t"),
        ["1 1.0 2.1 2.2 RETRY", "2 2.0 3.0 4.0 SUCCESS"]
    );
    assert_eq!(
        scene.task("t").attempts[0].exception.as_deref(),
        Some("ValueError('boom')")
    );
}

#[test]
fn a_redelivery_takes_the_place_of_what_it_delivers_again() {
    let mut w1 = worker("celery@w1", 1);
    let mut scene = scene();
    scene.see(w1.receives("t", 1.0)).see(w1.receives("t", 5.0));
    scene.see(w1.starts("t", 6.0)).see(w1.succeeds("t", 7.0));
    assert_eq!(
        scene.attempts("t"),
        ["1 1.0 - - open", "2 5.0 6.0 7.0 SUCCESS"]
    );
}

#[test]
fn events_of_two_workers_go_to_their_own_attempts() {
    let (mut w1, mut w2) = (worker("celery@w1", 1), worker("celery@w2", 2));
    let mut scene = scene();
    scene.see(w1.receives("t", 1.0)).see(w1.starts("t", 2.0));
    scene.see(w2.receives("t", 3.0)).see(w2.starts("t", 4.0));
    scene.see(w1.succeeds("t", 5.0)).see(w2.succeeds("t", 6.0));
    assert_eq!(
        scene.attempts("t"),
        ["1 1.0 2.0 5.0 SUCCESS", "2 3.0 4.0 6.0 SUCCESS"]
    );
    assert_eq!(scene.task("t").finish_seen, Some(at(5.0)));
}

#[test]
fn late_events_fill_the_attempt_they_belong_to_and_open_none() {
    let mut w1 = worker("celery@w1", 1);
    let received = w1.receives("t", 1.0);
    let started = w1.starts("t", 2.0);
    let mut scene = scene();
    scene.see(w1.succeeds("t", 3.0));
    let finished = scene.task("t").finish_seen;
    scene.see(started).see(received);
    assert_eq!(scene.attempts("t"), ["1 1.0 2.0 3.0 SUCCESS"]);
    assert_eq!(scene.task("t").state, TaskState::Success);
    assert_eq!(scene.task("t").finish_seen, finished);
    // A late `task-received` leaves the timestamp; any other late event brings its own (`celery.events.state`).
    assert_eq!(scene.task("t").timestamp, Some(START + 2.0));
}

#[test]
fn an_end_is_counted_once_whatever_is_repeated() {
    let mut w1 = worker("celery@w1", 1);
    let events = [
        w1.receives("t", 1.0),
        w1.starts("t", 2.0),
        with_exception(
            w1.fails("t", 3.0),
            "ExceptionWithTraceback()",
            Some("a\nb.TimeLimitExceeded: 1\n"),
        ),
        with_exception(
            w1.fails("t", 3.01),
            "ExceptionWithTraceback()",
            Some("c\nb.TimeLimitExceeded: 1\n"),
        ),
        w1.rejects("t", 3.02),
    ];
    let mut scene = scene();
    for _ in 0..3 {
        for event in &events {
            scene.forget_told().see(event.clone());
            scene.forget_told().see(event.clone());
        }
    }
    assert_eq!(scene.attempts("t"), ["1 1.0 2.0 3.0 FAILURE"]);
    let name = scene.app.task_name("shop.pay").unwrap();
    assert_eq!(
        (name.received, name.started, name.failed, name.rejected),
        (1, 1, 1, 0)
    );
    assert_eq!(scene.task("t").finish_seen, Some(at(3.0)));
    assert_eq!(
        scene.task("t").exception_summary().as_deref(),
        Some("b.TimeLimitExceeded: 1")
    );
    assert_eq!(
        scene.task("t").payload.exception.as_deref(),
        Some("ExceptionWithTraceback()")
    );
}

#[test]
fn celery_4_revokes_twice_and_it_counts_once() {
    let mut w1 = worker("celery@w1", 1);
    let mut scene = scene();
    let terminated = |event| TaskEvent {
        terminated: Some(true),
        signum: Some("15".into()),
        ..event
    };
    scene.see(w1.receives("t", 1.0)).see(w1.starts("t", 2.0));
    scene
        .see(terminated(w1.revokes("t", 3.0)))
        .see(terminated(w1.revokes("t", 3.2)));
    assert_eq!(scene.attempts("t"), ["1 1.0 2.0 3.0 REVOKED"]);
    assert_eq!(scene.app.task_name("shop.pay").unwrap().revoked, 1);
    let revocation = scene.task("t").revocation.clone().unwrap();
    assert!(revocation.terminated && !revocation.expired);
    assert_eq!(revocation.signal.as_deref(), Some("15"));
}

#[test]
fn what_never_was_in_a_worker_ends_without_an_attempt() {
    let (mut client, mut w1) = (worker("gen7@web", 7), worker("celery@w1", 1));
    let mut scene = scene();
    scene
        .see(client.sends("revoked", 0.0))
        .see(w1.revokes("revoked", 1.0));
    scene.see(client.sends("unknown", 0.0));
    scene.see(with_exception(
        w1.fails("unknown", 1.0),
        "NotRegistered('shop.pay')",
        None,
    ));
    for id in ["revoked", "unknown"] {
        assert!(scene.attempts(id).is_empty(), "{id}");
        assert_eq!(scene.task(id).finish_seen, Some(at(1.0)), "{id}");
    }
    let name = scene.app.task_name("shop.pay").unwrap();
    assert_eq!((name.revoked, name.failed, name.received), (1, 1, 0));
}

#[test]
fn a_retry_older_than_the_end_reopens_nothing_and_a_newer_one_does() {
    let (mut w1, mut w2) = (worker("celery@w1", 1), worker("celery@w2", 2));
    let mut scene = scene();
    scene.see(w1.receives("t", 1.0)).see(w1.starts("t", 2.0));
    // Same process: its clock decides, even where the host's time was set back.
    let older = TaskEvent {
        timestamp: Some(START + 9.0),
        ..w1.retries("t", 3.0)
    };
    scene.see(w1.fails("t", 4.0)).see(older);
    assert_eq!(scene.task("t").state, TaskState::Failure);
    assert!(scene.task("t").is_finished());
    assert_eq!(scene.task("t").retried, Some(START + 9.0));
    // Another process: time decides.
    scene.see(w2.retries("t", 3.5));
    assert_eq!(scene.task("t").state, TaskState::Failure);
    scene.see(w2.retries("t", 5.0));
    assert_eq!(scene.task("t").state, TaskState::Retry);
    assert!(!scene.task("t").is_finished());
    assert_eq!(scene.app.unfinished_count(), 1);
}

#[test]
fn a_retry_that_is_told_after_the_next_attempt_ended_elsewhere_reopens_nothing() {
    let (mut w1, mut w2) = (worker("celery@w1", 1), worker("celery@w2", 2));
    let mut scene = scene();
    scene.see(w1.receives("t", 1.0)).see(w1.starts("t", 2.0));
    scene.see(retry(w2.receives("t", 2.1), 1));
    scene.see(w2.starts("t", 2.2)).see(w2.succeeds("t", 2.3));
    scene.see(w1.retries("t", 2.6));
    let task = scene.task("t");
    assert_eq!(
        (&task.state, task.is_finished()),
        (&TaskState::Success, true)
    );
    assert_eq!(task.retried, Some(START + 2.6));
    assert_eq!(
        scene.attempts("t"),
        ["1 1.0 2.0 2.6 RETRY", "2 2.1 2.2 2.3 SUCCESS"]
    );
    // Delivered once more, it runs after that end, and retries.
    scene.see(retry(w1.receives("t", 5.0), 0));
    scene.see(w1.starts("t", 6.0)).see(w1.retries("t", 7.0));
    assert_eq!(scene.task("t").state, TaskState::Retry);
    assert_eq!(scene.app.unfinished_count(), 1);
}

#[test]
fn a_finished_task_that_starts_again_finishes_again() {
    let (mut w1, mut w2) = (worker("celery@w1", 1), worker("celery@w2", 2));
    let mut scene = scene();
    scene
        .see(w1.receives("t", 1.0))
        .see(w1.starts("t", 2.0))
        .see(w1.succeeds("t", 3.0));
    // Older than the end: it was overtaken, and opens nothing.
    scene.see(w2.receives("t", 2.5));
    assert!(scene.task("t").is_finished());
    scene.see(w2.starts("t", 10.0));
    assert!(!scene.task("t").is_finished());
    // Celery's state of it stays: STARTED is weaker than SUCCESS.
    assert_eq!(
        (scene.task("t").state.as_str(), scene.task("t").phase()),
        ("SUCCESS", Phase::Active)
    );
    scene.see(w2.fails("t", 11.0));
    assert_eq!(scene.task("t").finish_seen, Some(at(11.0)));
    assert_eq!(
        scene.attempts("t"),
        ["1 1.0 2.0 3.0 SUCCESS", "2 2.5 10.0 11.0 FAILURE"]
    );
    assert_eq!(scene.app.tasks().count(), 1);
}

#[test]
fn a_rejection_ends_a_task_unless_it_goes_back_to_the_queue() {
    let mut w1 = worker("celery@w1", 1);
    let mut scene = scene();
    scene.see(w1.receives("t", 1.0)).see(w1.starts("t", 2.0));
    scene.see(TaskEvent {
        requeue: Some(true),
        ..w1.rejects("t", 3.0)
    });
    assert_eq!(
        (scene.task("t").requeued, scene.task("t").phase()),
        (Some(true), Phase::Waiting)
    );
    scene
        .see(w1.receives("t", 4.0))
        .see(w1.starts("t", 5.0))
        .see(w1.rejects("t", 6.0));
    // REJECTED is weaker than STARTED for Celery, so the state does not tell.
    assert_eq!(
        (scene.task("t").state.as_str(), scene.task("t").finish_seen),
        ("STARTED", Some(at(6.0)))
    );
    assert_eq!(
        scene.attempts("t"),
        ["1 1.0 2.0 3.0 REJECTED", "2 4.0 5.0 6.0 REJECTED"]
    );
    assert_eq!(scene.app.task_name("shop.pay").unwrap().rejected, 2);
}

#[test]
fn a_custom_event_gives_its_state_and_fields() {
    let mut w1 = worker("celery@w1", 1);
    let mut scene = scene();
    scene.see(w1.receives("t", 1.0)).see(w1.starts("t", 2.0));
    let fields = vec![("done".into(), "1".into())];
    scene.see(TaskEvent {
        custom: fields.clone(),
        pid: Some(99),
        ..w1.progresses("t", 3.0)
    });
    assert_eq!(
        (scene.task("t").state.as_str(), scene.task("t").phase()),
        ("PROGRESS", Phase::Active)
    );
    assert_eq!(scene.task("t").payload.custom, fields);
    scene.see(w1.succeeds("t", 4.0));
    assert_eq!(scene.task("t").state, TaskState::Success);
    assert_eq!(scene.attempts("t"), ["1 1.0 2.0 4.0 SUCCESS"]);
}

#[test]
fn the_last_twenty_attempts_are_kept_and_all_are_counted() {
    let mut w1 = worker("celery@w1", 1);
    let mut scene = scene();
    for number in 0..30 {
        let second = f64::from(number) * 10.0;
        scene.see(retry(w1.receives("t", second), i64::from(number)));
        scene
            .see(w1.starts("t", second + 1.0))
            .see(w1.retries("t", second + 2.0));
    }
    let attempts = scene.attempts("t");
    assert_eq!(attempts.len(), 20);
    assert_eq!(attempts[0], "11 100.0 101.0 102.0 RETRY");
    assert_eq!(attempts[19], "30 290.0 291.0 292.0 RETRY");
    assert_eq!(scene.task("t").attempt_count, 30);
    assert_eq!(scene.app.task_name("shop.pay").unwrap().retried, 30);
}

#[test]
fn what_was_cut_is_known_as_long_as_the_text_is_there() {
    let mut w1 = worker("celery@w1", 1);
    let mut scene = scene();
    let cut = |event: TaskEvent, size| TaskEvent {
        truncated: vec![("exception".into(), size)],
        sanitized: vec!["exception".into(), "runtime".into()],
        ..event
    };
    scene.see(w1.receives("t", 1.0)).see(w1.starts("t", 2.0));
    scene
        .see(cut(w1.retries("t", 3.0), 70_000))
        .see(cut(w1.retries("t", 4.0), 80_000));
    assert_eq!(
        scene.task("t").payload.truncated,
        [("exception".into(), 80_000)]
    );
    scene.see(w1.fails("t", 5.0));
    assert!(scene.task("t").payload.truncated.is_empty());
    assert_eq!(
        scene.task("t").payload.sanitized,
        [Box::<str>::from("runtime")]
    );
}

/// In containers every worker has process id 1, and clocks of different workers are not the same.
#[test]
fn clocks_are_compared_within_one_life_only() {
    let (mut w1, mut w2) = (worker("celery@w1", 1), worker("celery@w2", 1));
    let mut scene = scene();
    scene.see(w1.receives("t", 1.0)).see(w1.starts("t", 2.0));
    w1.clock = 500;
    scene.see(w1.fails("t", 3.0)).see(w2.retries("t", 4.0));
    assert_eq!(scene.task("t").state, TaskState::Retry);
    assert!(!scene.task("t").is_finished());
}

#[test]
fn a_task_that_another_worker_received_does_not_run_any_more() {
    let (mut w1, mut w2) = (worker("celery@w1", 1), worker("celery@w2", 2));
    let mut scene = scene();
    scene
        .see(w1.receives("t", 1.0))
        .see(w1.starts("t", 2.0))
        .see(w2.receives("t", 9.0));
    assert_eq!(scene.task("t").phase(), Phase::Reserved);
    assert_eq!(scene.worker("celery@w2").reserved_known, 1);
}

#[test]
fn what_may_be_null_is_as_the_last_event_that_has_it_says() {
    let mut w1 = worker("celery@w1", 1);
    let mut scene = scene();
    let own = Some(crate::state::TaskId::from("t"));
    let event = TaskEvent {
        parent_id: own.clone(),
        eta: Some(at(9.0)),
        ..w1.receives("t", 1.0)
    };
    scene.see(event).see(w1.starts("t", 2.0));
    assert_eq!(
        (&scene.task("t").parent_id, scene.task("t").eta),
        (&own, Some(at(9.0)))
    );
    scene.see(w1.receives("t", 3.0));
    assert_eq!(
        (&scene.task("t").parent_id, scene.task("t").eta),
        (&None, None)
    );
}
