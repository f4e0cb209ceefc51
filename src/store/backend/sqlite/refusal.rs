//! [`Refusal`]: why a file is not used.

use std::io;

use rusqlite::{Error, ErrorCode};

/// Why a file is not used.
#[derive(Debug)]
pub(super) struct Refusal {
    /// One line, for people.
    pub(super) why: String,
    /// Whether it is a database, and what is in it is the reason. Only then it would help to delete that.
    pub(super) is_content: bool,
}

impl Refusal {
    /// The reason is not in a database.
    pub(super) fn new(why: impl Into<String>) -> Self {
        Refusal { why: why.into(), is_content: false }
    }

    /// The reason is what is in the database.
    pub(super) fn content(why: impl Into<String>) -> Self {
        Refusal { why: why.into(), is_content: true }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Refusal::new(error.to_string())
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Refusal::new("it is not a SQLite database"),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Refusal::new("it is used by another process, or by another store")
            }
            // `Unknown`: a table or column that is missing. No code: one of an unexpected type.
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::Unknown) | None => {
                Refusal::content(format!("it is damaged: {error}"))
            }
            Some(_) => Refusal::new(explained(&error)),
        }
    }
}

/// What SQLite says, and its number, which tells apart what is all "disk I/O error".
pub(super) fn explained(error: &Error) -> String {
    match error.sqlite_error() {
        Some(code) => format!("{error} (SQLite's code {})", code.extended_code),
        None => error.to_string(),
    }
}
