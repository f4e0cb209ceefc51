//! Logging as in Zeek (WIRE.md §4.6): streams of typed records, and filters that decide which of
//! them are logged, with which columns, under which path.
//!
//! | module | owns |
//! |---|---|
//! | `record`, `field`, `scalar` | [`LogRecord`], [`LogField`], [`LogScalar`]: Rust types as columns and values |
//! | `logs` | [`Logs`]: the streams of a process |
//! | `stream` | [`Stream`]: records on their way through the filters |
//! | `filter`, `plan` | [`Filter`]; the columns that it writes |
//! | `writers` | the open logs of a filter, by path |
//! | `sink`, `batch_sink`, `recorder` | [`LogSink`]: where records go; [`BatchSink`], a sink for logs written here; [`Recorder`], one for tests |
//! | `path` | the path of a log that names none |
//! | [`weird`] | what the limits cut off |
//! | `entered` | keeps functions of the application from being called by themselves |
//!
//! A record goes from [`Stream::write`] straight into the batch of each filter's log: nothing in
//! between is allocated.

mod batch_sink;
mod entered;
mod error;
mod field;
mod filter;
mod logs;
mod path;
mod plan;
mod record;
mod recorder;
mod scalar;
mod sink;
mod stream;
pub mod weird;
mod writers;

#[cfg(test)]
mod tests;

pub use batch_sink::BatchSink;
pub use error::{LogsError, Place};
pub use field::LogField;
pub use filter::Filter;
pub use logs::{Logs, StreamOptions};
pub use record::{Columns, LogRecord};
pub use recorder::{Recorded, Recorder};
pub use scalar::{FileName, LogScalar};
pub use sink::{LogSink, LogWriter, Sinks, WriterInfo};
pub use stream::Stream;

/// Derive the traits of those names.
pub use zcluster_derive::{LogRecord, LogScalar};

pub use crate::wire::zeek_bin::{Limits, LogValue, RecordWriter, Scalar};

use crate::node::lock;
