//! File operations that never overwrite, and the identity of files.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// Identifies a file after it was renamed: a rename changes neither member.
///
/// Device numbers are not included. They may change when the system restarts, and the file is only
/// looked for in one directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileId {
    inode: u64,
    size: u64,
}

impl FileId {
    pub(crate) fn new(metadata: &Metadata) -> Self {
        FileId { inode: metadata.ino(), size: metadata.size() }
    }

    /// Returns whether `path` is this regular file; `false` if nothing is there.
    pub(crate) fn is_at(self, path: &Path) -> io::Result<bool> {
        let metadata = look_at(path)?;
        Ok(metadata.is_some_and(|metadata| metadata.is_file() && Self::new(&metadata) == self))
    }
}

/// Returns the metadata of `path` without following a symbolic link; `None` if nothing is there.
pub(crate) fn look_at(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Renames if the new name is free; otherwise fails with `AlreadyExists`.
pub(crate) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some network and FUSE file systems do not support the flag.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => link_and_unlink(from, to),
        outcome => Ok(outcome?),
    }
}

/// Renames so that the file always has a name: a process killed in between leaves two names of one
/// file.
fn link_and_unlink(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)?;
    fs::remove_file(from).inspect_err(|_| {
        // Back to one name. If that fails too, the next start finds one file with two names.
        let _ = fs::remove_file(to);
    })
}

/// Removes a file; not an error if it does not exist.
pub(crate) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if is_absent(&error) => Ok(()),
        outcome => outcome,
    }
}

/// Opens a regular file for reading; `None` if `path` is not one.
pub(crate) fn open_regular(path: &Path) -> io::Result<Option<(File, Metadata)>> {
    // A FIFO in place of the file would block forever.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let file = match fs::OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if is_absent(&error) || is(&error, Errno::LOOP) || is(&error, Errno::NXIO) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    Ok(metadata.is_file().then_some((file, metadata)))
}

/// Creates a file that must not exist.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    fs::OpenOptions::new().write(true).create_new(true).open(path)
}

/// Replaces a small file atomically, through `temporary` in the same directory.
pub(crate) fn replace(path: &Path, temporary: &Path, text: &[u8], sync: bool) -> io::Result<()> {
    remove_if_there(temporary)?;
    let write = || {
        let mut file = create_new(temporary)?;
        file.write_all(text)?;
        if sync {
            file.sync_data()?;
        }
        fs::rename(temporary, path)
    };
    let outcome = write();
    if outcome.is_err() {
        let _ = remove_if_there(temporary);
    }
    outcome
}

/// Creates a directory. Creates its parents only if `parents` says so: a missing one may be a disk
/// that is not mounted, and a directory in its place would fill another disk.
///
/// # Errors
/// If it cannot be created; `NotFound` if a parent is missing.
pub(crate) fn make_dir(dir: &Path, parents: bool) -> io::Result<()> {
    if parents {
        return fs::create_dir_all(dir);
    }
    match fs::create_dir(dir) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        outcome => outcome,
    }
}

/// The topmost directory above a path that is not there.
pub(crate) fn missing_above(path: &Path) -> Option<&Path> {
    let above = path.ancestors().skip(1).filter(|dir| !dir.as_os_str().is_empty());
    above.take_while(|dir| matches!(fs::metadata(dir), Err(error) if is_absent(&error))).last()
}

/// Syncs the names in a directory to disk.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    match File::open(dir)?.sync_all() {
        // Some file systems cannot sync directories.
        Err(error) if is(&error, Errno::INVAL) => Ok(()),
        outcome => outcome,
    }
}

/// Returns `path` with `end` appended to its name.
pub(crate) fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(end);
    name.into()
}

/// Returns the last component of a path as bytes.
pub(crate) fn name_of(path: &Path) -> &[u8] {
    path.file_name().unwrap_or_default().as_bytes()
}

/// The last part of a path.
pub(crate) fn os_name(path: &Path) -> &OsStr {
    path.file_name().unwrap_or_default()
}

/// Returns whether an error has this system error number.
pub(crate) fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        for rename in [rename_new, link_and_unlink] {
            fs::write(&a, "a").unwrap();
            fs::write(&b, "b").unwrap();
            assert_eq!(rename(&a, &b).unwrap_err().kind(), ErrorKind::AlreadyExists);
            assert_eq!(fs::read_to_string(&b).unwrap(), "b");
            fs::remove_file(&b).unwrap();
            let id = FileId::new(&fs::metadata(&a).unwrap());
            rename(&a, &b).unwrap();
            assert_eq!((id.is_at(&a).unwrap(), id.is_at(&b).unwrap()), (false, true));
            fs::remove_file(&b).unwrap();
        }
    }

    #[test]
    fn only_the_last_directory_is_made_unless_asked() {
        let dir = tempfile::tempdir().unwrap();
        let (one, deep) = (dir.path().join("one"), dir.path().join("a/b/c"));
        for _ in 0..2 {
            make_dir(&one, false).unwrap();
            assert_eq!(make_dir(&deep, false).unwrap_err().kind(), ErrorKind::NotFound);
            assert_eq!(missing_above(&deep), Some(&*dir.path().join("a")));
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        make_dir(&deep, true).unwrap();
        make_dir(&deep, false).unwrap();
        assert_eq!((missing_above(&deep), missing_above(Path::new("logs"))), (None, None));
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(make_dir(&dir.path().join("file"), false).is_err());
    }

    #[test]
    fn only_regular_files_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("file"), "").unwrap();
        std::os::unix::fs::symlink(path("file"), path("link")).unwrap();
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::mknodat(CWD, path("fifo"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(open_regular(&path("file")).unwrap().is_some());
        for name in ["link", "fifo", ".", "missing", "file/x"] {
            assert!(open_regular(&path(name)).unwrap().is_none(), "{name}");
        }
    }

    #[test]
    fn replacing_leaves_no_temporary() {
        let dir = tempfile::tempdir().unwrap();
        let (path, temporary) = (dir.path().join("a"), dir.path().join("a.tmp"));
        fs::write(&temporary, "left by a crash").unwrap();
        for sync in [false, true] {
            replace(&path, &temporary, b"text", sync).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), "text");
            assert!(!temporary.exists());
        }
        assert!(replace(&dir.path().join("x/y"), &temporary, b"text", false).is_err());
        assert!(!temporary.exists());
    }
}
