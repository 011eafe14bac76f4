//! History: what survives. One SQLite database in one folder; this is the only module that names SQLite.
//!
//! **What is where.** Finished tasks (and unfinished ones that memory had no room for) are rows of `task`, appended in
//! order of finish. What is still in memory is kept in an append-only `journal`, one row per commit, which checkpoints
//! move into base tables; base tables and journal together are always the whole truth ([`Writer::recover`]).
//!
//! **Why there are no SQL indexes over tasks.** Maintained row by row, an index over random ids costs five times the
//! append itself, and the four that lists need twice as much again. Instead:
//! * ids are merged into one index in large sorted batches (`index`); until then they are found in memory;
//! * every 2,048 rows are sealed into a block: one small column per field. Filters and orders run over columns, so
//!   that every field can be filtered and ordered by, at a few nanoseconds a row, and a million rows take milliseconds.
//!
//! **Durability.** A [`Commit`] is one transaction, synced to disk before it returns. Nothing of one that failed is kept.
//!
//! Space that retention frees is used again; the file does not shrink.

mod block;
mod bound;
mod checkpoint;
mod column;
mod command;
mod commit;
mod encode;
mod error;
mod facts;
mod folder;
mod identity;
mod index;
mod journal;
mod keys;
mod list;
mod mask;
mod membership;
mod reader;
mod recover;
mod retention;
mod scan;
mod schema;
mod seal;
mod sweep;
mod told;
mod writer;

#[cfg(test)]
mod tests;

use std::path::Path;

pub use checkpoint::JOURNAL_KEEP;
pub use commit::Commit;
pub use error::{HistoryCategory, HistoryError};
pub use list::{ListQuery, Page};
pub use reader::Reader;
pub use recover::{IngestPosition, Recovered, RecoveredApp};
pub use retention::{Retention, RetentionError};
pub use writer::Writer;

use folder::Folder;

/// The way in.
#[derive(Debug)]
pub struct History;

impl History {
    /// Opens the database in the folder, making both where they are missing (folder 0700, files 0600).
    ///
    /// # Errors
    /// The folder cannot be used, another aggregator uses it, or the database is damaged, foreign or of a newer version;
    /// the text says which folder and what to do.
    pub fn open(dir: &Path) -> Result<(Writer, Reader), HistoryError> {
        let folder = Folder::take(dir)?;
        let connection = schema::open_writer(&folder)?;
        let reader = Reader::new(folder.database());
        let writer = Writer::new(connection, folder)?;
        Ok((writer, reader))
    }
}
