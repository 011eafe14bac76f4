//! Columns of a block as bytes: integers as small as they can be, and what they read back as.

use crate::state::TaskId;

/// What stands for "none" in a column of integers.
pub(super) const NONE: i64 = i64::MIN;

/// Integers, as the difference from the smallest one in as few bytes as hold them all; 0 is "none".
pub(super) fn encode_integers(values: impl Iterator<Item = Option<i64>> + Clone) -> Vec<u8> {
    // `NONE` itself is moved by one: no time and no count is that far away.
    let values = values.map(|value| value.map(|value| value.max(NONE + 1)));
    let least = values.clone().flatten().min().unwrap_or(0);
    let most = values.clone().flatten().max().unwrap_or(0);
    let raw = |value: i64| value.wrapping_sub(least).cast_unsigned() + 1;
    let width = match raw(most) {
        0..=0xFF => 1_u8,
        0x100..=0xFFFF => 2,
        0x1_0000..=0xFFFF_FFFF => 4,
        _ => 8,
    };
    let mut bytes = vec![width];
    bytes.extend(least.to_le_bytes());
    for value in values {
        bytes.extend(&value.map_or(0, raw).to_le_bytes()[..usize::from(width)]);
    }
    bytes
}

/// Integers read back, [`NONE`] for none.
pub(super) fn decode_integers(bytes: &[u8]) -> Option<Vec<i64>> {
    let (width, rest) = bytes.split_first()?;
    let (least, rest) = rest.split_first_chunk::<8>()?;
    let least = i64::from_le_bytes(*least);
    let value = |raw: u64| match raw {
        0 => NONE,
        raw => least.wrapping_add((raw - 1).cast_signed()),
    };
    match width {
        1 => Some(rest.iter().map(|raw| value(u64::from(*raw))).collect()),
        2 => each(rest, |raw| value(u64::from(u16::from_le_bytes(raw)))),
        4 => each(rest, |raw| value(u64::from(u32::from_le_bytes(raw)))),
        8 => each(rest, |raw| value(u64::from_le_bytes(raw))),
        _ => None,
    }
}

/// Numbers; NaN is "none".
pub(super) fn encode_numbers(values: impl Iterator<Item = Option<f64>>) -> Vec<u8> {
    values
        .flat_map(|value| value.unwrap_or(f64::NAN).to_le_bytes())
        .collect()
}

/// Numbers read back.
pub(super) fn decode_numbers(bytes: &[u8]) -> Option<Vec<f64>> {
    each(bytes, f64::from_le_bytes)
}

/// Places in the dictionary; 0 is "none".
pub(super) fn encode_codes(values: &[u16]) -> Vec<u8> {
    let narrow: Result<Vec<u8>, _> = values.iter().map(|code| u8::try_from(*code)).collect();
    match narrow {
        Ok(narrow) => [&[1], narrow.as_slice()].concat(),
        Err(_) => std::iter::once(2)
            .chain(values.iter().flat_map(|code| code.to_le_bytes()))
            .collect(),
    }
}

/// Places in the dictionary read back.
pub(super) fn decode_codes(bytes: &[u8]) -> Option<Vec<u16>> {
    let (width, rest) = bytes.split_first()?;
    match width {
        1 => Some(rest.iter().map(|code| u16::from(*code)).collect()),
        2 => each(rest, u16::from_le_bytes),
        _ => None,
    }
}

/// Short hashes; 0 is "none".
pub(super) fn encode_shorts(values: impl Iterator<Item = u32>) -> Vec<u8> {
    values.flat_map(u32::to_le_bytes).collect()
}

/// Short hashes read back.
pub(super) fn decode_shorts(bytes: &[u8]) -> Option<Vec<u32>> {
    each(bytes, u32::from_le_bytes)
}

/// Task ids, by their keys.
#[derive(Debug)]
pub(super) struct Ids {
    /// Where each key ends. Empty when all have 16 bytes.
    ends: Vec<u32>,
    keys: Vec<u8>,
}

impl Ids {
    /// From the ids themselves.
    pub(super) fn encode<'i>(ids: impl Iterator<Item = &'i TaskId>) -> Vec<u8> {
        let keys: Vec<Vec<u8>> = ids.map(TaskId::key).collect();
        let uniform = keys.iter().all(|key| key.len() == 16);
        let count = if uniform {
            0
        } else {
            u32::try_from(keys.len()).unwrap_or(0)
        };
        let mut bytes = count.to_le_bytes().to_vec();
        if !uniform {
            let mut end = 0_u32;
            for key in &keys {
                end = end.saturating_add(u32::try_from(key.len()).unwrap_or(u32::MAX));
                bytes.extend(end.to_le_bytes());
            }
        }
        bytes.extend(keys.iter().flatten());
        bytes
    }

    /// As stored, read back.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (count, rest) = bytes.split_first_chunk::<4>()?;
        let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
        let (ends, keys) = rest.split_at_checked(count.checked_mul(4)?)?;
        Some(Self {
            ends: each(ends, u32::from_le_bytes)?,
            keys: keys.to_vec(),
        })
    }

    /// The key of one.
    pub(super) fn key(&self, index: usize) -> Option<&[u8]> {
        if self.ends.is_empty() {
            return self.keys.get(index * 16..index * 16 + 16);
        }
        let start = match index {
            0 => 0,
            _ => *self.ends.get(index - 1)? as usize,
        };
        self.keys.get(start..*self.ends.get(index)? as usize)
    }

    /// One id.
    pub(super) fn get(&self, index: usize) -> Option<TaskId> {
        self.key(index).and_then(TaskId::from_key)
    }
}

fn each<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Option<Vec<T>> {
    let (chunks, rest) = bytes.as_chunks::<N>();
    rest.is_empty()
        .then(|| chunks.iter().map(|chunk| read(*chunk)).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn integers_come_back(
            base in prop_oneof![Just(0_i64), Just(1_700_000_000_000_000), any::<i64>()],
            steps in prop::collection::vec(proptest::option::of(prop_oneof![
                0..200_i64, 0..60_000_i64, 0..4_000_000_000_i64, any::<i64>()
            ]), 0..50),
        ) {
            let values: Vec<_> = steps.iter().map(|step| step.map(|step| base.wrapping_add(step))).collect();
            let bytes = encode_integers(values.iter().copied());
            let expect: Vec<_> =
                values.iter().map(|value| value.map_or(NONE, |value| value.max(NONE + 1))).collect();
            prop_assert_eq!(decode_integers(&bytes), Some(expect));
        }

        #[test]
        fn ids_come_back(texts in prop::collection::vec("[a-z0-9]{0,20}", 0..20), uuids: bool) {
            let ids: Vec<_> = texts.iter().map(|text| if uuids {
                TaskId::Uuid(std::array::from_fn(|at| text.as_bytes().get(at).copied().unwrap_or(0)))
            } else {
                TaskId::from(text.as_str())
            }).collect();
            let read = Ids::decode(&Ids::encode(ids.iter())).unwrap();
            for (index, id) in ids.iter().enumerate() {
                prop_assert_eq!(read.get(index), Some(id.clone()));
            }
            prop_assert_eq!(read.get(ids.len()), None);
        }

        #[test]
        fn codes_come_back(codes in prop::collection::vec(prop_oneof![0..200_u16, any::<u16>()], 0..50)) {
            prop_assert_eq!(decode_codes(&encode_codes(&codes)), Some(codes));
        }
    }
}
