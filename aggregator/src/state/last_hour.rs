//! How often something happened in the last hour, by the minute.

use minicbor::{Decode, Encode};

use super::ids::Micros;

/// A minute.
const MINUTE: Micros = 60_000_000;
/// Minutes in an hour. One more is begun and counts whole, so what is counted is of 59 to 60 minutes.
const MINUTES: i64 = 60;

/// Counts of the last hour's minutes; empty for what does not happen. Kept with the statistics it belongs to, so it goes on
/// after a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LastHour {
    /// Minutes since the epoch in which it happened, in order, and how often; at most [`MINUTES`].
    #[n(0)]
    minutes: Vec<(i64, u64)>,
}

impl LastHour {
    /// It happens at `now`. A clock that was set back counts into the latest minute.
    pub(super) fn count(&mut self, now: Micros) {
        let minute = now.div_euclid(MINUTE);
        self.minutes
            .retain(|(counted, _)| *counted > minute - MINUTES);
        match self.minutes.last_mut() {
            Some((latest, count)) if *latest >= minute => *count += 1,
            _ => self.minutes.push((minute, 1)),
        }
    }

    /// How often it happened in the hour before `now`.
    pub fn sum(&self, now: Micros) -> u64 {
        let first = now.div_euclid(MINUTE) - MINUTES;
        let counted = self.minutes.iter().filter(|(minute, _)| *minute > first);
        counted.map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_counts_for_an_hour() {
        let mut failures = LastHour::default();
        for minute in 0..180 {
            failures.count(minute * MINUTE);
            failures.count(minute * MINUTE + 30_000_000);
            let expected = 2 * u64::try_from(minute + 1).expect("it is positive").min(60);
            assert_eq!(failures.sum(minute * MINUTE + MINUTE - 1), expected);
        }
        assert_eq!(failures.minutes.len(), 60);
        assert_eq!(failures.sum(200 * MINUTE), 2 * 39);
        assert_eq!(failures.sum(239 * MINUTE), 0);
    }

    #[test]
    fn a_clock_that_goes_back_loses_nothing() {
        let mut failures = LastHour::default();
        failures.count(100 * MINUTE);
        failures.count(90 * MINUTE);
        assert_eq!(failures.sum(100 * MINUTE), 2);
    }
}
