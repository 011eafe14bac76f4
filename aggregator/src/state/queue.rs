//! Task queues and their depths.

use minicbor::{Decode, Encode};

use super::ids::{Micros, Symbol};

/// One task queue, by the last depth reading.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Queue {
    /// Queue name.
    #[n(0)]
    pub name: Symbol,
    /// Ready messages, all priorities. `None` before the first reading.
    #[n(1)]
    pub ready: Option<u64>,
    /// Ready messages by priority; empty when there is one level.
    #[n(2)]
    pub priorities: Vec<(i32, u64)>,
    /// Consumers, where the broker tells.
    #[n(3)]
    pub consumers: Option<u64>,
    /// Not acknowledged, where the broker tells per queue.
    #[n(4)]
    pub unacked: Option<u64>,
    /// When the oldest ready message was sent, where the broker or the message tells.
    #[n(5)]
    pub oldest: Option<Micros>,
    /// The first reading since which it has not been empty.
    #[n(6)]
    pub nonempty_since: Option<Micros>,
    /// When the depth was read (inspector's clock).
    #[n(7)]
    pub read: Option<Micros>,
}
