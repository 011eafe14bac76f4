//! What a worker did over time, and how deep a queue was: bounded rings of marks, from which rates and slot times are read.

use std::collections::VecDeque;
use std::time::Duration;

use super::ids::Micros;
use super::units::micros;

/// So long every mark is kept: the longer of the spans over which arrivals are counted, and a few heartbeats.
const FINE: Duration = Duration::from_secs(70);
/// So long marks are kept at all.
pub(super) const KEPT: Duration = Duration::from_mins(15);
/// Older marks are kept this far apart.
const COARSE: Duration = Duration::from_secs(15);
/// A second apart; more frequent ones replace each other.
const FINE_MAX: usize = 70;
/// 15 minutes of those that are 15 s apart, and one before.
const COARSE_MAX: usize = 61;
/// A worker that is silent is not known to go on with what it did: five heartbeats.
const STEP_MAX: Duration = Duration::from_secs(10);

/// What a worker had done by a time, since it was first seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Done {
    /// Tasks started.
    pub(super) starts: u64,
    /// Microseconds of busy slots.
    pub(super) busy: u64,
    /// Tasks it held then, not running.
    pub(super) held: u64,
}

/// What a worker did over time. 2.6 KB where it is full; with 1,000 workers that is what 5,000 tasks take.
#[derive(Debug, Default)]
pub(super) struct Usage {
    marks: Ring<Done>,
    incarnation: u64,
    processed: u64,
    active: u64,
}

impl Usage {
    /// A heartbeat came: it ran `active`, had started `processed` in this life, and holds `held`.
    pub(super) fn beat(
        &mut self,
        at: Micros,
        incarnation: u64,
        active: u64,
        processed: u64,
        held: u64,
    ) {
        let Some((before, done)) = self.marks.last() else {
            self.marks.push(
                at,
                Done {
                    held,
                    ..Done::default()
                },
            );
            (self.incarnation, self.processed, self.active) = (incarnation, processed, active);
            return;
        };
        let another = incarnation != self.incarnation || processed < self.processed;
        let starts = if another {
            processed
        } else {
            processed - self.processed
        };
        let step = at.saturating_sub(before).clamp(0, micros(STEP_MAX));
        let busy = u64::try_from(step)
            .unwrap_or_default()
            .saturating_mul(self.active + active)
            / 2;
        let done = Done {
            starts: done.starts.saturating_add(starts),
            busy: done.busy.saturating_add(busy),
            held,
        };
        self.marks.push(at.max(before), done);
        (self.incarnation, self.processed, self.active) = (incarnation, processed, active);
    }

    /// What it had done by then; nothing before it was first seen.
    pub(super) fn at(&self, time: Micros) -> Done {
        self.marks.at(time).unwrap_or_default()
    }

    /// What it has done by now.
    pub(super) fn now(&self) -> Done {
        self.marks.last().map(|(_, done)| done).unwrap_or_default()
    }

    /// When it was first seen, as far as that is kept.
    pub(super) fn first(&self) -> Option<Micros> {
        self.marks.first()
    }
}

/// Values over time: all of the last minute, and some of 15.
#[derive(Debug)]
pub(super) struct Ring<T> {
    fine: VecDeque<(Micros, T)>,
    coarse: VecDeque<(Micros, T)>,
}

impl<T> Default for Ring<T> {
    fn default() -> Self {
        Self {
            fine: VecDeque::new(),
            coarse: VecDeque::new(),
        }
    }
}

impl<T: Copy + PartialEq> Ring<T> {
    /// Takes a value that is true from `at` on, which is not before the last one.
    pub(super) fn push(&mut self, at: Micros, value: T) {
        let second = |time: Micros| time.div_euclid(1_000_000);
        // The first one stays: what was before it is not known.
        let several = self.fine.len() > 1;
        match self.fine.back_mut() {
            Some((last, known)) if several && second(*last) == second(at) => {
                (*last, *known) = (at, value);
            }
            _ => self.fine.push_back((at, value)),
        }
        let old = at.saturating_sub(micros(FINE));
        while self.fine.len() > FINE_MAX || self.fine.get(1).is_some_and(|(next, _)| *next <= old) {
            if let Some(mark) = self.fine.pop_front() {
                self.keep(mark);
            }
        }
    }

    fn keep(&mut self, mark: (Micros, T)) {
        let far = self
            .coarse
            .back()
            .is_none_or(|(last, _)| mark.0.saturating_sub(*last) >= micros(COARSE));
        if far {
            self.coarse.push_back(mark);
        }
        let old = mark.0.saturating_sub(micros(KEPT));
        while self.coarse.len() > COARSE_MAX
            || self.coarse.get(1).is_some_and(|(next, _)| *next <= old)
        {
            self.coarse.pop_front();
        }
    }

    /// The last value, and since when.
    pub(super) fn last(&self) -> Option<(Micros, T)> {
        self.fine.back().copied()
    }

    /// The earliest time that is known.
    pub(super) fn first(&self) -> Option<Micros> {
        let first = self.coarse.front().or_else(|| self.fine.front());
        first.map(|(at, _)| *at)
    }

    /// What was true then, as far as that is known.
    pub(super) fn at(&self, time: Micros) -> Option<T> {
        let of = |marks: &VecDeque<(Micros, T)>| {
            let after = marks.partition_point(|(at, _)| *at <= time);
            after.checked_sub(1).map(|place| marks[place].1)
        };
        of(&self.fine).or_else(|| of(&self.coarse))
    }

    /// All values since then, the one that was true then among them.
    pub(super) fn since(&self, time: Micros) -> impl Iterator<Item = T> {
        let within = self.fine.iter().filter(move |(at, _)| *at > time);
        within.map(|(_, value)| *value).chain(self.at(time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Micros = 1_000_000;

    #[test]
    fn what_was_done_is_told_for_a_quarter_of_an_hour_and_takes_no_more_room_then() {
        let mut usage = Usage::default();
        for beat in 0..2_000 {
            // Two of three slots are busy, and three tasks start each two seconds.
            let at = Micros::try_from(beat * 2).unwrap() * SECOND;
            usage.beat(at, 1, 2, beat * 3, 7);
        }
        let now = 1_999 * 2 * SECOND;
        for back in [6, 60, 300, 880] {
            let then = usage.at(now - back * SECOND);
            let seconds = u64::try_from(back).unwrap();
            let starts = usage.now().starts - then.starts;
            let busy = usage.now().busy - then.busy;
            // As far apart as marks are.
            let slack = if back <= 60 { 3 } else { 24 };
            assert!(
                starts.abs_diff(seconds * 3 / 2) <= slack,
                "{starts} in {back} s"
            );
            assert!(
                busy.abs_diff(seconds * 2 * 1_000_000) <= slack * 2_000_000,
                "{busy} in {back} s"
            );
        }
        assert!(usage.marks.fine.len() <= FINE_MAX && usage.marks.coarse.len() <= COARSE_MAX);
        assert_eq!(usage.now().held, 7);
    }

    #[test]
    fn a_new_life_counts_from_zero_and_silence_is_no_work() {
        let mut usage = Usage::default();
        usage.beat(0, 1, 4, 100, 0);
        usage.beat(2 * SECOND, 1, 4, 110, 0);
        usage.beat(600 * SECOND, 2, 4, 3, 0);
        let done = usage.now();
        assert_eq!(done.starts, 13);
        assert_eq!(done.busy, (2 + 10) * 4 * 1_000_000);
    }

    #[test]
    fn a_ring_knows_what_was_true_at_any_time_of_the_last_minute() {
        let mut ring = Ring::default();
        ring.push(10 * SECOND, 5);
        ring.push(20 * SECOND, 0);
        ring.push(30 * SECOND, 8);
        assert_eq!(ring.at(9 * SECOND), None);
        assert_eq!(ring.at(10 * SECOND), Some(5));
        assert_eq!(ring.at(29 * SECOND), Some(0));
        assert_eq!(ring.at(99 * SECOND), Some(8));
        assert_eq!(ring.since(15 * SECOND).min(), Some(0));
        assert_eq!(ring.since(25 * SECOND).min(), Some(0));
        assert_eq!(ring.since(30 * SECOND).min(), Some(8));
    }
}
