//! An aggregator without its edges, which can be killed.

use celeriac_aggregator::engine::Engine;
use celeriac_aggregator::engine::board::BoardReader;
use celeriac_aggregator::history::{History, Reader, Retention};
use celeriac_aggregator::state::{Input, Limits, Micros, Task};
use tempfile::TempDir;

const APP: &str = "shop";

/// Engine and history on a disk.
pub(crate) struct Aggregator {
    folder: TempDir,
    limits: Limits,
    engine: Engine,
    pub(crate) board: BoardReader,
    history: Reader,
}

impl Aggregator {
    /// A new one.
    pub(crate) fn new(limits: Limits) -> Self {
        Self::on(tempfile::tempdir().expect("a temporary folder"), limits)
    }

    fn on(folder: TempDir, limits: Limits) -> Self {
        let (writer, history) = History::open(folder.path()).expect("a folder of its own");
        let keep_all = Retention {
            age: None,
            count: None,
        };
        let (engine, board) = Engine::open(writer, limits, keep_all).expect("it recovers");
        Self {
            folder,
            limits,
            engine,
            board,
            history,
        }
    }

    /// One on a copy of the files as they are now, which is what a kill leaves.
    pub(crate) fn after_kill(&self) -> Self {
        let copy = tempfile::tempdir().expect("a temporary folder");
        for entry in std::fs::read_dir(self.folder.path()).expect("it is there") {
            let entry = entry.expect("it can be read");
            std::fs::copy(entry.path(), copy.path().join(entry.file_name()))
                .expect("there is room");
        }
        Self::on(copy, self.limits)
    }

    /// Folds what has gathered.
    pub(crate) fn fold(&mut self, inputs: &mut Vec<(Micros, Input)>) {
        let Some((received, _)) = inputs.last() else {
            return;
        };
        let received = *received;
        let inputs = inputs.drain(..).map(|(_, input)| input).collect();
        self.engine.fold(&APP.into(), received, inputs);
    }

    /// What was folded is on disk.
    pub(crate) fn commit(&mut self) {
        self.engine.commit().expect("the disk works");
    }

    /// Time passes.
    pub(crate) fn tick(&mut self, now: Micros) {
        self.engine.tick(now).expect("the disk works");
    }

    /// A task, in memory or in history.
    pub(crate) fn task(&self, task: &Task) -> Option<Task> {
        let board = self.board.read();
        let in_memory = board.apps.values().find_map(|app| app.state.task(&task.id));
        in_memory.cloned().or_else(|| {
            let stored = self.history.get(APP, &task.id);
            stored.expect("history is readable")
        })
    }
}
