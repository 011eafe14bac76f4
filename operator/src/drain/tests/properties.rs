//! Whatever happens in between: no task is interrupted, and it comes to an end.

use proptest::prelude::*;

use super::world::{QUEUE, World};
use crate::drain::facts::Workers;
use crate::drain::{Memory, Told};

/// What can happen.
#[derive(Debug, Clone)]
enum Happens {
    /// Somebody wants another number.
    Target(u32),
    /// A worker that consumes takes a task of so many seconds.
    Task(usize, u32),
    /// A worker stops to answer, or answers again.
    Answers(usize, bool),
    /// Nobody can be asked, or all can again.
    Reachable(bool),
    /// The leader is gone, after so many of its next deeds.
    Dies(usize),
    /// Another leads.
    Leader,
    /// A worker's connection is lost: one that was kept once consumes nothing.
    Reconnects(usize),
    /// Somebody has a worker stop consuming, past us.
    Loses(usize),
    /// The node takes a pod away.
    Evicted(usize),
    /// Its worker is started anew.
    Restarts(usize),
    /// The ReplicaSet controller is slow: the operator steps without it.
    Seconds(u32),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        3 => (0_u32..6).prop_map(Happens::Target),
        6 => (0_usize..8, 1_u32..40).prop_map(|(pod, seconds)| Happens::Task(pod, seconds)),
        2 => (0_usize..8, any::<bool>()).prop_map(|(pod, answers)| Happens::Answers(pod, answers)),
        1 => any::<bool>().prop_map(Happens::Reachable),
        2 => (0_usize..4).prop_map(Happens::Dies),
        1 => Just(Happens::Leader),
        1 => (0_usize..8).prop_map(Happens::Reconnects),
        1 => (0_usize..8).prop_map(Happens::Loses),
        1 => (0_usize..8).prop_map(Happens::Evicted),
        1 => (0_usize..8).prop_map(Happens::Restarts),
        6 => (1_u32..8).prop_map(Happens::Seconds),
    ]
}

fn at(world: &World, pod: usize) -> Option<usize> {
    let count = world.pods.len();
    (count > 0).then(|| pod % count)
}

fn happen(world: &mut World, what: &Happens) {
    match what {
        Happens::Target(target) => world.target = *target,
        Happens::Task(pod, seconds) => {
            if let Some(at) = at(world, *pod) {
                let (pod, life) = &mut world.pods[at];
                if pod.runs && !life.queues.is_empty() {
                    life.runs.push(*seconds);
                }
            }
        }
        Happens::Answers(pod, answers) => {
            if let Some(at) = at(world, *pod) {
                world.pods[at].1.answers = *answers;
            }
        }
        Happens::Reachable(true) => world.reachable = Ok(()),
        Happens::Reachable(false) => {
            world.reachable = Err(Workers::NotNow("it is away".to_owned()));
        }
        Happens::Dies(after) => world.dies_after = Some(*after),
        Happens::Leader => world.memory = Memory::default(),
        Happens::Reconnects(pod) => {
            if let Some(at) = at(world, *pod) {
                let (pod, life) = &mut world.pods[at];
                let undone = pod.undone.says();
                // Another life of it was never told to cancel.
                if undone.is_some_and(|undone| undone.container == pod.container) {
                    life.queues.clear();
                }
            }
        }
        Happens::Loses(pod) => {
            if let Some(at) = at(world, *pod) {
                world.pods[at].1.queues.clear();
            }
        }
        Happens::Evicted(pod) => {
            if let Some(at) = at(world, *pod) {
                // Its worker finishes in its grace period.
                world.pods[at].1.runs.clear();
                world.pods[at].0.terminating = true;
                world.step();
                world.reconcile();
            }
        }
        Happens::Restarts(pod) => {
            if let Some(at) = at(world, *pod) {
                let (pod, life) = &mut world.pods[at];
                if pod.runs {
                    let before = pod.container.clone().unwrap_or_default();
                    pod.container = Some(format!("{before}+"));
                    life.queues = vec![QUEUE.to_owned()];
                    life.runs.clear();
                }
            }
        }
        Happens::Seconds(seconds) => {
            for _ in 0..*seconds {
                world.step();
                world.reconcile();
                world.start();
                world.second();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_task_is_interrupted_and_it_comes_to_an_end(
        replicas in 0_u32..6,
        course in proptest::collection::vec(happens(), 1..60),
    ) {
        let mut world = World::of(replicas);
        world.names = vec![QUEUE.to_owned()];
        for what in &course {
            happen(&mut world, what);
            prop_assert_eq!(world.interrupted, 0, "{:?} after {:?}", world.pods, what);
        }
        world.reachable = Ok(());
        world.dies_after = None;
        for (_, life) in &mut world.pods {
            life.answers = true;
        }
        // The longest task, the longest wait between two questions, and the time after a wrong victim.
        world.settles_within(800);
        prop_assert_eq!(world.interrupted, 0);
        prop_assert_eq!(world.live().len(), usize::try_from(world.target).unwrap());
        let evicted = course.iter().any(|what| matches!(what, Happens::Evicted(_)));
        prop_assert!(evicted || !world.told.contains(&Told::WrongVictim), "{:?}", world.told);
    }
}
