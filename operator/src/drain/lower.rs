//! The way down: which pods go, and when one may.

use std::collections::{BTreeMap, BTreeSet};

use super::deed::{Deed, Step, Told};
use super::facts::{Facts, Workers};
use super::marks::{COST_DRAINED, Mark};
use super::memory::{Lowered, Memory, Progress, passed};
use super::pod::Pod;
use super::says;
use super::step::Drain;

/// Drains begun in one step: each is a write and a few commands.
const BEGIN_MAX: u32 = 20;

/// Names of pods by identity.
pub(super) type Pods = BTreeMap<String, String>;

/// The way down.
pub(super) fn lower(facts: &Facts, memory: &mut Memory, step: &mut Step, drains: &[Drain<'_>]) {
    let surplus = facts.surplus();
    if surplus == 0 || !facts.deployment.observed {
        return;
    }
    let may_lower = memory.lowered.is_none() && memory.hold.is_none();
    let current = facts.deployment.updated == facts.deployment.total;
    if may_lower && current && lower_without_a_worker(facts, step, surplus) {
        return;
    }
    let ready = progress(facts, memory, step, drains);
    if may_lower && lower_by_one(facts, step, &ready) {
        return;
    }
    let going = u32::try_from(drains.len()).unwrap_or(u32::MAX);
    if memory.hold.is_none() && facts.deployment.is_settled() {
        let wanted = surplus.saturating_sub(going);
        begin(facts, memory, step, wanted.min(BEGIN_MAX));
    }
    if may_lower {
        give_up(facts, memory, step, drains, ready);
    }
}

/// Replicas without a pod, and pods without a process: Kubernetes takes those that are not ready first. One may have become
/// ready by the time it looks: that it goes all the same is written on it before.
fn lower_without_a_worker(facts: &Facts, step: &mut Step, surplus: u32) -> bool {
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let absent = facts
        .deployment
        .replicas
        .saturating_sub(count(facts.live().count()));
    // One that runs and is not ready may go before one that does not run, unless that never did.
    let unready = facts.live().any(|pod| pod.runs && !pod.ready);
    let idle = facts.live().filter(|pod| !pod.ready && !pod.runs);
    let idle = idle.filter(|pod| !unready || pod.container.is_none());
    let idle: Vec<&Pod> = idle.collect();
    let free = absent.saturating_add(count(idle.len())).min(surplus);
    if free == 0 {
        return false;
    }
    let (last, others): (Vec<&Pod>, Vec<&Pod>) =
        idle.iter().partition(|pod| pod.cost == Some(COST_DRAINED));
    let taken = usize::try_from(free.saturating_sub(absent)).unwrap_or(usize::MAX);
    let missing = taken.saturating_sub(last.len());
    if missing > 0 {
        let last = others.into_iter().take(missing).map(|pod| Deed::Last {
            pod: pod.name.clone(),
            uid: pod.uid.clone(),
        });
        step.deeds.extend(last);
        return true;
    }
    let expected = if taken == 0 {
        Pods::new()
    } else {
        idle.into_iter().map(named).collect()
    };
    step.deeds
        .push(lower_to(facts, facts.deployment.replicas - free, expected));
    true
}

/// Goes on with each drain; those whose pods may go.
fn progress(facts: &Facts, memory: &mut Memory, step: &mut Step, drains: &[Drain<'_>]) -> Pods {
    let may_go = memory.lowered.is_none() && facts.deployment.is_settled();
    let mut done = Pods::new();
    for (pod, mark) in drains {
        let progress = memory
            .drains
            .entry(pod.uid.clone())
            .or_insert_with(|| Progress::new(&mark.id));
        if progress.id != mark.id {
            *progress = Progress::new(&mark.id);
        }
        if proceed(facts, progress, step, (pod, mark), may_go) {
            done.extend([named(pod)]);
        }
    }
    done
}

/// Goes on with one drain; whether its worker has nothing left.
fn proceed(
    facts: &Facts,
    progress: &mut Progress,
    step: &mut Step,
    (pod, mark): Drain<'_>,
    may_go: bool,
) -> bool {
    let node = pod.node();
    let Some(worker) = facts.workers.get(&node).filter(|worker| worker.online) else {
        return false;
    };
    match progress.life {
        Some(life) if life != worker.life => progress.begin_again(worker.life),
        _ => progress.life = Some(worker.life),
    }
    let uid = || pod.uid.clone();
    let more: Vec<&String> = progress
        .strange
        .iter()
        .filter(|queue| !mark.queues.contains(queue))
        .collect();
    if !more.is_empty() {
        // Written ahead, so that an undo knows of them.
        let mut mark = mark.clone();
        mark.queues.extend(more.into_iter().cloned());
        mark.queues.sort();
        step.deeds.push(Deed::Mark {
            pod: pod.name.clone(),
            mark,
        });
        return false;
    }
    if progress.cancelled.is_none() {
        if mark.queues.is_empty() {
            progress.on_cancelled(facts.now);
        } else if progress.tells(facts.now) {
            step.deeds.push(Deed::Cancel {
                uid: uid(),
                node,
                queues: mark.queues.clone(),
            });
            return false;
        } else {
            return false;
        }
    }
    let idle = worker.seems_idle();
    if progress.asks(facts.now, idle, may_go) {
        step.deeds.push(Deed::Ask { uid: uid(), node });
    }
    if progress.is_clean() && pod.cost != Some(COST_DRAINED) {
        step.deeds.push(Deed::Last {
            pod: pod.name.clone(),
            uid: uid(),
        });
        return false;
    }
    let given_up = facts
        .timeout
        .is_some_and(|timeout| passed(facts.now, mark.since, timeout));
    if !progress.is_clean() && pod.cost == Some(COST_DRAINED) && !given_up {
        // It has something again, such as a task whose time has come: while it is as cheap as others none of them could go.
        step.deeds.push(Deed::Mark {
            pod: pod.name.clone(),
            mark: mark.clone(),
        });
        return false;
    }
    progress.is_done(facts.now) && idle
}

/// Asks for one replica less, if Kubernetes can only take a pod of these.
fn lower_by_one(facts: &Facts, step: &mut Step, ready: &Pods) -> bool {
    let others = facts
        .live()
        .filter(|pod| !ready.contains_key(&pod.uid))
        .all(|pod| pod.ready && pod.cost != Some(COST_DRAINED));
    let all = u32::try_from(facts.live().count()) == Ok(facts.deployment.replicas);
    // Written just now, and as cheap as those that are ready.
    let another = step
        .deeds
        .iter()
        .any(|deed| matches!(deed, Deed::Last { .. }));
    if ready.is_empty() || !others || another || !all || !facts.deployment.is_settled() {
        return false;
    }
    let to = facts.deployment.replicas - 1;
    step.deeds.push(Deed::Lower(Lowered {
        drained: true,
        ..lowered_to(facts, to, ready.clone())
    }));
    true
}

/// Begins drains.
fn begin(facts: &Facts, memory: &mut Memory, step: &mut Step, wanted: u32) {
    if wanted == 0 {
        memory.waits = None;
        return;
    }
    let victims = facts.victims(wanted);
    let pods: BTreeMap<&str, &Pod> = facts.live().map(|pod| (pod.name.as_str(), pod)).collect();
    for name in &victims {
        let Some(pod) = pods.get(name.as_str()) else {
            continue;
        };
        let Some(worker) = facts.workers.get(&pod.node()) else {
            continue;
        };
        let mut queues: BTreeSet<String> = worker.consumed().iter().cloned().collect();
        // One that was kept may have lost some, and is meant to have them should it be kept again.
        queues.extend(pod.undone.says().into_iter().flat_map(|undone| {
            let meant = undone.queues.iter();
            let meant = meant.filter(|queue| !worker.was_to_cancel(queue, undone.since));
            meant.cloned()
        }));
        let since = facts.now;
        let of = pod.uid.split('-').next().unwrap_or_default();
        step.deeds.push(Deed::Mark {
            pod: pod.name.clone(),
            mark: Mark {
                id: format!("{of}-{}", since.as_millisecond()),
                pod_uid: pod.uid.clone(),
                container: pod.container.clone(),
                pid: worker.pid,
                queues: queues.into_iter().collect(),
                since,
            },
        });
        step.deeds.push(Deed::Tell(Told::Began {
            pod: pod.name.clone(),
            active: worker.active.unwrap_or(0),
            reserved: worker.reserved.unwrap_or(0),
        }));
    }
    if victims.is_empty() {
        memory.waits.get_or_insert(facts.now);
    } else {
        memory.waits = None;
    }
}

/// When the time is over, pods go with what their workers have: these then have their grace period.
fn give_up(
    facts: &Facts,
    memory: &mut Memory,
    step: &mut Step,
    drains: &[Drain<'_>],
    mut ready: Pods,
) {
    let Some(timeout) = facts.timeout else {
        return;
    };
    let over = drains
        .iter()
        .find(|(_, mark)| passed(facts.now, mark.since, timeout));
    if let Some((pod, _)) = over {
        if pod.cost != Some(COST_DRAINED) {
            step.deeds.push(Deed::Last {
                pod: pod.name.clone(),
                uid: pod.uid.clone(),
            });
        } else if facts.deployment.is_settled() {
            ready.extend([named(pod)]);
            let to = facts.deployment.replicas - 1;
            step.deeds.push(lower_to(facts, to, ready));
            step.deeds.push(Deed::Tell(Told::TimedOut {
                pod: pod.name.clone(),
            }));
        }
        return;
    }
    if let Workers::NotNow(_) = facts.workers {
        memory.waits.get_or_insert(facts.now);
    }
    let waited = memory
        .waits
        .is_some_and(|since| passed(facts.now, since, timeout));
    if facts.unasked_go && waited && drains.is_empty() {
        step.deeds.push(lower_to(facts, facts.target, Pods::new()));
        step.deeds.push(Deed::Tell(Told::NotDrained {
            to: facts.target,
            why: format!(
                "scaling.drainTimeoutSeconds is over, and {}",
                says::why_unknown(facts)
            ),
        }));
    }
}

pub(super) fn lower_to(facts: &Facts, to: u32, expected: Pods) -> Deed {
    Deed::Lower(lowered_to(facts, to, expected))
}

fn lowered_to(facts: &Facts, to: u32, expected: Pods) -> Lowered {
    Lowered {
        expected,
        drained: false,
        before: facts.live().map(|pod| pod.uid.clone()).collect(),
        to,
        at: facts.now,
    }
}

fn named(pod: &Pod) -> (String, String) {
    (pod.uid.clone(), pod.name.clone())
}
