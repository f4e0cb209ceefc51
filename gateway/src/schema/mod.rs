//! The schema file: which events clients may publish, the types of their arguments, and names for
//! arguments and fields of records (docs/websocket.md, "Schema file").
//!
//! Zeek's WebSocket API knows this from the scripts of the process that hosts it. A gateway has no
//! scripts; without this file any well-formed event passes. It does no I/O: [`Schema::parse`] takes
//! the text.
//!
//! | file | owns |
//! |---|---|
//! | `types` | types of arguments and fields, and how they are written |
//! | `syntax` | the compact syntax: `"peers: set[addr, port]"` |
//! | `file` | the TOML around it, and all mistakes in it at once |
//! | `check` | whether an event is as declared |
//! | `read`, `write` | arguments from and to JSON |

mod check;
mod file;
mod read;
mod syntax;
mod types;
mod write;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use thiserror::Error;
use zcluster::readable::ReadableError;

pub use file::SchemaError;
use types::Field;
#[cfg(test)]
pub(crate) use types::Scalar;
pub use write::write_args;

/// The declarations of a schema file.
#[derive(Debug, Default)]
pub struct Schema {
    /// The arguments of each event.
    events: HashMap<String, Vec<Field>>,
    /// The fields of each record.
    records: Vec<Vec<Field>>,
}

/// Why an event is not as the schema file declares it.
#[derive(Debug, Error)]
pub enum Mismatch {
    /// There is no such event.
    #[error("event: `{event}` is not declared")]
    Undeclared {
        /// Its name.
        event: String,
    },
    /// More or fewer arguments than declared.
    #[error("args: expected {expected}, found {found}")]
    Count {
        /// The declared arguments.
        expected: String,
        /// How many there are.
        found: usize,
    },
    /// A value of another type.
    #[error("{path}: expected {expected}, found {found}")]
    Type {
        /// Where it is, beginning with the name of the argument.
        path: String,
        /// The declared type.
        expected: String,
        /// The type that was found.
        found: &'static str,
    },
    /// An argument is missing, or a field of a record that is not `&optional`.
    #[error("{path}{}missing {what} of {owner}", if path.is_empty() { "" } else { ": " })]
    Missing {
        /// Path of the object that should have it; empty if there is none.
        path: String,
        /// The declaration.
        what: String,
        /// The event or record.
        owner: String,
    },
    /// A name that is not declared.
    #[error("{path}: {owner} has no {noun} of this name; it has {expected}")]
    Unknown {
        /// Path of the member.
        path: String,
        /// The event or record.
        owner: String,
        /// `argument` or `field`.
        noun: &'static str,
        /// The names that are declared.
        expected: String,
    },
    /// JSON that is no value of the declared type.
    #[error(transparent)]
    Json(#[from] ReadableError),
}

impl Schema {
    /// The declared arguments of an event.
    fn args(&self, event: &[u8]) -> Option<&[Field]> {
        self.events.get(str::from_utf8(event).ok()?).map(Vec::as_slice)
    }
}
