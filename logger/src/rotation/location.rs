//! The location of a file as text, for readers of `rotated.ndjson`.

use std::path::{Path, PathBuf};

use super::json_bytes;

/// Returns the absolute path of a file or, if a directory in it is not UTF-8, which JSON does not
/// allow, the path relative to the log directory.
pub(crate) fn location(file: &Path, log_dir: &Path) -> String {
    if let Some(text) = file.to_str() {
        return text.to_owned();
    }
    match relative(file, log_dir).as_deref().and_then(Path::to_str) {
        Some(text) => text.to_owned(),
        // Not UTF-8 below the common directory: the encoded text at least loses nothing.
        None => json_bytes::encode(file.as_os_str().as_encoded_bytes()),
    }
}

/// Returns `./…` or `./../…`, or `None` if a directory does not exist.
fn relative(file: &Path, from: &Path) -> Option<PathBuf> {
    // `..` is the parent of a symbolic link's target, not of the link.
    let from = from.canonicalize().ok()?;
    let dir = file.parent()?.canonicalize().ok()?;
    let common = dir.components().zip(from.components()).take_while(|(a, b)| a == b).count();
    let mut relative = PathBuf::from(".");
    relative.extend(from.components().skip(common).map(|_| ".."));
    relative.extend(dir.components().skip(common));
    Some(relative.join(file.file_name()?))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn text_is_absolute() {
        for file in ["/logs/conn.log", "/we\\ird/\"conn\"\n.log", "/\u{f00e9}/x.log"] {
            assert_eq!(location(Path::new(file), Path::new("/logs")), file);
        }
    }

    #[test]
    fn what_is_no_text_is_found_from_the_log_directory() {
        let outer = tempfile::tempdir().unwrap();
        let base = outer.path().join(OsStr::from_bytes(b"caf\xe9"));
        let log_dir = base.join("logs/logger-1");
        fs::create_dir_all(&log_dir).unwrap();
        fs::create_dir_all(base.join("far/rotated")).unwrap();
        fs::create_dir_all(log_dir.join("-x")).unwrap();
        std::os::unix::fs::symlink(base.join("far/rotated"), base.join("link")).unwrap();
        for (dir, expected) in [
            ("logs/logger-1", "./a.log"),
            ("logs/logger-1/-x", "./-x/a.log"),
            ("far/rotated", "./../../far/rotated/a.log"),
            ("link", "./../../far/rotated/a.log"),
        ] {
            let file = base.join(dir).join("a.log");
            fs::write(&file, dir).unwrap();
            let text = location(&file, &log_dir);
            assert_eq!(text, expected);
            assert_eq!(fs::read_to_string(log_dir.join(text)).unwrap(), dir);
        }
        let other = outer.path().join(OsStr::from_bytes(b"\xff"));
        fs::create_dir(&other).unwrap();
        assert!(location(&other.join("a.log"), &log_dir).ends_with("\u{f00ff}/a.log"));
    }
}
