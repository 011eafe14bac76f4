//! Takes the messages of subscriptions out of what a server sends, on their way to the client library, which gets the rest.
//!
//! So the library greets, subscribes, pings and reads answers, and never sees a message.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tokio_util::io::poll_read_buf;

use super::super::inbox::Inbox;
use super::cutter::{Cutter, Foreign, Piece};
use crate::wire::topology::EventPatterns;

/// Bytes read at once: about 80 usual events.
const READ_BYTES: usize = 64 * 1024;

/// Messages of one reading that are a stream: the next reading waits for company.
const STREAM: usize = 16;

/// How long it waits. Waking for every few messages costs more than to read them; they are handed on in batches of 20 ms
/// anyway, and what comes in this time at 100,000 events a second is 900 KiB.
const COMPANY: Duration = Duration::from_millis(10);

/// Buffers kept to be read into again: as many as a stream of 50,000 events a second fills until they are handed on.
const SPENT_MAX: usize = 16;

/// Where messages go.
pub(super) struct Messages {
    inbox: Arc<Inbox>,
    /// The patterns by which events are expected; the first is the one with whose confirmation messages flow.
    expected: Vec<String>,
    /// How its confirmation begins.
    confirmation: Vec<u8>,
    /// It was said that events come by another pattern.
    elsewhere_told: AtomicBool,
}

impl Messages {
    /// Into `inbox`, which is told that messages flow when the expected pattern is confirmed.
    pub(super) fn new(inbox: Arc<Inbox>, patterns: &EventPatterns) -> Self {
        let (expected, length) = (&patterns.expected, patterns.expected.len());
        let confirmation = format!(">3\r\n$10\r\npsubscribe\r\n${length}\r\n{expected}\r\n");
        let expected = std::iter::once(expected).chain(&patterns.older);
        Self {
            inbox,
            expected: expected.cloned().collect(),
            confirmation: confirmation.into_bytes(),
            elsewhere_told: AtomicBool::new(false),
        }
    }

    /// Workers with other options than were given here are seen, but listen elsewhere for control requests.
    fn check_pattern(&self, pattern: &[u8]) {
        let expected = self.expected.iter().any(|one| one.as_bytes() == pattern);
        if !expected && !self.elsewhere_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                expected = self.expected[0],
                seen = %pattern.escape_ascii(),
                "events come where they are not expected: give the app's own fanout_prefix and fanout_patterns as \
                 --transport-option, otherwise its workers may not get control requests"
            );
        }
    }
}

/// A connection without its messages.
pub(super) struct Tap<S> {
    stream: S,
    messages: Arc<Messages>,
    cutter: Cutter,
    /// Read and not yet cut.
    buffer: BytesMut,
    /// The buffer has grown for a large message, and is not to be kept.
    is_large: bool,
    /// Buffers that were read into before, for as long as a stream lasts. Memory that was in use already costs less than new.
    spent: VecDeque<BytesMut>,
    /// Cut off, for the library.
    rest: BytesMut,
    /// Messages of one reading.
    taken: Vec<Bytes>,
    /// Whether a reading that does not fill the buffer has left nothing behind.
    empties: bool,
    /// Until when nothing is read, when it is so.
    pause: Option<Pin<Box<Sleep>>>,
    /// Nothing more comes, or nothing more that can be understood.
    ended: bool,
}

impl<S> Tap<S> {
    /// Takes the messages out of `stream`. `empties`: a reading gives all there is, as far as there is room. So it is with a
    /// socket; TLS gives a record at a time.
    pub(super) fn new(stream: S, messages: Arc<Messages>, empties: bool) -> Self {
        Self {
            stream,
            messages,
            cutter: Cutter::default(),
            buffer: BytesMut::new(),
            is_large: false,
            spent: VecDeque::new(),
            rest: BytesMut::new(),
            taken: Vec::new(),
            empties,
            pause: None,
            ended: false,
        }
    }

    /// Hands on what can be cut off; how many messages were at the end.
    fn sort(&mut self) -> usize {
        loop {
            match self.cutter.next(&mut self.buffer) {
                Ok(Some(Piece::Message { pattern, payload })) => {
                    self.messages.check_pattern(&pattern);
                    self.taken.push(payload);
                }
                Ok(Some(Piece::Other(value))) => {
                    self.rest.extend_from_slice(&value);
                    if value.starts_with(&self.messages.confirmation) {
                        self.messages.inbox.offer_all(&mut self.taken);
                        self.messages.inbox.live(false);
                    }
                }
                Ok(None) => break,
                // The library says what is wrong with it, and gives the connection up.
                Err(Foreign) => {
                    self.end();
                    break;
                }
            }
        }
        let count = self.taken.len();
        self.messages.inbox.offer_all(&mut self.taken);
        count
    }

    fn end(&mut self) {
        self.ended = true;
        self.rest.unsplit(self.buffer.split());
    }
}

impl<S: AsyncRead + Unpin> Tap<S> {
    /// Reads and hands on what came. False at the end.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        if ready!(self.poll_once(cx))? == 0 {
            return Poll::Ready(Ok(false));
        }
        let filled = self.buffer.len() == self.buffer.capacity();
        let is_stream = self.sort() >= STREAM;
        if !is_stream {
            self.spent.clear();
        } else if self.empties && !filled {
            self.pause = Some(Box::pin(sleep(COMPANY)));
        }
        Poll::Ready(Ok(true))
    }

    /// Reads once, and no further than to the end of a message that is larger than what is read at once: what comes after
    /// it does not share its memory.
    fn poll_once(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let stream = Pin::new(&mut self.stream);
        let missing = self.cutter.missing(&self.buffer);
        if missing > READ_BYTES {
            self.buffer.reserve(missing);
            self.is_large = true;
            let mut room = (&mut self.buffer).limit(missing);
            return poll_read_buf(stream, cx, &mut room);
        }
        if self.buffer.capacity() - self.buffer.len() < READ_BYTES / 4 {
            renew(&mut self.buffer, &mut self.spent, &mut self.is_large);
        }
        poll_read_buf(stream, cx, &mut self.buffer)
    }
}

/// Makes room for another reading: in the same buffer or one of the spent, when nobody has a message of it any more, else in
/// a new one.
fn renew(buffer: &mut BytesMut, spent: &mut VecDeque<BytesMut>, is_large: &mut bool) {
    if !*is_large && buffer.try_reclaim(READ_BYTES / 2) {
        return;
    }
    let reclaimed = spent.pop_front_if(|oldest| oldest.try_reclaim(READ_BYTES));
    let mut next = reclaimed.unwrap_or_else(|| BytesMut::with_capacity(READ_BYTES));
    let had_large = std::mem::replace(is_large, buffer.len() > READ_BYTES / 2);
    next.extend_from_slice(buffer);
    if *is_large {
        next.reserve(READ_BYTES);
    }
    let mut full = std::mem::replace(buffer, next);
    if !had_large && spent.len() < SPENT_MAX {
        full.clear();
        spent.push_back(full);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.rest.is_empty() {
                let length = this.rest.len().min(out.remaining());
                out.put_slice(&this.rest[..length]);
                this.rest.advance(length);
                return Poll::Ready(Ok(()));
            }
            if this.ended {
                return Poll::Ready(Ok(()));
            }
            if !ready!(this.poll_more(cx))? {
                this.end();
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
