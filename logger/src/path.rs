//! The file name a producer's path stands for.
//!
//! A path comes off the network, and Zeek writes wherever it points (WIRE.md §4.5). Here it can
//! only ever name a file directly in the log directory: a subfolder would have to exist or be
//! made, on the word of a peer, so `/` is refused altogether. Touches no file system.

use bstr::{BStr, BString, ByteSlice};
use thiserror::Error;

/// Longest path accepted, in bytes. Room is left to the usual 255 of a file name for extensions
/// and the time stamps of rotation.
pub const MAX_PATH: usize = 200;

/// A producer's path that is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PathError {
    /// The path is empty.
    #[error("log path is empty")]
    Empty,
    /// The path is longer than [`MAX_PATH`].
    #[error("log path of {0} bytes, more than {MAX_PATH}")]
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

/// A path that names a file directly in the log directory, without its extension.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogPath(BString);

impl LogPath {
    /// Checks a producer's path.
    ///
    /// # Errors
    ///
    /// When it is empty, longer than [`MAX_PATH`], starts with a dot, or holds `/` or control
    /// characters. Other bytes, UTF-8 or not, are file names on every system Zeek runs on.
    pub fn new(path: &[u8]) -> Result<Self, PathError> {
        let text = || BString::from(path);
        if path.is_empty() {
            return Err(PathError::Empty);
        }
        if path.len() > MAX_PATH {
            return Err(PathError::TooLong(path.len()));
        }
        if path.contains(&b'/') {
            return Err(PathError::Directory(text()));
        }
        if path.starts_with(b".") {
            return Err(PathError::LeadingDot(text()));
        }
        if path.iter().any(u8::is_ascii_control) {
            return Err(PathError::Control(text()));
        }
        Ok(LogPath(text()))
    }

    /// The path itself.
    pub fn as_bstr(&self) -> &BStr {
        self.0.as_bstr()
    }

    /// The name of the file: the path, a dot, and an extension such as `log`.
    pub fn file_name(&self, extension: &str) -> BString {
        let mut name = self.0.clone();
        name.push(b'.');
        name.extend_from_slice(extension.as_bytes());
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_pass() {
        for path in ["conn", "known_certs", "conn-2", "a.b", "grüße", "sp ace", "-x"] {
            assert_eq!(LogPath::new(path.as_bytes()).unwrap().as_bstr(), path);
        }
        assert_eq!(LogPath::new(b"caf\xe9").unwrap().file_name("log"), b"caf\xe9.log".as_bstr());
        assert!(LogPath::new(&[b'x'; MAX_PATH]).is_ok());
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
