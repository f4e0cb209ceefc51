//! One log file: opened for the first record, written in large pieces, closed with its footer.
//!
//! A predecessor's file of that name is renamed, never truncated. A write that fails half way is
//! continued where it stopped: no line is lost, doubled or torn while the process lives.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use bstr::ByteSlice;
use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::clock;
use crate::path::LogPath;

/// A file and the text that is not in it yet.
pub(crate) struct LogFile {
    target: PathBuf,
    file: Option<File>,
    /// Has been open before: reopened in append mode.
    begun: bool,
    /// Whether what is in the file ends in the middle of a line.
    mid_line: bool,
    pub(crate) buffer: Vec<u8>,
    /// Since when the buffer is not empty.
    pub(crate) unwritten_since: Option<Instant>,
    /// When it was last used; the least recently used is closed when there are too many.
    pub(crate) last_used: u64,
}

impl LogFile {
    /// The file of that path; nothing is opened yet.
    pub(crate) fn new(dir: &Path, path: &LogPath, extension: &str) -> Self {
        let name = path.file_name(extension);
        LogFile {
            target: dir.join(name.to_path_lossy()),
            file: None,
            begun: false,
            mid_line: false,
            buffer: Vec::new(),
            unwritten_since: None,
            last_used: 0,
        }
    }

    /// Where it is.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Whether a descriptor is in use.
    pub(crate) fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Gives the descriptor back; the next write opens the file again.
    pub(crate) fn release(&mut self) {
        self.file = None;
    }

    /// Writes the buffer and returns the number of bytes. After an error the buffer holds exactly
    /// what is not in the file.
    pub(crate) fn write_out(&mut self) -> io::Result<usize> {
        let mut written = 0;
        let outcome = self.write_from(&mut written);
        self.buffer.drain(..written);
        if self.buffer.is_empty() {
            self.unwritten_since = None;
        }
        outcome.map(|()| written)
    }

    /// Throws the buffer away.
    pub(crate) fn discard(&mut self) {
        self.buffer.clear();
        self.unwritten_since = None;
    }

    /// Whether text that is now put into an empty buffer would continue a torn line.
    pub(crate) fn is_mid_line(&self) -> bool {
        self.mid_line && self.buffer.is_empty()
    }

    fn write_from(&mut self, written: &mut usize) -> io::Result<()> {
        while *written < self.buffer.len() {
            let file = match &mut self.file {
                Some(file) => file,
                closed => closed.insert(open(&self.target, self.begun)?),
            };
            self.begun = true;
            match file.write(&self.buffer[*written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    *written += count;
                    self.mid_line = self.buffer[*written - 1] != b'\n';
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    // Perhaps the directory was replaced under us: open anew next time.
                    self.file = None;
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

fn open(target: &Path, begun: bool) -> io::Result<File> {
    if !begun {
        set_aside(target)?;
    }
    // A FIFO that nobody reads would block for ever.
    let flags = OFlags::NONBLOCK.bits() as i32;
    let file = match OpenOptions::new().create(true).append(true).custom_flags(flags).open(target) {
        Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {
            return Err(not_a_regular_file());
        }
        outcome => outcome?,
    };
    if !file.metadata()?.is_file() {
        return Err(not_a_regular_file());
    }
    Ok(file)
}

fn not_a_regular_file() -> io::Error {
    io::Error::new(ErrorKind::InvalidFilename, "not a regular file")
}

/// Renames a file that a predecessor left to the name Zeek's rotation would give it.
fn set_aside(target: &Path) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(target) {
        Ok(metadata) if metadata.is_file() && metadata.len() > 0 => metadata,
        // Nothing there, nothing in it, or nothing of ours (a FIFO, say).
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let modified = metadata.modified().map_or_else(|_| clock::now_text(), clock::text);
    let stem = target.file_stem().unwrap_or_default().to_string_lossy();
    let extension = target.extension().unwrap_or_default().to_string_lossy();
    for attempt in 0..1000 {
        let again = if attempt == 0 { String::new() } else { format!("-{attempt}") };
        let aside = target.with_file_name(format!("{stem}.{modified}{again}.{extension}"));
        match renameat_with(CWD, target, CWD, &aside, RenameFlags::NOREPLACE) {
            Ok(()) => {
                log::info!("kept {} of a former run as {}", target.display(), aside.display());
                return Ok(());
            }
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::new(ErrorKind::AlreadyExists, "no free name to set the former log aside"))
}

/// Whether an error is about this one name, so that waiting does not help and other logs are fine.
pub(crate) fn is_about_the_name(error: &io::Error) -> bool {
    let number = error.raw_os_error();
    error.kind() == ErrorKind::InvalidFilename
        || [Errno::ISDIR, Errno::NAMETOOLONG, Errno::INVAL, Errno::ILSEQ, Errno::LOOP]
            .iter()
            .any(|errno| number == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{FileType, Mode, mknodat};

    #[test]
    fn what_is_not_a_regular_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo.log");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RWXU, 0).unwrap();
        std::os::unix::fs::symlink("/dev/full", dir.path().join("device.log")).unwrap();
        fs::create_dir(dir.path().join("folder.log")).unwrap();
        let refused = |name: &[u8]| {
            let mut file = LogFile::new(dir.path(), &LogPath::new(name).unwrap(), "log");
            file.buffer.extend_from_slice(b"text\n");
            file.write_out().unwrap_err()
        };
        for name in ["fifo", "device", "folder"] {
            let error = refused(name.as_bytes());
            assert!(is_about_the_name(&error), "{name}: {error}");
        }
        // A FIFO that somebody reads opens.
        let _reader = OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
        assert_eq!(refused(b"fifo").to_string(), "not a regular file");
    }

    #[test]
    fn a_torn_line_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = LogFile::new(dir.path(), &LogPath::new(b"a").unwrap(), "log");
        assert!(!file.is_mid_line());
        for (text, torn) in [("whole\n", false), ("torn", true), ("\nwhole\n", false)] {
            file.buffer.extend_from_slice(text.as_bytes());
            assert_eq!(file.write_out().unwrap(), text.len());
            assert_eq!(file.is_mid_line(), torn, "{text:?}");
        }
    }
}
