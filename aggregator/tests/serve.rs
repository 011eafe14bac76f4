//! The aggregator as its clients meet it: one server over a real socket, a folder of its own, and inspectors that the test
//! plays.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

#[path = "serve/bench.rs"]
mod bench;
#[path = "serve/cancelled.rs"]
mod cancelled;
#[path = "serve/control.rs"]
mod control;
#[path = "serve/demand.rs"]
mod demand;
#[path = "serve/ingest.rs"]
mod ingest;
#[path = "serve/lists.rs"]
mod lists;
#[path = "serve/pages.rs"]
mod pages;
#[path = "serve/watching.rs"]
mod watching;
