//! One pass over a rotated file: counts its contents, computes the checksum of the shipped file,
//! and writes the compressed copy or, for another file system, the plain one. Memory is bounded by
//! the buffers here and the compression level.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Write};

use data_encoding::HEXLOWER;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::figures::{Counter, Figures};

/// Bytes read and written at a time.
const PIECE: usize = 128 << 10;

/// How rotated files are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Compression {
    /// Not compressed.
    #[default]
    None,
    /// At a level of 1 to 19; 0 is the library's default. High levels take tens of MiB of memory.
    Zstd(i32),
    /// At a level of 1 to 9; 0 is the library's default.
    Gzip(u32),
}

impl Compression {
    /// Returns the extension appended to the file's name.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Compression::None => "",
            Compression::Zstd(_) => ".zst",
            Compression::Gzip(_) => ".gz",
        }
    }
}

/// How to read the source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source {
    /// Whether it is a gzip stream, which is shipped unchanged.
    pub(crate) gzipped: bool,
    /// As in [`Counter::new`].
    pub(crate) bare_header: bool,
}

/// The result of a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Passed {
    pub(crate) figures: Figures,
    /// Size of the shipped file.
    pub(crate) size: u64,
    pub(crate) sha256: String,
    /// The error that ended a damaged gzip stream: the figures cover the part before it.
    pub(crate) damage: Option<String>,
}

/// Why a pass did not finish.
#[derive(Debug, Error)]
pub(crate) enum Unfinished {
    /// `stop` returned `true`.
    #[error("stopped")]
    Stopped,
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<Unfinished> for io::Error {
    fn from(unfinished: Unfinished) -> Self {
        match unfinished {
            Unfinished::Stopped => io::Error::other(unfinished),
            Unfinished::Io(error) => error,
        }
    }
}

/// Reads the whole file, and writes the result to `target` if there is one. Otherwise the source
/// itself is shipped. Calls `stop` regularly.
///
/// # Errors
/// If stopped, or if reading or writing fails. A damaged gzip stream is not an error.
pub(crate) fn pass(
    from: &File,
    source: Source,
    compression: Compression,
    target: Option<&File>,
    stop: &dyn Fn() -> bool,
) -> Result<Passed, Unfinished> {
    let mut counter = Counter::new(source.bare_header);
    match (compression, target) {
        (Compression::Zstd(level), Some(target)) if !source.gzipped => {
            let mut encoder = zstd::Encoder::new(Hashing::new(writer(target)), level)?;
            encoder.include_checksum(true)?;
            copy(from, &mut encoder, &mut counter, stop)?;
            finish(encoder.finish()?, counter, None)
        }
        (Compression::Gzip(level), Some(target)) if !source.gzipped => {
            let level = match level {
                0 => flate2::Compression::default(),
                level => flate2::Compression::new(level.min(9)),
            };
            let mut encoder = GzEncoder::new(Hashing::new(writer(target)), level);
            copy(from, &mut encoder, &mut counter, stop)?;
            finish(encoder.finish()?, counter, None)
        }
        _ => {
            let to: Box<dyn Write + '_> = match target {
                Some(target) => Box::new(target),
                None => Box::new(io::sink()),
            };
            let mut tee = Tee { from, to: Hashing::new(to) };
            let damage = if source.gzipped {
                read_gzip(&mut tee, &mut counter, stop)?
            } else {
                copy(&mut tee, &mut io::sink(), &mut counter, stop)?;
                None
            };
            finish(tee.to, counter, damage)
        }
    }
}

fn writer(target: &File) -> BufWriter<&File> {
    BufWriter::with_capacity(PIECE, target)
}

fn finish<W: Write>(
    mut shipped: Hashing<W>,
    counter: Counter,
    damage: Option<String>,
) -> Result<Passed, Unfinished> {
    shipped.flush()?;
    let (size, sha256) = shipped.result();
    Ok(Passed { figures: counter.finish(), size, sha256, damage })
}

/// Copies and counts the whole source.
fn copy(
    mut from: impl Read,
    to: &mut impl Write,
    counter: &mut Counter,
    stop: &dyn Fn() -> bool,
) -> Result<(), Unfinished> {
    let mut piece = vec![0; PIECE];
    loop {
        if stop() {
            return Err(Unfinished::Stopped);
        }
        match from.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                counter.add(&piece[..count]);
                to.write_all(&piece[..count])?;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Counts the text of a gzip stream, and reads the whole file even if the stream is damaged.
/// Returns the damage, if any.
fn read_gzip<W: Write>(
    tee: &mut Tee<'_, W>,
    counter: &mut Counter,
    stop: &dyn Fn() -> bool,
) -> Result<Option<String>, Unfinished> {
    let text = MultiGzDecoder::new(BufReader::with_capacity(PIECE, &mut *tee));
    let damage = match copy(text, &mut io::sink(), counter, stop) {
        Ok(()) => None,
        Err(Unfinished::Io(error)) if is_damage(&error) => Some(error.to_string()),
        Err(error) => return Err(error),
    };
    // Bytes after the stream or its damage are also shipped.
    copy(tee, &mut io::sink(), &mut Counter::new(false), stop)?;
    Ok(damage)
}

/// Returns whether an error is about the stream, not about reading the file.
pub(crate) fn is_damage(error: &io::Error) -> bool {
    let kinds = [ErrorKind::InvalidData, ErrorKind::InvalidInput, ErrorKind::UnexpectedEof];
    error.raw_os_error().is_none() && kinds.contains(&error.kind())
}

/// Copies everything it reads to `to`.
struct Tee<'a, W> {
    from: &'a File,
    to: Hashing<W>,
}

impl<W: Write> Read for Tee<'_, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.to.write_all(&buffer[..count])?;
        Ok(count)
    }
}

/// Counts and hashes everything it writes.
struct Hashing<W> {
    to: W,
    size: u64,
    sha256: Sha256,
}

impl<W: Write> Hashing<W> {
    fn new(to: W) -> Self {
        Hashing { to, size: 0, sha256: Sha256::new() }
    }

    fn result(self) -> (u64, String) {
        (self.size, HEXLOWER.encode(&self.sha256.finalize()))
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.sha256.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn run(
        source: &[u8],
        gzipped: bool,
        compression: Compression,
        stop: &dyn Fn() -> bool,
    ) -> Result<(Passed, Vec<u8>), Unfinished> {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::write(&from, source).unwrap();
        let target = File::create(&to).unwrap();
        let source = Source { gzipped, bare_header: false };
        let from = File::open(&from).unwrap();
        let passed = pass(&from, source, compression, Some(&target), stop)?;
        let shipped = fs::read(&to).unwrap();
        assert_eq!(passed.size, shipped.len() as u64);
        assert_eq!(passed.sha256, HEXLOWER.encode(&Sha256::digest(&shipped)));
        Ok((passed, shipped))
    }

    fn text() -> Vec<u8> {
        (0..10_000).flat_map(|n| format!("{{\"ts\":{n}.5,\"a\":\"x\"}}\n").into_bytes()).collect()
    }

    #[test]
    fn what_is_shipped_is_what_was_read() {
        let text = text();
        let packed = gzip(&text);
        let mut members = gzip(&text[..1000]);
        members.extend(gzip(&text[1000..]));
        let never = || false;
        let unpack = |shipped: &[u8]| {
            let mut plain = Vec::new();
            MultiGzDecoder::new(shipped).read_to_end(&mut plain).unwrap();
            plain
        };
        for (source, gzipped, compression) in [
            (&text, false, Compression::None),
            (&text, false, Compression::Zstd(0)),
            (&text, false, Compression::Zstd(19)),
            (&text, false, Compression::Gzip(0)),
            (&text, false, Compression::Gzip(9)),
            (&packed, true, Compression::None),
            (&packed, true, Compression::Zstd(0)),
            (&members, true, Compression::None),
        ] {
            let (passed, shipped) = run(source, gzipped, compression, &never).unwrap();
            let plain = match compression {
                _ if gzipped => {
                    assert_eq!(shipped, *source);
                    unpack(&shipped)
                }
                Compression::None => shipped,
                Compression::Zstd(_) => zstd::decode_all(&*shipped).unwrap(),
                Compression::Gzip(_) => unpack(&shipped),
            };
            assert_eq!(plain, text, "{compression:?}");
            let figures = passed.figures;
            assert_eq!((figures.records, figures.bytes), (10_000, text.len() as u64));
            assert_eq!(figures.last.unwrap().0, 9_999_500_000);
            assert_eq!(passed.damage, None);
        }
    }

    #[test]
    fn a_damaged_stream_is_shipped_and_told() {
        let text = text();
        let packed = gzip(&text);
        for bad in [&packed[..packed.len() / 2], &packed[..5], b"", b"no gzip at all\n"] {
            let (passed, shipped) = run(bad, true, Compression::None, &|| false).unwrap();
            assert_eq!(shipped, bad);
            assert!(passed.damage.is_some(), "{}", bad.len());
            assert!(passed.figures.bytes < text.len() as u64);
        }
    }

    #[test]
    fn it_stops_when_told() {
        for compression in [Compression::None, Compression::Zstd(0), Compression::Gzip(0)] {
            let outcome = run(&text(), false, compression, &|| true);
            assert!(matches!(outcome, Err(Unfinished::Stopped)));
        }
    }

    #[test]
    fn the_source_itself_can_be_what_is_shipped() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"a\nb\n").unwrap();
        io::Seek::rewind(&mut file).unwrap();
        let source = Source { gzipped: false, bare_header: false };
        let passed = pass(&file, source, Compression::None, None, &|| false).unwrap();
        assert_eq!((passed.size, passed.figures.records), (4, 2));
    }
}
