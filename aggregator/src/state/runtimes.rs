//! Runtimes of one task name as counts in fixed ranges, from which quantiles are read.
//!
//! A range is an eighth of its power of two wide: [1, 1.125), [1.125, 1.25) … [1.875, 2), [2, 2.25) and so on, from a
//! microsecond to twelve days. A quantile is the harmonic mean of the bounds of the range in which the exact one lies, so that
//! it is off by 1/17 of that (5.9 %) at most. Only the ranges from the shortest to the longest runtime seen are kept: most names
//! take some 30, and none more than [`RANGES`].

use minicbor::{Decode, Encode};

/// Leading bits of a float (sign, exponent and three of the fraction) that tell its range.
const RANGE_SHIFT: u32 = 49;
/// The range that begins at 2^-20 s, and holds what is below too.
const FIRST: u64 = (1_023 - 20) << 3;
/// Ranges, up to 2^20 s; the last one holds what is above too. At 8 bytes each that is 2.5 KB.
const RANGES: usize = 40 << 3;

/// How many runtimes were in each range.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Runtimes {
    /// The first range that is kept.
    #[n(0)]
    first: usize,
    /// Counts from there on.
    #[n(1)]
    counts: Vec<u64>,
}

impl Runtimes {
    /// Counts a runtime: seconds, finite and not negative.
    pub(super) fn count(&mut self, runtime: f64) {
        let range = range(runtime);
        if self.counts.is_empty() {
            self.first = range;
        }
        let earlier = self.first.saturating_sub(range);
        self.counts.splice(..0, std::iter::repeat_n(0, earlier));
        self.first -= earlier;
        let place = range - self.first;
        if place >= self.counts.len() {
            self.counts.resize(place + 1, 0);
        }
        self.counts[place] += 1;
    }

    /// The runtime that so many percent did not exceed, seconds, off by 1/17 at most; `None` when there is none.
    pub fn quantile(&self, percent: u64) -> Option<f64> {
        let total: u64 = self.counts.iter().sum();
        let rank = (total.saturating_mul(percent)).div_ceil(100).max(1);
        let mut below = 0;
        let place = self.counts.iter().position(|count| {
            below += count;
            below >= rank
        })?;
        let (from, to) = (bound(self.first + place), bound(self.first + place + 1));
        Some(2.0 * from * to / (from + to))
    }
}

fn range(runtime: f64) -> usize {
    let leading = (runtime.abs().to_bits() >> RANGE_SHIFT).saturating_sub(FIRST);
    usize::try_from(leading).map_or(RANGES - 1, |range| range.min(RANGES - 1))
}

/// Where a range begins.
fn bound(range: usize) -> f64 {
    f64::from_bits((FIRST + range as u64) << RANGE_SHIFT)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counted(runtimes: &[f64]) -> Runtimes {
        let mut counted = Runtimes::default();
        for runtime in runtimes {
            counted.count(*runtime);
        }
        counted
    }

    /// The runtime of that rank among all of them.
    fn exact(sorted: &[f64], percent: usize) -> f64 {
        sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1]
    }

    proptest! {
        #[test]
        fn a_quantile_is_that_of_all_runtimes_to_within_a_seventeenth(
            exponents in prop::collection::vec(-13.8..13.8_f64, 1..400),
            percent in 1_u64..=100,
        ) {
            let mut runtimes: Vec<f64> = exponents.into_iter().map(f64::exp).collect();
            let quantile = counted(&runtimes).quantile(percent).unwrap();
            runtimes.sort_by(f64::total_cmp);
            let exact = exact(&runtimes, usize::try_from(percent).unwrap());
            prop_assert!((quantile - exact).abs() <= exact / 17.0 * (1.0 + 1e-9), "{quantile} for {exact}");
        }

        #[test]
        fn the_order_in_which_they_come_does_not_matter(
            exponents in prop::collection::vec(-13.8..13.8_f64, 1..50),
        ) {
            let mut runtimes: Vec<f64> = exponents.into_iter().map(f64::exp).collect();
            let as_they_come = counted(&runtimes);
            runtimes.sort_by(f64::total_cmp);
            prop_assert_eq!(&as_they_come, &counted(&runtimes));
            runtimes.reverse();
            prop_assert_eq!(&as_they_come, &counted(&runtimes));
        }
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_ends_hold_what_is_beyond() {
        let all = counted(&[0.0, 1e-300, 1e-7, 0.2, 1e7, f64::MAX]);
        assert_eq!(all.counts.len(), RANGES);
        assert_eq!((all.counts[0], all.counts[RANGES - 1]), (3, 2));
        assert!(all.quantile(50).unwrap() < 1.1e-6);
        assert!(all.quantile(100).unwrap() > 1e6);
        assert_eq!(counted(&[]).quantile(50), None);
        // Runtimes within a tenth of each other take a handful of ranges.
        assert_eq!(counted(&[0.2, 0.21, 0.22]).counts.len(), 3);
    }
}
