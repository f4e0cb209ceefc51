//! How threads are woken and told to stop.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Wakes the finisher, and tells it when to end. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waker(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Changes so far, wake-ups too: one between looking and sleeping is not missed.
    changes: u64,
    /// Set once the end is asked for.
    deadline: Option<Instant>,
    /// Threads that have ended.
    ended: usize,
}

impl Waker {
    /// There is something to do.
    pub(crate) fn wake(&self) {
        self.change(|_| {});
    }

    /// Asks for the end, by that time.
    pub(crate) fn stop(&self, deadline: Instant) {
        self.change(|state| {
            state.deadline.get_or_insert(deadline);
        });
    }

    /// A thread has ended.
    pub(crate) fn tell_ended(&self) {
        self.change(|state| state.ended += 1);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        state.changes += 1;
        drop(state);
        self.0.changed.notify_all();
    }

    /// How many threads have ended.
    pub(crate) fn ended(&self) -> usize {
        self.state().ended
    }

    /// Whether the end is asked for.
    pub(crate) fn is_stopping(&self) -> bool {
        self.state().deadline.is_some()
    }

    /// Whether the time to end has come.
    pub(crate) fn is_over(&self) -> bool {
        self.state().deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// What [`wait`](Self::wait) is to compare with; to be asked before looking for work.
    pub(crate) fn seen(&self) -> u64 {
        self.state().changes
    }

    /// Sleeps until a wake-up, or anything else, after `seen`.
    pub(crate) fn wait(&self, seen: u64) {
        let is_same = |state: &mut State| state.changes == seen;
        // Not for ever: whatever goes wrong with the wake-ups of a directory, it is looked at again.
        let timeout = Duration::from_secs(60);
        let _ = self.0.changed.wait_timeout_while(self.state(), timeout, is_same);
    }

    /// Sleeps for a time, or until the end is asked for.
    pub(crate) fn pause(&self, time: Duration) {
        let is_on = |state: &mut State| state.deadline.is_none();
        let _ = self.0.changed.wait_timeout_while(self.state(), time, is_on);
    }

    /// Sleeps until so many threads have ended, or that time has come.
    pub(crate) fn wait_for_end(&self, threads: usize, until: Instant) {
        let time = until.saturating_duration_since(Instant::now());
        let are_running = |state: &mut State| state.ended < threads;
        let _ = self.0.changed.wait_timeout_while(self.state(), time, are_running);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_wake_up_is_missed() {
        let waker = Waker::default();
        let seen = waker.seen();
        waker.wake();
        waker.wait(seen);
        let seen = waker.seen();
        let other = waker.clone();
        let thread = std::thread::spawn(move || other.wake());
        waker.wait(seen);
        thread.join().unwrap();
    }

    #[test]
    fn the_end_ends_every_sleep() {
        let waker = Waker::default();
        let now = Instant::now();
        waker.stop(now);
        waker.stop(now + Duration::from_secs(3600));
        assert!(waker.is_stopping() && waker.is_over());
        waker.pause(Duration::from_secs(3600));
        waker.tell_ended();
        waker.wait_for_end(1, now + Duration::from_secs(3600));
        waker.wait_for_end(2, now);
    }
}
