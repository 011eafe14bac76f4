//! Times, durations, sizes and counts as a person reads them. What is absent is `-`.

use jiff::{SignedDuration, Timestamp};

use super::View;
use crate::args::Times;

/// What stands for something that is not known.
pub(crate) const ABSENT: &str = "-";

const SECOND: i128 = 1_000_000_000;

impl View {
    /// A time in a table: `3s ago`, `in 5m`, or the clock's.
    pub(crate) fn time(&self, time: Option<&prost_types::Timestamp>) -> String {
        let Some(time) = time.and_then(timestamp) else {
            return ABSENT.to_owned();
        };
        match self.times {
            Times::Relative => self.relative(time, brief),
            Times::Local => self.local(time, "%Y-%m-%d %H:%M:%S"),
            Times::Utc => time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        }
    }

    /// A time in a detail view, to the millisecond; relative times with the clock's beside them.
    pub(crate) fn moment(&self, time: Option<&prost_types::Timestamp>) -> String {
        let Some(time) = time.and_then(timestamp) else {
            return ABSENT.to_owned();
        };
        let utc = time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
        match self.times {
            Times::Relative => format!("{} ({utc})", self.relative(time, span)),
            Times::Local => self.local(time, "%Y-%m-%d %H:%M:%S%.3f %:z"),
            Times::Utc => utc,
        }
    }

    /// The time of the day, for lines that are printed as things happen; absent is now.
    pub(crate) fn clock(&self, time: Option<&prost_types::Timestamp>) -> String {
        let time = time.and_then(timestamp).unwrap_or(self.now);
        match self.times {
            Times::Utc => time.strftime("%H:%M:%S%.3fZ").to_string(),
            Times::Local | Times::Relative => self.local(time, "%H:%M:%S%.3f"),
        }
    }

    /// How long ago, or the clock's time: the age of something that still waits.
    pub(crate) fn age(&self, time: Option<&prost_types::Timestamp>) -> String {
        match (self.times, time.and_then(timestamp)) {
            (Times::Relative, Some(time)) => span(self.now.duration_since(time)),
            _ => self.time(time),
        }
    }

    fn local(&self, time: Timestamp, format: &str) -> String {
        time.to_zoned(self.zone.clone())
            .strftime(format)
            .to_string()
    }

    fn relative(&self, time: Timestamp, show: fn(SignedDuration) -> String) -> String {
        let age = self.now.duration_since(time);
        match age.as_nanos() {
            nanos if nanos.abs() < SECOND => "now".to_owned(),
            nanos if nanos > 0 => format!("{} ago", show(age)),
            _ => format!("in {}", show(-age)),
        }
    }
}

/// The time, unless it is out of range.
pub(crate) fn timestamp(time: &prost_types::Timestamp) -> Option<Timestamp> {
    Timestamp::new(time.seconds, time.nanos).ok()
}

/// How long from one to the other.
pub(crate) fn between(
    from: Option<&prost_types::Timestamp>,
    to: Option<&prost_types::Timestamp>,
) -> String {
    match (from.and_then(timestamp), to.and_then(timestamp)) {
        (Some(from), Some(to)) => span(to.duration_since(from)),
        _ => ABSENT.to_owned(),
    }
}

/// A duration: `412µs`, `12ms`, `3.4s`, `2m10s`, `3h5m`, `4d2h`. What is smaller is cut off, never rounded up.
pub(crate) fn duration(duration: Option<&prost_types::Duration>) -> String {
    duration.map_or_else(
        || ABSENT.to_owned(),
        |duration| {
            span(
                SignedDuration::from_secs(duration.seconds)
                    .saturating_add(SignedDuration::from_nanos(duration.nanos.into())),
            )
        },
    )
}

/// A span in at most two units.
pub(crate) fn span(span: SignedDuration) -> String {
    let nanos = span.as_nanos();
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let seconds = nanos / SECOND.unsigned_abs();
    let text = match seconds {
        0 if nanos == 0 => "0s".to_owned(),
        0 if nanos < 1_000 => format!("{nanos}ns"),
        0 if nanos < 1_000_000 => format!("{}µs", nanos / 1_000),
        0 if nanos < 10_000_000 => tenths(nanos / 100_000, "ms"),
        0 => format!("{}ms", nanos / 1_000_000),
        1..60 => tenths(nanos / 100_000_000, "s"),
        60..3_600 => two(seconds / 60, "m", seconds % 60, "s"),
        3_600..86_400 => two(seconds / 3_600, "h", seconds % 3_600 / 60, "m"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    };
    format!("{sign}{text}")
}

/// A span of a second or more in one unit.
fn brief(span: SignedDuration) -> String {
    match span.as_secs().unsigned_abs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3_600 => format!("{}m", seconds / 60),
        seconds @ 3_600..86_400 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

fn tenths(tenths: u128, unit: &str) -> String {
    match tenths % 10 {
        0 => format!("{}{unit}", tenths / 10),
        tenth => format!("{}.{tenth}{unit}", tenths / 10),
    }
}

fn two(large: u128, large_unit: &str, small: u128, small_unit: &str) -> String {
    match small {
        0 => format!("{large}{large_unit}"),
        small => format!("{large}{large_unit}{small}{small_unit}"),
    }
}

/// A size in bytes: `512B`, `9.5KiB`, `120MiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1_024 {
        return format!("{bytes}B");
    }
    let mut tenths_of_unit = u128::from(bytes) * 10 / 1_024;
    let mut unit = 0;
    while tenths_of_unit >= 10_240 && unit + 1 < UNITS.len() {
        tenths_of_unit /= 1_024;
        unit += 1;
    }
    if tenths_of_unit < 100 {
        tenths(tenths_of_unit, UNITS[unit])
    } else {
        format!("{}{}", tenths_of_unit / 10, UNITS[unit])
    }
}

/// A number, or `-`.
pub(crate) fn count(number: Option<impl ToString>) -> String {
    number.map_or_else(|| ABSENT.to_owned(), |number| number.to_string())
}

#[cfg(test)]
mod tests {
    use jiff::tz::{Offset, TimeZone};

    use super::*;

    const NOW: i64 = 1_795_312_923; // 2026-11-22T02:02:03Z

    fn view(times: Times) -> View {
        View {
            now: Timestamp::from_second(NOW).expect("in range"),
            times,
            zone: TimeZone::fixed(Offset::constant(1)),
            width: None,
            wide: false,
            color: false,
        }
    }

    fn at(seconds: i64, nanos: i32) -> prost_types::Timestamp {
        prost_types::Timestamp { seconds, nanos }
    }

    #[test]
    fn times_are_relative_local_or_utc() {
        let then = at(NOW - 130, 250_000_000);
        for (times, in_table, in_detail, clock) in [
            (
                Times::Relative,
                "2m ago",
                "2m9s ago (2026-11-22T01:59:53.250Z)",
                "02:59:53.250",
            ),
            (
                Times::Local,
                "2026-11-22 02:59:53",
                "2026-11-22 02:59:53.250 +01:00",
                "02:59:53.250",
            ),
            (
                Times::Utc,
                "2026-11-22T01:59:53Z",
                "2026-11-22T01:59:53.250Z",
                "01:59:53.250Z",
            ),
        ] {
            let view = view(times);
            assert_eq!(view.time(Some(&then)), in_table);
            assert_eq!(view.moment(Some(&then)), in_detail);
            assert_eq!(view.clock(Some(&then)), clock);
            assert_eq!(view.time(None), "-");
        }
    }

    #[test]
    fn relative_times_look_both_ways() {
        let view = view(Times::Relative);
        for (offset, shown) in [
            (0, "now"),
            (-3, "3s ago"),
            (-59, "59s ago"),
            (-3_599, "59m ago"),
            (-7_200, "2h ago"),
            (-864_000, "10d ago"),
            (300, "in 5m"),
            (90_000, "in 1d"),
        ] {
            assert_eq!(view.time(Some(&at(NOW + offset, 0))), shown, "{offset}");
        }
        assert_eq!(
            view.time(Some(&at(i64::MAX, 0))),
            "-",
            "out of range is not known"
        );
        assert_eq!(view.age(Some(&at(NOW - 250, 0))), "4m10s");
    }

    #[test]
    fn durations_have_two_units_at_most() {
        for (seconds, nanos, shown) in [
            (0, 0, "0s"),
            (0, 900, "900ns"),
            (0, 412_999, "412µs"),
            (0, 3_450_000, "3.4ms"),
            (0, 12_900_000, "12ms"),
            (0, 999_999_999, "999ms"),
            (3, 0, "3s"),
            (3, 499_000_000, "3.4s"),
            (59, 990_000_000, "59.9s"),
            (130, 0, "2m10s"),
            (120, 0, "2m"),
            (11_100, 0, "3h5m"),
            (352_800, 0, "4d2h"),
            (-3, -400_000_000, "-3.4s"),
        ] {
            let given = prost_types::Duration { seconds, nanos };
            assert_eq!(duration(Some(&given)), shown, "{given:?}");
        }
        assert_eq!(duration(None), "-");
        assert_eq!(between(Some(&at(1, 0)), Some(&at(3, 500_000_000))), "2.5s");
        assert_eq!(between(Some(&at(1, 0)), None), "-");
    }

    #[test]
    fn sizes_are_binary() {
        for (bytes, shown) in [
            (0, "0B"),
            (1_023, "1023B"),
            (1_024, "1KiB"),
            (9_800, "9.5KiB"),
            (65_536, "64KiB"),
            (125_829_120, "120MiB"),
            (u64::MAX, "15EiB"),
        ] {
            assert_eq!(size(bytes), shown);
        }
    }
}
