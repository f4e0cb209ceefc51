//! [`Sqlite`]: keeps the content of a store in a SQLite file.
//!
//! # For operators
//!
//! A store is one file, and beside it, while it is open, the log of what is new (`NAME-wal`; with `journal_mode = "delete"`,
//! `NAME-journal`). After a process was killed, the log is part of the store: copy, move and delete both or none. A master that ends
//! cleanly removes it. Only its owner can read a file that we create.
//!
//! | table | row | columns |
//! |---|---|---|
//! | `entries` | an entry | `key` and `value`, encoded as on the bus; `expires`, when, in nanoseconds since 1970, or null; `lifetime`, nanoseconds that each change adds, or null |
//! | `master` | there is one | `epoch` of the last master |
//! | `clients` | a client | `process` and `number`, who it is; `next`, the id of its next command; `oldest`, of its first one without an answer; `last_use`, when, in nanoseconds since 1970 |
//! | `answers` | an answer that may be asked for again | `process`, `number`, `id` of the command, `answer`, encoded |
//!
//! Clients that have been silent for a day are removed when the file is opened, and those that have been silent the longest when there
//! are more than 10,000.
//!
//! | pragma | value | why |
//! |---|---|---|
//! | `application_id` | 0x5A437374, "ZCst" | nothing else is taken for a store |
//! | `user_version` | 1 | the format; a file with a higher one is refused |
//! | `locking_mode` | `exclusive` | one master; the index of the log is in memory, so there is no `NAME-shm` |
//! | `journal_mode` | `wal`, or as configured | a change is written once, to the log |
//! | `synchronous` | `normal`, or as configured | `full`: changes survive a power cut |
//! | `wal_autocheckpoint` | 1000, SQLite's default | from 4 MB on, the log is written to the file, and then overwritten from its beginning |
//! | `journal_size_limit` | 16 MiB | what remains of a log that one batch has made larger |
//! | `cache_size` | 16 MiB | changes seldom read |
//!
//! To look into it, end its master, and then:
//!
//! ```sh
//! sqlite3 -readonly NAME "SELECT count(*), sum(length(value)) FROM entries"
//! sqlite3 -readonly NAME "SELECT process, datetime(last_use / 1000000000, 'unixepoch') FROM clients"
//! ```
//!
//! While a master has the file, this says "database is locked". The file does not shrink when entries go: new ones
//! take their room. `sqlite3 NAME VACUUM` shrinks it.

mod open;
mod options;
mod records;
mod refusal;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rusqlite::{Connection, TransactionBehavior};

use super::{Backend, Record};
use crate::peers::ErrorCode;
use crate::store::StoreError;
pub use options::{FailureMode, JournalMode, Options, Synchronous};
use refusal::Refusal;

/// The backend of stores that outlive their master. The file is locked until it is dropped.
#[derive(Debug)]
pub struct Sqlite {
    conn: Connection,
    path: PathBuf,
    failure_mode: FailureMode,
    /// How many clients the file has, since it was loaded.
    clients: u64,
}

impl Sqlite {
    /// Opens the file, or creates it. Its directory must exist, but for directories below `create_dirs_below`, which are
    /// created: those of a store whose name has slashes.
    ///
    /// # Errors
    /// `CANNOT_OPEN_FILE` if it cannot be used, is not one of a store, or another process has it.
    pub fn open(options: Options, create_dirs_below: Option<&Path>) -> Result<Self, StoreError> {
        let conn = open::open(&options, create_dirs_below)
            .map_err(|refusal| cannot_open(&options.path, refusal))?;
        let Options { path, failure_mode, .. } = options;
        Ok(Sqlite { conn, path, failure_mode, clients: 0 })
    }

    /// Reads everything once for nothing, and deletes it if that fails: what was handed over cannot be taken back.
    fn delete_if_damaged(&mut self) -> Result<(), Refusal> {
        match records::read(&self.conn, &mut |_| {}).map_err(Refusal::from) {
            Err(refusal) if refusal.is_content => {
                open::begin_anew(&self.path, &mut self.conn, &refusal)
            }
            outcome => outcome,
        }
    }

    fn try_load(&mut self, each: &mut dyn FnMut(Record)) -> Result<(), Refusal> {
        if self.failure_mode == FailureMode::Delete {
            self.delete_if_damaged()?;
        }
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        self.clients = records::forget_silent(&tx, SystemTime::now().into())?;
        tx.commit()?;
        Ok(records::read(&self.conn, each)?)
    }

    fn try_commit(&mut self, batch: Vec<Record>) -> rusqlite::Result<()> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let clients = self.clients + records::write(&tx, batch, SystemTime::now().into())?;
        let clients = records::limit_clients(&tx, clients)?;
        tx.commit()?;
        self.clients = clients;
        Ok(())
    }
}

impl Backend for Sqlite {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn load(&mut self, each: &mut dyn FnMut(Record)) -> Result<(), StoreError> {
        self.try_load(each).map_err(|refusal| cannot_open(&self.path, refusal))
    }

    fn commit(&mut self, batch: Vec<Record>) -> Result<(), StoreError> {
        self.try_commit(batch).map_err(|error| {
            let why = refusal::explained(&error);
            let text = format!("cannot write store file {}: {why}", self.path.display());
            StoreError::new(ErrorCode::BackendFailure, text)
        })
    }
}

fn cannot_open(path: &Path, Refusal { why, .. }: Refusal) -> StoreError {
    let text = format!("cannot open store file {}: {why}", path.display());
    StoreError::new(ErrorCode::CannotOpenFile, text)
}
