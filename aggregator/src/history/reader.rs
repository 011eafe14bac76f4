//! Reads from the database: cheap to clone, blocking, each read over one consistent state of it.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;

use super::block::Block;
use super::error::HistoryError;
use super::facts::{BLOCK, Column};
use super::identity::Identity;
use super::index::indexed_rows;
use super::schema::{Meta, open_reader};
use super::writer::{decode_task, fetch, live_rows, read_apps};
use crate::state::{Symbol, Task, TaskId};

/// Connections at once; more reads wait. Each may use 1 MiB of page cache.
const CONNECTIONS_MAX: usize = 4;

/// Reads finished tasks, and unfinished ones that memory had no room for. Calls block; async callers use a thread for it.
#[derive(Debug, Clone)]
pub struct Reader {
    pool: Arc<Pool>,
}

#[derive(Debug)]
struct Pool {
    file: PathBuf,
    state: Mutex<PoolState>,
    returned: Condvar,
}

#[derive(Debug, Default)]
struct PoolState {
    idle: Vec<Connection>,
    open: usize,
}

/// A connection on loan.
struct Loan<'p> {
    pool: &'p Pool,
    connection: Option<Connection>,
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.state.lock();
        match self.connection.take() {
            // One that is in the middle of a read that failed is not used again.
            Some(connection) if connection.is_autocommit() => state.idle.push(connection),
            _ => state.open -= 1,
        }
        drop(state);
        self.pool.returned.notify_one();
    }
}

impl Pool {
    fn lend(&self) -> Result<Loan<'_>, HistoryError> {
        let mut state = self.state.lock();
        while state.idle.is_empty() && state.open >= CONNECTIONS_MAX {
            self.returned.wait(&mut state);
        }
        if let Some(connection) = state.idle.pop() {
            return Ok(Loan {
                pool: self,
                connection: Some(connection),
            });
        }
        state.open += 1;
        drop(state);
        let mut loan = Loan {
            pool: self,
            connection: None,
        };
        loan.connection = Some(open_reader(&self.file)?);
        Ok(loan)
    }
}

impl Reader {
    pub(super) fn new(file: PathBuf) -> Self {
        let (state, returned) = (Mutex::default(), Condvar::new());
        Self {
            pool: Arc::new(Pool {
                file,
                state,
                returned,
            }),
        }
    }

    /// Runs a read over one state of the database, that of now.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, HistoryError>,
    ) -> Result<T, HistoryError> {
        let loan = self.pool.lend()?;
        let connection = loan
            .connection
            .as_ref()
            .ok_or_else(|| HistoryError::damaged("a connection"))?;
        let transaction = connection.unchecked_transaction()?;
        let read = read(&transaction);
        transaction.finish()?;
        read
    }

    /// The row of a task, finished or moved out of memory. `None` when there is none.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn get(&self, app: &str, id: &TaskId) -> Result<Option<Task>, HistoryError> {
        self.read(|connection| {
            let apps = read_apps(connection)?;
            let Some((app, number)) = apps.get_key_value(app) else {
                return Ok(None);
            };
            Ok(find(connection, &Meta::read(connection)?, app, *number, id)?.map(|(_, task)| task))
        })
    }

    /// Tasks in history, as of the last commit.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn count(&self) -> Result<u64, HistoryError> {
        self.read(|connection| {
            let meta = Meta::read(connection)?;
            Ok(live_rows(&meta, meta.next_row(connection)?))
        })
    }
}

/// The task's row and the task: by the index, then among rows that are not in the index yet.
pub(super) fn find(
    connection: &Connection,
    meta: &Meta,
    app: &Symbol,
    number: i64,
    id: &TaskId,
) -> Result<Option<(i64, Task)>, HistoryError> {
    let sealed_end = meta.next_row(connection)? / BLOCK * BLOCK;
    if let Some(found) = find_unsealed(connection, sealed_end, number, id)? {
        return Ok(Some(found));
    }
    let key = id.key();
    for block in (meta.indexed / BLOCK..sealed_end / BLOCK).rev() {
        for row in rows_with_key(connection, block, app, &key)? {
            if let Some(task) = fetch(connection, row, Some(number), id)? {
                return Ok(Some((row, task)));
            }
        }
    }
    let hash = Identity::new(meta.seed, number, id).hash();
    for row in indexed_rows(connection, hash)? {
        if let Some(task) = fetch(connection, row, Some(number), id)? {
            return Ok(Some((row, task)));
        }
    }
    Ok(None)
}

/// Among the rows in no block yet; only their ids are decoded.
fn find_unsealed(
    connection: &Connection,
    first: i64,
    app: i64,
    id: &TaskId,
) -> Result<Option<(i64, Task)>, HistoryError> {
    let sql = "SELECT row, app, data FROM task WHERE row >= ?1 ORDER BY row";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([first])?;
    while let Some(row) = rows.next()? {
        let data = row
            .get_ref(2)?
            .as_blob()
            .map_err(|_| HistoryError::damaged("a task"))?;
        if row.get::<_, i64>(1)? == app && decode_id(data)? == *id {
            return Ok(Some((row.get(0)?, decode_task(data)?)));
        }
    }
    Ok(None)
}

/// The id of an encoded task: its first field.
fn decode_id(task: &[u8]) -> Result<TaskId, HistoryError> {
    let mut from = minicbor::Decoder::new(task);
    let first = from.map().and_then(|_| from.u32());
    match first {
        Ok(0) => from.decode().map_err(|_| HistoryError::damaged("a task")),
        _ => Ok(decode_task(task)?.id),
    }
}

fn rows_with_key(
    connection: &Connection,
    number: i64,
    app: &Symbol,
    key: &[u8],
) -> Result<Vec<i64>, HistoryError> {
    let rows = u32::try_from(BLOCK).unwrap_or(u32::MAX);
    let block = Block::sealed(connection, number, rows);
    let ids = block.ids()?;
    let places: Vec<usize> = (0..block.len)
        .filter(|index| ids.key(*index) == Some(key))
        .collect();
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let (dictionary, codes) = (block.dictionary()?, block.codes(Column::App)?);
    let of_app = |index: &usize| dictionary[usize::from(codes[*index])].as_ref() == Some(app);
    let row = |index: usize| block.first + i64::try_from(index).unwrap_or(0);
    Ok(places.into_iter().filter(of_app).map(row).collect())
}
