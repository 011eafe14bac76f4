//! Since when the event subscription has been whole: only silence within that time is a worker's own.

use super::ids::Micros;
use super::limits::REPORT_STALE_AFTER;
use super::units::micros;

/// The state of our own subscription (our own clock).
#[derive(Debug, Default)]
pub(super) struct Subscription {
    live_since: Option<Micros>,
    told_dead: bool,
    last_sign: Option<Micros>,
}

impl Subscription {
    /// An event came, which without a report to the contrary shows that there is a subscription.
    pub(super) fn event_came(&mut self, now: Micros) {
        self.last_sign = Some(now);
        if !self.told_dead {
            self.live_since.get_or_insert(now);
        }
    }

    /// The inspector said how it is. True when it is live and was not before.
    pub(super) fn reported(&mut self, now: Micros, subscribed: bool) -> bool {
        self.last_sign = Some(now);
        self.told_dead = !subscribed;
        if !subscribed {
            self.live_since = None;
            return false;
        }
        let was_dead = self.live_since.is_none();
        self.live_since.get_or_insert(now);
        was_dead
    }

    /// Since when it has been live; `None` when it is not, or when the inspector itself has fallen silent.
    pub(super) fn live_since(&mut self, now: Micros) -> Option<Micros> {
        let age = now.saturating_sub(self.last_sign?);
        if age > micros(REPORT_STALE_AFTER) {
            self.live_since = None;
        }
        self.live_since
    }

    /// Whether it was live when last heard of.
    pub(super) fn is_live(&self) -> bool {
        self.live_since.is_some()
    }
}
