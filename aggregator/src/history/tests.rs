//! Over real databases in temporary folders. What is expected comes from a model of a few lines: maps of tasks.

mod bench;
mod crash;
mod folder;
mod index;
mod listing;
mod older;
mod sweeping;

use std::time::Duration;

use tempfile::TempDir;

use super::{History, Reader, Writer};
use crate::state::{Attempt, Symbol, Task, TaskId, TaskState};

/// 2023-11-14, in microseconds.
const START: i64 = 1_700_000_000_000_000;

struct Database {
    dir: TempDir,
    writer: Writer,
    reader: Reader,
}

fn database() -> Database {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (writer, reader) = History::open(dir.path()).expect("a new database");
    Database {
        dir,
        writer,
        reader,
    }
}

impl Database {
    /// Closes it without ado and opens it again.
    fn reopened(self) -> Self {
        let Self {
            dir,
            writer,
            reader,
        } = self;
        drop((writer, reader));
        let (writer, reader) = History::open(dir.path()).expect("the same database");
        Self {
            dir,
            writer,
            reader,
        }
    }

    fn put(&mut self, app: &str, tasks: &[Task]) {
        let mut commit = self.writer.begin().unwrap();
        for task in tasks {
            commit.put_task(app, task).unwrap();
        }
        commit.commit().unwrap();
    }
}

/// A finished task as they come: most succeed, some fail with a traceback, some belong to a workflow.
fn finished(number: u64) -> Task {
    let time = START + i64::try_from(number).unwrap() * 1_000;
    let mut task = Task::new(id(number), time);
    let kind = number % 40;
    task.name = Some(Symbol::from(format!("proj.tasks.kind{kind}")));
    task.worker = Some(Symbol::from(format!("celery@worker-{}", number % 20)));
    task.queue = (!number.is_multiple_of(3)).then(|| Symbol::from("celery"));
    task.client = Some("gen7@web".into());
    task.state = match number % 10 {
        0 => TaskState::Failure,
        1 => TaskState::Revoked,
        _ => TaskState::Success,
    };
    task.retries = number
        .is_multiple_of(7)
        .then_some(i64::try_from(number % 4).unwrap());
    task.root_id = Some(id(number / 5 * 5));
    task.parent_id = (!number.is_multiple_of(5)).then(|| id(number - 1));
    let seconds = 1_700_000_000.0 + f64::from(u32::try_from(number).unwrap()) / 1e3;
    task.sent = Some(seconds - 0.2);
    task.received = Some(seconds);
    task.started = Some(seconds + 0.1);
    task.last_seen = time + 50_000;
    task.finish_seen = Some(time + 50_000);
    task.payload.args = Some(format!("({number}, 'someone@example.org')").into());
    task.payload.kwargs = Some(format!("{{'id': {number}, 'dry_run': False}}").into());
    if task.state == TaskState::Success {
        task.succeeded = Some(seconds + 0.5);
        task.runtime = Some(f64::from(u32::try_from(number * 7_919 % 1_000).unwrap()) / 100.0);
        task.payload.result = Some(format!("{{'sent': {number}}}").into());
    } else {
        task.payload.exception = Some("ValueError('no such user')".into());
        task.payload.traceback = Some("Traceback (most recent call last):\n  File …".into());
    }
    task.attempts.push(Attempt {
        number: 1,
        worker: task.worker.clone(),
        incarnation: 1,
        received: task.received,
        started: task.started,
        ended: Some(seconds + 0.5),
        outcome: Some(task.state.clone()),
        retries: task.retries,
        exception: None,
    });
    task.attempt_count = 1;
    task
}

fn unfinished(number: u64) -> Task {
    let mut task = finished(number);
    task.state = TaskState::Started;
    task.finish_seen = None;
    task.runtime = None;
    task
}

/// Spread as UUIDs are.
fn id(number: u64) -> TaskId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    TaskId::Uuid(bytes)
}

/// For lists that are to look at everything, however slow the machine.
const PATIENT: Duration = Duration::from_mins(1);
