//! What a step comes to.

use std::time::Duration;

use jiff::Timestamp;

use super::marks::{Mark, Undone};
use super::memory::Lowered;
use crate::report::Fact;

/// What is to be done, what is said, and when to look again.
#[derive(Debug, Default, PartialEq)]
pub struct Step {
    /// In this order; when one of them fails those after it are left for the next step.
    pub deeds: Vec<Deed>,
    /// The condition `Draining`.
    pub says: Option<Fact>,
    /// When to look again, whatever happens; sooner when something of the pool changes. Never, when nothing is under way.
    pub again: Option<Duration>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Deed {
    /// Write on a pod that its worker is on its way out.
    Mark {
        /// Which pod.
        pod: String,
        /// What to write.
        mark: Mark,
    },
    /// Write on a pod that its worker stays.
    Undo {
        /// Which pod.
        pod: String,
        /// What to write.
        undone: Undone,
    },
    /// Take off a pod what was written on it.
    Forget {
        /// Which pod.
        pod: String,
        /// Its identity.
        uid: String,
    },
    /// Write on a pod that it is the next to go.
    Last {
        /// Which pod.
        pod: String,
        /// Its identity.
        uid: String,
    },
    /// Tell a worker to consume from none of these.
    Cancel {
        /// Identity of its pod.
        uid: String,
        /// Its node name.
        node: String,
        /// The queues.
        queues: Vec<String>,
    },
    /// Ask a worker what it consumes and what it has.
    Ask {
        /// Identity of its pod.
        uid: String,
        /// Its node name.
        node: String,
    },
    /// Tell a worker to consume from these.
    Add {
        /// Identity of its pod.
        uid: String,
        /// Its node name.
        node: String,
        /// The queues.
        queues: Vec<String>,
    },
    /// Tell a worker to consume from these again: it lost them.
    Restore {
        /// Identity of its pod.
        uid: String,
        /// Its node name.
        node: String,
        /// The queues.
        queues: Vec<String>,
        /// When the worker gave the answer that shows it.
        by: Timestamp,
    },
    /// Ask for fewer replicas, if nothing of the Deployment has changed since it was read and one ReplicaSet has all of them.
    Lower(Lowered),
    /// Ask for more replicas.
    Raise {
        /// How many.
        to: u32,
    },
    /// An Event.
    Tell(Told),
}

impl Deed {
    /// Whether something of the cluster or of a worker is another after it.
    pub fn changes(&self) -> bool {
        !matches!(self, Self::Ask { .. } | Self::Tell(_))
    }
}

/// What is told by an Event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// A worker is on its way out.
    Began {
        /// Its pod.
        pod: String,
        /// Tasks that it runs.
        active: u64,
        /// Tasks that wait in it.
        reserved: u64,
    },
    /// It is so no more.
    Undone {
        /// Its pod.
        pod: String,
        /// Why.
        why: &'static str,
    },
    /// Its pod has gone, and nothing with it.
    Ended {
        /// Its pod.
        pod: String,
        /// How many are left.
        left: u32,
    },
    /// Its pod goes with what the worker has.
    TimedOut {
        /// Its pod.
        pod: String,
    },
    /// Replicas were lowered without a drain.
    NotDrained {
        /// How many there are to be.
        to: u32,
        /// Why.
        why: String,
    },
    /// Another pod went than the one that was to.
    WrongVictim,
    /// A worker that consumed less than it was started for consumes again.
    Restored {
        /// Its pod.
        pod: String,
        /// The queues that it had lost.
        queues: Vec<String>,
    },
    /// It does not, whatever it is told.
    NotRestored {
        /// Its pod.
        pod: String,
        /// The queues that it has lost.
        queues: Vec<String>,
        /// How often it was told.
        tries: u32,
        /// Why it could not be told, the last time.
        why: Option<String>,
    },
}

/// Queues that an Event names: its note has at most 1,024 bytes.
const NAMED: usize = 3;

/// Bytes of a queue's name, or of somebody else's words, in it.
const WORDS_MAX: usize = 120;

fn cut(words: &str) -> &str {
    &words[..words.floor_char_boundary(WORDS_MAX)]
}

fn names(queues: &[String]) -> String {
    let named = queues.iter().take(NAMED).map(|queue| cut(queue));
    let named = named.collect::<Vec<_>>().join(", ");
    match queues.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

impl Told {
    /// In one word.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Began { .. } => "DrainBegan",
            Self::Undone { .. } => "DrainUndone",
            Self::Ended { .. } => "Drained",
            Self::TimedOut { .. } => "DrainTimedOut",
            Self::NotDrained { .. } => "NotDrained",
            Self::WrongVictim => "WrongVictim",
            Self::Restored { .. } => "ConsumerRestored",
            Self::NotRestored { .. } => "ConsumerNotRestored",
        }
    }

    /// What was done, in one word.
    pub fn action(&self) -> &'static str {
        match self {
            Self::Restored { .. } | Self::NotRestored { .. } => "Consume",
            _ => "Scale",
        }
    }

    /// Whether somebody may have lost something, or has to do something.
    pub fn is_bad(&self) -> bool {
        matches!(
            self,
            Self::TimedOut { .. } | Self::WrongVictim | Self::NotRestored { .. }
        )
    }

    /// In words.
    pub fn note(&self) -> String {
        match self {
            Self::Began {
                pod,
                active,
                reserved,
            } => format!(
                "the worker of pod {pod} takes no more tasks; it runs {active} and holds {reserved}, and its pod goes when they \
                 are done"
            ),
            Self::Undone { pod, why } => format!("the worker of pod {pod} stays: {why}"),
            Self::Ended { pod, left } => {
                format!(
                    "the worker of pod {pod} had nothing left, and its pod has gone; {left} are left"
                )
            }
            Self::TimedOut { pod } => format!(
                "scaling.drainTimeoutSeconds is over: pod {pod} goes, and its worker has the grace period to finish"
            ),
            Self::NotDrained { to, why } => format!(
                "lowered to {to} replicas without a drain: {why}; workers that go have their grace period to finish"
            ),
            Self::WrongVictim => {
                "Kubernetes took another pod than the drained one; for 5 minutes no other is taken"
                    .to_owned()
            }
            Self::Restored { pod, queues } => format!(
                "the worker of pod {pod} had lost queues that it was started for: {}; nobody had cancelled them through Celeriac, \
                 so it was told to consume them, and does",
                names(queues)
            ),
            Self::NotRestored {
                pod,
                queues,
                tries,
                why,
            } => {
                let why = why.as_deref().unwrap_or("it said that it would");
                let why = cut(why);
                format!(
                    "the worker of pod {pod} does not consume queues that it was started for: {}; it was told to {tries} times \
                     ({why}). Its log may say why; when its pod is deleted, another takes its place. To leave it as it is: \
                     celeriac control cancel-consumer QUEUE --worker celery@{pod}",
                    names(queues),
                )
            }
        }
    }
}

impl Step {
    /// How many drains it begins.
    pub(super) fn began(&self) -> usize {
        let begins = |deed: &&Deed| matches!(deed, Deed::Tell(Told::Began { .. }));
        self.deeds.iter().filter(begins).count()
    }
}
