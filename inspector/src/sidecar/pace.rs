//! How often one of many sidecars may trouble the broker. Pure.
//!
//! On Redis a request reaches every worker, so N sidecars that ask each cost N². Each asks once in as many seconds as there
//! are workers, which makes one request a second for all of them; and since no sidecar knows how many there are before it
//! has asked, a turn is taken on the broker first ([`crate::transport::Transport::turn`]), which holds the same bound from
//! the first second on. Who is refused waits ever longer.

use std::time::{Duration, Instant};

/// Requests of all sidecars of a broker together: one in this time.
pub const TURN: Duration = Duration::from_secs(1);

/// Between two requests of one sidecar, at least: soon enough to notice, rare enough for one worker.
const PERIOD_MIN: Duration = Duration::from_secs(30);
/// The same while somebody waits for the answer.
const PERIOD_WAITED_MIN: Duration = Duration::from_secs(3);
const PERIOD_MAX: Duration = Duration::from_hours(1);

/// Workers that are assumed where the broker does not tell and everybody gets a request.
const WORKERS_ASSUMED: u64 = 300;

/// Pause after the first refused turn; doubles.
const REFUSED_MIN: Duration = Duration::from_secs(2);
const REFUSED_MAX: Duration = Duration::from_mins(10);

/// When the next request may go out.
#[derive(Debug, Default)]
pub struct Pace {
    workers: u64,
    refused: u32,
    next: Option<Instant>,
}

impl Pace {
    /// Whether a request that is wanted may go out now. The first is at a random moment (`chance` is from 0 to 1): whatever
    /// makes one sidecar ask makes all of them ask.
    pub fn may(&mut self, now: Instant, waited_for: bool, chance: f64) -> bool {
        let next = match self.next {
            Some(next) => next,
            None => *self
                .next
                .insert(now + self.period(waited_for).mul_f64(chance)),
        };
        next <= now
    }

    /// None is wanted any more.
    pub fn rest(&mut self) {
        self.next = None;
    }

    /// One went out; it reached so many workers.
    pub fn on_asked(&mut self, now: Instant, reached: Option<u64>, waited_for: bool, chance: f64) {
        self.workers = reached.unwrap_or(WORKERS_ASSUMED);
        self.refused = 0;
        self.next = Some(now + self.period(waited_for).mul_f64(0.75 + chance / 2.0));
    }

    /// It was somebody else's turn.
    pub fn on_refused(&mut self, now: Instant, chance: f64) {
        let pause = REFUSED_MIN * 2_u32.saturating_pow(self.refused.min(20));
        self.refused += 1;
        self.next = Some(now + REFUSED_MAX.min(pause).mul_f64(0.5 + chance));
    }

    fn period(&self, waited_for: bool) -> Duration {
        let least = if waited_for {
            PERIOD_WAITED_MIN
        } else {
            PERIOD_MIN
        };
        let share = TURN.saturating_mul(u32::try_from(self.workers).unwrap_or(u32::MAX));
        share.clamp(least, PERIOD_MAX)
    }

    /// Between two questions of a drain that nobody tells about: they go out without a turn, so that a pod that is to go does
    /// not wait for it, and all drains of a rollout of N workers (a quarter of them at a time) come to five requests a second.
    pub fn drain_poll(&self, asked: u32) -> Duration {
        let grown = Duration::from_secs(1).mul_f64(1.5_f64.powi(asked.min(8).cast_signed()));
        let share = Duration::from_millis(100)
            .saturating_mul(u32::try_from(self.workers).unwrap_or(u32::MAX));
        grown
            .min(Duration::from_secs(10))
            .max(share)
            .min(Duration::from_mins(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_asks_once_in_as_many_seconds_as_there_are_workers() {
        let now = Instant::now();
        for (workers, waited_for, seconds) in [
            (Some(1), false, 30),
            (Some(1), true, 3),
            (Some(10), true, 10),
            (Some(1_000), false, 1_000),
            (Some(1_000), true, 1_000),
            (None, false, 300),
            (Some(1_000_000), false, 3_600),
        ] {
            let mut pace = Pace::default();
            pace.on_asked(now, workers, waited_for, 0.5);
            let short = Duration::from_secs(seconds).saturating_sub(Duration::from_millis(1));
            let at = now + Duration::from_secs(seconds);
            assert!(!pace.may(now + short, waited_for, 0.0), "{workers:?}");
            assert!(pace.may(at, waited_for, 0.0), "{workers:?}");
        }
    }

    #[test]
    fn the_first_request_is_at_a_random_moment() {
        let now = Instant::now();
        let mut pace = Pace::default();
        assert!(!pace.may(now, false, 0.5));
        assert!(!pace.may(now + Duration::from_secs(14), false, 0.0));
        assert!(pace.may(now + Duration::from_secs(15), false, 0.0));
        pace.rest();
        assert!(!pace.may(now + Duration::from_secs(15), false, 0.5));
    }

    #[test]
    fn who_is_refused_waits_ever_longer() {
        let now = Instant::now();
        let mut pace = Pace::default();
        let mut waits = Vec::new();
        for _ in 0..12 {
            pace.on_refused(now, 0.5);
            waits.push(pace.next.expect("it is set").duration_since(now).as_secs());
        }
        assert_eq!(waits[..4], [2, 4, 8, 16]);
        assert_eq!(waits[11], 600);
    }

    #[test]
    fn a_drain_asks_at_once_and_then_less_and_less() {
        let mut pace = Pace::default();
        assert_eq!(pace.drain_poll(0), Duration::from_secs(1));
        assert_eq!(pace.drain_poll(100), Duration::from_secs(10));
        pace.on_asked(Instant::now(), Some(1_000), false, 0.5);
        assert_eq!(pace.drain_poll(0), Duration::from_mins(1));
    }
}
