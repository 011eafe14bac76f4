//! The inspector: speaks Celery's broker protocol, and nothing of Kubernetes, storage or people.
//!
//! `wire` knows the formats (pure), `transport` the brokers, `collect` decides what to ask whom and when, `uplink` hands
//! what was seen to an aggregator.

pub mod collect;
pub mod metrics;
pub mod transport;
pub mod wire;
