//! One step: what is to be done now, what is said, and when to look again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::deed::{Deed, Step, Told};
use super::facts::{Facts, Workers};
use super::marks::{COST_DRAINED, Mark, Undone};
use super::memory::{HOLD, Keep, Lowered, Memory, Progress, later, passed};
use super::pod::{Note, Pod};
use super::says;

/// Drains begun in one step: each is a write and a few commands.
const BEGIN_MAX: u32 = 20;

/// When to look again while something changes by the second.
const SOON: Duration = Duration::from_millis(400);

/// When to look again while tasks are waited for.
const BUSY: Duration = Duration::from_secs(2);

/// When to look again while nothing can be done.
const STUCK: Duration = Duration::from_secs(5);

/// A lowering whose pod is not seen to go within this time is not looked for any longer.
const SEEN_WITHIN: Duration = Duration::from_mins(2);

/// Why a drain is no more.
const RESTARTED: &str = "its worker was started anew";
const UNREADABLE: &str = "its annotation cannot be read";
const ROLLOUT: &str = "its pod is replaced by one of another template anyway";
const WANTED: &str = "it is wanted after all";

/// Names of pods by identity.
type Pods = BTreeMap<String, String>;

/// A pod on its way out, and what it says about that.
type Drain<'a> = (&'a Pod, &'a Mark);

/// What is to be done now.
pub fn step(facts: &Facts, memory: &mut Memory) -> Step {
    memory.prune(facts);
    let mut step = Step::default();
    look_back(facts, memory, &mut step);
    let mut drains = valid(facts, memory, &mut step);
    // First in, last to be undone.
    drains
        .sort_by(|(one, mark), (other, its)| (mark.since, &one.uid).cmp(&(its.since, &other.uid)));
    keep(facts, memory, &mut step);
    let surplus = facts.surplus();
    if surplus == 0 {
        memory.waits = None;
    }
    if let Workers::Never(words) = &facts.workers {
        if surplus > 0 && facts.deployment.observed {
            step.deeds.push(lower_to(facts, facts.target, Pods::new()));
            step.deeds.push(Deed::Tell(Told::NotDrained {
                to: facts.target,
                why: words.clone(),
            }));
        }
    } else if facts.deployment.rolls() {
        undo(facts, &mut step, drains.drain(..).rev(), ROLLOUT);
        if surplus > 0 && !facts.live().any(|pod| pod.runs) {
            // Of whichever template they are: nothing is lost with them.
            step.deeds.push(lower_to(facts, facts.target, Pods::new()));
        }
    } else {
        let stay = usize::try_from(surplus)
            .unwrap_or(usize::MAX)
            .min(drains.len());
        let back = drains.split_off(stay);
        undo(facts, &mut step, back.into_iter().rev(), WANTED);
        lower(facts, memory, &mut step, &drains);
    }
    finished(facts, step, &drains, surplus, memory)
}

/// The raise, which comes after what was undone; what is said, and when to look again.
fn finished(
    facts: &Facts,
    mut step: Step,
    drains: &[Drain<'_>],
    surplus: u32,
    memory: &Memory,
) -> Step {
    if facts.target > facts.deployment.replicas {
        step.deeds.push(Deed::Raise { to: facts.target });
    }
    step.says = says::says(facts, memory, drains, step.began());
    let kept = facts.live().any(|pod| pod.undone.is_there());
    step.again = if step.deeds.iter().any(Deed::changes) || memory.lowered.is_some() {
        Some(SOON)
    } else if !drains.is_empty() {
        let closing = drains.iter().any(|(pod, _)| {
            let worker = facts.workers.get(&pod.node());
            worker.is_some_and(super::facts::Worker::seems_idle)
        });
        Some(if closing { SOON } else { BUSY })
    } else if surplus > 0 || kept || memory.hold.is_some() {
        Some(STUCK)
    } else {
        None
    };
    step
}

/// What the last lowering took.
fn look_back(facts: &Facts, memory: &mut Memory, step: &mut Step) {
    let Some(lowered) = &memory.lowered else {
        return;
    };
    let live: BTreeSet<&str> = facts.live().map(|pod| pod.uid.as_str()).collect();
    let mut gone = lowered
        .before
        .iter()
        .filter(|uid| !live.contains(uid.as_str()));
    let right = gone.clone().find_map(|uid| lowered.expected.get(uid));
    if lowered.expected.is_empty() || right.is_some() {
        if let Some(pod) = right.filter(|_| lowered.drained) {
            step.deeds.push(Deed::Tell(Told::Ended {
                pod: pod.clone(),
                left: lowered.to,
            }));
        }
        memory.lowered = None;
    } else if gone.next().is_some() {
        memory.lowered = None;
        memory.hold = Some(later(facts.now, HOLD));
        step.deeds.push(Deed::Tell(Told::WrongVictim));
    } else if passed(facts.now, lowered.at, SEEN_WITHIN) {
        memory.lowered = None;
    }
}

/// The drains that go on. What was written about another pod, or another life of a worker, says nothing any more: a worker that
/// is started anew consumes what it is started with.
fn valid<'a>(facts: &'a Facts, memory: &mut Memory, step: &mut Step) -> Vec<Drain<'a>> {
    let mut drains = Vec::new();
    for pod in facts.live() {
        let why = match &pod.mark {
            Note::Absent => {
                memory.drains.remove(&pod.uid);
                continue;
            }
            Note::Unreadable => UNREADABLE,
            Note::Says(mark) => {
                let pid = facts
                    .workers
                    .get(&pod.node())
                    .filter(|worker| worker.online)
                    .and_then(|worker| worker.pid);
                let same_process = pid.is_none() || mark.pid.is_none() || pid == mark.pid;
                if mark.pod_uid == pod.uid && mark.container == pod.container && same_process {
                    drains.push((pod, mark));
                    continue;
                }
                RESTARTED
            }
        };
        memory.drains.remove(&pod.uid);
        step.deeds.push(Deed::Forget {
            pod: pod.name.clone(),
            uid: pod.uid.clone(),
        });
        step.deeds.push(Deed::Tell(Told::Undone {
            pod: pod.name.clone(),
            why,
        }));
    }
    drains
}

/// Workers that were kept consume what they are meant to: Celery forgets that at its next connection.
fn keep(facts: &Facts, memory: &mut Memory, step: &mut Step) {
    for pod in facts.live().filter(|pod| !pod.mark.is_there()) {
        let undone = match &pod.undone {
            Note::Absent => continue,
            Note::Says(undone)
                if undone.pod_uid == pod.uid && undone.container == pod.container =>
            {
                undone
            }
            Note::Says(_) | Note::Unreadable => {
                step.deeds.push(Deed::Forget {
                    pod: pod.name.clone(),
                    uid: pod.uid.clone(),
                });
                continue;
            }
        };
        let Some(worker) = facts
            .workers
            .get(&pod.node())
            .filter(|worker| worker.online)
        else {
            continue;
        };
        let memory = memory.keeps.entry(pod.uid.clone()).or_default();
        let Keep { told, next } = memory;
        let consumed = worker.queues.as_deref().unwrap_or_default();
        let missing = undone.queues.iter();
        let missing: Vec<String> = missing
            .filter(|queue| !*told || !consumed.contains(queue))
            .cloned()
            .collect();
        let due = next.is_none_or(|next| next <= facts.now);
        if !missing.is_empty() && due && (!*told || worker.queues.is_some()) {
            step.deeds.push(Deed::Add {
                uid: pod.uid.clone(),
                node: pod.node(),
                queues: missing,
            });
        }
    }
}

/// Undoes drains: their workers are told by [`keep`], once it is on their pods that they stay.
fn undo<'a>(
    facts: &Facts,
    step: &mut Step,
    drains: impl Iterator<Item = Drain<'a>>,
    why: &'static str,
) {
    for (pod, mark) in drains {
        let (name, uid) = (pod.name.clone(), pod.uid.clone());
        step.deeds.push(Deed::Undo {
            pod: name.clone(),
            undone: Undone {
                pod_uid: uid,
                container: mark.container.clone(),
                queues: mark.queues.clone(),
                since: facts.now,
            },
        });
        step.deeds.push(Deed::Tell(Told::Undone { pod: name, why }));
    }
}

/// The way down.
fn lower(facts: &Facts, memory: &mut Memory, step: &mut Step, drains: &[Drain<'_>]) {
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

/// Replicas without a pod, and pods without a process: Kubernetes takes those that are not ready first.
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
    let idle: Pods = idle.map(named).collect();
    let free = absent.saturating_add(count(idle.len())).min(surplus);
    if free == 0 {
        return false;
    }
    let expected = if absent >= free { Pods::new() } else { idle };
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
    progress.is_done(facts.now) && idle
}

/// Asks for one replica less, if Kubernetes can only take a pod of these.
fn lower_by_one(facts: &Facts, step: &mut Step, ready: &Pods) -> bool {
    let others = facts
        .live()
        .filter(|pod| !ready.contains_key(&pod.uid))
        .all(|pod| pod.ready && pod.cost != Some(COST_DRAINED));
    let all = u32::try_from(facts.live().count()) == Ok(facts.deployment.replicas);
    if ready.is_empty() || !others || !all || !facts.deployment.is_settled() {
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
        let mut queues: BTreeSet<String> = worker.queues.iter().flatten().cloned().collect();
        // One that was kept may have lost some, and is meant to have them should it be kept again.
        queues.extend(
            pod.undone
                .says()
                .into_iter()
                .flat_map(|undone| undone.queues.clone()),
        );
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

fn lower_to(facts: &Facts, to: u32, expected: Pods) -> Deed {
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
