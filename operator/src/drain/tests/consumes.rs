//! Workers that consume less than they were started for.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;

use super::world::{QUEUE, World};
use crate::drain::facts::{Deployment, Workers};
use crate::drain::marks::Undone;
use crate::drain::pod::Note;
use crate::drain::{Deed, Memory, Told};

/// A pool whose workers are started for a queue.
fn pool(replicas: u32) -> World {
    let mut world = World::of(replicas);
    world.names = vec![QUEUE.to_owned()];
    world
}

/// What workers are told in so many seconds, with a step in each.
fn told(world: &mut World, seconds: u32) -> Vec<Deed> {
    let mut all = Vec::new();
    for _ in 0..seconds {
        let deeds = world.step().deeds;
        all.extend(
            deeds
                .into_iter()
                .filter(|deed| !matches!(deed, Deed::Tell(_))),
        );
        world.second();
    }
    all
}

fn restored(pod: &str, queues: &[&str]) -> Told {
    Told::Restored {
        pod: pod.to_owned(),
        queues: queues.iter().map(|queue| (*queue).to_owned()).collect(),
    }
}

#[test]
fn what_two_answers_lack_20_s_apart_is_given_back_and_told() {
    let mut world = pool(2);
    assert_eq!(told(&mut world, 30), []);
    world.life("p1").queues.clear();
    assert_eq!(told(&mut world, 20), []);
    let [Deed::Restore { node, queues, .. }] = &told(&mut world, 5)[..] else {
        panic!("one worker is told once");
    };
    assert_eq!(
        (node.as_str(), &queues[..]),
        ("celery@p1", &[QUEUE.to_owned()][..])
    );
    assert_eq!(world.life("p1").queues, [QUEUE]);
    assert_eq!(world.told, [restored("p1", &[QUEUE])]);
}

#[test]
fn one_answer_says_nothing() {
    let mut world = pool(1);
    let life = world.life("p1");
    let queues = std::mem::take(&mut life.queues);
    told(&mut world, 15);
    world.life("p1").queues = queues;
    told(&mut world, 1);
    world.life("p1").queues.clear();
    assert_eq!(told(&mut world, 20), []);
    // And an answer that is as old as the first is the same one.
    let mut world = pool(1);
    world.life("p1").queues.clear();
    let first = world.facts();
    for _ in 0..60 {
        let mut facts = world.facts();
        facts.workers = first.workers.clone();
        assert_eq!(crate::drain::look(&facts, &mut world.memory).deeds, []);
        world.second();
    }
}

#[test]
fn what_a_person_cancelled_stays_cancelled_and_the_rest_is_given_back() {
    let mut world = pool(1);
    world.names.push("news".to_owned());
    world.life("p1").queues.clear();
    let now = world.now;
    world.life("p1").cancelled = BTreeMap::from([(QUEUE.to_owned(), now)]);
    let [Deed::Restore { queues, .. }] = &told(&mut world, 300)[..] else {
        panic!("it is told once");
    };
    assert_eq!(queues, &["news"]);
    assert_eq!(world.told, [restored("p1", &["news"])]);
    // Until the person has it added.
    world.life("p1").cancelled.clear();
    told(&mut world, 25);
    assert_eq!(world.life("p1").queues, ["news", QUEUE]);
}

#[test]
fn where_nobody_can_tell_what_a_person_cancelled_nothing_is_given_back() {
    let mut world = pool(1);
    world.life("p1").queues.clear();
    for _ in 0..60 {
        let mut facts = world.facts();
        if let Workers::Known(workers) = &mut facts.workers {
            for worker in workers.values_mut() {
                worker.cancelled = None;
            }
        }
        assert_eq!(crate::drain::look(&facts, &mut world.memory).deeds, []);
        world.second();
    }
}

#[test]
fn a_pool_that_names_no_queues_is_left_alone() {
    let mut world = pool(1);
    world.names.clear();
    world.life("p1").queues.clear();
    assert_eq!(told(&mut world, 300), []);
    let facts = world.facts();
    assert_eq!(crate::drain::look(&facts, &mut world.memory).again, None);
}

#[test]
fn a_worker_that_is_drained_starts_or_is_not_heard_of_is_left_alone() {
    let mut world = pool(2);
    for pod in ["p1", "p2"] {
        world.life(pod).runs = vec![400];
    }
    world.target = 1;
    let deeds = told(&mut world, 200);
    assert!(
        !deeds
            .iter()
            .any(|deed| matches!(deed, Deed::Restore { .. })),
        "{deeds:?}"
    );

    let mut world = pool(1);
    world.life("p1").queues.clear();
    world.pods[0].0.ready = false;
    assert_eq!(told(&mut world, 60), []);
    world.pods[0].0.ready = true;
    world.reachable = Err(Workers::NotNow("it is away".to_owned()));
    assert_eq!(told(&mut world, 60), []);
    // Pods of several templates were started for other queues.
    world.reachable = Ok(());
    world.template = 2;
    assert_eq!(told(&mut world, 60), []);
    world.template = 1;
    assert_eq!(told(&mut world, 25).len(), 1);
}

#[test]
fn a_worker_is_told_once_a_minute_at_most_and_less_often_when_it_does_not_help() {
    let mut world = pool(1);
    // Somebody takes it away whenever it was seen to have helped.
    let (mut times, mut seen) = (0, false);
    for _ in 0..600 {
        times += told(&mut world, 1).len();
        let consumes = !world.life("p1").queues.is_empty();
        if consumes && seen {
            world.life("p1").queues.clear();
        }
        seen = consumes && !seen;
    }
    assert!((8..=10).contains(&times), "{times} in ten minutes");

    let mut world = pool(1);
    world.life("p1").queues.clear();
    world.life("p1").ignores = true;
    let deeds = told(&mut world, 3_600);
    assert_eq!(
        deeds.len(),
        6,
        "after 0, 1, 3, 7, 15, 31 minutes: {deeds:?}"
    );
    let tries: Vec<u32> = world
        .told
        .iter()
        .map(|told| match told {
            Told::NotRestored {
                pod,
                queues,
                tries,
                why,
            } => {
                assert_eq!(
                    (pod.as_str(), &queues[..], why),
                    ("p1", &[QUEUE.to_owned()][..], &None)
                );
                *tries
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(tries, [3, 4, 5, 6]);
    // When it does after all, that is told, and the count begins anew.
    world.life("p1").queues = vec![QUEUE.to_owned()];
    told(&mut world, 1);
    assert_eq!(world.told.last(), Some(&restored("p1", &[QUEUE])));
    world.told.clear();
    world.life("p1").queues.clear();
    told(&mut world, 300);
    assert!(
        matches!(world.told[..], [Told::NotRestored { tries: 3, .. }]),
        "{:?}",
        world.told
    );
}

#[test]
fn a_worker_that_does_not_answer_is_told_again_and_why_is_said() {
    let mut world = pool(1);
    world.life("p1").queues.clear();
    world.life("p1").answers = false;
    told(&mut world, 600);
    let Some(said @ Told::NotRestored { why, .. }) = world.told.first() else {
        panic!("{:?}", world.told);
    };
    assert_eq!(why.as_deref(), Some("it does not answer"));
    assert!(said.is_bad());
    assert_eq!(said.reason(), "ConsumerNotRestored");
    for word in ["p1", QUEUE, "it does not answer", "cancel-consumer"] {
        assert!(said.note().contains(word), "{}", said.note());
    }
}

#[test]
fn an_event_names_worker_and_queues_and_fits_however_long_these_are() {
    let queues: Vec<String> = (0..64).map(|n| format!("{n}{}", "ä".repeat(190))).collect();
    let pod = "p".repeat(63);
    let not = Told::NotRestored {
        pod: pod.clone(),
        queues: queues.clone(),
        tries: u32::MAX,
        why: Some("ö".repeat(5_000)),
    };
    for told in [not, Told::Restored { pod, queues }] {
        // Kubernetes' bound of an Event's note.
        assert!(told.note().len() <= 1_024, "{}", told.note().len());
        assert!(told.note().contains("61 more"));
    }
}

#[test]
fn another_life_of_a_worker_is_looked_at_anew() {
    let mut world = pool(1);
    world.life("p1").queues.clear();
    told(&mut world, 15);
    let mut facts = world.facts();
    if let Workers::Known(workers) = &mut facts.workers {
        for worker in workers.values_mut() {
            worker.life = 2;
        }
    }
    crate::drain::look(&facts, &mut world.memory);
    assert_eq!(told(&mut world, 20), []);
}

#[test]
fn a_person_may_cancel_on_a_worker_whose_drain_was_undone() {
    let mut world = pool(1);
    let since = world.now;
    let container = world.pods[0].0.container.clone();
    world.pods[0].0.undone = Note::Says(Undone {
        pod_uid: "u1".to_owned(),
        container,
        queues: vec![QUEUE.to_owned()],
        since,
    });
    // What was said before it was undone counts no more, also for another leader.
    world.life("p1").cancelled = BTreeMap::from([(QUEUE.to_owned(), Timestamp::UNIX_EPOCH)]);
    world.life("p1").queues.clear();
    told(&mut world, 1);
    assert_eq!(world.life("p1").queues, [QUEUE]);
    let now = world.now;
    world.life("p1").cancelled = BTreeMap::from([(QUEUE.to_owned(), now)]);
    world.life("p1").queues.clear();
    world.memory = Memory::default();
    told(&mut world, 200);
    assert_eq!(world.life("p1").queues, Vec::<String>::new());
}

#[test]
fn what_workers_are_started_for_stands_in_the_template() {
    let check = |arguments: &[&str], expect: &[&str]| {
        let object = json!({
            "metadata": {},
            "spec": {"selector": {}, "template": {"spec": {"containers": [
                {"name": "other", "args": ["--queues=other"]},
                {"name": "celery", "args": arguments},
            ]}}},
        });
        let read = Deployment::read(&serde_json::from_value(object).expect("it is a Deployment"));
        assert_eq!(read.queues, expect, "{arguments:?}");
    };
    check(&["worker", "--queues=mail,news", "-E"], &["mail", "news"]);
    check(&["worker", "-E"], &[]);
    // More arguments that say otherwise, and what Kubernetes puts something in the place of.
    check(&["worker", "--queues=mail,news", "-X", "news"], &[]);
    check(&["worker", "--queues=mail", "-Qnews"], &[]);
    check(&["worker", "--queues=mail", "--exclude-queues=mail"], &[]);
    check(&["worker", "--queues=$(QUEUE)"], &[]);
    check(&["worker", "-Q", "mail"], &[]);
}
