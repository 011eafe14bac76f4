//! Encodes values for rows and records.

use std::convert::Infallible;

use minicbor::Encode;
use minicbor::encode::Write;

/// Memory to encode into.
struct Memory<'a>(&'a mut Vec<u8>);

impl Write for Memory<'_> {
    type Error = Infallible;

    /// Nearly all of what makes up a task are pieces of one to nine bytes: a copy of a known length is a store, where one of
    /// any length is a call.
    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        match bytes.len() {
            1 => self.0.extend_from_slice(&bytes[..1]),
            2 => self.0.extend_from_slice(&bytes[..2]),
            4 => self.0.extend_from_slice(&bytes[..4]),
            8 => self.0.extend_from_slice(&bytes[..8]),
            _ => self.0.extend_from_slice(bytes),
        }
        Ok(())
    }
}

/// Appends a value as CBOR.
pub(super) fn encode<T: Encode<()>>(value: &T, to: &mut Vec<u8>) {
    minicbor::encode(value, Memory(to)).expect("writing CBOR to memory cannot fail");
}

#[cfg(test)]
mod tests {
    use super::encode;

    #[test]
    fn pieces_of_every_length_are_what_they_are_elsewhere() {
        for length in 0..20 {
            let value = (vec![7_u64 << length; length], "é".repeat(length), 0.1, true);
            let mut bytes = vec![1];
            encode(&value, &mut bytes);
            assert_eq!(bytes[0], 1);
            assert_eq!(bytes[1..], minicbor::to_vec(&value).unwrap());
        }
    }
}
