//! The file name a producer's path stands for.
//!
//! A path comes off the network, and Zeek writes wherever it points (WIRE.md §4.5). Here it can
//! only ever name a file directly in the log directory: a subfolder would have to exist or be
//! made, on the word of a peer, so `/` is refused altogether. What else shells, shippers or JSON
//! could stumble over is [escaped](zcluster::file_name). Touches no file system.

use bstr::{BStr, BString, ByteSlice};
use thiserror::Error;
use zcluster::file_name::{escape, unescape};

/// Longest path accepted, in bytes of its text. Room is left to the usual 255 of a file name for
/// extensions and the time stamps of rotation.
pub const MAX_PATH: usize = 200;

/// A producer's path that is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PathError {
    /// The path is empty.
    #[error("log path is empty")]
    Empty,
    /// The text of the path is longer than [`MAX_PATH`].
    #[error("log path has {0} bytes in a file name, more than {MAX_PATH}")]
    TooLong(usize),
    /// The path holds `/`: an absolute path, or one that names another directory.
    #[error("log path {0:?} leaves the log directory or names a subfolder")]
    Directory(BString),
    /// The path starts with a dot: `.`, `..`, or a file that shadow files could be taken for
    /// (WIRE.md §5.9).
    #[error("log path {0:?} starts with a dot")]
    LeadingDot(BString),
    /// The path holds a NUL or another control character.
    #[error("log path {0:?} holds a control character")]
    Control(BString),
}

/// A path that names a file directly in the log directory.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogPath {
    path: BString,
    text: String,
}

impl LogPath {
    /// Checks a producer's path.
    ///
    /// # Errors
    ///
    /// When it is empty, starts with a dot, holds `/` or control characters, or is longer than
    /// [`MAX_PATH`] as text. Other bytes, UTF-8 or not, are file names on every system Zeek runs on.
    pub fn new(path: &[u8]) -> Result<Self, PathError> {
        let bytes = || BString::from(path);
        if path.is_empty() {
            return Err(PathError::Empty);
        }
        // Before anything is made of it: its text is no shorter.
        if path.len() > MAX_PATH {
            return Err(PathError::TooLong(path.len()));
        }
        if path.contains(&b'/') {
            return Err(PathError::Directory(bytes()));
        }
        if path.starts_with(b".") {
            return Err(PathError::LeadingDot(bytes()));
        }
        if path.iter().any(u8::is_ascii_control) {
            return Err(PathError::Control(bytes()));
        }
        let text = escape(path);
        if text.len() > MAX_PATH {
            return Err(PathError::TooLong(text.len()));
        }
        Ok(LogPath { path: bytes(), text })
    }

    /// The path of a file that is there, out of its name without extensions. Whoever wrote it may
    /// have escaped nothing (Zeek does not) and accepted more than we do. `None` where the name is
    /// empty or starts with a dot: such files are no logs.
    pub fn of_file(name: &[u8]) -> Option<Self> {
        if name.is_empty() || name.starts_with(b".") {
            return None;
        }
        let path = unescape(name).unwrap_or_else(|| name.to_vec());
        Some(LogPath { text: escape(&path), path: path.into() })
    }

    /// The path itself, as the producer has it.
    pub fn as_bstr(&self) -> &BStr {
        self.path.as_bstr()
    }

    /// What it is called in names of files, in `rotated.ndjson` and in labels.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The name of the file: the path's text, a dot, and an extension such as `log`.
    pub fn file_name(&self, extension: &str) -> BString {
        format!("{}.{extension}", self.text).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_pass() {
        for path in ["conn", "known_certs", "conn-2", "a.b", "grüße", "sp ace"] {
            let log = LogPath::new(path.as_bytes()).unwrap();
            assert_eq!((log.as_bstr().to_str(), log.text()), (Ok(path), path));
            assert_eq!(log.file_name("log"), format!("{path}.log"));
        }
        assert!(LogPath::new(&[b'x'; MAX_PATH]).is_ok());
    }

    #[test]
    fn odd_names_are_escaped() {
        for (path, name) in [
            (&b"caf\xe9"[..], "caf%E9.log"),
            (br"we\ird", "we%5Cird.log"),
            (b"we%5Cird", "we%255Cird.log"),
            (b"-x", "%2Dx.log"),
        ] {
            let log = LogPath::new(path).unwrap();
            assert_eq!((log.as_bstr(), log.file_name("log")), (path.as_bstr(), name.into()));
        }
        assert_eq!(LogPath::new(&[0xff; 66]).unwrap().text().len(), 198);
        assert_eq!(LogPath::new(&[0xff; 67]), Err(PathError::TooLong(201)));
    }

    #[test]
    fn files_that_are_there_have_a_path_whatever_they_are_called() {
        let long = [b'x'; 250];
        for (name, path) in [
            (&b"conn"[..], &b"conn"[..]),
            (b"we%5Cird", br"we\ird"),
            // Not of ours: nothing was escaped.
            (br"we\ird", br"we\ird"),
            (b"caf\xe9", b"caf\xe9"),
            (b"100%", b"100%"),
            (b"-x", b"-x"),
            (b"two\nlines", b"two\nlines"),
            (&long, &long),
        ] {
            let log = LogPath::of_file(name).unwrap();
            assert_eq!((log.as_bstr(), log.text()), (path.as_bstr(), &*escape(path)));
        }
        for name in ["", ".", ".shadow.conn"] {
            assert_eq!(LogPath::of_file(name.as_bytes()), None);
        }
    }

    #[test]
    fn whatever_could_leave_the_directory_is_refused() {
        for path in ["/etc/passwd", "/dev/stdout", "../x", "a/../../x", "sub/conn", "a/", "/"] {
            assert!(
                matches!(LogPath::new(path.as_bytes()), Err(PathError::Directory(_))),
                "{path}"
            );
        }
        for path in [".", "..", ".shadow.conn", ".hidden"] {
            assert!(
                matches!(LogPath::new(path.as_bytes()), Err(PathError::LeadingDot(_))),
                "{path}"
            );
        }
        for path in ["nul\0", "\nx", "x\x7f"] {
            assert!(
                matches!(LogPath::new(path.as_bytes()), Err(PathError::Control(_))),
                "{path:?}"
            );
        }
        assert_eq!(LogPath::new(b""), Err(PathError::Empty));
        assert_eq!(LogPath::new(&[b'x'; 201]), Err(PathError::TooLong(201)));
        assert_eq!(
            LogPath::new(b"../x").unwrap_err().to_string(),
            r#"log path "../x" leaves the log directory or names a subfolder"#
        );
    }
}
