//! The state as readers see it: one writer, any number of readers, and a log of what changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::watch;

use super::changelog::ChangeLog;
use crate::state::app::App;
use crate::state::{Limits, Micros, Symbol};

/// Everything that is in memory.
pub struct Board {
    /// Apps by name.
    pub apps: BTreeMap<Symbol, AppBoard>,
    /// What changed, for watchers.
    pub log: ChangeLog,
    /// Why the last commit failed; `None` when it did not.
    pub commit_error: Option<String>,
}

/// One app in memory.
pub struct AppBoard {
    /// The fold.
    pub state: App,
    /// The inspector that is folded at present, or was last.
    pub inspector: Option<InspectorFacts>,
}

impl AppBoard {
    /// An app of which nothing is known.
    pub(super) fn new(name: Symbol, limits: Limits) -> Self {
        Self {
            state: App::new(name, limits),
            inspector: None,
        }
    }
}

/// An inspector as the engine sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InspectorFacts {
    /// Stable instance name.
    pub instance: String,
    /// Which life of it.
    pub epoch: i64,
    /// Version it runs.
    pub version: String,
    /// Whether its stream is open.
    pub attached: bool,
    /// Since when (our clock).
    pub since: Micros,
    /// Last sequence on disk.
    pub acknowledged: u64,
}

/// The right to change the board: not `Clone`, so a second writer cannot exist.
pub struct BoardWriter {
    board: Arc<RwLock<Board>>,
    revision: watch::Sender<u64>,
}

/// The right to read the board. A guard must not be held across an await.
#[derive(Clone)]
pub struct BoardReader {
    board: Arc<RwLock<Board>>,
    revision: watch::Receiver<u64>,
}

/// Divides the board into its one writer and its readers. `epoch` tells this process's log from others.
pub fn split(epoch: u64) -> (BoardWriter, BoardReader) {
    let board = Board {
        apps: BTreeMap::new(),
        log: ChangeLog::new(epoch),
        commit_error: None,
    };
    let board = Arc::new(RwLock::new(board));
    let (sender, receiver) = watch::channel(0);
    (
        BoardWriter {
            board: Arc::clone(&board),
            revision: sender,
        },
        BoardReader {
            board,
            revision: receiver,
        },
    )
}

impl BoardWriter {
    /// The board, for changing it.
    pub fn write(&mut self) -> RwLockWriteGuard<'_, Board> {
        self.board.write()
    }

    /// The board, for reading it while others read too.
    pub fn read(&self) -> RwLockReadGuard<'_, Board> {
        self.board.read()
    }

    /// Wakes the watchers.
    pub fn publish(&self) {
        let revision = self.board.read().log.revision();
        self.revision
            .send_if_modified(|known| std::mem::replace(known, revision) != revision);
    }
}

impl BoardReader {
    /// The board as it is now.
    pub fn read(&self) -> RwLockReadGuard<'_, Board> {
        self.board.read()
    }

    /// The newest revision of the log, to wait on.
    pub fn revision(&self) -> watch::Receiver<u64> {
        self.revision.clone()
    }
}
