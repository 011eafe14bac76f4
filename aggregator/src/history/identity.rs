//! What stands for a task in indexes: a hash of its app and id.

use crate::state::TaskId;

/// A task of an app. Two differ with a likelihood next to certainty; where a row is at hand, its id is compared as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Identity(u128);

impl Identity {
    /// The identity under this database's seed, which nobody outside knows, so that ids cannot be made to collide.
    pub(super) fn new(seed: u64, app: i64, id: &TaskId) -> Self {
        match id {
            TaskId::Uuid(bytes) => Self::of_key(seed, app, bytes),
            TaskId::Text(_) => Self::of_key(seed, app, &id.key()),
        }
    }

    /// The identity of the id with this [`TaskId::key`].
    pub(super) fn of_key(seed: u64, app: i64, key: &[u8]) -> Self {
        let mut first = fold(seed ^ app.cast_unsigned(), 0x9E37_79B9_7F4A_7C15);
        let mut second = fold(first ^ 0xD6E8_FEB8_6659_FD93, seed | 1);
        for chunk in key.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            let word = u64::from_le_bytes(word);
            first = fold(first ^ word, 0xA076_1D64_78BD_642F);
            second = fold(second.rotate_left(29) ^ word, 0xE703_7ED1_A0B4_28DB);
        }
        let length = key.len() as u64;
        first = fold(first ^ length, 0x8EBC_6AF0_9C88_C6E3);
        second = fold(second ^ length, 0x5899_65CC_7537_4CC3);
        Self(u128::from(first) << 64 | u128::from(second))
    }

    /// The part that the id index is ordered by.
    pub(super) fn hash(self) -> u64 {
        (self.0 >> 64) as u64
    }
}

/// 32 bits of an id for the columns of `root_id` and `parent_id`; never 0, which is "none".
pub(super) fn short(id: &TaskId) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "32 bits are wanted")]
    let short = Identity::new(0, 0, id).hash() as u32;
    short.max(1)
}

/// Both halves of a 128-bit product, as in wyhash: every bit of the input moves every bit of the output.
#[expect(clippy::cast_possible_truncation, reason = "the halves of a product")]
fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    (product >> 64) as u64 ^ product as u64
}
