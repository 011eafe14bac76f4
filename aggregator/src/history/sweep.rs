//! Retention: the oldest rows go, from the low end, a slice at a time.

use std::ops::ControlFlow;

use rusqlite::OptionalExtension;

use super::commit::Commit;
use super::error::HistoryError;
use super::facts::{BLOCK, Zone};
use super::index::Step;
use super::retention::Retention;
use super::writer::{Writer, decode_task, live_rows};
use crate::state::{Micros, Symbol, Task};

/// Rows read at once where they must be looked at one by one.
const READ: i64 = 256;

impl Writer {
    /// Deletes at most `slice` finished tasks that retention no longer keeps, in the order in which they finished.
    /// Returns whether there is more to do. Unfinished tasks among them are moved to the end. 2,000 rows take some
    /// milliseconds.
    ///
    /// # Errors
    /// The database cannot be written; nothing was deleted.
    pub fn sweep(
        &mut self,
        retention: &Retention,
        now: Micros,
        slice: usize,
    ) -> Result<bool, HistoryError> {
        let cutoff = retention
            .age
            .map(|age| now.saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX)));
        let finished = live_rows(&self.meta, self.next_row)
            .saturating_sub(u64::try_from(self.meta.spilled).unwrap_or(0));
        let over = retention
            .count
            .map_or(0, |count| finished.saturating_sub(count));
        if over == 0 && !self.has_older(cutoff)? {
            return self.clean(slice);
        }
        let sweep = Sweep {
            cutoff,
            over: i64::try_from(over).unwrap_or(i64::MAX),
            left: i64::try_from(slice).unwrap_or(i64::MAX),
            end: self.next_row,
            commit: self.begin()?,
        };
        let (left, over) = sweep.run()?;
        // Where it did not stop for the slice, a task that is kept bars the way: the next one looks again.
        Ok(left <= 0 && (over > 0 || self.has_older(cutoff)?) || self.clean(slice)?)
    }

    /// Whether a task that finished before `cutoff` may be there.
    fn has_older(&self, cutoff: Option<Micros>) -> Result<bool, HistoryError> {
        let Some(cutoff) = cutoff else {
            return Ok(false);
        };
        let mut statement = self
            .connection
            .prepare_cached("SELECT zone FROM block ORDER BY number")?;
        let mut zones = statement.query([])?;
        while let Some(row) = zones.next()? {
            let zone = decode_zone(row.get_ref(0)?)?;
            if zone.finish_seen.count > 0 && zone.finish_seen.least < cutoff {
                return Ok(true);
            }
        }
        let first = self.next_row / BLOCK * BLOCK;
        let skipped = usize::try_from(self.meta.low - first).unwrap_or(0);
        let mut unsealed = self.unsealed.iter().skip(skipped);
        Ok(unsealed.any(|facts| facts.finish_seen().is_some_and(|time| time < cutoff)))
    }

    /// Takes ids of deleted rows out of the index.
    fn clean(&mut self, most: usize) -> Result<bool, HistoryError> {
        if !self.meta.has_to_clean() {
            return Ok(false);
        }
        let mut meta = self.meta;
        let mut commit = self.begin()?;
        let writer = &mut *commit.writer;
        let step = writer
            .index
            .clean(&writer.connection, &mut meta, &writer.apps, most)?;
        let Some(step) = step else { return Ok(false) };
        *commit.meta() = meta;
        commit.execute_commit()?;
        drop(commit);
        self.index.cleaned(step, &self.meta);
        Ok(step != Step::Finished || self.meta.has_to_clean())
    }
}

/// A zone, as stored.
pub(super) fn decode_zone(value: rusqlite::types::ValueRef<'_>) -> Result<Zone, HistoryError> {
    let bytes = value.as_blob().ok();
    bytes
        .and_then(|bytes| minicbor::decode(bytes).ok())
        .ok_or_else(|| HistoryError::damaged("a block"))
}

struct Sweep<'w> {
    commit: Commit<'w>,
    /// What finished before goes.
    cutoff: Option<Micros>,
    /// So many go whatever their age.
    over: i64,
    /// So many may still be looked at.
    left: i64,
    /// Where the rows that were moved begin.
    end: i64,
}

impl Sweep<'_> {
    /// Deletes what it may, and commits. Returns what is left to look at and to delete.
    fn run(mut self) -> Result<(i64, i64), HistoryError> {
        while self.left > 0 && self.step()?.is_continue() {}
        self.commit.commit()?;
        Ok((self.left, self.over))
    }

    /// Goes on to the end of the block that the first row is in, or as far as it may.
    fn step(&mut self) -> Result<ControlFlow<()>, HistoryError> {
        let low = self.commit.meta().low;
        if low >= self.end {
            return Ok(ControlFlow::Break(()));
        }
        let block = low / BLOCK;
        let end = (block * BLOCK + BLOCK).min(self.end).min(low + self.left);
        if let Some(zone) = self.zone(block)?
            && zone.all_finished()
            && (self.over >= end - low || self.is_old(Some(zone.finish_seen.most)))
        {
            self.delete(end)?;
            return Ok(ControlFlow::Continue(()));
        }
        self.step_by_rows(end.min(low + READ))
    }

    fn zone(&self, block: i64) -> Result<Option<Zone>, HistoryError> {
        let mut statement = self
            .commit
            .connection()
            .prepare_cached("SELECT zone FROM block WHERE number = ?1")?;
        statement
            .query_row([block], |row| Ok(decode_zone(row.get_ref(0)?)))
            .optional()?
            .transpose()
    }

    fn is_old(&self, time: Option<Micros>) -> bool {
        matches!((time, self.cutoff), (Some(time), Some(cutoff)) if time < cutoff)
    }

    /// Looks at the rows before `end` one by one.
    fn step_by_rows(&mut self, end: i64) -> Result<ControlFlow<()>, HistoryError> {
        let rows = self.rows(end)?;
        let mut going = 0;
        for (row, app, task) in rows {
            if !task.is_finished() {
                let name = self.app_name(app)?;
                self.commit.move_row(row, app, &name, &task)?;
                continue;
            }
            if !self.is_old(task.finish_seen) && going >= self.over {
                self.delete(row)?;
                return Ok(ControlFlow::Break(()));
            }
            going += 1;
        }
        self.delete(end)?;
        Ok(ControlFlow::Continue(()))
    }

    fn rows(&mut self, end: i64) -> Result<Vec<(i64, i64, Task)>, HistoryError> {
        let low = self.commit.meta().low;
        let sql = "SELECT row, app, data FROM task WHERE row >= ?1 AND row < ?2 ORDER BY row";
        let mut statement = self.commit.connection().prepare_cached(sql)?;
        let mut found = statement.query([low, end])?;
        let mut rows = Vec::new();
        while let Some(row) = found.next()? {
            let data = row
                .get_ref(2)?
                .as_blob()
                .map_err(|_| HistoryError::damaged("a task"))?;
            rows.push((row.get(0)?, row.get(1)?, decode_task(data)?));
        }
        Ok(rows)
    }

    fn app_name(&self, app: i64) -> Result<Symbol, HistoryError> {
        let apps = &self.commit.writer.apps;
        let name = apps
            .iter()
            .find(|(_, number)| **number == app)
            .map(|(name, _)| name.clone());
        name.ok_or_else(|| HistoryError::damaged("the app of a task"))
    }

    /// Deletes what is left of the rows before `end`, and the blocks that have none left.
    fn delete(&mut self, end: i64) -> Result<(), HistoryError> {
        let low = self.commit.meta().low;
        let connection = self.commit.connection();
        let sql = "DELETE FROM task WHERE row >= ?1 AND row < ?2";
        let deleted = connection.prepare_cached(sql)?.execute([low, end])?;
        let sql = "DELETE FROM block WHERE number < ?1";
        connection.prepare_cached(sql)?.execute([end / BLOCK])?;
        let deleted = i64::try_from(deleted).unwrap_or(i64::MAX);
        let meta = self.commit.meta();
        meta.low = end;
        meta.absent -= end - low - deleted;
        self.over -= deleted;
        self.left -= end - low;
        Ok(())
    }
}
