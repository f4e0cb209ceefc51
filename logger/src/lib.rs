//! The logger: takes log batches off the cluster and writes Zeek's log files.
//!
//! A batch flows one way: `intake` (PULL socket) → bounded queue → `writer`, which has `format` turn
//! its bytes into text, and `log_file` write that.
//!
//! # Layout
//!
//! | module | what it owns |
//! |---|---|
//! | [`mod@format`] | the text of a log: batches to lines of TSV or JSON, pure |
//! | [`path`] | which file a producer's path names, pure |
//! | `intake` | the receiving thread |
//! | `writer` | the writing thread: which batch belongs to which file |
//! | `plans` | what to do with batches of a header that was seen before |
//! | `log_file` | one file: opening, writing, going on after an error |
//! | `rotation` | what becomes of a complete file: its name, compression, announcement |
//! | `end` | until when, and why, the process ends |
//! | `check` | `--check`: what the configuration means on this host |
//! | `service` | the process: command line, start, signals, end |
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod format;
pub mod path;

// `service` calls it for `--check`.
#[allow(dead_code)]
mod check;
mod clock;
mod end;
mod intake;
mod log_file;
mod plans;
#[allow(dead_code, unused_imports, reason = "the writer that calls it comes with the next commits")]
mod rotation;
mod service;
mod writer;

pub use service::{Args, run};
