//! Identifiers: task ids, interned names and times.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

/// Microseconds since the Unix epoch, on the clock that the field's comment names.
pub type Micros = i64;

/// A name that many things share: a task name, a node name, a queue. Cheap to clone.
#[derive(Clone, Eq, PartialOrd, Ord)]
pub struct Symbol(Arc<str>);

impl PartialEq for Symbol {
    /// Most that are compared share their text: then no byte of it is looked at.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Hash for Symbol {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Symbol {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether anything beside this one holds the text.
    pub(super) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

impl From<&str> for Symbol {
    fn from(text: &str) -> Self {
        Self(Arc::from(text))
    }
}

impl From<String> for Symbol {
    fn from(text: String) -> Self {
        Self(Arc::from(text))
    }
}

impl Deref for Symbol {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Symbol {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<C> Encode<C> for Symbol {
    fn encode<W: encode::Write>(
        &self,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        encoder.str(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Symbol {
    fn decode(decoder: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        decoder.str().map(Symbol::from)
    }
}

/// A task id. Celery's are UUIDs in 36 characters, kept in 16 bytes; any other text is kept as it is.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TaskId {
    /// A UUID in its canonical lower-case form.
    Uuid([u8; 16]),
    /// Anything else.
    Text(Arc<str>),
}

impl TaskId {
    /// The bytes that stand for it in the database: the 16 of a UUID, else the text's behind 0xFF (which no UTF-8 text
    /// holds), twice where one would make 16 bytes, so that two ids never share a key.
    pub fn key(&self) -> Vec<u8> {
        match self {
            Self::Uuid(bytes) => bytes.to_vec(),
            Self::Text(text) if text.len() == 15 => [&[0xFF, 0xFF], text.as_bytes()].concat(),
            Self::Text(text) => [&[0xFF], text.as_bytes()].concat(),
        }
    }

    /// The inverse of [`TaskId::key`]. `None` when the bytes are no key.
    pub fn from_key(key: &[u8]) -> Option<Self> {
        if let Ok(bytes) = <[u8; 16]>::try_from(key) {
            return Some(Self::Uuid(bytes));
        }
        let text = key.strip_prefix(&[0xFF])?;
        let text = text.strip_prefix(&[0xFF]).unwrap_or(text);
        std::str::from_utf8(text)
            .ok()
            .map(|text| Self::Text(Arc::from(text)))
    }
}

/// The bytes of a UUID in its canonical lower-case form.
fn canonical(text: &str) -> Option<[u8; 16]> {
    // Without a way out in the middle the compiler looks at many bytes at once.
    let upper = (text.bytes()).fold(false, |upper, byte| upper | byte.is_ascii_uppercase());
    let may_be = text.len() == 36 && !upper;
    let uuid = may_be.then(|| uuid::Uuid::try_parse(text).ok()).flatten();
    uuid.map(uuid::Uuid::into_bytes)
}

impl From<&str> for TaskId {
    fn from(text: &str) -> Self {
        canonical(text).map_or_else(|| Self::Text(Arc::from(text)), Self::Uuid)
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uuid(bytes) => fmt::Display::fmt(&uuid::Uuid::from_bytes(*bytes), f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl<C> Encode<C> for TaskId {
    fn encode<W: encode::Write>(
        &self,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        match self {
            Self::Uuid(bytes) => encoder.bytes(bytes)?.ok(),
            Self::Text(text) => encoder.str(text)?.ok(),
        }
    }
}

impl<'b, C> Decode<'b, C> for TaskId {
    fn decode(decoder: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        if decoder.datatype()? == minicbor::data::Type::String {
            return decoder.str().map(|text| Self::Text(Arc::from(text)));
        }
        let bytes = decoder.bytes()?;
        <[u8; 16]>::try_from(bytes)
            .map(Self::Uuid)
            .map_err(|_| decode::Error::message("a task id of bytes has 16 of them"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_distinct_and_come_back() {
        let ids = [
            "459a14f9-01ad-4d26-95da-ef49a81d10ce",
            "459A14F9-01AD-4D26-95DA-EF49A81D10CE",
            "459a14f901ad4d2695daef49a81d10ce",
            "my-own-id",
            "fifteen-chars-x",
            "",
        ];
        let mut keys: Vec<_> = ids.iter().map(|id| TaskId::from(*id).key()).collect();
        for (id, key) in ids.iter().zip(&keys) {
            assert_eq!(TaskId::from_key(key).unwrap().to_string(), *id);
        }
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), ids.len());
    }
}
