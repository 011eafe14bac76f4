//! Receipts: what goes with a message to where it becomes safe, and comes back to say so. The broker keeps the message until
//! then.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

/// Stands for a message and all that came before it by the same subscription.
#[derive(Clone)]
pub struct Receipt {
    number: u64,
    settled: Arc<watch::Sender<u64>>,
}

impl Receipt {
    /// The message, and all before it, are safe: the broker may forget them. Cheap, never waits, and does nothing once the
    /// subscription has ended.
    pub fn settle(&self) {
        self.settled.send_if_modified(|settled| {
            let news = *settled < self.number;
            *settled = self.number.max(*settled);
            news
        });
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receipt({})", self.number)
    }
}

impl PartialEq for Receipt {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number && Arc::ptr_eq(&self.settled, &other.settled)
    }
}

/// Makes the receipts of one subscription.
pub(crate) struct Receipts {
    last: u64,
    settled: Arc<watch::Sender<u64>>,
}

impl Receipts {
    /// None made yet; and what tells of the last one that was settled.
    pub(crate) fn new() -> (Self, watch::Receiver<u64>) {
        let (settled, told) = watch::channel(0);
        let receipts = Self {
            last: 0,
            settled: Arc::new(settled),
        };
        (receipts, told)
    }

    /// The number of the last one.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// For the next message.
    pub(crate) fn next(&mut self) -> Receipt {
        self.last += 1;
        Receipt {
            number: self.last,
            settled: Arc::clone(&self.settled),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_of_those_settled_counts_in_whatever_order_they_come() {
        let (mut receipts, told) = Receipts::new();
        let (first, second) = (receipts.next(), receipts.next());
        second.settle();
        assert_eq!(*told.borrow(), 2);
        first.settle();
        assert_eq!((*told.borrow(), receipts.last()), (2, 2));
    }

    #[test]
    fn receipts_of_another_subscription_are_others() {
        let (mut receipts, told) = Receipts::new();
        let (mut others, _) = Receipts::new();
        let other = others.next();
        assert_ne!(receipts.next(), other);
        other.settle();
        assert_eq!(*told.borrow(), 0);
    }
}
