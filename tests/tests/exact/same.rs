//! Compares the fold with what Celery has, field by field.

use celeriac_aggregator::state::worker::{Worker, WorkerStatus};
use celeriac_aggregator::state::{App, Micros, Task};
use serde_json::{Map, Value, json};

use crate::oracle::Answer;

/// What a custom event may bring in the streams of these tests.
const CUSTOM: [&str; 2] = ["done", "total"];

/// Everything in which the fold is not what it has to be: Celery's state with the named differences, and Celery's own where
/// none of those took effect.
pub(crate) fn differences(app: &App, answer: &Answer) -> Vec<String> {
    let mut found = differences_of_tasks(app.tasks(), answer);
    found.extend(differences_of_workers(app, answer));
    found
}

/// The same for tasks alone, from wherever they are.
pub(crate) fn differences_of_tasks<'a>(
    tasks: impl Iterator<Item = &'a Task>,
    answer: &Answer,
) -> Vec<String> {
    let tasks = tasks.map(|task| (task.id.to_string(), of_task(task)));
    differences_of("task", &tasks.collect(), answer, "tasks")
}

/// The same for workers alone.
pub(crate) fn differences_of_workers(app: &App, answer: &Answer) -> Vec<String> {
    let workers = app
        .workers()
        .map(|worker| (worker.name.to_string(), of_worker(worker)));
    differences_of("worker", &workers.collect(), answer, "workers")
}

fn differences_of(
    kind: &str,
    ours: &Map<String, Value>,
    answer: &Answer,
    part: &str,
) -> Vec<String> {
    let (celery, named) = (&answer.celery[part], &answer.named[part]);
    let celerys = celery.as_object().map_or(0, Map::len);
    let mut found = Vec::new();
    if ours.len() != celerys {
        found.push(format!("{} {kind}s, Celery has {celerys}", ours.len()));
    }
    for (id, ours) in ours {
        let rules = answer.rules_of(id);
        let mut compare = |expected: &Value, whose: &str| {
            for (field, ours) in ours.as_object().into_iter().flatten() {
                let expected = expected_field(&expected[id], kind, field);
                if *ours != expected {
                    found.push(format!(
                        "{kind} {id}: {field} is {ours}, {whose} {expected} (differences: {rules:?})"
                    ));
                }
            }
        };
        compare(named, "with the named differences Celery's is");
        if rules.is_empty() {
            compare(celery, "Celery's is");
        }
    }
    found
}

/// What Celery has, written as we write it.
fn expected_field(row: &Value, kind: &str, field: &str) -> Value {
    let value = &row[field];
    match (kind, field) {
        ("task", "eta" | "expires") => json!(value.as_str().map(micros)),
        // A number or a name on the wire, always a text here.
        ("task", "signum") if !value.is_string() && !value.is_null() => json!(value.to_string()),
        // Of a worker without one Celery assumes 60 s and clock 0.
        ("worker", "freq") if value.as_f64() == Some(60.0) => Value::Null,
        ("worker", "freq") => json!(value.as_f64()),
        ("worker", "clock") if value.as_u64() == Some(0) => Value::Null,
        ("worker", "loadavg") if value.is_null() => json!([]),
        _ => value.clone(),
    }
}

fn micros(text: &str) -> Micros {
    let time: jiff::Timestamp = text.parse().expect("ISO 8601 with offset");
    time.as_microsecond()
}

fn of_task(task: &Task) -> Value {
    let payload = &task.payload;
    let revocation = task.revocation.as_ref();
    let custom = payload.custom.iter().map(|(name, value)| {
        let value: Value = serde_json::from_str(value).expect("values are JSON");
        (name.to_string(), value)
    });
    let custom: Map<String, Value> = custom
        .filter(|(name, _)| CUSTOM.contains(&&**name))
        .collect();
    let times = [
        ("timestamp", task.timestamp),
        ("sent", task.sent),
        ("received", task.received),
        ("started", task.started),
        ("succeeded", task.succeeded),
        ("failed", task.failed),
        ("retried", task.retried),
        ("revoked", task.revoked),
        ("rejected", task.rejected),
        ("runtime", task.runtime),
    ];
    let mut fields = json!({
        "state": task.state.as_str(),
        "name": task.name.as_deref(),
        "worker": task.worker.as_deref(),
        "client": task.client.as_deref(),
        "args": payload.args,
        "kwargs": payload.kwargs,
        "result": payload.result,
        "exception": payload.exception,
        "traceback": payload.traceback,
        "retries": task.retries,
        "eta": task.eta,
        "expires": task.expires,
        "queue": task.queue.as_deref(),
        "exchange": task.exchange.as_deref(),
        "routing_key": task.routing_key.as_deref(),
        "root_id": task.root_id.as_ref().map(ToString::to_string),
        "parent_id": task.parent_id.as_ref().map(ToString::to_string),
        "terminated": revocation.map(|how| how.terminated),
        "expired": revocation.map(|how| how.expired),
        "signum": revocation.and_then(|how| how.signal.as_deref()),
        "requeue": task.requeued,
        "custom": custom,
    });
    for (field, time) in times {
        fields[field] = json!(time);
    }
    fields
}

fn of_worker(worker: &Worker) -> Value {
    json!({
        "pid": worker.pid,
        "freq": worker.freq,
        "active": worker.active,
        "processed": worker.processed,
        "clock": worker.clock,
        "loadavg": worker.loadavg,
        "sw_ident": worker.sw_ident.as_deref(),
        "sw_ver": worker.sw_ver.as_deref(),
        "sw_sys": worker.sw_sys.as_deref(),
        "online": worker.status == WorkerStatus::Online,
    })
}
