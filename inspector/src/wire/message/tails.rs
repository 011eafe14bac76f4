//! What follows the body in an envelope. Kombu writes the same after each event of one kind from one worker, but for the
//! delivery tag at its end; what was read once need not be read again.

use hashbrown::HashSet;
use memchr::memchr;

/// Tails kept; all are dropped when there are more. A worker has one for each kind of event.
const TAILS_MAX: usize = 4_096;

/// Longest tail kept, bytes. Usual ones have about 330.
const TAIL_BYTES_MAX: usize = 1_024;

/// How an envelope begins.
const HEAD: &[u8] = b"{\"body\": \"";

/// How the last field of an envelope begins and ends; between the two is a UUID.
const TAG: &[u8] = b"\"delivery_tag\": \"";
const END: &[u8] = b"\"}}";
const UUID_BYTES: usize = 36;

/// The tails of envelopes with a base64 body of JSON, not compressed, and without a ticket.
#[derive(Default)]
pub(super) struct Tails {
    known: HashSet<Box<[u8]>, ahash::RandomState>,
}

impl Tails {
    /// The text of the body, when the envelope ends as one that was learned; whether it is base64 is not known yet.
    pub(super) fn body<'a>(&self, envelope: &'a [u8]) -> Option<&'a [u8]> {
        let (body, tail) = split(envelope)?;
        self.known.contains(tail).then_some(body)
    }

    /// An envelope was read, and is such a one.
    pub(super) fn learn(&mut self, envelope: &[u8]) {
        let Some((_, tail)) = split(envelope).filter(|(_, tail)| tail.len() <= TAIL_BYTES_MAX)
        else {
            return;
        };
        if self.known.len() == TAILS_MAX {
            self.known.clear();
        }
        self.known.insert(tail.into());
    }
}

/// Body and tail of an envelope that begins with the one and ends with a delivery tag, which is left out.
fn split(envelope: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = envelope.strip_prefix(HEAD)?;
    let (body, tail) = rest.split_at(memchr(b'"', rest)?);
    let tail = tail.strip_suffix(END)?;
    let (tail, tag) = tail.split_at(tail.len().checked_sub(UUID_BYTES)?);
    // Without a way out in the middle the compiler looks at many bytes at once.
    let is_uuid = tag.iter().fold(true, |is_uuid, byte| {
        is_uuid & (byte.is_ascii_hexdigit() || *byte == b'-')
    });
    (is_uuid && tail.ends_with(TAG)).then_some((body, tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(body: &str, headers: &str, tag: &str) -> Vec<u8> {
        format!(
            r#"{{"body": "{body}", "headers": {headers}, "properties": {{"body_encoding": "base64", "delivery_tag": "{tag}"}}}}"#
        )
        .into_bytes()
    }

    const TAG: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";

    #[test]
    fn what_ends_alike_is_known_whatever_its_body_and_tag() {
        let mut tails = Tails::default();
        let first = envelope("e30=", "{}", TAG);
        assert_eq!(tails.body(&first), None);
        tails.learn(&first);
        let other = envelope("W10=", "{}", "7c9e6679-7425-40de-944b-e07fc1f90ae7");
        assert_eq!(tails.body(&other), Some(b"W10=".as_slice()));
    }

    #[test]
    fn what_ends_otherwise_is_not() {
        let mut tails = Tails::default();
        tails.learn(&envelope("e30=", "{}", TAG));
        let others = [
            envelope("e30=", r#"{"compression": "x"}"#, TAG),
            envelope("e30=", "{}", &TAG.replace('5', "\"")),
            envelope("e30=", "{}", &TAG[1..]),
            envelope("e30=\\", "{}", TAG).split_off(1),
            envelope("e30=", "{}", TAG)[..60].to_vec(),
        ];
        for other in others {
            assert_eq!(tails.body(&other), None, "{}", other.escape_ascii());
        }
    }

    #[test]
    fn no_more_are_kept_than_fit() {
        let mut tails = Tails::default();
        for number in 0..2 * TAILS_MAX {
            tails.learn(&envelope("e30=", &number.to_string(), TAG));
            assert!(tails.known.len() <= TAILS_MAX);
        }
        tails.learn(&envelope("e30=", &"x".repeat(TAIL_BYTES_MAX), TAG));
        assert_eq!(tails.known.len(), TAILS_MAX);
    }
}
