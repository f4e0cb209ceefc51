//! [`Options`]: which file, and how it is written.

use std::path::PathBuf;

use crate::layout;
pub use crate::layout::{
    SqliteFailureMode as FailureMode, SqliteJournalMode as JournalMode,
    SqliteSynchronous as Synchronous,
};

/// How a master keeps its content in a file (`Broker::SQLiteOptions`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The file. A relative path begins at the working directory.
    pub path: PathBuf,
    /// What survives a power cut. A killed process loses nothing with any of these.
    pub synchronous: Synchronous,
    /// How SQLite makes changes atomic.
    pub journal_mode: JournalMode,
    /// What happens with a store that cannot be used. With [`FailureMode::Delete`], one that is damaged or too new is emptied.
    /// Nothing else is: a file that is no store, or that another process uses, is refused.
    pub failure_mode: FailureMode,
    /// Whether to check all of the file before it is used, which takes as long as reading it.
    pub integrity_check: bool,
}

impl Options {
    /// That file; everything else as in a layout that says nothing of it.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Options::of(path.into(), &layout::Store::default())
    }

    /// That file, as the layout says.
    pub(in crate::store) fn of(path: PathBuf, store: &layout::Store) -> Self {
        Options {
            path,
            synchronous: store.synchronous,
            journal_mode: store.journal_mode,
            failure_mode: store.failure_mode,
            integrity_check: store.integrity_check,
        }
    }
}

/// What the pragma `synchronous` is set to, and returns.
pub(super) fn number(synchronous: Synchronous) -> i64 {
    match synchronous {
        Synchronous::Off => 0,
        Synchronous::Normal => 1,
        Synchronous::Full => 2,
        Synchronous::Extra => 3,
    }
}
