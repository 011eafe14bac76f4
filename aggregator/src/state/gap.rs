//! Gaps: spans in which events were or may have been missed.

use minicbor::{Decode, Encode};

use super::ids::{Micros, Symbol};

/// Why events were or may have been missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum GapCause {
    /// The broker subscription was lost and made again.
    #[n(0)]
    Reconnect,
    /// A local buffer was full.
    #[n(1)]
    Overflow,
    /// Heartbeats show starts for which no event came.
    #[n(2)]
    Unexplained,
    /// No inspector was attached.
    #[n(3)]
    Detached,
}

/// One gap.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Gap {
    /// Why.
    #[n(0)]
    pub cause: GapCause,
    /// Last moment before which nothing was missed (receive time).
    #[n(1)]
    pub start: Micros,
    /// First moment after which events flow again; `None` while open.
    #[n(2)]
    pub end: Option<Micros>,
    /// The worker concerned; `None` when all are.
    #[n(3)]
    pub worker: Option<Symbol>,
    /// Task starts missed, where countable.
    #[n(4)]
    pub missed_starts: Option<u64>,
    /// Broker messages dropped by a local buffer, where it was one.
    #[n(5)]
    pub dropped_messages: Option<u64>,
    /// What happened, in a sentence.
    #[n(6)]
    pub detail: Box<str>,
}

impl Gap {
    /// Whether it turned out that nothing was missed.
    pub fn is_void(&self) -> bool {
        self.end == Some(self.start)
    }
}
