use super::*;
use crate::collect::question::{Part, Question};

fn heartbeat(hostname: &str, pid: u64, processed: u64) -> Event<'_> {
    Event {
        event_type: "worker-heartbeat".into(),
        hostname: hostname.into(),
        pid: Some(pid),
        processed: Some(processed),
        ..Event::default()
    }
}

fn event<'a>(event_type: &'a str, hostname: &'a str) -> Event<'a> {
    Event {
        event_type: event_type.into(),
        hostname: hostname.into(),
        ..Event::default()
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn names(roster: &Roster, now: Instant) -> Vec<String> {
    let mut names: Vec<String> = roster
        .present(now)
        .map(|(node, _)| node.to_string())
        .collect();
    names.sort();
    names
}

#[test]
fn workers_are_known_by_their_own_events_and_answers_only() {
    let now = Instant::now();
    let mut roster = Roster::new();
    assert_eq!(
        roster.on_event(now, &heartbeat("celery@w1", 1, 0)),
        Sighting::New
    );
    assert_eq!(
        roster.on_event(now, &event("task-started", "celery@w2")),
        Sighting::New
    );
    assert_eq!(roster.on_answer(now, "celery@w3"), Sighting::New);
    assert_eq!(
        roster.on_event(now, &event("task-sent", "gen7@client")),
        Sighting::Known
    );
    assert_eq!(
        roster.on_event(now, &event("task-progress", "gen8@client")),
        Sighting::Known
    );
    assert_eq!(
        roster.on_event(now, &event("order-shipped", "shop")),
        Sighting::Known
    );
    assert_eq!(names(&roster, now), ["celery@w1", "celery@w2", "celery@w3"]);
    assert_eq!(names(&roster, now + seconds(181)), Vec::<String>::new());
}

#[test]
fn another_pid_or_a_counter_that_fell_is_a_new_life() {
    let now = Instant::now();
    let mut roster = Roster::new();
    roster.on_event(now, &heartbeat("celery@w1", 10, 5));
    assert_eq!(
        roster.on_event(now, &heartbeat("celery@w1", 10, 5)),
        Sighting::Known
    );
    assert_eq!(
        roster.on_event(now, &heartbeat("celery@w1", 11, 5)),
        Sighting::New
    );
    assert_eq!(
        roster.on_event(now, &heartbeat("celery@w1", 11, 0)),
        Sighting::New
    );
    assert_eq!(roster.on_pid("celery@w1", 11), Sighting::Known);
    assert_eq!(roster.on_pid("celery@w1", 12), Sighting::New);
}

#[test]
fn a_pool_childs_pid_is_not_a_new_life() {
    let now = Instant::now();
    let mut roster = Roster::new();
    roster.on_event(now, &heartbeat("celery@w1", 10, 5));
    let child = Event {
        pid: Some(99),
        ..event("task-progress", "celery@w1")
    };
    assert_eq!(roster.on_event(now, &child), Sighting::Known);
    assert_eq!(
        roster.on_event(now, &heartbeat("celery@w1", 10, 6)),
        Sighting::Known
    );
}

#[test]
fn offline_and_online_again_with_rising_counters_is_a_reconnect() {
    let now = Instant::now();
    let mut roster = Roster::new();
    roster.on_event(now, &heartbeat("celery@w1", 10, 5));
    roster.on_event(now, &event("worker-offline", "celery@w1"));
    assert_eq!(names(&roster, now), Vec::<String>::new());
    roster.on_event(now, &event("task-succeeded", "celery@w1"));
    assert_eq!(
        names(&roster, now),
        Vec::<String>::new(),
        "late task events do not revive it"
    );
    assert_eq!(
        roster.on_event(now, &heartbeat("celery@w1", 10, 6)),
        Sighting::Back
    );
    assert_eq!(names(&roster, now), ["celery@w1"]);
}

#[test]
fn events_are_off_when_processed_grows_twice_without_a_task_event() {
    let now = Instant::now();
    let mut roster = Roster::new();
    roster.on_event(now, &heartbeat("celery@w1", 10, 5));
    assert_eq!(
        roster.on_event(now, &heartbeat("celery@w1", 10, 6)),
        Sighting::Known
    );
    assert_eq!(
        roster.on_event(now, &heartbeat("celery@w1", 10, 6)),
        Sighting::Known
    );
    assert_eq!(
        roster.on_event(now, &heartbeat("celery@w1", 10, 9)),
        Sighting::EventsOff
    );
    roster.on_event(now, &event("task-started", "celery@w1"));
    assert_eq!(
        roster.on_event(now, &heartbeat("celery@w1", 10, 10)),
        Sighting::Known
    );
    assert_eq!(
        roster.on_event(now, &heartbeat("celery@w1", 10, 11)),
        Sighting::Known
    );
}

#[test]
fn a_heartbeat_that_was_asked_for_says_nothing_about_counters() {
    let now = Instant::now();
    let mut roster = Roster::new();
    roster.on_event(now, &heartbeat("celery@w1", 10, 5));
    let asked = Event {
        pid: Some(10),
        ..event("worker-heartbeat", "celery@w1")
    };
    assert_eq!(roster.on_event(now, &asked), Sighting::Known);
    assert_eq!(
        roster.on_event(now, &heartbeat("celery@w1", 10, 5)),
        Sighting::Known
    );
}

#[test]
fn who_never_answers_rests_longer_and_longer_and_is_named() {
    let now = Instant::now();
    let mut roster = Roster::new();
    roster.on_event(now, &heartbeat("celery@w1", 10, 0));
    let wanted = |roster: &mut Roster, at: Instant| {
        roster.want("celery@w1", Parts::ROUND, Urgency::Round, at);
        roster.askable().count() == 1
    };
    let look = |roster: &mut Roster, at: Instant| {
        roster.get_mut("celery@w1").expect("known").wants = Parts::NONE;
        roster.on_look_ended(at, "celery@w1", false, Parts::FIRST);
    };
    assert!(wanted(&mut roster, now));
    look(&mut roster, now);
    assert_eq!(
        roster.silent(),
        Vec::<String>::new(),
        "one look may be lost"
    );
    assert!(wanted(&mut roster, now));
    look(&mut roster, now);
    assert_eq!(roster.silent(), ["celery@w1"]);
    let mut at = now;
    for rest in [60, 120, 240, 480, 600, 600] {
        assert!(
            !wanted(&mut roster, at + seconds(rest - 1)),
            "rests {rest} s"
        );
        at += seconds(rest);
        assert!(wanted(&mut roster, at), "asked again after {rest} s");
        look(&mut roster, at);
    }
    roster.on_answer(at, "celery@w1");
    assert_eq!(roster.silent(), Vec::<String>::new());
    assert!(wanted(&mut roster, at));
}

#[test]
fn who_was_asked_before_it_listened_is_asked_everything_again_at_once() {
    let now = Instant::now();
    let mut roster = Roster::new();
    roster.on_event(now, &event("worker-online", "celery@w1"));
    roster.on_look_ended(now, "celery@w1", false, Parts::FIRST);
    let again = roster.get_mut("celery@w1").expect("known");
    assert_eq!((again.wants, again.not_before), (Parts::FIRST, now));
    // The next round finds what was never learnt, whatever it asks by itself.
    again.wants = Parts::NONE;
    roster.want("celery@w1", Parts::ROUND, Urgency::Round, now);
    let again = roster.get_mut("celery@w1").expect("known");
    assert!(Parts::FIRST.without(again.wants).is_empty());
}

#[test]
fn who_began_to_listen_in_the_middle_of_a_look_is_asked_once_for_what_it_missed() {
    let now = Instant::now();
    let mut roster = Roster::new();
    roster.on_event(now, &event("worker-online", "celery@w1"));
    roster.on_answer(now, "celery@w1");
    let missed = Parts::FIRST.without(Parts::REPAIR);
    let wanted = |roster: &mut Roster, unanswered: Parts| {
        roster.on_look_ended(now, "celery@w1", true, unanswered);
        let worker = roster.get_mut("celery@w1").expect("known");
        std::mem::take(&mut worker.wants)
    };
    assert_eq!(wanted(&mut roster, missed), missed);
    let never = Parts::of(Question::Conf);
    assert_eq!(wanted(&mut roster, never), Parts::NONE, "asked again once");
    assert_eq!(wanted(&mut roster, Parts::NONE), Parts::NONE);
    assert_eq!(wanted(&mut roster, missed), missed, "a look later on");
}

#[test]
fn what_a_busy_worker_left_unanswered_is_asked_in_the_next_round_though_no_round_asks_it() {
    let now = Instant::now();
    let make = Parts::from(Part::Make);
    let in_a_round = |roster: &mut Roster| {
        roster.want_all(now, Parts::ROUND, Urgency::Round, now);
        let worker = roster.get_mut("celery@w1").expect("known");
        std::mem::take(&mut worker.wants)
    };
    // It answered what comes first; then a look of its settings alone is left unanswered, or twice in part.
    for answered in [&[false][..], &[true, true]] {
        let mut roster = Roster::new();
        roster.on_answer(now, "celery@w1");
        for answered in answered {
            roster.get_mut("celery@w1").expect("known").wants = Parts::NONE;
            roster.on_look_ended(now, "celery@w1", *answered, make);
        }
        assert_eq!(in_a_round(&mut roster), Parts::ROUND.with(make));
        assert_eq!(in_a_round(&mut roster), Parts::ROUND, "it is asked by now");
    }
    // One that rested had more to be asked than the looks it left unanswered.
    let mut roster = Roster::new();
    roster.on_answer(now, "celery@w1");
    for _ in 0..SILENT_AFTER {
        roster.get_mut("celery@w1").expect("known").wants = make;
        roster.on_look_ended(now, "celery@w1", false, Parts::REPAIR);
    }
    roster.on_answer(now, "celery@w1");
    assert_eq!(in_a_round(&mut roster), Parts::ROUND.with(make));
    // Another life begins with everything.
    roster.on_look_ended(now, "celery@w1", false, make);
    roster.on_event(now, &heartbeat("celery@w1", 1, 5));
    roster.on_event(now, &heartbeat("celery@w1", 2, 0));
    assert_eq!(
        roster.get_mut("celery@w1").expect("known").open,
        Parts::NONE
    );
}

#[test]
fn who_answered_once_is_not_called_silent() {
    let now = Instant::now();
    let mut roster = Roster::new();
    roster.on_answer(now, "celery@w1");
    for _ in 0..5 {
        roster.on_look_ended(now, "celery@w1", false, Parts::FIRST);
    }
    assert_eq!(roster.silent(), Vec::<String>::new());
}

#[test]
fn who_was_not_seen_for_an_hour_is_forgotten() {
    let now = Instant::now();
    let mut roster = Roster::new();
    roster.on_answer(now, "celery@w1");
    assert_eq!(roster.forget(now + seconds(3_600)), Vec::<Node>::new());
    assert_eq!(
        roster.forget(now + seconds(3_601)),
        vec![Node::from("celery@w1")]
    );
    assert_eq!(roster.on_answer(now, "celery@w1"), Sighting::New);
}

#[test]
fn the_number_of_workers_is_bounded_and_the_rest_is_counted() {
    let now = Instant::now();
    let mut roster = Roster::new();
    for number in 0..WORKERS_MAX {
        roster.on_answer(now, &format!("celery@{number}"));
    }
    assert_eq!(roster.on_answer(now, "celery@one-more"), Sighting::Known);
    assert_eq!(roster.overflow(), 1);
    assert_eq!(roster.present(now).count(), WORKERS_MAX);
}
