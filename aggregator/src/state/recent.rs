//! A task's custom events that were counted lately, so that one that comes again counts once, also after a restart. Celery's
//! own types are told by the attempt they belong to; of a custom one the attempt keeps nothing that would tell.

use minicbor::{Decode, Encode};

use super::input::TaskEvent;
use super::limits::RECENT_CUSTOM_MAX;
use super::task::EventStamp;

/// The identities, oldest first, as hashes: two that differ look alike once in 2^64.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Recent(Vec<u64>);

impl Recent {
    /// Whether an event is new; it is known from then on. Without a clock and a time nothing tells two events apart.
    pub(super) fn admit(&mut self, event: &TaskEvent, stamp: EventStamp) -> bool {
        if event.clock.is_none() || event.timestamp.is_none() {
            return true;
        }
        let identity = identity(event, stamp);
        if self.0.contains(&identity) {
            return false;
        }
        if self.0.len() >= RECENT_CUSTOM_MAX {
            self.0.remove(0);
        }
        self.0.push(identity);
        true
    }
}

/// FNV-1a, which is the same on every machine and in every version: it is kept on disk.
fn identity(event: &TaskEvent, stamp: EventStamp) -> u64 {
    let EventStamp {
        pid,
        clock,
        timestamp,
        kind: _,
    } = stamp;
    let numbers = [pid, clock, timestamp.to_bits()];
    let numbers = numbers.iter().flat_map(|number| number.to_be_bytes());
    // No UTF-8 text holds 0xff.
    let texts = event
        .hostname
        .bytes()
        .chain([0xff])
        .chain(event.event_type.bytes());
    numbers
        .chain(texts)
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
}
