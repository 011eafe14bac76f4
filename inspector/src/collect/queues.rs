//! Which queues to read the depth of: those the broker knows, those workers consume from, those tasks were sent to.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ahash::{HashMap, HashMapExt};

use super::Node;

/// Queues read at most. Their names are untrusted: anybody who may publish events can invent some.
pub const QUEUES_MAX: usize = 10_000;

/// Queues one worker consumes from at most, as far as they are kept.
const QUEUES_OF_WORKER_MAX: usize = 1_000;

/// A queue known only because a task was sent to it is dropped after this long without another one.
const SENT_KEPT: Duration = Duration::from_hours(1);

/// The queues, by how they are known.
#[derive(Debug, Default)]
pub struct Queues {
    discovered: BTreeSet<String>,
    consumed: HashMap<Node, Vec<String>>,
    sent: HashMap<String, Instant>,
    all: Vec<String>,
    stale: bool,
}

impl Queues {
    /// No queues yet.
    pub fn new() -> Self {
        Self {
            discovered: BTreeSet::new(),
            consumed: HashMap::new(),
            sent: HashMap::new(),
            all: Vec::new(),
            stale: false,
        }
    }

    /// The broker was asked for its queues.
    pub fn on_discovered(&mut self, now: Instant, names: Vec<String>) {
        self.discovered = names.into_iter().take(QUEUES_MAX).collect();
        self.sent
            .retain(|_, seen| now.saturating_duration_since(*seen) <= SENT_KEPT);
        self.stale = true;
    }

    /// A worker named the queues it consumes from.
    pub fn on_consumed(&mut self, node: &str, mut names: Vec<String>) {
        names.truncate(QUEUES_OF_WORKER_MAX);
        if self.consumed.get(node) != Some(&names) {
            self.consumed.insert(Node::from(node), names);
            self.stale = true;
        }
    }

    /// A worker is forgotten.
    pub fn on_forgotten(&mut self, node: &str) {
        self.stale |= self.consumed.remove(node).is_some();
    }

    /// A task was sent to a queue.
    pub fn on_sent(&mut self, now: Instant, name: &str) {
        if let Some(seen) = self.sent.get_mut(name) {
            *seen = now;
        } else if self.sent.len() < QUEUES_MAX && !name.is_empty() {
            self.sent.insert(name.to_owned(), now);
            self.stale = true;
        }
    }

    /// All of them in order of name, at most [`QUEUES_MAX`].
    pub fn all(&mut self) -> &[String] {
        if std::mem::take(&mut self.stale) {
            // What broker and workers say comes first: names in events may be anybody's.
            let consumed = self.consumed.values().flatten();
            let mut known: BTreeSet<&String> = self
                .discovered
                .iter()
                .chain(consumed)
                .take(QUEUES_MAX)
                .collect();
            for name in self.sent.keys() {
                if known.len() >= QUEUES_MAX {
                    break;
                }
                known.insert(name);
            }
            self.all = known.into_iter().cloned().collect();
        }
        &self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn queues_are_the_union_of_what_is_known() {
        let now = Instant::now();
        let mut queues = Queues::new();
        assert_eq!(queues.all(), strings(&[]));
        queues.on_discovered(now, strings(&["celery", "mail"]));
        queues.on_consumed("celery@w1", strings(&["celery", "fast"]));
        queues.on_sent(now, "slow");
        queues.on_sent(now, "");
        assert_eq!(queues.all(), strings(&["celery", "fast", "mail", "slow"]));
        queues.on_consumed("celery@w1", strings(&[]));
        assert_eq!(queues.all(), strings(&["celery", "mail", "slow"]));
    }

    #[test]
    fn queues_that_nothing_tells_of_any_more_are_dropped() {
        let now = Instant::now();
        let mut queues = Queues::new();
        queues.on_sent(now, "slow");
        queues.on_consumed("celery@w1", strings(&["fast"]));
        queues.on_discovered(now + SENT_KEPT, strings(&["celery"]));
        assert_eq!(queues.all(), strings(&["celery", "fast", "slow"]));
        queues.on_forgotten("celery@w1");
        queues.on_discovered(
            now + SENT_KEPT + Duration::from_secs(1),
            strings(&["celery"]),
        );
        assert_eq!(queues.all(), strings(&["celery"]));
    }

    #[test]
    fn invented_queues_are_bounded() {
        let now = Instant::now();
        let mut queues = Queues::new();
        for number in 0..QUEUES_MAX + 5 {
            queues.on_sent(now, &format!("q{number}"));
        }
        assert_eq!(queues.all().len(), QUEUES_MAX);
    }
}
