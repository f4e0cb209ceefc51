//! Where commands write to: results to stdout, messages to stderr, and secrets to new files.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::ops::Range;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use zcluster::atomic_file;
use zcluster::daemon::{self, Failure, cannot_print};
use zcluster::exit::ExitCode;

/// Ends a command: prints a failure as one line on stderr, and returns the exit code.
pub(crate) fn end(done: Result<(), Failure>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::Ok,
        Err(failure) => {
            say(&format!("zcluster: {}", failure.message));
            failure.code
        }
    }
}

/// Writes a line to stderr. If that fails, only the exit code reports the problem.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Writes to stdout. A reader that closes the pipe after reading something, as in `… | head`, is
/// not an error; one that reads nothing is.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    daemon::print_text(text).map_err(|error| cannot_print(&error))
}

/// Whether standard output is a pipe that has no reader left.
pub(crate) fn is_unread() -> bool {
    let stdout = io::stdout();
    let mut polled = [PollFd::from_borrowed_fd(stdout.as_fd(), PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    // If `poll` fails, the next write reports the problem.
    let _ = poll(&mut polled, Some(&now));
    polled[0].revents().contains(PollFlags::ERR)
}

/// Rows as a table. Columns of numbers are right-aligned.
pub(crate) fn aligned<const N: usize>(rows: &[[String; N]], numbers: Range<usize>) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            let gap = if column == 0 { "" } else { "  " };
            let _ = if numbers.contains(&column) {
                write!(line, "{gap}{cell:>width$}")
            } else {
                write!(line, "{gap}{cell:<width$}")
            };
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// Peers choose their names: none may drive the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.escape_debug().to_string()
}

/// Writes a secret to stdout. Any failed write is an error: the secret may exist nowhere else.
pub(crate) fn print_secret(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| cannot_print(&error))
}

/// Writes a new file that only its owner can read.
pub(crate) fn write_secret(path: &Path, text: &str) -> Result<(), Failure> {
    atomic_file::create(path, 0o600, text.as_bytes())
        .map_err(|error| cannot("create", path, &error))
}

/// The failure of an operation on a file.
pub(crate) fn cannot(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(ExitCode::Io, format!("cannot {what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_of_secrets_is_for_its_owner_and_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        write_secret(&path, "secret").unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let failure = write_secret(&path, "other").unwrap_err();
        assert_eq!(failure.code, ExitCode::Io);
        assert_eq!(fs::read_to_string(&path).unwrap(), "secret");
    }
}
