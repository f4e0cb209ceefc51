//! A shim: the command lives in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    match zcluster_ctl::parse() {
        Ok(cli) => zcluster_ctl::run(&cli).into(),
        Err(code) => code.into(),
    }
}
