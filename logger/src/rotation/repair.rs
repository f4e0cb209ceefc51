//! Repairs the end of a log left by a killed process: cuts a torn last line and adds the `#close`
//! line (WIRE.md §5.1). Handles plain files and gzip streams; memory does not depend on the size.
//!
//! Repeating a repair changes nothing, so a process killed here does no harm. The file's
//! modification time is preserved. A repair may take long, so it can be stopped.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::SystemTime;

use bstr::ByteSlice;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use memchr::{memchr, memrchr};
use rustix::fs::OFlags;

use super::compress::{self, Unfinished};
use super::name::NameRules;
use super::tsv_head::TsvHead;
use crate::files;

/// Bytes read at a time.
const PIECE: usize = 64 << 10;
/// Bytes at the start that are searched for the header.
const FRONT: usize = 16 << 10;
/// Bytes kept of the last line, enough for its key.
const LINE_FRONT: usize = 256;

/// The result of a repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Repaired {
    /// The file is whole now. Has the time when it was opened, from its header.
    Whole(Option<SystemTime>),
    /// The file has no text: no byte, or a whole gzip stream of none.
    Empty,
    /// The file cannot be repaired and is unchanged. Has the reason.
    Hopeless(String),
}

/// Repairs a plain file. Calls `stop` regularly.
///
/// # Errors
/// If it cannot be opened, read or written, or is stopped.
pub(crate) fn repair_plain(
    path: &Path,
    names: &NameRules,
    stop: &dyn Fn() -> bool,
) -> Result<Repaired, Unfinished> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let mut file = OpenOptions::new().read(true).append(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(Repaired::Hopeless("not a regular file".into()));
    }
    let (length, modified) = (metadata.len(), metadata.modified()?);
    if length == 0 {
        return Ok(Repaired::Empty);
    }
    let Some(end) = end_of_last_line(&file, length, stop)? else {
        return Ok(Repaired::Hopeless("it has no complete line".into()));
    };
    let front = read_at(&file, 0, FRONT.min(usize::try_from(end).unwrap_or(FRONT)))?;
    let last_line = end_of_last_line(&file, end - 1, stop)?.unwrap_or(0);
    let last_line = read_at(&file, last_line, LINE_FRONT)?;
    if end < length {
        log::warn!("{}: cut a torn last line of {} bytes", path.display(), length - end);
        file.set_len(end)?;
    }
    let head = Head::parse(&front);
    if let Some(close) = head.missing_close(&last_line, modified, names)
        && let Err(error) = file.write_all(&close)
    {
        file.set_len(end)?;
        return Err(error.into());
    }
    file.set_modified(modified)?;
    Ok(Repaired::Whole(head.open_time(names)))
}

/// Repairs a gzip stream. If it needs any change, it is rewritten through `temporary`, on the same
/// file system. Calls `stop` regularly.
///
/// # Errors
/// If it cannot be opened, read or written, or is stopped.
pub(crate) fn repair_gzip(
    path: &Path,
    names: &NameRules,
    temporary: &Path,
    stop: &dyn Fn() -> bool,
) -> Result<Repaired, Unfinished> {
    let Some((file, metadata)) = files::open_regular(path)? else {
        return Ok(Repaired::Hopeless("not a regular file".into()));
    };
    let (length, modified) = (metadata.len(), metadata.modified()?);
    if length == 0 {
        return Ok(Repaired::Empty);
    }
    let mut scan = Scan::default();
    let mut text = MultiGzDecoder::new(BufReader::new(&file));
    let scanned = read_all(&mut text, stop, |piece| {
        scan.add(piece);
        Ok(())
    });
    let is_torn = match scanned {
        Ok(()) => false,
        Err(Unfinished::Io(error)) if error.kind() == ErrorKind::UnexpectedEof => true,
        Err(Unfinished::Io(error)) if compress::is_damage(&error) => {
            return Ok(Repaired::Hopeless(format!("not a gzip stream: {error}")));
        }
        Err(error) => return Err(error),
    };
    if scan.whole == 0 {
        // Only a whole stream proves that it is empty; a few bytes may be anything.
        let is_empty = scan.length == 0 && !is_torn;
        let why = || Repaired::Hopeless("it has no complete line".into());
        return Ok(if is_empty { Repaired::Empty } else { why() });
    }
    let head = Head::parse(&scan.front);
    let close = head.missing_close(&scan.last_line, modified, names);
    if is_torn || scan.whole < scan.length || close.is_some() {
        let cut = scan.length - scan.whole;
        files::remove_if_there(temporary)?;
        let text = MultiGzDecoder::new(BufReader::new(File::open(path)?)).take(scan.whole);
        let outcome = write_gzip(text, &close.unwrap_or_default(), temporary, modified, stop)
            .and_then(|()| Ok(fs::rename(temporary, path)?));
        if outcome.is_err() {
            let _ = files::remove_if_there(temporary);
        }
        outcome?;
        log::warn!("{}: rewrote the gzip stream, cut {cut} bytes", path.display());
    }
    Ok(Repaired::Whole(head.open_time(names)))
}

fn write_gzip(
    text: impl Read,
    end: &[u8],
    to: &Path,
    modified: SystemTime,
    stop: &dyn Fn() -> bool,
) -> Result<(), Unfinished> {
    let mut encoder = GzEncoder::new(files::create_new(to)?, flate2::Compression::default());
    read_all(text, stop, |piece| encoder.write_all(piece))?;
    encoder.write_all(end)?;
    let file = encoder.finish()?;
    file.set_modified(modified)?;
    Ok(file.sync_all()?)
}

fn read_all(
    mut from: impl Read,
    stop: &dyn Fn() -> bool,
    mut f: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), Unfinished> {
    let mut piece = vec![0; PIECE];
    loop {
        if stop() {
            return Err(Unfinished::Stopped);
        }
        match from.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(count) => f(&piece[..count])?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Returns the position after the last line that ends before `end`. Searches backwards.
fn end_of_last_line(
    file: &File,
    end: u64,
    stop: &dyn Fn() -> bool,
) -> Result<Option<u64>, Unfinished> {
    let mut end = end;
    while end > 0 {
        if stop() {
            return Err(Unfinished::Stopped);
        }
        let start = end.saturating_sub(PIECE as u64);
        let piece = read_at(file, start, (end - start) as usize)?;
        if let Some(at) = memrchr(b'\n', &piece) {
            return Ok(Some(start + at as u64 + 1));
        }
        end = start;
    }
    Ok(None)
}

/// Reads `count` bytes from `start`, or fewer at the end of the file.
fn read_at(file: &File, start: u64, count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    let mut filled = 0;
    while filled < count {
        match file.read_at(&mut bytes[filled..], start + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// The parts kept of a text that is read once from start to end.
#[derive(Debug, Default)]
struct Scan {
    length: u64,
    /// The position after the last complete line.
    whole: u64,
    front: Vec<u8>,
    /// The start of the last complete line, and of the one after it.
    last_line: Vec<u8>,
    next_line: Vec<u8>,
}

impl Scan {
    fn add(&mut self, piece: &[u8]) {
        let room = FRONT - self.front.len();
        self.front.extend_from_slice(&piece[..piece.len().min(room)]);
        let mut rest = piece;
        while let Some(end) = memchr(b'\n', rest) {
            self.keep(&rest[..end]);
            std::mem::swap(&mut self.last_line, &mut self.next_line);
            self.next_line.clear();
            rest = &rest[end + 1..];
            self.whole = self.length + (piece.len() - rest.len()) as u64;
        }
        self.keep(rest);
        self.length += piece.len() as u64;
    }

    fn keep(&mut self, text: &[u8]) {
        let room = LINE_FRONT - self.next_line.len();
        self.next_line.extend_from_slice(&text[..text.len().min(room)]);
    }
}

/// The header of a file, if it has one.
struct Head<'a> {
    tsv: Option<TsvHead>,
    front: &'a [u8],
}

impl<'a> Head<'a> {
    fn parse(front: &'a [u8]) -> Self {
        let first = front.lines().next().unwrap_or_default();
        Head { tsv: TsvHead::parse(first), front }
    }

    /// Returns the `#close` line if the file should end in one but does not.
    fn missing_close(
        &self,
        last_line: &[u8],
        close: SystemTime,
        names: &NameRules,
    ) -> Option<Vec<u8>> {
        let tsv = self.tsv.as_ref()?;
        let is_closed = tsv.value(last_line, "close").is_some();
        (!is_closed).then(|| tsv.line("close", &names.long_time(close)))
    }

    /// Returns the time of the `#open` line.
    fn open_time(&self, names: &NameRules) -> Option<SystemTime> {
        let tsv = self.tsv.as_ref()?;
        let open = |line| tsv.value(line, "open").and_then(|text| names.parse_long_time(text));
        self.front.lines().take_while(|line| tsv.is_meta(line)).find_map(open)
    }
}

#[cfg(test)]
mod tests {
    use super::super::RotationName;
    use super::*;
    use jiff::tz::TimeZone;
    use proptest::prelude::*;
    use std::time::Duration;

    const HEAD: &str = "#separator \\x09\n#set_separator\t,\n#path\tx\n\
                        #open\t2026-01-01-00-00-00\n#fields\tts\n#types\ttime\n";
    const CLOSE: &str = "#close\t2026-01-01-01-00-00\n";

    fn names() -> NameRules {
        NameRules::new(RotationName::Ascii, None, false, TimeZone::UTC)
    }

    fn time(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn open() -> SystemTime {
        time(1_767_225_600)
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn gunzip(bytes: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        MultiGzDecoder::new(bytes).read_to_end(&mut text).unwrap();
        text
    }

    /// Repairs a file with these bytes twice; returns the result and the file's contents.
    fn repair(bytes: &[u8], is_gzip: bool) -> (Repaired, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let (path, temporary) = (dir.path().join("x.log"), dir.path().join("tmp"));
        fs::write(&path, bytes).unwrap();
        let modified = time(1_767_229_200);
        OpenOptions::new().append(true).open(&path).unwrap().set_modified(modified).unwrap();
        let once = || {
            if is_gzip {
                repair_gzip(&path, &names(), &temporary, &|| false).unwrap()
            } else {
                repair_plain(&path, &names(), &|| false).unwrap()
            }
        };
        let repaired = once();
        let after = fs::read(&path).unwrap();
        assert_eq!(once(), repaired);
        assert_eq!(fs::read(&path).unwrap(), after, "the second time changes nothing");
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), modified);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        (repaired, after)
    }

    #[test]
    fn ends_of_files() {
        let long = "x".repeat(3 * PIECE);
        let whole = |open: bool| Repaired::Whole(open.then(super::tests::open));
        for (before, expected, after) in [
            (format!("{HEAD}1.0\n2.0\n"), whole(true), format!("{HEAD}1.0\n2.0\n{CLOSE}")),
            (format!("{HEAD}1.0\n2."), whole(true), format!("{HEAD}1.0\n{CLOSE}")),
            (format!("{HEAD}1.0\n{long}"), whole(true), format!("{HEAD}1.0\n{CLOSE}")),
            (format!("{HEAD}{long}\n2."), whole(true), format!("{HEAD}{long}\n{CLOSE}")),
            (format!("{HEAD}1.0\n{CLOSE}"), whole(true), format!("{HEAD}1.0\n{CLOSE}")),
            (format!("{HEAD}1.0\n#close\t2026-"), whole(true), format!("{HEAD}1.0\n{CLOSE}")),
            (format!("{HEAD}1.0\n#close\tx\n2."), whole(true), format!("{HEAD}1.0\n#close\tx\n")),
            ("#separator \\x09\n#set".into(), whole(false), format!("#separator \\x09\n{CLOSE}")),
            (
                "//separator ;\n//open;x\n1\n2".into(),
                whole(false),
                "//separator ;\n//open;x\n1\n//close;2026-01-01-01-00-00\n".into(),
            ),
            ("{\"a\":1}\n{\"a\":".into(), whole(false), "{\"a\":1}\n".into()),
            ("{\"a\":1}\n\0\0\0\0".into(), whole(false), "{\"a\":1}\n".into()),
            ("ts\ta\n1.0\tx\n2".into(), whole(false), "ts\ta\n1.0\tx\n".into()),
            ("\n".into(), whole(false), "\n".into()),
        ] {
            assert_eq!(repair(before.as_bytes(), false), (expected.clone(), after.clone().into()));
            let (repaired, packed) = repair(&gzip(before.as_bytes()), true);
            assert_eq!(repaired, expected);
            assert_eq!(gunzip(&packed).as_bstr(), after);
        }
    }

    #[test]
    fn what_has_no_line_is_not_touched() {
        for bytes in ["torn", "#separator \\x09", "{\"a\":"] {
            for is_gzip in [false, true] {
                let bytes = if is_gzip { gzip(bytes.as_bytes()) } else { bytes.into() };
                let (repaired, after) = repair(&bytes, is_gzip);
                assert!(matches!(repaired, Repaired::Hopeless(_)), "{repaired:?}");
                assert_eq!(after, bytes);
            }
        }
        assert_eq!(repair(b"", false).0, Repaired::Empty);
        assert_eq!(repair(b"", true).0, Repaired::Empty);
        assert_eq!(repair(&gzip(b""), true).0, Repaired::Empty);
        // Junk of any length, and the beginning of a stream.
        let (junk, stream) = ([b"no stream".as_slice(); 20].concat(), gzip(b"torn"));
        for bytes in [&junk, &stream, &gzip(b"")] {
            for length in (1..bytes.len()).filter(|length| *length < 40 || *length % 7 == 0) {
                let (repaired, after) = repair(&bytes[..length], true);
                assert!(matches!(repaired, Repaired::Hopeless(_)), "{length}: {repaired:?}");
                assert_eq!(after, bytes[..length]);
            }
        }
        let behind = [gzip(b""), b"x".to_vec()].concat();
        assert!(matches!(repair(&behind, true).0, Repaired::Hopeless(_)));
    }

    #[test]
    fn a_torn_stream_is_read_as_far_as_it_goes() {
        // Two members, like in a file that was closed and opened again.
        let lines = (0..20_000).map(|n| format!("{{\"ts\":{n}.5}}\n"));
        let text = lines.collect::<Vec<_>>().concat();
        let (first, second) = text.split_at(1500);
        let packed = [gzip(first.as_bytes()), gzip(second.as_bytes())].concat();
        let mut longest = 0;
        for end in
            [packed.len() - 1, packed.len() - 8, packed.len() / 2, gzip(first.as_bytes()).len() + 3]
        {
            let (repaired, after) = repair(&packed[..end], true);
            assert_eq!(repaired, Repaired::Whole(None), "{end}");
            let after = gunzip(&after);
            assert!(text.as_bytes().starts_with(&after) && after.ends_with(b"\n"));
            longest = longest.max(after.len());
        }
        assert_eq!(longest, text.len());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(50))]
        #[test]
        fn a_log_torn_anywhere_keeps_its_whole_lines(
            records in prop::collection::vec("[a-z#{}\t]{0,20}", 0..20),
            cut in any::<prop::sample::Index>(),
        ) {
            let lines: Vec<_> = records.iter().map(|record| format!("1.5\t{record}\n")).collect();
            let lines = lines.concat();
            let text = format!("{HEAD}{lines}{CLOSE}");
            let torn = &text.as_bytes()[..=cut.index(text.len())];
            let (repaired, after) = repair(torn, false);
            let Some(end) = torn.rfind_byte(b'\n') else {
                prop_assert!(matches!(repaired, Repaired::Hopeless(_)));
                return Ok(());
            };
            let is_closed = end + 1 == text.len();
            let close = if is_closed { "" } else { CLOSE };
            let expected = [&torn[..=end], close.as_bytes()].concat();
            prop_assert_eq!(after.as_bstr(), expected.as_bstr());
        }
    }
}
