//! The inspector: speaks Celery's broker protocol, and nothing of Kubernetes, storage or people.
//!
//! `wire` knows the formats (pure), `transport` the brokers, `collect` decides what to ask whom and when, `uplink` hands
//! what was seen to an aggregator. `run` puts collector and uplink together, `tail` prints events without either, `sidecar`
//! guards one worker.

pub mod args;
pub mod collect;
pub mod config;
pub mod metrics;
pub mod run;
pub mod sidecar;
pub mod tail;
pub mod transport;
pub mod uplink;
pub mod wire;
