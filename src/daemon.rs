//! What every daemon does alike: arguments, its own log, signals, the ready line, exit codes.
//!
//! Standard output carries JSON lines only, and the first is `{"ready":{…}}`; what people read
//! goes to standard error (`RUST_LOG` says how much of it).

use std::fmt;
use std::io::Write;
use std::{env, process};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::exit::ExitCode;

/// Why a daemon ends other than by request: one line for people, and the exit code.
#[derive(Debug)]
pub struct Failure {
    /// What kind of failure.
    pub code: ExitCode,
    /// What, where, and what was expected.
    pub message: String,
}

impl Failure {
    /// A failure of that kind.
    pub fn new(code: ExitCode, message: impl fmt::Display) -> Self {
        Failure { code, message: message.to_string() }
    }

    /// A mistake in the configuration.
    pub fn config(message: impl fmt::Display) -> Self {
        Self::new(ExitCode::Config, message)
    }
}

/// The environment variable by which a supervisor gives its process id to the daemons it starts,
/// so that they end when it does.
pub const PARENT_PID: &str = "ZCLUSTER_PARENT_PID";

/// The body of a daemon's `main`: parses the command line, sets up logging, runs, and turns a
/// failure into one line and an exit code.
pub fn main<Args: clap::Parser>(
    run: impl FnOnce(Args) -> Result<(), Failure>,
) -> process::ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(answer) => {
            // Help and version go to stdout and are no mistake. Nothing can be done about a
            // stream that is gone.
            let _ = answer.print();
            return if answer.use_stderr() { ExitCode::Usage } else { ExitCode::Ok }.into();
        }
    };
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info"))
        .format_target(false)
        .init();
    match end_with_parent().and_then(|()| run(args)) {
        Ok(()) => ExitCode::Ok.into(),
        Err(failure) => {
            log::error!("{}", failure.message);
            failure.code.into()
        }
    }
}

/// Asks the kernel for SIGTERM when the parent ends, if [`PARENT_PID`] says that the parent is a
/// supervisor: even one that is killed leaves no daemon behind.
///
/// # Errors
/// When the parent was gone before the kernel was asked.
fn end_with_parent() -> Result<(), Failure> {
    let Some(named) = env::var_os(PARENT_PID) else { return Ok(()) };
    let refused = |e| Failure::new(ExitCode::Software, format!("cannot watch the parent: {e}"));
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
        .map_err(refused)?;
    let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().to_string());
    if parent.is_some_and(|parent| *named == *parent) {
        return Ok(());
    }
    let message = format!("the process {PARENT_PID}={} is not the parent", named.display());
    Err(Failure::new(ExitCode::Unavailable, message))
}

/// Prints the ready line with these members.
///
/// # Errors
/// When nobody reads standard output any more.
pub fn print_ready(members: serde_json::Map<String, serde_json::Value>) -> Result<(), Failure> {
    print_line(&serde_json::json!({ "ready": members }))
}

/// Prints a JSON line.
///
/// # Errors
/// When nobody reads standard output any more.
pub fn print_line(line: &serde_json::Value) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")
        .and_then(|()| stdout.flush())
        .map_err(|error| Failure::new(ExitCode::Io, format!("cannot write to stdout: {error}")))
}

/// What the operating system asks of a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: stop in good order.
    Stop,
    /// SIGHUP.
    Hangup,
}

/// Calls `handle` for every signal, on a thread of its own. A second request to stop ends the
/// process at once: somebody is waiting.
///
/// # Errors
/// When the system refuses the handlers or the thread.
pub fn on_signals(handle: impl Fn(Signal) + Send + 'static) -> Result<(), Failure> {
    let fail = |error| Failure::new(ExitCode::Software, format!("cannot handle signals: {error}"));
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(fail)?;
    let body = move || {
        let mut stopping = false;
        for signal in signals.forever() {
            if signal == SIGHUP {
                handle(Signal::Hangup);
                continue;
            }
            if std::mem::replace(&mut stopping, true) {
                log::warn!("second request to stop: ending at once");
                process::exit(ExitCode::Software.code().into());
            }
            handle(Signal::Stop);
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(body).map_err(fail)?;
    Ok(())
}
