//! A schedule of troubles that follows from a number.

use std::time::Duration;

use super::{Direction, Proxy};

/// A client that was cut off is back within this time, most likely.
const RECONNECTS_WITHIN: Duration = Duration::from_secs(1);

/// What happens to the connections of a [`Proxy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// All are cut.
    Cut,
    /// All are cut after this many bytes more.
    CutMidMessage(u32),
    /// One direction is held back for this long, then flows again.
    Hold(Direction, Duration),
    /// One direction is held back for this long, then all are cut.
    HoldThenCut(Direction, Duration),
    /// Every piece comes this much later, for a second.
    Delay(Duration),
    /// All are cut, and new ones refused for this long.
    Refuse(Duration),
    /// All are cut at the client's end, and what they said (the next one its greeting) comes this much later, while a newer
    /// one is at work.
    Overtake(Duration),
}

impl Fault {
    /// Lets it happen, and ends it.
    pub async fn strike(self, proxy: &Proxy) {
        match self {
            Self::Cut => proxy.cut(),
            Self::CutMidMessage(bytes) => {
                proxy.cut_after(bytes);
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Self::Hold(direction, time) | Self::HoldThenCut(direction, time) => {
                proxy.hold(direction, true);
                tokio::time::sleep(time).await;
                if matches!(self, Self::HoldThenCut(..)) {
                    proxy.cut();
                }
            }
            Self::Delay(delay) => {
                proxy.delay(delay);
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Self::Refuse(time) => {
                proxy.refuse(true);
                proxy.cut();
                tokio::time::sleep(time).await;
            }
            Self::Overtake(time) => {
                proxy.cut();
                proxy.hold(Direction::Up, true);
                tokio::time::sleep(RECONNECTS_WITHIN).await;
                proxy.hang_up();
                proxy.hold(Direction::Up, false);
                tokio::time::sleep(RECONNECTS_WITHIN + time).await;
                proxy.deliver_late();
            }
        }
        proxy.heal();
    }
}

/// An endless schedule.
pub struct Faults(fastrand::Rng);

impl Faults {
    /// The schedule of this number.
    pub fn seeded(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// Some time, up to `max`.
    pub fn pause(&mut self, max: Duration) -> Duration {
        max.mul_f64(self.0.f64())
    }

    /// Whether something happens that happens once in `times`.
    pub fn once_in(&mut self, times: u32) -> bool {
        self.0.u32(..times) == 0
    }
}

impl Iterator for Faults {
    type Item = Fault;

    fn next(&mut self) -> Option<Fault> {
        let direction = if self.0.bool() {
            Direction::Up
        } else {
            Direction::Down
        };
        // Far below the time after which a silent connection is given up: that has tests of its own.
        let time = self.pause(Duration::from_secs(2));
        Some(match self.0.u32(..7) {
            0 => Fault::Cut,
            1 => Fault::CutMidMessage(self.0.u32(1..20_000)),
            2 => Fault::Hold(direction, time),
            3 => Fault::HoldThenCut(direction, time),
            4 => Fault::Delay(time / 20),
            5 => Fault::Refuse(time),
            _ => Fault::Overtake(time),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_follows_from_its_number_and_has_every_kind() {
        let first: Vec<Fault> = Faults::seeded(3).take(60).collect();
        let again: Vec<Fault> = Faults::seeded(3).take(60).collect();
        assert_eq!(first, again);
        let other: Vec<Fault> = Faults::seeded(4).take(60).collect();
        assert_ne!(first, other);
        let kinds = first.iter().map(std::mem::discriminant);
        let kinds: std::collections::HashSet<_> = kinds.collect();
        assert_eq!(kinds.len(), 7);
    }
}
