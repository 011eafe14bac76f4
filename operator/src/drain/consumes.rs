//! Workers that consume less than their pods were started for, though nobody meant them to: they are told to, and that is said.
//! Celery consumes a queue that was ever cancelled only until its next connection, and whoever cancels one by Celery's own
//! means leaves no word of it. What a pool names no queues for is not known here, and nothing of it is given back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::deed::{Deed, Step, Told};
use super::facts::{Facts, Workers};
use super::memory::{Memory, later, passed};
use super::pod::{Note, Pod};

/// Two answers of a worker so far apart have to lack a queue: while one starts or connects anew it has none for a moment.
const APART: Duration = Duration::from_secs(20);

/// Between two looks at workers that consume what they should; aggregators ask them once a minute.
const LOOK: Duration = Duration::from_secs(30);

/// Between two looks while one does not.
const LOOK_CLOSELY: Duration = Duration::from_secs(10);

/// Between two times that a worker is told; doubled whenever it did not help.
const AGAIN: Duration = Duration::from_mins(1);

/// The longest of these times.
const AGAIN_MAX: Duration = Duration::from_mins(30);

/// After so many times a person is told that it does not help.
const TRIES: u32 = 3;

/// Workers told in one step: each command goes to every worker of the app.
const AT_ONCE: usize = 20;

/// What is remembered of a worker that lacked queues.
#[derive(Debug, Clone, Default)]
pub(super) struct Lack {
    /// The life of the worker that it is about.
    life: u64,
    /// The queues that it lacks, and when it first said so.
    queues: BTreeMap<String, Timestamp>,
    /// Queues that it was told to consume, and was not seen to consume since.
    told: BTreeSet<String>,
    /// The answer by which it was told last.
    by: Option<Timestamp>,
    /// How often it was told in a row without consuming them.
    tries: u32,
    /// How many of these a person was told of.
    said: u32,
    /// Not to be told again before.
    next: Option<Timestamp>,
    /// Why it could not be told, the last time.
    failure: Option<String>,
}

/// One look at a pool in which nothing else is under way.
pub fn look(facts: &Facts, memory: &mut Memory) -> Step {
    memory.prune(facts);
    let mut step = Step::default();
    step.again = consume(facts, memory, &mut step);
    step
}

/// Gives workers back what they lost; when to look again.
pub(super) fn consume(facts: &Facts, memory: &mut Memory, step: &mut Step) -> Option<Duration> {
    let names = &facts.deployment.queues;
    if names.is_empty() || matches!(facts.workers, Workers::Never(_)) {
        memory.lacks.clear();
        return None;
    }
    // Of several templates it is not known which a pod was started from.
    let one_template = facts.deployment.observed && !facts.deployment.rolls();
    let mut told = 0;
    for pod in facts.live() {
        let Some(worker) = facts.workers.get(&pod.node()) else {
            continue;
        };
        let lack = memory.lacks.entry(pod.uid.clone()).or_default();
        let may = one_template && pod.runs && pod.ready && !pod.mark.is_there() && worker.online;
        match worker.queues.as_ref().zip(worker.cancelled.as_ref()) {
            Some(((consumed, at), cancelled)) if may => {
                let mut missing = missing(names, pod, consumed);
                missing.retain(|queue| !cancelled.contains_key(queue));
                lack.heard(worker.life, missing, *at);
                lack.say(pod, consumed, *at, step);
                if told < AT_ONCE && lack.is_due(facts.now, *at) {
                    told += 1;
                    step.deeds.push(Deed::Restore {
                        uid: pod.uid.clone(),
                        node: pod.node(),
                        queues: lack.lost(*at),
                        by: *at,
                    });
                }
            }
            _ => lack.queues.clear(),
        }
    }
    memory.lacks.retain(|_, lack| !lack.is_over(facts.now));
    let closely = memory.lacks.values().any(|lack| !lack.queues.is_empty());
    let looks = facts.live().next().is_some();
    looks.then_some(if closely { LOOK_CLOSELY } else { LOOK })
}

/// What it should consume, and does not; but for what it is given back as its drain was undone.
fn missing(names: &[String], pod: &Pod, consumed: &[String]) -> Vec<String> {
    let undone = match &pod.undone {
        Note::Says(undone) => undone.queues.as_slice(),
        Note::Absent | Note::Unreadable => &[],
    };
    let lacks = |queue: &&String| !consumed.contains(queue) && !undone.contains(queue);
    names.iter().filter(lacks).cloned().collect()
}

impl Lack {
    /// It has said, at that time, that it lacks these.
    fn heard(&mut self, life: u64, missing: Vec<String>, at: Timestamp) {
        if self.life != life {
            *self = Self {
                life,
                ..Self::default()
            };
        }
        let known = std::mem::take(&mut self.queues);
        let since = |queue: String| {
            let since = known.get(&queue).copied().unwrap_or(at);
            (queue, since)
        };
        self.queues = missing.into_iter().map(since).collect();
    }

    /// Says what became of what it was told.
    fn say(&mut self, pod: &Pod, consumed: &[String], at: Timestamp, step: &mut Step) {
        let (back, away): (BTreeSet<String>, BTreeSet<String>) = std::mem::take(&mut self.told)
            .into_iter()
            .partition(|queue| consumed.contains(queue));
        // What a person has cancelled meanwhile is waited for no more.
        self.told = away
            .into_iter()
            .filter(|queue| self.queues.contains_key(queue))
            .collect();
        if !back.is_empty() {
            step.deeds.push(Deed::Tell(Told::Restored {
                pod: pod.name.clone(),
                queues: back.into_iter().collect(),
            }));
        }
        if self.told.is_empty() {
            (self.tries, self.said, self.failure) = (0, 0, None);
        }
        let answered = self.by.is_some_and(|by| passed(at, by, APART));
        if self.tries >= TRIES && self.said < self.tries && answered {
            self.said = self.tries;
            step.deeds.push(Deed::Tell(Told::NotRestored {
                pod: pod.name.clone(),
                queues: self.told.iter().cloned().collect(),
                tries: self.tries,
                why: self.failure.clone(),
            }));
        }
    }

    /// The queues that it surely lacks, by its answer of then.
    fn lost(&self, at: Timestamp) -> Vec<String> {
        let surely = |(_, since): &(&String, &Timestamp)| passed(at, **since, APART);
        let lost = self.queues.iter().filter(surely);
        lost.map(|(queue, _)| queue.clone()).collect()
    }

    /// Whether it is to be told, by an answer that is newer than what it was told before.
    fn is_due(&self, now: Timestamp, at: Timestamp) -> bool {
        let news = self.by.is_none_or(|by| at > by);
        let its_time = self.next.is_none_or(|next| next <= now);
        news && its_time && !self.lost(at).is_empty()
    }

    fn is_over(&self, now: Timestamp) -> bool {
        let waits = self.next.is_some_and(|next| now < next);
        self.queues.is_empty() && self.told.is_empty() && !waits
    }
}

impl Memory {
    /// A worker was told, by its answer of then, to consume queues that it had lost, and confirmed it or did not.
    pub fn restored(
        &mut self,
        uid: &str,
        now: Timestamp,
        (queues, by): (Vec<String>, Timestamp),
        outcome: Result<(), String>,
    ) {
        let Some(lack) = self.lacks.get_mut(uid) else {
            return;
        };
        let wait = AGAIN.saturating_mul(1 << lack.tries.min(5));
        lack.next = Some(later(now, wait.min(AGAIN_MAX)));
        lack.tries = lack.tries.saturating_add(1);
        lack.by = Some(by);
        // It may have taken what it did not confirm.
        lack.told.extend(queues);
        lack.failure = outcome.err();
    }
}
