//! Where commands write to: stdout for what was asked for, stderr for what there is to say, and new
//! files for secrets.

use std::io::{self, Write};
use std::path::Path;

use zcluster::atomic_file;
use zcluster::daemon::{self, Failure, cannot_print};
use zcluster::exit::ExitCode;

/// Ends a command: what went wrong is one line on stderr, and an exit code.
pub(crate) fn end(done: Result<(), Failure>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::Ok,
        Err(failure) => {
            say(&format!("zcluster: {}", failure.message));
            failure.code
        }
    }
}

/// Writes a line to stderr. Where that cannot be written nobody can be told, and the exit code is all
/// there is.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Writes to stdout. A reader that has had something and then gone, as in `… | head`, is no error of
/// ours; one that was never there is.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    daemon::print_text(text).map_err(|error| cannot_print(&error))
}

/// Writes to stdout what nobody else has: who does not get it must know.
pub(crate) fn print_secret(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| cannot_print(&error))
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
