//! Shutdown of the process: its deadline, its reason, and threads that ended too early.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crossbeam_channel::Sender;

/// The time by which everything must be written. Unset until shutdown begins, then the same time
/// for all threads, so that their timeouts do not add up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deadline(Arc<OnceLock<Instant>>);

impl Deadline {
    /// Sets the deadline; only the first call counts.
    pub(crate) fn set(&self, time: Instant) {
        let _ = self.0.set(time);
    }

    /// The deadline, once shutdown has begun.
    pub(crate) fn get(&self) -> Option<Instant> {
        self.0.get().copied()
    }

    /// Returns whether the deadline has passed.
    pub(crate) fn is_over(&self) -> bool {
        self.get().is_some_and(|time| Instant::now() >= time)
    }
}

/// Why the process shuts down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// SIGTERM or SIGINT.
    Requested,
    /// This thread ended.
    Thread(&'static str),
}

/// Reports the end of a thread when dropped, also when the thread panics.
pub(crate) struct TellEnd(pub(crate) Sender<End>, pub(crate) &'static str);

impl Drop for TellEnd {
    fn drop(&mut self) {
        // During a requested shutdown the receiver is gone.
        let _ = self.0.send(End::Thread(self.1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_first_deadline_counts() {
        let deadline = Deadline::default();
        assert!(!deadline.is_over());
        let now = Instant::now();
        deadline.set(now);
        deadline.set(now + Duration::from_secs(3600));
        assert_eq!(deadline.get(), Some(now));
        assert!(deadline.is_over());
    }

    #[test]
    fn the_end_of_a_thread_is_told_however_it_comes() {
        let (tx, rx) = crossbeam_channel::unbounded();
        for panics in [false, true] {
            let guard = TellEnd(tx.clone(), "a");
            let thread = std::thread::spawn(move || {
                let _guard = guard;
                assert!(!panics, "as it should");
            });
            assert_eq!(thread.join().is_err(), panics);
            assert_eq!(rx.try_recv(), Ok(End::Thread("a")));
        }
    }
}
