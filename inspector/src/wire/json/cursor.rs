//! A walk through JSON as programs write it: strict, on one line. It gives up (`None`) at anything else, also where a full
//! parser would go on; what it gives is what such a one gives.

use std::borrow::Cow;

use memchr::memchr;
use serde_json::value::RawValue;

use super::string;

/// Objects and arrays in each other that are passed over.
const DEPTH_MAX: usize = 16;

/// Words in which a quote is looked for before `memchr` is called: names and most values are no longer, and a call costs more
/// than to look at them.
const NEAR_WORDS: usize = 5;

/// Where the first quote is.
#[inline]
fn quote(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([0x01; 8]);
    const HIGHS: u64 = u64::from_le_bytes([0x80; 8]);
    const QUOTES: u64 = u64::from_le_bytes([b'"'; 8]);
    let (words, _) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().take(NEAR_WORDS).enumerate() {
        // A byte that is a quote becomes zero, and of the first zero byte the high bit is set.
        let word = u64::from_le_bytes(*word) ^ QUOTES;
        let found = word.wrapping_sub(ONES) & !word & HIGHS;
        if found != 0 {
            return Some(index * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let near = words.len().min(NEAR_WORDS) * 8;
    memchr(b'"', &bytes[near..]).map(|at| near + at)
}

/// A place in a text.
pub(in crate::wire) struct Cursor<'a> {
    text: &'a str,
    at: usize,
    /// There is no escape in the whole text, so that none has to be looked for in each string.
    plain: bool,
}

impl<'a> Cursor<'a> {
    /// At the beginning of `bytes`; `None` when they are no UTF-8 or have control characters, as line breaks are.
    pub(in crate::wire) fn new(bytes: &'a [u8]) -> Option<Self> {
        // Without a way out in the middle the compiler looks at many bytes at once.
        let least = bytes.iter().fold(u8::MAX, |least, byte| least.min(*byte));
        let text = std::str::from_utf8(bytes).ok().filter(|_| least >= b' ')?;
        Some(Self {
            text,
            at: 0,
            plain: memchr(b'\\', bytes).is_none(),
        })
    }

    /// The next byte that is no blank.
    #[inline]
    pub(in crate::wire) fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while *bytes.get(self.at)? == b' ' {
            self.at += 1;
        }
        Some(bytes[self.at])
    }

    /// Passes over `byte`, which has to be next.
    #[inline]
    fn pass(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// Passes over a word, when it is next.
    fn word(&mut self, word: &str) -> bool {
        let is_next = self.text.as_bytes()[self.at..].starts_with(word.as_bytes());
        if is_next {
            self.at += word.len();
        }
        is_next
    }

    /// The end; nothing but blanks may follow.
    pub(in crate::wire) fn end(mut self) -> Option<()> {
        self.peek().is_none().then_some(())
    }

    /// A string.
    pub(in crate::wire) fn string(&mut self) -> Option<Cow<'a, str>> {
        self.pass(b'"')?;
        let from = self.at;
        let mut to = from + quote(&self.text.as_bytes()[from..])?;
        if self.plain || memchr(b'\\', &self.text.as_bytes()[from..to]).is_none() {
            self.at = to + 1;
            return Some(Cow::Borrowed(&self.text[from..to]));
        }
        while self.is_escaped(from, to) {
            to += 1 + memchr(b'"', &self.text.as_bytes()[to + 1..])?;
        }
        self.at = to + 1;
        string(&self.text[from - 1..=to])
    }

    /// Whether an odd number of backslashes stands before `at`.
    fn is_escaped(&self, from: usize, at: usize) -> bool {
        let before = self.text.as_bytes()[from..at].iter().rev();
        before.take_while(|byte| **byte == b'\\').count() % 2 == 1
    }

    /// A string, or `None` inside for `null`.
    #[expect(
        clippy::option_option,
        reason = "outside `None` gives up, inside it is `null`"
    )]
    pub(in crate::wire) fn maybe_string(&mut self) -> Option<Option<Cow<'a, str>>> {
        if self.null()? {
            return Some(None);
        }
        self.string().map(Some)
    }

    /// Passes over `null`, when it is next.
    #[inline]
    pub(in crate::wire) fn null(&mut self) -> Option<bool> {
        Some(self.peek()? == b'n' && self.word("null"))
    }

    /// `true` or `false`.
    pub(in crate::wire) fn boolean(&mut self) -> Option<bool> {
        self.peek()?;
        if self.word("true") {
            return Some(true);
        }
        self.word("false").then_some(false)
    }

    /// The text of a number without an exponent.
    pub(in crate::wire) fn number(&mut self) -> Option<&'a str> {
        self.peek()?;
        let from = self.at;
        let bytes = self.text.as_bytes();
        if bytes[self.at] == b'-' {
            self.at += 1;
        }
        let whole = self.digits()?;
        if whole > 1 && bytes[self.at - whole] == b'0' {
            return None;
        }
        if bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(bytes.get(self.at), Some(b'e' | b'E')) {
            return None;
        }
        Some(&self.text[from..self.at])
    }

    /// Passes over digits, at least one; how many.
    fn digits(&mut self) -> Option<usize> {
        let rest = &self.text.as_bytes()[self.at..];
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        (count > 0).then_some(count)
    }

    /// Each field of an object in turn; `field` reads its value. Names have no escapes.
    #[inline]
    pub(in crate::wire) fn object(
        &mut self,
        mut field: impl FnMut(&mut Self, &'a str) -> Option<()>,
    ) -> Option<()> {
        self.pass(b'{')?;
        if self.peek()? == b'}' {
            return self.pass(b'}');
        }
        loop {
            let Cow::Borrowed(name) = self.string()? else {
                return None;
            };
            self.pass(b':')?;
            field(self, name)?;
            if self.peek()? == b'}' {
                return self.pass(b'}');
            }
            self.pass(b',')?;
        }
    }

    /// Each element of an array in turn.
    pub(in crate::wire) fn list(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Option<()>,
    ) -> Option<()> {
        self.pass(b'[')?;
        if self.peek()? == b']' {
            return self.pass(b']');
        }
        loop {
            element(self)?;
            if self.peek()? == b']' {
                return self.pass(b']');
            }
            self.pass(b',')?;
        }
    }

    /// Passes over a value.
    pub(in crate::wire) fn skip(&mut self) -> Option<()> {
        self.skip_within(DEPTH_MAX)
    }

    fn skip_within(&mut self, depth: usize) -> Option<()> {
        match self.peek()? {
            b'"' => self.string().map(drop),
            b'{' => {
                let depth = depth.checked_sub(1)?;
                self.object(|inner, _| inner.skip_within(depth))
            }
            b'[' => {
                let depth = depth.checked_sub(1)?;
                self.list(|inner| inner.skip_within(depth))
            }
            b't' | b'f' => self.boolean().map(drop),
            b'n' => self.null()?.then_some(()),
            _ => self.number().map(drop),
        }
    }

    /// The JSON text of a value of any kind.
    pub(in crate::wire) fn raw(&mut self) -> Option<&'a str> {
        let rest = &self.text[self.at..];
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<&'a RawValue>();
        let raw = values.next()?.ok()?;
        self.at += values.byte_offset();
        Some(raw.get())
    }
}
