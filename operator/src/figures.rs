//! The live part of a status: what the aggregator's picture of an app comes to, how it is rounded, and when it is worth a
//! write. Pure; `live` asks the aggregator and writes.

pub mod due;
pub mod lint;
pub mod observed;
pub mod picture;
pub mod round;
pub mod shown;

use std::collections::BTreeSet;

use jiff::Timestamp;

use picture::{App, Queue, Worker};

pub use due::{Due, Memory, Said, pick};
pub use observed::{Known, observe};
pub use shown::Shown;

/// Versions of Celery that a status names: while an app is upgraded there are two.
const VERSIONS_MAX: usize = 8;

/// What the node name of a worker of ours begins with; the name of its pod follows.
const NODE: &str = "celery@";

/// The exact numbers of an app or of one pool.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    /// Workers that are heard of.
    pub online: Option<u64>,
    /// Slots that run a task, and all slots; of the workers on line whose slots are known. `None`: of none they are.
    pub busy: Option<(u64, u64)>,
    /// Messages ready, and tasks that workers hold and do not run, without those that wait for their ETA. `None`: not read
    /// yet, or the queues are not known.
    pub backlog: Option<u64>,
    /// When the oldest message that is ready was sent, or first seen.
    pub oldest: Option<Timestamp>,
    /// Messages delivered and not acknowledged, where the broker tells.
    pub unacked: Option<u64>,
    /// Tasks that failed in the last hour; known of an app as a whole.
    pub failed: Option<u64>,
    /// Versions of Celery on line, in order.
    pub versions: Vec<String>,
    /// Workers on line that run tasks and send no events about them.
    pub events_off: Option<u64>,
}

/// The numbers of an app.
pub fn of_app(app: &App) -> Figures {
    let online: Vec<&Worker> = app.workers.iter().filter(|worker| worker.online).collect();
    let queues: Vec<&Queue> = app.queues.iter().collect();
    // A broker without any queue has nothing in it; one whose queues were not read yet may have.
    let read = queues.is_empty() || queues.iter().any(|queue| queue.ready.is_some());
    Figures {
        backlog: read.then(|| ready(&queues) + reserved(&online)),
        unacked: app.unacked,
        failed: app.failed_last_hour,
        ..of_workers(&online, &queues)
    }
}

/// The numbers of a pool: of the workers in its pods, and of the queues they take from. `targets` are those it is told to;
/// without any, what its workers say.
pub fn of_pool(app: &App, pool: &str, targets: &[String]) -> Figures {
    let online: Vec<&Worker> = app
        .workers
        .iter()
        .filter(|worker| worker.online && is_of_pool(&worker.name, pool))
        .collect();
    let names: BTreeSet<&str> = if targets.is_empty() {
        let consumed = online.iter().flat_map(|worker| worker.queues.iter());
        consumed.flatten().map(String::as_str).collect()
    } else {
        targets.iter().map(String::as_str).collect()
    };
    let queues: Vec<&Queue> = app
        .queues
        .iter()
        .filter(|queue| names.contains(queue.name.as_str()))
        .collect();
    let unacked: Option<u64> = queues.iter().map(|queue| queue.unacked).sum();
    Figures {
        // On Redis a queue that is empty is not there.
        backlog: (!names.is_empty()).then(|| ready(&queues) + reserved(&online)),
        unacked: unacked.filter(|_| !queues.is_empty()),
        ..of_workers(&online, &queues)
    }
}

fn of_workers(online: &[&Worker], queues: &[&Queue]) -> Figures {
    let slots = online.iter().filter_map(|worker| {
        let slots = worker.slots?;
        Some((worker.active.unwrap_or(0).min(slots), slots))
    });
    let busy = slots.reduce(|sum, one| (sum.0 + one.0, sum.1 + one.1));
    let versions: BTreeSet<&String> = online
        .iter()
        .filter_map(|worker| worker.version.as_ref())
        .collect();
    let waiting = queues.iter().filter(|queue| queue.ready != Some(0));
    Figures {
        online: Some(count(online.len())),
        busy: busy.or_else(|| online.is_empty().then_some((0, 0))),
        oldest: waiting.filter_map(|queue| queue.oldest).min(),
        versions: versions.into_iter().take(VERSIONS_MAX).cloned().collect(),
        events_off: Some(count(
            online.iter().filter(|worker| worker.events_off).count(),
        )),
        ..Figures::default()
    }
}

fn ready(queues: &[&Queue]) -> u64 {
    queues.iter().filter_map(|queue| queue.ready).sum()
}

fn reserved(workers: &[&Worker]) -> u64 {
    workers.iter().map(|worker| worker.reserved).sum()
}

fn count(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Characters at the end of a pod's name that make it one of many.
const SUFFIX: usize = 5;
/// What comes before them is cut to this by Kubernetes (`maxGeneratedNameLength`).
const BASE_MAX: usize = 58;

/// Whether a worker runs in a pod of this pool's Deployment: `celery@POOL-HASH-xxxxx`. Pods need not be read for it. Of names
/// that Kubernetes had to cut the beginning decides, so two pools whose names differ after 58 characters only are one here.
pub fn is_of_pool(node: &str, pool: &str) -> bool {
    let Some(pod) = node.strip_prefix(NODE).filter(|pod| pod.is_ascii()) else {
        return false;
    };
    let Some((base, suffix)) = pod.len().checked_sub(SUFFIX).map(|at| pod.split_at(at)) else {
        return false;
    };
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|c| c.is_ascii_alphanumeric());
    let owner = format!("{pool}-");
    let whole = |base: &str| {
        let hash = base
            .strip_prefix(&owner)
            .and_then(|rest| rest.strip_suffix('-'));
        hash.is_some_and(is_word)
    };
    let cut = |base: &str| {
        let hash = base.strip_prefix(&owner);
        base.len() == BASE_MAX && (owner.starts_with(base) || hash.is_some_and(is_word))
    };
    is_word(suffix) && (whole(base) || cut(base))
}

#[cfg(test)]
mod tests;
