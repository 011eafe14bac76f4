//! Celery's `auth` serializer: a body of another form, with who signed it (`celery/security/serialization.py`). The signature
//! is not looked at: what is shown of such a message is no more trusted than any other.

use base64_simd::forgiving_decode_to_vec;
use memchr::memmem;

use super::{Broken, Content};

/// Between the parts: signer, signature, content type, content encoding, body.
const SEPARATOR: &[u8] = b"\x00\x01";

/// What was signed.
pub(super) struct Signed {
    pub(super) content: Content,
    packed: Vec<u8>,
    begin: usize,
}

impl Signed {
    /// The body within.
    pub(super) fn body(&self) -> &[u8] {
        &self.packed[self.begin..]
    }

    /// Unpacks a signed body.
    pub(super) fn read(body: &[u8]) -> Result<Self, Broken> {
        let packed = forgiving_decode_to_vec(body).map_err(|_| Broken)?;
        let mut begin = 0;
        // The content type is the first part after signer and signature that is one: before 5.1 the signature is bytes of
        // any value, and may have the separator in it.
        let mut parts = 0;
        for end in memmem::find_iter(&packed, SEPARATOR) {
            if end < begin {
                continue;
            }
            let content = std::str::from_utf8(&packed[begin..end]).map(Content::of);
            if let (2.., Ok(content)) = (parts, content)
                && content != Content::Unknown
            {
                let rest = end + SEPARATOR.len();
                let encoding = memmem::find(&packed[rest..], SEPARATOR).ok_or(Broken)?;
                let begin = rest + encoding + SEPARATOR.len();
                return Ok(Self {
                    content,
                    packed,
                    begin,
                });
            }
            parts += 1;
            begin = end + SEPARATOR.len();
        }
        Err(Broken)
    }
}
