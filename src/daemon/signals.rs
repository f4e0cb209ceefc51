//! [`Signals`]: what the operating system asks of a daemon, from the first moment on.
//!
//! The default action of each is to kill. They are taken before anything else is done, so that none
//! does while the daemon starts, and acted upon once it is ready for that.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{io, process, thread};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals as Iterator;
use signal_hook::low_level::emulate_default_handler;

use super::Failure;
use crate::exit::ExitCode;

/// What the operating system asks of a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: stop in good order.
    Stop,
    /// SIGHUP.
    Hangup,
}

/// A second SIGINT that soon after a first request to stop is the same request: `timeout` and
/// shells may send a signal to the process and to its group.
const SAME_REQUEST: Duration = Duration::from_secs(1);

/// The signals of this process. Clones are the same.
#[derive(Clone)]
pub struct Signals(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Set by a request to stop, and looked at where a lock is too much.
    is_stopping: AtomicBool,
}

struct State {
    phase: Phase,
    /// When a stop was asked for first.
    stopping: Option<Instant>,
    /// Whether there was a SIGHUP that nobody has acted upon.
    hangup: bool,
}

/// What a signal does.
enum Phase {
    /// Nothing is under way that a sudden end could harm: a stop is the end. SIGHUP is kept.
    Untouched,
    /// It does what it does by default.
    Default,
    /// It is kept until the start is done.
    Starting,
    /// It is handed on.
    Handled(Box<dyn Fn(Signal) + Send>),
}

impl Signals {
    /// Takes SIGTERM, SIGINT and SIGHUP. As long as nothing else is said, a request to stop ends
    /// the process, with exit code 0, and SIGHUP is kept for later.
    ///
    /// # Errors
    /// When the system refuses the handlers or the thread.
    pub fn take() -> Result<Self, Failure> {
        let fail = |error: io::Error| {
            Failure::new(ExitCode::Software, format!("cannot handle signals: {error}"))
        };
        let state = State { phase: Phase::Untouched, stopping: None, hangup: false };
        let shared = Shared { state: Mutex::new(state), is_stopping: AtomicBool::new(false) };
        let own = Signals(Arc::new(shared));
        let mut signals = Iterator::new([SIGTERM, SIGINT, SIGHUP]).map_err(fail)?;
        let taken = own.clone();
        let body = move || signals.forever().for_each(|signal| taken.on(signal));
        thread::Builder::new().name("signals".into()).spawn(body).map_err(fail)?;
        Ok(own)
    }

    /// Lets signals do what they do by default: the process is one that only looks at things.
    pub fn leave_alone(&self) {
        self.state().phase = Phase::Default;
    }

    /// From here on a sudden end could harm: signals are kept. Whoever takes long asks whether the
    /// process [is to stop](Self::is_stopping).
    pub fn keep(&self) {
        self.state().phase = Phase::Starting;
    }

    /// Whether the process has been asked to stop.
    pub fn is_stopping(&self) -> bool {
        self.0.is_stopping.load(Ordering::Relaxed)
    }

    /// Calls `handle` for every signal, on a thread of its own, and first for those that came
    /// before; for requests to stop once. A person who presses Ctrl-C again ends the process at
    /// once, at any time.
    pub fn handle(&self, handle: impl Fn(Signal) + Send + 'static) {
        let mut state = self.state();
        if std::mem::take(&mut state.hangup) {
            handle(Signal::Hangup);
        }
        if state.stopping.is_some() {
            handle(Signal::Stop);
        }
        state.phase = Phase::Handled(Box::new(handle));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn on(&self, signal: i32) {
        let mut state = self.state();
        if let Phase::Default = state.phase {
            // It fails for signals that nobody knows.
            let _ = emulate_default_handler(signal);
            return;
        }
        if signal == SIGHUP {
            match &state.phase {
                Phase::Handled(handle) => handle(Signal::Hangup),
                _ => state.hangup = true,
            }
            return;
        }
        match state.stopping {
            None => {
                state.stopping = Some(Instant::now());
                self.0.is_stopping.store(true, Ordering::Relaxed);
                match &state.phase {
                    Phase::Untouched => {
                        log::info!("stop requested before startup");
                        process::exit(ExitCode::Ok.code().into());
                    }
                    Phase::Handled(handle) => handle(Signal::Stop),
                    Phase::Starting => log::info!("stop requested during startup"),
                    Phase::Default => {}
                }
            }
            Some(since) if signal == SIGINT && since.elapsed() > SAME_REQUEST => {
                log::warn!("interrupted again: exiting immediately");
                process::exit(ExitCode::Software.code().into());
            }
            Some(_) => {}
        }
    }
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signals").field("is_stopping", &self.is_stopping()).finish_non_exhaustive()
    }
}
