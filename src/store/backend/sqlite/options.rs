//! [`Options`]: which file, and how it is written.

use std::path::PathBuf;

use crate::layout;

/// How a master keeps its content in a file (`Broker::SQLiteOptions`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The file. A relative path begins at the working directory.
    pub path: PathBuf,
    /// What survives a power cut; without it [`Synchronous::Normal`].
    pub synchronous: Option<Synchronous>,
    /// How SQLite makes changes atomic; without it [`JournalMode::Wal`].
    pub journal_mode: Option<JournalMode>,
    /// What happens if the file cannot be used.
    pub failure_mode: FailureMode,
    /// Whether to check all of the file before it is used, which takes as long as reading it.
    pub integrity_check: bool,
}

impl Options {
    /// As the layout says.
    pub(in crate::store) fn of(path: PathBuf, store: &layout::Store) -> Self {
        let synchronous = match store.synchronous {
            layout::SqliteSynchronous::Off => Synchronous::Off,
            layout::SqliteSynchronous::Normal => Synchronous::Normal,
            layout::SqliteSynchronous::Full => Synchronous::Full,
            layout::SqliteSynchronous::Extra => Synchronous::Extra,
        };
        let journal_mode = match store.journal_mode {
            layout::SqliteJournalMode::Delete => JournalMode::Delete,
            layout::SqliteJournalMode::Wal => JournalMode::Wal,
        };
        let failure_mode = match store.failure_mode {
            layout::SqliteFailureMode::Fail => FailureMode::Fail,
            layout::SqliteFailureMode::Delete => FailureMode::Delete,
        };
        Options {
            path,
            synchronous: Some(synchronous),
            journal_mode: Some(journal_mode),
            failure_mode,
            integrity_check: store.integrity_check,
        }
    }

    /// That file; everything else as if it was not said.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Options {
            path: path.into(),
            synchronous: None,
            journal_mode: None,
            failure_mode: FailureMode::Fail,
            integrity_check: false,
        }
    }
}

/// When SQLite waits for the disk (`Broker::SQLiteSynchronous`). A killed process loses nothing with any of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Synchronous {
    /// Never. A power cut may damage the file.
    Off,
    /// At times. A power cut may undo the last changes.
    Normal,
    /// At each change.
    Full,
    /// As `Full`; with [`JournalMode::Delete`], also for the directory.
    Extra,
}

impl Synchronous {
    /// What the pragma `synchronous` is set to, and returns.
    pub(super) fn number(self) -> i64 {
        match self {
            Synchronous::Off => 0,
            Synchronous::Normal => 1,
            Synchronous::Full => 2,
            Synchronous::Extra => 3,
        }
    }
}

/// How SQLite makes changes atomic (`Broker::SQLiteJournalMode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JournalMode {
    /// A journal of what was there before. Each change waits for the disk.
    Delete,
    /// A log of what is new.
    Wal,
}

impl JournalMode {
    /// What the pragma `journal_mode` is set to, and returns.
    pub(super) fn word(self) -> &'static str {
        match self {
            JournalMode::Delete => "delete",
            JournalMode::Wal => "wal",
        }
    }
}

/// What happens with a file that cannot be used (`Broker::SQLiteFailureMode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FailureMode {
    /// The store is not opened.
    #[default]
    Fail,
    /// A database that is damaged, too new, or not of a store is emptied, and becomes one. Nothing else is: a file that is
    /// no SQLite database, or that another process uses, is refused.
    Delete,
}
