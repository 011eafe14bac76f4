//! The data folder: made for this user only, and held by one process at a time.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::error::HistoryError;

const DATABASE: &str = "celeriac.db";
const LOCK: &str = "celeriac.lock";

/// A data folder that is ours as long as this lives.
#[derive(Debug)]
pub(super) struct Folder {
    dir: PathBuf,
    /// The lock goes with the file handle, also when the process is killed.
    _lock: File,
}

impl Folder {
    /// Makes the folder where it is missing, takes the lock and makes the database file, so that SQLite, which gives its
    /// other files the same mode, does not make it readable to others.
    pub(super) fn take(dir: &Path) -> Result<Self, HistoryError> {
        let failed = |source: io::Error| HistoryError::Folder {
            dir: dir.to_owned(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(failed)?;
        let lock = open(&dir.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(HistoryError::InUse {
                    dir: dir.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        open(&dir.join(DATABASE)).map_err(failed)?;
        // What was committed is on disk only if its folder is. SQLite sees to the folder, not to the one above it.
        for folder in [Some(dir), dir.parent()].into_iter().flatten() {
            if !folder.as_os_str().is_empty() {
                File::open(folder)
                    .and_then(|folder| folder.sync_all())
                    .map_err(failed)?;
            }
        }
        Ok(Self {
            dir: dir.to_owned(),
            _lock: lock,
        })
    }

    /// The database file.
    pub(super) fn database(&self) -> PathBuf {
        self.dir.join(DATABASE)
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}
