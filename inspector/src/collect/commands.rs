//! Commands of people, as values: which were published, who has answered, and whose answer may still come. It publishes
//! nothing and reads no clock.
//!
//! An answer belongs to its command however late it is: a busy solo worker runs a command after its task, minutes later.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use ahash::{HashSet, HashSetExt};

use super::Node;
use super::order::Command;
use crate::wire::pidbox::Method;

/// For how long answers to a command are taken. Longer than most tasks that keep a solo worker from answering.
pub const LATE_MAX: Duration = Duration::from_hours(1);

/// Commands whose answers are taken. Each holds a name for each worker that answered: at 500 workers 256 of them are
/// about 5 MiB. When there are more, the oldest is let go of.
pub const OPEN_MAX: usize = 256;

/// Request ids kept so that none is ever published twice, whatever is sent: 40 KiB.
const SEEN_MAX: usize = 1_000;

/// Answers of most workers come within milliseconds, and somebody waits for them.
const POLL_AT_ONCE: Duration = Duration::from_millis(5);

/// For how long replies are looked for at that pace, after a command and after each answer.
const AT_ONCE: Duration = Duration::from_millis(500);

/// Then, while somebody waits.
const POLL_SOON: Duration = Duration::from_millis(50);

/// Then, for a minute.
const POLL_LATE: Duration = Duration::from_secs(1);

/// Then; also what keeps the reply queue from expiring.
const POLL_SELDOM: Duration = Duration::from_secs(5);

/// Commands.
///
/// Tickets are `<prefix>.command.<number>`, which is none of a conversation of the same prefix.
#[derive(Debug)]
pub struct Commands {
    prefix: String,
    issued: u64,
    open: BTreeMap<u64, Open>,
    seen: VecDeque<String>,
}

#[derive(Debug)]
struct Open {
    request_id: String,
    method: Method,
    /// Whom it is for; everybody when empty.
    destination: Vec<Node>,
    answered: HashSet<Node>,
    /// How many answers complete one for everybody, once the broker has said how many subscribers it reached.
    reached: Option<usize>,
    asked: Instant,
    /// When it was published, or its latest answer came.
    stirred: Instant,
    wait: Duration,
}

/// A command to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// Its number in this value's life.
    pub number: u64,
    /// What replies carry in their header `ticket`.
    pub ticket: String,
}

/// What a reply with a command's ticket turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// An answer.
    Answer {
        /// To which command.
        request_id: String,
        /// What was asked.
        method: Method,
    },
    /// The worker has answered this command before.
    Double,
    /// Of a worker that was not asked.
    Foreign,
    /// The command is no longer known.
    Forgotten,
}

impl Commands {
    /// No commands yet; `prefix` begins every ticket and must be unique to this value.
    pub fn new(prefix: String) -> Self {
        Self {
            prefix,
            issued: 0,
            open: BTreeMap::new(),
            seen: VecDeque::new(),
        }
    }

    /// Begins a command. `None` when its request id was taken in before: it must not be published again.
    pub fn begin(&mut self, now: Instant, command: &Command) -> Option<Ticket> {
        if self.seen.contains(&command.request_id) {
            return None;
        }
        if self.seen.len() == SEEN_MAX {
            self.seen.pop_front();
        }
        self.seen.push_back(command.request_id.clone());
        if self.open.len() == OPEN_MAX {
            self.open.pop_first();
        }
        self.issued += 1;
        let number = self.issued;
        let names = command.destination.names().unwrap_or_default();
        if command.method.is_answered() {
            self.open.insert(
                number,
                Open {
                    request_id: command.request_id.clone(),
                    method: command.method.clone(),
                    destination: names.iter().map(|name| Node::from(name.as_str())).collect(),
                    answered: HashSet::new(),
                    reached: None,
                    asked: now,
                    stirred: now,
                    wait: command.wait,
                },
            );
        }
        let ticket = format!("{}.command.{number}", self.prefix);
        Some(Ticket { number, ticket })
    }

    /// It went out and reached this many subscribers.
    pub fn on_published(&mut self, now: Instant, number: u64, subscribers: Option<u64>) {
        if let Some(open) = self.open.get_mut(&number) {
            open.stirred = now;
            open.reached = subscribers.map(|count| usize::try_from(count).unwrap_or(usize::MAX));
        }
        self.close_complete(number);
    }

    /// It did not go out: no answer will come.
    pub fn abandon(&mut self, number: u64) {
        self.open.remove(&number);
    }

    /// A reply came. `None` when its ticket is none of a command.
    pub fn on_reply(&mut self, now: Instant, ticket: &str, hostname: &str) -> Option<Heard> {
        let number = ticket
            .strip_prefix(self.prefix.as_str())?
            .strip_prefix(".command.")?;
        Some(number.parse().map_or(Heard::Foreign, |number| {
            let heard = self.hear(now, number, hostname);
            self.close_complete(number);
            heard
        }))
    }

    fn hear(&mut self, now: Instant, number: u64, hostname: &str) -> Heard {
        if !(1..=self.issued).contains(&number) {
            return Heard::Foreign;
        }
        let Some(open) = self.open.get_mut(&number) else {
            return Heard::Forgotten;
        };
        let asked =
            open.destination.is_empty() || open.destination.iter().any(|node| **node == *hostname);
        if !asked {
            return Heard::Foreign;
        }
        if !open.answered.insert(Node::from(hostname)) {
            return Heard::Double;
        }
        open.stirred = now;
        Heard::Answer {
            request_id: open.request_id.clone(),
            method: open.method.clone(),
        }
    }

    /// Lets go of a command that everybody has answered. One for everybody stays: the broker counts subscribers, which may
    /// be fewer than workers when one has just come.
    fn close_complete(&mut self, number: u64) {
        let complete = self.open.get(&number).is_some_and(|open| {
            !open.destination.is_empty() && open.answered.len() >= open.destination.len()
        });
        if complete {
            self.open.remove(&number);
        }
    }

    /// How long after the last look replies are to be looked for again; `None` when none can come.
    pub fn poll_after(&self, now: Instant) -> Option<Duration> {
        self.open.values().map(|open| open.poll_after(now)).min()
    }

    /// Lets go of commands whose answers are no longer taken.
    pub fn forget(&mut self, now: Instant) {
        self.open
            .retain(|_, open| now.saturating_duration_since(open.asked) < LATE_MAX);
    }
}

impl Open {
    fn poll_after(&self, now: Instant) -> Duration {
        let everybody = self.destination.is_empty();
        let may_be_complete = everybody
            && self
                .reached
                .is_some_and(|reached| self.answered.len() >= reached);
        let since = |then: Instant| now.saturating_duration_since(then);
        if may_be_complete {
            POLL_SELDOM
        } else if since(self.stirred) < AT_ONCE {
            POLL_AT_ONCE
        } else if since(self.asked) < self.wait {
            POLL_SOON
        } else if since(self.asked) < self.wait + Duration::from_mins(1) {
            POLL_LATE
        } else {
            POLL_SELDOM
        }
    }
}

#[cfg(test)]
mod tests;
