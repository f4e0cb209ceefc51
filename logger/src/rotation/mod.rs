//! Rotation: gives a complete log its final name, compresses it, announces it and runs the
//! postprocessor.
//!
//! The writing thread only renames ([`Rotator`]); two background threads do everything that takes
//! time ([`Finisher`]). Between them is a directory, `.rotated` in the log directory, with a small
//! job file for each unfinished rotation, which passes through these stages:
//!
//! ```text
//! <id>.intent ──rename of the log──▶ <id>.json ──compressed, announced──▶ <id>.post ──▶ gone
//! ```
//!
//! Every step is a rename or an unlink whose completion can be checked afterwards, so the next
//! start can resume wherever a process was killed: nothing is lost, and nothing is announced twice.
//! Live logs left by a crash are repaired by [`recovery`] and rotated like any other. Nothing is
//! ever overwritten.
//!
//! | module | what it owns |
//! |---|---|
//! | `schedule` | when a log is rotated next (pure) |
//! | `name` | names of rotated files (pure) |
//! | `job` | the job directory |
//! | `rotator` | the rename, called by the writer |
//! | `figures` | records, bytes and times of a log's text (pure) |
//! | `compress` | one pass over a file: figures, checksum, compressed copy |
//! | `manifest`, `location` | `rotated.ndjson`, one line for each finished file; where that is |
//! | `postprocess` | the postprocessor command |
//! | `finisher` | the threads, and the order of their steps |
//! | `recovery`, `repair`, `shadow` | logs left by a previous process, including Zeek |
//! | `leftovers` | temporary files, and files without a job |
//! | `json_bytes`, `tsv_head` | bytes as JSON text, for jobs; meta lines |
//! | `signal` | wake-ups and the stop request |

mod compress;
mod figures;
mod finisher;
mod job;
mod json_bytes;
mod leftovers;
mod location;
mod manifest;
mod name;
mod postprocess;
mod recovery;
mod repair;
mod rotator;
mod schedule;
mod shadow;
mod signal;
#[cfg(test)]
mod tests;
mod tsv_head;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bstr::BStr;
use jiff::tz::TimeZone;
use zcluster::layout::RotationName;

pub(crate) use compress::Compression;
pub(crate) use finisher::Finisher;
pub(crate) use manifest::MANIFEST;
pub(crate) use name::is_rotated_name;
pub(crate) use postprocess::Postprocessor;
pub(crate) use recovery::{recover, recover_one};
pub(crate) use rotator::{RotationInfo, Rotator};
pub(crate) use schedule::{BaseTime, Schedule};

/// Default timeout of a postprocessor.
pub(crate) const POSTPROCESSOR_TIMEOUT: Duration = Duration::from_secs(3600);

/// How logs are rotated and finished.
#[derive(Clone, Debug)]
pub(crate) struct RotationSettings {
    /// The directory of the live logs; absolute.
    pub(crate) log_dir: PathBuf,
    /// The directory of rotated logs, if different; absolute.
    pub(crate) rotation_dir: Option<PathBuf>,
    /// The form of their names.
    pub(crate) name: RotationName,
    /// Extension of the logs, without the dot.
    pub(crate) suffix: String,
    /// Additional extension of logs with `gzip_level`.
    pub(crate) gzip_extension: String,
    /// The logger's name, if the layout has several loggers.
    pub(crate) logger: Option<String>,
    /// Whether names of every form include the logger's name, because several loggers share a
    /// directory.
    pub(crate) name_in_all_forms: bool,
    /// How rotated files are compressed.
    pub(crate) compress: Compression,
    /// The command that runs for each of them afterwards.
    pub(crate) postprocessor: Option<Postprocessor>,
    /// The zone for all times in names, headers and arguments.
    pub(crate) zone: TimeZone,
    /// Whether unfinished rotations survive a power cut as well as a crash: costs the writer one
    /// disk write per rotation. Without it, a file rotated in the seconds before a power cut may
    /// stay uncompressed and unannounced. Announced files are always on disk.
    pub(crate) fsync: bool,
    /// Whether logs found at the start have the names of the columns as their only header (`tsv`).
    pub(crate) bare_header: bool,
}

impl RotationSettings {
    /// Makes the directories absolute, for readers of the names in other directories.
    ///
    /// # Errors
    /// If the current directory is unknown.
    pub(crate) fn absolute(mut self) -> io::Result<Self> {
        self.log_dir = std::path::absolute(&self.log_dir)?;
        self.rotation_dir = self.rotation_dir.map(std::path::absolute).transpose()?;
        Ok(self)
    }

    fn target_dir(&self) -> &Path {
        self.rotation_dir.as_deref().unwrap_or(&self.log_dir)
    }

    fn names(&self) -> name::NameRules {
        let logger = self.logger.as_deref();
        name::NameRules::new(self.name, logger, self.name_in_all_forms, self.zone.clone())
    }

    fn jobs(&self) -> job::JobDir {
        job::JobDir::new(&self.log_dir, self.fsync)
    }

    /// Returns whether files with that extension are gzip streams.
    fn is_gzip(&self, extension: &BStr) -> bool {
        extension
            .strip_suffix(self.gzip_extension.as_bytes())
            .is_some_and(|rest| !self.gzip_extension.is_empty() && rest.ends_with(b"."))
    }
}
