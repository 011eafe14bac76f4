//! What a pool's decisions so far are remembered for: what was wanted lately, what was added, and whether there was a panic.

use std::collections::VecDeque;
use std::time::Duration;

use super::demand::ServiceTime;
use super::{Decision, Moment};

/// Over this long the highest that was wanted stays, unless the owner of the operator says otherwise (Kubernetes' own
/// `--horizontal-pod-autoscaler-downscale-stabilization`).
pub const DOWN_WINDOW: Duration = Duration::from_mins(5);
/// Within this long only so much is added.
pub(super) const UP_PERIOD: Duration = Duration::from_secs(15);
/// So long nothing shrinks after the last sign of panic (Knative's stable window).
pub(super) const PANIC_HOLDS: Duration = Duration::from_mins(1);
/// No window is longer: what is remembered is a number for each second of it.
pub const DOWN_WINDOW_MAX: Duration = Duration::from_hours(1);

/// A pool's decisions so far. It begins with the process that leads: what was before that is not known, and so nothing goes
/// before a whole window has been seen.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    began: Moment,
    window: Duration,
    /// The highest that was wanted in each second, oldest first.
    wanted: VecDeque<(Moment, u32)>,
    /// Replicas that were added, oldest first.
    added: VecDeque<(Moment, u32)>,
    panic_until: Option<Moment>,
    service_time: Option<ServiceTime>,
    no_down_until: Moment,
}

impl History {
    /// Nothing is known of what was before `now`. What was wanted counts for `window`, at most [`DOWN_WINDOW_MAX`].
    pub fn new(now: Moment, window: Duration) -> Self {
        Self {
            began: now,
            window: window.min(DOWN_WINDOW_MAX),
            wanted: VecDeque::new(),
            added: VecDeque::new(),
            panic_until: None,
            service_time: None,
            no_down_until: now,
        }
    }

    /// Remembers a decision that was acted on.
    pub fn record(&mut self, now: Moment, decision: &Decision) {
        if let Some(service_time) = decision.service_time {
            self.service_time = Some(service_time);
        }
        if decision.panic {
            self.panic_until = Some(now + PANIC_HOLDS);
        }
        if let Some(wanted) = decision.wanted {
            self.want(now, wanted);
        }
        if decision.added > 0 {
            self.added.push_back((now, decision.added));
        }
        while self
            .added
            .front()
            .is_some_and(|(at, _)| *at + UP_PERIOD <= now)
        {
            self.added.pop_front();
        }
    }

    fn want(&mut self, now: Moment, wanted: u32) {
        match self.wanted.back_mut() {
            Some((at, highest)) if at.as_secs() == now.as_secs() => {
                *highest = (*highest).max(wanted);
            }
            _ => self.wanted.push_back((now, wanted)),
        }
        // However often it is decided: a second each in the window, and one that is growing.
        let kept = usize::try_from(self.window.as_secs() + 2).unwrap_or(usize::MAX);
        let window = self.window;
        while self.wanted.len() > kept
            || self
                .wanted
                .front()
                .is_some_and(|(at, _)| *at + window < now)
        {
            self.wanted.pop_front();
        }
    }

    /// Something went wrong on the way down: for a whole window from `now` nobody goes.
    pub fn refuse_down(&mut self, now: Moment) {
        self.no_down_until = now + self.window;
    }

    /// The highest that was wanted within the window, and for how much longer it counts.
    pub(super) fn highest(&self, now: Moment) -> Option<(u32, Duration)> {
        let within = self
            .wanted
            .iter()
            .filter(|(at, _)| *at + self.window >= now);
        let (at, highest) = within.max_by_key(|(at, wanted)| (*wanted, *at))?;
        Some((*highest, (*at + self.window).saturating_sub(now)))
    }

    /// Replicas added within the period.
    pub(super) fn added(&self, now: Moment) -> u32 {
        let within = self.added.iter().filter(|(at, _)| *at + UP_PERIOD > now);
        within.fold(0, |sum, (_, added)| sum.saturating_add(*added))
    }

    /// How long a panic of before still holds.
    pub(super) fn panics_for(&self, now: Moment) -> Option<Duration> {
        let left = self.panic_until?.saturating_sub(now);
        (!left.is_zero()).then_some(left)
    }

    /// How long it is until a whole window has been seen.
    pub(super) fn unseen(&self, now: Moment) -> Option<Duration> {
        let left = (self.began + self.window).saturating_sub(now);
        (!left.is_zero()).then_some(left)
    }

    /// How long nobody may go after a lowering that went wrong.
    pub(super) fn refuses_for(&self, now: Moment) -> Option<Duration> {
        let left = self.no_down_until.saturating_sub(now);
        (!left.is_zero()).then_some(left)
    }

    /// How long what was wanted counts.
    pub(super) fn window(&self) -> Duration {
        self.window
    }

    /// The last slot time that was known.
    pub(super) fn service_time(&self) -> Option<ServiceTime> {
        self.service_time
    }
}
