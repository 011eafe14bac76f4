//! What an input changed: from this the engine persists, publishes and counts.

use super::gap::Gap;
use super::ids::{Symbol, TaskId};
use super::task::Task;

/// What inputs changed, added up over a batch. Names may repeat; what is not named did not change.
#[derive(Debug, Default)]
pub struct Changes {
    /// Tasks that changed and are in memory.
    pub tasks: Vec<TaskId>,
    /// Tasks that left memory because they are finished and their grace is over. They are in history already.
    pub evicted: Vec<TaskId>,
    /// Unfinished tasks that left memory because it is full; the engine must write them to history.
    pub spilled: Vec<Task>,
    /// Workers that changed.
    pub workers: Vec<Symbol>,
    /// Workers whose answers changed; among `workers` too.
    pub inspections: Vec<Symbol>,
    /// Workers that left.
    pub workers_removed: Vec<Symbol>,
    /// Queues that changed.
    pub queues: Vec<Symbol>,
    /// Queues that left.
    pub queues_removed: Vec<Symbol>,
    /// Task names whose statistics changed.
    pub task_names: Vec<Symbol>,
    /// Gaps that are new or were closed.
    pub gaps: Vec<Gap>,
    /// Identities of the events that were folded, in that order: they tell repeats of them, after a restart too.
    pub told: Vec<u64>,
    /// Something of the app itself changed (broker, inspector, rejections).
    pub app: bool,
}

impl Changes {
    /// Forgets everything, keeps the room.
    pub fn clear(&mut self) {
        let Self {
            tasks,
            evicted,
            spilled,
            workers,
            inspections,
            workers_removed,
            queues,
            queues_removed,
            task_names,
            gaps,
            told,
            app,
        } = self;
        tasks.clear();
        evicted.clear();
        spilled.clear();
        workers.clear();
        inspections.clear();
        workers_removed.clear();
        queues.clear();
        queues_removed.clear();
        task_names.clear();
        gaps.clear();
        told.clear();
        *app = false;
    }
}
