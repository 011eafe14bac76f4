//! The only writer of the database: blocking, and meant for a thread of its own.

use hashbrown::{HashMap, HashSet};
use rusqlite::{Connection, OptionalExtension};

use super::commit::{Commit, Staged};
use super::error::HistoryError;
use super::facts::{BLOCK, Facts};
use super::folder::Folder;
use super::identity::Identity;
use super::index::Index;
use super::journal::Journal;
use super::schema::Meta;
use crate::state::{Symbol, Task, TaskId};

/// Writes tasks and the journal. Not `Clone`: there is one.
#[derive(Debug)]
pub struct Writer {
    pub(super) connection: Connection,
    /// Held for its lock, until the connection is closed.
    _folder: Folder,
    pub(super) meta: Meta,
    pub(super) apps: HashMap<Symbol, i64>,
    /// The next row of `task`.
    pub(super) next_row: i64,
    /// Rows that are in no block yet: from the last multiple of [`BLOCK`] up to `next_row`.
    pub(super) unsealed: Vec<Facts>,
    /// Room of former ones, for the next.
    pub(super) spent: Vec<Facts>,
    pub(super) index: Index,
    pub(super) unfinished: Unfinished,
    pub(super) journal: Journal,
    pub(super) staged: Staged,
}

/// Where the unfinished tasks in memory are kept.
#[derive(Debug, Default)]
pub(super) struct Unfinished {
    /// Whether the rest is filled in.
    pub(super) known: bool,
    /// The last journal row that names the task.
    pub(super) journaled: HashMap<Identity, i64>,
    /// Its row in `unfinished`.
    pub(super) based: HashMap<Identity, i64>,
    /// Bytes in the journal.
    pub(super) journal_bytes: u64,
    /// The next journal row.
    pub(super) next_seq: i64,
    /// The next row of `unfinished`.
    pub(super) next_row: i64,
}

/// A task's row in history.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) row: i64,
    pub(super) task: Task,
}

impl Writer {
    pub(super) fn new(connection: Connection, folder: Folder) -> Result<Self, HistoryError> {
        let meta = Meta::read(&connection)?;
        let next_row = meta.next_row(&connection)?;
        let sealed_end = next_row / BLOCK * BLOCK;
        let apps = read_apps(&connection)?;
        let mut index = Index::open(&connection, &meta, &apps, sealed_end)?;
        let names: HashMap<i64, Symbol> = apps
            .iter()
            .map(|(name, app)| (*app, name.clone()))
            .collect();
        let mut unsealed = Vec::new();
        read_rows(&connection, sealed_end, |row, app, task| {
            let name = names
                .get(&app)
                .ok_or_else(|| HistoryError::damaged("the app of a task"))?;
            index.insert(Identity::new(meta.seed, app, &task.id).hash(), row);
            fill_up(&mut unsealed, row - sealed_end);
            unsealed.push(Facts::new(name, &task));
            Ok(())
        })?;
        fill_up(&mut unsealed, next_row - sealed_end);
        Ok(Self {
            connection,
            _folder: folder,
            meta,
            apps,
            next_row,
            unsealed,
            spent: Vec::new(),
            index,
            unfinished: Unfinished::default(),
            journal: Journal::default(),
            staged: Staged::default(),
        })
    }

    /// Begins a commit. Until it is committed nothing of it is in the database; dropped, none of it ever was.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn begin(&mut self) -> Result<Commit<'_>, HistoryError> {
        if !self.unfinished.known {
            self.recover()?;
        }
        Commit::begin(self)
    }

    /// The row of a task, finished or moved out of memory. `None` when there is none.
    ///
    /// Called for the first event of every id that memory does not hold; for an id that was never seen it usually does
    /// not touch the disk.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn load_task(&mut self, app: &str, id: &TaskId) -> Result<Option<Task>, HistoryError> {
        let Some(app) = self.apps.get(app).copied() else {
            return Ok(None);
        };
        let identity = Identity::new(self.meta.seed, app, id);
        Ok(self.find(app, id, identity)?.map(|found| found.task))
    }

    /// Tasks in history.
    pub fn count(&self) -> u64 {
        live_rows(&self.meta, self.next_row)
    }

    /// Writes back everything that a restart would otherwise have to replay, and closes the database.
    ///
    /// # Errors
    /// The database cannot be written. What was committed is safe all the same.
    pub fn close(mut self) -> Result<(), HistoryError> {
        if !self.unfinished.known {
            self.recover()?;
        }
        while self.checkpoint(0)? {}
        self.connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(())
    }

    pub(super) fn identity(&self, app: i64, id: &TaskId) -> Identity {
        Identity::new(self.meta.seed, app, id)
    }

    /// The task's row, among what was committed and what is about to be.
    pub(super) fn find(
        &self,
        app: i64,
        id: &TaskId,
        identity: Identity,
    ) -> Result<Option<Found>, HistoryError> {
        let hash = identity.hash();
        let staged = self.staged.row(hash);
        let committed = self.index.rows(&self.connection, &self.meta, hash)?;
        for row in staged.into_iter().chain(committed) {
            if let Some(task) = fetch(&self.connection, row, Some(app), id)? {
                return Ok(Some(Found { row, task }));
            }
        }
        Ok(None)
    }
}

/// Puts what stands for deleted rows where they were.
pub(super) fn fill_up(rows: &mut Vec<Facts>, len: i64) {
    let len = usize::try_from(len).unwrap_or(0).max(rows.len());
    rows.resize_with(len, Facts::vacant);
}

/// Rows that are there.
pub(super) fn live_rows(meta: &Meta, next_row: i64) -> u64 {
    u64::try_from(next_row - meta.low - meta.absent).unwrap_or(0)
}

/// Decodes a task.
pub(super) fn decode_task(bytes: &[u8]) -> Result<Task, HistoryError> {
    minicbor::decode(bytes).map_err(|_| HistoryError::damaged("a task"))
}

/// The row's task, if it is the one with this id.
pub(super) fn fetch(
    connection: &Connection,
    row: i64,
    app: Option<i64>,
    id: &TaskId,
) -> Result<Option<Task>, HistoryError> {
    let mut statement = connection.prepare_cached("SELECT app, data FROM task WHERE row = ?1")?;
    let found = statement
        .query_row([row], |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get_ref(1)?.as_blob().map(decode_task),
            ))
        })
        .optional()?;
    let Some((found_app, task)) = found else {
        return Ok(None);
    };
    let task = task.map_err(|_| HistoryError::damaged("a task"))??;
    Ok((app.is_none_or(|app| app == found_app) && task.id == *id).then_some(task))
}

/// Every row of `task` from `first` on, in order.
pub(super) fn read_rows(
    connection: &Connection,
    first: i64,
    mut each: impl FnMut(i64, i64, Task) -> Result<(), HistoryError>,
) -> Result<(), HistoryError> {
    let sql = "SELECT row, app, data FROM task WHERE row >= ?1 ORDER BY row";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([first])?;
    while let Some(row) = rows.next()? {
        let data = row
            .get_ref(2)?
            .as_blob()
            .map_err(|_| HistoryError::damaged("a task"))?;
        each(row.get(0)?, row.get(1)?, decode_task(data)?)?;
    }
    Ok(())
}

/// The apps' numbers, by name.
pub(super) fn read_apps(connection: &Connection) -> Result<HashMap<Symbol, i64>, HistoryError> {
    let mut statement = connection.prepare_cached("SELECT name, id FROM app")?;
    let apps = statement.query_map([], |row| {
        Ok((Symbol::from(row.get_ref(0)?.as_str()?), row.get(1)?))
    })?;
    Ok(apps.collect::<Result<_, _>>()?)
}

/// Identities, none twice.
pub(super) type Identities = HashSet<Identity>;
