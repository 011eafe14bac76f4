//! A pool's replicas as they are: what was asked for, and the pods that are there.

use std::time::Duration;

use super::Moment;

/// A pool's replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replicas {
    /// What the Deployment was asked for.
    pub current: u32,
    /// Pods that are there and not terminating.
    pub members: Vec<Member>,
}

/// One pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The pod's name.
    pub name: String,
    /// How far it is.
    pub presence: Presence,
    /// Since when it is on its way out.
    pub draining: Option<Moment>,
    /// It was on its way out before, and was kept: it is the first to go again, since a reconnect may silence it.
    pub undone: bool,
}

/// How far a pod is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// It is not ready, and no worker of it was ever heard of: nothing can be lost with it.
    Starting,
    /// It is there, and nothing (recent) is known of its worker.
    Unknown,
    /// Its worker tells.
    Known(Load),
}

/// What a worker has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Tasks it can run at a time.
    pub slots: u64,
    /// Tasks that run.
    pub active: u64,
    /// Tasks that wait in it for a slot.
    pub reserved: u64,
    /// Tasks that wait in it for their time.
    pub scheduled: u64,
    /// When it will be done with what it has, as far as that can be told.
    pub remainder: Option<Duration>,
}

impl Replicas {
    /// How many of them are on their way out.
    pub(super) fn draining(&self) -> u32 {
        let count = self.members.iter().filter(|member| member.is_draining());
        u32::try_from(count.count()).map_or(self.current, |count| count.min(self.current))
    }

    /// How many are meant to stay, those that are still to come among them.
    pub(super) fn staying(&self) -> u32 {
        self.current - self.draining()
    }

    /// What the workers that stay have, all together.
    pub(super) fn load(&self) -> Load {
        let staying = self.members.iter().filter(|member| !member.is_draining());
        staying
            .filter_map(Member::load)
            .fold(Load::default(), |sum, load| Load {
                slots: sum.slots.saturating_add(load.slots),
                active: sum.active.saturating_add(load.active),
                reserved: sum.reserved.saturating_add(load.reserved),
                scheduled: sum.scheduled.saturating_add(load.scheduled),
                remainder: None,
            })
    }

    /// Tasks that wait for their time in any worker, those on their way out among them.
    pub(super) fn scheduled(&self) -> u64 {
        let loads = self.members.iter().filter_map(Member::load);
        loads.fold(0, |sum, load| sum.saturating_add(load.scheduled))
    }
}

impl Member {
    /// Whether it is on its way out.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.is_some()
    }

    /// What its worker has, where that is known.
    pub(super) fn load(&self) -> Option<Load> {
        match self.presence {
            Presence::Known(load) => Some(load),
            Presence::Starting | Presence::Unknown => None,
        }
    }
}
