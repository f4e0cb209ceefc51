//! Zeek's `.shadow.` files, which describe how to rotate a leftover log (WIRE.md §5.9).

use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bstr::{BString, ByteSlice};

use crate::files;

/// The prefix of shadow files.
pub(crate) const PREFIX: &[u8] = b".shadow.";
/// The prefix of shadow files that were being written.
pub(crate) const TEMPORARY_PREFIX: &[u8] = b".tmp.shadow.";
/// Real shadow files are two short lines.
const MAX_SHADOW: u64 = 4 << 10;

/// The contents of a shadow file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shadow {
    /// Extension of the rotated file, without its first dot; `None` if the file has none.
    pub(crate) extension: Option<BString>,
    /// The name of a Zeek function that would run for the file.
    pub(crate) postprocessor: Option<BString>,
    /// When the log was opened.
    pub(crate) open: SystemTime,
}

impl Shadow {
    /// Reads a shadow file; `None` if it is not an existing regular file.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn read(file: &Path) -> io::Result<Option<Self>> {
        let Some((opened, metadata)) = files::open_regular(file)? else { return Ok(None) };
        let mut text = Vec::new();
        opened.take(MAX_SHADOW).read_to_end(&mut text)?;
        let shadow = Shadow::parse(&text, changed(&metadata));
        if shadow.extension.is_none() {
            log::warn!("{} does not have two lines; using the defaults", file.display());
        }
        Ok(Some(shadow))
    }

    fn parse(text: &[u8], open: SystemTime) -> Self {
        let mut lines = text.lines();
        let (Some(extension), Some(postprocessor)) = (lines.next(), lines.next()) else {
            return Shadow { extension: None, postprocessor: None, open };
        };
        // Ignores text that cannot be the end of a file name.
        let extension = extension
            .strip_prefix(b".")
            .filter(|extension| !extension.is_empty() && extension.len() <= 32)
            .filter(|extension| !extension.iter().any(|b| *b == b'/' || b.is_ascii_control()));
        Shadow {
            extension: extension.map(BString::from),
            postprocessor: (!postprocessor.is_empty()).then(|| postprocessor.into()),
            open,
        }
    }
}

/// Returns the time of the last change of the file or its attributes.
fn changed(metadata: &Metadata) -> SystemTime {
    let (seconds, nanoseconds) = (metadata.ctime(), metadata.ctime_nsec());
    let time = u64::try_from(seconds).ok().zip(u32::try_from(nanoseconds).ok());
    time.and_then(|(s, ns)| SystemTime::UNIX_EPOCH.checked_add(Duration::new(s, ns)))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Lists the shadow files in a directory, each with the name of its log. Removes those that Zeek
/// did not finish writing.
///
/// # Errors
/// If the directory cannot be read.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<(PathBuf, BString)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let bytes = name.as_encoded_bytes();
        if bytes.starts_with(TEMPORARY_PREFIX) {
            let file = dir.join(&name);
            log::info!("removing {}, which was never finished", file.display());
            files::remove_if_there(&file)?;
        } else if let Some(log) = bytes.strip_prefix(PREFIX).filter(|log| !log.is_empty()) {
            found.push((dir.join(&name), log.into()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shadow_files_say_two_things() {
        let open = SystemTime::UNIX_EPOCH;
        for (text, extension, postprocessor) in [
            (".log\nMy::func\n", Some("log"), Some("My::func")),
            (".log.gz\n\n", Some("log.gz"), None),
            (".log\n", None, None),
            ("", None, None),
            (".log\nMy::func", Some("log"), Some("My::func")),
            ("log\nx\n", None, Some("x")),
            ("./../x\nx\n", None, Some("x")),
        ] {
            let expected = Shadow {
                extension: extension.map(BString::from),
                postprocessor: postprocessor.map(BString::from),
                open,
            };
            assert_eq!(Shadow::parse(text.as_bytes(), open), expected, "{text:?}");
        }
    }
}
