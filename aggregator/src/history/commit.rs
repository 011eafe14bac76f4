//! One transaction: rows of tasks, and everything else that changed, as one journal row.

use hashbrown::HashMap;
use rusqlite::Connection;

use super::encode::encode;
use super::error::HistoryError;
use super::facts::{BLOCK, BLOCK_ROWS, Facts};
use super::identity::Identity;
use super::index::Step;
use super::journal::Record;
use super::schema::Meta;
use super::seal::{place, write_block};
use super::writer::{Identities, Writer};
use crate::state::worker::Inspection;
use crate::state::{Gap, Symbol, Task, TaskId, TaskName, Worker};

/// What a commit will have changed in memory.
#[derive(Debug, Default)]
pub(super) struct Staged {
    /// Rows and their facts, in the order written; a row may be there twice.
    rows: Vec<(i64, Facts)>,
    by_hash: HashMap<u64, i64>,
    identities: Identities,
    new_apps: Vec<Symbol>,
    /// New rows, replaced ones not counted.
    added: i64,
    /// `meta` as it will be.
    meta: Option<Meta>,
    /// Encoded tasks pass through here.
    buffer: Vec<u8>,
}

impl Staged {
    /// The row staged under this hash.
    pub(super) fn row(&self, hash: u64) -> Option<i64> {
        self.by_hash.get(&hash).copied()
    }

    fn clear(&mut self) {
        self.rows.clear();
        self.by_hash.clear();
        self.identities.clear();
        self.new_apps.clear();
        self.added = 0;
        self.meta = None;
    }
}

/// Collects changes and commits them in one transaction, synced to disk. Dropped without that, it changes nothing.
///
/// Within one commit later changes to the same thing win.
#[derive(Debug)]
pub struct Commit<'w> {
    pub(super) writer: &'w mut Writer,
    done: bool,
}

impl<'w> Commit<'w> {
    pub(super) fn begin(writer: &'w mut Writer) -> Result<Self, HistoryError> {
        // A rollback that failed is tried again.
        if !writer.connection.is_autocommit() {
            writer.connection.execute_batch("ROLLBACK")?;
        }
        writer
            .connection
            .prepare_cached("BEGIN IMMEDIATE")?
            .execute([])?;
        writer.staged.clear();
        writer.journal.clear();
        Ok(Self {
            writer,
            done: false,
        })
    }

    /// Writes a task's row: one that finished, or an unfinished one that leaves memory. A row of the same id is replaced.
    /// It is no longer among the unfinished ones that [`Writer::recover`] returns.
    ///
    /// # Errors
    /// The database cannot be written; drop this commit.
    pub fn put_task(&mut self, app: &str, task: &Task) -> Result<(), HistoryError> {
        let (app, name) = self.app(app)?;
        let identity = self.writer.identity(app, &task.id);
        self.write_row(app, &name, task, identity)?;
        self.forget(app, &task.id, identity);
        Ok(())
    }

    /// Journals an unfinished task that is in memory, as it is now.
    ///
    /// # Errors
    /// The database cannot be written; drop this commit.
    pub fn put_unfinished(&mut self, app: &str, task: &Task) -> Result<(), HistoryError> {
        let (app, _) = self.app(app)?;
        let identity = self.writer.identity(app, &task.id);
        self.writer.staged.identities.insert(identity);
        let key = task.id.key();
        let journal = &mut self.writer.journal;
        let value = journal.encode(task);
        journal.push(&Record::Unfinished {
            app,
            key: &key,
            task: &value,
        });
        journal.recycle(value);
        Ok(())
    }

    /// A task left memory without a row in history.
    ///
    /// # Errors
    /// The database cannot be written; drop this commit.
    pub fn remove_unfinished(&mut self, app: &str, id: &TaskId) -> Result<(), HistoryError> {
        let (app, _) = self.app(app)?;
        let identity = self.writer.identity(app, id);
        self.forget(app, id, identity);
        Ok(())
    }

    /// Journals a worker as it is now, without its answers.
    ///
    /// # Errors
    /// The database cannot be written; drop this commit.
    pub fn put_worker(&mut self, app: &str, worker: &Worker) -> Result<(), HistoryError> {
        let (app, _) = self.app(app)?;
        let journal = &mut self.writer.journal;
        let value = journal.encode(worker);
        journal.push(&Record::Worker {
            app,
            name: &worker.name,
            worker: &value,
        });
        journal.recycle(value);
        Ok(())
    }

    /// Journals a worker's answers as they are now.
    ///
    /// # Errors
    /// The database cannot be written; drop this commit.
    pub fn put_inspection(
        &mut self,
        app: &str,
        name: &Symbol,
        inspection: &Inspection,
    ) -> Result<(), HistoryError> {
        let (app, _) = self.app(app)?;
        let journal = &mut self.writer.journal;
        let value = journal.encode(inspection);
        journal.push(&Record::Inspection {
            app,
            name,
            inspection: &value,
        });
        journal.recycle(value);
        Ok(())
    }

    /// A worker left, and its answers with it.
    ///
    /// # Errors
    /// The database cannot be written; drop this commit.
    pub fn remove_worker(&mut self, app: &str, name: &str) -> Result<(), HistoryError> {
        let (app, _) = self.app(app)?;
        self.writer.journal.push(&Record::WorkerGone { app, name });
        Ok(())
    }

    /// Journals the statistics of a task name as they are now.
    ///
    /// # Errors
    /// The database cannot be written; drop this commit.
    pub fn put_task_name(&mut self, app: &str, task_name: &TaskName) -> Result<(), HistoryError> {
        let (app, _) = self.app(app)?;
        let journal = &mut self.writer.journal;
        let value = journal.encode(task_name);
        journal.push(&Record::TaskName {
            app,
            name: &task_name.name,
            task_name: &value,
        });
        journal.recycle(value);
        Ok(())
    }

    /// Journals a gap as it is now. Gaps are the same when start, cause and worker are.
    ///
    /// # Errors
    /// The database cannot be written; drop this commit.
    pub fn put_gap(&mut self, app: &str, gap: &Gap) -> Result<(), HistoryError> {
        let (app, _) = self.app(app)?;
        let journal = &mut self.writer.journal;
        let value = journal.encode(gap);
        journal.push(&Record::Gap { app, gap: &value });
        journal.recycle(value);
        Ok(())
    }

    /// Journals the app's counters as they are now, encoded by their owner.
    ///
    /// # Errors
    /// The database cannot be written; drop this commit.
    pub fn put_counters(&mut self, app: &str, counters: &[u8]) -> Result<(), HistoryError> {
        let (app, _) = self.app(app)?;
        self.writer
            .journal
            .push(&Record::Counters { app, counters });
        Ok(())
    }

    /// Journals the last batch taken in from an inspector.
    ///
    /// # Errors
    /// The database cannot be written; drop this commit.
    pub fn put_position(
        &mut self,
        app: &str,
        instance: &str,
        epoch: i64,
        sequence: u64,
    ) -> Result<(), HistoryError> {
        let (app, _) = self.app(app)?;
        self.writer.journal.push(&Record::Position {
            app,
            instance,
            epoch,
            sequence,
        });
        Ok(())
    }

    /// Journals the identities of events that were folded, in that order, after those before.
    ///
    /// # Errors
    /// The database cannot be written; drop this commit.
    pub fn put_told(&mut self, app: &str, identities: &[u64]) -> Result<(), HistoryError> {
        let (app, _) = self.app(app)?;
        let journal = &mut self.writer.journal;
        let value = journal.encode_told(identities);
        journal.push(&Record::Told {
            app,
            identities: &value,
        });
        journal.recycle(value);
        Ok(())
    }

    /// Commits. When this returns, everything is on disk.
    ///
    /// # Errors
    /// The database could not be written, and nothing of this commit is in it. It may be built and tried again.
    pub fn commit(mut self) -> Result<(), HistoryError> {
        let journaled = self.write_journal()?;
        let unsealed = self.seal()?;
        let merged = self.merge()?;
        self.execute_commit()?;
        let writer = &mut *self.writer;
        let committed = std::mem::take(&mut writer.staged.by_hash);
        committed
            .iter()
            .for_each(|(hash, row)| writer.index.insert(*hash, *row));
        writer.staged.by_hash = committed;
        match unsealed {
            Some(unsealed) => {
                writer.spent = std::mem::replace(&mut writer.unsealed, unsealed);
                writer.spent.clear();
            }
            None => place(
                &mut writer.unsealed,
                writer.next_row,
                writer.staged.rows.drain(..),
            ),
        }
        writer.next_row += writer.staged.added;
        if let Some(step) = merged {
            writer.index.merged(step, &writer.meta);
        }
        if let Some(seq) = journaled {
            writer.unfinished.next_seq = seq + 1;
            writer.unfinished.journal_bytes += writer.journal.bytes().len() as u64;
            let named = writer
                .staged
                .identities
                .drain()
                .map(|identity| (identity, seq));
            writer.unfinished.journaled.extend(named);
        }
        Ok(())
    }

    /// Ends the transaction and takes over `meta`.
    pub(super) fn execute_commit(&mut self) -> Result<(), HistoryError> {
        if let Some(meta) = self.writer.staged.meta {
            meta.write(&self.writer.connection)?;
        }
        self.writer
            .connection
            .prepare_cached("COMMIT")?
            .execute([])?;
        self.done = true;
        if let Some(meta) = self.writer.staged.meta {
            self.writer.meta = meta;
        }
        Ok(())
    }

    /// `meta` as it will be, to change.
    pub(super) fn meta(&mut self) -> &mut Meta {
        let now = self.writer.meta;
        self.writer.staged.meta.get_or_insert(now)
    }

    /// The next new row.
    pub(super) fn next_row(&self) -> i64 {
        self.writer.next_row + self.writer.staged.added
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.writer.connection
    }

    pub(super) fn app(&mut self, name: &str) -> Result<(i64, Symbol), HistoryError> {
        if let Some((name, app)) = self.writer.apps.get_key_value(name) {
            return Ok((*app, name.clone()));
        }
        let symbol = Symbol::from(name);
        let app = self
            .connection()
            .prepare_cached("INSERT INTO app (name) VALUES (?1)")?
            .insert([name])?;
        self.writer.apps.insert(symbol.clone(), app);
        self.writer.staged.new_apps.push(symbol.clone());
        Ok((app, symbol))
    }

    /// A row in no block yet is written over; one in a block is left behind, and the task gets a new one.
    fn write_row(
        &mut self,
        app: i64,
        name: &Symbol,
        task: &Task,
        identity: Identity,
    ) -> Result<(), HistoryError> {
        let old = self.writer.find(app, &task.id, identity)?;
        let sealed_end = self.writer.next_row / BLOCK * BLOCK;
        let row = match &old {
            Some(found) if found.row >= sealed_end => found.row,
            Some(found) => {
                self.delete_row(found.row)?;
                self.append()
            }
            None => self.append(),
        };
        let spilled = i64::from(!task.is_finished())
            - old.map_or(0, |found| i64::from(!found.task.is_finished()));
        if spilled != 0 {
            self.meta().spilled += spilled;
        }
        self.store_row(row, app, task)?;
        let staged = &mut self.writer.staged;
        staged.rows.push((row, Facts::new(name, task)));
        staged.by_hash.insert(identity.hash(), row);
        Ok(())
    }

    fn append(&mut self) -> i64 {
        let row = self.next_row();
        self.writer.staged.added += 1;
        row
    }

    fn delete_row(&mut self, row: i64) -> Result<(), HistoryError> {
        self.connection()
            .prepare_cached("DELETE FROM task WHERE row = ?1")?
            .execute([row])?;
        // A row that retention has passed is not there to be missed.
        if row >= self.meta().low {
            self.meta().absent += 1;
        }
        Ok(())
    }

    fn store_row(&mut self, row: i64, app: i64, task: &Task) -> Result<(), HistoryError> {
        let mut buffer = std::mem::take(&mut self.writer.staged.buffer);
        buffer.clear();
        encode(task, &mut buffer);
        let sql = "INSERT OR REPLACE INTO task (row, app, data) VALUES (?1, ?2, ?3)";
        let stored = self
            .connection()
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute((row, app, buffer.as_slice())));
        self.writer.staged.buffer = buffer;
        stored?;
        Ok(())
    }

    /// Moves a row to the end: an unfinished task that retention came upon.
    pub(super) fn move_row(
        &mut self,
        row: i64,
        app: i64,
        name: &Symbol,
        task: &Task,
    ) -> Result<(), HistoryError> {
        self.delete_row(row)?;
        let to = self.append();
        self.store_row(to, app, task)?;
        let hash = self.writer.identity(app, &task.id).hash();
        let staged = &mut self.writer.staged;
        staged.rows.push((to, Facts::new(name, task)));
        staged.by_hash.insert(hash, to);
        Ok(())
    }

    /// Records that a task is no longer among the unfinished ones, if it ever was.
    fn forget(&mut self, app: i64, id: &TaskId, identity: Identity) {
        let unfinished = &self.writer.unfinished;
        let known = unfinished.journaled.contains_key(&identity)
            || unfinished.based.contains_key(&identity)
            || self.writer.staged.identities.contains(&identity);
        if known {
            self.writer.staged.identities.insert(identity);
            self.writer.journal.push(&Record::Gone {
                app,
                key: &id.key(),
            });
        }
    }

    fn write_journal(&mut self) -> Result<Option<i64>, HistoryError> {
        let bytes = self.writer.journal.bytes();
        if bytes.is_empty() {
            return Ok(None);
        }
        let seq = self.writer.unfinished.next_seq;
        let sql = "INSERT INTO journal (seq, data) VALUES (?1, ?2)";
        self.connection()
            .prepare_cached(sql)?
            .execute((seq, bytes))?;
        Ok(Some(seq))
    }

    /// Writes the blocks that are full now. Returns the rows that are left, if there were any such blocks.
    fn seal(&mut self) -> Result<Option<Vec<Facts>>, HistoryError> {
        let first = self.writer.next_row / BLOCK;
        let end = self.next_row() / BLOCK;
        if first == end {
            return Ok(None);
        }
        let mut rows = std::mem::take(&mut self.writer.spent);
        rows.clone_from(&self.writer.unsealed);
        place(
            &mut rows,
            self.writer.next_row,
            self.writer.staged.rows.drain(..),
        );
        let sealed = (first..end).count() * BLOCK_ROWS;
        let blocks = rows.get(..sealed);
        let blocks = blocks.ok_or_else(|| HistoryError::damaged("rows in no block"))?;
        for (number, block) in (first..end).zip(blocks.chunks_exact(BLOCK_ROWS)) {
            write_block(&self.writer.connection, number, block)?;
        }
        rows.drain(..sealed);
        Ok(Some(rows))
    }

    fn merge(&mut self) -> Result<Option<Step>, HistoryError> {
        // Only what was committed before is merged: it is in memory, and stays there if this commit fails.
        let sealed_end = self.writer.next_row / BLOCK * BLOCK;
        let mut meta = *self.meta();
        let writer = &mut *self.writer;
        let added = usize::try_from(writer.staged.added).unwrap_or(usize::MAX / 4);
        let step = writer
            .index
            .merge(&writer.connection, &mut meta, sealed_end, added)?;
        // Nothing to write when nothing changed.
        writer.staged.meta = (meta != writer.meta).then_some(meta);
        Ok(step)
    }
}

impl Drop for Commit<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        for app in self.writer.staged.new_apps.drain(..) {
            self.writer.apps.remove(&app);
        }
        // SQLite may have rolled back by itself, as it does when the disk is full; then there is nothing left to do.
        if !self.writer.connection.is_autocommit() {
            let _ = self.writer.connection.execute_batch("ROLLBACK");
        }
        self.writer.staged.clear();
    }
}
