//! The file name a producer's path stands for.
//!
//! A path comes off the network (WIRE.md §4.5). It can only ever name a file directly in the log
//! directory: a subfolder would have to exist or be made, on the word of a peer, so `/` is refused
//! altogether. Touches no file system.

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
    /// The path holds `/`: it names a directory.
    #[error("log path {0:?} leaves the log directory or names a subfolder")]
    Directory(BString),
    /// The path starts with a dot: `.`, `..`, or a file that shadow files could be taken for
    /// (WIRE.md §5.9).
    #[error("log path {0:?} starts with a dot")]
    LeadingDot(BString),
    /// The path holds a control character.
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

    /// The name of the file: the path, a dot, and an extension such as `log`. A log may have several
    /// files at a time; those but the first have their number in the name,
    /// `<path>.schema-<number>.<extension>`, which no path can look like.
    pub(crate) fn file_name(&self, number: u32, extension: &str) -> BString {
        let mut name = self.0.clone();
        if number > 1 {
            name.extend_from_slice(NUMBERED);
            name.extend_from_slice(number.to_string().as_bytes());
        }
        name.push(b'.');
        name.extend_from_slice(extension.as_bytes());
        name
    }
}

/// Before the number of a file, where that is not the first of its log.
const NUMBERED: &[u8] = b".schema-";

/// The path in the name of a numbered file, without its extension; `None` for other names.
pub(crate) fn without_number(stem: &[u8]) -> Option<&[u8]> {
    let at = stem.rfind(NUMBERED).filter(|at| *at > 0)?;
    let digits = &stem[at + NUMBERED.len()..];
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_number.then_some(&stem[..at])
}

/// What follows the number in the name of a numbered file, given what follows the path; all of it
/// in other names.
pub(crate) fn after_number(rest: &[u8]) -> &[u8] {
    let Some(numbered) = rest.strip_prefix(NUMBERED) else { return rest };
    let digits = numbered.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 { rest } else { &numbered[digits..] }
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbered_files_are_told_from_paths() {
        let path = LogPath::new(b"conn").unwrap();
        assert_eq!(path.file_name(1, "log"), "conn.log");
        assert_eq!(path.file_name(2, "log.gz"), "conn.schema-2.log.gz");
        assert_eq!(without_number(b"conn.schema-2"), Some(&b"conn"[..]));
        assert_eq!(without_number(b"a.schema-1.schema-12"), Some(&b"a.schema-1"[..]));
        for stem in ["conn", "conn-2", "conn.schema-", "conn.schema-x", ".schema-2", "schema-2"] {
            assert_eq!(without_number(stem.as_bytes()), None, "{stem}");
        }
        assert_eq!(after_number(b".schema-2.log"), b".log");
        assert_eq!(after_number(b".log"), b".log");
        assert_eq!(after_number(b".schema-.log"), b".schema-.log");
    }

    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_names_pass() {
        for path in ["conn", "known_certs", "conn-2", "a.b", "grüße", "sp ace", "-x"] {
            assert_eq!(LogPath::new(path.as_bytes()).unwrap().as_bstr(), path);
        }
        assert_eq!(LogPath::new(b"caf\xe9").unwrap().file_name(1, "log"), b"caf\xe9.log".as_bstr());
        assert!(LogPath::new(&[b'x'; MAX_PATH]).is_ok());
    }

    #[test]
    fn what_is_refused_says_why() {
        for (path, error) in [
            (&b""[..], "log path is empty"),
            (&[b'x'; MAX_PATH + 1], "log path of 201 bytes, more than 200"),
            (b"./x", r#"log path "./x" leaves the log directory or names a subfolder"#),
            (b".hidden", r#"log path ".hidden" starts with a dot"#),
            (b"new\nline", r#"log path "new\nline" holds a control character"#),
        ] {
            assert_eq!(LogPath::new(path).unwrap_err().to_string(), error);
        }
    }

    /// The bytes that decide, more often than by chance.
    fn some_bytes() -> impl Strategy<Value = Vec<u8>> {
        vec(prop_oneof![Just(b'.'), Just(b'/'), any::<u8>()], 0..8)
    }

    proptest! {
        #[test]
        fn a_path_is_one_name_in_the_directory(path in some_bytes()) {
            let directory = Path::new("logs");
            if let Ok(path) = LogPath::new(&path) {
                let name = path.file_name(1, "log");
                let file = directory.join(OsStr::from_bytes(&name));
                prop_assert_eq!(file.parent(), Some(directory));
                prop_assert_eq!(file.file_name(), Some(OsStr::from_bytes(&name)));
                prop_assert!(!name.iter().any(u8::is_ascii_control));
            }
        }

        #[test]
        fn a_slash_is_refused_wherever_it_stands(before in some_bytes(), after in some_bytes()) {
            let path = [&before[..], b"/", &after].concat();
            prop_assert_eq!(LogPath::new(&path), Err(PathError::Directory(path.into())));
        }

        #[test]
        fn a_leading_dot_is_refused_whatever_follows(rest in some_bytes()) {
            prop_assert!(LogPath::new(&[b".", &rest[..]].concat()).is_err());
        }
    }
}
