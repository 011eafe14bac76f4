//! Reads recorded Celery events into inputs: just enough for what real workers sent.

use std::path::PathBuf;

use serde_json::Value;

use crate::state::ids::{Micros, Symbol, TaskId};
use crate::state::input::{Input, TaskEvent, TaskEventKind, WorkerEvent, WorkerEventKind};
use crate::state::units::micros_of;

/// The text of a recording.
pub(super) fn recording(name: &str) -> String {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "tests", "fixtures", name]
        .iter()
        .collect();
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The inputs of an events recording, each with its receive time.
pub(super) fn recorded_events(name: &str) -> Vec<(Micros, Input)> {
    let mut inputs = Vec::new();
    for line in recording(name).lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let received = micros_of(record["t"].as_f64().unwrap());
        let body = match record["payload"].as_str() {
            Some(payload) => redis_body(payload),
            None => record["body"].as_str().unwrap().to_owned(),
        };
        match serde_json::from_str(&body).unwrap() {
            Value::Array(events) => {
                inputs.extend(
                    events
                        .iter()
                        .map(|event| (received, event_input(event, received))),
                );
            }
            event => inputs.push((received, event_input(&event, received))),
        }
    }
    inputs
}

fn redis_body(payload: &str) -> String {
    let envelope: Value = serde_json::from_str(payload).unwrap();
    let body = envelope["body"].as_str().unwrap();
    String::from_utf8(base64_simd::STANDARD.decode_to_vec(body).unwrap()).unwrap()
}

fn text(event: &Value, key: &str) -> Option<Box<str>> {
    event[key].as_str().map(Into::into)
}

fn symbol(event: &Value, key: &str) -> Option<Symbol> {
    event[key].as_str().map(Symbol::from)
}

fn time(event: &Value, key: &str) -> Option<Micros> {
    let time: jiff::Timestamp = event[key].as_str()?.parse().unwrap();
    Some(time.as_microsecond())
}

/// The input for one event, as a JSON object.
pub(super) fn event_input(event: &Value, received: Micros) -> Input {
    let event_type = event["type"].as_str().unwrap();
    match event["uuid"].as_str() {
        Some(uuid) => Input::Task(Box::new(task_event(event, event_type, uuid, received))),
        None => Input::Worker(Box::new(worker_event(event, event_type, received))),
    }
}

fn task_event(event: &Value, event_type: &str, uuid: &str, received: Micros) -> TaskEvent {
    let kind = match event_type {
        "task-sent" => TaskEventKind::Sent,
        "task-received" => TaskEventKind::Received,
        "task-started" => TaskEventKind::Started,
        "task-succeeded" => TaskEventKind::Succeeded,
        "task-failed" => TaskEventKind::Failed,
        "task-retried" => TaskEventKind::Retried,
        "task-revoked" => TaskEventKind::Revoked,
        "task-rejected" => TaskEventKind::Rejected,
        _ => TaskEventKind::Custom,
    };
    TaskEvent {
        kind,
        event_type: event_type.into(),
        hostname: symbol(event, "hostname").unwrap(),
        pid: event["pid"].as_u64(),
        clock: event["clock"].as_u64(),
        timestamp: event["timestamp"].as_f64(),
        received,
        id: TaskId::from(uuid),
        name: symbol(event, "name"),
        args: text(event, "args"),
        kwargs: text(event, "kwargs"),
        root_id: event["root_id"].as_str().map(TaskId::from),
        parent_id: event["parent_id"].as_str().map(TaskId::from),
        retries: event["retries"].as_i64(),
        eta: time(event, "eta"),
        expires: time(event, "expires"),
        queue: symbol(event, "queue"),
        exchange: symbol(event, "exchange"),
        routing_key: symbol(event, "routing_key"),
        result: text(event, "result"),
        runtime: event["runtime"].as_f64(),
        exception: text(event, "exception"),
        traceback: text(event, "traceback"),
        terminated: event["terminated"].as_bool(),
        signum: Some(&event["signum"])
            .filter(|signal| !signal.is_null())
            .map(|signal| {
                signal
                    .as_str()
                    .map_or_else(|| signal.to_string(), str::to_owned)
                    .into()
            }),
        expired: event["expired"].as_bool(),
        requeue: event["requeue"].as_bool(),
        custom: if kind == TaskEventKind::Custom {
            custom(event)
        } else {
            Vec::new()
        },
        truncated: Vec::new(),
        sanitized: Vec::new(),
    }
}

fn custom(event: &Value) -> Vec<(Box<str>, Box<str>)> {
    const COMMON: [&str; 7] = [
        "hostname",
        "utcoffset",
        "pid",
        "clock",
        "uuid",
        "timestamp",
        "type",
    ];
    let fields = event.as_object().unwrap().iter();
    let own = fields.filter(|(key, _)| !COMMON.contains(&key.as_str()));
    own.map(|(key, value)| (key.as_str().into(), value.to_string().into()))
        .collect()
}

fn worker_event(event: &Value, event_type: &str, received: Micros) -> WorkerEvent {
    WorkerEvent {
        kind: match event_type {
            "worker-online" => WorkerEventKind::Online,
            "worker-heartbeat" => WorkerEventKind::Heartbeat,
            "worker-offline" => WorkerEventKind::Offline,
            _ => WorkerEventKind::Other,
        },
        event_type: event_type.into(),
        hostname: symbol(event, "hostname").unwrap(),
        pid: event["pid"].as_u64(),
        clock: event["clock"].as_u64(),
        timestamp: event["timestamp"].as_f64(),
        received,
        freq: event["freq"].as_f64(),
        active: event["active"].as_u64(),
        processed: event["processed"].as_u64(),
        loadavg: event["loadavg"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_f64)
            .collect(),
        sw_ident: symbol(event, "sw_ident"),
        sw_ver: symbol(event, "sw_ver"),
        sw_sys: symbol(event, "sw_sys"),
    }
}
