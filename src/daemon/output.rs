//! Standard output of a daemon: lines of JSON.
//!
//! They are only informative. Write failures, such as a full disk or a closed pipe, are reported on
//! standard error and do not stop the daemon; lost lines are counted. A partly written line is
//! completed before the next one.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use crate::rate_limit::RateLimit;

/// The interval between warnings about lost lines.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// Standard output of this process.
static OUTPUT: Mutex<Output> = Mutex::new(Output { rest: Vec::new(), lost: 0, warnings: None });

struct Output {
    /// The rest of a line that was partly written.
    rest: Vec<u8>,
    /// Lines lost since the last one that was written.
    lost: u64,
    warnings: Option<RateLimit>,
}

/// Writes a line, or counts it as lost and warns at a limited rate.
///
/// # Errors
/// When it was lost.
pub(super) fn write_line(line: &str) -> io::Result<()> {
    let mut output: MutexGuard<'_, Output> = OUTPUT.lock().unwrap_or_else(PoisonError::into_inner);
    output.line(line, io::stdout().as_fd())
}

impl Output {
    fn line(&mut self, line: &str, to: BorrowedFd<'_>) -> io::Result<()> {
        let outcome = self.write(line, to);
        if let Err(error) = &outcome {
            self.lost += 1;
            let warnings = self.warnings.get_or_insert_with(|| RateLimit::new(WARNING_INTERVAL));
            if warnings.check(Instant::now()).is_some() {
                let lost = self.lost;
                log::warn!("cannot write to stdout: {error}; lines lost so far: {lost}");
            }
        } else if self.lost > 0 {
            log::info!("stdout is writable again; {} lines were lost", self.lost);
            self.lost = 0;
            self.warnings = None;
        }
        outcome
    }

    fn write(&mut self, line: &str, to: BorrowedFd<'_>) -> io::Result<()> {
        let written = write_all(to, &self.rest);
        self.rest.drain(..written.0);
        written.1?;
        let line = format!("{line}\n").into_bytes();
        let (count, outcome) = write_all(to, &line);
        if count > 0 && outcome.is_err() {
            // The rest is written before the next line.
            self.rest = line[count..].to_vec();
            return Ok(());
        }
        outcome
    }
}

/// Writes as much as possible, and returns how much. Waits for slow readers, even if the descriptor
/// is non-blocking.
pub(super) fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> (usize, io::Result<()>) {
    let all = bytes.len();
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes).map_err(io::Error::from) {
            Ok(0) => return (all - bytes.len(), Err(ErrorKind::WriteZero.into())),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                // If `poll` fails, the write fails too.
                let _ = poll(&mut [PollFd::from_borrowed_fd(to, PollFlags::OUT)], None);
            }
            Err(error) => return (all - bytes.len(), Err(error)),
        }
    }
    (all, Ok(()))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Read;

    use super::*;

    fn output() -> Output {
        Output { rest: Vec::new(), lost: 0, warnings: None }
    }

    #[test]
    fn lines_that_nobody_takes_are_counted_until_somebody_does() {
        let dir = tempfile::tempdir().unwrap();
        let full = File::options().write(true).open("/dev/full").unwrap();
        let file = File::create(dir.path().join("out")).unwrap();
        let mut output = output();
        for lost in 1..=3 {
            let error = output.line("{}", full.as_fd()).unwrap_err();
            assert_eq!((error.kind(), output.lost), (ErrorKind::StorageFull, lost));
        }
        output.line("{\"a\":1}", file.as_fd()).unwrap();
        assert_eq!(output.lost, 0);
        assert_eq!(fs::read_to_string(dir.path().join("out")).unwrap(), "{\"a\":1}\n");
    }

    #[test]
    fn a_reader_that_has_gone_is_an_error() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let error = output().line("{}", writer.as_fd()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_line_that_was_begun_is_ended_before_the_next_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = File::create(dir.path().join("out")).unwrap();
        let mut output = Output { rest: b"\"end\"}\n".into(), ..output() };
        let full = File::options().write(true).open("/dev/full").unwrap();
        output.line("{}", full.as_fd()).unwrap_err();
        output.line("{\"next\":1}", file.as_fd()).unwrap();
        let text = fs::read_to_string(dir.path().join("out")).unwrap();
        assert_eq!(text, "\"end\"}\n{\"next\":1}\n");
    }

    #[test]
    fn a_pipe_that_does_not_block_is_waited_for() {
        let (mut reader, writer) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let long = "x".repeat(1 << 20);
        let expected = format!("{long}\n");
        let thread = std::thread::spawn(move || {
            let outcome = output().line(&long, writer.as_fd());
            drop(writer);
            outcome
        });
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        thread.join().unwrap().unwrap();
        assert_eq!(text, expected);
    }
}
