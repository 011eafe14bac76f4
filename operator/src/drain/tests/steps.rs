//! One rule after the other.

use std::time::Duration;

use super::world::{QUEUE, World};
use crate::drain::facts::Workers;
use crate::drain::marks::COST_DRAINED;
use crate::drain::pod::Note;
use crate::drain::{Deed, Memory, Told};

fn began(world: &World) -> Vec<&str> {
    let began = world.told.iter().filter_map(|told| match told {
        Told::Began { pod, .. } => Some(pod.as_str()),
        _ => None,
    });
    began.collect()
}

#[test]
fn idle_workers_go_first_each_after_two_answers_and_in_a_few_seconds() {
    let mut world = World::of(3);
    world.life("p1").runs = vec![30];
    world.target = 1;
    let seconds = world.settles_within(20);
    assert_eq!(world.live(), ["p1"]);
    assert!(seconds <= 8, "{seconds}");
    assert_eq!(world.interrupted, 0);
}

#[test]
fn what_is_written_comes_before_the_first_command() {
    let mut world = World::of(2);
    world.target = 1;
    let first = world.step().deeds;
    assert!(matches!(first[0], Deed::Mark { .. }), "{first:?}");
    assert!(
        !first.iter().any(|deed| matches!(deed, Deed::Cancel { .. })),
        "{first:?}"
    );
    let then = world.step().deeds;
    assert!(
        matches!(&then[0], Deed::Cancel { queues, .. } if queues == &[QUEUE]),
        "{then:?}"
    );
}

#[test]
fn a_busy_worker_finishes_however_long_it_takes() {
    let mut world = World::of(2);
    for pod in ["p1", "p2"] {
        world.life(pod).runs = vec![100, 300];
    }
    world.target = 0;
    let seconds = world.settles_within(400);
    assert!(seconds >= 300, "{seconds}");
    assert_eq!(world.interrupted, 0);
}

#[test]
fn load_that_comes_back_undoes_the_newest_drain_before_replicas_are_raised() {
    let mut world = World::of(3);
    for pod in ["p1", "p2", "p3"] {
        world.life(pod).runs = vec![100];
    }
    world.target = 2;
    world.step();
    world.second();
    world.target = 1;
    world.step();
    world.step();
    let [first, second] = began(&world)[..] else {
        panic!("{:?}", world.told);
    };
    let (first, second) = (first.to_owned(), second.to_owned());
    assert_eq!(world.life(&second).queues, Vec::<String>::new());
    world.second();
    world.target = 4;
    let deeds = world.step().deeds;
    let undone: Vec<&String> = deeds
        .iter()
        .filter_map(|deed| match deed {
            Deed::Undo { pod, .. } => Some(pod),
            _ => None,
        })
        .collect();
    assert_eq!(undone, [&second, &first]);
    assert_eq!(deeds.last(), Some(&Deed::Raise { to: 4 }));
    world.step();
    assert_eq!(world.life(&second).queues, [QUEUE]);
    world.settles_within(10);
}

#[test]
fn an_undone_worker_that_loses_its_queues_gets_them_again_and_is_the_first_to_go() {
    let mut world = World::of(2);
    world.target = 1;
    world.step();
    world.step();
    world.target = 2;
    world.settles_within(10);
    let undone = began(&world)[0].to_owned();
    world.life(&undone).queues.clear();
    for _ in 0..15 {
        world.step();
        world.second();
    }
    assert_eq!(world.life(&undone).queues, [QUEUE]);
    // Another leader looks after it too, though it knows nothing.
    world.memory = Memory::default();
    world.life(&undone).queues.clear();
    world.step();
    assert_eq!(world.life(&undone).queues, [QUEUE]);
    world.target = 1;
    world.settles_within(10);
    assert!(!world.live().contains(&undone.as_str()));
}

#[test]
fn a_worker_that_is_started_anew_is_no_longer_on_its_way_out() {
    let mut world = World::of(2);
    for pod in ["p1", "p2"] {
        world.life(pod).runs = vec![100];
    }
    world.target = 1;
    world.step();
    world.step();
    let name = began(&world)[0].to_owned();
    let found = world.pods.iter_mut().find(|(pod, _)| pod.name == name);
    found.expect("it is there").0.container = Some("another".to_owned());
    world.step();
    assert_eq!(world.pod(&name).expect("it is there").mark, Note::Absent);
    assert!(
        world
            .told
            .iter()
            .any(|told| matches!(told, Told::Undone { .. }))
    );
}

#[test]
fn pods_that_never_ran_go_at_once_and_nobody_is_drained() {
    let mut world = World::of(2);
    world.target = 4;
    world.step();
    world.reconcile();
    assert_eq!(world.live().len(), 4);
    world.target = 2;
    // One to write who goes.
    for _ in 0..2 {
        world.step();
        world.reconcile();
    }
    assert_eq!((world.replicas, world.live()), (2, vec!["p1", "p2"]));
    assert_eq!(world.told, []);
}

#[test]
fn another_pod_that_goes_ends_the_lowering_for_a_while() {
    let mut world = World::of(3);
    for pod in ["p1", "p2", "p3"] {
        world.life(pod).runs = vec![4];
    }
    world.target = 2;
    while world.replicas == 3 {
        world.step();
        world.second();
    }
    let victim = began(&world)[0].to_owned();
    let other = world.pods.iter_mut().find(|(pod, _)| pod.name != victim);
    other.expect("it is there").0.terminating = true;
    world.step();
    assert!(world.told.contains(&Told::WrongVictim), "{:?}", world.told);
    assert_eq!(world.replicas, 2);
    world.target = 1;
    for _ in 0..250 {
        world.step();
        world.reconcile();
        world.second();
    }
    assert_eq!(world.replicas, 2);
    world.settles_within(100);
}

#[test]
fn a_rollout_undoes_and_nothing_begins_during_one() {
    let mut world = World::of(2);
    for pod in ["p1", "p2"] {
        world.life(pod).runs = vec![1_000];
    }
    world.target = 1;
    world.step();
    world.step();
    world.template = 2;
    for _ in 0..20 {
        world.step();
        world.second();
    }
    assert_eq!(world.replicas, 2);
    for name in ["p1", "p2"] {
        assert_eq!(world.life(name).queues, [QUEUE], "{name}");
    }
    assert_eq!(began(&world).len(), 1);
}

#[test]
fn workers_that_cannot_be_asked_stay_until_the_time_is_over() {
    let away = || Err(Workers::NotNow("the broker cannot be reached".to_owned()));
    let mut world = World::of(3);
    world.reachable = away();
    world.target = 1;
    for _ in 0..10_000 {
        let step = world.step();
        let says = step.says.expect("it says why");
        assert_eq!(says.reason, "WorkersNotAsked");
        assert!(says.message.contains("the broker cannot be reached"));
        world.second();
    }
    assert_eq!(world.replicas, 3);
    world.timeout = Some(Duration::from_mins(1));
    world.settles_within(100);
    assert!(matches!(&world.told[..], [Told::NotDrained { to: 1, .. }]));
}

#[test]
fn a_task_that_takes_longer_than_the_time_given_has_its_grace_period() {
    let mut world = World::of(2);
    for pod in ["p1", "p2"] {
        world.life(pod).runs = vec![1_000];
    }
    world.timeout = Some(Duration::from_mins(1));
    world.target = 1;
    let seconds = world.settles_within(100);
    assert!(seconds >= 60, "{seconds}");
    assert!(
        world
            .told
            .iter()
            .any(|told| matches!(told, Told::TimedOut { .. }))
    );
}

#[test]
fn where_nobody_can_ever_be_asked_a_lowering_is_at_once_and_says_so() {
    let mut world = World::of(3);
    world.reachable = Err(Workers::Never("no aggregator".to_owned()));
    world.target = 1;
    let step = world.step();
    assert_eq!(world.replicas, 1);
    assert_eq!(
        step.says.map(|says| says.reason),
        Some("CannotDrain".to_owned())
    );
    assert!(matches!(&world.told[..], [Told::NotDrained { to: 1, .. }]));
}

#[test]
fn one_that_has_tasks_and_does_not_answer_is_waited_for() {
    let mut world = World::of(1);
    world.target = 0;
    world.life("p1").answers = false;
    for _ in 0..1_000 {
        world.step();
        world.second();
    }
    assert_eq!(world.replicas, 1);
    let says = world.step().says.expect("it says why");
    assert!(says.message.contains("does not answer"), "{says:?}");
    world.life("p1").answers = true;
    world.settles_within(60);
}

#[test]
fn a_pod_that_has_not_started_goes_though_it_starts_before_kubernetes_looks() {
    let mut world = World::of(2);
    world.target = 3;
    world.step();
    world.reconcile();
    world.target = 2;
    let first = world.step().deeds;
    assert!(
        matches!(&first[0], Deed::Last { pod, .. } if pod == "p3"),
        "{first:?}"
    );
    world.step();
    assert_eq!(world.replicas, 2);
    world.start();
    world.reconcile();
    assert_eq!(world.live(), ["p1", "p2"]);
    world.settles_within(10);
    assert!(!world.told.contains(&Told::WrongVictim), "{:?}", world.told);
}

#[test]
fn a_pod_that_was_to_go_and_is_wanted_or_has_started_is_like_any_other_again() {
    for starts in [true, false] {
        let mut world = World::of(2);
        world.target = 3;
        world.step();
        world.reconcile();
        world.target = 2;
        world.step();
        assert_eq!(
            world.pod("p3").expect("it is there").cost,
            Some(COST_DRAINED)
        );
        if starts {
            world.start();
        } else {
            world.target = 3;
        }
        world.step();
        assert_eq!(world.replicas, 3);
        assert_eq!(world.pod("p3").expect("it is there").cost, None);
        world.settles_within(20);
    }
}
