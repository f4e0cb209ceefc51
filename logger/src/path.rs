//! The file name for a producer's path.
//!
//! A path comes from the network (WIRE.md §4.5). It can only name a file directly in the log
//! directory: a peer must not cause subdirectories to be created, so `/` is refused. Other bytes
//! that cause trouble in shells, shippers or JSON are [escaped](zcluster::file_name). Does not
//! access the file system.

use bstr::{BStr, BString, ByteSlice};
use thiserror::Error;
use zcluster::file_name::{escape, unescape};

/// Longest accepted path, in bytes of its text. The rest of the usual 255 for a file name is for
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
    /// The path contains `/`: it names a directory.
    #[error("log path {0:?} leaves the log directory or names a subfolder")]
    Directory(BString),
    /// The path starts with a dot: `.`, `..`, or a name that could be mistaken for a shadow file
    /// (WIRE.md §5.9).
    #[error("log path {0:?} starts with a dot")]
    LeadingDot(BString),
    /// The path contains a control character.
    #[error("log path {0:?} contains a control character")]
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
    /// If it is empty, starts with a dot, contains `/` or control characters, or is longer than
    /// [`MAX_PATH`] as text. Other bytes, UTF-8 or not, are valid in file names on every system
    /// Zeek runs on.
    pub fn new(path: &[u8]) -> Result<Self, PathError> {
        let bytes = || BString::from(path);
        if path.is_empty() {
            return Err(PathError::Empty);
        }
        // Checked before copying: the text is never shorter.
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

    /// Returns the path of an existing file from its name without extensions. Another program may
    /// have written it without escapes (as Zeek does) or under a name that is refused here. `None`
    /// if the name is empty or starts with a dot: such files are not logs.
    pub fn of_file(name: &[u8]) -> Option<Self> {
        if name.is_empty() || name.starts_with(b".") {
            return None;
        }
        let path = unescape(name).unwrap_or_else(|| name.to_vec());
        Some(LogPath { text: escape(&path), path: path.into() })
    }

    /// The path as the producer sent it.
    pub fn as_bstr(&self) -> &BStr {
        self.path.as_bstr()
    }

    /// The path as it appears in file names, in `rotated.ndjson` and in labels.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The name of the file: the path's text, a dot, and an extension such as `log`. A log may have
    /// several files at a time; all but the first have their number in the name,
    /// `<path>.schema-<number>.<extension>`, which no path can have.
    pub(crate) fn file_name(&self, number: u32, extension: &str) -> BString {
        let text = &self.text;
        match number {
            0 | 1 => format!("{text}.{extension}").into(),
            number => format!("{text}{NUMBERED}{number}.{extension}").into(),
        }
    }
}

/// Precedes the number of a file that is not the first of its log.
const NUMBERED: &str = ".schema-";

/// Returns the path from the name of a numbered file, without its extension; `None` for other
/// names.
pub(crate) fn without_number(stem: &[u8]) -> Option<&[u8]> {
    let at = stem.rfind(NUMBERED).filter(|at| *at > 0)?;
    let digits = &stem[at + NUMBERED.len()..];
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_number.then_some(&stem[..at])
}

/// Returns the rest after the number in the name of a numbered file, given the rest after the path;
/// other names are returned unchanged.
pub(crate) fn after_number(rest: &[u8]) -> &[u8] {
    let Some(numbered) = rest.strip_prefix(NUMBERED.as_bytes()) else { return rest };
    let digits = numbered.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 { rest } else { &numbered[digits..] }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

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

    #[test]
    fn plain_names_pass() {
        for path in ["conn", "known_certs", "conn-2", "a.b", "grüße", "sp ace"] {
            let log = LogPath::new(path.as_bytes()).unwrap();
            assert_eq!((log.as_bstr().to_str(), log.text()), (Ok(path), path));
            assert_eq!(log.file_name(1, "log"), format!("{path}.log"));
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
            assert_eq!((log.as_bstr(), log.file_name(1, "log")), (path.as_bstr(), name.into()));
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
            // Written by another program: not escaped.
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
    fn what_is_refused_says_why() {
        for (path, error) in [
            (&b""[..], "log path is empty"),
            (&[b'x'; MAX_PATH + 1], "log path has 201 bytes in a file name, more than 200"),
            (b"./x", r#"log path "./x" leaves the log directory or names a subfolder"#),
            (b".hidden", r#"log path ".hidden" starts with a dot"#),
            (b"new\nline", r#"log path "new\nline" contains a control character"#),
        ] {
            assert_eq!(LogPath::new(path).unwrap_err().to_string(), error);
        }
    }

    /// Bytes that matter, more often than by chance.
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
