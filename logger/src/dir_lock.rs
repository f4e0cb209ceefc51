//! [`DirLock`]: a log directory has one owner at a time.
//!
//! The lock is on the file [`LOCK`] in the directory and ends with the process, even if it is
//! killed. The file's contents name the owner. An owner that exits cleanly removes the file; a file
//! left by a killed process has no effect. Child processes do not inherit the lock.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use rustix::fs::OFlags;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zcluster::daemon::Failure;
use zcluster::exit::ExitCode;

use crate::files;

/// The lock file in the log directory.
pub(crate) const LOCK: &str = ".lock";
/// How long to retry: a killed process may still be exiting, and `--check` holds the lock for a
/// moment.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(20);
/// Bytes read from the file.
const MAX_OWNER: u64 = 4096;

/// Owns the directory until dropped.
#[derive(Debug)]
pub(crate) struct DirLock {
    path: PathBuf,
    /// `None` where the file system has no locks.
    file: Option<File>,
}

impl Drop for DirLock {
    fn drop(&mut self) {
        // While locked: a process that waits for the lock then finds that the path no longer names
        // its file.
        if let Some(file) = &self.file
            && is_at(file, &self.path).unwrap_or(false)
        {
            let _ = files::remove_if_there(&self.path);
        }
    }
}

/// The owner of a lock, as the file names it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Owner {
    node: String,
    pid: u32,
    /// The host or container for which `pid` is valid.
    host: String,
    since: String,
}

/// Why the directory cannot be locked.
#[derive(Debug, Error)]
pub(crate) enum LockError {
    /// Another process owns it.
    #[error(
        "the log directory {} is in use by {}; nothing was changed: stop that process, or start \
         this one with another `dir` or node",
        dir.display(),
        owner_text(owner.as_ref())
    )]
    Taken {
        /// The directory.
        dir: PathBuf,
        /// The owner, if the file can be read.
        owner: Option<Owner>,
    },
    /// The file cannot be created, opened or locked.
    #[error("cannot lock the log directory: {}: {source}", file.display())]
    Io {
        /// The lock file.
        file: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl DirLock {
    /// Locks an existing directory for `node`. Waits briefly for an owner that is exiting.
    /// Continues without a lock, with a warning, if the file system has no locks or no room for the
    /// file.
    ///
    /// # Errors
    /// If another process owns it, or the file cannot be opened.
    pub(crate) fn take(dir: &Path, node: &str) -> Result<Self, LockError> {
        let path = dir.join(LOCK);
        let give_up = Instant::now() + PATIENCE;
        let failed = |source| LockError::Io { file: path.clone(), source };
        loop {
            let file = match open(&path) {
                Ok(file) => file,
                Err(error) if has_no_room(&error) => return Ok(Self::without(&path, &error)),
                Err(error) => return Err(failed(error)),
            };
            match file.try_lock() {
                // The file was replaced in between: the lock is on the old one.
                Ok(()) if !is_at(&file, &path).map_err(failed)? => {}
                Ok(()) => {
                    // Ignores errors such as a full disk: the lock itself holds.
                    let _ = Owner::of_this(node).write(&file);
                    return Ok(DirLock { path, file: Some(file) });
                }
                Err(TryLockError::WouldBlock) if Instant::now() < give_up => {
                    thread::sleep(PAUSE);
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(LockError::Taken {
                        dir: dir.to_owned(),
                        owner: Owner::read(&file),
                    });
                }
                Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Interrupted => {}
                Err(TryLockError::Error(error)) if has_no_locks(&error) => {
                    return Ok(Self::without(&path, &error));
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
    }

    fn without(path: &Path, error: &io::Error) -> Self {
        log::warn!(
            "cannot lock {}: {error}; continuing without a lock: make sure that no other logger \
             uses this directory",
            path.display()
        );
        DirLock { path: path.to_owned(), file: None }
    }
}

/// Describes the current owner of a directory. Creates no file, and releases the lock as soon as it
/// gets it.
pub(crate) fn owner_of(dir: &Path) -> Option<String> {
    let (file, _) = files::open_regular(&dir.join(LOCK)).ok()??;
    let is_taken = matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
    is_taken.then(|| owner_text(Owner::read(&file).as_ref()))
}

impl Owner {
    fn of_this(node: &str) -> Self {
        let now = Timestamp::try_from(SystemTime::now()).unwrap_or_default();
        Owner {
            node: node.to_owned(),
            pid: std::process::id(),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            since: format!("{now:.0}"),
        }
    }

    fn write(&self, mut file: &File) -> io::Result<()> {
        file.set_len(0)?;
        file.write_all(format!("{}\n", serde_json::to_string(self)?).as_bytes())
    }

    /// Reads the owner from the file; one that has just started may not have written it yet.
    fn read(file: &File) -> Option<Self> {
        let mut text = String::new();
        file.take(MAX_OWNER).read_to_string(&mut text).ok()?;
        let owner: Self = serde_json::from_str(&text).ok()?;
        let texts = [&owner.node, &owner.host, &owner.since];
        let is_printable = !texts.iter().any(|text| text.contains(char::is_control));
        is_printable.then_some(owner)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Owner { node, pid, host, since } = self;
        write!(f, "the logger '{node}', process {pid} on {host}, since {since}")
    }
}

fn owner_text(owner: Option<&Owner>) -> String {
    owner.map_or_else(|| "another process".into(), Owner::to_string)
}

/// Opens or creates the file. A file that belongs to another user can also be locked.
fn open(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags);
    let open = options.clone().write(true).create(true).truncate(false).open(path);
    let file = match open {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => options.open(path)?,
        outcome => outcome?,
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidFilename, "not a regular file"));
    }
    Ok(file)
}

/// Returns whether the path still names that file.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(other) => Ok((own.dev(), own.ino()) == (other.dev(), other.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns whether the file system has no locks, like network file systems without a lock service
/// and some in user space.
fn has_no_locks(error: &io::Error) -> bool {
    [Errno::NOLCK, Errno::OPNOTSUPP, Errno::NOSYS, Errno::INVAL]
        .iter()
        .any(|errno| files::is(error, *errno))
}

/// Returns whether the disk is full: a logger also starts then, and waits for room.
fn has_no_room(error: &io::Error) -> bool {
    [Errno::NOSPC, Errno::DQUOT].iter().any(|errno| files::is(error, *errno))
}

impl From<LockError> for Failure {
    fn from(error: LockError) -> Self {
        let code = match error {
            LockError::Taken { .. } => ExitCode::Unavailable,
            LockError::Io { .. } => ExitCode::Io,
        };
        Failure::new(code, error)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn one_has_it_at_a_time_and_leaves_no_trace_of_itself() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(owner_of(dir.path()), None);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        for round in 0..2 {
            let lock = DirLock::take(dir.path(), "logger-1").unwrap();
            let owner = owner_of(dir.path()).unwrap();
            let expected = format!("the logger 'logger-1', process {} on ", std::process::id());
            assert!(owner.starts_with(&expected), "{round}: {owner}");
            let Err(error) = DirLock::take(dir.path(), "logger-2") else { panic!("taken twice") };
            assert!(error.to_string().contains(&owner), "{error}");
            assert_eq!(Failure::from(error).code, ExitCode::Unavailable);
            drop(lock);
            assert_eq!(owner_of(dir.path()), None);
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn what_is_in_the_file_does_not_matter() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LOCK);
        for text in ["", "{", "{\"node\":1}", "\0\0"] {
            fs::write(&path, text).unwrap();
            let other = File::open(&path).unwrap();
            other.lock().unwrap();
            assert_eq!(owner_of(dir.path()).as_deref(), Some("another process"));
            assert!(DirLock::take(dir.path(), "logger-1").is_err());
            drop(other);
            let lock = DirLock::take(dir.path(), "logger-1").unwrap();
            assert!(fs::read_to_string(&path).unwrap().starts_with("{\"node\":\"logger-1\""));
            drop(lock);
        }
    }

    #[test]
    fn a_file_of_another_user_can_be_locked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LOCK);
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o444)).unwrap();
        let lock = DirLock::take(dir.path(), "logger-1").unwrap();
        assert!(owner_of(dir.path()).is_some());
        drop(lock);
    }

    #[test]
    fn what_is_no_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LOCK);
        symlink(dir.path().join("elsewhere"), &path).unwrap();
        assert!(matches!(DirLock::take(dir.path(), "logger-1"), Err(LockError::Io { .. })));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(matches!(DirLock::take(dir.path(), "logger-1"), Err(LockError::Io { .. })));
    }

    #[test]
    fn an_owner_that_is_about_to_end_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let lock = DirLock::take(dir.path(), "logger-1").unwrap();
        let path = dir.path().to_owned();
        let (begun, begins) = std::sync::mpsc::channel();
        let second = thread::spawn(move || {
            begun.send(()).unwrap();
            DirLock::take(&path, "logger-1").is_ok()
        });
        begins.recv().unwrap();
        drop(lock);
        assert!(second.join().unwrap());
    }
}
