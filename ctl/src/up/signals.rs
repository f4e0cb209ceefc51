//! The signals that `zcluster up` handles, from its start.
//!
//! SIGINT and SIGTERM stop the cluster. So does SIGHUP in a terminal, which sends it when it
//! closes; without a terminal, as a service, it is sent to all processes. If it is ignored from the
//! start, as with `nohup`, it stays ignored.

use std::fs::{self, File};
use std::io;
use std::thread;

use crossbeam_channel::Sender;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use zcluster::daemon::Failure;
use zcluster::exit::ExitCode;

use super::processes::Told;
use super::supervisor::Input;

/// Handles the signals and sends them to `told`.
///
/// # Errors
/// When the system refuses the handlers or the thread.
pub(crate) fn take(told: Sender<Told>) -> Result<(), Failure> {
    let fail = |error: io::Error| {
        Failure::new(ExitCode::Software, format!("cannot handle signals: {error}"))
    };
    let has_terminal = File::open("/dev/tty").is_ok();
    let hangup = if ignores_hangup() { None } else { Some(SIGHUP) };
    let mut signals = Signals::new([SIGINT, SIGTERM].into_iter().chain(hangup)).map_err(fail)?;
    let body = move || {
        for signal in signals.forever() {
            let is_stop = signal != SIGHUP || has_terminal;
            let input = if is_stop { Input::Stop } else { Input::Hangup };
            if told.send(Told::Input(input)).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("signals".into()).spawn(body).map_err(fail)?;
    Ok(())
}

/// Whether this process was started to outlive its terminal.
fn ignores_hangup() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.is_some_and(|mask| is_in_mask(mask.trim(), SIGHUP))
}

/// Whether a signal is in a set in the kernel's format: hexadecimal, with the first signal in the
/// last bit.
fn is_in_mask(mask: &str, signal: i32) -> bool {
    u64::from_str_radix(mask, 16).is_ok_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_read_as_the_kernel_writes_them() {
        for (mask, hangup, interrupt) in [
            ("0000000000000000", false, false),
            ("0000000000000001", true, false),
            ("0000000000001002", false, true),
            ("ffffffffffffffff", true, true),
            ("", false, false),
        ] {
            assert_eq!((is_in_mask(mask, SIGHUP), is_in_mask(mask, SIGINT)), (hangup, interrupt));
        }
    }
}
