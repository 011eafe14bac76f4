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

/// The identities of the last [`RECENT_EVENTS_MAX`] events at least, and of twice as many at most: two tables in turn, so that
/// none has to be taken out. Looking and putting in cost some nanoseconds.
#[derive(Debug, Default)]
pub(super) struct Recent {
    current: HashTable<u64>,
    former: HashTable<u64>,
}

impl Recent {
    /// Whether an event is new; it is known from then on.
    pub(super) fn admit(&mut self, identity: u64) -> bool {
        let Self { current, former } = self;
        // It is mixed well, so it is its own hash.
        let is_known =
            |table: &HashTable<u64>| table.find(identity, |one| *one == identity).is_some();
        if is_known(current) || is_known(former) {
            return false;
        }
        if current.len() >= RECENT_EVENTS_MAX {
            std::mem::swap(current, former);
            current.clear();
        }
        current.insert_unique(identity, identity, |one| *one);
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
    let numbers = [event.pid, event.clock, event.timestamp.map(f64::to_bits)];
    let of_task = match &event.id {
        TaskId::Uuid(bytes) => with_bytes(0, bytes),
        TaskId::Text(text) => of_text(text),
    };
    of(&event.hostname, &event.event_type, numbers, of_task)
}

/// The same for an event of a worker.
pub(super) fn of_worker(event: &WorkerEvent) -> Option<u64> {
    let numbers = [event.pid, event.clock, event.timestamp.map(f64::to_bits)];
    of(&event.hostname, &event.event_type, numbers, 0)
}

/// On disk; never to be changed. Two events look alike once in 2^64 pairs; among 114,688 and at 10,000 events a second
/// that is once in 500 years. The parts do not wait for each other, which halves the time.
fn of(
    hostname: &str,
    event_type: &str,
    [pid, clock, timestamp]: [Option<u64>; 3],
    of_task: u64,
) -> Option<u64> {
    let numbers = [pid.unwrap_or(u64::MAX), clock?, timestamp?];
    let of_numbers = numbers.into_iter().fold(0, with);
    let parts = [of_text(hostname), of_text(event_type), of_task];
    let all = parts.into_iter().fold(of_numbers, with);
    Some(finished(all))
}

fn of_text(text: &str) -> u64 {
    with_bytes(text.len() as u64, text.as_bytes())
}

fn with_bytes(hash: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let hash = words
        .iter()
        .fold(hash, |hash, word| with(hash, u64::from_le_bytes(*word)));
    if rest.is_empty() {
        return hash;
    }
    // The last 8, some of them once more; of a shorter text all.
    let last = bytes.last_chunk().copied().unwrap_or_else(|| {
        let mut all = [0; 8];
        all[..rest.len()].copy_from_slice(rest);
        all
    });
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
