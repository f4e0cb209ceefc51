//! [`StoreError`]: why something was not done with a store.

use std::fmt;

use crate::peers::ErrorCode;

/// Why an operation failed, or a store cannot be opened: a code of Zeek's `Broker::ErrorCode`, and words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreError {
    /// The code ([docs/stores.md] says when).
    ///
    /// [docs/stores.md]: https://docs.rs/crate/zcluster/latest/source/docs/stores.md
    pub code: ErrorCode,
    /// What happened; may be empty.
    pub text: String,
}

impl StoreError {
    /// An error with an explanation.
    pub fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        StoreError { code, text: text.into() }
    }
}

impl From<ErrorCode> for StoreError {
    fn from(code: ErrorCode) -> Self {
        StoreError::new(code, "")
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code.name())?;
        if self.text.is_empty() { Ok(()) } else { write!(f, ": {}", self.text) }
    }
}

impl std::error::Error for StoreError {}
