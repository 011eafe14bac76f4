//! The aggregator: folds what inspectors see into state and history, and serves it. It speaks to no broker itself.
//!
//! `state` is the pure fold, `query` the pure filter language, `history` the database, `engine` the only writer of both,
//! `command` what a command to workers is and means, `api` the gRPC edge.

pub mod access;
pub mod api;
pub mod args;
pub mod command;
pub mod config;
pub mod engine;
pub mod history;
pub mod http;
pub mod inprocess;
pub mod metrics;
pub mod query;
pub mod reread;
pub mod run;
pub mod serve;
pub mod state;
