//! A demand as it is sent: in no message are more workers than any client takes.

use celeriac_proto::v1;

use crate::api::convert::count;
use crate::api::time;
use crate::state::demand::{self, WorkerDemand};
use crate::state::worker::Cancelled;

/// Bytes of all workers of one message: with everything else it stays below the 4 MiB that gRPC's clients take unless they are
/// told otherwise. 10,000 workers have 300 bytes each, of which a name takes some 60, the numbers 40, and each queue its name.
const WORKERS_BYTES_MAX: usize = 3 << 20;

/// The number of the field `workers`.
const WORKERS_TAG: u32 = 15;

/// The message of a demand. Of its workers there are those that have room, of which first those whose names begin with
/// `prefix`, and then those that are on line.
pub(super) fn message(demand: demand::Demand, prefix: &str) -> v1::Demand {
    let workers = demand.workers.into_iter().map(worker).collect();
    let (workers, left_out) = with_room(workers, prefix);
    v1::Demand {
        time: Some(time::micros(demand.time)),
        fresh: demand.stale.is_none(),
        stale_reason: demand.stale.unwrap_or_default(),
        ready: count(demand.ready),
        reserved: count(demand.reserved),
        active: count(demand.active),
        scheduled: count(demand.scheduled),
        unacked: demand.unacked.map(count),
        oldest_age: demand.oldest_age.and_then(time::duration),
        arrival_rate: demand.arrivals,
        service_time: demand.service_time.and_then(time::duration),
        slots: count(demand.slots),
        arrival_rate_now: demand.arrivals_now,
        running_age: demand.running_age.and_then(time::duration),
        workers,
        workers_left_out: left_out,
    }
}

/// Those of the workers, in order of name, for which there is room; and how many have none.
fn with_room(mut workers: Vec<v1::WorkerDemand>, prefix: &str) -> (Vec<v1::WorkerDemand>, i64) {
    let all = workers.len();
    if workers.iter().map(size).sum::<usize>() > WORKERS_BYTES_MAX {
        workers.sort_by_key(|one| (!one.name.starts_with(prefix), !one.online));
        let mut room = WORKERS_BYTES_MAX;
        let taken = workers.iter().take_while(|one| {
            let left = room.checked_sub(size(one));
            room = left.unwrap_or_default();
            left.is_some()
        });
        let taken = taken.count();
        workers.truncate(taken);
        workers.sort_by(|one, other| one.name.cmp(&other.name));
    }
    let left_out = (all - workers.len()) as u64;
    (workers, count(left_out))
}

/// Bytes of a worker in a message: beside its own there are its tag and its length.
fn size(worker: &v1::WorkerDemand) -> usize {
    prost::encoding::message::encoded_len(WORKERS_TAG, worker)
}

fn worker(worker: WorkerDemand) -> v1::WorkerDemand {
    v1::WorkerDemand {
        name: worker.name.to_string(),
        accepting: worker.accepting,
        online: worker.online,
        slots: worker.slots.map(count),
        active: worker.active.map(count),
        reserved: worker.reserved.map(count),
        scheduled: worker.scheduled.map(count),
        processes: count(worker.processes),
        expected_remainder: worker.remainder.and_then(time::duration),
        queues: worker.queues.map(|(names, at)| v1::ConsumedQueues {
            names: names.iter().map(ToString::to_string).collect(),
            time: Some(time::micros(at)),
        }),
        pid: worker.pid.unwrap_or_default(),
        incarnation: worker.incarnation,
        cancelled_queues: Some(v1::CancelledQueues {
            queues: worker.cancelled.iter().map(cancelled).collect(),
        }),
    }
}

fn cancelled(one: &Cancelled) -> v1::CancelledQueue {
    v1::CancelledQueue {
        name: one.queue.to_string(),
        time: Some(time::micros(one.since)),
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    /// What gRPC's clients take in one message.
    const TAKEN: usize = 4 << 20;

    /// One that names as many queues as a set has, each by a name of 60 bytes: 4 KB.
    fn worker(name: String, online: bool) -> v1::WorkerDemand {
        let queue = |number: usize| format!("queue-{number:054}");
        v1::WorkerDemand {
            name,
            online,
            queues: Some(v1::ConsumedQueues {
                names: (0..64).map(queue).collect(),
                time: None,
            }),
            ..v1::WorkerDemand::default()
        }
    }

    /// So many of a pool, of which every second one is on line.
    fn pool(name: &str, count: usize) -> impl Iterator<Item = v1::WorkerDemand> {
        (0..count).map(move |number| worker(format!("{name}-{number:04}"), number % 2 == 0))
    }

    /// How many of a pool are told of, and how many of them are on line.
    fn counts(told: &[v1::WorkerDemand], pool: &str) -> (usize, usize) {
        let its = || told.iter().filter(|one| one.name.starts_with(pool));
        (its().count(), its().filter(|one| one.online).count())
    }

    fn bytes(workers: &[v1::WorkerDemand]) -> usize {
        let demand = v1::Demand {
            workers: workers.to_vec(),
            ..v1::Demand::default()
        };
        demand.encoded_len()
    }

    #[test]
    fn of_more_than_there_is_room_for_ones_own_are_told_of_first_and_others_counted() {
        let workers: Vec<_> = pool("a", 1_000).chain(pool("mail", 500)).collect();
        assert!(bytes(&workers) > TAKEN);
        let (told, left_out) = with_room(workers, "mail-");
        assert_eq!(counts(&told, "mail-"), (500, 250));
        let (others, online) = counts(&told, "a-");
        assert!(others > 0 && others == online, "{others} {online}");
        assert_eq!(left_out, 1_500 - count(told.len()));
        assert!(told.is_sorted_by_key(|one| &one.name));
        // What there is room for is used.
        assert!((2 << 20..TAKEN).contains(&bytes(&told)), "{}", bytes(&told));
    }

    #[test]
    fn of_too_many_of_ones_own_those_on_line_are_told_of_first() {
        let workers: Vec<_> = pool("a", 10).chain(pool("mail", 1_200)).collect();
        let (told, left_out) = with_room(workers, "mail-");
        assert_eq!(counts(&told, "a-"), (0, 0));
        assert_eq!(counts(&told, "mail-").1, 600);
        assert_eq!(left_out, 1_210 - count(told.len()));
        assert!(bytes(&told) < TAKEN);
    }

    #[test]
    fn what_has_room_is_told_whole() {
        let workers: Vec<_> = pool("a", 10).collect();
        assert_eq!(with_room(workers.clone(), "mail-"), (workers, 0));
    }
}
