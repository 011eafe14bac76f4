//! When an object's live status is written: only when it would change, at most once in half a minute, and at once when
//! something begins, ends or breaks.

use jiff::{SignedDuration, Timestamp};

use super::{Figures, Shown};
use crate::report::Fact;

/// How often numbers of one object may be written.
const PERIOD: SignedDuration = SignedDuration::from_secs(30);

/// For how long something must have been nothing before that is shown: workers are idle between two tasks, and that is no
/// news.
const ZERO_AFTER: SignedDuration = SignedDuration::from_secs(10);

/// For how long what was written counts before what is read: the watch may be a little behind our own write.
const READ_AFTER: SignedDuration = SignedDuration::from_secs(5);

/// Numbers of which zero is special.
const SPECIAL: usize = 3;

/// What an object's live status says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// The numbers.
    pub shown: Shown,
    /// The conditions.
    pub facts: Vec<Fact>,
}

/// What is remembered of an object beside its status.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// When it was last written, and what.
    written: Option<(Timestamp, Said)>,
    /// Since when busy slots, backlog and unacknowledged messages are none, each while something else is shown.
    none_since: [Option<Timestamp>; SPECIAL],
    /// Since when something is to be written.
    due_since: Option<Timestamp>,
    /// When a write last failed.
    failed: Option<Timestamp>,
}

/// A write that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// What the status is to say.
    pub said: Said,
    /// Whether somebody waits for it: a condition has changed, or something is no longer none, or none.
    pub urgent: bool,
    /// Since when it is due.
    pub since: Timestamp,
}

impl Memory {
    /// Compares what is said with what is found. `figures` are `None` while they are not known: the numbers then stay.
    pub fn look(
        &mut self,
        now: Timestamp,
        read: Said,
        figures: Option<&Figures>,
        facts: Vec<Fact>,
    ) -> Option<Due> {
        let before = match &self.written {
            Some((at, said)) if now.duration_since(*at) < READ_AFTER => said.clone(),
            _ => read,
        };
        let shown = match figures {
            Some(figures) => self.steadied(now, &before.shown, figures),
            None => before.shown.clone(),
        };
        let said = Said { shown, facts };
        if said == before {
            self.due_since = None;
            return None;
        }
        let urgent = is_urgent(&before, &said);
        let is_long_ago = |at: Timestamp| now.duration_since(at) >= PERIOD;
        let rested = self.written.as_ref().is_none_or(|(at, _)| is_long_ago(*at));
        let refused = self.failed.is_some_and(|at| !is_long_ago(at));
        if refused || (!urgent && !rested) {
            return None;
        }
        let since = *self.due_since.get_or_insert(now);
        Some(Due {
            said,
            urgent,
            since,
        })
    }

    /// Takes note of a write.
    pub fn wrote(&mut self, now: Timestamp, said: Said) {
        self.written = Some((now, said));
        self.due_since = None;
        self.failed = None;
    }

    /// Takes note of a write that was not taken: the next is not tried at once.
    pub fn not_written(&mut self, now: Timestamp) {
        self.failed = Some(now);
    }

    /// What is to be shown; what has only just become none is shown as it was.
    fn steadied(&mut self, now: Timestamp, before: &Shown, figures: &Figures) -> Shown {
        let mut next = before.then(figures, now);
        let busy = |shown: &Shown| shown.busy.map(|(busy, _)| busy);
        let values = [
            (busy(before), busy(&next)),
            (before.backlog, next.backlog),
            (before.unacked, next.unacked),
        ];
        let mut hold = [false; SPECIAL];
        for (place, (was, is)) in values.into_iter().enumerate() {
            let ends = is == Some(0) && was.is_some_and(|was| was > 0);
            let since = &mut self.none_since[place];
            *since = ends.then(|| since.unwrap_or(now));
            hold[place] = since.is_some_and(|since| now.duration_since(since) < ZERO_AFTER);
        }
        let [busy, backlog, unacked] = hold;
        // Slots that have gone are told at once: what is busy of them cannot stay.
        let same_slots = before.busy.map(|(_, slots)| slots) == next.busy.map(|(_, slots)| slots);
        if busy && same_slots {
            next.busy = before.busy;
        }
        if backlog {
            (next.backlog, next.oldest) = (before.backlog, before.oldest);
        }
        if unacked {
            next.unacked = before.unacked;
        }
        next
    }
}

fn is_urgent(before: &Said, after: &Said) -> bool {
    let words = |said: &Said| -> Vec<_> {
        let words = said.facts.iter();
        let mut words: Vec<_> = words
            .map(|fact| (fact.type_, fact.truth, fact.reason.clone()))
            .collect();
        words.sort_unstable_by_key(|(type_, ..)| *type_);
        words
    };
    let special = |shown: &Shown| {
        let busy = shown.busy.map(|(busy, _)| busy);
        [busy, shown.backlog, shown.failed, shown.events_off].map(|count| count.map(|n| n > 0))
    };
    words(before) != words(after) || special(&before.shown) != special(&after.shown)
}

/// The first `most` of what is due: what somebody waits for, then what waits longest.
pub fn pick<T>(mut due: Vec<(T, Due)>, most: usize) -> Vec<(T, Due)> {
    due.sort_by_key(|(_, due)| (!due.urgent, due.since));
    due.truncate(most);
    due
}

#[cfg(test)]
mod tests;
