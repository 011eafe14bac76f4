//! The buffer between the subscription, which must never wait, and the reader, which may. Bounded; what does not fit is
//! counted, never dropped silently.

use std::collections::VecDeque;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Incoming, Receipt, TransportError, now_micros};
use crate::wire::message::Frame;

/// Most items kept. At 1,000 messages a second (a busy app) this is 16 s without a reader.
pub(super) const ITEMS_MAX: usize = 16_384;

/// Most bytes of messages kept: 2 KiB each at `ITEMS_MAX`, about three times a usual event. A message that is larger
/// alone is dropped too.
pub(super) const BYTES_MAX: usize = 32 * 1024 * 1024;

/// What was received and not yet handed on, in order.
#[derive(Default)]
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    arrived: Notify,
    taken: Notify,
}

#[derive(Default)]
struct Waiting {
    items: VecDeque<Incoming>,
    /// Of the messages in `items`.
    bytes: usize,
    /// Dropped after the last of `items`.
    dropped: Option<Dropped>,
    /// Messages ever received, dropped ones too.
    received: u64,
    closed: bool,
}

#[derive(Clone, Copy)]
struct Dropped {
    messages: Option<u64>,
    from_micros: i64,
    to_micros: i64,
}

impl Inbox {
    /// Takes messages that have just come, all there are. Never waits.
    pub(super) fn offer_all(&self, payloads: &mut Vec<Bytes>) {
        if payloads.is_empty() {
            return;
        }
        let now = now_micros();
        let mut waiting = self.waiting.lock();
        let was_empty = waiting.items.is_empty();
        for payload in payloads.drain(..) {
            waiting.offer(payload, now);
        }
        drop(waiting);
        if was_empty {
            self.arrived.notify_one();
        }
    }

    /// Takes a message that the broker keeps until its receipt is settled. For a sender that waits for [`Inbox::room`]: it is
    /// taken in any case.
    pub(super) fn keep(&self, frame: Frame, receipt: Receipt) {
        let mut waiting = self.waiting.lock();
        let was_empty = waiting.items.is_empty();
        waiting.received += 1;
        waiting.report_dropped();
        waiting.bytes += frame.size();
        waiting.items.push_back(Incoming::Message {
            frame,
            received_micros: now_micros(),
            receipt: Some(receipt),
        });
        drop(waiting);
        if was_empty {
            self.arrived.notify_one();
        }
    }

    /// Whether another message fits.
    pub(super) fn has_room(&self) -> bool {
        let waiting = self.waiting.lock();
        waiting.items.len() < ITEMS_MAX && waiting.bytes < BYTES_MAX
    }

    /// Waits until another message fits. There is one that waits.
    pub(super) async fn room(&self) {
        while !self.has_room() {
            self.taken.notified().await;
        }
    }

    /// Messages flow from now on. `kept` as in [`Incoming::Live`].
    pub(super) fn live(&self, kept: bool) {
        self.mark(Incoming::Live {
            at_micros: now_micros(),
            kept,
        });
    }

    /// No messages flow from now on. `kept` as in [`Incoming::Lost`].
    pub(super) fn lost(&self, error: TransportError, kept: bool) {
        self.mark(Incoming::Lost {
            at_micros: now_micros(),
            error,
            kept,
        });
    }

    /// The broker has dropped messages, which it does not count.
    pub(super) fn dropped_by_broker(&self, from_micros: i64, to_micros: i64) {
        self.mark(Incoming::Dropped {
            messages: None,
            from_micros,
            to_micros,
        });
    }

    /// Marks take no part in the bounds: reconnects are seconds apart, so a day without a reader makes a few thousand.
    fn mark(&self, mark: Incoming) {
        let mut waiting = self.waiting.lock();
        waiting.report_dropped();
        waiting.items.push_back(mark);
        drop(waiting);
        self.arrived.notify_one();
    }

    /// Messages ever received.
    pub(super) fn received(&self) -> u64 {
        self.waiting.lock().received
    }

    /// Nothing more comes.
    pub(super) fn close(&self) {
        self.waiting.lock().closed = true;
        self.arrived.notify_one();
    }

    /// Takes at most `limit` items that are there; how many.
    pub(super) fn take_many(&self, items: &mut Vec<Incoming>, limit: usize) -> usize {
        let mut waiting = self.waiting.lock();
        let before = items.len();
        items.extend(std::iter::from_fn(|| waiting.pop()).take(limit));
        drop(waiting);
        self.taken.notify_one();
        items.len() - before
    }

    /// Waits until something is there and takes at most `limit` items; how many, 0 at the end. There is one reader.
    pub(super) async fn recv_many(&self, items: &mut Vec<Incoming>, limit: usize) -> usize {
        loop {
            let taken = self.take_many(items, limit);
            if taken > 0 || self.waiting.lock().closed {
                return taken;
            }
            self.arrived.notified().await;
        }
    }
}

impl Waiting {
    fn offer(&mut self, payload: Bytes, now: i64) {
        self.received += 1;
        if self.items.len() >= ITEMS_MAX || self.bytes + payload.len() > BYTES_MAX {
            self.count_dropped(now);
            return;
        }
        self.report_dropped();
        self.bytes += payload.len();
        self.items.push_back(Incoming::Message {
            frame: Frame::Envelope(payload),
            received_micros: now,
            receipt: None,
        });
    }

    fn count_dropped(&mut self, now: i64) {
        let dropped = self.dropped.get_or_insert(Dropped {
            messages: Some(0),
            from_micros: now,
            to_micros: now,
        });
        dropped.messages = dropped.messages.map(|messages| messages + 1);
        dropped.to_micros = now;
    }

    fn report_dropped(&mut self) {
        if let Some(dropped) = self.dropped.take() {
            self.items.push_back(dropped.into());
        }
    }

    fn pop(&mut self) -> Option<Incoming> {
        if self.items.is_empty() {
            self.report_dropped();
        }
        let item = self.items.pop_front()?;
        if let Incoming::Message { frame, .. } = &item {
            self.bytes -= frame.size();
        }
        Some(item)
    }
}

impl From<Dropped> for Incoming {
    fn from(dropped: Dropped) -> Self {
        Self::Dropped {
            messages: dropped.messages,
            from_micros: dropped.from_micros,
            to_micros: dropped.to_micros,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(inbox: &Inbox, payload: Vec<u8>) {
        inbox.offer_all(&mut vec![payload.into()]);
    }

    fn drain(inbox: &Inbox) -> Vec<Incoming> {
        let mut waiting = inbox.waiting.lock();
        std::iter::from_fn(|| waiting.pop()).collect()
    }

    fn counts(items: &[Incoming]) -> (u64, u64) {
        items
            .iter()
            .fold((0, 0), |(kept, dropped), item| match item {
                Incoming::Message { .. } => (kept + 1, dropped),
                Incoming::Dropped { messages, .. } => {
                    (kept, dropped + messages.unwrap_or_default())
                }
                _ => (kept, dropped),
            })
    }

    #[test]
    fn items_over_the_bound_are_counted_where_they_were_dropped() {
        let inbox = Inbox::default();
        for _ in 0..ITEMS_MAX + 5 {
            offer(&inbox, vec![1]);
        }
        assert!(matches!(
            inbox.waiting.lock().pop(),
            Some(Incoming::Message { .. })
        ));
        offer(&inbox, vec![2]);
        let items = drain(&inbox);
        let [
            ..,
            Incoming::Dropped {
                messages: Some(5),
                from_micros,
                to_micros,
            },
            Incoming::Message { frame, .. },
        ] = items.as_slice()
        else {
            panic!("the end is {:?}", &items[items.len() - 2..]);
        };
        assert!(from_micros <= to_micros);
        assert_eq!(*frame, Frame::Envelope(vec![2].into()));
        assert_eq!(inbox.received(), ITEMS_MAX as u64 + 6);
    }

    #[test]
    fn bytes_over_the_bound_are_counted_and_freed_by_reading() {
        let inbox = Inbox::default();
        for _ in 0..40 {
            offer(&inbox, vec![0; 1024 * 1024]);
        }
        assert_eq!(counts(&drain(&inbox)), (32, 8));
        assert_eq!(inbox.waiting.lock().bytes, 0);
        offer(&inbox, vec![0; BYTES_MAX]);
        assert_eq!(counts(&drain(&inbox)), (1, 0));
    }

    #[test]
    fn a_message_that_never_fits_is_reported_alone() {
        let inbox = Inbox::default();
        offer(&inbox, vec![0; BYTES_MAX + 1]);
        assert_eq!(counts(&drain(&inbox)), (0, 1));
        assert!(drain(&inbox).is_empty());
    }

    #[test]
    fn a_mark_comes_after_what_was_dropped_before_it() {
        let inbox = Inbox::default();
        for _ in 0..=ITEMS_MAX {
            offer(&inbox, Vec::new());
        }
        inbox.live(false);
        let items = drain(&inbox);
        assert!(matches!(
            items.as_slice(),
            [
                ..,
                Incoming::Dropped {
                    messages: Some(1),
                    ..
                },
                Incoming::Live { .. }
            ]
        ));
    }

    #[tokio::test]
    async fn a_sender_that_can_wait_waits_for_room_and_nothing_is_dropped() {
        let inbox = Inbox::default();
        let (mut receipts, _settled) = super::super::receipt::Receipts::new();
        while inbox.has_room() {
            inbox.keep(
                Frame::Envelope(vec![0; 1024 * 1024].into()),
                receipts.next(),
            );
        }
        assert_eq!(receipts.last(), 32);
        let mut items = Vec::new();
        let read = async {
            tokio::task::yield_now().await;
            inbox.take_many(&mut items, 1);
        };
        tokio::join!(inbox.room(), read);
        assert!(inbox.has_room());
        assert_eq!(counts(&items), (1, 0));
        assert_eq!(counts(&drain(&inbox)), (31, 0));
    }

    #[tokio::test]
    async fn the_reader_gets_everything_in_order_and_then_the_end() {
        let inbox = Inbox::default();
        let read = async {
            let mut items = Vec::new();
            while inbox.recv_many(&mut items, 7).await > 0 {}
            items
        };
        let write = async {
            for number in 0..100_u8 {
                offer(&inbox, vec![number]);
                if number.is_multiple_of(9) {
                    tokio::task::yield_now().await;
                }
            }
            inbox.close();
        };
        let (items, ()) = tokio::join!(read, write);
        let numbers = items.iter().map(|item| match item {
            Incoming::Message {
                frame: Frame::Envelope(payload),
                ..
            } => payload[0],
            other => panic!("instead of a message came {other:?}"),
        });
        assert!(numbers.eq(0..100));
    }
}
