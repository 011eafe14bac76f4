//! Numbers of a status are rounded, so that it changes when something does.

use jiff::{SignedDuration, Timestamp};

/// How far a number must be from what is shown, in steps of its second digit, to be shown anew; half a step would be mere
/// rounding, and a number between two steps would change with every look.
const STICKY: f64 = 0.75;

/// The time of the oldest message may differ by a tenth of its age, and by this at least, before it is shown anew: its age is
/// printed to two digits or so.
const OLDEST_SLACK: SignedDuration = SignedDuration::from_secs(5);

/// A count to two significant digits; `shown` stays while it is near enough. Zero is zero.
#[expect(
    clippy::cast_precision_loss,
    reason = "the distance of counts above 2^53 need not be exact"
)]
pub fn count(shown: Option<u64>, now: u64) -> u64 {
    if let Some(shown) = shown.filter(|shown| (*shown == 0) == (now == 0)) {
        let step = step(shown.min(now));
        let far = STICKY * step as f64;
        if step > 1 && shown % step == 0 && (shown.abs_diff(now) as f64) <= far {
            return shown;
        }
    }
    let step = step(now);
    // Half a step more never overflows: it is rounded down first where it would.
    now.checked_add(step / 2).unwrap_or(now) / step * step
}

/// What the second digit of a number counts.
fn step(number: u64) -> u64 {
    number
        .checked_ilog10()
        .map_or(1, |digits| 10_u64.pow(digits.saturating_sub(1)))
}

/// The time of the oldest message, to whole seconds; `shown` stays while it is near enough.
pub fn oldest(
    shown: Option<Timestamp>,
    found: Option<Timestamp>,
    now: Timestamp,
) -> Option<Timestamp> {
    let found = found?;
    if let Some(shown) = shown {
        let slack = (now.duration_since(found) / 10).max(OLDEST_SLACK);
        if found.duration_since(shown).abs() <= slack {
            return Some(shown);
        }
    }
    // Kubernetes keeps whole seconds.
    Timestamp::from_second(found.as_second()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_digits_are_shown() {
        for (number, shown) in [
            (0, 0),
            (7, 7),
            (99, 99),
            (101, 100),
            (105, 110),
            (1_249, 1_200),
            (98_700, 99_000),
            (99_600, 100_000),
            (u64::MAX, 18_000_000_000_000_000_000),
        ] {
            assert_eq!(count(None, number), shown, "{number}");
        }
    }

    #[test]
    fn what_is_shown_stays_while_it_is_near() {
        for (shown, number, then) in [
            // Below a hundred every one counts.
            (41, 42, 42),
            (1, 2, 2),
            (99, 100, 100),
            (100, 95, 95),
            // 1,250 would be rounded up, and 1,240 down: neither is told from 1,200 …
            (1_200, 1_240, 1_200),
            (1_200, 1_275, 1_200),
            // … but this is.
            (1_200, 1_276, 1_300),
            (1_200, 1_120, 1_100),
            // Zero is told at once, from both sides.
            (0, 1, 1),
            (100, 0, 0),
            // What was shown by other rules is no reason to stay.
            (1_234, 1_240, 1_200),
        ] {
            assert_eq!(count(Some(shown), number), then, "{shown} {number}");
        }
    }

    #[test]
    fn a_number_that_swings_around_a_step_is_not_shown_anew() {
        let mut shown = count(None, 1_250);
        let first = shown;
        for number in [1_249, 1_251, 1_240, 1_260, 1_250] {
            shown = count(Some(shown), number);
        }
        assert_eq!(shown, first);
    }

    #[test]
    fn the_oldest_is_shown_anew_when_its_age_reads_otherwise() {
        let at = |second| Timestamp::from_second(second).expect("it is a time");
        let now = at(10_000);
        let millis = Timestamp::from_millisecond(9_000_700).expect("it is a time");
        assert_eq!(oldest(None, Some(millis), now), Some(at(9_000)));
        assert_eq!(oldest(Some(at(9_000)), None, now), None);
        for (shown, found, then) in [
            (9_000, 9_050, 9_000),
            (9_000, 9_150, 9_150),
            (9_000, 8_500, 8_500),
            (9_990, 9_994, 9_990),
            (9_990, 9_996, 9_996),
        ] {
            let seen = oldest(Some(at(shown)), Some(at(found)), now);
            assert_eq!(seen, Some(at(then)), "{shown} {found}");
        }
    }
}
