//! One step: what is to be done now, what is said, and when to look again.

use std::collections::BTreeSet;
use std::time::Duration;

use super::consumes::consume;
use super::deed::{Deed, Step, Told};
use super::facts::{Facts, Worker, Workers};
use super::lower::{Pods, lower, lower_to};
use super::marks::{COST_DRAINED, Mark, Undone};
use super::memory::{HOLD, Keep, Memory, later, passed};
use super::pod::{Note, Pod};
use super::says;

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

/// A pod on its way out, and what it says about that.
pub(super) type Drain<'a> = (&'a Pod, &'a Mark);

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
    let look = consume(facts, memory, &mut step);
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
    let mut step = finished(facts, step, &drains, surplus, memory);
    step.again = step.again.into_iter().chain(look).min();
    step
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
            worker.is_some_and(Worker::seems_idle)
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
                // It was to go before its worker had started, and has or may stay.
                if pod.cost == Some(COST_DRAINED) && (pod.runs || facts.surplus() == 0) {
                    step.deeds.push(Deed::Forget {
                        pod: pod.name.clone(),
                        uid: pod.uid.clone(),
                    });
                }
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
                // Should it be kept again, it has to be told again.
                memory.keeps.remove(&pod.uid);
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
        let consumed = worker.consumed();
        let missing = undone.queues.iter();
        let missing: Vec<String> = missing
            .filter(|queue| !worker.was_to_cancel(queue, undone.since))
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
