//! Pools that the operator scales by their load: a real control plane, real brokers and workers, a real aggregator.

mod decides;
mod scene;
mod starting;
mod truth;
mod whole;
