//! How many replicas a pool should have, and which of its workers should go: a decision with its reasons, from values. Pure;
//! it reads nothing, writes nothing and remembers nothing but what [`History`] is given.

mod brief;
mod decide;
mod demand;
mod history;
mod policy;
mod reason;
mod replicas;
#[cfg(test)]
mod tests;
mod victims;
mod wish;

pub use brief::Brief;
pub use decide::{Decision, decide};
pub use demand::{Demand, Freshness, Rate, ServiceTime};
pub use history::{DOWN_WINDOW, DOWN_WINDOW_MAX, History};
pub use policy::{Policy, Share};
pub use reason::{Held, Reason, Work};
pub use replicas::{Load, Member, Presence, Replicas};
pub use victims::victims;

/// A time, as what has passed since one that the caller chose and keeps; it never goes back.
pub type Moment = std::time::Duration;
