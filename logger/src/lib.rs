//! The logger: receives log batches from the cluster and writes Zeek's log files.
//!
//! A batch flows one way: `intake` (PULL socket) → `formatter` (one of several threads, by path),
//! which uses `format` to turn its bytes into text → `writer`, one thread, which writes through
//! `log_file` → `rotation`, once a file is complete.
//!
//! # Layout
//!
//! | module | what it owns |
//! |---|---|
//! | [`mod@format`] | the text of a log: batches to lines of TSV or JSON, pure |
//! | [`path`] | which file a producer's path names, pure |
//! | `intake` | the receiving thread and the PULL socket |
//! | `formatter` | the formatting threads: which batch belongs to which log |
//! | `plans` | what to do with batches of a known header |
//! | `logs` | the logs: one per file name, with their settings |
//! | `piece` | text on its way from the formatters to the writer |
//! | `writer` | the writing thread: which file text belongs to, headers, syncing, when to rotate |
//! | `log_file` | one file: opening, writing, resuming after an error |
//! | `rotation` | complete files: their names, compression, announcement |
//! | `files` | operations that never overwrite, and the identity of files |
//! | `dir_lock` | one owner of a log directory at a time |
//! | `zone` | the zone of local times: `TZ` and `/etc/localtime` |
//! | `clock` | the time as text of that zone |
//! | `strain` | which stages are full for long, for the health check |
//! | `trouble` | why a thread cannot work at the moment, for the health check |
//! | `clock_watch` | detects that the wall clock was set, pure |
//! | `end` | when and why the process shuts down |
//! | `check` | `--check`: what the configuration means on this host |
//! | `pipeline` | the threads behind the socket, and the memory limit of each |
//! | `service` | the process: command line, start, signals, shutdown |
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod format;
pub mod path;

mod check;
mod clock;
mod clock_watch;
mod dir_lock;
mod directories;
mod end;
mod files;
mod formatter;
mod intake;
mod landing;
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
