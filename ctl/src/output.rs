//! Where commands write to: stdout for what was asked for, stderr for what there is to say, and new
//! files for secrets.

use std::io::{self, ErrorKind, Write};
use std::path::Path;

use zcluster::atomic_file;
use zcluster::daemon::Failure;
use zcluster::exit::ExitCode;

/// Ends a command: what went wrong is one line on stderr, and an exit code.
pub(crate) fn end(done: Result<(), Failure>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::Ok,
        Err(failure) => {
            eprintln!("zcluster: {}", failure.message);
            failure.code
        }
    }
}

/// Writes to stdout. A reader that has gone, as in `… | head`, is no error of ours.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    match print_all(text) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| cannot_write(&error)),
    }
}

/// Writes to stdout what nobody else has: who does not get it must know.
pub(crate) fn print_secret(text: &str) -> Result<(), Failure> {
    print_all(text).map_err(|error| cannot_write(&error))
}

fn print_all(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}

fn cannot_write(error: &io::Error) -> Failure {
    Failure::new(ExitCode::Io, format!("cannot write: {error}"))
}

/// Writes a file that must not exist, for the eyes of its owner.
pub(crate) fn write_secret(path: &Path, text: &str) -> Result<(), Failure> {
    atomic_file::create(path, 0o600, text.as_bytes())
        .map_err(|error| cannot("create", path, &error))
}

/// What could not be done with a file.
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
