//! celery-exporter's metrics with its labels (danihodovic/celery-exporter, `src/exporter.py`): `hostname` is the node
//! name's part after `@`; `queue_name` is `celery` where no `task-sent` told it.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::metrics::MetricType;

use super::{Family, Page, Value, apps, gauge};
use crate::engine::board::Board;
use crate::state::counters::{Histogram, Series};
use crate::state::input::TaskEventKind;
use crate::state::{Symbol, Worker, WorkerStatus};

const COUNTERS: [(TaskEventKind, &str, &str); 7] = [
    (
        TaskEventKind::Sent,
        "celery_task_sent",
        "Sent when a task message is published.",
    ),
    (
        TaskEventKind::Received,
        "celery_task_received",
        "Sent when the worker receives a task.",
    ),
    (
        TaskEventKind::Started,
        "celery_task_started",
        "Sent just before the worker executes the task.",
    ),
    (
        TaskEventKind::Succeeded,
        "celery_task_succeeded",
        "Sent if the task executed successfully.",
    ),
    (
        TaskEventKind::Retried,
        "celery_task_retried",
        "Sent if the task failed, but will be retried in the future.",
    ),
    (
        TaskEventKind::Revoked,
        "celery_task_revoked",
        "Sent if the task has been revoked.",
    ),
    (
        TaskEventKind::Rejected,
        "celery_task_rejected",
        "The task was rejected by the worker.",
    ),
];

/// A series by app, task name, host and queue; several nodes of one host are one.
type BySource<'a> = BTreeMap<(&'a str, &'a str, &'a str, &'a str), Series>;

/// Writes them.
pub(super) fn write(page: &mut Page<'_>, board: &Board) -> fmt::Result {
    let mut sources: BySource<'_> = BTreeMap::new();
    for (app, entry) in apps(board) {
        for (worker, task, queue, series) in entry.state.counters().series() {
            let queue = if queue.is_empty() {
                "celery"
            } else {
                queue.as_str()
            };
            let key = (app, task.as_str(), host(worker), queue);
            sources.entry(key).or_default().add(series);
        }
    }
    tasks(page, &sources)?;
    workers(page, board)?;
    queues(page, board)
}

/// The part of a node name after the first `@` (`celery.utils.nodenames.nodesplit`).
fn host(node: &str) -> &str {
    node.split_once('@').map_or(node, |(_name, host)| host)
}

fn labels<'a>(key: &(&'a str, &'a str, &'a str, &'a str)) -> Vec<(&'static str, &'a str)> {
    vec![("name", key.1), ("hostname", key.2), ("queue_name", key.3)]
}

fn tasks(page: &mut Page<'_>, sources: &BySource<'_>) -> fmt::Result {
    for (kind, name, help) in COUNTERS {
        let family = Family {
            name,
            help,
            kind: MetricType::Counter,
        };
        let counted = sources
            .iter()
            .filter(|(_, series)| series.events[kind as usize] > 0);
        page.family(
            &family,
            counted.map(|(key, series)| {
                (
                    key.0,
                    labels(key),
                    Value::Counter(series.events[kind as usize]),
                )
            }),
        )?;
    }
    let failed = Family {
        name: "celery_task_failed",
        help: "Sent if the execution of the task failed.",
        kind: MetricType::Counter,
    };
    page.family(
        &failed,
        sources.iter().flat_map(|(key, series)| {
            series.failures.iter().map(|(exception, count)| {
                let mut labels = labels(key);
                labels.insert(2, ("exception", exception.as_str()));
                (key.0, labels, Value::Counter(*count))
            })
        }),
    )?;
    let runtime = Family {
        name: "celery_task_runtime",
        help: "Histogram of task runtime measurements.",
        kind: MetricType::Histogram,
    };
    page.family(
        &runtime,
        sources.iter().filter_map(|(key, series)| {
            let histogram: &Histogram = series.runtime.as_deref()?;
            Some((key.0, labels(key), Value::Histogram(histogram)))
        }),
    )
}

fn workers(page: &mut Page<'_>, board: &Board) -> fmt::Result {
    // Up if any node of the host is, and the sum of what they run.
    let mut hosts: BTreeMap<(&str, &str), (bool, u64)> = BTreeMap::new();
    for (app, entry) in apps(board) {
        for worker in entry.state.workers() {
            let host = hosts.entry((app, host(&worker.name))).or_default();
            if worker.status == WorkerStatus::Online {
                host.0 = true;
                host.1 += worker.active.unwrap_or_default();
            }
        }
    }
    let up = Family {
        name: "celery_worker_up",
        help: "Indicates if a worker has recently sent a heartbeat.",
        kind: MetricType::Gauge,
    };
    let host_labels = |host: &'_ (&'_ str, &'_ str)| host.1.to_owned();
    let named: Vec<_> = hosts
        .iter()
        .map(|(key, value)| (key.0, host_labels(key), value))
        .collect();
    page.family(
        &up,
        named.iter().map(|(app, host, value)| {
            (
                *app,
                vec![("hostname", host.as_str())],
                gauge(u64::from(value.0)),
            )
        }),
    )?;
    let active = Family {
        name: "celery_worker_tasks_active",
        help: "The number of tasks the worker is currently processing",
        kind: MetricType::Gauge,
    };
    page.family(
        &active,
        named
            .iter()
            .map(|(app, host, value)| (*app, vec![("hostname", host.as_str())], gauge(value.1))),
    )
}

fn queues(page: &mut Page<'_>, board: &Board) -> fmt::Result {
    let all = || {
        apps(board).flat_map(|(app, entry)| {
            let state = &entry.state;
            state
                .queues()
                .map(move |queue| (app, vec![("queue_name", queue.name.as_str())], state, queue))
        })
    };
    let length = Family {
        name: "celery_queue_length",
        help: "The number of message in broker queue.",
        kind: MetricType::Gauge,
    };
    page.family(
        &length,
        all().filter_map(|(app, labels, _, queue)| Some((app, labels, gauge(queue.ready?)))),
    )?;
    let live = |queue: &Symbol, state: &crate::state::app::App, of: fn(&Worker) -> u64| -> u64 {
        let workers = state.workers_of_queue(queue);
        workers
            .filter(|worker| worker.status == WorkerStatus::Online)
            .map(of)
            .sum()
    };
    let consumers = Family {
        name: "celery_active_consumer_count",
        help: "The number of active consumer in broker queue.",
        kind: MetricType::Gauge,
    };
    page.family(
        &consumers,
        all().filter_map(|(app, labels, _, queue)| Some((app, labels, gauge(queue.consumers?)))),
    )?;
    let workers = Family {
        name: "celery_active_worker_count",
        help: "The number of active workers in broker queue.",
        kind: MetricType::Gauge,
    };
    page.family(
        &workers,
        all().map(|(app, labels, state, queue)| {
            (app, labels, gauge(live(&queue.name, state, |_| 1)))
        }),
    )?;
    let processes = Family {
        name: "celery_active_process_count",
        help: "The number of active processes in broker queue.",
        kind: MetricType::Gauge,
    };
    let of_pool = |worker: &Worker| {
        worker
            .inspection
            .as_ref()
            .map_or(0, |inspection| inspection.processes.len() as u64)
    };
    page.family(
        &processes,
        all().map(|(app, labels, state, queue)| {
            (app, labels, gauge(live(&queue.name, state, of_pool)))
        }),
    )
}
