//! [`Waker`]: wakes a thread that is polling, from any other thread.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, eventfd};

/// An eventfd. Several wake-ups before the sleeper reacts count as one.
#[derive(Debug)]
pub struct Waker {
    fd: OwnedFd,
    /// Set while a wake-up is pending, so that a burst of sends costs one system call.
    pending: AtomicBool,
}

impl Waker {
    /// A new one.
    ///
    /// # Errors
    /// When the process is out of file descriptors.
    pub fn new() -> std::io::Result<Self> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Waker { fd, pending: AtomicBool::new(false) })
    }

    /// Wakes the sleeper, now or when it next goes to sleep.
    pub fn wake(&self) {
        if !self.pending.swap(true, Ordering::AcqRel) {
            // It only fails with 2^64 - 1 unread wake-ups, and then the sleeper is awake.
            let _ = rustix::io::write(&self.fd, &1u64.to_ne_bytes());
        }
    }

    /// The sleeper calls this once awake, *before* it checks what it was woken for.
    pub fn reset(&self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.fd, &mut count);
        // A swap makes everything visible that happened before the wake-ups it consumes.
        self.pending.swap(false, Ordering::AcqRel);
    }
}

impl AsRawFd for Waker {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
