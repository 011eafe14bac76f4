//! Batches on their way to the aggregator: numbered, kept until they are acknowledged, bounded in bytes. It sends nothing
//! and reads no clock.

use std::collections::VecDeque;

use celeriac_proto::v1;
use prost::Message;

use super::convert::{Piece, Source, gap};
use crate::collect::{Gap, GapCause};
use crate::transport::Receipt;

/// What a kept batch costs beside its bytes; without it 32 MiB of tiny batches would be hundreds of MiB.
const BATCH_OVERHEAD_BYTES: usize = 160;

/// Batches kept in the form they were made in, beyond those that were sent: they are neither copied nor decoded when they are
/// sent at once. Their memory has some room to spare, so what has to wait for long is encoded.
const FRESH_MAX: usize = 8;

/// Gaps kept of dropped batches; further ones are covered by the overflow's own span.
const KEPT_GAPS_MAX: usize = 64;

/// Batches not yet acknowledged.
///
/// The first batch kept has the sequence after the acknowledged one, the others follow without holes. When the buffer is
/// full, the newest input is dropped until a quarter of it is free again; that is one gap, sent as soon as there is room.
#[derive(Debug)]
pub struct Outbox {
    source: Source,
    epoch: i64,
    acknowledged: u64,
    kept: VecDeque<Kept>,
    /// How many of `kept` were sent on the present stream.
    sent: usize,
    bytes: usize,
    bytes_max: usize,
    overflow: Option<Overflow>,
}

#[derive(Debug)]
struct Kept {
    /// The batch without its sequence: numbers change with the epoch.
    batch: Form,
    /// Its encoded size, bytes.
    bytes: usize,
    /// To settle with the acknowledgement.
    receipt: Option<Receipt>,
}

/// How a batch is kept.
#[derive(Debug)]
enum Form {
    /// As it was made. What is sent shares the memory of its events.
    Made(Box<v1::Batch>),
    Encoded(Vec<u8>),
}

#[derive(Debug)]
struct Overflow {
    from_micros: i64,
    to_micros: i64,
    messages: u64,
    gaps: Vec<v1::Gap>,
    /// Of what was dropped: settled when the gap is on disk, so that the broker does not wait for ever.
    receipt: Option<Receipt>,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It will be sent.
    Kept,
    /// It began an episode of dropping.
    Overflowed,
    /// It was dropped in an episode that had begun.
    Dropped,
}

/// How to go on after `welcome`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// Send what is left of this epoch.
    Continue,
    /// The aggregator's count does not fit ours (it lost its data, or knows another inspector of the same epoch): begin a
    /// new epoch on a new stream.
    NewEpoch,
}

impl Outbox {
    /// An empty outbox that keeps `bytes_max` bytes.
    pub fn new(source: Source, epoch: i64, bytes_max: usize) -> Self {
        Self {
            source,
            epoch,
            acknowledged: 0,
            kept: VecDeque::new(),
            sent: 0,
            bytes: 0,
            bytes_max,
            overflow: None,
        }
    }

    /// The epoch that sequences count in.
    pub fn epoch(&self) -> i64 {
        self.epoch
    }

    /// Bytes kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether everything is acknowledged.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.overflow.is_none()
    }

    /// Batches not yet acknowledged.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Takes a batch in, or drops it and remembers the gap.
    pub fn put(&mut self, piece: Piece) -> Put {
        let cost = piece.bytes + BATCH_OVERHEAD_BYTES;
        if self.overflow.is_none() && self.bytes + cost <= self.bytes_max {
            self.keep(piece.batch, piece.bytes, piece.receipt);
            return Put::Kept;
        }
        let put = if self.overflow.is_some() {
            Put::Dropped
        } else {
            Put::Overflowed
        };
        self.drop(piece);
        put
    }

    /// Takes in the receipt of messages in which there was nothing to tell.
    pub fn put_receipt(&mut self, receipt: Receipt) {
        match (&mut self.overflow, self.kept.back_mut()) {
            (Some(overflow), _) => overflow.receipt = Some(receipt),
            (None, Some(last)) => last.receipt = Some(receipt),
            (None, None) => receipt.settle(),
        }
    }

    /// The next batch to send on the present stream.
    pub fn take_next(&mut self) -> Option<v1::Batch> {
        let kept = self.kept.get(self.sent)?;
        self.sent += 1;
        let mut batch = match &kept.batch {
            Form::Made(batch) => v1::Batch::clone(batch),
            Form::Encoded(bytes) => v1::Batch::decode(bytes.as_slice())
                .expect("these bytes were encoded from a batch, by this value"),
        };
        batch.sequence = self.acknowledged + self.sent as u64;
        Some(batch)
    }

    /// Whether [`Outbox::take_next`] has something.
    pub fn has_unsent(&self) -> bool {
        self.sent < self.kept.len()
    }

    /// Everything up to `sequence` is on disk. What was not sent cannot be, so a larger number changes nothing more.
    pub fn acknowledge(&mut self, sequence: u64) {
        let new = sequence.saturating_sub(self.acknowledged);
        let done = usize::try_from(new).unwrap_or(usize::MAX).min(self.sent);
        let mut settled = None;
        for kept in self.kept.drain(..done) {
            self.bytes -= kept.bytes + BATCH_OVERHEAD_BYTES;
            settled = kept.receipt.or(settled);
        }
        if let Some(receipt) = settled {
            receipt.settle();
        }
        self.sent -= done;
        self.acknowledged += done as u64;
        self.end_overflow();
    }

    /// A stream is open and the aggregator has said what it has.
    pub fn resume(&mut self, acknowledged: u64) -> Resume {
        let last = self.acknowledged + self.kept.len() as u64;
        if acknowledged < self.acknowledged || acknowledged > last {
            return Resume::NewEpoch;
        }
        self.sent = self.kept.len();
        self.acknowledge(acknowledged);
        self.sent = 0;
        Resume::Continue
    }

    /// Begins another epoch: what is kept is numbered anew.
    pub fn renew(&mut self, epoch: i64) {
        self.epoch = epoch.max(self.epoch + 1);
        self.acknowledged = 0;
        self.sent = 0;
    }

    /// Drops everything, since another inspector's batches are folded now. True when something was dropped that may have
    /// been sent: the numbers of this epoch are not to be used again.
    pub fn discard(&mut self) -> bool {
        let dropped = !self.kept.is_empty();
        self.kept.clear();
        self.sent = 0;
        self.bytes = 0;
        self.overflow = None;
        dropped
    }

    fn keep(&mut self, batch: v1::Batch, bytes: usize, receipt: Option<Receipt>) {
        self.bytes += bytes + BATCH_OVERHEAD_BYTES;
        let soon = self.kept.len() - self.sent < FRESH_MAX;
        let batch = if soon {
            Form::Made(Box::new(batch))
        } else {
            Form::Encoded(batch.encode_to_vec())
        };
        self.kept.push_back(Kept {
            batch,
            bytes,
            receipt,
        });
    }

    fn drop(&mut self, piece: Piece) {
        let overflow = self.overflow.get_or_insert_with(|| Overflow {
            from_micros: piece.from_micros,
            to_micros: piece.to_micros,
            messages: 0,
            gaps: Vec::new(),
            receipt: None,
        });
        overflow.receipt = piece.receipt.or(overflow.receipt.take());
        overflow.messages += piece.messages;
        // Batches without messages (depths, reports) have no times.
        if piece.from_micros > 0 && overflow.from_micros == 0 {
            overflow.from_micros = piece.from_micros;
        }
        overflow.to_micros = overflow.to_micros.max(piece.to_micros);
        let room = KEPT_GAPS_MAX.saturating_sub(overflow.gaps.len());
        overflow
            .gaps
            .extend(piece.batch.gaps.into_iter().take(room));
    }

    /// Tells of what was dropped once there is room again.
    fn end_overflow(&mut self) {
        if self.bytes > self.bytes_max - self.bytes_max / 4 {
            return;
        }
        let Some(overflow) = self.overflow.take() else {
            return;
        };
        let mut gaps = overflow.gaps;
        if overflow.messages > 0 {
            gaps.push(gap(
                &self.source,
                Gap {
                    cause: GapCause::Overflow,
                    start_micros: overflow.from_micros,
                    end_micros: Some(overflow.to_micros),
                    dropped_messages: Some(overflow.messages),
                    detail:
                        "the inspector's buffer was full: the aggregator took nothing for too long"
                            .to_owned(),
                },
            ));
        }
        if !gaps.is_empty() {
            let batch = v1::Batch {
                gaps,
                ..v1::Batch::default()
            };
            let bytes = batch.encoded_len();
            self.keep(batch, bytes, overflow.receipt);
        } else if let Some(receipt) = overflow.receipt {
            self.put_receipt(receipt);
        }
    }
}

#[cfg(test)]
mod tests;
