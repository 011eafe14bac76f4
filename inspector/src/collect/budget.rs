//! The budget of control requests, a token bucket counted in worker deliveries. It sends nothing.
//!
//! pidbox is a fanout: one request is delivered to every subscribed worker and filtered there, so that is what a request
//! costs, however few workers it names.

use std::time::{Duration, Instant};

/// Deliveries per second that all workers together may always get: a first look at a small fleet is then a matter of
/// seconds, and 50 messages are at most 15 ms of CPU a second, spread over all workers.
const TOGETHER_PER_SECOND: f64 = 50.0;

/// Deliveries per second that each worker may get when that is more in all. Nobody is named in most of what a worker
/// gets; to read and pass over such a message costs it 0.1 to 0.3 ms, so one a second is at most 0.03 % of a core,
/// however large the fleet is. A first look (7 questions, 50 workers a request) at N workers is 7N/50 requests: 70 s at
/// 500 workers, and at most 50 replies a second. With a fixed 50 deliveries/s it would take 12 minutes.
const EACH_PER_SECOND: f64 = 1.0;

/// For how many seconds of the rate an idle inspector may save up: at 50 deliveries/s that is 100, enough for a ping and
/// a first look (seven requests) at ten workers at once. It does not grow with the fleet: what a large fleet gets is even.
const BURST_SECONDS: f64 = 2.0;

/// How many worker deliveries a second may be caused, on average.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Rate {
    /// 50 for all workers together, or one for each worker when that is more.
    #[default]
    Fleet,
    /// This many for all workers together, however many they are.
    Fixed(f64),
}

impl Rate {
    /// Deliveries per second with this many workers.
    pub fn of(self, workers: f64) -> f64 {
        match self {
            Self::Fleet => TOGETHER_PER_SECOND.max(EACH_PER_SECOND * workers),
            Self::Fixed(per_second) => per_second,
        }
    }
}

/// Worker deliveries that may be caused now. A request dearer than the whole burst is let through when the bucket is
/// full and leaves a debt, so that the average holds for a fleet of any size.
#[derive(Debug, Clone)]
pub struct Budget {
    rate: Rate,
    per_second: f64,
    burst: f64,
    tokens: f64,
    filled: Instant,
}

impl Budget {
    /// A full bucket for no workers yet. At least one delivery in 1,000 s is allowed.
    pub fn new(now: Instant, rate: Rate) -> Self {
        let per_second = rate.of(0.0).max(0.001);
        let burst = per_second * BURST_SECONDS;
        Self {
            rate,
            per_second,
            burst,
            tokens: burst,
            filled: now,
        }
    }

    /// There are this many workers now.
    pub fn fit(&mut self, now: Instant, workers: f64) {
        self.fill(now);
        self.per_second = self.rate.of(workers).max(0.001);
    }

    /// Deliveries that can be saved up.
    pub fn burst(&self) -> f64 {
        self.burst
    }

    /// Deliveries allowed per second, on average.
    pub fn per_second(&self) -> f64 {
        self.per_second
    }

    /// Whether a request of `cost` deliveries may go out now.
    pub fn allows(&mut self, now: Instant, cost: f64) -> bool {
        self.fill(now);
        self.tokens >= cost.min(self.burst())
    }

    /// When a request of `cost` deliveries may go out.
    pub fn allows_at(&mut self, now: Instant, cost: f64) -> Instant {
        self.fill(now);
        let missing = cost.min(self.burst()) - self.tokens;
        if missing <= 0.0 {
            return now;
        }
        // A little more than exact, so that rounding does not wake the caller a hair too early, over and over.
        now + Duration::from_secs_f64(missing / self.per_second) + Duration::from_millis(1)
    }

    /// Takes `cost` deliveries, or gives some back when negative.
    pub fn take(&mut self, now: Instant, cost: f64) {
        self.fill(now);
        self.tokens = (self.tokens - cost).min(self.burst());
    }

    fn fill(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + seconds * self.per_second).min(self.burst());
        self.filled = self.filled.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_workers_can_be_looked_at_at_once() {
        let now = Instant::now();
        let mut budget = Budget::new(now, Rate::Fixed(50.0));
        for request in 0..8 {
            assert!(budget.allows(now, 10.0), "request {request}");
            budget.take(now, 10.0);
        }
    }

    #[test]
    fn a_dear_request_leaves_a_debt_that_is_paid_back() {
        let now = Instant::now();
        let mut budget = Budget::new(now, Rate::Fixed(50.0));
        assert!(budget.allows(now, 500.0));
        budget.take(now, 500.0);
        assert!(!budget.clone().allows(now + Duration::from_secs(9), 500.0));
        let at = budget.allows_at(now, 500.0);
        assert!(at >= now + Duration::from_secs(10) && at < now + Duration::from_secs(11));
        assert!(budget.allows(at, 500.0));
    }

    #[test]
    fn each_of_many_workers_gets_one_message_a_second() {
        let start = Instant::now();
        let mut budget = Budget::new(start, Rate::Fleet);
        budget.fit(start, 500.0);
        let mut requests = 0;
        for tenth in 0..600 {
            let now = start + Duration::from_millis(100 * tenth);
            if budget.allows(now, 500.0) {
                budget.take(now, 500.0);
                requests += 1;
            }
        }
        assert!((59..=61).contains(&requests), "{requests} in a minute");
    }

    #[test]
    fn a_fixed_rate_does_not_grow_with_the_fleet() {
        let start = Instant::now();
        let mut budget = Budget::new(start, Rate::Fixed(50.0));
        budget.fit(start, 500.0);
        budget.take(start, 500.0);
        assert!(!budget.allows(start + Duration::from_secs(9), 500.0));
    }

    #[test]
    fn time_that_runs_backwards_gives_nothing() {
        let start = Instant::now();
        let later = start + Duration::from_secs(5);
        let mut budget = Budget::new(later, Rate::Fixed(50.0));
        budget.take(later, 100.0);
        assert!(!budget.allows(start, 1.0));
        assert!(!budget.allows(later, 1.0));
    }
}
