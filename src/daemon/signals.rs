//! [`Signals`]: the signals that a daemon handles, from its start.
//!
//! By default each of them kills the process. They are caught before anything else is done, so that
//! none kills a daemon that is starting, and take effect once it is ready.

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

/// A request of the operating system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: stop cleanly.
    Stop,
    /// SIGHUP.
    Hangup,
}

/// A SIGINT this soon after the first request to stop is the same request: `timeout` and shells may
/// signal both the process and its group.
const SAME_REQUEST: Duration = Duration::from_secs(1);

/// The signals of this process. Clones share their state.
#[derive(Clone)]
pub struct Signals(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Set by a request to stop, and read where taking a lock would cost too much.
    is_stopping: AtomicBool,
}

struct State {
    phase: Phase,
    /// When a stop was first requested.
    stopping: Option<Instant>,
    /// Whether a SIGHUP is still to be handled.
    hangup: bool,
}

/// What a signal does.
enum Phase {
    /// A sudden exit can do no harm yet: a stop exits. SIGHUP is kept.
    Untouched,
    /// It has its default effect.
    Default,
    /// It is kept until the daemon has started.
    Starting,
    /// It is passed to the handler.
    Handled(Box<dyn Fn(Signal) + Send>),
}

impl Signals {
    /// Catches SIGTERM, SIGINT and SIGHUP. At first, a request to stop exits the process with code
    /// 0, and SIGHUP is kept for later.
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

    /// Restores the default effect of signals, for a process that only reads.
    pub fn leave_alone(&self) {
        self.state().phase = Phase::Default;
    }

    /// Keeps signals from here on, because a sudden exit could do harm. Long operations check
    /// whether the process [should stop](Self::is_stopping).
    pub fn keep(&self) {
        self.state().phase = Phase::Starting;
    }

    /// Whether the process has been asked to stop.
    pub fn is_stopping(&self) -> bool {
        self.0.is_stopping.load(Ordering::Relaxed)
    }

    /// Calls `handle` for every signal, in a separate thread, starting with those that came before;
    /// for requests to stop only once. Pressing Ctrl-C again exits the process at once, at any
    /// time.
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
            // This fails for unknown signals only.
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
