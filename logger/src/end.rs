//! How the process ends: until when, why, and which of its threads ended too early.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crossbeam_channel::Sender;

/// Until when everything is to be written. Unset while nobody has asked for the end; then it is
/// one time for all threads, so that their patience does not add up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deadline(Arc<OnceLock<Instant>>);

impl Deadline {
    /// Sets it; the first time counts.
    pub(crate) fn set(&self, time: Instant) {
        let _ = self.0.set(time);
    }

    /// The time, once somebody has asked for the end.
    pub(crate) fn get(&self) -> Option<Instant> {
        self.0.get().copied()
    }

    /// Whether it has passed.
    pub(crate) fn is_over(&self) -> bool {
        self.get().is_some_and(|time| Instant::now() >= time)
    }
}

/// Why the process is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// SIGTERM or SIGINT.
    Requested,
    /// This thread is no more.
    Thread(&'static str),
}

/// Tells that a thread has ended when it goes out of scope: also when the thread panics.
pub(crate) struct TellEnd(pub(crate) Sender<End>, pub(crate) &'static str);

impl Drop for TellEnd {
    fn drop(&mut self) {
        // Nobody listens once the process ends on request.
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
