//! [`TableError`].

use bstr::BString;
use thiserror::Error;

use crate::value::ValueError;

/// Why a table is not created, or not changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TableError {
    /// The name is that of another table.
    #[error("there is a table {id} already: clone its handle")]
    Duplicate {
        /// The name.
        id: BString,
    },
    /// An empty name.
    #[error("a table needs a name, for example Demo::hosts")]
    NoName,
    /// `publish_on_change` without any change.
    #[error("table {id}: publish_on_change needs at least one change, for example Change::New")]
    NoChanges {
        /// The name of the table.
        id: BString,
    },
    /// A key that has no form in Zeek.
    #[error("table {id}: key: {error}")]
    Key {
        /// The name of the table.
        id: BString,
        /// What is wrong with it.
        error: ValueError,
    },
    /// A value that has no form in Zeek.
    #[error("table {id}: value: {error}")]
    Value {
        /// The name of the table.
        id: BString,
        /// What is wrong with it.
        error: ValueError,
    },
    /// A value that is unset, which no element of a table in Zeek can be.
    #[error("table {id}: expected a value, found none; for keys only, use a set")]
    NoValue {
        /// The name of the table.
        id: BString,
    },
    /// The table has as many elements as it may have.
    #[error("table {id} is full: max_entries is {max}")]
    Full {
        /// The name of the table.
        id: BString,
        /// Its option `max_entries`.
        max: usize,
    },
    /// The function given to `with` or `for_each` of the same table is still running.
    #[error("table {id} cannot change while `with` or `for_each` reads it")]
    InUse {
        /// The name of the table.
        id: BString,
    },
}
