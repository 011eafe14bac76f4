//! Fleets with invented time: a broker of so many workers that all answer at once, or not at all.

use super::*;
use crate::wire::event::Event;

mod fleet;
mod queries;
mod uncounted;

use fleet::*;

const FIRST: [Question; 7] = [
    Question::Stats,
    Question::ActiveQueues,
    Question::Scheduled,
    Question::Reserved,
    Question::Active,
    Question::Registered,
    Question::Conf,
];

#[test]
fn ten_workers_are_looked_at_within_two_seconds() {
    let mut fleet = fleet(10, Limits::default());
    fleet.beat();
    fleet.pass(seconds(2));
    for question in FIRST {
        assert_eq!(
            fleet.asked(question),
            (10, 1),
            "{question:?} in one request"
        );
    }
    assert_eq!(fleet.published.len(), 8, "one ping and seven questions");
    assert_eq!(fleet.published[0].1.question, Question::Ping);
}

#[test]
fn five_hundred_workers_are_known_within_two_minutes_by_one_message_a_second_each() {
    let mut fleet = fleet(500, Limits::default());
    fleet.beat();
    fleet.pass(seconds(30));
    for question in [Question::Stats, Question::ActiveQueues] {
        assert_eq!(fleet.asked(question).0, 500, "what a worker is comes first");
    }
    fleet.pass(seconds(90));
    for question in FIRST {
        assert_eq!(fleet.asked(question).0, 500, "{question:?}");
    }
    fleet.pass(seconds(480));
    let times: Vec<Instant> = fleet.published.iter().map(|(at, _)| *at).collect();
    for (first, at) in times.iter().enumerate() {
        let within = times[first..]
            .iter()
            .take_while(|other| other.duration_since(*at) < seconds(10))
            .count();
        assert!(
            within <= 11,
            "{within} messages to each worker in ten seconds"
        );
    }
    // Replies: each message names 50 at most, so there are as many a second.
    let named = |(_, request): &(Instant, Request)| request.destination.len();
    assert!(fleet.published.iter().map(named).max() <= Some(50));
    assert_eq!(fleet.broadcasts().len(), 1);
}

/// Limits with a budget that does not grow with the fleet.
fn fixed(per_second: f64) -> Limits {
    Limits {
        deliveries: Rate::Fixed(per_second),
        ..Limits::default()
    }
}

#[test]
fn five_hundred_workers_at_once_stay_within_a_fixed_budget() {
    let mut fleet = fleet(500, fixed(50.0));
    fleet.beat();
    fleet.pass(seconds(900));
    // What the bucket holds at first, and the one request that may leave a debt, come on top of the rate.
    for second in 0..900 {
        let until = fleet.start + seconds(second);
        let allowed = 100 + 500 + 50 * second;
        let made = fleet.deliveries(until);
        assert!(
            made <= allowed,
            "{made} deliveries after {second} s, allowed are {allowed}"
        );
    }
    for question in FIRST {
        let (workers, requests) = fleet.asked(question);
        assert_eq!(workers, 500, "{question:?}");
        assert!(requests <= 20, "{question:?} took {requests} requests");
    }
    assert!(
        fleet
            .published
            .iter()
            .all(|(_, request)| request.destination.len() <= 50)
    );
    assert_eq!(fleet.broadcasts().len(), 1);
    let everything_but_ping = fleet.published.iter().skip(1);
    assert!(
        everything_but_ping
            .clone()
            .all(|(_, one)| one.question != Question::Ping)
    );
}

#[test]
fn what_workers_hold_is_asked_together() {
    let mut fleet = fleet(500, Limits::default());
    fleet.beat();
    fleet.pass(seconds(900));
    let asked: Vec<Question> = fleet
        .published
        .iter()
        .map(|(_, one)| one.question)
        .collect();
    for (place, question) in asked.iter().enumerate() {
        if *question == Question::Scheduled {
            let trio = [Question::Scheduled, Question::Reserved, Question::Active];
            assert!(asked[place..].starts_with(&trio[..asked[place..].len().min(3)]));
        }
    }
}

#[test]
fn the_periodic_round_comes_about_every_minute() {
    let mut fleet = fleet(10, Limits::default());
    fleet.beat();
    fleet.pass(seconds(600));
    let (_, rounds) = fleet.asked(Question::Stats);
    // The first look and 8 to 13 rounds: 60 s ± 25 %.
    assert!((9..=14).contains(&rounds), "{rounds} rounds in ten minutes");
    let (_, makes) = fleet.asked(Question::Conf);
    assert_eq!(makes, 1, "what does not change is asked once");
}

#[test]
fn a_round_takes_half_of_the_budget_at_most() {
    let mut fleet = fleet(200, fixed(50.0));
    fleet.beat();
    fleet.pass(seconds(600));
    let before = fleet.deliveries(fleet.now);
    fleet.pass(seconds(1_200));
    let rate = (fleet.deliveries(fleet.now) - before) / 1_200;
    assert!(
        (15..=30).contains(&rate),
        "{rate} deliveries/s in steady state"
    );
}

#[test]
fn ping_is_repeated_only_for_subscribers_that_nobody_knows() {
    let mut fleet = fleet(10, Limits::default());
    fleet.beat();
    fleet.pass(seconds(1_500));
    assert_eq!(fleet.broadcasts().len(), 1, "all subscribers are known");

    // Three workers without heartbeats and events come; the next count shows them.
    fleet.heartbeats = false;
    let visible = fleet.workers.clone();
    fleet
        .workers
        .extend((0..3).map(|number| format!("celery@hidden{number}")));
    for _ in 0..1_200 {
        for worker in &visible {
            fleet.see("worker-heartbeat", worker, 0);
        }
        fleet.pass(seconds(1));
    }
    let pings = fleet.broadcasts();
    assert_eq!(pings.len(), 2, "one more ping finds them");
    assert!(pings[1].duration_since(pings[0]) >= PING_AGAIN);
    assert_eq!(fleet.roster.present(fleet.now).count(), 13);
}

#[test]
fn ping_is_never_repeated_within_ten_minutes() {
    let mut fleet = fleet(10, Limits::default());
    fleet.deaf = fleet.workers.clone();
    fleet.heartbeats = false;
    fleet.pass(seconds(3_600));
    let pings = fleet.broadcasts();
    assert!(
        pings.len() >= 5,
        "{} pings for workers that never show",
        pings.len()
    );
    for pair in pings.windows(2) {
        assert!(pair[1].duration_since(pair[0]) >= PING_AGAIN);
    }
}

#[test]
fn without_any_worker_known_the_broker_is_made_to_count() {
    let mut fleet = fleet(0, Limits::default());
    fleet.pass(seconds(300));
    let nobody = vec![Node::from(NOBODY)];
    let counts = fleet
        .published
        .iter()
        .filter(|(_, one)| one.destination == nobody)
        .count();
    assert!((3..=6).contains(&counts), "{counts} counts in five minutes");
    assert_eq!(fleet.broadcasts().len(), 1);
}

#[test]
fn a_repair_asks_what_workers_hold_before_anything_else() {
    let mut fleet = fleet(10, Limits::default());
    fleet.beat();
    fleet.pass(seconds(30));
    fleet.published.clear();
    fleet.plan.on_repair(fleet.now, &mut fleet.roster);
    fleet.pass(seconds(2));
    let asked: Vec<Question> = fleet
        .published
        .iter()
        .map(|(_, one)| one.question)
        .collect();
    assert_eq!(
        asked,
        [Question::Scheduled, Question::Reserved, Question::Active]
    );
}

#[test]
fn a_broker_that_comes_and_goes_is_repaired_every_ten_seconds() {
    let mut fleet = fleet(10, Limits::default());
    fleet.beat();
    fleet.pass(seconds(20));
    fleet.published.clear();
    for _ in 0..20 {
        fleet.plan.on_repair(fleet.now, &mut fleet.roster);
        fleet.pass(seconds(1));
    }
    let (_, repairs) = fleet.asked(Question::Active);
    assert!((2..=3).contains(&repairs), "{repairs} repairs in 20 s");
}

#[test]
fn a_worker_that_never_answers_is_asked_rarely_and_the_others_as_ever() {
    let mut fleet = fleet(10, Limits::default());
    fleet.deaf = vec!["celery@w3".into()];
    fleet.beat();
    fleet.pass(seconds(3_600));
    let asked = |name: &str| {
        let to = |(_, one): &&(Instant, Request)| {
            one.question == Question::Stats && one.destination.iter().any(|node| &**node == name)
        };
        fleet.published.iter().filter(to).count()
    };
    assert!(
        asked("celery@w3") <= 12,
        "{} looks at the silent one",
        asked("celery@w3")
    );
    assert!(
        asked("celery@w4") >= 45,
        "{} looks at another",
        asked("celery@w4")
    );
    assert_eq!(fleet.roster.silent(), ["celery@w3"]);
}

#[test]
fn a_new_life_is_looked_at_again() {
    let mut fleet = fleet(3, Limits::default());
    fleet.beat();
    fleet.pass(seconds(10));
    fleet.published.clear();
    let restarted = Event {
        pid: Some(2),
        ..online("celery@w1")
    };
    let sighting = fleet.roster.on_event(fleet.now, &restarted);
    fleet
        .plan
        .on_sighting(fleet.now, &mut fleet.roster, "celery@w1", sighting);
    fleet.heartbeats = false;
    fleet.pass(seconds(2));
    assert_eq!(fleet.asked(Question::Conf), (1, 1));
    assert!(
        fleet
            .published
            .iter()
            .all(|(_, one)| one.destination == [Node::from("celery@w1")])
    );
}

#[test]
fn a_reconnect_asks_for_queues_only() {
    let mut fleet = fleet(3, Limits::default());
    fleet.beat();
    fleet.pass(seconds(10));
    fleet.published.clear();
    fleet.see("worker-offline", "celery@w1", 0);
    let sighting = fleet.roster.on_event(fleet.now, &online("celery@w1"));
    fleet
        .plan
        .on_sighting(fleet.now, &mut fleet.roster, "celery@w1", sighting);
    fleet.pass(seconds(2));
    let asked: Vec<Question> = fleet
        .published
        .iter()
        .map(|(_, one)| one.question)
        .collect();
    assert_eq!(asked, [Question::Stats, Question::ActiveQueues]);
}

#[test]
fn a_changed_worker_is_looked_at_twice() {
    let mut fleet = fleet(3, Limits::default());
    fleet.beat();
    fleet.pass(seconds(10));
    fleet.published.clear();
    let changed = fleet.now;
    fleet
        .plan
        .on_change(changed, &mut fleet.roster, "celery@w1");
    fleet.pass(seconds(20));
    let asked: Vec<(u64, Question, usize)> = fleet
        .published
        .iter()
        .map(|(at, one)| {
            let after = at.duration_since(changed).as_secs();
            (after, one.question, one.destination.len())
        })
        .collect();
    let expected = [
        (1, Question::Stats, 1),
        (1, Question::ActiveQueues, 1),
        (6, Question::Stats, 1),
        (6, Question::ActiveQueues, 1),
    ];
    assert_eq!(asked, expected);
}

#[test]
fn changes_in_a_row_share_the_second_look() {
    let mut fleet = fleet(1, Limits::default());
    fleet.beat();
    fleet.pass(seconds(10));
    fleet.published.clear();
    let first = fleet.now;
    for _ in 0..4 {
        fleet
            .plan
            .on_change(fleet.now, &mut fleet.roster, "celery@w0");
        fleet.pass(Duration::from_millis(200));
    }
    fleet.pass(seconds(20));
    let looks = fleet.asked(Question::Stats).1;
    assert_eq!(looks, 2, "{:?}", fleet.published);
    let (last, _) = fleet.published.last().expect("it was looked at");
    assert!(last.duration_since(first) >= Duration::from_millis(6_600));
}

fn online(hostname: &str) -> Event<'_> {
    Event {
        event_type: "worker-online".into(),
        hostname: hostname.into(),
        pid: Some(1),
        processed: Some(0),
        ..Event::default()
    }
}

#[test]
fn events_are_switched_on_only_when_told_to() {
    let mut silent = fleet(3, Limits::default());
    silent.beat();
    silent.pass(seconds(60));
    assert_eq!(silent.asked(Question::EnableEvents), (0, 0));

    let mut told = fleet(
        3,
        Limits {
            enable_events: true,
            ..Limits::default()
        },
    );
    told.beat();
    told.pass(seconds(60));
    assert_eq!(
        told.asked(Question::EnableEvents),
        (3, 1),
        "one addressed request for new workers"
    );
    assert_eq!(told.broadcasts().len(), 1);

    // Later on somebody switches them off: `processed` grows and no task event comes.
    told.pass(seconds(600));
    for processed in 1..4 {
        told.see("worker-heartbeat", "celery@w1", processed);
    }
    told.heartbeats = false;
    told.pass(seconds(2));
    assert_eq!(told.asked(Question::EnableEvents).1, 2);
    let (_, last) = told.published.last().expect("something was asked");
    assert_eq!(last.destination, [Node::from("celery@w1")]);
}

#[test]
fn no_more_replies_are_awaited_than_allowed() {
    let mut fleet = fleet(
        10,
        Limits {
            replies_max: 25,
            ..Limits::default()
        },
    );
    fleet.beat();
    fleet.now += seconds(2);
    let ping = fleet
        .plan
        .next(fleet.now, &mut fleet.roster, 0)
        .expect("the ping is due");
    fleet.plan.on_published(fleet.now, &ping, Some(10));
    let mut awaited = 10;
    while let Some(request) = fleet.plan.next(fleet.now, &mut fleet.roster, awaited) {
        awaited += request.destination.len();
    }
    assert_eq!(awaited, 20, "a third request of ten would be too many");
    fleet.plan.on_ended();
    assert!(fleet.plan.next(fleet.now, &mut fleet.roster, 10).is_some());
}

#[test]
fn what_could_not_be_published_is_asked_later() {
    let mut fleet = fleet(3, Limits::default());
    fleet.beat();
    fleet.now += seconds(2);
    let ping = fleet
        .plan
        .next(fleet.now, &mut fleet.roster, 0)
        .expect("the ping is due");
    fleet.plan.on_published(fleet.now, &ping, Some(3));
    let stats = fleet
        .plan
        .next(fleet.now, &mut fleet.roster, 0)
        .expect("the look is due");
    assert_eq!(stats.question, Question::Stats);
    fleet
        .plan
        .on_unpublished(&mut fleet.roster, &stats, fleet.now + seconds(5));
    assert_eq!(fleet.plan.next(fleet.now, &mut fleet.roster, 0), None);
    fleet.heartbeats = false;
    fleet.pass(seconds(8));
    assert_eq!(fleet.asked(Question::Stats), (3, 1));
    assert_eq!(fleet.asked(Question::Conf), (3, 1));
}

#[test]
fn a_ping_that_did_not_go_out_is_tried_again() {
    let mut fleet = fleet(3, Limits::default());
    let ping = fleet
        .plan
        .next(fleet.now, &mut fleet.roster, 0)
        .expect("the ping is due");
    fleet
        .plan
        .on_unpublished(&mut fleet.roster, &ping, fleet.now + seconds(5));
    fleet.pass(seconds(10));
    assert_eq!(fleet.broadcasts().len(), 1);
}

#[test]
fn a_change_of_role_does_not_repeat_the_ping() {
    let mut fleet = fleet(3, Limits::default());
    let now = fleet.now;
    fleet.plan = Plan::new(now, Limits::default(), Some(now), 7);
    fleet.beat();
    fleet.pass(seconds(500));
    assert_eq!(fleet.broadcasts().len(), 0);
}
