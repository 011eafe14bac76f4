//! The operator: makes Celery apps of custom resources, keeps their replicas, and reports their state.
//!
//! `crd` says what a user writes, `validate` what of it does not go together, `build` what Kubernetes is asked for (all three
//! pure). `controllers` run one resource each through `fetch → validate → build → apply → report`: `fetch` reads the
//! cluster, `apply` and `report` write to it, and nothing else does but `lease`, which says who may, `live`, which asks the
//! aggregator and writes what is happening now, `drainer`, which takes workers away as `drain` says, and `uninstall`, which
//! comes after all of them. `figures` says what is
//! happening now and when it is worth a write, `autoscale` decides how many workers a pool should have, and `convert` reads
//! the ancestor's objects; these, and `drain`, are pure as well.

pub mod aggregator;
pub mod apply;
pub mod args;
pub mod autoscale;
pub mod build;
pub mod config;
pub mod controllers;
pub mod convert;
#[expect(
    unreachable_pub,
    reason = "KubeSchema copies a public type into the body of a function"
)]
pub mod crd;
pub mod drain;
pub mod drainer;
pub mod error;
pub mod fence;
pub mod fetch;
pub mod figures;
pub mod lease;
pub mod live;
pub mod metrics;
pub mod report;
pub mod run;
pub mod scaling;
pub mod uninstall;
pub mod validate;
