//! How long a broker is waited for.

use std::time::Duration;

/// How long a broker is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For TCP, TLS and greeting together.
    pub connect: Duration,
    /// For the answer to a command. Longer than the pauses of a busy server (a long script, a fork, a slow disk).
    pub response: Duration,
    /// Between two checks that the subscription is alive.
    pub ping_every: Duration,
    /// For the answer to such a check.
    pub ping_answer: Duration,
    /// Pause before the first reconnect; doubles up to `retry_max`, plus a random part of as much again.
    pub retry_min: Duration,
    /// Longest pause before a reconnect, without its random part.
    pub retry_max: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            response: Duration::from_secs(5),
            ping_every: Duration::from_secs(5),
            ping_answer: Duration::from_secs(10),
            retry_min: Duration::from_millis(200),
            retry_max: Duration::from_secs(10),
        }
    }
}

impl Patience {
    /// The pauses between attempts, without end.
    pub(super) fn pauses(self) -> backon::ExponentialBuilder {
        backon::ExponentialBuilder::new()
            .with_min_delay(self.retry_min)
            .with_max_delay(self.retry_max)
            .with_jitter()
            .without_max_times()
    }
}
