//! The rename of a complete log, called by the writing thread (WIRE.md §5.8).
//!
//! First a job records the intent, then the log is renamed, then the job is passed to the finisher:
//! whenever the process is killed, the next start can tell how far it got.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bstr::{BStr, BString, ByteSlice};
use rustix::fs::Access;
use rustix::io::Errno;
use zcluster::telemetry::LoggerMetrics;

use super::RotationSettings;
use super::compress::Compression;
use super::job::{Job, JobDir, JobId, Micros, Stage};
use super::name::NameRules;
use super::signal::Waker;
use crate::files::{self, FileId};
use crate::format::Times;
use crate::path::{LogPath, after_number};

/// The numbers tried for a free name.
pub(crate) const NUMBERS: Range<u32> = 0..10_000;

/// Describes a log to rotate.
#[derive(Clone, Debug)]
pub(crate) struct RotationInfo {
    /// The log's path.
    pub(crate) path: LogPath,
    /// When it was opened: the time of the previous rotation, or of its first record.
    pub(crate) open: SystemTime,
    /// The time of this rotation.
    pub(crate) close: SystemTime,
    /// Whether the process shuts down.
    pub(crate) terminating: bool,
    /// Whether the file's first line has the names of its columns (`tsv`); the file does not show
    /// whether it does.
    pub(crate) bare_header: bool,
    /// The times of its records; `None` if unknown.
    pub(crate) times: Option<Times>,
}

/// Renames logs.
#[derive(Clone, Debug)]
pub(crate) struct Rotator {
    settings: Arc<RotationSettings>,
    names: Arc<NameRules>,
    jobs: JobDir,
    metrics: LoggerMetrics,
    waker: Waker,
}

impl Rotator {
    /// Returns a rotator that wakes a finisher with the same settings, which must have settled the
    /// jobs of a previous process.
    pub(crate) fn new(
        settings: Arc<RotationSettings>,
        metrics: LoggerMetrics,
        waker: Waker,
    ) -> Self {
        let logger = settings.logger.as_deref().unwrap_or_default();
        if NameRules::drops(logger) {
            log::warn!("the logger's name {logger:?} is left out of the names of rotated files");
        }
        let (names, jobs) = (Arc::new(settings.names()), settings.jobs());
        Rotator { settings, names, jobs, metrics, waker }
    }

    pub(crate) fn settings(&self) -> &RotationSettings {
        &self.settings
    }

    pub(crate) fn names(&self) -> &NameRules {
        &self.names
    }

    pub(crate) fn jobs(&self) -> &JobDir {
        &self.jobs
    }

    /// Checks the permissions to rename logs. Creates the directory for rotated ones.
    ///
    /// # Errors
    /// If logs cannot be renamed.
    pub(crate) fn check(&self) -> io::Result<()> {
        self.make_target_dir()?;
        for dir in [self.settings.target_dir(), &self.settings.log_dir] {
            rustix::fs::access(dir, Access::WRITE_OK | Access::EXEC_OK)?;
        }
        Ok(())
    }

    /// Renames a complete, closed log to its rotated name, and returns that name. The file is there
    /// at once or, on another file system, after it is copied.
    ///
    /// Blocks for a few operations on directories, and for one disk write if
    /// [`fsync`](RotationSettings::fsync) is set.
    ///
    /// # Errors
    /// If a step fails. Then the log is still under its live name.
    pub(crate) fn rotate(&self, live: &Path, info: &RotationInfo) -> io::Result<PathBuf> {
        let name = files::name_of(live);
        let extension = name
            .strip_prefix(info.path.text().as_bytes())
            .and_then(|rest| after_number(rest).strip_prefix(b"."))
            .unwrap_or(self.settings.suffix.as_bytes());
        self.rotate_as(live, info, extension.as_bstr())
    }

    /// Like [`rotate`](Self::rotate), with the given extension.
    pub(crate) fn rotate_as(
        &self,
        live: &Path,
        info: &RotationInfo,
        extension: &BStr,
    ) -> io::Result<PathBuf> {
        let metadata = fs::symlink_metadata(live)?;
        if !metadata.is_file() {
            return Err(io::Error::new(ErrorKind::InvalidFilename, "not a regular file"));
        }
        self.make_target_dir()?;
        let id = JobId::new();
        let mut job = Job {
            path: info.path.as_bstr().to_owned(),
            live: files::name_of(live).into(),
            file: BString::default(),
            held: None,
            open: info.open.into(),
            close: info.close.into(),
            terminating: info.terminating,
            extension: extension.to_owned(),
            gzipped: self.settings.is_gzip(extension),
            bare_header: info.bare_header,
            times: info
                .times
                .and_then(Times::range)
                .map(|(first, last)| (Micros::from_seconds(first), Micros::from_seconds(last))),
            source: FileId::new(&metadata),
            finished: None,
        };
        if let Err(error) = self.rename(live, &id, &mut job) {
            // On a network file system, a rename may succeed and return an error. Then the next
            // start finds the file.
            if job.source.is_at(live).unwrap_or(false) {
                let _ = self.jobs.remove(&id, Stage::Intent);
            }
            return Err(error);
        }
        self.metrics.path(info.path.text()).rotations.inc();
        let file = job.file_path().to_owned();
        // The log is renamed, and the writer must not repeat that; the next start settles the job.
        if let Err(error) = self.jobs.promote(&id, Stage::Intent, Stage::Rotated) {
            log::error!("{} cannot be finished before the next start: {error}", file.display());
        }
        self.waker.wake();
        Ok(file)
    }

    /// Not those above it: that is for the start.
    fn make_target_dir(&self) -> io::Result<()> {
        let dir = self.settings.target_dir();
        if files::look_at(dir)?.is_none() { files::make_dir(dir, false) } else { Ok(()) }
    }

    fn rename(&self, live: &Path, id: &JobId, job: &mut Job) -> io::Result<()> {
        for number in NUMBERS {
            let file = candidate(&self.settings, &self.names, job, number);
            if is_taken(&file)? {
                continue;
            }
            job.file = file.into_os_string().into_encoded_bytes().into();
            self.jobs.write(id, Stage::Intent, job)?;
            match files::rename_new(live, job.file_path()) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) if files::is(&error, Errno::XDEV) => {
                    job.held = Some(id.held_name());
                    self.jobs.write(id, Stage::Intent, job)?;
                    return files::rename_new(live, &self.jobs.source_path(job));
                }
                outcome => return outcome,
            }
        }
        Err(no_free_name(job))
    }
}

/// Returns the rotated name with that number, uncompressed.
pub(crate) fn candidate(
    settings: &RotationSettings,
    names: &NameRules,
    job: &Job,
    number: u32,
) -> PathBuf {
    let (open, close) = (job.open.into(), job.close.into());
    let stem = names.stem(&job.path_text(), open, close, number, job.extension.len());
    let mut name = BString::from(stem);
    name.push(b'.');
    name.extend_from_slice(&job.extension);
    settings.target_dir().join(OsStr::from_bytes(&name))
}

/// Returns whether a file with that name exists, compressed or not.
pub(crate) fn is_taken(file: &Path) -> io::Result<bool> {
    for compression in [Compression::None, Compression::Zstd(0), Compression::Gzip(0)] {
        if files::look_at(&files::with_end(file, compression.extension()))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(crate) fn no_free_name(job: &Job) -> io::Error {
    let what = format!("no free name for the rotated log {:?}", job.path);
    io::Error::new(ErrorKind::AlreadyExists, what)
}
