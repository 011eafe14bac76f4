//! The budget of control requests, a token bucket counted in worker deliveries. It sends nothing.
//!
//! pidbox is a fanout: one request is delivered to every subscribed worker and filtered there, so that is what a request
//! costs, however few workers it names.

use std::time::{Duration, Instant};

/// For how many seconds of the rate an idle inspector may save up: at 50 deliveries/s that is 100, enough for a ping and
/// a first look (seven requests) at ten workers at once.
const BURST_SECONDS: f64 = 2.0;

/// Worker deliveries that may be caused now. A request dearer than the whole burst is let through when the bucket is
/// full and leaves a debt, so that the average holds for a fleet of any size.
#[derive(Debug, Clone)]
pub struct Budget {
    per_second: f64,
    tokens: f64,
    filled: Instant,
}

impl Budget {
    /// A full bucket that allows `per_second` deliveries on average. At least one delivery in 1,000 s is allowed.
    pub fn new(now: Instant, per_second: f64) -> Self {
        let per_second = per_second.max(0.001);
        Self {
            per_second,
            tokens: per_second * BURST_SECONDS,
            filled: now,
        }
    }

    /// Deliveries that can be saved up.
    pub fn burst(&self) -> f64 {
        self.per_second * BURST_SECONDS
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
        let mut budget = Budget::new(now, 50.0);
        for request in 0..8 {
            assert!(budget.allows(now, 10.0), "request {request}");
            budget.take(now, 10.0);
        }
    }

    #[test]
    fn a_dear_request_leaves_a_debt_that_is_paid_back() {
        let now = Instant::now();
        let mut budget = Budget::new(now, 50.0);
        assert!(budget.allows(now, 500.0));
        budget.take(now, 500.0);
        assert!(!budget.clone().allows(now + Duration::from_secs(9), 500.0));
        let at = budget.allows_at(now, 500.0);
        assert!(at >= now + Duration::from_secs(10) && at < now + Duration::from_secs(11));
        assert!(budget.allows(at, 500.0));
    }

    #[test]
    fn time_that_runs_backwards_gives_nothing() {
        let start = Instant::now();
        let later = start + Duration::from_secs(5);
        let mut budget = Budget::new(later, 50.0);
        budget.take(later, 100.0);
        assert!(!budget.allows(start, 1.0));
        assert!(!budget.allows(later, 1.0));
    }
}
