//! Cuts what a Redis server sends (RESP3) into messages of subscriptions and everything else. Reads nothing itself.
//!
//! The client library parses a value at a time and copies every text of it, which for a stream of small messages costs more
//! than all that is done with them afterwards. Here a message is a slice of the buffer it was read into.

use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};

use crate::wire::message::MESSAGE_BYTES_MAX;

/// Of a larger payload one byte more than this is kept, so that it is known to be too large; the rest is passed over.
const PAYLOAD_BYTES_MAX: usize = MESSAGE_BYTES_MAX;

/// Longest pattern and channel, bytes. Celery's have some tens; what anybody may publish must not end the subscription easily.
const NAME_BYTES_MAX: usize = MESSAGE_BYTES_MAX;

/// Longest line: a type, a number of 64 bits, and the end. Texts in one line (errors) may be longer: they are no messages.
const HEAD_BYTES_MAX: usize = 32;

/// Largest answer to a command, bytes. On a connection that subscribes these are the greeting and pings.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// How a push of a pattern's message begins, in front of pattern, channel and payload.
const MESSAGE: &[u8] = b">4\r\n$8\r\npmessage\r\n";

/// What was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// A message that came by a pattern.
    Message {
        /// The pattern.
        pattern: Bytes,
        /// What was published; of one that is too large the beginning, which is too large as well.
        payload: Bytes,
    },
    /// Any other value, as it was sent.
    Other(Bytes),
}

/// What follows in the buffer cannot be cut: it is no RESP3, or larger than anything that is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Foreign;

/// The place in the stream.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    /// Bytes that the buffer must have before looking again is of use.
    need: usize,
    /// Bytes of a payload that was too large, and its end, still to be passed over.
    passed_over: usize,
}

/// How far a part was read.
enum Step<T> {
    Done(T),
    /// So many bytes are needed, at least.
    Need(usize),
}

macro_rules! step {
    ($step:expr) => {
        match $step? {
            Step::Done(done) => done,
            Step::Need(need) => return Ok(Step::Need(need)),
        }
    };
}

impl Cutter {
    /// The next piece; none when more has to be read first.
    ///
    /// # Errors
    /// What follows cannot be cut.
    pub(super) fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Piece>, Foreign> {
        if self.passed_over > 0 {
            let over = self.passed_over.min(buffer.len());
            buffer.advance(over);
            self.passed_over -= over;
        }
        if buffer.is_empty() || buffer.len() < self.need {
            return Ok(None);
        }
        let step = if is_message(buffer) {
            message(buffer)?
        } else {
            match other(buffer)? {
                Step::Done(length) => {
                    self.need = 0;
                    return Ok(Some(Piece::Other(buffer.split_to(length).freeze())));
                }
                Step::Need(need) => Step::Need(need),
            }
        };
        let Message {
            pattern,
            payload,
            whole,
        } = match step {
            Step::Done(message) => message,
            Step::Need(need) => {
                self.need = need;
                return Ok(None);
            }
        };
        self.need = 0;
        let here = whole.min(buffer.len());
        self.passed_over = whole - here;
        let cut = buffer.split_to(here).freeze();
        Ok(Some(Piece::Message {
            pattern: cut.slice(pattern),
            payload: cut.slice(payload),
        }))
    }

    /// Bytes to read until there is another piece, as far as that is known: of a message that is larger than what is read
    /// at once.
    pub(super) fn missing(&self, buffer: &BytesMut) -> usize {
        self.need.saturating_sub(buffer.len())
    }
}

/// Where the parts of a message are.
struct Message {
    pattern: Range<usize>,
    payload: Range<usize>,
    /// With its end.
    whole: usize,
}

/// Whether the buffer begins with a message, as far as it goes.
fn is_message(buffer: &[u8]) -> bool {
    let length = buffer.len().min(MESSAGE.len());
    buffer[..length] == MESSAGE[..length]
}

fn message(buffer: &[u8]) -> Result<Step<Message>, Foreign> {
    // No more than the next byte: with it, this may be another push, which can be shorter.
    if buffer.len() < MESSAGE.len() {
        return Ok(Step::Need(buffer.len() + 1));
    }
    let pattern = step!(text(buffer, MESSAGE.len(), NAME_BYTES_MAX));
    let channel = step!(text(buffer, pattern.end + 2, NAME_BYTES_MAX));
    let (from, length) = step!(length_of(buffer, channel.end + 2, b'$'));
    if length > PAYLOAD_BYTES_MAX {
        let whole = from.checked_add(length).and_then(|end| end.checked_add(2));
        let (whole, kept) = (whole.ok_or(Foreign)?, from + PAYLOAD_BYTES_MAX + 1);
        if buffer.len() < kept {
            return Ok(Step::Need(kept));
        }
        return Ok(Step::Done(Message {
            pattern,
            payload: from..kept,
            whole,
        }));
    }
    let payload = step!(ended(buffer, from, length));
    let whole = payload.end + 2;
    Ok(Step::Done(Message {
        pattern,
        payload,
        whole,
    }))
}

/// The bulk string that begins at `at`, when it and its end are there.
fn text(buffer: &[u8], at: usize, bytes_max: usize) -> Result<Step<Range<usize>>, Foreign> {
    let (from, length) = step!(length_of(buffer, at, b'$'));
    if length > bytes_max {
        return Err(Foreign);
    }
    ended(buffer, from, length)
}

/// The text of this length, when its end is there.
fn ended(buffer: &[u8], from: usize, length: usize) -> Result<Step<Range<usize>>, Foreign> {
    let to = from + length;
    match buffer.get(to..to + 2) {
        None => Ok(Step::Need(to + 2)),
        Some(b"\r\n") => Ok(Step::Done(from..to)),
        Some(_) => Err(Foreign),
    }
}

/// The number in the line that begins with `kind` at `at`, and where the next line begins.
fn length_of(buffer: &[u8], at: usize, kind: u8) -> Result<Step<(usize, usize)>, Foreign> {
    let Some(line) = buffer.get(at..).filter(|line| !line.is_empty()) else {
        return Ok(Step::Need(at + 1));
    };
    if line[0] != kind {
        return Err(Foreign);
    }
    let mut number: usize = 0;
    for (index, byte) in line.iter().enumerate().skip(1).take(HEAD_BYTES_MAX) {
        match byte {
            b'0'..=b'9' => {
                let digit = usize::from(byte - b'0');
                let more = number
                    .checked_mul(10)
                    .and_then(|ten| ten.checked_add(digit));
                number = more.ok_or(Foreign)?;
            }
            b'\r' if index > 1 => {
                return match line.get(index + 1) {
                    None => Ok(Step::Need(at + index + 2)),
                    Some(b'\n') => Ok(Step::Done((at + index + 2, number))),
                    Some(_) => Err(Foreign),
                };
            }
            _ => return Err(Foreign),
        }
    }
    if line.len() > HEAD_BYTES_MAX {
        return Err(Foreign);
    }
    Ok(Step::Need(buffer.len() + 1))
}

/// The length of the value that the buffer begins with, of any type.
fn other(buffer: &[u8]) -> Result<Step<usize>, Foreign> {
    let mut at = 0;
    // Values still to come; they are counted, not nested, so that no depth is too deep.
    let mut left: usize = 1;
    while left > 0 {
        let Some(kind) = buffer.get(at) else {
            return Ok(Step::Need(at + 1));
        };
        left -= 1;
        match kind {
            b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => {
                let Some(end) = buffer[at..].windows(2).position(|two| two == b"\r\n") else {
                    return within(buffer, buffer.len() + 1);
                };
                at += end + 2;
            }
            // RESP2's absent values, which servers of RESP3 may still send.
            b'$' | b'*' if buffer.get(at + 1) == Some(&b'-') => match buffer.get(at + 1..at + 5) {
                None => return within(buffer, at + 5),
                Some(b"-1\r\n") => at += 5,
                Some(_) => return Err(Foreign),
            },
            b'$' | b'!' | b'=' => {
                let (from, length) = step!(length_of(buffer, at, *kind));
                at = from.checked_add(length).ok_or(Foreign)?;
                at = at.checked_add(2).ok_or(Foreign)?;
            }
            b'*' | b'~' | b'>' | b'%' | b'|' => {
                let (from, count) = step!(length_of(buffer, at, *kind));
                let count = match kind {
                    b'%' => count.checked_mul(2),
                    // And the value that the attributes are of.
                    b'|' => count.checked_mul(2).and_then(|count| count.checked_add(1)),
                    _ => Some(count),
                };
                left = count
                    .and_then(|count| left.checked_add(count))
                    .ok_or(Foreign)?;
                at = from;
            }
            _ => return Err(Foreign),
        }
        if at > buffer.len() {
            return within(buffer, at);
        }
    }
    Ok(Step::Done(at))
}

fn within(buffer: &[u8], need: usize) -> Result<Step<usize>, Foreign> {
    if need > ANSWER_BYTES_MAX {
        return Err(Foreign);
    }
    debug_assert!(need > buffer.len(), "something is missing");
    Ok(Step::Need(need))
}

#[cfg(test)]
mod tests;
