//! How a pool comes to have fewer workers without a task noticing: what is known of its pods and workers, and what follows of
//! it. Pure; `drainer` reads the cluster, asks workers and does what is said here.
//!
//! A lowering begins with a mark on each pod that is to go, then its worker is told to take no more tasks, then it is waited
//! for, and only then the Deployment is asked for one pod less, of which Kubernetes takes the marked one. All that another
//! leader has to know is on the pods. The same look at pods and workers finds those that consume less than they should.

mod consumes;
mod deed;
pub mod facts;
mod lower;
pub mod marks;
mod memory;
pub mod pod;
mod says;
mod step;
#[cfg(test)]
mod tests;

pub use consumes::look;
pub use deed::{Deed, Step, Told};
pub use memory::{Answer, Lowered, Memory};
pub use says::{DRAINING, at_rest};
pub use step::step;
