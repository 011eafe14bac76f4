//! From the fold's values to the API's messages.

use celeriac_proto::v1;

use super::time::{duration, micros, seconds};
use crate::engine::board::{AppBoard, InspectorFacts};
use crate::state::app::{Advice, App};
use crate::state::gap::{Gap, GapCause};
use crate::state::input::Unread;
use crate::state::worker::{ConsumedQueue, EventsMode, Inspection, Worker, WorkerStatus};
use crate::state::{Attempt, Payload, Task, TaskName};

mod payload;
mod queue;

pub use queue::queue;

/// A count as the API carries it.
pub(super) fn count<T: TryInto<i64>>(value: T) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

/// How much of a task is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// No payload, attempts, custom fields and exception texts.
    Basic,
    /// As asked in full by who may not read payloads: attempts too, without their exception texts.
    Attempts,
    /// Everything.
    Full,
}

impl Detail {
    /// What is told in view FULL, or BASIC, to who may read payloads, or not.
    pub fn new(full: bool, payload: bool) -> Self {
        match (full, payload) {
            (false, _) => Self::Basic,
            (true, false) => Self::Attempts,
            (true, true) => Self::Full,
        }
    }
}

/// An app; `payload` adds samples of messages that could not be read.
pub fn app(name: &str, board: &AppBoard, payload: bool) -> v1::App {
    let state = &board.state;
    let online = || {
        state
            .workers()
            .filter(|worker| worker.status == WorkerStatus::Online)
    };
    let report = state.report();
    v1::App {
        name: name.to_owned(),
        broker: report
            .and_then(|report| report.broker.as_ref())
            .map(|facts| v1::Broker {
                endpoint: facts.endpoint.to_string(),
                transport: facts.transport.to_string(),
                version: facts.version.as_deref().map(str::to_owned),
                reachable: facts.reachable,
                unreachable_reason: facts.unreachable_reason.as_deref().map(str::to_owned),
                since: Some(micros(facts.since)),
            }),
        inspector: board
            .inspector
            .as_ref()
            .map(|facts| inspector(facts, state)),
        workers_online: count(online().count()),
        workers_known: count(state.workers().count()),
        slots: online()
            .filter_map(|w| w.inspection.as_ref()?.slots())
            .sum(),
        active: count(online().filter_map(|worker| worker.active).sum::<u64>()),
        ready: count(state.queues().filter_map(|queue| queue.ready).sum::<u64>()),
        unacked: state.unacked_total().map(count),
        tasks_unfinished: count(state.unfinished_count()),
        events_folded: count(state.events_folded()),
        events_repeated: count(state.events_repeated()),
        rejections: report
            .map(|report| rejections(&report.rejections, payload))
            .unwrap_or_default(),
        gaps: state
            .gaps()
            .rev()
            .filter(|found| is_of_app(found) && !found.is_void())
            .take(GAPS_SHOWN)
            .map(|found| gap(name, found))
            .collect(),
        advice: state.advice().into_iter().map(advice).collect(),
        tasks_unconfirmed: count(state.unconfirmed_count()),
        failed_last_hour: Some(count(state.failed_last_hour())),
    }
}

fn rejections(rejections: &[Unread], payload: bool) -> Vec<v1::Rejection> {
    let names = |nodes: &[Box<str>]| nodes.iter().map(ToString::to_string).collect();
    let rejection = |unread: &Unread| v1::Rejection {
        reason: unread.reason.to_string(),
        count: unread.count,
        sample: unread
            .sample
            .as_deref()
            .filter(|_| payload)
            .map(str::to_owned),
        senders: names(&unread.senders),
        repliers: names(&unread.repliers),
    };
    rejections.iter().map(rejection).collect()
}

fn inspector(facts: &InspectorFacts, state: &App) -> v1::Inspector {
    let subscription = match state.report() {
        Some(report) if report.subscribed && facts.attached => v1::SubscriptionState::Live,
        Some(_) if facts.attached => v1::SubscriptionState::Reconnecting,
        _ => v1::SubscriptionState::Unspecified,
    };
    v1::Inspector {
        instance: facts.instance.clone(),
        epoch: facts.epoch,
        version: facts.version.clone(),
        attached: facts.attached,
        since: Some(micros(facts.since)),
        subscription: subscription.into(),
        acknowledged_sequence: facts.acknowledged,
    }
}

fn advice(advice: Advice) -> v1::Advice {
    v1::Advice {
        code: advice.code.to_owned(),
        message: advice.message,
        worker: advice.worker.map(|worker| worker.to_string()),
        age: None,
    }
}

/// Gaps shown of an app, and of each of its workers.
const GAPS_SHOWN: usize = 20;

/// Whether a gap is shown with its app: it is of all workers, or of one and no share of such a gap.
pub fn is_of_app(gap: &Gap) -> bool {
    gap.worker.is_none() || gap.cause == GapCause::Unexplained
}

/// A gap.
pub fn gap(app: &str, gap: &Gap) -> v1::Gap {
    let cause = match gap.cause {
        GapCause::Reconnect => v1::GapCause::Reconnect,
        GapCause::Overflow => v1::GapCause::Overflow,
        GapCause::Unexplained => v1::GapCause::Unexplained,
        GapCause::Detached => v1::GapCause::Detached,
    };
    v1::Gap {
        app: app.to_owned(),
        cause: cause.into(),
        start_time: Some(micros(gap.start)),
        end_time: gap.end.map(micros),
        worker: gap.worker.as_ref().map(ToString::to_string),
        missed_starts: gap.missed_starts,
        dropped_messages: gap.dropped_messages,
        detail: gap.detail.to_string(),
    }
}

/// A worker; `whole` adds its configuration and the names of its tasks, which lists leave out.
pub fn worker(app: &App, name: &str, worker: &Worker, whole: bool) -> v1::Worker {
    let status = match worker.status {
        WorkerStatus::Online => v1::WorkerStatus::Online,
        WorkerStatus::Offline => v1::WorkerStatus::Offline,
        WorkerStatus::Silent => v1::WorkerStatus::Silent,
    };
    let events = match worker.events {
        EventsMode::Unknown => v1::EventsMode::Unspecified,
        EventsMode::On => v1::EventsMode::On,
        EventsMode::Off => v1::EventsMode::Off,
    };
    let software = worker.sw_ident.as_ref().map(|ident| match &worker.sw_ver {
        Some(version) => format!("{ident} {version}"),
        None => ident.to_string(),
    });
    v1::Worker {
        app: name.to_owned(),
        name: worker.name.to_string(),
        status: status.into(),
        status_since: Some(micros(worker.status_since)),
        incarnation: Some(v1::Incarnation {
            number: worker.incarnation,
            pid: worker.pid,
            first_seen: Some(micros(worker.incarnation_since)),
        }),
        last_heartbeat: worker.last_heartbeat.map(micros),
        last_seen: Some(micros(worker.last_seen)),
        heartbeat_interval: worker.freq.and_then(duration),
        active: worker.active.map(count),
        processed: worker.processed.map(count),
        load_average: worker.loadavg.clone(),
        software,
        system: worker.sw_sys.as_ref().map(ToString::to_string),
        events: events.into(),
        inspection: worker
            .inspection
            .as_deref()
            .map(|facts| inspection(facts, whole)),
        reserved_known: count(worker.reserved_known),
        event_counts: event_counts(worker),
        advice: app
            .advice_of(&worker.name)
            .into_iter()
            .map(advice)
            .collect(),
        missed_starts: worker.missed_starts(),
        gaps: app
            .gaps()
            .rev()
            .filter(|found| found.worker.as_ref() == Some(&worker.name))
            .take(GAPS_SHOWN)
            .map(|found| gap(name, found))
            .collect(),
    }
}

fn event_counts(worker: &Worker) -> std::collections::HashMap<String, u64> {
    const TYPES: [&str; 9] = [
        "task-sent",
        "task-received",
        "task-started",
        "task-succeeded",
        "task-failed",
        "task-retried",
        "task-revoked",
        "task-rejected",
        "custom",
    ];
    let counts = TYPES.iter().zip(worker.event_counts);
    counts
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| ((*name).to_owned(), count))
        .collect()
}

fn inspection(facts: &Inspection, whole: bool) -> v1::WorkerInspection {
    let queue = |queue: &ConsumedQueue| v1::ConsumedQueue {
        name: queue.name.to_string(),
        exchange: queue.exchange.to_string(),
        exchange_type: queue.exchange_type.to_string(),
        routing_key: queue.routing_key.to_string(),
        max_priority: queue.max_priority,
    };
    let registered = facts.registered.iter().filter(|_| whole);
    v1::WorkerInspection {
        time: Some(micros(facts.time)),
        pool: facts.pool().map(str::to_owned),
        pool_processes: count(facts.processes.len()),
        max_concurrency: facts.max_concurrency,
        slots: facts.slots(),
        autoscaler: facts.autoscaler.map(|(max, min, current)| v1::Autoscaler {
            max,
            min,
            current,
        }),
        prefetch_count: facts.prefetch_count,
        uptime: facts.uptime_seconds.and_then(duration),
        peak_memory_bytes: facts.peak_memory_bytes,
        queues: facts.queues.iter().flatten().map(queue).collect(),
        queues_known: facts.queues.is_some(),
        active: facts.active.map(count),
        reserved: facts.reserved.map(count),
        scheduled: facts.scheduled.map(count),
        registered: registered.map(ToString::to_string).collect(),
        configuration_json: facts
            .configuration_json
            .as_deref()
            .filter(|_| whole)
            .map(str::to_owned),
        totals: facts
            .totals
            .iter()
            .map(|(name, count)| (name.to_string(), *count))
            .collect(),
    }
}

/// A task.
pub fn task(app: &str, task: &Task, detail: Detail) -> v1::Task {
    let full = detail == Detail::Full;
    let text = |symbol: &Option<crate::state::Symbol>| symbol.as_ref().map(ToString::to_string);
    let id = |id: &Option<crate::state::TaskId>| id.as_ref().map(ToString::to_string);
    let attempts = task.attempts.iter().filter(|_| detail != Detail::Basic);
    let custom = task.payload.custom.iter().filter(|_| full);
    v1::Task {
        app: app.to_owned(),
        id: task.id.to_string(),
        name: text(&task.name),
        state: task.state.as_str().to_owned(),
        finished: task.is_finished(),
        lost: task.lost,
        outcome_unknown: task.outcome_unknown,
        worker: text(&task.worker),
        client: text(&task.client),
        queue: text(&task.queue),
        exchange: text(&task.exchange),
        routing_key: text(&task.routing_key),
        root_id: id(&task.root_id),
        parent_id: id(&task.parent_id),
        retries: task.retries,
        eta: task.eta.map(micros),
        expires: task.expires.map(micros),
        sent_time: task.sent.and_then(seconds),
        received_time: task.received.and_then(seconds),
        started_time: task.started.and_then(seconds),
        succeeded_time: task.succeeded.and_then(seconds),
        failed_time: task.failed.and_then(seconds),
        retried_time: task.retried.and_then(seconds),
        revoked_time: task.revoked.and_then(seconds),
        rejected_time: task.rejected.and_then(seconds),
        runtime: task.runtime.and_then(duration),
        first_seen: Some(micros(task.first_seen)),
        last_seen: Some(micros(task.last_seen)),
        finish_seen: task.finish_seen.map(micros),
        revocation: task.revocation.as_ref().map(|revocation| v1::Revocation {
            terminated: revocation.terminated,
            signal: revocation.signal.as_deref().map(str::to_owned),
            expired: revocation.expired,
        }),
        requeued: task.requeued,
        payload: full.then(|| payload::payload(task)),
        exception_summary: full.then(|| task.exception_summary()).flatten(),
        attempts: attempts.map(|one| attempt(one, full)).collect(),
        attempt_count: u64::from(task.attempt_count),
        custom_fields: custom
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect(),
        unconfirmed: task.doubted.is_some(),
        outcome_unknown_reason: task.outcome_unknown_reason().map(str::to_owned),
        from_result_backend: task.from_backend,
    }
}

fn attempt(attempt: &Attempt, full: bool) -> v1::Attempt {
    v1::Attempt {
        number: u64::from(attempt.number),
        worker: attempt.worker.as_ref().map(ToString::to_string),
        incarnation: attempt.incarnation,
        received_time: attempt.received.and_then(seconds),
        started_time: attempt.started.and_then(seconds),
        ended_time: attempt.ended.and_then(seconds),
        outcome: attempt
            .outcome
            .as_ref()
            .map(|outcome| outcome.as_str().to_owned()),
        exception_summary: attempt
            .exception
            .as_deref()
            .filter(|_| full)
            .map(str::to_owned),
    }
}

/// Statistics of a task name.
#[expect(
    clippy::cast_precision_loss,
    reason = "a mean needs no more than 53 bits of a count"
)]
pub fn task_name(app: &str, state: &App, name: &TaskName) -> v1::TaskName {
    let (reserved, active) = state.load_of_name(&name.name);
    let some = name.runtime_count > 0;
    let mean = some.then(|| name.runtime_sum / name.runtime_count as f64);
    v1::TaskName {
        app: app.to_owned(),
        name: name.name.to_string(),
        sent: name.sent,
        received: name.received,
        started: name.started,
        succeeded: name.succeeded,
        failed: name.failed,
        retried: name.retried,
        revoked: name.revoked,
        rejected: name.rejected,
        reserved: count(reserved),
        active: count(active),
        mean_runtime: mean.and_then(duration),
        max_runtime: some.then_some(name.runtime_max).and_then(duration),
        p50_runtime: name.runtime_quantile(50).and_then(duration),
        p95_runtime: name.runtime_quantile(95).and_then(duration),
        last_seen: Some(micros(name.last_seen)),
    }
}

/// The parts of a payload that hold text.
fn texts(payload: &Payload) -> [Option<String>; 5] {
    let Payload {
        args,
        kwargs,
        result,
        exception,
        traceback,
        ..
    } = payload;
    [args, kwargs, result, exception, traceback].map(|text| text.as_deref().map(str::to_owned))
}
