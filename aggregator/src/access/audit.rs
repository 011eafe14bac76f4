//! The audit log: who may, or may not, do what to workers, said before it is done. What a command carries is not in it; its
//! record has that, under the same request id.

use super::{Caller, Right};

/// What is about to be done, or was refused.
#[derive(Debug, Clone, Copy)]
pub struct Act<'a> {
    /// The right it takes.
    pub right: Right,
    /// The app; empty when none was named.
    pub app: &'a str,
    /// The caller's UUID for it.
    pub request_id: &'a str,
    /// How many workers it names; all of them when `all_workers`.
    pub workers: usize,
    /// It is for every worker of the app.
    pub all_workers: bool,
}

/// Says that it is allowed, and follows.
pub fn allowed(caller: &Caller, act: Act<'_>, method: &str) {
    tracing::info!(
        target: "audit",
        principal = caller.principal(),
        right = act.right.as_str(),
        app = act.app,
        method,
        request_id = act.request_id,
        workers = act.workers,
        all_workers = act.all_workers,
        "allowed"
    );
}

/// Says that it was refused.
pub fn refused(caller: &Caller, act: Act<'_>) {
    tracing::warn!(
        target: "audit",
        principal = caller.principal(),
        right = act.right.as_str(),
        app = act.app,
        request_id = act.request_id,
        workers = act.workers,
        all_workers = act.all_workers,
        "refused"
    );
}
