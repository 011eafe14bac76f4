//! The verdicts: alive, and ready.

use std::fmt;
use std::time::{Duration, Instant};

use super::{Drain, FRESH, FRESH_SOLO, Fact, HEARTBEATS_ARE_ENOUGH, NOTHING_IS_TOLD, Queue, Ward};

/// Whether a worker may live on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Life {
    /// It may.
    Alive(Alive),
    /// It answers, is idle, and leaves what waits for it. A restart ends no task.
    Stalled {
        /// A queue that it consumes from.
        queue: String,
        /// Messages that wait there.
        ready: u64,
        /// For how long it has taken nothing, seconds.
        seconds: u64,
    },
}

/// Why a worker may live on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alive {
    /// It takes nothing because it was told so.
    Draining,
    /// It holds tasks.
    Busy,
    /// It idles, and nothing waits, or not for long.
    Idle,
    /// It consumes from no queue; who cancelled them knows.
    NoQueues,
    /// Not enough is known.
    Unknown(&'static str),
    /// The broker cannot be used from here, so it may be that it cannot be used from there.
    BrokerAway(String),
}

/// Whether a worker is to get what goes to those that are ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// It is.
    Yes,
    /// It was not seen to consume yet.
    NotYet,
    /// It was drained.
    Drained,
}

impl Ready {
    /// Why not.
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Self::Yes => None,
            Self::NotYet => Some("the worker was not seen to consume yet"),
            Self::Drained => Some("the worker is drained"),
        }
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alive(alive) => alive.fmt(f),
            Self::Stalled {
                queue,
                ready,
                seconds,
            } => write!(
                f,
                "stalled: it answers and is idle, and for {seconds} s has taken none of the {ready} messages of its queue \
                 {queue:?}"
            ),
        }
    }
}

impl fmt::Display for Alive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Draining => f.write_str("it drains"),
            Self::Busy => f.write_str("it holds tasks"),
            Self::Idle => f.write_str("it is idle, and nothing waits for long"),
            Self::NoQueues => f.write_str("it consumes from no queue"),
            Self::Unknown(what) => write!(f, "not known to be otherwise: {what}"),
            Self::BrokerAway(reason) => write!(f, "the broker cannot be used from here: {reason}"),
        }
    }
}

impl Ward {
    /// Whether it may live on.
    pub fn life(&self, now: Instant) -> Life {
        self.stalled(now).unwrap_or_else(Life::Alive)
    }

    /// `Err` is why it may live on.
    fn stalled(&self, now: Instant) -> Result<Life, Alive> {
        if self.drain != Drain::None {
            return Err(Alive::Draining);
        }
        let (Some(processed), Some(active), Some(reserved), Some(scheduled), Some(queues)) = (
            &self.processed,
            &self.active,
            &self.reserved,
            &self.scheduled,
            &self.queues,
        ) else {
            return Err(Alive::Unknown("it has not told all of itself"));
        };
        if [active, reserved, scheduled]
            .iter()
            .any(|fact| fact.value > 0)
        {
            return Err(Alive::Busy);
        }
        if queues.value.is_empty() {
            return Err(Alive::NoQueues);
        }
        self.told_lately(now, [processed, active], [reserved, scheduled])?;
        let Some(idle_since) = self.idle_since else {
            return Err(Alive::Busy);
        };
        let looked = self.look.as_ref().ok_or(Alive::Idle)?;
        if let Err(reason) = &looked.value {
            return Err(Alive::BrokerAway(reason.clone()));
        }
        if looked.at + self.look_every() * 3 < now {
            return Err(Alive::Unknown("its queues were not looked at lately"));
        }
        let waiting = self.waiting.as_ref().ok_or(Alive::Idle)?;
        if self.rules.queues_differ && !is_sure(&queues.value, &waiting.queue) {
            return Err(Alive::Unknown("whether it may leave messages in its queue"));
        }
        // By what was seen at both ends, not by the clock.
        let since = idle_since.max(waiting.since);
        let until = processed.at.min(active.at).min(looked.at);
        let taken_nothing_for = until.saturating_duration_since(since);
        if taken_nothing_for < self.rules.stalled_after {
            return Err(Alive::Idle);
        }
        Ok(Life::Stalled {
            queue: waiting.queue.clone(),
            ready: waiting.ready,
            seconds: taken_nothing_for.as_secs(),
        })
    }

    /// Whether what is known is of now. A solo worker is silent while it runs a task.
    fn told_lately(
        &self,
        now: Instant,
        often: [&Fact<u64>; 2],
        seldom: [&Fact<u64>; 2],
    ) -> Result<(), Alive> {
        let lately = |facts: [&Fact<u64>; 2], within: Duration| {
            facts.iter().all(|fact| fact.at + within >= now)
        };
        let within = if self.solo == Some(false) {
            FRESH
        } else {
            FRESH_SOLO
        };
        if !lately(often, within) || !lately(seldom, FRESH) {
            return Err(Alive::Unknown("it is silent"));
        }
        Ok(())
    }

    /// Whether it is ready: never unready again but by a drain, or in a new life.
    pub fn ready(&self, now: Instant) -> Ready {
        if self.drain == Drain::Over {
            return Ready::Drained;
        }
        // Remote control may be off, heartbeats too: then there is no more to wait for.
        let beats = self.queues.is_none()
            && self
                .heartbeats_since
                .is_some_and(|since| since + HEARTBEATS_ARE_ENOUGH <= now);
        let tells_nothing =
            self.unanswered > 0 && self.heard.is_none() && self.started + NOTHING_IS_TOLD <= now;
        if self.consumed || beats || tells_nothing {
            Ready::Yes
        } else {
            Ready::NotYet
        }
    }
}

/// Whether an idle consumer is known to get what waits in this queue.
fn is_sure(queues: &[Queue], name: &str) -> bool {
    let mut queues = queues.iter();
    queues.any(|queue| queue.name == name && queue.fair == Some(true))
}
