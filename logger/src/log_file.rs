//! One log file: opened for the first record, written in large pieces, compressed on the way where
//! `gzip_level` asks for it (WIRE.md §5.6, §5.7).
//!
//! A write that fails half way is continued where it stopped: no line is lost, doubled or torn
//! while the process lives. A file that somebody removed, renamed or truncated is begun anew.

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

/// Capacity kept of what is to be written again if syncing fails.
const KEPT_CAPACITY: usize = 1 << 20;

/// Why a write did not succeed.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// The system says so; trying again goes on where it stopped.
    Io(io::Error),
    /// It says so of this one name: trying again does not help, and other logs are fine.
    BadName(io::Error),
    /// The file is not what it was: what was to be written starts over, below a header of its own.
    Gone(Gone),
}

/// What somebody else has done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone {
    pub(crate) how: How,
    /// So many bytes of the text, whole lines, are not to be written again: the old file had them.
    pub(crate) complete: usize,
}

/// How a file went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// The name stands for another file, or none.
    Replaced,
    /// There is less in it than was written.
    Truncated,
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            How::Replaced => "removed or renamed",
            How::Truncated => "truncated by somebody else",
        })
    }
}

impl How {
    /// With nothing of the text in it.
    fn entirely(self) -> WriteError {
        WriteError::Gone(Gone { how: self, complete: 0 })
    }
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        WriteError::Io(error)
    }
}

/// A file.
pub(crate) struct LogFile {
    target: PathBuf,
    gzip_level: u32,
    file: Option<File>,
    /// Device and inode of the file, once it has been opened: then it is reopened to append.
    identity: Option<(u64, u64)>,
    gzip: Option<GzEncoder<Vec<u8>>>,
    /// What is being written, where that is not the text itself.
    output: Vec<u8>,
    /// Bytes of it, or of the text, that are in the file.
    done: usize,
    /// Whether what is in the file ends in the middle of a line.
    is_mid_line: bool,
    /// Bytes in the file, and how many of them survive a power cut.
    length: u64,
    synced: u64,
    /// What is in the file and not synced, where it is to be written again if syncing fails.
    unsynced: Option<Vec<u8>>,
    /// Syncing has failed: the kernel no longer knows what is missing on the disk.
    is_doubtful: bool,
    /// What could not be written was given up in the middle of a stream: nobody could read on.
    is_dead: bool,
    /// When it was last used; the least recently used is closed when there are too many.
    pub(crate) last_used: u64,
}

impl LogFile {
    /// The file of that name; nothing is opened yet. `keeps_unsynced`: whether what cannot be
    /// synced is to be written again.
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

    /// Whether a descriptor is in use.
    pub(crate) fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Whether anything was written to it.
    pub(crate) fn is_begun(&self) -> bool {
        self.identity.is_some()
    }

    /// Whether a line in it has no end: the next text must begin with one.
    pub(crate) fn is_mid_line(&self) -> bool {
        self.is_mid_line
    }

    /// Whether something in it is not synced.
    pub(crate) fn is_dirty(&self) -> bool {
        self.length > self.synced || self.is_doubtful
    }

    /// Bytes kept to be written again.
    #[cfg(test)]
    fn unsynced_bytes(&self) -> usize {
        self.unsynced.as_ref().map_or(0, Vec::len)
    }

    /// Makes sure that the file of that name is still this one.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when it is another, or none.
    pub(crate) fn check_in_place(&self) -> io::Result<()> {
        let metadata = fs::metadata(&self.target)?;
        if self.identity.is_some_and(|known| known != (metadata.dev(), metadata.ino())) {
            return Err(io::Error::new(ErrorKind::NotFound, "another file is in its place"));
        }
        Ok(())
    }

    /// Gives the descriptor back; the next write opens the file again.
    pub(crate) fn release(&mut self) {
        self.file = None;
    }

    /// Forgets the file, which has another name now or is gone.
    pub(crate) fn forget(&mut self) {
        *self = LogFile {
            last_used: self.last_used,
            ..LogFile::new(&self.target, self.gzip_level, self.unsynced.is_some())
        };
    }

    /// Writes `prefix` and `text`, of which one call after an error writes what is left: the same
    /// two must be given again until it succeeds. Returns the bytes that went into the file.
    ///
    /// `recover` deals with a file that is there before it is opened for the first time.
    pub(crate) fn write(
        &mut self,
        prefix: &[u8],
        text: &[u8],
        recover: impl Fn(&Path) -> io::Result<()>,
    ) -> Result<usize, WriteError> {
        if self.is_dead {
            return Err(io::Error::other("its stream was given up").into());
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
            // What has been handed on is to be readable.
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
                if let Some(how) = self.went_meanwhile(total) {
                    self.forget();
                    return Err(how.entirely());
                }
                self.is_mid_line = false;
                Ok(total)
            }
            Err(error) => {
                // Perhaps the directory was replaced under us: open anew next time. Not where there
                // is no room: the file goes on, also when somebody renames it meanwhile.
                if !matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
                    self.file = None;
                }
                Err(error.into())
            }
        }
    }

    /// Opens the file, unless it is open, and makes sure that it is what it was.
    fn make_ready(&mut self, recover: impl Fn(&Path) -> io::Result<()>) -> Result<(), WriteError> {
        if self.file.is_none() {
            self.open(recover)?;
        }
        self.check_length()?;
        if self.gzip.is_none() && !self.output.is_empty() {
            // The end of a stream, which could not be written.
            self.end_stream()?;
        }
        if self.is_doubtful { self.sync() } else { Ok(()) }
    }

    /// Notices that somebody has truncated the file, as `copytruncate` of logrotate does.
    fn check_length(&mut self) -> Result<(), WriteError> {
        let metadata = match &self.file {
            Some(file) => Some(file.metadata()?),
            // Closed for now: another file in its place is noticed when it is opened.
            None => files::look_at(&self.target)?
                .filter(|found| self.identity == Some((found.dev(), found.ino()))),
        };
        // What could not be synced is written again from here on, and that may fail half way: shorter
        // than that is somebody else's doing.
        let is_rewritten = self.is_doubtful && self.unsynced.is_some();
        let least = if is_rewritten { self.synced } else { self.length };
        if metadata.is_some_and(|metadata| metadata.len() < least) {
            self.forget();
            return Err(How::Truncated.entirely());
        }
        Ok(())
    }

    /// Ends the gzip stream, if it is one. A later write begins another, which readers of gzip
    /// take for one.
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

    /// Gives up what could not be written, and takes what was written of it out again.
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

    /// Takes what was written beyond that length, between two streams where it is compressed, out
    /// again.
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

    /// Makes what is in the file survive a power cut. After a failure it is written again.
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
                // So that the name survives, too.
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

    /// Whether what was just written, so many bytes, went into a file that has no name any more, or
    /// that was truncated before them.
    fn went_meanwhile(&self, written: usize) -> Option<How> {
        let file = self.file.as_ref()?;
        let metadata = file.metadata().ok()?;
        if metadata.nlink() == 0 {
            return Some(How::Replaced);
        }
        // Nothing but that is in it, without a header.
        let is_alone = metadata.len() < self.length && metadata.len() == written as u64;
        (is_alone && file.set_len(0).is_ok()).then_some(How::Truncated)
    }

    fn open(&mut self, recover: impl Fn(&Path) -> io::Result<()>) -> Result<(), WriteError> {
        // What is no file is refused when it is opened.
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
    // A FIFO that nobody reads would block for ever.
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

/// Whether an error is about this one name, so that waiting does not help and other logs are fine.
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
        // A FIFO that somebody reads opens.
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
        // Also while it is closed.
        file.release();
        fs::rename(&target, dir.path().join("elsewhere")).unwrap();
        assert_eq!(file.check_in_place().unwrap_err().kind(), ErrorKind::NotFound);
        // As logrotate does with `create`.
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
        // As after a full disk in the middle of it.
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
        // As after an error behind two lines and a half, when the name leads elsewhere.
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
        // As after a failure: the disk has something, nobody knows what.
        fs::write(&target, "1\n\0\0").unwrap();
        file.is_doubtful = true;
        put(&mut file, "", "3\n").unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "1\n2\n3\n");
        assert_eq!(file.unsynced_bytes(), 2);
        // Writing it again has failed, too, on a full disk.
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
            // While it is closed; and before its end.
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
        // As after a full disk in the middle of a line.
        file.write_parts([b"", b"2\n3"]).unwrap();
        file.give_up();
        assert!(!file.is_mid_line());
        assert_eq!(file.unsynced_bytes(), 7);
        put(&mut file, "", "4\n").unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "head\n1\n4\n");
    }
}
