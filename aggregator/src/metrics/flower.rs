//! Flower's six metrics with Flower's labels (`flower/events.py`). `flower_worker_online` also becomes 0 when a worker
//! falls silent, not only when it says goodbye.

use std::fmt;

use prometheus_client::metrics::MetricType;

use super::{Family, Page, Value, apps, gauge};
use crate::engine::board::{AppBoard, Board};
use crate::state::counters::Series;
use crate::state::input::TaskEventKind;
use crate::state::{Symbol, WorkerStatus};

/// Kinds of events that Flower counts, by the place of their counter.
const TYPES: [(TaskEventKind, &str); 8] = [
    (TaskEventKind::Sent, "task-sent"),
    (TaskEventKind::Received, "task-received"),
    (TaskEventKind::Started, "task-started"),
    (TaskEventKind::Succeeded, "task-succeeded"),
    (TaskEventKind::Failed, "task-failed"),
    (TaskEventKind::Retried, "task-retried"),
    (TaskEventKind::Revoked, "task-revoked"),
    (TaskEventKind::Rejected, "task-rejected"),
];

/// A worker, a task name and what is counted of them.
type Source<'a> = (&'a Symbol, &'a Symbol, Series);

/// Writes the six.
pub(super) fn write(page: &mut Page<'_>, board: &Board) -> fmt::Result {
    let merged: Vec<(&str, Vec<Source<'_>>)> = apps(board)
        .map(|(name, app)| (name, by_worker_and_task(app)))
        .collect();
    let all = || {
        merged.iter().flat_map(|(app, series)| {
            series.iter().map(move |(worker, task, series)| {
                (
                    *app,
                    vec![("worker", worker.as_str()), ("task", task.as_str())],
                    series,
                )
            })
        })
    };
    let events = Family {
        name: "flower_events",
        help: "Number of events",
        kind: MetricType::Counter,
    };
    let counted = all().flat_map(|(app, labels, series)| {
        let known = TYPES
            .iter()
            .map(|(kind, name)| (*name, series.events[*kind as usize]));
        let custom = series
            .custom
            .iter()
            .map(|(name, count)| (name.as_str(), *count));
        let some = known.chain(custom).filter(|(_, count)| *count > 0);
        some.map(move |(event_type, count)| {
            let mut labels = labels.clone();
            labels.insert(1, ("type", event_type));
            (app, labels, Value::Counter(count))
        })
    });
    page.family(&events, counted)?;
    let runtime = Family {
        name: "flower_task_runtime_seconds",
        help: "Task runtime",
        kind: MetricType::Histogram,
    };
    page.family(
        &runtime,
        all().filter_map(|(app, labels, series)| {
            Some((app, labels, Value::Histogram(series.runtime.as_deref()?)))
        }),
    )?;
    let prefetch_time = Family {
        name: "flower_task_prefetch_time_seconds",
        help: "The time the task spent waiting at the celery worker to be executed.",
        kind: MetricType::Gauge,
    };
    page.family(
        &prefetch_time,
        all().filter_map(|(app, labels, series)| {
            Some((app, labels, Value::Gauge(series.prefetch_seconds?)))
        }),
    )?;
    let prefetched = Family {
        name: "flower_worker_prefetched_tasks",
        help: "Number of tasks of given type prefetched at a worker",
        kind: MetricType::Gauge,
    };
    let received =
        all().filter(|(_, _, series)| series.events[TaskEventKind::Received as usize] > 0);
    page.family(
        &prefetched,
        received.map(|(app, labels, series)| (app, labels, gauge(series.prefetched))),
    )?;
    workers(page, board)
}

/// Flower has no label for the queue: series that differ in nothing else are one.
fn by_worker_and_task(app: &AppBoard) -> Vec<Source<'_>> {
    let mut sums: hashbrown::HashMap<(&Symbol, &Symbol), Series, ahash::RandomState> =
        hashbrown::HashMap::default();
    for (worker, task, _queue, series) in app.state.counters().series() {
        sums.entry((worker, task)).or_default().add(series);
    }
    sums.into_iter()
        .map(|((worker, task), series)| (worker, task, series))
        .collect()
}

fn workers(page: &mut Page<'_>, board: &Board) -> fmt::Result {
    let all = || {
        apps(board).flat_map(|(name, app)| {
            app.state
                .workers()
                .map(move |worker| (name, vec![("worker", worker.name.as_str())], worker))
        })
    };
    let online = Family {
        name: "flower_worker_online",
        help: "Worker online status",
        kind: MetricType::Gauge,
    };
    page.family(
        &online,
        all().map(|(app, labels, worker)| {
            (
                app,
                labels,
                gauge(u64::from(worker.status == WorkerStatus::Online)),
            )
        }),
    )?;
    let executing = Family {
        name: "flower_worker_number_of_currently_executing_tasks",
        help: "Number of tasks currently executing at a worker",
        kind: MetricType::Gauge,
    };
    page.family(
        &executing,
        all().filter_map(|(app, labels, worker)| {
            let online = worker.status == WorkerStatus::Online;
            Some((app, labels, gauge(if online { worker.active? } else { 0 })))
        }),
    )
}
