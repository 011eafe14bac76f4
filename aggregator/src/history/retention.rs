//! How long finished tasks are kept.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

/// How long and how many finished tasks are kept. Written `7d,1000000`, `7d`, `1000000` or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// A task goes when it finished longer ago than this. `None` is no limit.
    pub age: Option<Duration>,
    /// The oldest finished tasks go when there are more than this, all apps together. `None` is no limit.
    pub count: Option<u64>,
}

/// Why a retention cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "\"{part}\" is {reason}: write an age such as 7d (s, m, h, d or w), a number of tasks such as 1000000, both with a comma between, or off"
)]
pub struct RetentionError {
    part: String,
    reason: &'static str,
}

const UNITS: [(char, u64); 5] = [
    ('s', 1),
    ('m', 60),
    ('h', 3_600),
    ('d', 86_400),
    ('w', 604_800),
];

impl Retention {
    /// Everything is kept.
    pub const OFF: Self = Self {
        age: None,
        count: None,
    };
}

impl FromStr for Retention {
    type Err = RetentionError;

    fn from_str(text: &str) -> Result<Self, RetentionError> {
        let error = |part: &str, reason| RetentionError {
            part: part.trim().to_owned(),
            reason,
        };
        if text.trim() == "off" {
            return Ok(Self::OFF);
        }
        let mut retention = Self::OFF;
        for part in text.split(',') {
            let trimmed = part.trim();
            let unit = UNITS.iter().find(|(letter, _)| trimmed.ends_with(*letter));
            let digits = unit.map_or(trimmed, |(letter, _)| trimmed.trim_end_matches(*letter));
            if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
                return Err(error(part, "neither an age nor a number"));
            }
            let number: u64 = digits.parse().map_err(|_| error(part, "too large"))?;
            if number == 0 {
                return Err(error(part, "nothing to keep"));
            }
            match unit {
                Some((letter, _)) if trimmed.len() != digits.len() + letter.len_utf8() => {
                    return Err(error(part, "neither an age nor a number"));
                }
                Some(_) if retention.age.is_some() => return Err(error(part, "a second age")),
                Some((_, seconds)) => {
                    let seconds = number.checked_mul(*seconds).filter(|all| *all < 1 << 40);
                    let seconds = seconds.ok_or_else(|| error(part, "too large"))?;
                    retention.age = Some(Duration::from_secs(seconds));
                }
                None if retention.count.is_some() => return Err(error(part, "a second number")),
                None => retention.count = Some(number),
            }
        }
        Ok(retention)
    }
}

/// As it is written.
impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(age) = self.age {
            let seconds = age.as_secs();
            // A week is written 7d.
            let mut units = UNITS[..4].iter().rev();
            let (letter, unit) = units
                .find(|(_, unit)| seconds.is_multiple_of(*unit))
                .unwrap_or(&UNITS[0]);
            write!(f, "{}{letter}", seconds / unit)?;
        }
        match (self.age, self.count) {
            (None, None) => f.write_str("off"),
            (Some(_), Some(count)) => write!(f, ",{count}"),
            (None, Some(count)) => write!(f, "{count}"),
            (Some(_), None) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retentions_are_read_and_written() {
        let days = |days: u64| Some(Duration::from_secs(days * 86_400));
        for (text, age, count) in [
            ("7d,1000000", days(7), Some(1_000_000)),
            ("3d", days(3), None),
            ("90s", Some(Duration::from_secs(90)), None),
            ("1000000", None, Some(1_000_000)),
            ("off", None, None),
        ] {
            let retention: Retention = text.parse().unwrap();
            assert_eq!(retention, Retention { age, count }, "{text}");
            assert_eq!(retention.to_string(), text);
        }
        assert_eq!("2w".parse::<Retention>().unwrap().to_string(), "14d");
        assert_eq!(
            " 1000 , 24h ".parse::<Retention>().unwrap().to_string(),
            "1d,1000"
        );
    }

    #[test]
    fn what_is_no_retention_is_said_in_words() {
        for (text, start) in [
            ("", "\"\" is neither an age nor a number"),
            ("7days", "\"7days\" is neither an age nor a number"),
            ("7dd", "\"7dd\" is neither an age nor a number"),
            ("-1", "\"-1\" is neither an age nor a number"),
            ("7d,8d", "\"8d\" is a second age"),
            ("1,2", "\"2\" is a second number"),
            ("0", "\"0\" is nothing to keep"),
            (
                "99999999999999999999",
                "\"99999999999999999999\" is too large",
            ),
            ("9999999999999999w", "\"9999999999999999w\" is too large"),
            ("off,1", "\"off\" is neither an age nor a number"),
        ] {
            let error = text.parse::<Retention>().unwrap_err().to_string();
            assert!(error.starts_with(start), "{text}: {error}");
        }
    }
}
