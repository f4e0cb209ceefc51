//! Small text files that other users may not read, or not change. A file is checked and read as one
//! open file, so it cannot be replaced in between.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// What others may not do with a file.
#[derive(Clone, Copy, Debug)]
pub struct Protection {
    /// The permissions that it must not have.
    mask: u32,
    what: &'static str,
    expected: &'static str,
    fix: &'static str,
}

impl Protection {
    /// Only the owner may read or change it.
    pub const OWNER: Protection =
        Protection { mask: 0o077, what: "read or change it", expected: "0600", fix: "600" };
    /// Only the owner and the group may read or change it.
    pub const GROUP: Protection =
        Protection { mask: 0o007, what: "read or change it", expected: "0640", fix: "o-rwx" };
    /// Anyone may read it, but only the owner and the group may change it.
    pub const READABLE: Protection =
        Protection { mask: 0o002, what: "change it", expected: "0644", fix: "644" };
    /// Its permissions do not matter, only those of its directory.
    pub(super) const NONE: Protection = Protection { mask: 0, what: "", expected: "", fix: "" };
}

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub enum ProtectedFileError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file, or its directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Others may do with it what they must not.
    #[error(
        "{} has mode {mode:04o}, so others may {what}; expected {expected}: chmod {fix} {}",
        path.display(), path.display()
    )]
    Mode {
        /// The file, or its directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// What others may do.
        what: &'static str,
        /// What it should be.
        expected: &'static str,
        /// The argument of chmod.
        fix: &'static str,
    },
}

/// Reads a file of at most `max_size` bytes, in a directory where not every user may replace it.
/// Does not wait for a writer, for example of a pipe.
///
/// # Errors
/// When it cannot be read, is larger or is no regular file, or when others may do with it what the
/// protection forbids.
pub fn read(
    path: &Path,
    max_size: u64,
    protection: Protection,
) -> Result<Zeroizing<String>, ProtectedFileError> {
    let fail = |source| ProtectedFileError::Read { path: path.into(), source };
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let mut file =
        OpenOptions::new().read(true).custom_flags(nonblocking).open(path).map_err(fail)?;
    let metadata = file.metadata().map_err(fail)?;
    let mode = metadata.permissions().mode() & 0o7777;
    let Protection { mask, what, expected, fix } = protection;
    if mode & mask != 0 {
        let path = path.into();
        return Err(ProtectedFileError::Mode { path, mode, what, expected, fix });
    }
    if !metadata.is_file() || metadata.len() > max_size {
        return Err(fail(io::Error::other("expected a regular file of a few lines")));
    }
    check_directory(path)?;
    read_text(&mut file, metadata.len().min(max_size)).map_err(fail)
}

/// Checks that only the owner and group of the directory can replace the file.
fn check_directory(path: &Path) -> Result<(), ProtectedFileError> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let fail = |source| ProtectedFileError::Read { path: dir.into(), source };
    let mode = dir.metadata().map_err(fail)?.permissions().mode() & 0o7777;
    if mode & 0o002 == 0 {
        return Ok(());
    }
    let what = "put other files there";
    Err(ProtectedFileError::Mode {
        path: dir.into(),
        mode,
        what,
        expected: "0755 or less",
        fix: "o-w",
    })
}

fn read_text(file: &mut File, size: u64) -> io::Result<Zeroizing<String>> {
    // Room for all of it: growing would leave copies of secrets behind.
    let mut text = Zeroizing::new(String::with_capacity(size as usize + 1));
    file.take(size).read_to_string(&mut text)?;
    Ok(text)
}
