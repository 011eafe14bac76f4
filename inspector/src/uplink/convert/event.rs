//! Events as the contract has them on the wire, written straight from what was decoded: they are by far the most of what is
//! sent, and a value of the generated type between the two would cost more than both.

use bytes::Bytes;
use prost::encoding::{WireType, encode_key, encode_varint};

use crate::wire::event::Event;

/// Events, each encoded as `celeriac.v1.Event`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Events {
    bytes: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
}

impl Events {
    /// Nothing, with room for as much as there is in `other`.
    pub fn with_room_of(other: &Self) -> Self {
        Self {
            bytes: Vec::with_capacity(other.bytes.len()),
            ends: Vec::with_capacity(other.ends.len()),
        }
    }

    /// Adds one.
    pub fn push(&mut self, event: &Event<'_>) {
        encode(event, &mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Each by itself, in order. They share their memory.
    pub fn into_slices(self) -> Vec<Bytes> {
        let whole = Bytes::from(self.bytes);
        let mut from = 0;
        let slices = self.ends.into_iter().map(|end| {
            let slice = whole.slice(from..end);
            from = end;
            slice
        });
        slices.collect()
    }
}

impl<'a, 'b: 'a> FromIterator<&'a Event<'b>> for Events {
    fn from_iter<I: IntoIterator<Item = &'a Event<'b>>>(events: I) -> Self {
        let mut encoded = Self::default();
        events.into_iter().for_each(|event| encoded.push(event));
        encoded
    }
}

/// Appends an event.
fn encode(event: &Event<'_>, to: &mut Vec<u8>) {
    some(1, &event.event_type, to);
    some(2, &event.hostname, to);
    number(3, event.pid, to);
    number(4, event.clock, to);
    double(5, event.timestamp, to);
    signed(
        6,
        Some(event.received_micros).filter(|micros| *micros != 0),
        to,
    );
    text(7, event.uuid.as_deref(), to);
    text(8, event.name.as_deref(), to);
    text(9, event.args.as_deref(), to);
    text(10, event.kwargs.as_deref(), to);
    text(11, event.root_id.as_deref(), to);
    text(12, event.parent_id.as_deref(), to);
    signed(13, event.retries, to);
    text(14, event.eta.as_deref(), to);
    text(15, event.expires.as_deref(), to);
    text(16, event.queue.as_deref(), to);
    text(17, event.exchange.as_deref(), to);
    text(18, event.routing_key.as_deref(), to);
    text(19, event.result.as_deref(), to);
    double(20, event.runtime, to);
    text(21, event.exception.as_deref(), to);
    text(22, event.traceback.as_deref(), to);
    boolean(23, event.terminated, to);
    text(24, event.signum.as_deref(), to);
    boolean(25, event.expired, to);
    boolean(26, event.requeue, to);
    double(27, event.freq, to);
    number(28, event.active, to);
    number(29, event.processed, to);
    if !event.loadavg.is_empty() {
        prost::encoding::double::encode_packed(30, &event.loadavg, to);
    }
    text(31, event.sw_ident.as_deref(), to);
    text(32, event.sw_ver.as_deref(), to);
    text(33, event.sw_sys.as_deref(), to);
    for (name, value) in &event.custom {
        entry(34, name, to, |entry| some(2, value, entry));
    }
    for (name, bytes) in &event.truncated {
        entry(35, name, to, |entry| number(2, Some(*bytes), entry));
    }
    for name in &event.sanitized {
        bytes(36, name.as_bytes(), to);
    }
}

fn bytes(tag: u32, value: &[u8], to: &mut Vec<u8>) {
    encode_key(tag, WireType::LengthDelimited, to);
    encode_varint(value.len() as u64, to);
    to.extend_from_slice(value);
}

/// A text that is absent when it is empty.
fn some(tag: u32, value: &str, to: &mut Vec<u8>) {
    if !value.is_empty() {
        bytes(tag, value.as_bytes(), to);
    }
}

fn text(tag: u32, value: Option<&str>, to: &mut Vec<u8>) {
    if let Some(value) = value {
        bytes(tag, value.as_bytes(), to);
    }
}

fn number(tag: u32, value: Option<u64>, to: &mut Vec<u8>) {
    if let Some(value) = value {
        encode_key(tag, WireType::Varint, to);
        encode_varint(value, to);
    }
}

fn signed(tag: u32, value: Option<i64>, to: &mut Vec<u8>) {
    number(tag, value.map(i64::cast_unsigned), to);
}

fn boolean(tag: u32, value: Option<bool>, to: &mut Vec<u8>) {
    number(tag, value.map(u64::from), to);
}

fn double(tag: u32, value: Option<f64>, to: &mut Vec<u8>) {
    if let Some(value) = value {
        prost::encoding::double::encode(tag, &value, to);
    }
}

/// An entry of a map.
fn entry(tag: u32, name: &str, to: &mut Vec<u8>, value: impl FnOnce(&mut Vec<u8>)) {
    let mut entry = Vec::new();
    some(1, name, &mut entry);
    value(&mut entry);
    bytes(tag, &entry, to);
}
