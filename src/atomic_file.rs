//! Writes small files atomically: to a temporary file next to the target, which is synced and then
//! renamed. A crash leaves the old file or the new one, and readers always see one of them.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::{Builder, NamedTempFile};

/// Writes a file that must not exist yet. The umask may clear bits of `mode`.
///
/// # Errors
/// If it exists or cannot be written.
pub fn create(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    let new = beside(path, mode, content)?;
    new.persist_noclobber(path).map_err(|error| error.error)?;
    sync_directory(path)
}

/// Writes a file, replacing an existing one, whose permissions and owner it keeps. Otherwise `mode`
/// applies, as in [`create`]. If `path` is a symbolic link, its target is replaced.
///
/// # Errors
/// If it cannot be written, or cannot be given to the owner of the old one.
pub fn replace(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    let (path, new) = match fs::canonicalize(path) {
        Ok(path) => {
            let old = path.metadata()?;
            let new = beside(&path, 0o600, content)?;
            let made = new.as_file().metadata()?;
            // Daemons may run as a different user than whoever edits their files.
            if (made.uid(), made.gid()) != (old.uid(), old.gid()) {
                fchown(new.as_file(), Some(old.uid()), Some(old.gid()))?;
            }
            let permissions = Permissions::from_mode(old.permissions().mode() & 0o7777);
            new.as_file().set_permissions(permissions)?;
            (path, new)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            (path.to_owned(), beside(path, mode, content)?)
        }
        Err(error) => return Err(error),
    };
    new.persist(&path).map_err(|error| error.error)?;
    sync_directory(&path)
}

/// Removes a file durably.
///
/// # Errors
/// If it does not exist or cannot be removed.
pub fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)?;
    sync_directory(path)
}

/// What the names begin with that nobody looks at.
const PREFIX: &str = ".zcluster-";
/// The characters behind that.
const RANDOM: usize = 6;
/// Writing takes a moment: a file that is so old was left by a process that was killed.
const LEFT_OVER: Duration = Duration::from_secs(3600);

/// Writes the content to a temporary file, which is deleted when the returned value is dropped.
fn beside(path: &Path, mode: u32, content: &[u8]) -> io::Result<NamedTempFile> {
    remove_leftovers(&directory(path));
    let mut new = Builder::new()
        .prefix(PREFIX)
        .rand_bytes(RANDOM)
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(directory(path))?;
    new.write_all(content)?;
    new.as_file().sync_all()?;
    Ok(new)
}

/// Removes what killed processes left there half written: it may be a secret. What cannot be removed is in
/// nobody's way.
fn remove_leftovers(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let random = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let is_ours = random.is_some_and(|random| {
            random.len() == RANDOM && random.bytes().all(|byte| byte.is_ascii_alphanumeric())
        });
        // Of the entry itself, not of what it may lead to.
        let age = entry.metadata().ok().filter(|metadata| is_ours && metadata.is_file());
        let age = age.and_then(|metadata| metadata.modified().ok()?.elapsed().ok());
        if age.is_some_and(|age| age > LEFT_OVER) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Syncs the directory: only then is a new or removed name on disk.
fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory(path))?.sync_all()
}

fn directory(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_new_file_takes_nobodys_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        create(&path, 0o600, b"one").unwrap();
        assert_eq!((fs::read(&path).unwrap().as_slice(), mode(&path)), (&b"one"[..], 0o600));
        let error = create(&path, 0o600, b"two").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
        remove(&path).unwrap();
        assert_eq!(remove(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_a_killed_process_left_goes_with_the_next_file() {
        let dir = tempfile::tempdir().unwrap();
        let old = std::time::SystemTime::now() - 2 * LEFT_OVER;
        for (name, time) in [
            (".zcluster-aB3dE6", Some(old)),
            (".zcluster-aB3dE7", None),
            (".zcluster-notes1.txt", Some(old)),
            (".zcluster-ab.d-6", Some(old)),
            ("zcluster-aB3dE6", Some(old)),
        ] {
            let file = File::create(dir.path().join(name)).unwrap();
            file.set_modified(time.unwrap_or_else(std::time::SystemTime::now)).unwrap();
        }
        create(&dir.path().join("a"), 0o600, b"one").unwrap();
        assert!(!dir.path().join(".zcluster-aB3dE6").exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 5, "all others, and the new one");
    }

    #[test]
    fn what_takes_a_place_keeps_its_permissions() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("a"), dir.path().join("link"));
        replace(&path, 0o600, b"one").unwrap();
        assert_eq!(mode(&path), 0o600);
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("a", &link).unwrap();
        replace(&link, 0o600, b"two").unwrap();
        assert_eq!((fs::read(&path).unwrap().as_slice(), mode(&path)), (&b"two"[..], 0o640));
        assert!(link.is_symlink());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing is left beside it");
    }
}
