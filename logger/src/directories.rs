//! Creates the directories that a logger writes to, at its start.
//!
//! It creates `dir` of `[log]`, the log directory in it, and `rotation_dir`. Directories above them
//! only with `create_parents`: a missing one may be a disk that is not mounted, and its logs would
//! fill another disk.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rustix::fs::Access;
use thiserror::Error;
use zcluster::daemon::Failure;
use zcluster::exit::ExitCode;
use zcluster::layout::Log;

use crate::files;

/// Why a directory cannot be used.
#[derive(Debug, Error)]
pub(crate) enum DirectoryError {
    /// A parent is missing, so it was not created.
    #[error(
        "the {what} {} does not exist, and neither does {}: mount or create that, or set \
         `create_parents = true` in [log]",
        dir.display(), missing.display()
    )]
    NoParent {
        /// The directory's purpose.
        what: &'static str,
        /// The directory.
        dir: PathBuf,
        /// The topmost missing directory above it.
        missing: PathBuf,
    },
    /// The system refused to create or write it.
    #[error("cannot {verb} the {what} {}: {source}", dir.display())]
    System {
        /// The attempted operation.
        verb: &'static str,
        /// The directory's purpose.
        what: &'static str,
        /// The directory.
        dir: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl DirectoryError {
    /// The exit code for this error. A missing parent may be mounted later, so that is not an I/O
    /// error.
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

/// Creates the directories; `log_dir` is the log directory of this logger. Also checks that it can
/// be written, so that the first record does not find out.
///
/// # Errors
/// If a directory cannot be created, or the log directory cannot be written.
pub(crate) fn make(log: &Log, log_dir: &Path) -> Result<(), DirectoryError> {
    for dir in [&log.dir, log_dir] {
        make_one(log, "log directory", dir)?;
    }
    if let Some(rotated) = &log.rotation_dir {
        match make_one(log, "rotation directory", rotated) {
            // Any other fault of this directory only delays rotated files.
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
    // The working directory, which exists.
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

/// Returns why a directory would not be created at start, or `None` if it exists or would be
/// created. `made_above` is its parent, if that would be created too.
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
