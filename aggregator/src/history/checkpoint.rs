//! Checkpoints: the journal moves into base tables, a slice at a time.
//!
//! At any moment base tables plus the rest of the journal give the same state. What a later journal row says again is
//! passed over, so that a task that began and ended within the journal never touches a base table.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use rusqlite::{Connection, OptionalExtension, params};

use super::error::HistoryError;
use super::identity::Identity;
use super::journal::{Record, read};
use super::told;
use super::writer::{Unfinished, Writer};
use crate::state::limits::GAPS_KEPT;
use crate::state::{Gap, GapCause};

/// Bytes of journal worth keeping: most tasks end before so much more is journaled, and then cost no base table a write;
/// it replays in about a tenth of a second.
pub const JOURNAL_KEEP: u64 = 8 << 20;
/// Journal bytes per slice: some 2,000 tasks, of which the unfinished ones take about 5 µs each.
const SLICE_BYTES: usize = 1 << 20;

impl Writer {
    /// Moves one slice of the journal, when more than `keep` bytes of it are there. Returns whether there is more to do.
    /// To be called between commits, [`JOURNAL_KEEP`] while running.
    ///
    /// # Errors
    /// The database cannot be written; nothing was changed.
    pub fn checkpoint(&mut self, keep: u64) -> Result<bool, HistoryError> {
        if !self.unfinished.known {
            self.recover()?;
        }
        if self.unfinished.journal_bytes <= keep {
            return Ok(false);
        }
        let Some((end, slice)) = read_slice(&self.connection)? else {
            self.unfinished.journal_bytes = 0;
            return Ok(false);
        };
        let mut commit = self.begin()?;
        let moved = Moved::apply(commit.writer, end, &slice)?;
        let connection = commit.connection();
        connection
            .prepare_cached("DELETE FROM journal WHERE seq <= ?1")?
            .execute([end])?;
        commit.execute_commit()?;
        drop(commit);
        let bytes: usize = slice.iter().map(|(_, data)| data.len()).sum();
        moved.take_effect(&mut self.unfinished, bytes as u64);
        Ok(self.unfinished.journal_bytes > keep)
    }
}

/// The oldest journal rows, and the last one's number.
fn read_slice(connection: &Connection) -> Result<Option<Slice>, HistoryError> {
    let mut statement = connection.prepare_cached("SELECT seq, data FROM journal ORDER BY seq")?;
    let mut rows = statement.query([])?;
    let mut slice = Vec::new();
    let mut bytes = 0;
    while bytes < SLICE_BYTES
        && let Some(row) = rows.next()?
    {
        let data: Vec<u8> = row.get(1)?;
        bytes += data.len();
        slice.push((row.get(0)?, data));
    }
    Ok(slice.last().map(|(end, _)| *end).map(|end| (end, slice)))
}

type Slice = (i64, Vec<(i64, Vec<u8>)>);

/// What a slice did to the base of unfinished tasks; becomes true with the commit.
struct Moved {
    settled: Vec<Identity>,
    based: Vec<(Identity, Option<i64>)>,
    next_row: i64,
}

/// What the slice says last of an unfinished task.
enum Last<'b> {
    Task { app: i64, task: &'b [u8] },
    Gone,
}

impl Moved {
    fn apply(writer: &Writer, end: i64, slice: &[(i64, Vec<u8>)]) -> Result<Self, HistoryError> {
        let (connection, meta) = (&writer.connection, &writer.meta);
        let mut tasks: HashMap<Identity, Last<'_>> = HashMap::new();
        let mut told: BTreeMap<i64, Vec<u8>> = BTreeMap::new();
        for (_, data) in slice {
            read(data, |record| match record {
                Record::Unfinished { app, key, task } => {
                    let identity = Identity::of_key(meta.seed, app, key);
                    tasks.insert(identity, Last::Task { app, task });
                    Ok(())
                }
                Record::Gone { app, key } => {
                    tasks.insert(Identity::of_key(meta.seed, app, key), Last::Gone);
                    Ok(())
                }
                Record::Told { app, identities } => {
                    told.entry(app).or_default().extend_from_slice(identities);
                    Ok(())
                }
                other => write_base(connection, &other),
            })?;
        }
        for (app, identities) in told {
            told::write(connection, app, &identities)?;
        }
        Self::write_tasks(writer, end, &tasks)
    }

    fn write_tasks(
        writer: &Writer,
        end: i64,
        tasks: &HashMap<Identity, Last<'_>>,
    ) -> Result<Self, HistoryError> {
        let unfinished = &writer.unfinished;
        let mut moved = Self {
            settled: Vec::with_capacity(tasks.len()),
            based: Vec::new(),
            next_row: unfinished.next_row,
        };
        let connection = &writer.connection;
        let mut put = connection.prepare_cached(
            "INSERT OR REPLACE INTO unfinished (row, app, data) VALUES (?1, ?2, ?3)",
        )?;
        let mut delete = connection.prepare_cached("DELETE FROM unfinished WHERE row = ?1")?;
        for (identity, last) in tasks {
            if unfinished
                .journaled
                .get(identity)
                .is_some_and(|seq| *seq > end)
            {
                continue;
            }
            moved.settled.push(*identity);
            let row = unfinished.based.get(identity).copied();
            match (last, row) {
                (Last::Task { app, task }, Some(row)) => {
                    put.execute(params![row, app, task])?;
                }
                (Last::Task { app, task }, None) => {
                    put.execute(params![moved.next_row, app, task])?;
                    moved.based.push((*identity, Some(moved.next_row)));
                    moved.next_row += 1;
                }
                (Last::Gone, Some(row)) => {
                    delete.execute([row])?;
                    moved.based.push((*identity, None));
                }
                (Last::Gone, None) => {}
            }
        }
        Ok(moved)
    }

    fn take_effect(self, unfinished: &mut Unfinished, bytes: u64) {
        for identity in self.settled {
            unfinished.journaled.remove(&identity);
        }
        for (identity, row) in self.based {
            match row {
                Some(row) => unfinished.based.insert(identity, row),
                None => unfinished.based.remove(&identity),
            };
        }
        unfinished.next_row = self.next_row;
        unfinished.journal_bytes = unfinished.journal_bytes.saturating_sub(bytes);
    }
}

/// Writes what is neither a task nor gathered.
fn write_base(connection: &Connection, record: &Record<'_>) -> Result<(), HistoryError> {
    let execute = |sql, values: &[&dyn rusqlite::ToSql]| -> Result<(), HistoryError> {
        connection.prepare_cached(sql)?.execute(values)?;
        Ok(())
    };
    match *record {
        Record::Unfinished { .. } | Record::Gone { .. } | Record::Told { .. } => Ok(()),
        Record::Worker { app, name, worker } => execute(
            "INSERT OR REPLACE INTO worker VALUES (?1, ?2, ?3)",
            params![app, name, worker],
        ),
        Record::Inspection {
            app,
            name,
            inspection,
        } => execute(
            "INSERT OR REPLACE INTO inspection VALUES (?1, ?2, ?3)",
            params![app, name, inspection],
        ),
        Record::WorkerGone { app, name } => {
            for sql in [
                "DELETE FROM worker WHERE app = ?1 AND name = ?2",
                "DELETE FROM inspection WHERE app = ?1 AND name = ?2",
            ] {
                execute(sql, params![app, name])?;
            }
            Ok(())
        }
        Record::TaskName {
            app,
            name,
            task_name,
        } => execute(
            "INSERT OR REPLACE INTO task_name VALUES (?1, ?2, ?3)",
            params![app, name, task_name],
        ),
        Record::Gap { app, gap } => write_gap(connection, app, gap),
        Record::Counters { app, counters } => execute(
            "UPDATE app SET counters = ?2 WHERE id = ?1",
            params![app, counters],
        ),
        Record::Position {
            app,
            instance,
            epoch,
            sequence,
        } => execute(
            "INSERT OR REPLACE INTO position VALUES (?1, ?2, ?3, ?4)",
            params![app, instance, epoch, sequence.cast_signed()],
        ),
    }
}

/// Writes a gap, and forgets the oldest ones of the app.
fn write_gap(connection: &Connection, app: i64, data: &[u8]) -> Result<(), HistoryError> {
    let gap: Gap = minicbor::decode(data).map_err(|_| HistoryError::damaged("a gap"))?;
    let sql = "INSERT OR REPLACE INTO gap VALUES (?1, ?2, ?3, ?4, ?5)";
    // NULL would make every key distinct; no worker has an empty name.
    let worker = gap.worker.as_deref().unwrap_or("");
    connection.prepare_cached(sql)?.execute(params![
        app,
        gap.start,
        cause_number(gap.cause),
        worker,
        data
    ])?;
    let sql = "SELECT start FROM gap WHERE app = ?1 ORDER BY start DESC LIMIT 1 OFFSET ?2";
    let oldest: Option<i64> = connection
        .prepare_cached(sql)?
        .query_row(
            params![app, i64::try_from(GAPS_KEPT - 1).unwrap_or(i64::MAX)],
            |row| row.get(0),
        )
        .optional()?;
    if let Some(oldest) = oldest {
        let sql = "DELETE FROM gap WHERE app = ?1 AND start < ?2";
        connection.prepare_cached(sql)?.execute([app, oldest])?;
    }
    Ok(())
}

/// Stored; never to be changed.
pub(super) fn cause_number(cause: GapCause) -> i64 {
    match cause {
        GapCause::Reconnect => 0,
        GapCause::Overflow => 1,
        GapCause::Unexplained => 2,
        GapCause::Detached => 3,
    }
}

/// Bytes in the journal, and its next row.
pub(super) fn journal_extent(connection: &Connection) -> Result<(u64, i64), HistoryError> {
    let sql = "SELECT ifnull(sum(length(data)), 0), ifnull(max(seq), 0) FROM journal";
    let (bytes, last): (i64, i64) =
        connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok((bytes.cast_unsigned(), last + 1))
}
