//! Rotation: a log that is complete gets its final name, is compressed, announced and handed on.
//!
//! The writing thread renames ([`Rotator`]); everything that takes time is the business of two
//! background threads ([`Finisher`]). Between them lies a directory, `.rotated` in the log
//! directory: each file under way has one small job file there, which goes through the stages
//!
//! ```text
//! <id>.intent ──rename of the log──▶ <id>.json ──compressed, announced──▶ <id>.post ──▶ gone
//! ```
//!
//! Every step is a rename or an unlink that can be told from its not having happened yet, so that a
//! process killed anywhere goes on at its next start: nothing is lost, and nothing is announced
//! twice. What a crash leaves of live logs is put in order by [`recovery`] and rotated like any
//! other. Nothing is ever overwritten.
//!
//! | module | what it owns |
//! |---|---|
//! | `schedule` | when a log is rotated next (pure) |
//! | `name` | what the rotated file is called (pure) |
//! | `job` | the job directory |
//! | `rotator` | the rename, as the writer calls it |
//! | `figures` | records, bytes and times of a log's text (pure) |
//! | `compress` | one pass over a file: figures, checksum, compressed copy |
//! | `manifest`, `location` | `rotated.ndjson`, one line for each finished file; where that is |
//! | `postprocess` | the postprocessor command |
//! | `finisher` | the threads, and the order of their steps |
//! | `recovery`, `repair`, `shadow` | logs that a predecessor left behind, Zeek's too |
//! | `leftovers` | temporary files, and files without a job |
//! | `json_bytes`, `tsv_head` | bytes as JSON text, for jobs; meta lines |
//! | `signal` | wake-ups, the end |

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

/// How long a postprocessor may take unless told otherwise.
pub(crate) const POSTPROCESSOR_TIMEOUT: Duration = Duration::from_secs(3600);

/// How logs are rotated, and what is done with them then.
#[derive(Clone, Debug)]
pub(crate) struct RotationSettings {
    /// Where the live logs are; absolute.
    pub(crate) log_dir: PathBuf,
    /// Where rotated ones go, if not there too; absolute.
    pub(crate) rotation_dir: Option<PathBuf>,
    /// The form of their names.
    pub(crate) name: RotationName,
    /// Extension of the logs, without its dot.
    pub(crate) suffix: String,
    /// Further extension of those with `gzip_level`.
    pub(crate) gzip_extension: String,
    /// The logger's name, where the layout has several.
    pub(crate) logger: Option<String>,
    /// Whether names of every form have the logger's name in them: several loggers share a
    /// directory.
    pub(crate) name_in_all_forms: bool,
    /// How rotated files are compressed.
    pub(crate) compress: Compression,
    /// What runs for each of them afterwards.
    pub(crate) postprocessor: Option<Postprocessor>,
    /// The zone of all times in names, headers and arguments.
    pub(crate) zone: TimeZone,
    /// Whether what is under way survives a power cut as it does a crash: costs the writer a write
    /// to disk for each rotation. Without it, a file rotated in the seconds before the cut may stay
    /// as it is, neither compressed nor announced. What is announced is always on disk.
    pub(crate) fsync: bool,
    /// Whether logs found at the start have the names of the columns as their only header (`tsv`).
    pub(crate) bare_header: bool,
}

impl RotationSettings {
    /// Makes the directories absolute, for those who read the names from elsewhere.
    ///
    /// # Errors
    /// When the current directory is not known.
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

    /// Whether files with that extension are gzip streams.
    fn is_gzip(&self, extension: &BStr) -> bool {
        extension
            .strip_suffix(self.gzip_extension.as_bytes())
            .is_some_and(|rest| !self.gzip_extension.is_empty() && rest.ends_with(b"."))
    }
}
