//! What happens between two connections of a subscription. Knows nothing of what is subscribed to.

use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff};
use tokio::time::sleep;

use super::inbox::Inbox;
use super::{Patience, TransportError};

/// A connection that lived shorter than this was no success: the pauses go on growing, so that a server which accepts and
/// closes at once is not hammered.
const SETTLED: Duration = Duration::from_secs(10);

/// How a connection ended, or that there was none.
pub(super) struct Ended {
    /// Why.
    pub(super) error: TransportError,
    /// Since when messages flowed; `None` when they never did.
    pub(super) since: Option<Instant>,
}

impl From<TransportError> for Ended {
    fn from(error: TransportError) -> Self {
        Self { error, since: None }
    }
}

/// The pauses between the connections of one subscription, and what was said of its losses.
pub(super) struct Reconnect {
    patience: Patience,
    pauses: ExponentialBackoff,
    told: Option<String>,
}

impl Reconnect {
    pub(super) fn new(patience: Patience) -> Self {
        Self {
            patience,
            pauses: patience.pauses().build(),
            told: None,
        }
    }

    /// Tells `inbox` of a loss, once, and again when its reason changes while it lasts, and waits until it is time for the
    /// next connection. `kept` as in [`super::Incoming::Lost`].
    pub(super) async fn after(&mut self, ended: Ended, inbox: &Inbox, kept: bool) {
        let Ended { error, since } = ended;
        if let Some(since) = since {
            self.told = None;
            if since.elapsed() >= SETTLED {
                self.pauses = self.patience.pauses().build();
            }
        }
        let reason = error.to_string();
        if self.told.as_ref() != Some(&reason) {
            self.told = Some(reason);
            inbox.lost(error, kept);
        }
        sleep(self.pauses.next().unwrap_or(self.patience.retry_max)).await;
    }
}
