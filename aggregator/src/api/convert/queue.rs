//! A queue: its depth, who consumes it, and what of it is in workers.

use celeriac_proto::v1;

use super::{count, micros};
use crate::state::app::App;
use crate::state::worker::{Worker, WorkerStatus};
use crate::state::{Micros, Queue};

/// Consumers named in one queue; the count is whole.
const WORKERS_NAMED_MAX: usize = 100;

/// A queue with what workers say of it.
pub fn queue(name: &str, app: &App, queue: &Queue) -> v1::Queue {
    let consuming: Vec<&Worker> = app.workers_of_queue(&queue.name).collect();
    let (_, active) = app.load_of_queue(&queue.name);
    let consumers = queue.consumers.map(count).or_else(|| {
        let live = consuming
            .iter()
            .filter(|worker| worker.status == WorkerStatus::Online);
        Some(count(live.count()))
    });
    let consumers_as_of = match queue.consumers {
        Some(_) => queue.read,
        None => oldest_answer(&consuming),
    };
    let unacked = queue.unacked.map(|count_| v1::Unacked {
        count: count(count_),
        approximate: false,
    });
    v1::Queue {
        app: name.to_owned(),
        name: queue.name.to_string(),
        ready: queue.ready.map(count),
        priorities: queue
            .priorities
            .iter()
            .map(|(priority, ready)| v1::PriorityDepth {
                priority: *priority,
                ready: count(*ready),
            })
            .collect(),
        unacked: unacked.or_else(|| held(&consuming, queue)),
        consumers,
        consumers_as_of: consumers_as_of.map(micros),
        oldest: oldest(queue),
        depth_time: queue.read.map(micros),
        workers: consuming
            .iter()
            .take(WORKERS_NAMED_MAX)
            .map(|worker| worker.name.to_string())
            .collect(),
        active: count(active),
    }
}

fn oldest_answer(consuming: &[&Worker]) -> Option<Micros> {
    consuming
        .iter()
        .filter_map(|worker| Some(worker.inspection.as_ref()?.queues_time))
        .min()
}

/// On Redis `unacked` is one hash for the whole database; what workers hold, by their last answers, is near it.
fn held(consuming: &[&Worker], queue: &Queue) -> Option<v1::Unacked> {
    let held = |worker: &&Worker| {
        let inspection = worker.inspection.as_ref()?;
        inspection.reserved?;
        let of_queue = inspection
            .held_by_queue
            .iter()
            .filter(|(name, _)| *name == queue.name);
        Some(of_queue.map(|(_, count)| *count).sum::<u64>())
    };
    let known: Vec<u64> = consuming.iter().filter_map(held).collect();
    let sum = count(known.iter().sum::<u64>());
    (!known.is_empty()).then_some(v1::Unacked {
        count: sum,
        approximate: true,
    })
}

fn oldest(queue: &Queue) -> Option<v1::OldestMessage> {
    if queue.ready == Some(0) {
        return None;
    }
    let exact = queue.oldest.map(|time| (time, v1::AgeMethod::Exact));
    let estimated = || {
        queue
            .nonempty_since
            .map(|time| (time, v1::AgeMethod::Estimated))
    };
    let (time, method) = exact.or_else(estimated)?;
    Some(v1::OldestMessage {
        time: Some(micros(time)),
        method: method.into(),
    })
}
