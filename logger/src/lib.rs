//! The logger: takes log batches off the cluster and writes Zeek's log files.
//!
//! A batch flows one way: `intake` (PULL socket) → `formatter` (one of several threads, by path),
//! which has `format` turn its bytes into text → `writer`, one thread, which has `log_file` write
//! that → `rotation`, once a file is complete.
//!
//! # Layout
//!
//! | module | what it owns |
//! |---|---|
//! | [`mod@format`] | the text of a log: batches to lines of TSV or JSON, pure |
//! | [`path`] | which file a producer's path names, pure |
//! | `intake` | the receiving thread and the PULL socket |
//! | `formatter` | the formatting threads: which batch belongs to which log |
//! | `plans` | what to do with batches of a header that was seen before |
//! | `logs` | the logs: one per file name, with their settings |
//! | `piece` | text on its way from the formatters to the writer |
//! | `writer` | the writing thread: which file text belongs to, headers, syncing, when to rotate |
//! | `log_file` | one file: opening, writing, going on after an error |
//! | `rotation` | what becomes of a complete file: its name, compression, announcement |
//! | `files` | renames that overwrite nothing, and what tells one file from another |
//! | `dir_lock` | one owner of a log directory at a time |
//! | `zone` | the zone of local times: `TZ` and `/etc/localtime` |
//! | `clock` | the time as text of that zone |
//! | `strain` | which stages hold those before them back, for the health |
//! | `trouble` | what a thread cannot do at the moment, for the health |
//! | `clock_watch` | notices that the wall clock was set, pure |
//! | `end` | until when, and why, the process ends |
//! | `check` | `--check`: what the configuration means on this host |
//! | `pipeline` | the threads behind the socket, and what each may take of the memory |
//! | `service` | the process: command line, start, signals, end |
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod format;
pub mod path;

mod check;
mod clock;
mod clock_watch;
mod dir_lock;
mod end;
mod files;
mod formatter;
mod intake;
mod log_file;
mod logs;
mod piece;
mod pipeline;
mod plans;
mod rotation;
mod service;
mod strain;
mod trouble;
mod writer;
mod zone;

pub use service::{Args, run};
