//! [`LogsError`]: what keeps a stream from being created, changed or written to.

use std::fmt;

use thiserror::Error;

use crate::node::{LogError, NodeError};
use crate::wire::zeek_bin::SchemaError;

/// Why a stream was not created, changed or written to.
#[derive(Debug, Error)]
pub enum LogsError {
    /// There is a stream of that name.
    #[error("log stream {0} exists already; `remove_stream` ends it")]
    StreamExists(String),
    /// There is no stream of that name.
    #[error("there is no log stream {0}")]
    NoStream(String),
    /// The stream of that name was created with another type.
    #[error("the records of log stream {0} are of another type")]
    OtherRecords(String),
    /// The columns of a filter, or one of its names, are nothing that a log can have.
    #[error("log stream {stream}, filter {filter}: {error}")]
    Schema {
        /// The stream.
        stream: String,
        /// The filter.
        filter: String,
        /// What is wrong.
        error: SchemaError,
    },
    /// A filter names a column that records do not have.
    #[error(
        "log stream {stream}, filter {filter}: `{option}` names the column {name:?}, which records do \
         not have; they have {known}"
    )]
    UnknownColumn {
        /// The stream.
        stream: String,
        /// The filter.
        filter: String,
        /// Where it is named: `include`, `exclude` or `field_name_map`.
        option: &'static str,
        /// The name.
        name: String,
        /// The columns of records.
        known: String,
    },
    /// There is nothing that writes logs here, or nothing that sends them.
    #[error("log stream {stream}{}: this process has no {which} sink", in_filter(.filter.as_ref()))]
    NoSink {
        /// The stream.
        stream: String,
        /// The filter, if it is not the stream that wants it.
        filter: Option<String>,
        /// `local` or `remote`.
        which: &'static str,
    },
    /// The sink does not open a writer.
    #[error("{place}: {error}")]
    Open {
        /// What for.
        place: Box<Place>,
        /// Why not.
        error: NodeError,
    },
    /// The sink did not take a record. Other filters may have logged it.
    #[error("{place}: {error}")]
    Write {
        /// Whose record.
        place: Box<Place>,
        /// Why not.
        error: LogError,
    },
}

fn in_filter(filter: Option<&String>) -> String {
    filter.map(|filter| format!(", filter {filter}")).unwrap_or_default()
}

/// One log of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The stream.
    pub stream: String,
    /// The filter.
    pub filter: String,
    /// The path.
    pub path: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { stream, filter, path } = self;
        write!(f, "log stream {stream}, filter {filter}, path {path:?}")
    }
}
