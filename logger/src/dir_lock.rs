//! [`DirLock`]: a log directory has one owner at a time.
//!
//! The lock is on the file [`LOCK`] in the directory, and dies with the process, however that ends.
//! What is in the file says whose it is. An owner that ends in good order removes it; one that a killed
//! process has left means nothing. Programs that the process starts do not inherit it.

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

/// The file in the log directory.
pub(crate) const LOCK: &str = ".lock";
/// How long a lock is asked for: a process that was killed may be about to go, and `--check` holds
/// it for a moment.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(20);
/// Bytes that are read of the file.
const MAX_OWNER: u64 = 4096;

/// The directory is ours as long as this lives.
#[derive(Debug)]
pub(crate) struct DirLock {
    path: PathBuf,
    /// `None` where the file system has no locks.
    file: Option<File>,
}

impl Drop for DirLock {
    fn drop(&mut self) {
        // While it is ours: whoever waits for it finds that the name stands for nothing any more.
        if let Some(file) = &self.file
            && is_at(file, &self.path).unwrap_or(false)
        {
            let _ = files::remove_if_there(&self.path);
        }
    }
}

/// Who holds a lock, as the file says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Owner {
    node: String,
    pid: u32,
    /// Process ids are those of the owner's host or container.
    host: String,
    since: String,
}

/// Why a directory is not ours.
#[derive(Debug, Error)]
pub(crate) enum LockError {
    /// Another process has it.
    #[error(
        "the log directory {} is in use by {}; it was left untouched: stop that process, or give this \
         one another `dir` or node",
        dir.display(),
        owner_text(owner.as_ref())
    )]
    Taken {
        /// The directory.
        dir: PathBuf,
        /// Who has it, where that can be read.
        owner: Option<Owner>,
    },
    /// The file cannot be made, opened or locked.
    #[error("cannot lock the log directory: {}: {source}", file.display())]
    Io {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl DirLock {
    /// Takes the directory, which is there, for that node. Waits a moment for an owner that is about
    /// to end. Goes on without a lock, and says so, where the file system has none or no room for
    /// its file.
    ///
    /// # Errors
    /// When another process has it, or the file cannot be opened.
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
                // Whoever has replaced the file has not locked this one.
                Ok(()) if !is_at(&file, &path).map_err(failed)? => {}
                Ok(()) => {
                    // A full disk is no reason to say nothing else: the lock holds.
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
            "cannot lock {}: {error}; going on without: see to it that no other logger uses this \
             directory",
            path.display()
        );
        DirLock { path: path.to_owned(), file: None }
    }
}

/// Who has that directory at the moment, in words. Makes no file, and takes the lock for no longer
/// than it takes to let go of it.
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

    /// What the file says; an owner that has just begun has not written yet.
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

/// Opens the file, and makes it where it is not there. One of another user can be locked, too.
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

/// Whether the path still names that file.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(other) => Ok((own.dev(), own.ino()) == (other.dev(), other.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Network file systems without a lock service, and some in user space.
fn has_no_locks(error: &io::Error) -> bool {
    [Errno::NOLCK, Errno::OPNOTSUPP, Errno::NOSYS, Errno::INVAL]
        .iter()
        .any(|errno| files::is(error, *errno))
}

/// A logger starts on a full disk, too, and waits for room.
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
