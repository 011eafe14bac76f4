//! The operator: makes Celery apps of custom resources, keeps their replicas, and reports their state.
//!
//! `crd` says what a user writes, as types; it is pure.

pub mod args;
#[expect(
    unreachable_pub,
    reason = "KubeSchema copies a public type into the body of a function"
)]
pub mod crd;
pub mod process;
