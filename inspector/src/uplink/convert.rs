//! From what was seen to the messages of `celeriac.v1`: the only place in the inspector that knows both. Values are moved,
//! not copied, and nothing is judged.

use celeriac_proto::v1;
use prost::Message;

use crate::collect::{Gap, GapCause, Observation, Queried, Report, Snapshot};
use crate::transport::{DepthReading, QueueDepth, Receipt};
use crate::wire::pidbox::{ConsumedQueue, HeldTasks, QueriedTask, Stats, TaskRequest, TaskState};
use crate::wire::rejection::Rejection;

mod event;
pub mod order;
#[cfg(test)]
mod tests;

pub use event::Events;

/// A batch is divided when its encoded size is above this. Any single event, snapshot, reading or report is below 3 MiB, so
/// that no message reaches the 4 MiB that a gRPC server accepts unless told otherwise.
const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// What does not change while an inspector lives, needed for gaps and reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The app.
    pub app: String,
    /// The broker without secrets.
    pub endpoint: String,
    /// `redis` or `amqp`.
    pub transport: &'static str,
}

/// A batch without its sequence, and the broker messages it stands for.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// The batch.
    pub batch: v1::Batch,
    /// Its encoded size, bytes.
    pub bytes: usize,
    /// Broker messages.
    pub messages: u64,
    /// When the first was received, microseconds since the Unix epoch; 0 without messages.
    pub from_micros: i64,
    /// When the last was received, microseconds since the Unix epoch; 0 without messages.
    pub to_micros: i64,
    /// To settle once the batch is on disk.
    pub receipt: Option<Receipt>,
}

/// The batches of an observation: one, unless it is large; none when there is nothing to tell.
pub fn batches(source: &Source, seen: Observation) -> Vec<Piece> {
    let piece = |(batch, bytes)| Piece {
        batch,
        bytes,
        messages: seen.messages,
        from_micros: seen.from_micros,
        to_micros: seen.to_micros,
        receipt: None,
    };
    let whole = v1::Batch {
        sequence: 0,
        events: seen.events.into_slices(),
        snapshots: seen.snapshots.into_iter().map(snapshot).collect(),
        depths: seen.depths.map(depths),
        gaps: seen.gaps.into_iter().map(|one| gap(source, one)).collect(),
        report: seen.report.map(|one| report(source, one)),
        commands: seen.commands.into_iter().map(order::report).collect(),
        results: seen.results.into_iter().map(order::results).collect(),
    };
    if whole == v1::Batch::default() {
        return Vec::new();
    }
    let mut pieces: Vec<Piece> = divide(whole).into_iter().map(piece).collect();
    for later in pieces.iter_mut().skip(1) {
        later.messages = 0;
    }
    // The batches before it are acknowledged before it.
    if let Some(last) = pieces.last_mut() {
        last.receipt = seen.receipt;
    }
    pieces
}

/// Divides a batch into ones of bounded size, events first and in order. Gives their sizes too.
fn divide(batch: v1::Batch) -> Vec<(v1::Batch, usize)> {
    let bytes = batch.encoded_len();
    if bytes <= BATCH_BYTES_MAX {
        return vec![(batch, bytes)];
    }
    let v1::Batch {
        sequence: _,
        events,
        snapshots,
        depths,
        gaps,
        report,
        commands,
        results,
    } = batch;
    let mut divided = Divided::default();
    for event in events {
        divided.room(event.len()).events.push(event);
    }
    for snapshot in snapshots {
        divided
            .room(snapshot.encoded_len())
            .snapshots
            .push(snapshot);
    }
    for gap in gaps {
        divided.room(gap.encoded_len()).gaps.push(gap);
    }
    for report in results {
        divided.room(report.encoded_len()).results.push(report);
    }
    for report in commands {
        divided.room(report.encoded_len()).commands.push(report);
    }
    if let Some(depths) = depths {
        let bytes = depths.encoded_len();
        divided.room(bytes).depths = Some(depths);
    }
    if let Some(report) = report {
        let bytes = report.encoded_len();
        divided.room(bytes).report = Some(report);
    }
    let sized = |batch: v1::Batch| {
        let bytes = batch.encoded_len();
        (batch, bytes)
    };
    divided.batches.into_iter().map(sized).collect()
}

#[derive(Default)]
struct Divided {
    batches: Vec<v1::Batch>,
    bytes: usize,
}

impl Divided {
    /// The batch that takes `bytes` more.
    fn room(&mut self, bytes: usize) -> &mut v1::Batch {
        if self.batches.is_empty() || self.bytes + bytes > BATCH_BYTES_MAX {
            self.batches.push(v1::Batch::default());
            self.bytes = 0;
        }
        self.bytes += bytes;
        self.batches
            .last_mut()
            .expect("one was pushed above when there was none")
    }
}

fn snapshot(seen: Snapshot) -> v1::Snapshot {
    let cut = seen.is_cut();
    v1::Snapshot {
        hostname: seen.hostname,
        asked_micros: seen.asked_micros,
        received_micros: seen.received_micros,
        stats: seen.stats.map(stats),
        queues: seen.queues.map(|queues| v1::QueueList {
            queues: queues.into_iter().map(queue).collect(),
        }),
        active: seen.active.map(requests),
        reserved: seen.reserved.map(requests),
        scheduled: seen.scheduled.map(requests),
        registered: seen.registered.map(|names| v1::NameList { names }),
        configuration_json: seen.configuration_json,
        pong: seen.pong,
        unanswered: seen.unanswered.into_iter().map(str::to_owned).collect(),
        errors: seen
            .errors
            .into_iter()
            .map(|(name, text)| (name.to_owned(), text))
            .collect(),
        cut,
        queried: seen.queried.map(queried),
    }
}

fn queried(queried: Queried) -> v1::QueryAnswer {
    let found = |task: QueriedTask| {
        let state = match task.state {
            TaskState::Active => v1::HeldState::Active,
            TaskState::Reserved => v1::HeldState::Reserved,
            TaskState::Scheduled => v1::HeldState::Scheduled,
            TaskState::Ready => v1::HeldState::Ready,
        };
        v1::QueriedTask {
            state: state.into(),
            request: Some(request(task.request)),
        }
    };
    v1::QueryAnswer {
        task_ids: queried.tasks.to_vec(),
        found: queried.found.into_iter().map(found).collect(),
    }
}

fn stats(stats: Stats) -> v1::Stats {
    let autoscaler = stats.autoscaler.as_ref();
    v1::Stats {
        pid: stats.pid,
        clock: stats.clock,
        uptime_seconds: stats.uptime_seconds,
        prefetch_count: stats.prefetch_count,
        max_concurrency: stats.pool.max_concurrency,
        pool_implementation: stats.pool.implementation,
        processes: stats.pool.processes,
        threads: stats.pool.threads,
        autoscaler_max: autoscaler.and_then(|autoscaler| autoscaler.max),
        autoscaler_min: autoscaler.and_then(|autoscaler| autoscaler.min),
        autoscaler_current: autoscaler.and_then(|autoscaler| autoscaler.current),
        // KiB, since workers run on Linux; elsewhere `getrusage` has other units and says nothing of it.
        peak_memory_bytes: stats
            .rusage
            .and_then(|usage| usage.max_rss)
            .and_then(|kibibytes| kibibytes.checked_mul(1024)),
        totals: stats.totals.into_iter().collect(),
    }
}

fn queue(queue: ConsumedQueue) -> v1::ConsumedQueueAnswer {
    v1::ConsumedQueueAnswer {
        name: queue.name,
        exchange: queue.exchange,
        exchange_type: queue.exchange_type,
        routing_key: queue.routing_key,
        max_priority: queue.max_priority,
    }
}

fn requests(held: HeldTasks) -> v1::RequestList {
    v1::RequestList {
        total: held.total,
        requests: held.tasks.into_iter().map(request).collect(),
    }
}

fn request(task: TaskRequest) -> v1::TaskRequest {
    v1::TaskRequest {
        id: task.id,
        name: task.name,
        r#type: task.task_type,
        args: task.args,
        kwargs: task.kwargs,
        time_start: task.time_start,
        acknowledged: task.acknowledged,
        exchange: task.exchange,
        routing_key: task.routing_key,
        priority: task.priority,
        redelivered: task.redelivered,
        worker_pid: task.worker_pid,
        eta: task.eta,
    }
}

fn depths(reading: DepthReading) -> v1::Depths {
    v1::Depths {
        read_micros: reading.read_micros,
        queues: reading.queues.into_iter().map(depth).collect(),
        unacked_total: reading.unacked_total,
    }
}

fn depth(queue: QueueDepth) -> v1::QueueDepth {
    let ready = queue.ready.iter().map(|(_, ready)| ready).sum();
    let level = |&(priority, ready): &(i32, u64)| v1::PriorityDepth {
        priority,
        ready: i64::try_from(ready).unwrap_or(i64::MAX),
    };
    let levels = if queue.ready.len() > 1 {
        queue.ready.as_slice()
    } else {
        &[]
    };
    v1::QueueDepth {
        name: queue.name,
        ready,
        priorities: levels.iter().map(level).collect(),
        consumers: queue.consumers,
        unacked: queue.unacked,
        oldest_micros: queue.oldest_micros,
    }
}

/// A gap.
pub fn gap(source: &Source, gap: Gap) -> v1::Gap {
    let cause = match gap.cause {
        GapCause::Reconnect => v1::GapCause::Reconnect,
        GapCause::Overflow => v1::GapCause::Overflow,
    };
    v1::Gap {
        app: source.app.clone(),
        cause: cause.into(),
        start_time: Some(timestamp(gap.start_micros)),
        end_time: gap.end_micros.map(timestamp),
        worker: None,
        missed_starts: None,
        dropped_messages: gap.dropped_messages,
        detail: gap.detail,
    }
}

fn report(source: &Source, report: Report) -> v1::InspectorReport {
    let subscription = if report.live {
        v1::SubscriptionState::Live
    } else {
        v1::SubscriptionState::Reconnecting
    };
    v1::InspectorReport {
        time_micros: report.time_micros,
        subscription: subscription.into(),
        broker: Some(v1::Broker {
            version: report.server_version,
            reachable: report.live,
            unreachable_reason: report.unreachable_reason,
            since: Some(timestamp(report.since_micros)),
            ..broker(source)
        }),
        messages: report.messages,
        events: report.events,
        rejections: report.rejections.into_iter().map(rejection).collect(),
        control_subscribers: report.control_subscribers,
        silent_nodes: report.silent_nodes,
        events_kept: report.live && report.kept,
    }
}

/// The broker before anything is known of it.
pub fn broker(source: &Source) -> v1::Broker {
    v1::Broker {
        endpoint: source.endpoint.clone(),
        transport: source.transport.to_owned(),
        ..v1::Broker::default()
    }
}

fn rejection(rejection: Rejection) -> v1::Rejection {
    v1::Rejection {
        reason: rejection.reason.to_owned(),
        count: rejection.count,
        sample: rejection.sample,
        senders: rejection.senders,
        repliers: rejection.repliers,
    }
}

fn timestamp(micros: i64) -> prost_types::Timestamp {
    let nanos = micros.rem_euclid(1_000_000) * 1_000;
    prost_types::Timestamp {
        seconds: micros.div_euclid(1_000_000),
        nanos: i32::try_from(nanos).expect("less than a second of nanoseconds fits i32"),
    }
}
