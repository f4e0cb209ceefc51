//! [`Backend`]: where a master keeps its content beyond its own life.
//!
//! A master has all of its content in memory. Its backend is a log of changes that can be read again: it writes
//! batches of [`Record`]s, and returns what they have led to when a master starts.

mod memory;
#[cfg(feature = "sqlite")]
pub mod sqlite;

use bstr::BString;

use super::error::StoreError;
use super::expiry::Expiry;
pub use memory::Memory;

/// Who sends commands: a client of a process.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId {
    /// The id by which its process signs what it publishes: any bytes.
    pub process: BString,
    /// Which client of that process.
    pub number: u64,
}

/// One thing that a backend keeps. Keys, values and answers are encoded: to a backend they are bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An entry was added or replaced.
    Put {
        /// The key.
        key: Vec<u8>,
        /// The value.
        value: Vec<u8>,
        /// When it expires.
        expiry: Option<Expiry>,
    },
    /// The entry of that key is gone.
    Erase {
        /// The key.
        key: Vec<u8>,
    },
    /// All entries are gone.
    Clear,
    /// The epoch of the master that uses the backend now.
    Epoch(u64),
    /// How far a client is: commands below `next` were executed, and answers below `oldest` are not needed any more.
    Client {
        /// Which one.
        client: ClientId,
        /// The id of its next command.
        next: u64,
        /// The id of its first command without an answer.
        oldest: u64,
    },
    /// The answer to a command, in case that it is sent again.
    Answer {
        /// Whose command.
        client: ClientId,
        /// Its id.
        id: u64,
        /// The answer.
        answer: Vec<u8>,
    },
}

/// Keeps the content of a master. Its methods may block: [`Backend::load`] is called by the thread that creates the
/// master, and [`Backend::commit`] by a thread of its own.
pub trait Backend: Send {
    /// Its name, in what a master says about itself: `sqlite`.
    fn name(&self) -> &'static str;

    /// Returns all that is kept, in any order, except that answers come after the client that they are for.
    /// Called once, first.
    ///
    /// # Errors
    /// If it cannot be read. Then the master is not created.
    fn load(&mut self, each: &mut dyn FnMut(Record)) -> Result<(), StoreError>;

    /// Keeps a batch, all of it or nothing. What `commit` returned for survives at least the end of the process.
    ///
    /// # Errors
    /// If nothing was kept. The next batch may succeed.
    fn commit(&mut self, batch: Vec<Record>) -> Result<(), StoreError>;

    /// Whether nothing is kept, so that a master need not wait for it.
    fn is_volatile(&self) -> bool {
        false
    }
}

impl Backend for Box<dyn Backend> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn load(&mut self, each: &mut dyn FnMut(Record)) -> Result<(), StoreError> {
        (**self).load(each)
    }

    fn commit(&mut self, batch: Vec<Record>) -> Result<(), StoreError> {
        (**self).commit(batch)
    }

    fn is_volatile(&self) -> bool {
        (**self).is_volatile()
    }
}
