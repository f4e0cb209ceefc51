//! `rotated.ndjson` in the log directory: a line of JSON for each complete file, for shippers to
//! follow.
//!
//! | member | |
//! |---|---|
//! | `path` | the log's path (WIRE.md §5.7), as text ([`zcluster::file_name`]) |
//! | `first`, `last` | earliest and latest `ts` of a record; `null` without any |
//! | `open`, `close` | when the log was opened and rotated |
//! | `records`, `bytes` | of the text, uncompressed |
//! | `sha256`, `size` | of the file itself |
//! | `file` | its location ([`location`]) |
//! | `terminating` | whether it was rotated because the logger shut down |
//!
//! Times are seconds since 1970. A line is written in one piece, and only after its file has its
//! final name. The manifest may be renamed at any time (`logrotate` without `copytruncate`); the
//! next line starts a new one.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bstr::ByteSlice;

use super::job::{Finished, Job, Micros};
use super::location::location;
use crate::files;

/// The name of the file.
pub(crate) const MANIFEST: &str = "rotated.ndjson";
/// Bytes at the end that are searched for a line that may have been written before a crash: it is
/// one of the last, because lines are written one after the other.
const LOOK_BACK: u64 = 256 << 10;

/// The manifest of a log directory.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    file: PathBuf,
    log_dir: PathBuf,
}

impl Manifest {
    pub(crate) fn new(log_dir: &Path) -> Self {
        Manifest { file: log_dir.join(MANIFEST), log_dir: log_dir.to_owned() }
    }

    /// Removes an incomplete last line left by a crash; its job still exists and writes it again.
    pub(crate) fn repair(&self) -> io::Result<()> {
        if files::look_at(&self.file)?.is_some() { self.open().map(|_| ()) } else { Ok(()) }
    }

    /// Adds the line of a finished job if it is missing, and syncs it.
    ///
    /// # Errors
    /// If the line cannot be written; then no part of it remains.
    pub(crate) fn add(&self, job: &Job, finished: &Finished) -> io::Result<()> {
        let line = line(job, finished, &self.log_dir);
        let is_new = files::look_at(&self.file)?.is_none();
        let Opened { mut file, length, tail } = self.open()?;
        if !tail.lines().any(|other| other == line.trim_end().as_bytes()) {
            append(&mut file, length, line.as_bytes())?;
        }
        file.sync_data()?;
        if is_new { files::sync_dir(&self.log_dir) } else { Ok(()) }
    }

    fn open(&self) -> io::Result<Opened> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&self.file)?;
        let mut length = file.metadata()?.len();
        let mut tail = Vec::new();
        file.seek(SeekFrom::Start(length.saturating_sub(LOOK_BACK)))?;
        (&mut file).take(LOOK_BACK).read_to_end(&mut tail)?;
        let whole = tail.rfind_byte(b'\n').map_or(0, |end| end + 1);
        if whole < tail.len() {
            let torn = tail.len() - whole;
            log::warn!("removed {torn} bytes of an incomplete line from {}", self.file.display());
            length -= torn as u64;
            file.set_len(length)?;
            tail.truncate(whole);
        }
        Ok(Opened { file, length, tail })
    }
}

/// The open file, which ends in a complete line.
struct Opened {
    file: File,
    length: u64,
    /// Its last bytes.
    tail: Vec<u8>,
}

/// Appends the whole line or nothing.
fn append(file: &mut File, length: u64, line: &[u8]) -> io::Result<()> {
    let outcome = file.write(line);
    if matches!(outcome, Ok(count) if count == line.len()) {
        return Ok(());
    }
    file.set_len(length)?;
    outcome.and(Err(io::Error::new(ErrorKind::StorageFull, "a line was written only in part")))
}

/// Returns the line with its end. It is the same each time for one job.
fn line(job: &Job, finished: &Finished, log_dir: &Path) -> String {
    let text = |text: String| serde_json::Value::from(text).to_string();
    let optional = |time: Option<Micros>| time.map_or_else(|| "null".to_owned(), seconds);
    format!(
        "{{\"path\":{},\"first\":{},\"last\":{},\"open\":{},\"close\":{},\"records\":{},\
         \"bytes\":{},\"sha256\":\"{}\",\"file\":{},\"size\":{},\"terminating\":{}}}\n",
        text(job.path_text()),
        optional(finished.first),
        optional(finished.last),
        seconds(job.open),
        seconds(job.close),
        finished.records,
        finished.bytes,
        finished.sha256,
        text(location(finished.file_path(), log_dir)),
        finished.size,
        job.terminating,
    )
}

/// Formats a JSON number: seconds, always with six decimals.
fn seconds(time: Micros) -> String {
    let sign = if time.0 < 0 { "-" } else { "" };
    let micros = time.0.unsigned_abs();
    format!("{sign}{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn finished(job: &Job) -> Finished {
        Finished {
            file: "/logs/\"conn\".log.zst".into(),
            id: job.source,
            size: 4,
            sha256: "ab".into(),
            records: 2,
            bytes: 3,
            first: None,
            last: Some(Micros(1_767_225_600_250_000)),
        }
    }

    #[test]
    fn lines_are_json_and_stand_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut job = super::super::job::tests::job(dir.path());
        job.path = b"c\xe9\\".into();
        let manifest = Manifest::new(dir.path());
        manifest.repair().unwrap();
        let finished = finished(&job);
        manifest.add(&job, &finished).unwrap();
        manifest.add(&job, &finished).unwrap();
        let text = fs::read_to_string(dir.path().join(MANIFEST)).unwrap();
        assert_eq!(
            text,
            "{\"path\":\"c%E9%5C\",\"first\":null,\"last\":1767225600.250000,\"open\":0.000001,\
             \"close\":-0.000002,\"records\":2,\"bytes\":3,\"sha256\":\"ab\",\
             \"file\":\"/logs/\\\"conn\\\".log.zst\",\"size\":4,\"terminating\":true}\n"
        );
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
    }

    #[test]
    fn a_torn_line_is_cut_at_any_point_and_comes_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut job = super::super::job::tests::job(dir.path());
        let manifest = Manifest::new(dir.path());
        let file = dir.path().join(MANIFEST);
        let finished = finished(&job);
        manifest.add(&job, &finished).unwrap();
        let first = fs::read(&file).unwrap();
        job.close = Micros(7);
        manifest.add(&job, &finished).unwrap();
        let both = fs::read(&file).unwrap();
        for end in 0..=both.len() {
            fs::write(&file, &both[..end]).unwrap();
            manifest.repair().unwrap();
            let whole = if end == both.len() {
                end
            } else if end >= first.len() {
                first.len()
            } else {
                0
            };
            assert_eq!(fs::read(&file).unwrap(), both[..whole]);
            if whole > 0 {
                manifest.add(&job, &finished).unwrap();
                assert_eq!(fs::read(&file).unwrap(), both);
            }
        }
    }

    #[test]
    fn a_line_that_does_not_fit_leaves_nothing() {
        let mut file = OpenOptions::new().append(true).open("/dev/full").unwrap();
        let error = append(&mut file, 0, b"line\n").unwrap_err();
        assert!(error.raw_os_error().is_some());
    }
}
