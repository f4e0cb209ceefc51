//! The logger: takes log batches off the cluster and writes Zeek's log files.
//!
//! # Layout
//!
//! | module | what it owns |
//! |---|---|
//! | [`format`] | the text of a log: batches to lines of TSV or JSON, pure |
//! | [`path`] | which file a producer's path names, pure |
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod format;
pub mod path;
