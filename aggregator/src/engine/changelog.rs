//! What changed, in order: a bounded ring of keys from which any number of watchers catch up at their own pace.
//!
//! It holds keys, not values: a watcher reads the value as it is now, so several changes of one thing cost one message, a
//! slow watcher costs nothing, and one that is too slow is told so.

use std::collections::VecDeque;

use hashbrown::HashSet;

use crate::state::{Changes, Gap, Symbol, TaskId};

/// Entries kept. At 2,000 tasks/s with four changes each, coalesced per commit, about ten seconds; 64 bytes an entry make
/// 8 MiB at the most.
const ENTRIES_MAX: usize = 131_072;

/// Something that changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    /// The app itself.
    App,
    /// A worker.
    Worker(Symbol),
    /// A queue.
    Queue(Symbol),
    /// A task name.
    TaskName(Symbol),
    /// A task.
    Task(TaskId),
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// A thing changed, came or left.
    Changed(Symbol, Key),
    /// Events were or may have been missed.
    Gap(Symbol, Gap),
}

/// The log. Revisions count entries from 1 and never go back within one epoch.
#[derive(Debug)]
pub struct ChangeLog {
    epoch: u64,
    newest: u64,
    entries: VecDeque<Entry>,
}

/// A place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Which life of the aggregator.
    pub epoch: u64,
    /// The last revision seen.
    pub revision: u64,
}

impl ChangeLog {
    /// An empty log.
    pub fn new(epoch: u64) -> Self {
        Self {
            epoch,
            newest: 0,
            entries: VecDeque::new(),
        }
    }

    /// The newest revision.
    pub fn revision(&self) -> u64 {
        self.newest
    }

    /// The newest place.
    pub fn position(&self) -> Position {
        Position {
            epoch: self.epoch,
            revision: self.newest,
        }
    }

    /// Adds what a commit changed.
    pub fn record(&mut self, app: &Symbol, changes: &Changes) {
        let hasher = ahash::RandomState::default();
        let mut seen: HashSet<&TaskId, _> =
            HashSet::with_capacity_and_hasher(changes.tasks.len(), hasher);
        // Tasks that only left memory (evicted, spilled) are still there for a reader: in history.
        for id in &changes.tasks {
            if seen.insert(id) {
                self.push(Entry::Changed(app.clone(), Key::Task(id.clone())));
            }
        }
        let workers = distinct(changes.workers.iter().chain(&changes.workers_removed));
        let queues = distinct(changes.queues.iter().chain(&changes.queues_removed));
        let names = distinct(changes.task_names.iter());
        let keys = workers
            .map(Key::Worker)
            .chain(queues.map(Key::Queue))
            .chain(names.map(Key::TaskName))
            .chain(changes.app.then_some(Key::App));
        for key in keys {
            self.push(Entry::Changed(app.clone(), key));
        }
        for gap in &changes.gaps {
            self.push(Entry::Gap(app.clone(), gap.clone()));
        }
    }

    fn push(&mut self, entry: Entry) {
        if self.entries.len() == ENTRIES_MAX {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
        self.newest += 1;
    }

    /// What came after `position`, oldest first, at most `limit` entries, and the place after them. `None` when that is no
    /// longer known: another epoch, or too long ago.
    pub fn since(
        &self,
        position: Position,
        limit: usize,
    ) -> Option<(impl Iterator<Item = &Entry>, Position)> {
        let oldest = self.newest - self.entries.len() as u64;
        if position.epoch != self.epoch
            || position.revision < oldest
            || position.revision > self.newest
        {
            return None;
        }
        let skip = usize::try_from(position.revision - oldest).unwrap_or(usize::MAX);
        let take = limit.min(self.entries.len() - skip);
        let next = Position {
            epoch: self.epoch,
            revision: position.revision + take as u64,
        };
        Some((self.entries.range(skip..skip + take), next))
    }
}

fn distinct<'a>(symbols: impl Iterator<Item = &'a Symbol>) -> impl Iterator<Item = Symbol> {
    let mut seen: HashSet<&Symbol, ahash::RandomState> = HashSet::default();
    let mut names = Vec::new();
    for symbol in symbols {
        if seen.insert(symbol) {
            names.push(symbol.clone());
        }
    }
    names.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(log: &mut ChangeLog, task: &str) {
        let changes = Changes {
            tasks: vec![TaskId::from(task); 3],
            ..Changes::default()
        };
        log.record(&Symbol::from("shop"), &changes);
    }

    fn read(log: &ChangeLog, position: Position, limit: usize) -> (Vec<String>, Position) {
        let (entries, next) = log.since(position, limit).unwrap();
        let keys = entries.map(|entry| match entry {
            Entry::Changed(_, Key::Task(id)) => id.to_string(),
            other => format!("{other:?}"),
        });
        (keys.collect(), next)
    }

    #[test]
    fn a_reader_catches_up_in_slices_and_repeats_of_one_commit_are_one_entry() {
        let mut log = ChangeLog::new(7);
        let start = log.position();
        for task in ["a", "b", "c"] {
            change(&mut log, task);
        }
        let (first, next) = read(&log, start, 2);
        assert_eq!(first, ["a", "b"]);
        let (second, next) = read(&log, next, 2);
        assert_eq!(second, ["c"]);
        assert_eq!(next, log.position());
        assert_eq!(read(&log, next, 2).0, Vec::<String>::new());
    }

    #[test]
    fn a_reader_that_is_too_slow_or_of_another_life_is_told_so() {
        let mut log = ChangeLog::new(7);
        change(&mut log, "a");
        let early = log.position();
        for number in 0..=ENTRIES_MAX {
            change(&mut log, &number.to_string());
        }
        assert!(log.since(early, 1).is_none());
        assert!(
            log.since(
                Position {
                    epoch: 6,
                    revision: log.revision()
                },
                1
            )
            .is_none()
        );
        assert!(
            log.since(
                Position {
                    epoch: 7,
                    revision: log.revision() + 1
                },
                1
            )
            .is_none()
        );
    }
}
