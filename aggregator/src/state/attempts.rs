//! Attempts of a task: which one an event belongs to.
//!
//! The order on the wire is no help: a worker receives the next attempt of a retried task before it sends `task-retried` of
//! the one that ends, at times even before its `task-started`. Worker, life, time and the retry count decide.

use super::ids::{Micros, Symbol};
use super::limits::{ATTEMPTS_KEPT, SECOND_END_WITHIN};
use super::task::{Attempt, Task, TaskState};

/// Who says so, and when.
#[derive(Debug, Clone)]
pub(super) struct Moment {
    /// The worker.
    pub(super) worker: Symbol,
    /// Its life; 0 when not known.
    pub(super) incarnation: u64,
    /// Its time, seconds.
    pub(super) time: f64,
}

/// How an attempt ended.
#[derive(Debug)]
pub(super) struct End {
    pub(super) outcome: TaskState,
    /// The end of something that never was in a worker's hands: revoked in the queue, or a task the worker does not know.
    pub(super) before_start: bool,
    pub(super) exception: Option<Box<str>>,
}

/// What an event was for the attempts of its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placing {
    /// Known already.
    Repeat,
    /// A further end of what has ended; counted once.
    SecondEnd,
    /// News. `open`: of an attempt whose end was not seen; `started`: and whose start was.
    News { open: bool, started: bool },
}

impl Moment {
    fn is_of(&self, attempt: &Attempt) -> bool {
        attempt.incarnation == self.incarnation && attempt.worker.as_ref() == Some(&self.worker)
    }

    /// Puts in an attempt that begins now, and gives its place. In full ones the oldest makes room.
    fn begins(&self, attempts: &mut Vec<Attempt>, count: &mut u32, retries: Option<i64>) -> usize {
        // In order of arrival, as clocks of different workers do not compare; within one life its own clock decides, and
        // between lives the clocks do where the retries agree with them.
        let later = |known: &Attempt| {
            let ordered =
                self.is_of(known) || known.retries.zip(retries).is_some_and(|(a, b)| a > b);
            ordered && beginning(known).is_some_and(|time| time > self.time)
        };
        let place = attempts
            .iter()
            .rposition(|known| !later(known))
            .map_or(0, |last| last + 1);
        let mut place = place;
        if attempts.len() >= ATTEMPTS_KEPT {
            attempts.remove(0);
            place = place.saturating_sub(1);
        }
        attempts.reserve_exact(1);
        attempts.insert(place, self.attempt());
        *count = count.saturating_add(1);
        number(&mut attempts[place..], *count);
        place
    }

    fn attempt(&self) -> Attempt {
        Attempt {
            number: 0,
            worker: Some(self.worker.clone()),
            incarnation: self.incarnation,
            received: None,
            started: None,
            ended: None,
            outcome: None,
            exception: None,
            retries: None,
        }
    }
}

fn number(attempts: &mut [Attempt], last: u32) {
    for (attempt, number) in attempts.iter_mut().rev().zip((1..=last).rev()) {
        attempt.number = number;
    }
}

fn beginning(attempt: &Attempt) -> Option<f64> {
    attempt.received.or(attempt.started).or(attempt.ended)
}

fn is_at(slot: Option<f64>, time: f64) -> bool {
    slot.is_some_and(|known| known.to_bits() == time.to_bits())
}

fn not_after(slot: Option<f64>, time: f64) -> bool {
    slot.is_none_or(|known| known <= time)
}

/// Of the attempts that an event could belong to, the one with the fewest retries (it has to end before the next may
/// start), and of those the latest (a redelivery takes the place of what it delivers again).
fn due<'a>(candidates: impl Iterator<Item = (usize, &'a Attempt)>) -> Option<usize> {
    let key = |(place, attempt): &(usize, &Attempt)| {
        (
            attempt.retries.unwrap_or_default(),
            std::cmp::Reverse(*place),
        )
    };
    candidates.min_by_key(key).map(|(place, _)| place)
}

impl Task {
    fn news(&self, place: usize) -> Placing {
        let attempt = self.attempts.get(place);
        Placing::News {
            open: attempt.is_some_and(Attempt::is_open),
            started: attempt.is_some_and(|attempt| attempt.started.is_some()),
        }
    }

    /// `task-received`.
    pub(super) fn attempt_received(&mut self, at: &Moment, retries: Option<i64>) -> Placing {
        let Self {
            attempts,
            attempt_count,
            ..
        } = self;
        let mine = || {
            attempts
                .iter()
                .enumerate()
                .filter(|(_, attempt)| at.is_of(attempt))
        };
        if mine().any(|(_, attempt)| is_at(attempt.received, at.time)) {
            return Placing::Repeat;
        }
        let fits = |attempt: &Attempt| {
            attempt.received.is_none() && beginning(attempt).is_none_or(|begun| at.time <= begun)
        };
        let place = mine()
            .find(|(_, attempt)| fits(attempt))
            .map(|(place, _)| place);
        let place = place.unwrap_or_else(|| at.begins(attempts, attempt_count, retries));
        attempts[place].received = Some(at.time);
        attempts[place].retries = retries;
        self.news(place)
    }

    /// `task-started`.
    pub(super) fn attempt_started(&mut self, at: &Moment) -> Placing {
        let Self {
            attempts,
            attempt_count,
            ..
        } = self;
        let mine = || {
            attempts
                .iter()
                .enumerate()
                .filter(|(_, attempt)| at.is_of(attempt))
        };
        if mine().any(|(_, attempt)| is_at(attempt.started, at.time)) {
            return Placing::Repeat;
        }
        let fits = |attempt: &Attempt| {
            attempt.started.is_none()
                && not_after(attempt.received, at.time)
                && attempt.ended.is_none_or(|ended| at.time <= ended)
        };
        let place = due(mine().filter(|(_, attempt)| fits(attempt)));
        let place = place.unwrap_or_else(|| at.begins(attempts, attempt_count, None));
        attempts[place].started = Some(at.time);
        self.news(place)
    }

    /// An end of any kind.
    pub(super) fn attempt_ended(&mut self, at: &Moment, end: End) -> Placing {
        let repeats = |attempt: &Attempt| {
            at.is_of(attempt)
                && is_at(attempt.ended, at.time)
                && attempt.outcome.as_ref() == Some(&end.outcome)
        };
        // Of a task that was revoked in the queue no attempt keeps the end.
        let in_queue = end.before_start
            && end.outcome == TaskState::Revoked
            && self.worker.as_ref() == Some(&at.worker)
            && is_at(self.revoked, at.time);
        if in_queue || self.attempts.iter().any(repeats) {
            return Placing::Repeat;
        }
        let over = self.attempt_over(at, &end);
        // What needs no start ends what waits; everything else what runs. Before the other of the two is taken for it, it is
        // a second end.
        let likely = self.attempt_open(at, !end.before_start);
        let unlikely = || self.attempt_open(at, end.before_start);
        let open = likely.or_else(|| over.is_none().then(unlikely).flatten());
        if let Some(place) = open {
            end.put(&mut self.attempts[place], at.time);
            return self.news(place);
        }
        if let Some(place) = over {
            let attempt = &mut self.attempts[place];
            let known = attempt.outcome.as_ref().map(TaskState::precedence);
            if known.is_some_and(|known| end.outcome.precedence() < known) {
                let ended = attempt.ended.unwrap_or(at.time);
                end.put(attempt, ended);
            }
            return Placing::SecondEnd;
        }
        if end.before_start && self.is_finished() {
            return Placing::SecondEnd;
        }
        if end.before_start {
            return Placing::News {
                open: false,
                started: false,
            };
        }
        let place = at.begins(&mut self.attempts, &mut self.attempt_count, None);
        end.put(&mut self.attempts[place], at.time);
        self.news(place)
    }

    /// The open attempt of this life, started or not, that would end now.
    fn attempt_open(&self, at: &Moment, started: bool) -> Option<usize> {
        let fits = |attempt: &Attempt| {
            at.is_of(attempt)
                && attempt.is_open()
                && attempt.started.is_some() == started
                && not_after(attempt.received, at.time)
                && not_after(attempt.started, at.time)
        };
        let attempts = self.attempts.iter().enumerate();
        due(attempts.filter(|(_, attempt)| fits(attempt)))
    }

    /// The attempt of this life that ended a moment ago, if it is not one that runs again.
    fn attempt_over(&self, at: &Moment, end: &End) -> Option<usize> {
        let within = SECOND_END_WITHIN.as_secs_f64();
        let is_over = |attempt: &Attempt| {
            let again = match attempt.outcome {
                None | Some(TaskState::Retry) => true,
                Some(TaskState::Rejected) => self.requeued == Some(true),
                Some(_) => false,
            };
            let recent = attempt
                .ended
                .is_some_and(|ended| (at.time - ended).abs() <= within);
            at.is_of(attempt) && !again && recent
        };
        let retries = end.outcome == TaskState::Retry;
        (!retries)
            .then(|| self.attempts.iter().rposition(is_over))
            .flatten()
    }

    /// Whether an event is older than the newest final event: by clock within one life of one process, by time otherwise.
    pub(super) fn is_final_before(
        &self,
        at: &Moment,
        pid: Option<u64>,
        clock: Option<u64>,
    ) -> bool {
        let Some(last) = &self.final_event else {
            return false;
        };
        let same_life =
            last.worker == at.worker && last.incarnation == at.incarnation && last.pid == pid;
        match (last.clock, clock) {
            (Some(last), Some(clock)) if same_life && pid.is_some() => clock < last,
            _ => at.time < last.time,
        }
    }

    /// Whether a `task-retried` that comes now is of an attempt before one that has ended the task. What ran with so many
    /// retries has retried so often; a busy worker tells of that after another has run the next attempt, and gives it the time
    /// at which it tells.
    pub(super) fn is_retried_before_end(&self) -> bool {
        let others = self.attempts.iter();
        let others = others.filter(|attempt| attempt.outcome != Some(TaskState::Retry));
        // Attempts that made room for later ones count as retried.
        let others = i64::try_from(others.count()).unwrap_or(i64::MAX);
        let told = i64::from(self.attempt_count) - others;
        self.final_event.is_some() && self.retries.is_some_and(|retries| told < retries)
    }

    /// It is over.
    pub(super) fn finish(&mut self, seen: Micros) {
        self.finish_seen.get_or_insert(seen);
    }
}

impl End {
    fn put(self, attempt: &mut Attempt, time: f64) {
        attempt.ended = Some(time);
        attempt.outcome = Some(self.outcome);
        attempt.exception = self.exception;
    }
}
