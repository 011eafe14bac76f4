//! Formats of Celery and kombu: pure functions from bytes to values and back. No I/O, no clock.

pub mod argument;
pub mod content;
pub mod event;
pub mod json;
pub mod message;
pub mod outcome;
pub mod pidbox;
pub mod rejection;
pub mod task;
pub mod topology;
pub mod url;

#[cfg(test)]
mod recorded;
