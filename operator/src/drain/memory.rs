//! What is remembered of a pool between two steps. A leader that knows nothing of it goes on by the pods' annotations.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::consumes::Lack;
use super::facts::Facts;

/// Between two questions to a worker that seems to have nothing left.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// The longest time between two questions to a worker: what events and heartbeats tell may be wrong.
const ASK_AGAIN_MAX: Duration = Duration::from_secs(30);

/// After so long a worker that did not take a command is told again.
const TELL_AGAIN: Duration = Duration::from_secs(5);

/// Two answers say that a worker has nothing left if they are at least so far apart.
const APART: Duration = Duration::from_secs(1);

/// An answer is believed for so long.
const BELIEVED: Duration = Duration::from_secs(10);

/// After a lowering took another pod than it was to, no pod is taken for so long.
pub(super) const HOLD: Duration = Duration::from_mins(5);

/// What a worker answered about itself, when it was asked for just that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Before the first question was sent.
    pub at: Timestamp,
    /// The queues it consumes.
    pub queues: Vec<String>,
    /// Tasks that wait in it for a slot.
    pub reserved: u64,
    /// Tasks that run.
    pub active: u64,
}

/// What is remembered of a pool.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// Of workers on their way out, by the identity of their pods.
    pub(super) drains: BTreeMap<String, Progress>,
    /// Of workers that were kept, in the same way.
    pub(super) keeps: BTreeMap<String, Keep>,
    /// Of workers that consume less than they should, in the same way.
    pub(super) lacks: BTreeMap<String, Lack>,
    /// A lowering of which it is not seen yet what it took.
    pub(super) lowered: Option<Lowered>,
    /// No pod is taken until then.
    pub(super) hold: Option<Timestamp>,
    /// Since when a lowering waits for workers of which nothing is known.
    pub(super) waits: Option<Timestamp>,
}

/// How far a drain is.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress {
    /// Which one.
    pub(super) id: String,
    /// The life of the worker that all of this is about.
    pub(super) life: Option<u64>,
    /// When the worker had confirmed that it consumes from no queue.
    pub(super) cancelled: Option<Timestamp>,
    /// When to tell it (again).
    tell: Option<Timestamp>,
    /// The first and the last of its answers since then, all of which said that it has nothing left.
    clean: Option<(Timestamp, Timestamp)>,
    /// When it was asked last, and how often in a row it had something left or did not answer.
    asked: Option<(Timestamp, u32)>,
    /// Queues that it said it consumes, though it should not.
    pub(super) strange: Vec<String>,
    /// Why it could not be asked or told, the last time.
    pub(super) failure: Option<String>,
}

/// A worker that was kept.
#[derive(Debug, Clone, Default)]
pub(super) struct Keep {
    /// It was told once by this leader.
    pub(super) told: bool,
    /// When to tell it again, if need be.
    pub(super) next: Option<Timestamp>,
}

/// A lowering.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lowered {
    /// The pods of which it was to take one, by identity, with their names; none when it does not matter which.
    pub expected: BTreeMap<String, String>,
    /// Whether these were drained.
    pub drained: bool,
    /// Identities of the pods that there were.
    pub before: BTreeSet<String>,
    /// How many replicas were asked for.
    pub to: u32,
    /// When.
    pub at: Timestamp,
}

pub(super) fn passed(now: Timestamp, since: Timestamp, time: Duration) -> bool {
    now.duration_since(since) >= SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX)
}

pub(super) fn later(now: Timestamp, time: Duration) -> Timestamp {
    now.checked_add(time).unwrap_or(Timestamp::MAX)
}

impl Memory {
    /// Whether something is under way that the pods do not show.
    pub fn is_busy(&self) -> bool {
        self.lowered.is_some() || self.hold.is_some() || self.waits.is_some()
    }

    /// Forgets pods that are gone or on their way out.
    pub(super) fn prune(&mut self, facts: &Facts) {
        let live: BTreeSet<&str> = facts.live().map(|pod| pod.uid.as_str()).collect();
        self.drains.retain(|uid, _| live.contains(uid.as_str()));
        self.keeps.retain(|uid, _| live.contains(uid.as_str()));
        self.lacks.retain(|uid, _| live.contains(uid.as_str()));
        if self.hold.is_some_and(|until| until <= facts.now) {
            self.hold = None;
        }
    }

    /// A worker was told to consume no more, and confirmed it or did not.
    pub fn cancelled(&mut self, uid: &str, now: Timestamp, outcome: Result<(), String>) {
        let Some(progress) = self.drains.get_mut(uid) else {
            return;
        };
        match outcome {
            Ok(()) => progress.on_cancelled(now),
            Err(why) => {
                progress.tell = Some(later(now, TELL_AGAIN));
                progress.failure = Some(why);
            }
        }
    }

    /// A worker was asked what it has, and answered or did not.
    pub fn answered(&mut self, uid: &str, now: Timestamp, outcome: Result<Answer, String>) {
        let Some(progress) = self.drains.get_mut(uid) else {
            return;
        };
        let before = progress.asked.map_or(0, |(_, tries)| tries);
        let mut tries = before.saturating_add(1);
        match outcome {
            Ok(answer) if progress.cancelled.is_none_or(|since| answer.at < since) => {}
            Ok(answer) => {
                progress.failure = None;
                if answer.queues.is_empty() && answer.reserved == 0 && answer.active == 0 {
                    tries = 0;
                    let first = progress.clean.map_or(answer.at, |(first, _)| first);
                    progress.clean = Some((first, answer.at));
                } else {
                    progress.clean = None;
                }
                if !answer.queues.is_empty() {
                    progress.cancelled = None;
                    progress.tell = Some(later(now, ASK_AGAIN));
                    progress.strange = answer.queues;
                }
            }
            Err(why) => {
                progress.clean = None;
                progress.failure = Some(why);
            }
        }
        progress.asked = Some((now, tries));
    }

    /// A worker that was kept was told to consume its queues, and confirmed it or did not.
    pub fn added(&mut self, uid: &str, now: Timestamp, confirmed: bool) {
        let keep = self.keeps.entry(uid.to_owned()).or_default();
        keep.told |= confirmed;
        let wait = if confirmed { BELIEVED } else { TELL_AGAIN };
        keep.next = Some(later(now, wait));
    }

    /// Replicas were lowered.
    pub fn lowered(&mut self, lowered: Lowered) {
        self.lowered = Some(lowered);
        self.waits = None;
    }
}

impl Progress {
    pub(super) fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            ..Self::default()
        }
    }

    pub(super) fn on_cancelled(&mut self, now: Timestamp) {
        self.cancelled = Some(now);
        self.clean = None;
        self.asked = None;
        self.strange.clear();
        self.failure = None;
    }

    /// Another life of the worker consumes what it is started with.
    pub(super) fn begin_again(&mut self, life: u64) {
        *self = Self {
            life: Some(life),
            ..Self::new(&self.id)
        };
    }

    /// Whether it is time to tell it.
    pub(super) fn tells(&self, now: Timestamp) -> bool {
        self.tell.is_none_or(|next| next <= now)
    }

    /// Whether it is time to ask it: one that seems to have nothing left soon, others seldom. Of one that has nothing left the
    /// word is kept fresh, as long as its pod could go.
    pub(super) fn asks(&self, now: Timestamp, seems_idle: bool, may_go: bool) -> bool {
        let Some((asked, tries)) = self.asked else {
            return true;
        };
        let wait = if !seems_idle || (self.is_apart() && !may_go) {
            ASK_AGAIN_MAX
        } else if self.is_apart() {
            BELIEVED / 2
        } else {
            let doubled = ASK_AGAIN.saturating_mul(1 << tries.min(5));
            doubled.min(ASK_AGAIN_MAX)
        };
        passed(now, asked, wait)
    }

    fn is_apart(&self) -> bool {
        self.clean
            .is_some_and(|(first, last)| passed(last, first, APART))
    }

    /// Whether it has said once that it has nothing left.
    pub(super) fn is_clean(&self) -> bool {
        self.clean.is_some()
    }

    /// Whether it has nothing left, by two answers.
    pub(super) fn is_done(&self, now: Timestamp) -> bool {
        let fresh = |(_, last): (Timestamp, Timestamp)| !passed(now, last, BELIEVED);
        self.is_apart() && self.clean.is_some_and(fresh)
    }
}
