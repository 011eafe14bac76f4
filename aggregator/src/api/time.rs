//! Times and durations between the fold's numbers and protobuf's messages.

use prost_types::{Duration, Timestamp};

use crate::state::Micros;

/// Microseconds since the Unix epoch as a timestamp.
pub fn micros(value: Micros) -> Timestamp {
    let nanos = i32::try_from(value.rem_euclid(1_000_000) * 1_000)
        .expect("a remainder of a million, times a thousand, is below 2^31");
    Timestamp {
        seconds: value.div_euclid(1_000_000),
        nanos,
    }
}

/// Seconds since the Unix epoch as a timestamp, to the microsecond; `None` when it is no time.
#[expect(
    clippy::cast_possible_truncation,
    reason = "checked against the range of years 1 to 9999"
)]
pub fn seconds(value: f64) -> Option<Timestamp> {
    const YEAR_10000: f64 = 253_402_300_800.0;
    (value.is_finite() && value.abs() < YEAR_10000).then(|| micros((value * 1e6).round() as i64))
}

/// Seconds as a duration; `None` when it is none.
#[expect(
    clippy::cast_possible_truncation,
    reason = "checked against a bound far below 2^63"
)]
pub fn duration(value: f64) -> Option<Duration> {
    const TEN_THOUSAND_YEARS: f64 = 315_576_000_000.0;
    (value.is_finite() && value.abs() < TEN_THOUSAND_YEARS).then(|| {
        let nanos = (value.fract() * 1e9).round() as i32;
        let (carry, nanos) = if nanos.abs() == 1_000_000_000 {
            (nanos.signum(), 0)
        } else {
            (0, nanos)
        };
        Duration {
            seconds: value.trunc() as i64 + i64::from(carry),
            nanos,
        }
    })
}

/// The aggregator's clock in microseconds since the Unix epoch.
pub fn now() -> Micros {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_microseconds_on_both_sides_of_the_epoch() {
        assert_eq!(
            micros(1_500_000),
            Timestamp {
                seconds: 1,
                nanos: 500_000_000
            }
        );
        assert_eq!(
            micros(-1),
            Timestamp {
                seconds: -1,
                nanos: 999_999_000
            }
        );
        let at = seconds(1_795_347_427.130_364).unwrap();
        assert_eq!(
            at,
            Timestamp {
                seconds: 1_795_347_427,
                nanos: 130_364_000
            }
        );
        assert_eq!(seconds(f64::NAN), None);
        assert_eq!(seconds(1e300), None);
    }

    #[test]
    fn durations_carry_and_refuse() {
        assert_eq!(
            duration(0.25),
            Some(Duration {
                seconds: 0,
                nanos: 250_000_000
            })
        );
        assert_eq!(
            duration(1.999_999_999_9),
            Some(Duration {
                seconds: 2,
                nanos: 0
            })
        );
        assert_eq!(duration(f64::INFINITY), None);
    }
}
