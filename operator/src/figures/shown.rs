//! The numbers as a status shows them.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Figures;
use super::round;
use crate::crd::status::Live;

/// The numbers of a status, rounded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    /// Workers on line.
    pub online: Option<u64>,
    /// Busy slots of all slots.
    pub busy: Option<(u64, u64)>,
    /// Messages and tasks that wait.
    pub backlog: Option<u64>,
    /// Since when the oldest message waits.
    pub oldest: Option<Timestamp>,
    /// Messages not acknowledged.
    pub unacked: Option<u64>,
    /// Tasks that failed in the last hour.
    pub failed: Option<u64>,
    /// Versions of Celery.
    pub versions: Vec<String>,
    /// Workers that send no task events.
    pub events_off: Option<u64>,
}

impl Shown {
    /// The numbers of a status as it was written; `failed` is beside them.
    pub fn read(live: &Live, failed: Option<i64>) -> Self {
        let count = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
        let busy = live.busy.as_deref().and_then(|text| text.split_once('/'));
        Self {
            online: count(live.online),
            busy: busy.and_then(|(busy, slots)| Some((busy.parse().ok()?, slots.parse().ok()?))),
            backlog: count(live.backlog),
            oldest: live.oldest.as_ref().map(|time| time.0),
            unacked: count(live.unacked),
            failed: count(failed),
            versions: live.versions.clone(),
            events_off: count(live.events_off),
        }
    }

    /// These numbers as a status is written; `failed` beside them.
    pub fn write(&self) -> (Live, Option<i64>) {
        let count = |number: Option<u64>| number.map(|n| i64::try_from(n).unwrap_or(i64::MAX));
        let live = Live {
            online: count(self.online),
            busy: self.busy.map(|(busy, slots)| format!("{busy}/{slots}")),
            backlog: count(self.backlog),
            oldest: self.oldest.map(Time),
            unacked: count(self.unacked),
            versions: self.versions.clone(),
            events_off: count(self.events_off),
        };
        (live, count(self.failed))
    }

    /// What is to be shown of these numbers after this was.
    #[must_use]
    pub fn then(&self, figures: &Figures, now: Timestamp) -> Self {
        let rounded = |shown, now: Option<u64>| now.map(|now| round::count(shown, now));
        let busy = figures.busy.map(|(busy, slots)| {
            let shown = self.busy.map(|(busy, _)| busy);
            // All of them, or one less, is a difference that rounding must not hide.
            let busy = if busy == slots {
                busy
            } else {
                round::count(shown, busy).min(slots.saturating_sub(1))
            };
            (busy, slots)
        });
        Self {
            online: figures.online,
            busy,
            backlog: rounded(self.backlog, figures.backlog),
            oldest: round::oldest(self.oldest, figures.oldest, now),
            unacked: rounded(self.unacked, figures.unacked),
            failed: rounded(self.failed, figures.failed),
            versions: figures.versions.clone(),
            events_off: figures.events_off,
        }
    }
}
