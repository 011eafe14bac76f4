//! Simulated Celery workers: each has its own subscription to remote control, sends the events and gives the answers that
//! real ones were recorded to give (`tests/fixtures`, Celery 5.7, prefork), and knows every task it made.
//!
//! A worker costs some kilobytes, and on Redis a connection, since Redis counts connections that listen; on RabbitMQ workers
//! share connections. They live on a thread of their own. Left out of a real worker: gossip (`--without-gossip`), consumers and
//! messages of tasks (tasks come from nowhere), and the result backend.

mod answers;
mod broker;
mod control;
mod count;
mod descriptors;
mod fleet;
mod load;
mod node;
mod rabbit;
mod recorded;
mod redis;
mod request;
mod speaker;
mod truth;

pub use broker::{Broker, UrlError};
pub use count::Counts;
pub use fleet::{Fleet, FleetBuilder, StartError};
pub use truth::{TaskTruth, Truth};
