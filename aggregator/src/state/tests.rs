//! Tests of the fold.

mod advice;
mod attempts;
mod bounds;
mod build;
mod demand;
mod gaps;
mod metrics;
mod properties;
mod queries;
mod reader;
mod recent;
mod recordings;
mod snapshots;
mod wishes;
mod workers;
