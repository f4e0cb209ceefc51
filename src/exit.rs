//! Exit codes of all binaries: the subset of `sysexits.h` that is in use.

use std::process;

/// Why a process exits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Success.
    Ok = 0,
    /// The command line is wrong.
    Usage = 64,
    /// Input data is wrong.
    Data = 65,
    /// A required service is unavailable.
    Unavailable = 69,
    /// An internal error: a bug.
    Software = 70,
    /// Reading or writing failed.
    Io = 74,
    /// The configuration is wrong.
    Config = 78,
}

impl ExitCode {
    /// The numeric exit code.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<ExitCode> for process::ExitCode {
    fn from(code: ExitCode) -> Self {
        process::ExitCode::from(code.code())
    }
}
