//! Whether an id may be in a generation of the id index: a filter that answers most "no"s without a look at the disk.
//! Nearly every id that a worker reports for the first time is new.

/// Rows per generation.
pub(super) const GENERATION: i64 = 65_536;
/// 16 bits per row: 128 KiB a generation, 2 MiB for a million rows.
const WORDS: usize = 16_384;
/// Bits set per id, all in one cache line of 8 words.
const BITS: u32 = 6;

/// The ids of one generation. May say yes for about one other id in a thousand, never no for one of them.
#[derive(Debug, Clone)]
pub(super) struct Membership {
    words: Box<[u64]>,
}

impl Membership {
    /// None yet.
    pub(super) fn new() -> Self {
        Self {
            words: vec![0; WORDS].into_boxed_slice(),
        }
    }

    /// Adds an id by its hash.
    pub(super) fn insert(&mut self, hash: u64) {
        for (word, bit) in places(hash) {
            self.words[word] |= bit;
        }
    }

    /// Whether the id may have been added.
    pub(super) fn may_hold(&self, hash: u64) -> bool {
        places(hash).all(|(word, bit)| self.words[word] & bit != 0)
    }

    /// As stored.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        self.words
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect()
    }

    /// As stored, read back. `None` when it is not one.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<8>();
        if !rest.is_empty() || words.len() != WORDS {
            return None;
        }
        Some(Self {
            words: words.iter().map(|word| u64::from_le_bytes(*word)).collect(),
        })
    }
}

fn places(hash: u64) -> impl Iterator<Item = (usize, u64)> {
    let line = (hash >> 53) as usize * 8;
    // The line took the upper bits; these come from all of them.
    let mut bits = hash.wrapping_mul(0xD6E8_FEB8_6659_FD93).rotate_right(32);
    (0..BITS).map(move |_| {
        let place = bits & 511;
        bits >>= 9;
        (line + (place >> 6) as usize, 1 << (place & 63))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_knows_its_own_and_few_others() {
        let hash = |number: u64| {
            super::super::identity::Identity::of_key(7, 1, &number.to_le_bytes()).hash()
        };
        let mut membership = Membership::new();
        (0..GENERATION.cast_unsigned()).for_each(|number| membership.insert(hash(number)));
        let membership = Membership::from_bytes(&membership.to_bytes()).unwrap();
        assert!((0..GENERATION.cast_unsigned()).all(|number| membership.may_hold(hash(number))));
        let others = (1_000_000..1_100_000).filter(|number| membership.may_hold(hash(*number)));
        let count = others.count();
        assert!(count < 400, "{count} of 100,000 are wrong");
    }
}
