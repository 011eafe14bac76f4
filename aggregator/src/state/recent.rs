//! The events that came last, by identity: one that is told again is the same event, and is folded once.
//!
//! An event is told again when its acknowledgement was lost: a broker delivers anew what an inspector did not acknowledge,
//! and an inspector that begins anew sends what the former one may have sent already.

use hashbrown::HashTable;

use super::app::App;
use super::changes::Changes;
use super::ids::TaskId;
use super::input::{TaskEvent, WorkerEvent};
use super::limits::RECENT_EVENTS_MAX;

/// The identities of the last [`RECENT_EVENTS_MAX`] events.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// In the order in which they came; once full, the oldest is at `next`.
    identities: Vec<u64>,
    next: usize,
    /// Places in `identities`, by identity.
    places: HashTable<u32>,
}

impl Recent {
    /// Whether an event is new; it is known from then on.
    pub(super) fn admit(&mut self, identity: u64) -> bool {
        let Self {
            identities,
            next,
            places,
        } = self;
        let is_there = |place: &u32| identities[*place as usize] == identity;
        if places.find(identity, is_there).is_some() {
            return false;
        }
        #[expect(clippy::cast_possible_truncation, reason = "there are 65,536 places")]
        let place = *next as u32;
        if let Some(oldest) = identities.get_mut(*next) {
            let gone = std::mem::replace(oldest, identity);
            if let Ok(entry) = places.find_entry(gone, |known| *known == place) {
                entry.remove();
            }
        } else {
            identities.push(identity);
        }
        places.insert_unique(identity, place, |place| identities[*place as usize]);
        *next = (*next + 1) % RECENT_EVENTS_MAX;
        true
    }
}

impl App {
    /// Whether an event is to be folded: it is the first with its identity, or has none.
    pub(super) fn is_news(&mut self, identity: Option<u64>, changes: &mut Changes) -> bool {
        let Some(identity) = identity else {
            return true;
        };
        let is_news = self.recent.admit(identity);
        if is_news {
            changes.told.push(identity);
        } else {
            self.events_repeated += 1;
        }
        is_news
    }

    /// Takes up the identities of events that were folded, in the order in which they were.
    pub fn restore_told(&mut self, identities: impl IntoIterator<Item = u64>) {
        for identity in identities {
            self.recent.admit(identity);
        }
    }
}

/// What tells one event of an app from all others. Without clock or time nothing does.
pub(super) fn of_task(event: &TaskEvent) -> Option<u64> {
    let identity = of_sender(
        &event.hostname,
        &event.event_type,
        [event.pid, event.clock, event.timestamp.map(f64::to_bits)],
    )?;
    Some(finished(match &event.id {
        TaskId::Uuid(bytes) => with_bytes(identity, bytes),
        TaskId::Text(text) => with_text(identity, text),
    }))
}

/// The same for an event of a worker.
pub(super) fn of_worker(event: &WorkerEvent) -> Option<u64> {
    let numbers = [event.pid, event.clock, event.timestamp.map(f64::to_bits)];
    of_sender(&event.hostname, &event.event_type, numbers).map(finished)
}

/// On disk; never to be changed. Two events look alike once in 2^64 pairs; among 65,536 and at 10,000 events a second that
/// is once in 900 years.
fn of_sender(
    hostname: &str,
    event_type: &str,
    [pid, clock, timestamp]: [Option<u64>; 3],
) -> Option<u64> {
    let numbers = [pid.unwrap_or(u64::MAX), clock?, timestamp?];
    let of_numbers = numbers.into_iter().fold(0, with);
    Some(with_text(with_text(of_numbers, hostname), event_type))
}

fn with_text(hash: u64, text: &str) -> u64 {
    with_bytes(with(hash, text.len() as u64), text.as_bytes())
}

fn with_bytes(hash: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let hash = words
        .iter()
        .fold(hash, |hash, word| with(hash, u64::from_le_bytes(*word)));
    if rest.is_empty() {
        return hash;
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    with(hash, u64::from_le_bytes(last))
}

/// A bijection, as in `MurmurHash64A`: no round loses what the former had.
fn with(hash: u64, word: u64) -> u64 {
    let product = (hash ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    product ^ (product >> 32)
}

/// The finalizer of `SplitMix64`: every bit of the input moves every bit of the output.
fn finished(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    hash ^ (hash >> 31)
}
