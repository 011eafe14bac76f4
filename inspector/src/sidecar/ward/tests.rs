use super::*;
use crate::uplink::worker::Inspected;
use crate::wire::pidbox::{HeldTasks, PoolStats};

const RULES: Rules = Rules {
    stalled_after: Duration::from_mins(10),
    queues_differ: false,
};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A worker that idles beside a queue with messages, told of by the aggregator, with one thing changed by a test.
struct Idling {
    rules: Rules,
    told: Told,
    /// Whether each look fails.
    broker_away: bool,
    /// What each look finds.
    ready: u64,
}

impl Default for Idling {
    fn default() -> Self {
        Self {
            rules: RULES,
            told: Told {
                life: Some(1),
                life_age: Some(Duration::from_hours(1)),
                heartbeat_age: Some(Duration::ZERO),
                active: Some(0),
                processed: Some(7),
                inspected: Some(Inspected {
                    age: seconds(1),
                    pool: Some("prefork".to_owned()),
                    active: Some(0),
                    reserved: Some(0),
                    scheduled: Some(0),
                    queues: Some(vec!["mail".to_owned()]),
                }),
            },
            broker_away: false,
            ready: 3,
        }
    }
}

impl Idling {
    fn with(change: impl FnOnce(&mut Self)) -> Self {
        let mut idling = Self::default();
        change(&mut idling);
        idling
    }

    fn inspected(change: impl FnOnce(&mut Inspected)) -> Self {
        Self::with(|idling| change(idling.told.inspected.as_mut().expect("it has answered")))
    }

    /// What is known after `for_seconds` of it, told every 2 s and looked at every 2 min.
    fn after(&self, for_seconds: u64) -> (Ward, Instant) {
        let start = Instant::now() + Duration::from_hours(2);
        let mut ward = Ward::new(start, self.rules);
        for second in 0..=for_seconds {
            let now = start + seconds(second);
            if second % 2 == 0 {
                ward.on_told(now, &self.told);
            }
            if second % 120 == 0 {
                self.look(&mut ward, now);
            }
        }
        (ward, start + seconds(for_seconds))
    }

    fn look(&self, ward: &mut Ward, now: Instant) {
        if self.broker_away {
            ward.on_broker_failed(now, "no route".to_owned());
        } else {
            ward.on_depths(now, &[("mail".to_owned(), self.ready)]);
        }
    }

    fn life(&self, for_seconds: u64) -> Life {
        let (ward, now) = self.after(for_seconds);
        ward.life(now)
    }
}

#[test]
fn a_worker_that_takes_nothing_from_its_queue_is_stalled_after_the_time_and_not_before() {
    let idling = Idling::default();
    assert_eq!(idling.life(599), Life::Alive(Alive::Idle));
    let stalled = idling.life(720);
    let Life::Stalled {
        queue,
        ready,
        seconds,
    } = &stalled
    else {
        panic!("{stalled:?}");
    };
    assert_eq!((queue.as_str(), *ready, *seconds), ("mail", 3, 720));
    let words = "stalled: it answers and is idle, and for 720 s has taken none of the 3 messages of its queue \"mail\"";
    assert_eq!(stalled.to_string(), words);
}

#[test]
fn whatever_else_it_does_keeps_it_alive() {
    for (what, idling, alive) in [
        (
            "the queue is empty",
            Idling::with(|one| one.ready = 0),
            Alive::Idle,
        ),
        (
            "the broker is away",
            Idling::with(|one| one.broker_away = true),
            Alive::BrokerAway("no route".to_owned()),
        ),
        (
            "it runs a task",
            Idling::with(|one| one.told.active = Some(1)),
            Alive::Busy,
        ),
        (
            "it has tasks with an ETA",
            Idling::inspected(|one| one.scheduled = Some(1)),
            Alive::Busy,
        ),
        // Such as a rate limit makes.
        (
            "it has reserved tasks",
            Idling::inspected(|one| one.reserved = Some(4)),
            Alive::Busy,
        ),
        (
            "it consumes nothing",
            Idling::inspected(|one| one.queues = Some(vec![])),
            Alive::NoQueues,
        ),
        (
            "another's queue is full",
            Idling::inspected(|one| one.queues = Some(vec!["other".to_owned()])),
            Alive::Idle,
        ),
    ] {
        assert_eq!(idling.life(1_200), Life::Alive(alive), "{what}");
    }
}

#[test]
fn what_is_not_known_keeps_it_alive() {
    let of_life_before = |one: &mut Idling| one.told.life_age = Some(Duration::ZERO);
    for (what, idling) in [
        (
            "active",
            Idling::with(|one| {
                one.told.active = None;
                one.told.inspected.as_mut().expect("it is there").active = None;
            }),
        ),
        ("scheduled", Idling::inspected(|one| one.scheduled = None)),
        ("reserved", Idling::inspected(|one| one.reserved = None)),
        ("processed", Idling::with(|one| one.told.processed = None)),
        ("its queues", Idling::inspected(|one| one.queues = None)),
        ("any answer", Idling::with(|one| one.told.inspected = None)),
        ("an answer of this life", Idling::with(of_life_before)),
    ] {
        let alive = Alive::Unknown("it has not told all of itself");
        assert_eq!(idling.life(1_200), Life::Alive(alive), "{what}");
    }
    let old = Idling::with(|one| one.told.heartbeat_age = Some(seconds(200)));
    let silent = Alive::Unknown("it is silent");
    assert_eq!(old.life(1_200), Life::Alive(silent));
    let unasked = Idling::with(|one| one.rules.queues_differ = true);
    let unsure = Alive::Unknown("whether it may leave messages in its queue");
    assert_eq!(unasked.life(1_200), Life::Alive(unsure));
}

#[test]
fn a_solo_worker_is_alive_while_it_may_run_a_task() {
    let stalls = |idling: &Idling| matches!(idling.life(1_200), Life::Stalled { .. });
    let solo = |age: u64| {
        Idling::with(|one| {
            one.told.heartbeat_age = Some(seconds(age));
            one.told.inspected.as_mut().expect("it is there").pool = Some("solo".to_owned());
        })
    };
    assert!(stalls(&solo(2)), "it sends heartbeats, so it runs nothing");
    assert!(!stalls(&solo(11)), "it is silent");
    let of_unknown_pool = Idling::with(|one| {
        one.told.heartbeat_age = Some(seconds(11));
        one.told.inspected.as_mut().expect("it is there").pool = None;
    });
    assert!(!stalls(&of_unknown_pool));
    let prefork = Idling::with(|one| one.told.heartbeat_age = Some(seconds(11)));
    assert!(stalls(&prefork));
}

#[test]
fn a_task_that_was_started_begins_the_time_anew() {
    let (mut ward, now) = Idling::default().after(1_200);
    assert!(matches!(ward.life(now), Life::Stalled { .. }));
    let mut told = Idling::default().told;
    told.processed = Some(8);
    ward.on_told(now, &told);
    assert_eq!(ward.life(now), Life::Alive(Alive::Idle));
}

#[test]
fn a_drain_is_no_stall_and_a_drained_worker_is_not_ready() {
    let (mut ward, now) = Idling::default().after(1_200);
    assert_eq!(ward.ready(now), Ready::Yes);
    for (drain, ready) in [(Drain::Going, Ready::Yes), (Drain::Over, Ready::Drained)] {
        ward.on_drain(drain);
        assert_eq!(ward.life(now), Life::Alive(Alive::Draining));
        assert_eq!(ward.ready(now), ready, "{drain:?}");
    }
    ward.on_drain(Drain::None);
    assert_eq!(ward.ready(now), Ready::Yes);
}

#[test]
fn looks_that_do_not_follow_each_other_prove_nothing() {
    let idling = Idling::default();
    let (mut ward, now) = idling.after(240);
    // The next after nine minutes: what was there in between?
    let later = now + seconds(540);
    ward.on_told(later, &idling.told);
    idling.look(&mut ward, later);
    assert_eq!(ward.life(later), Life::Alive(Alive::Idle));
    // And one that failed in between.
    let (mut ward, now) = idling.after(600);
    ward.on_broker_failed(now, "no route".to_owned());
    idling.look(&mut ward, now + seconds(1));
    ward.on_told(now + seconds(1), &idling.told);
    assert_eq!(ward.life(now + seconds(1)), Life::Alive(Alive::Idle));
}

#[test]
fn load_broker_and_aggregator_do_not_make_it_unready() {
    let (mut ward, now) = Idling::default().after(10);
    ward.on_broker_failed(now, "no route".to_owned());
    ward.on_stream_lost();
    ward.on_silence();
    let later = now + Duration::from_hours(5);
    assert_eq!(ward.ready(later), Ready::Yes);
}

#[test]
fn it_is_ready_once_it_was_seen_to_consume() {
    let start = Instant::now() + Duration::from_hours(1);
    let ward = || Ward::new(start, RULES);
    assert_eq!(ward().ready(start + Duration::from_hours(1)), Ready::NotYet);

    let mut answered = ward();
    let queue = ConsumedQueue {
        name: "mail".to_owned(),
        ..ConsumedQueue::default()
    };
    answered.on_answer(start, Question::ActiveQueues, &Answer::Queues(vec![]));
    assert_eq!(answered.ready(start), Ready::NotYet);
    answered.on_answer(start, Question::ActiveQueues, &Answer::Queues(vec![queue]));
    assert_eq!(answered.ready(start), Ready::Yes);

    // Remote control is off: heartbeats are all there is.
    let mut beating = ward();
    beating.on_told(start, &Idling::with(|one| one.told.inspected = None).told);
    beating.processed = None;
    beating.consumed = false;
    assert_eq!(beating.ready(start), Ready::NotYet);
    assert_eq!(beating.ready(start + seconds(15)), Ready::Yes);

    // Nothing tells anything, though the broker took the question.
    let mut mute = ward();
    mute.on_silence();
    assert_eq!(mute.ready(start + seconds(119)), Ready::NotYet);
    assert_eq!(mute.ready(start + seconds(120)), Ready::Yes);

    // A new life has to consume again.
    let (mut reborn, now) = Idling::default().after(10);
    let told = Told {
        life: Some(2),
        life_age: Some(Duration::ZERO),
        ..Told::default()
    };
    reborn.on_told(now, &told);
    assert_eq!((reborn.ready(now), reborn.lives()), (Ready::NotYet, 1));
}

#[test]
fn it_is_asked_only_when_the_stream_does_not_tell() {
    let (mut ward, now) = Idling::with(|one| one.ready = 0).after(10);
    assert_eq!(ward.question(now), None);
    assert_eq!(ward.question(now + STREAM_SILENCE), None);
    let later = now + STREAM_SILENCE + seconds(1);
    assert_eq!(
        ward.question(later),
        Some(Question::Stats),
        "the stream is silent"
    );
    ward.on_stream(now + WORKER_SILENCE + seconds(1));
    let later = now + WORKER_SILENCE + seconds(2);
    assert_eq!(
        ward.question(later),
        Some(Question::Stats),
        "the worker is silent"
    );
    ward.on_stream_lost();
    assert_eq!(
        ward.question(now),
        Some(Question::Stats),
        "there is no stream"
    );
    // Only a suspicion needs more: what was told the longest ago.
    ward.on_depths(now, &[("mail".to_owned(), 1)]);
    let asked: Vec<_> = (0..5)
        .map(|turn| {
            let at = now + seconds(turn + 1);
            let question = ward.question(at).expect("there is no stream");
            let answer = match question {
                Question::Stats => Answer::Stats(Box::default()),
                Question::ActiveQueues => Answer::Queues(vec![]),
                _ => Answer::Tasks(HeldTasks::default()),
            };
            ward.on_answer(at, question, &answer);
            question.command()
        })
        .collect();
    let mut sorted = asked.clone();
    sorted.sort_unstable();
    let all = ["active", "active_queues", "reserved", "scheduled", "stats"];
    assert_eq!(sorted, all, "{asked:?}");
}

#[test]
fn which_queues_an_idle_consumer_may_leave_is_asked_before_it_is_judged() {
    let suspected = Idling::with(|one| one.rules.queues_differ = true);
    for (arguments, stalls) in [
        (None, true),
        (Some(r#"{"x-queue-type": "quorum"}"#), true),
        (Some(r#"{"x-queue-type": "stream"}"#), false),
        (Some(r#"{"x-single-active-consumer": true}"#), false),
    ] {
        let (mut ward, now) = suspected.after(1_200);
        assert_eq!(ward.question(now), Some(Question::ActiveQueues));
        let queue = ConsumedQueue {
            name: "mail".to_owned(),
            queue_arguments: arguments.map(str::to_owned),
            ..ConsumedQueue::default()
        };
        ward.on_answer(now, Question::ActiveQueues, &Answer::Queues(vec![queue]));
        assert_eq!(ward.question(now), None);
        suspected.look(&mut ward, now);
        let life = ward.life(now);
        assert_eq!(
            matches!(life, Life::Stalled { .. }),
            stalls,
            "{arguments:?}: {life}"
        );
    }
}

#[test]
fn a_new_process_is_known_by_its_pid_or_its_uptime() {
    let start = Instant::now() + Duration::from_hours(1);
    let stats = |pid, uptime| {
        Answer::Stats(Box::new(Stats {
            pid: Some(pid),
            uptime_seconds: Some(uptime),
            pool: PoolStats {
                processes: vec![pid],
                ..PoolStats::default()
            },
            ..Stats::default()
        }))
    };
    let mut ward = Ward::new(start, RULES);
    ward.on_answer(start, Question::Stats, &stats(1, 100.0));
    ward.on_answer(start + seconds(60), Question::Stats, &stats(1, 158.0));
    assert_eq!((ward.lives(), ward.solo), (0, Some(true)));
    ward.on_answer(start + seconds(120), Question::Stats, &stats(1, 3.0));
    assert_eq!(ward.lives(), 1);
    ward.on_answer(start + seconds(121), Question::Stats, &stats(9, 4.0));
    assert_eq!(ward.lives(), 2);
}

#[test]
fn an_idle_worker_is_looked_at_and_no_other() {
    let (ward, now) = Idling::default().after(119);
    assert!(!ward.wants_look(now), "it has not idled for long");
    let (mut ward, now) = Idling::default().after(130);
    assert!(ward.wants_look(now));
    ward.on_drain(Drain::Going);
    assert!(!ward.wants_look(now));
    let (ward, now) = Idling::with(|one| one.told.active = Some(1)).after(130);
    assert!(!ward.wants_look(now));
}
