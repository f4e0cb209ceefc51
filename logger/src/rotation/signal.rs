//! How threads are woken and told to stop.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Wakes the finisher's threads, and tells them to stop. Clones share the state.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waker(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Counts changes, including wake-ups, so that one between checking for work and sleeping is
    /// not missed.
    changes: u64,
    /// Set once a stop is requested.
    deadline: Option<Instant>,
    /// Threads that have ended.
    ended: usize,
}

impl Waker {
    /// Wakes the threads because there is work.
    pub(crate) fn wake(&self) {
        self.change(|_| {});
    }

    /// Requests a stop by that time.
    pub(crate) fn stop(&self, deadline: Instant) {
        self.change(|state| {
            state.deadline.get_or_insert(deadline);
        });
    }

    /// Counts a thread that has ended.
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

    /// Returns whether a stop is requested.
    pub(crate) fn is_stopping(&self) -> bool {
        self.state().deadline.is_some()
    }

    /// Returns whether the deadline has passed.
    pub(crate) fn is_over(&self) -> bool {
        self.state().deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Returns the value to pass to [`wait`](Self::wait); call it before checking for work.
    pub(crate) fn seen(&self) -> u64 {
        self.state().changes
    }

    /// Sleeps until a change after `seen`.
    pub(crate) fn wait(&self, seen: u64) {
        let is_same = |state: &mut State| state.changes == seen;
        // Not forever: if a wake-up is missing, the directory is still checked again.
        let timeout = Duration::from_secs(60);
        let _ = self.0.changed.wait_timeout_while(self.state(), timeout, is_same);
    }

    /// Sleeps for `time`, or until a stop is requested.
    pub(crate) fn pause(&self, time: Duration) {
        let is_on = |state: &mut State| state.deadline.is_none();
        let _ = self.0.changed.wait_timeout_while(self.state(), time, is_on);
    }

    /// Sleeps until `threads` threads have ended, or until `until`.
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
