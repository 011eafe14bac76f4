//! Seconds of Celery, durations of limits and the microseconds of the fold.

use std::time::Duration;

use super::ids::Micros;

const MICROS_PER_SECOND: f64 = 1_000_000.0;

/// A duration in microseconds.
pub(super) fn micros(duration: Duration) -> Micros {
    Micros::try_from(duration.as_micros()).unwrap_or(Micros::MAX)
}

/// Seconds in microseconds; what does not fit becomes the nearest that does, NaN becomes 0.
#[expect(
    clippy::cast_possible_truncation,
    reason = "`as` saturates, which is what is wanted of absurd values"
)]
pub(super) fn micros_of(seconds: f64) -> Micros {
    (seconds * MICROS_PER_SECOND) as Micros
}

/// Microseconds in seconds.
#[expect(
    clippy::cast_precision_loss,
    reason = "53 bits hold microseconds until the year 2255"
)]
pub(super) fn seconds_of(micros: Micros) -> f64 {
    micros as f64 / MICROS_PER_SECOND
}
