//! What an error of a store means for a command: one line, and the exit code.

use std::time::Duration;

use zcluster::daemon::Failure;
use zcluster::exit::ExitCode;
use zcluster::peers::ErrorCode;
use zcluster::store::StoreError;

/// The failure of a command for a store that would wait that long.
pub(super) fn failure(store: &str, mut error: StoreError, timeout: Duration) -> Failure {
    use ErrorCode as E;
    let timeout = humantime::format_duration(timeout);
    if error.text.is_empty() {
        error.text = match error.code {
            E::NoSuchMaster => format!("no master was there within {timeout}"),
            E::RequestTimeout => {
                format!("no answer within {timeout}; a change may have been made, or be made yet")
            }
            _ => String::new(),
        };
    }
    let code = match error.code {
        E::NoSuchKey | E::TypeClash | E::InvalidData => ExitCode::Data,
        E::BackendFailure | E::CannotOpenFile | E::CannotWriteFile => ExitCode::Io,
        _ => ExitCode::Unavailable,
    };
    Failure::new(code, format!("store {store:?}: {error}"))
}

/// What is wrong with an argument.
pub(super) fn data(error: String) -> Failure {
    Failure::new(ExitCode::Data, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_their_name_and_an_exit_code() {
        for (error, code, expected) in [
            (StoreError::from(ErrorCode::NoSuchKey), ExitCode::Data, "NO_SUCH_KEY"),
            (
                ErrorCode::NoSuchMaster.into(),
                ExitCode::Unavailable,
                "NO_SUCH_MASTER: no master was there within 2s",
            ),
            (
                StoreError::new(ErrorCode::BackendFailure, "disk full"),
                ExitCode::Io,
                "BACKEND_FAILURE: disk full",
            ),
        ] {
            let failure = failure("a/b", error, Duration::from_secs(2));
            assert_eq!(failure.code, code);
            assert_eq!(failure.message, format!("store \"a/b\": {expected}"));
        }
    }
}
