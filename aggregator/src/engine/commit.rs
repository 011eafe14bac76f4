//! The commit: what was folded goes to disk in one transaction, then is acknowledged, then shown to watchers.

use hashbrown::HashSet;

use super::Engine;
use crate::history::{Commit, HistoryError, JOURNAL_KEEP};
use crate::state::app::App;
use crate::state::{Changes, Micros, Symbol};

/// Rows deleted in one transaction: some milliseconds.
const SWEEP_ROWS: usize = 2_000;
/// Transactions of deletion in a tick of one second: more rows than a fold can finish in that time, and a fifth of it at most.
const SWEEPS_PER_TICK: usize = 20;

impl Engine {
    /// Brings everything folded to disk, acknowledges it, and tells the watchers. After an error nothing is acknowledged
    /// and nothing forgotten: the next call tries all of it again.
    ///
    /// # Errors
    /// History cannot be written.
    pub fn commit(&mut self) -> Result<(), HistoryError> {
        self.fold_wishes();
        {
            let board = self.board.read();
            let mut commit = self.history.begin()?;
            for (app, changes) in &self.pending {
                if let Some(entry) = board.apps.get(app) {
                    stage(&mut commit, app, &entry.state, changes)?;
                }
            }
            for (app, instance, epoch, sequence) in self.sessions.undurable() {
                commit.put_position(app, instance, epoch, sequence)?;
            }
            self.commands.stage(&mut commit)?;
            // Readers may go on while the disk syncs.
            drop(board);
            commit.commit()?;
        }
        self.sessions.committed();
        self.commands.committed();
        self.pending_inputs = 0;
        let mut board = self.board.write();
        board.commit_error = None;
        for (app, changes) in &mut self.pending {
            board.log.record(app, changes);
            changes.clear();
            if let Some(inspector) = board
                .apps
                .get_mut(app)
                .and_then(|app| app.inspector.as_mut())
            {
                inspector.acknowledged = self.sessions.progress(app, &inspector.instance).durable;
            }
        }
        drop(board);
        self.board.publish();
        Ok(())
    }

    /// Moves what the journal has too much of into the tables, a slice at a time, so that a restart has little to replay.
    pub(super) fn shorten_journal(&mut self) -> Result<(), HistoryError> {
        self.history.checkpoint(JOURNAL_KEEP).map(drop)
    }

    /// Lets go of what retention no longer keeps.
    pub(super) fn sweep(&mut self, now: Micros) -> Result<(), HistoryError> {
        for _ in 0..SWEEPS_PER_TICK {
            if !self.history.sweep(&self.retention, now, SWEEP_ROWS)? {
                break;
            }
        }
        Ok(())
    }
}

/// Writes what changed of one app.
fn stage(
    commit: &mut Commit<'_>,
    app: &Symbol,
    state: &App,
    changes: &Changes,
) -> Result<(), HistoryError> {
    for id in distinct(&changes.tasks) {
        match state.task(id) {
            Some(task) if task.is_finished() => commit.put_task(app, task)?,
            Some(task) => commit.put_unfinished(app, task)?,
            // It has left memory since: among the spilled ones, or evicted, and then history has it.
            None => {}
        }
    }
    for task in &changes.spilled {
        commit.put_task(app, task)?;
    }
    for name in distinct(&changes.workers) {
        if let Some(worker) = state.worker(name) {
            commit.put_worker(app, worker)?;
        }
    }
    for name in distinct(&changes.inspections) {
        let inspection = state
            .worker(name)
            .and_then(|worker| worker.inspection.as_deref());
        if let Some(inspection) = inspection {
            commit.put_inspection(app, name, inspection)?;
        }
    }
    for name in distinct(&changes.workers_removed) {
        if state.worker(name).is_none() {
            commit.remove_worker(app, name)?;
        }
    }
    for name in distinct(&changes.task_names) {
        if let Some(statistics) = state.task_name(name) {
            commit.put_task_name(app, statistics)?;
        }
    }
    for gap in &changes.gaps {
        commit.put_gap(app, gap)?;
    }
    if !changes.told.is_empty() {
        commit.put_told(app, &changes.told)?;
    }
    if !changes.tasks.is_empty() {
        commit.put_counters(app, &state.events_folded().to_be_bytes())?;
    }
    Ok(())
}

fn distinct<T: Eq + std::hash::Hash>(all: &[T]) -> impl Iterator<Item = &T> {
    let hasher = ahash::RandomState::default();
    let mut seen: HashSet<&T, _> = HashSet::with_capacity_and_hasher(all.len(), hasher);
    all.iter().filter(move |one| seen.insert(*one))
}

#[cfg(test)]
mod tests {
    use super::distinct;
    use crate::state::TaskId;

    #[test]
    fn repeats_are_left_out_in_order() {
        let ids = ["b", "a", "b", "c", "a"].map(TaskId::from);
        let kept: Vec<String> = distinct(&ids).map(ToString::to_string).collect();
        assert_eq!(kept, ["b", "a", "c"]);
    }
}
