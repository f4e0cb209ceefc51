//! One log file: opened for the first record, written in large pieces, compressed on the fly if
//! `gzip_level` is set (WIRE.md §5.6, §5.7).
//!
//! A write that fails half way resumes where it stopped: no line is lost, doubled or torn while the
//! process lives. If another process removes, renames or truncates the file, a new one is started.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bstr::ByteSlice;
use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::files;

/// Capacity kept in the buffer of text to rewrite if syncing fails.
const KEPT_CAPACITY: usize = 1 << 20;

/// Why a write failed.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// A system error; a retry resumes where the write stopped.
    Io(io::Error),
    /// An error about this one name: retries cannot succeed, and other logs are fine.
    BadName(io::Error),
    /// The file was replaced or truncated: the write starts over in a new file with its own header.
    Gone(Gone),
}

/// What another process did to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone {
    pub(crate) how: How,
    /// Bytes of the text, whole lines, that the old file has: they are not written again.
    pub(crate) complete: usize,
}

/// How a file was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// The name refers to another file, or to none.
    Replaced,
    /// The file is shorter than the text written to it.
    Truncated,
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            How::Replaced => "removed or renamed",
            How::Truncated => "truncated by another process",
        })
    }
}

impl How {
    /// The error if the file has none of the text.
    fn entirely(self) -> WriteError {
        WriteError::Gone(Gone { how: self, complete: 0 })
    }
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        WriteError::Io(error)
    }
}

/// A log file.
pub(crate) struct LogFile {
    target: PathBuf,
    gzip_level: u32,
    file: Option<File>,
    /// Device and inode of the file since it was first opened; later opens append.
    identity: Option<(u64, u64)>,
    gzip: Option<GzEncoder<Vec<u8>>>,
    /// The bytes being written, if they are not the text itself.
    output: Vec<u8>,
    /// Bytes of `output`, or of the text, that are in the file.
    done: usize,
    /// Whether the file ends in the middle of a line.
    is_mid_line: bool,
    /// Bytes in the file, and how many of them are synced.
    length: u64,
    synced: u64,
    /// The unsynced bytes of the file, if they are rewritten after a failed sync.
    unsynced: Option<Vec<u8>>,
    /// Whether syncing failed: the kernel no longer knows which data the disk is missing.
    is_doubtful: bool,
    /// Whether a write was given up in the middle of a stream: readers could not read past it.
    is_dead: bool,
    /// When it was last used; the least recently used file is closed when too many are open.
    pub(crate) last_used: u64,
}

impl LogFile {
    /// Returns the file named `target` without opening it. `keeps_unsynced`: whether to rewrite
    /// data after a failed sync.
    pub(crate) fn new(target: &Path, gzip_level: u32, keeps_unsynced: bool) -> Self {
        LogFile {
            target: target.into(),
            gzip_level,
            file: None,
            identity: None,
            gzip: None,
            output: Vec::new(),
            done: 0,
            is_mid_line: false,
            length: 0,
            synced: 0,
            unsynced: keeps_unsynced.then(Vec::new),
            is_doubtful: false,
            is_dead: false,
            last_used: 0,
        }
    }

    /// Its name.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Returns whether a descriptor is in use.
    pub(crate) fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Returns whether it has been opened for writing.
    pub(crate) fn is_begun(&self) -> bool {
        self.identity.is_some()
    }

    /// Returns whether the last line has no end: the next text must start with one.
    pub(crate) fn is_mid_line(&self) -> bool {
        self.is_mid_line
    }

    /// Returns whether some data is not synced.
    pub(crate) fn is_dirty(&self) -> bool {
        self.length > self.synced || self.is_doubtful
    }

    /// Bytes kept for a rewrite.
    #[cfg(test)]
    fn unsynced_bytes(&self) -> usize {
        self.unsynced.as_ref().map_or(0, Vec::len)
    }

    /// Checks that the name still refers to this file.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if it refers to another file, or to none.
    pub(crate) fn check_in_place(&self) -> io::Result<()> {
        let metadata = fs::metadata(&self.target)?;
        if self.identity.is_some_and(|known| known != (metadata.dev(), metadata.ino())) {
            return Err(io::Error::new(ErrorKind::NotFound, "another file has taken its place"));
        }
        Ok(())
    }

    /// Closes the descriptor; the next write opens the file again.
    pub(crate) fn release(&mut self) {
        self.file = None;
    }

    /// Forgets the file, which was renamed or is gone.
    pub(crate) fn forget(&mut self) {
        *self = LogFile {
            last_used: self.last_used,
            ..LogFile::new(&self.target, self.gzip_level, self.unsynced.is_some())
        };
    }

    /// Writes `prefix` and `text`. After an error, the next call resumes where this one stopped, so
    /// it must get the same two until it succeeds. Returns the bytes that went into the file.
    ///
    /// `recover` handles an existing file before it is opened for the first time.
    pub(crate) fn write(
        &mut self,
        prefix: &[u8],
        text: &[u8],
        recover: impl Fn(&Path) -> io::Result<()>,
    ) -> Result<usize, WriteError> {
        if self.is_dead {
            return Err(io::Error::other("its gzip stream was abandoned").into());
        }
        let done = if self.gzip_level > 0 { 0 } else { self.done };
        self.make_ready(recover).map_err(|error| match error {
            WriteError::Gone(Gone { how, .. }) => {
                let text = &text[..done.saturating_sub(prefix.len())];
                let complete = text.rfind_byte(b'\n').map_or(0, |at| at + 1);
                WriteError::Gone(Gone { how, complete })
            }
            error => error,
        })?;
        let is_new = self.done == 0 && self.output.is_empty();
        if self.gzip_level > 0 && is_new {
            let level = Compression::new(self.gzip_level);
            let encoder = self.gzip.get_or_insert_with(|| GzEncoder::new(Vec::new(), level));
            encoder.write_all(prefix)?;
            encoder.write_all(text)?;
            // Readers must be able to decompress everything written so far.
            encoder.flush()?;
            self.output = std::mem::take(encoder.get_mut());
        }
        let compressed = std::mem::take(&mut self.output);
        let parts = if self.gzip_level > 0 { [&compressed[..], &[]] } else { [prefix, text] };
        let outcome = self.write_parts(parts);
        let total = parts[0].len() + parts[1].len();
        if outcome.is_err() {
            self.output = compressed;
        } else {
            self.done = 0;
        }
        match outcome {
            Ok(()) => {
                if let Some(how) = self.lost_meanwhile(total) {
                    self.forget();
                    return Err(how.entirely());
                }
                self.is_mid_line = false;
                Ok(total)
            }
            Err(error) => {
                // The directory may have been replaced: open the file again next time. Not on a
                // full disk: the same file stays in use, even if it is renamed meanwhile.
                if !matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
                    self.file = None;
                }
                Err(error.into())
            }
        }
    }

    /// Opens the file if necessary, and checks that it is unchanged.
    fn make_ready(&mut self, recover: impl Fn(&Path) -> io::Result<()>) -> Result<(), WriteError> {
        if self.file.is_none() {
            self.open(recover)?;
        }
        self.check_length()?;
        if self.gzip.is_none() && !self.output.is_empty() {
            // The end of a stream that could not be written.
            self.end_stream()?;
        }
        if self.is_doubtful { self.sync() } else { Ok(()) }
    }

    /// Detects that another process truncated the file, as `copytruncate` of logrotate does.
    fn check_length(&mut self) -> Result<(), WriteError> {
        let metadata = match &self.file {
            Some(file) => Some(file.metadata()?),
            // Closed for now: opening it detects another file in its place.
            None => files::look_at(&self.target)?
                .filter(|found| self.identity == Some((found.dev(), found.ino()))),
        };
        // Unsynced data is rewritten from `synced` on, which may fail half way: only a shorter file
        // was truncated by another process.
        let is_rewritten = self.is_doubtful && self.unsynced.is_some();
        let least = if is_rewritten { self.synced } else { self.length };
        if metadata.is_some_and(|metadata| metadata.len() < least) {
            self.forget();
            return Err(How::Truncated.entirely());
        }
        Ok(())
    }

    /// Ends the gzip stream, if any. A later write starts another stream, which readers of gzip
    /// treat as a continuation.
    pub(crate) fn end_stream(&mut self) -> Result<(), WriteError> {
        self.check_length()?;
        if self.output.is_empty() {
            let Some(encoder) = self.gzip.take() else { return Ok(()) };
            self.output = encoder.finish()?;
        }
        if self.file.is_none() {
            self.open(|_| Ok(()))?;
        }
        let output = std::mem::take(&mut self.output);
        if let Err(error) = self.write_parts([&output, &[]]) {
            (self.output, self.file) = (output, None);
            return Err(error.into());
        }
        self.done = 0;
        Ok(())
    }

    /// Gives up the pending write, and removes the part of it that is in the file.
    pub(crate) fn give_up(&mut self) {
        let done = std::mem::take(&mut self.done);
        self.is_dead |= self.gzip.is_some();
        self.output.clear();
        self.gzip = None;
        if done == 0 {
            return;
        }
        self.is_mid_line |= self.shorten(self.length.saturating_sub(done as u64)).is_err();
    }

    /// Bytes in the file.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Truncates the file to `length`, which is between two streams if it is compressed.
    pub(crate) fn shorten(&mut self, length: u64) -> io::Result<()> {
        let Some(file) = &self.file else { return Err(ErrorKind::NotFound.into()) };
        file.set_len(length)?;
        if let Some(unsynced) = &mut self.unsynced {
            let more = usize::try_from(self.length - length).unwrap_or(usize::MAX);
            unsynced.truncate(unsynced.len().saturating_sub(more));
        }
        self.length = length;
        self.synced = self.synced.min(length);
        Ok(())
    }

    /// Syncs the data to disk. After a failure, it first rewrites the unsynced data.
    pub(crate) fn sync(&mut self) -> Result<(), WriteError> {
        if self.file.is_none() {
            self.open(|_| Ok(()))?;
        }
        if self.is_doubtful {
            self.check_length()?;
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        let outcome: io::Result<()> = (|| {
            if let (true, Some(unsynced)) = (self.is_doubtful, &self.unsynced) {
                let there = file.metadata()?.len();
                file.set_len(self.synced.min(there))?;
                file.write_all(unsynced)?;
            }
            file.sync_data()?;
            if self.synced == 0 {
                // Sync the file's name, too.
                let dir = self.target.parent().filter(|dir| !dir.as_os_str().is_empty());
                files::sync_dir(dir.unwrap_or(Path::new(".")))?;
            }
            Ok(())
        })();
        self.is_doubtful = outcome.is_err();
        match &outcome {
            Ok(()) => {
                self.synced = self.length;
                if let Some(unsynced) = &mut self.unsynced {
                    unsynced.clear();
                    unsynced.shrink_to(KEPT_CAPACITY);
                }
            }
            Err(_) => self.file = None,
        }
        Ok(outcome?)
    }

    fn write_parts(&mut self, parts: [&[u8]; 2]) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Err(ErrorKind::NotFound.into()) };
        let total = parts[0].len() + parts[1].len();
        while self.done < total {
            let left = match self.done.checked_sub(parts[0].len()) {
                None => &parts[0][self.done..],
                Some(done) => &parts[1][done..],
            };
            match file.write(left) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.done += count;
                    self.length += count as u64;
                    if let Some(unsynced) = &mut self.unsynced {
                        unsynced.extend_from_slice(&left[..count]);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Returns how the file was lost if the bytes just written went into a file without a name, or
    /// one that was truncated before the write.
    fn lost_meanwhile(&self, written: usize) -> Option<How> {
        let file = self.file.as_ref()?;
        let metadata = file.metadata().ok()?;
        if metadata.nlink() == 0 {
            return Some(How::Replaced);
        }
        // It has only these bytes, without a header.
        let is_alone = metadata.len() < self.length && metadata.len() == written as u64;
        (is_alone && file.set_len(0).is_ok()).then_some(How::Truncated)
    }

    fn open(&mut self, recover: impl Fn(&Path) -> io::Result<()>) -> Result<(), WriteError> {
        // Opening rejects anything but a regular file.
        let is_left_over = |found: fs::Metadata| found.is_file() && found.len() > 0;
        if self.identity.is_none() && files::look_at(&self.target)?.is_some_and(is_left_over) {
            recover(&self.target)?;
        }
        let file = open(&self.target).map_err(|error| {
            if is_about_the_name(&error) { WriteError::BadName(error) } else { error.into() }
        })?;
        let metadata = file.metadata()?;
        let identity = (metadata.dev(), metadata.ino());
        if self.identity.is_some_and(|known| known != identity) {
            self.forget();
            return Err(WriteError::Gone(Gone { how: How::Replaced, complete: 0 }));
        }
        if self.identity.replace(identity).is_none() {
            (self.length, self.synced) = (metadata.len(), 0);
        }
        self.file = Some(file);
        Ok(())
    }
}

fn open(target: &Path) -> io::Result<File> {
    // A FIFO without a reader would block forever.
    let flags = OFlags::NONBLOCK.bits() as i32;
    let file = match OpenOptions::new().create(true).append(true).custom_flags(flags).open(target) {
        Err(error) if files::is(&error, Errno::NXIO) => return Err(not_a_regular_file()),
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

/// Returns whether an error is about this one name: waiting does not help, and other logs are fine.
fn is_about_the_name(error: &io::Error) -> bool {
    error.kind() == ErrorKind::InvalidFilename
        || [Errno::ISDIR, Errno::NAMETOOLONG, Errno::INVAL, Errno::ILSEQ, Errno::LOOP]
            .into_iter()
            .any(|errno| files::is(error, errno))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::MultiGzDecoder;
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use std::io::Read;

    fn put(file: &mut LogFile, prefix: &str, text: &str) -> Result<usize, WriteError> {
        file.write(prefix.as_bytes(), text.as_bytes(), |_| Ok(()))
    }

    #[test]
    fn what_is_not_a_regular_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo.log");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RWXU, 0).unwrap();
        std::os::unix::fs::symlink("/dev/full", dir.path().join("device.log")).unwrap();
        fs::create_dir(dir.path().join("folder.log")).unwrap();
        let refused = |name: &str| {
            let mut file = LogFile::new(&dir.path().join(name), 0, false);
            match put(&mut file, "", "text\n") {
                Err(WriteError::BadName(error)) => error,
                other => panic!("{name}: {other:?}"),
            }
        };
        for name in ["fifo.log", "device.log", "folder.log"] {
            refused(name);
        }
        // A FIFO with a reader can be opened.
        let _reader = OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
        assert_eq!(refused("fifo.log").to_string(), "not a regular file");
    }

    #[test]
    fn what_is_there_is_recovered_first_and_only_once() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.log");
        fs::write(&target, "former\n").unwrap();
        let mut file = LogFile::new(&target, 0, false);
        let aside = dir.path().join("aside");
        let recover = |live: &Path| fs::rename(live, &aside);
        assert_eq!(file.write(b"head\n", b"1\n", recover).unwrap(), 7);
        file.release();
        assert_eq!(file.write(b"", b"2\n", recover).unwrap(), 2);
        assert_eq!(fs::read_to_string(&target).unwrap(), "head\n1\n2\n");
        assert_eq!(fs::read_to_string(&aside).unwrap(), "former\n");
    }

    #[test]
    fn a_file_that_is_taken_away_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.log");
        let mut file = LogFile::new(&target, 0, false);
        put(&mut file, "", "1\n").unwrap();
        fs::remove_file(&target).unwrap();
        assert!(matches!(
            put(&mut file, "", "2\n"),
            Err(WriteError::Gone(Gone { how: How::Replaced, complete: 0 }))
        ));
        assert!(!file.is_begun());
        put(&mut file, "head\n", "2\n").unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "head\n2\n");
        file.check_in_place().unwrap();
        // The same while the file is closed.
        file.release();
        fs::rename(&target, dir.path().join("elsewhere")).unwrap();
        assert_eq!(file.check_in_place().unwrap_err().kind(), ErrorKind::NotFound);
        // Like logrotate with `create`.
        fs::write(&target, "").unwrap();
        assert_eq!(file.check_in_place().unwrap_err().kind(), ErrorKind::NotFound);
        assert!(matches!(
            put(&mut file, "", "3\n"),
            Err(WriteError::Gone(Gone { how: How::Replaced, complete: 0 }))
        ));
        put(&mut file, "head\n", "3\n").unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "head\n3\n");
    }

    #[test]
    fn gzip_streams_read_as_one_text_at_any_time() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.log.gz");
        let mut file = LogFile::new(&target, 6, false);
        let mut expected = String::new();
        for n in 0..10 {
            let text = format!("line {n}\n").repeat(100);
            put(&mut file, "#\n", &text).unwrap();
            expected.push_str("#\n");
            expected.push_str(&text);
            if n % 3 == 0 {
                file.end_stream().unwrap();
                file.release();
            }
            let mut text = Vec::new();
            let _ = MultiGzDecoder::new(File::open(&target).unwrap()).read_to_end(&mut text);
            assert_eq!(text, expected.as_bytes(), "{n}");
        }
    }

    #[test]
    fn the_end_of_a_stream_that_could_not_be_written_does_not_stand_for_the_next_text() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.log.gz");
        let mut file = LogFile::new(&target, 6, false);
        put(&mut file, "", "1\n").unwrap();
        // As if the disk was full in the middle of it.
        file.output = file.gzip.take().unwrap().finish().unwrap();
        put(&mut file, "", "2\n").unwrap();
        file.end_stream().unwrap();
        let mut text = String::new();
        MultiGzDecoder::new(File::open(&target).unwrap()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "1\n2\n");
    }

    #[test]
    fn what_the_renamed_file_has_is_not_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.log");
        let mut file = LogFile::new(&target, 0, false);
        put(&mut file, "", "1\n").unwrap();
        // As if writing failed after two and a half lines, while the name refers to another file.
        file.done = 2 + 5;
        file.release();
        fs::rename(&target, dir.path().join("elsewhere")).unwrap();
        match put(&mut file, "#\n", "2\n3\n4\n") {
            Err(WriteError::Gone(gone)) => assert_eq!(gone.complete, 4),
            other => panic!("{other:?}"),
        }
        assert!(!file.is_begun());
    }

    #[test]
    fn what_could_not_be_synced_is_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.log");
        let mut file = LogFile::new(&target, 0, true);
        put(&mut file, "", "1\n").unwrap();
        file.sync().unwrap();
        put(&mut file, "", "2\n").unwrap();
        assert_eq!(file.unsynced_bytes(), 2);
        // As if syncing failed: the contents of the disk are unknown.
        fs::write(&target, "1\n\0\0").unwrap();
        file.is_doubtful = true;
        put(&mut file, "", "3\n").unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "1\n2\n3\n");
        assert_eq!(file.unsynced_bytes(), 2);
        // The rewrite failed, too, on a full disk.
        fs::write(&target, "1\n2\n").unwrap();
        file.is_doubtful = true;
        put(&mut file, "", "4\n").unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "1\n2\n3\n4\n");
        assert!(file.is_dirty());
        file.sync().unwrap();
        assert!(!file.is_dirty());
    }

    #[test]
    fn a_file_that_was_truncated_is_begun_anew() {
        for gzip_level in [0, 6] {
            let dir = tempfile::tempdir().unwrap();
            let target = dir.path().join("a.log");
            let mut file = LogFile::new(&target, gzip_level, false);
            let truncated = |outcome| matches!(outcome, Err(WriteError::Gone(gone)) if gone.how == How::Truncated);
            let read = || {
                let bytes = fs::read(&target).unwrap();
                if gzip_level == 0 {
                    return String::from_utf8(bytes).unwrap();
                }
                let mut text = Vec::new();
                let _ = MultiGzDecoder::new(&*bytes).read_to_end(&mut text);
                String::from_utf8(text).unwrap()
            };
            put(&mut file, "head\n", "1\n").unwrap();
            File::create(&target).unwrap();
            assert!(truncated(put(&mut file, "", "2\n")));
            put(&mut file, "head\n", "2\n").unwrap();
            assert_eq!(read(), "head\n2\n");
            // Truncated while closed, and before its end.
            file.release();
            File::create(&target).unwrap();
            assert!(truncated(put(&mut file, "", "3\n")));
            put(&mut file, "head\n", "3\n").unwrap();
            File::create(&target).unwrap();
            let ended = if gzip_level == 0 {
                put(&mut file, "", "#close\n").map(drop)
            } else {
                file.end_stream()
            };
            assert!(truncated(ended.map(|()| 0)));
            assert!(!file.is_begun());
            assert_eq!(read(), "");
        }
    }

    #[test]
    fn what_is_left_of_a_truncated_file_is_recovered() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.log");
        let mut file = LogFile::new(&target, 0, false);
        put(&mut file, "head\n", "1\n2\n").unwrap();
        OpenOptions::new().write(true).open(&target).unwrap().set_len(7).unwrap();
        assert!(put(&mut file, "", "3\n").is_err());
        let aside = dir.path().join("aside");
        file.write(b"head\n", b"3\n", |live| fs::rename(live, &aside)).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "head\n3\n");
        assert_eq!(fs::read_to_string(&aside).unwrap(), "head\n1\n");
    }

    #[test]
    fn what_is_given_up_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.log");
        let mut file = LogFile::new(&target, 0, true);
        put(&mut file, "head\n", "1\n").unwrap();
        // As if the disk was full in the middle of a line.
        file.write_parts([b"", b"2\n3"]).unwrap();
        file.give_up();
        assert!(!file.is_mid_line());
        assert_eq!(file.unsynced_bytes(), 7);
        put(&mut file, "", "4\n").unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "head\n1\n4\n");
    }
}
