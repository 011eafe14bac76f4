//! Outcomes from a result backend: what became of tasks whose events were missed.

use super::app::App;
use super::changes::Changes;
use super::ids::{Micros, TaskId};
use super::input::{Outcome, Outcomes};
use super::limits::WANTED_MAX;
use super::task::{Task, TaskState};
use super::units::seconds_of;

/// Tasks whose outcome is to be looked up, and whether that can be done.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    ids: std::collections::VecDeque<TaskId>,
    /// Tasks that were named and not answered yet, with the time.
    asked: Option<Micros>,
    /// The inspector said that it has no result backend.
    impossible: bool,
}

impl Wanted {
    /// Wants the outcome of a task. When there are too many the oldest is given up: it stays unconfirmed.
    pub(super) fn want(&mut self, id: &TaskId) {
        if self.impossible {
            return;
        }
        if self.ids.len() == WANTED_MAX {
            self.ids.pop_front();
        }
        self.ids.push_back(id.clone());
    }

    /// Another inspector may have a result backend.
    pub(super) fn may_be_possible(&mut self) {
        self.impossible = false;
        self.asked = None;
    }
}

impl App {
    /// Tasks whose outcome is to be looked up now, at most `count`; none while an answer is awaited, for `patience` at most.
    pub fn take_wanted(&mut self, now: Micros, count: usize, patience: Micros) -> Vec<TaskId> {
        let awaited = self
            .wanted
            .asked
            .is_some_and(|asked| now.saturating_sub(asked) < patience);
        if awaited || self.wanted.ids.is_empty() || !self.subscription.is_live() {
            return Vec::new();
        }
        let mut taken = Vec::new();
        while taken.len() < count
            && let Some(id) = self.wanted.ids.pop_front()
        {
            // One that has been told of since needs no asking; one that left memory ended unknown.
            let known = self.tasks.find(&id).map(|slot| self.tasks.task(slot));
            if known.is_none_or(Task::is_in_doubt) {
                taken.push(id);
            }
        }
        self.wanted.asked = (!taken.is_empty()).then_some(now);
        taken
    }

    pub(super) fn fold_results(&mut self, outcomes: Outcomes, changes: &mut Changes) {
        self.wanted.asked = None;
        if !outcomes.configured {
            self.wanted.impossible = true;
            self.wanted.ids.clear();
            return;
        }
        for outcome in outcomes.outcomes {
            self.fold_outcome(outcome, changes);
        }
    }

    fn fold_outcome(&mut self, outcome: Outcome, changes: &mut Changes) {
        let Some(slot) = self.tasks.find(&outcome.id) else {
            return;
        };
        let now = self.now;
        let task = self.tasks.task_mut(slot);
        if task.is_in_doubt() && task.take_outcome(outcome, now) {
            changes.tasks.push(task.id.clone());
            self.settle(slot, true, changes);
        }
    }
}

impl Task {
    /// Whether events of it may have been missed, and nothing has told of it since.
    fn is_in_doubt(&self) -> bool {
        self.doubted.is_some() || (self.outcome_unknown && self.ended_in_gap)
    }

    /// Takes an outcome in, if it is one that ends a task.
    fn take_outcome(&mut self, outcome: Outcome, seen: Micros) -> bool {
        let done = outcome.done.map(seconds_of);
        let (state, time) = match &*outcome.status {
            "SUCCESS" => (TaskState::Success, &mut self.succeeded),
            "FAILURE" => (TaskState::Failure, &mut self.failed),
            "REVOKED" => (TaskState::Revoked, &mut self.revoked),
            "REJECTED" => (TaskState::Rejected, &mut self.rejected),
            _ => return false,
        };
        *time = done.or(*time);
        self.state = state.clone();
        self.timestamp = done.or(self.timestamp);
        let payload = &mut self.payload;
        for (place, text) in [
            (&mut payload.result, outcome.result),
            (&mut payload.exception, outcome.exception),
            (&mut payload.traceback, outcome.traceback),
        ] {
            if text.is_some() {
                *place = text;
            }
        }
        payload.truncated.extend(outcome.truncated);
        let open = self.attempts.last_mut().filter(|last| last.is_open());
        if let Some(attempt) = open {
            attempt.ended = done;
            attempt.outcome = done.map(|_| state);
        }
        self.outcome_unknown = false;
        self.ended_in_gap = false;
        self.doubted = None;
        self.lost = false;
        self.from_backend = true;
        self.finish(seen);
        true
    }
}
