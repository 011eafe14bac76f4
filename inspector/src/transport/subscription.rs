//! The reading end of a subscription: what came, in order, one item or many at a time.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Incoming;
use super::inbox::Inbox;

/// What came by a subscription and was not read yet. The subscription ends when this is dropped.
pub struct Subscription(Source);

enum Source {
    Channel(mpsc::Receiver<Incoming>),
    Inbox(
        Arc<Inbox>,
        #[expect(dead_code, reason = "its drop ends the subscription")] DropGuard,
    ),
}

impl Subscription {
    /// Reads from an inbox that the future which `keep` makes fills, until `stop` is cancelled or this is dropped.
    pub(super) fn start<F>(stop: &CancellationToken, keep: impl FnOnce(Arc<Inbox>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let inbox = Arc::new(Inbox::default());
        let fill = keep(Arc::clone(&inbox));
        let unread = stop.child_token();
        let reader = Self(Source::Inbox(
            Arc::clone(&inbox),
            unread.clone().drop_guard(),
        ));
        tokio::spawn(async move {
            tokio::select! {
                () = unread.cancelled() => {}
                () = fill => {}
            }
            inbox.close();
        });
        reader
    }

    /// The next item; `None` after the end. Cancel-safe.
    pub async fn recv(&mut self) -> Option<Incoming> {
        match &mut self.0 {
            Source::Channel(channel) => channel.recv().await,
            Source::Inbox(inbox, _) => {
                let mut one = Vec::with_capacity(1);
                inbox.recv_many(&mut one, 1).await;
                one.pop()
            }
        }
    }

    /// Waits until there is something and appends it to `items`, at most `limit` items; how many. 0 is the end. Cancel-safe.
    pub async fn recv_many(&mut self, items: &mut Vec<Incoming>, limit: usize) -> usize {
        match &mut self.0 {
            Source::Channel(channel) => channel.recv_many(items, limit).await,
            Source::Inbox(inbox, _) => inbox.recv_many(items, limit).await,
        }
    }

    /// Appends what is there already to `items`, at most `limit` items; how many.
    pub fn take_many(&mut self, items: &mut Vec<Incoming>, limit: usize) -> usize {
        match &mut self.0 {
            Source::Channel(channel) => {
                let before = items.len();
                items.extend(std::iter::from_fn(|| channel.try_recv().ok()).take(limit));
                items.len() - before
            }
            Source::Inbox(inbox, _) => inbox.take_many(items, limit),
        }
    }
}

impl From<mpsc::Receiver<Incoming>> for Subscription {
    fn from(channel: mpsc::Receiver<Incoming>) -> Self {
        Self(Source::Channel(channel))
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subscription")
    }
}
