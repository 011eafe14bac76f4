//! What can go wrong with the history.

use std::io;
use std::path::PathBuf;

use rusqlite::ErrorCode;
use thiserror::Error;

/// Why the history could not be opened, read or written. Nothing was half done.
#[derive(Debug, Error)]
pub enum HistoryError {
    /// The folder or a file in it cannot be made or opened.
    #[error("cannot use the data folder {}: check that it exists on a writable disk and belongs to this user", dir.display())]
    Folder {
        /// The folder.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process has it open.
    #[error("the data folder {} is in use by another aggregator: stop that one, or give this one a folder of its own", dir.display())]
    InUse {
        /// The folder.
        dir: PathBuf,
    },
    /// The database was written by a later version.
    #[error("the database {} has schema {found}, this version knows up to {known}: use the version that wrote it, or another folder", file.display())]
    Newer {
        /// The file.
        file: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema this version knows.
        known: i64,
    },
    /// The file is a database of another program.
    #[error("{} is not a history database: move it away, or use another folder", file.display())]
    Foreign {
        /// The file.
        file: PathBuf,
    },
    /// The database does not hold what it should.
    #[error(
        "the history database is damaged ({what}): restore a backup, or stop and move celeriac.db* away to begin anew"
    )]
    Damaged {
        /// What was being read.
        what: &'static str,
        /// What SQLite says, where it noticed.
        source: Option<rusqlite::Error>,
    },
    /// No room on the disk.
    #[error("the disk with the history database is full")]
    Full(#[source] rusqlite::Error),
    /// The disk does not do what it should.
    #[error("the history database cannot be read or written")]
    Disk(#[source] rusqlite::Error),
    /// Anything else SQLite refuses.
    #[error("the history database refused a statement")]
    Database(#[source] rusqlite::Error),
    /// An order without an index took too long.
    #[error(
        "ordering by {field} over {rows} tasks takes too long: order by a time, or list fewer apps"
    )]
    TooLong {
        /// The order's field.
        field: &'static str,
        /// Tasks in history.
        rows: u64,
    },
}

/// What kind of trouble, for metrics and for what to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryCategory {
    /// A person has to do something before it works again.
    Setup,
    /// The data is damaged.
    Damaged,
    /// No room; may pass.
    Full,
    /// The disk or the database fails; may pass.
    Disk,
    /// The request asks for too much.
    TooLong,
}

impl HistoryCategory {
    /// Its name as a metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Damaged => "damaged",
            Self::Full => "full",
            Self::Disk => "disk",
            Self::TooLong => "too_long",
        }
    }
}

impl HistoryError {
    /// What kind of trouble it is.
    pub fn category(&self) -> HistoryCategory {
        match self {
            Self::Folder { .. }
            | Self::InUse { .. }
            | Self::Newer { .. }
            | Self::Foreign { .. } => HistoryCategory::Setup,
            Self::Damaged { .. } => HistoryCategory::Damaged,
            Self::Full(_) => HistoryCategory::Full,
            Self::Disk(_) | Self::Database(_) => HistoryCategory::Disk,
            Self::TooLong { .. } => HistoryCategory::TooLong,
        }
    }

    pub(super) fn damaged(what: &'static str) -> Self {
        Self::Damaged { what, source: None }
    }
}

impl From<rusqlite::Error> for HistoryError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged {
                what: "SQLite",
                source: Some(error),
            },
            Some(ErrorCode::DiskFull) => Self::Full(error),
            Some(
                ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::PermissionDenied,
            ) => Self::Disk(error),
            _ => Self::Database(error),
        }
    }
}
