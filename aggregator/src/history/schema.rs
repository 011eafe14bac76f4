//! The tables, and connections to them.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::error::HistoryError;
use super::folder::Folder;
use super::membership::GENERATION;

/// Says that a file is ours: "CELR".
const APPLICATION_ID: i64 = 0x4345_4C52;
/// The schema's version, SQLite's `user_version`. 0 is a new file.
const VERSION: i64 = 3;

/// `fact.id` is block × 32 + column. `meta` is one row: the seed of id hashes; `low`, the first row retention has not
/// passed; `indexed` and `cleaned`, up to which row ids were merged into and taken out of `task_index`; `absent`, rows
/// from `low` on that were replaced; `spilled`, rows that hold unfinished tasks.
const SCHEMA_1: &str = "
    CREATE TABLE meta (
        id INTEGER PRIMARY KEY CHECK (id = 0), seed INTEGER NOT NULL, low INTEGER NOT NULL,
        indexed INTEGER NOT NULL, cleaned INTEGER NOT NULL, absent INTEGER NOT NULL, spilled INTEGER NOT NULL);
    INSERT INTO meta VALUES (0, random(), 0, 0, 0, 0, 0);
    CREATE TABLE app (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, counters BLOB);
    CREATE TABLE task (row INTEGER PRIMARY KEY, app INTEGER NOT NULL, data BLOB NOT NULL);
    CREATE TABLE task_index (hash INTEGER NOT NULL, row INTEGER NOT NULL, PRIMARY KEY (hash, row)) WITHOUT ROWID;
    CREATE TABLE membership (generation INTEGER PRIMARY KEY, data BLOB NOT NULL);
    CREATE TABLE block (number INTEGER PRIMARY KEY, zone BLOB NOT NULL);
    CREATE TABLE fact (id INTEGER PRIMARY KEY, data BLOB NOT NULL);
    CREATE TABLE journal (seq INTEGER PRIMARY KEY, data BLOB NOT NULL);
    CREATE TABLE unfinished (row INTEGER PRIMARY KEY, app INTEGER NOT NULL, data BLOB NOT NULL);
    CREATE TABLE worker (app INTEGER, name TEXT, data BLOB NOT NULL, PRIMARY KEY (app, name)) WITHOUT ROWID;
    CREATE TABLE inspection (app INTEGER, name TEXT, data BLOB NOT NULL, PRIMARY KEY (app, name));
    CREATE TABLE task_name (app INTEGER, name TEXT, data BLOB NOT NULL, PRIMARY KEY (app, name)) WITHOUT ROWID;
    CREATE TABLE gap (
        app INTEGER, start INTEGER, cause INTEGER, worker TEXT, data BLOB NOT NULL,
        PRIMARY KEY (app, start, cause, worker)) WITHOUT ROWID;
    CREATE TABLE position (
        app INTEGER, instance TEXT, epoch INTEGER NOT NULL, sequence INTEGER NOT NULL,
        PRIMARY KEY (app, instance)) WITHOUT ROWID;
";

/// Commands to workers. `outcome` is NULL until the inspector has said how publishing ended; `bytes` is what a command and
/// its replies take.
const SCHEMA_2: &str = "
    CREATE TABLE command (
        row INTEGER PRIMARY KEY AUTOINCREMENT, app INTEGER NOT NULL, request_id TEXT NOT NULL, recorded INTEGER NOT NULL,
        bytes INTEGER NOT NULL, data BLOB NOT NULL,
        outcome INTEGER, published INTEGER, subscribers INTEGER, why TEXT, UNIQUE (app, request_id));
    CREATE TABLE command_reply (
        command INTEGER NOT NULL, worker TEXT NOT NULL, time INTEGER NOT NULL, size INTEGER, value TEXT NOT NULL,
        PRIMARY KEY (command, worker));
";

/// Identities of the events that were folded last, to tell repeats by: 8 bytes each, in order of row within an app.
const SCHEMA_3: &str =
    "CREATE TABLE told (row INTEGER PRIMARY KEY, app INTEGER NOT NULL, data BLOB NOT NULL);";

/// Bytes per page of a new database. Tasks are appended and columns are some KiB: half as many pages to write as with
/// SQLite's 4 KiB cost a quarter less in all.
const PAGE_BYTES: u32 = 8_192;
/// Page cache of the writer, KiB: the inner pages of `task_index` and the ends of all tables.
const WRITER_CACHE_KIB: u32 = 8_192;
/// Page cache of a reader, KiB. Columns are read once, in a row; the operating system keeps what is read often.
const READER_CACHE_KIB: u32 = 1_024;
/// WAL pages after which SQLite writes them back: 8 MiB, some 20 ms.
const WAL_PAGES: u32 = 1_000;
/// What stays of the WAL file after that, bytes.
const WAL_BYTES_KEPT: u32 = 32 << 20;
/// Readers never wait for the writer nor it for them; this is for the moments at open and close.
const BUSY: Duration = Duration::from_secs(5);

/// Opens the database for writing, and makes or upgrades its tables.
pub(super) fn open_writer(folder: &Folder) -> Result<Connection, HistoryError> {
    let file = folder.database();
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&file, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(48);
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let application: i64 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 && application != APPLICATION_ID {
        return Err(HistoryError::Foreign { file });
    }
    if version > VERSION {
        return Err(HistoryError::Newer {
            file,
            found: version,
            known: VERSION,
        });
    }
    connection.execute_batch(&format!(
        "PRAGMA page_size = {PAGE_BYTES}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY; PRAGMA mmap_size = 0;
         PRAGMA cache_size = -{WRITER_CACHE_KIB}; PRAGMA wal_autocheckpoint = {WAL_PAGES};
         PRAGMA journal_size_limit = {WAL_BYTES_KEPT};"
    ))?;
    let steps = [SCHEMA_1, SCHEMA_2, SCHEMA_3];
    let known = usize::try_from(version).unwrap_or(0);
    if let Some(missing) = steps.get(known..).filter(|missing| !missing.is_empty()) {
        let missing = missing.concat();
        connection.execute_batch(&format!(
            "BEGIN IMMEDIATE; {missing} PRAGMA application_id = {APPLICATION_ID};
             PRAGMA user_version = {VERSION}; COMMIT;"
        ))?;
    }
    Ok(connection)
}

/// Opens the database for reading. The writer must have it open.
pub(super) fn open_reader(file: &Path) -> Result<Connection, HistoryError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.execute_batch(&format!(
        "PRAGMA query_only = 1; PRAGMA temp_store = MEMORY; PRAGMA mmap_size = 0;
         PRAGMA cache_size = -{READER_CACHE_KIB};"
    ))?;
    Ok(connection)
}

/// The row of `meta`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meta {
    /// Seed of id hashes; made with the database.
    pub(super) seed: u64,
    /// The first row that retention has not passed.
    pub(super) low: i64,
    /// The first row whose id is not in `task_index` yet.
    pub(super) indexed: i64,
    /// The first row whose id was not taken out of `task_index` again.
    pub(super) cleaned: i64,
    /// Rows from `low` on that are no longer there.
    pub(super) absent: i64,
    /// Rows that hold unfinished tasks.
    pub(super) spilled: i64,
}

impl Meta {
    /// Reads it.
    pub(super) fn read(connection: &Connection) -> Result<Self, HistoryError> {
        let sql = "SELECT seed, low, indexed, cleaned, absent, spilled FROM meta WHERE id = 0";
        let meta = connection.prepare_cached(sql)?.query_one([], |row| {
            Ok(Self {
                seed: row.get::<_, i64>(0)?.cast_unsigned(),
                low: row.get(1)?,
                indexed: row.get(2)?,
                cleaned: row.get(3)?,
                absent: row.get(4)?,
                spilled: row.get(5)?,
            })
        })?;
        Ok(meta)
    }

    /// Writes it, the seed excepted.
    pub(super) fn write(&self, connection: &Connection) -> Result<(), HistoryError> {
        let sql = "UPDATE meta SET low = ?1, indexed = ?2, cleaned = ?3, absent = ?4, spilled = ?5 WHERE id = 0";
        let values = (
            self.low,
            self.indexed,
            self.cleaned,
            self.absent,
            self.spilled,
        );
        connection.prepare_cached(sql)?.execute(values)?;
        Ok(())
    }

    /// Whether retention has passed a whole generation of the id index.
    pub(super) fn has_to_clean(&self) -> bool {
        self.low.min(self.indexed) >= self.cleaned + GENERATION
    }

    /// The row after the last one ever used.
    pub(super) fn next_row(&self, connection: &Connection) -> Result<i64, HistoryError> {
        let sql = "SELECT max(row) FROM task";
        let last: Option<i64> = connection
            .prepare_cached(sql)?
            .query_one([], |row| row.get(0))?;
        Ok(last.map_or(self.low, |last| self.low.max(last + 1)))
    }
}
