//! Commands to workers: recorded before they are sent, with what became of them. Rows of their own, not journaled: people
//! give them one at a time.

use rusqlite::{Connection, OptionalExtension, Row};

use super::commit::Commit;
use super::error::HistoryError;
use super::reader::Reader;
use super::writer::{Writer, read_apps};
use crate::command::{Publication, Record, Recorded, Reply, Report};
use crate::state::{Micros, Symbol};

/// A command goes when a newer one is recorded and it is older than this: 30 days.
const AGE_MAX: Micros = 30 * 86_400 * 1_000_000;
/// Or when there are more than this: some 10 MB of records without answers.
const COUNT_MAX: i64 = 10_000;
/// Or when all together are larger, bytes: a thousand workers' settings, ten times.
const BYTES_MAX: i64 = 256 << 20;
/// Bytes of answers kept of one command; of later answers only the size is.
const ANSWERS_BYTES_MAX: i64 = 16 << 20;

/// Values of the column `outcome`.
const PUBLISHED: i64 = 1;
const NOT_PUBLISHED: i64 = 2;
const UNKNOWN: i64 = 3;

impl Commit<'_> {
    /// Records a command, and lets go of the oldest that are too many. The same request id of the same app must not be
    /// there.
    ///
    /// # Errors
    /// The database cannot be written; drop this commit.
    pub fn put_command(&mut self, app: &str, record: &Record) -> Result<(), HistoryError> {
        let (app, _) = self.app(app)?;
        let data = minicbor::to_vec(record).map_err(|_| HistoryError::damaged("a command"))?;
        let sql = "INSERT INTO command (app, request_id, recorded, bytes, data) VALUES (?1, ?2, ?3, ?4, ?5)";
        let bytes = i64::try_from(data.len()).unwrap_or(i64::MAX);
        let values = (app, &record.request_id, record.recorded, bytes, data);
        self.connection().prepare_cached(sql)?.execute(values)?;
        self.forget_commands(record.recorded)
    }

    /// Deletes from the oldest on what is too old or too much.
    fn forget_commands(&mut self, now: Micros) -> Result<(), HistoryError> {
        let sql = "SELECT count(*), sum(bytes) FROM command";
        let totals = |row: &Row<'_>| Ok((row.get(0)?, row.get::<_, Option<i64>>(1)?.unwrap_or(0)));
        let (mut count, mut bytes): (i64, i64) = self
            .connection()
            .prepare_cached(sql)?
            .query_one([], totals)?;
        loop {
            let sql = "SELECT row, recorded, bytes FROM command ORDER BY row LIMIT 1";
            let oldest: Option<(i64, Micros, i64)> = self
                .connection()
                .prepare_cached(sql)?
                .query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
                .optional()?;
            let Some((row, recorded, size)) = oldest else {
                return Ok(());
            };
            let last = count == 1;
            let over = count > COUNT_MAX || bytes > BYTES_MAX || recorded < now - AGE_MAX;
            if last || !over {
                return Ok(());
            }
            for sql in [
                "DELETE FROM command_reply WHERE command = ?1",
                "DELETE FROM command WHERE row = ?1",
            ] {
                self.connection().prepare_cached(sql)?.execute([row])?;
            }
            count -= 1;
            bytes -= size;
        }
    }

    /// Adds what an inspector tells of a command. What is known stays: only an unknown publication is replaced, and of each
    /// worker the first answer counts. False when there is no such command.
    ///
    /// # Errors
    /// The database cannot be written; drop this commit.
    pub fn put_command_report(&mut self, app: &str, report: &Report) -> Result<bool, HistoryError> {
        let (app, _) = self.app(app)?;
        let sql = "SELECT row, bytes FROM command WHERE app = ?1 AND request_id = ?2";
        let found: Option<(i64, i64)> = self
            .connection()
            .prepare_cached(sql)?
            .query_row((app, &report.request_id), |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        let Some((row, mut bytes)) = found else {
            return Ok(false);
        };
        if let Some(publication) = &report.publication {
            self.publish_command(row, publication)?;
        }
        for reply in &report.replies {
            bytes += self.put_reply(row, bytes, reply)?;
        }
        let sql = "UPDATE command SET bytes = ?2 WHERE row = ?1";
        self.connection()
            .prepare_cached(sql)?
            .execute((row, bytes))?;
        Ok(true)
    }

    fn publish_command(&self, row: i64, publication: &Publication) -> Result<(), HistoryError> {
        let (outcome, time, subscribers, reason) = match publication {
            Publication::Published { time, subscribers } => {
                (PUBLISHED, Some(*time), *subscribers, "")
            }
            Publication::NotPublished { reason } => (NOT_PUBLISHED, None, None, reason.as_str()),
            Publication::Unknown { reason } => (UNKNOWN, None, None, reason.as_str()),
        };
        let subscribers = subscribers.and_then(|count| i64::try_from(count).ok());
        let sql = "UPDATE command SET outcome = ?2, published = ?3, subscribers = ?4, why = ?5
             WHERE row = ?1 AND (outcome IS NULL OR outcome = ?6)";
        let values = (row, outcome, time, subscribers, reason, UNKNOWN);
        self.connection().prepare_cached(sql)?.execute(values)?;
        Ok(())
    }

    /// Adds an answer; gives the bytes it takes.
    fn put_reply(&self, command: i64, bytes: i64, reply: &Reply) -> Result<i64, HistoryError> {
        let length = i64::try_from(reply.value_json.len()).unwrap_or(i64::MAX);
        let fits = bytes.saturating_add(length) <= ANSWERS_BYTES_MAX;
        let (value, size) = if fits {
            (reply.value_json.as_str(), reply.size)
        } else {
            ("\"\"", reply.size.or(u64::try_from(length).ok()))
        };
        let size = size.and_then(|size| i64::try_from(size).ok());
        let sql = "INSERT OR IGNORE INTO command_reply (command, worker, time, size, value) VALUES (?1, ?2, ?3, ?4, ?5)";
        let values = (command, &reply.worker, reply.time, size, value);
        let added = self.connection().prepare_cached(sql)?.execute(values)?;
        let kept = i64::try_from(value.len() + reply.worker.len()).unwrap_or(i64::MAX);
        Ok(if added == 0 { 0 } else { kept })
    }
}

impl Writer {
    /// The command recorded under this id, as of the last commit.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn command(&self, app: &str, request_id: &str) -> Result<Option<Record>, HistoryError> {
        let Some(app) = self.apps.get(app).copied() else {
            return Ok(None);
        };
        let found = find(&self.connection, app, request_id)?;
        Ok(found.map(|recorded| recorded.record))
    }
}

impl Reader {
    /// The command recorded under this id, with what is known of it.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn command(&self, app: &str, request_id: &str) -> Result<Option<Recorded>, HistoryError> {
        self.read(|connection| {
            let apps = read_apps(connection)?;
            let Some(app) = apps.get(app) else {
                return Ok(None);
            };
            let Some(mut found) = find(connection, *app, request_id)? else {
                return Ok(None);
            };
            found.replies = replies(connection, found.row)?;
            Ok(Some(found))
        })
    }

    /// Commands recorded before `before` (a [`Recorded::row`]; all when `None`), newest first, with their app. At most
    /// `most`, of these apps when they are given.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn commands(
        &self,
        only: Option<&[String]>,
        before: Option<i64>,
        most: usize,
    ) -> Result<Vec<(Symbol, Recorded)>, HistoryError> {
        self.read(|connection| {
            let apps = read_apps(connection)?;
            let numbers = only.map(|names| {
                let known = names.iter().filter_map(|name| apps.get(name.as_str()));
                known.map(ToString::to_string).collect::<Vec<_>>()
            });
            // Numbers of our own, so they may stand in the text.
            let condition = match &numbers {
                None => String::new(),
                Some(numbers) => format!("AND app IN ({})", numbers.join(", ")),
            };
            let sql = format!(
                "SELECT {COLUMNS}, app FROM command WHERE row < ?1 {condition} ORDER BY row DESC LIMIT ?2"
            );
            let mut statement = connection.prepare_cached(&sql)?;
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            let mut rows = statement.query((before.unwrap_or(i64::MAX), most))?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let number: i64 = row.get(6)?;
                let name = apps
                    .iter()
                    .find(|(_, app)| **app == number)
                    .map(|(name, _)| name.clone())
                    .ok_or_else(|| HistoryError::damaged("the app of a command"))?;
                let mut recorded = read(row)?;
                recorded.replies = replies(connection, recorded.row)?;
                found.push((name, recorded));
            }
            Ok(found)
        })
    }
}

const COLUMNS: &str = "row, data, outcome, published, subscribers, why";

/// Without its replies.
fn find(
    connection: &Connection,
    app: i64,
    request_id: &str,
) -> Result<Option<Recorded>, HistoryError> {
    let sql = format!("SELECT {COLUMNS} FROM command WHERE app = ?1 AND request_id = ?2");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query((app, request_id))?;
    rows.next()?.map(read).transpose()
}

/// A row of [`COLUMNS`], without its replies.
fn read(row: &Row<'_>) -> Result<Recorded, HistoryError> {
    let data = row.get_ref(1)?.as_blob().ok();
    let record = data
        .and_then(|bytes| minicbor::decode(bytes).ok())
        .ok_or_else(|| HistoryError::damaged("a command"))?;
    let why = || -> Result<String, HistoryError> {
        Ok(row.get::<_, Option<String>>(5)?.unwrap_or_default())
    };
    let publication = match row.get::<_, Option<i64>>(2)? {
        None => None,
        Some(PUBLISHED) => Some(Publication::Published {
            time: row.get(3)?,
            subscribers: row
                .get::<_, Option<i64>>(4)?
                .and_then(|count| u64::try_from(count).ok()),
        }),
        Some(NOT_PUBLISHED) => Some(Publication::NotPublished { reason: why()? }),
        Some(_) => Some(Publication::Unknown { reason: why()? }),
    };
    Ok(Recorded {
        row: row.get(0)?,
        record,
        publication,
        replies: Vec::new(),
    })
}

fn replies(connection: &Connection, command: i64) -> Result<Vec<Reply>, HistoryError> {
    let sql =
        "SELECT worker, time, size, value FROM command_reply WHERE command = ?1 ORDER BY worker";
    let mut statement = connection.prepare_cached(sql)?;
    let replies = statement.query_map([command], |row| {
        Ok(Reply {
            worker: row.get(0)?,
            time: row.get(1)?,
            size: row
                .get::<_, Option<i64>>(2)?
                .and_then(|size| u64::try_from(size).ok()),
            value_json: row.get(3)?,
        })
    })?;
    Ok(replies.collect::<Result<_, _>>()?)
}
