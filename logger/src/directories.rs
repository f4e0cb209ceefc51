//! The directories that a logger writes to, as they are made at its start.
//!
//! `dir` of `[log]`, the log directory in it and `rotation_dir` are made, those above them only where
//! `create_parents` says so: one that is missing may be a disk that is not mounted, and its logs would fill
//! another.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rustix::fs::Access;
use thiserror::Error;
use zcluster::daemon::Failure;
use zcluster::exit::ExitCode;
use zcluster::layout::Log;

use crate::files;

/// Why there is no directory to write to.
#[derive(Debug, Error)]
pub(crate) enum DirectoryError {
    /// It is not made.
    #[error(
        "the {what} {} is not there and not made, as {} is missing: mount or make that, or set \
         `create_parents = true` in [log]",
        dir.display(), missing.display()
    )]
    NoParent {
        /// Whose directory.
        what: &'static str,
        /// The directory.
        dir: PathBuf,
        /// The topmost above it that is not there.
        missing: PathBuf,
    },
    /// The system refuses.
    #[error("cannot {verb} the {what} {}: {source}", dir.display())]
    System {
        /// What was tried.
        verb: &'static str,
        /// Whose directory.
        what: &'static str,
        /// The directory.
        dir: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl DirectoryError {
    /// The exit code of a process that fails by it: a disk may be mounted later.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            DirectoryError::NoParent { .. } => ExitCode::Unavailable,
            DirectoryError::System { .. } => ExitCode::Io,
        }
    }
}

impl From<DirectoryError> for Failure {
    fn from(error: DirectoryError) -> Self {
        Failure::new(error.exit_code(), error)
    }
}

/// Makes what is to be made; `log_dir` is the log directory of this logger. One that cannot be written is
/// found out now, not with the first record.
///
/// # Errors
/// When one cannot be made, or the log directory not be written.
pub(crate) fn make(log: &Log, log_dir: &Path) -> Result<(), DirectoryError> {
    for dir in [&log.dir, log_dir] {
        make_one(log, "log directory", dir)?;
    }
    if let Some(rotated) = &log.rotation_dir {
        match make_one(log, "rotation directory", rotated) {
            // Whatever else is wrong with it only holds rotated files back.
            Ok(()) | Err(DirectoryError::System { .. }) => {}
            missing => return missing,
        }
    }
    rustix::fs::access(log_dir, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| {
        let (verb, what, dir) = ("write to", "log directory", log_dir.to_owned());
        DirectoryError::System { verb, what, dir, source: error.into() }
    })
}

fn make_one(log: &Log, what: &'static str, dir: &Path) -> Result<(), DirectoryError> {
    // The working directory, which is there.
    if dir.as_os_str().is_empty() {
        return Ok(());
    }
    files::make_dir(dir, log.create_parents).map_err(|source| {
        let dir = dir.to_owned();
        match files::missing_above(&dir) {
            Some(missing) if source.kind() == ErrorKind::NotFound => {
                let missing = missing.to_owned();
                DirectoryError::NoParent { what, dir, missing }
            }
            _ => DirectoryError::System { verb: "make", what, dir, source },
        }
    })
}

/// Why a directory would not be made at the start; `None` where it is there or would be. `made_above` is
/// the one directly above it where that would be made, too.
pub(crate) fn why_not_made(
    log: &Log,
    what: &'static str,
    dir: &Path,
    made_above: Option<&Path>,
) -> Option<DirectoryError> {
    let top = made_above.unwrap_or(dir);
    if log.create_parents {
        return None;
    }
    let (dir, missing) = (dir.to_owned(), files::missing_above(top)?.to_owned());
    Some(DirectoryError::NoParent { what, dir, missing })
}
