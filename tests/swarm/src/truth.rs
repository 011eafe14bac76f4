//! What simulated workers truly did, told only after the broker has taken it.

use std::collections::{BTreeMap, BTreeSet};

/// One task as it truly went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskTruth {
    /// Its name.
    pub name: String,
    /// Who ran it last.
    pub worker: String,
    /// Celery's state after the last event.
    pub state: &'static str,
    /// How often it was received: its attempts.
    pub attempts: u64,
    /// Its events, in order.
    pub events: Vec<&'static str>,
    /// How many of them nobody was subscribed for.
    pub unheard: usize,
}

/// Everything.
#[derive(Debug, Clone, Default)]
pub struct Truth {
    /// By task id.
    pub tasks: BTreeMap<String, TaskTruth>,
    /// By node name: when it got a control message, meant for it or not, in microseconds since the Unix epoch.
    pub delivered: BTreeMap<String, Vec<i64>>,
    /// By node name: the commands it has answered in its present life.
    pub answered: BTreeMap<String, BTreeSet<String>>,
}

/// One event of a task, on its way to the truth.
pub(crate) struct Told {
    pub(crate) id: String,
    pub(crate) name: &'static str,
    pub(crate) worker: String,
    pub(crate) event: &'static str,
}

impl TaskTruth {
    /// Whether it came to its end.
    pub fn finished(&self) -> bool {
        ["SUCCESS", "FAILURE", "REVOKED"].contains(&self.state)
    }
}

impl Truth {
    /// How many events of a type there were.
    pub fn events(&self, event: &str) -> usize {
        let of_task = |task: &TaskTruth| task.events.iter().filter(|one| **one == event).count();
        self.tasks.values().map(of_task).sum()
    }

    /// How many events of tasks there were, each a message of its own.
    pub fn messages(&self) -> usize {
        self.tasks.values().map(|task| task.events.len()).sum()
    }

    /// Whether every task has come to its end.
    pub fn all_finished(&self) -> bool {
        self.tasks.values().all(TaskTruth::finished)
    }

    /// Takes in an event that reached this many subscribers.
    pub(crate) fn tell(&mut self, told: Told, receivers: u64) {
        let task = self.tasks.entry(told.id).or_default();
        told.name.clone_into(&mut task.name);
        task.worker = told.worker;
        task.state = state(told.event);
        task.attempts += u64::from(told.event == "task-received");
        task.events.push(told.event);
        task.unheard += usize::from(receivers == 0);
    }
}

/// Celery's state after an event (`celery.events.state.TASK_EVENT_TO_STATE`).
fn state(event: &str) -> &'static str {
    match event {
        "task-received" => "RECEIVED",
        "task-started" => "STARTED",
        "task-succeeded" => "SUCCESS",
        "task-failed" => "FAILURE",
        "task-retried" => "RETRY",
        "task-revoked" => "REVOKED",
        other => unreachable!("the simulator sends no {other}"),
    }
}
