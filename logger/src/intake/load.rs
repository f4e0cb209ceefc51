//! [`Load`]: how far the receiving thread is held back, for the health check.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// What the receiving thread says of itself. Each number stands alone.
#[derive(Debug, Default)]
pub(crate) struct Load {
    /// Nanoseconds for which nothing could be read for want of room, since the start.
    held: AtomicU64,
    /// Connections that wait until the large messages of others are complete.
    waiting: AtomicUsize,
    /// Bytes of messages that have begun to arrive.
    arriving: AtomicUsize,
}

impl Load {
    /// Nothing could be read for that long.
    pub(super) fn add_held(&self, time: Duration) {
        self.held.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }

    pub(super) fn set_arriving(&self, waiting: usize, bytes: usize) {
        self.waiting.store(waiting, Ordering::Relaxed);
        self.arriving.store(bytes, Ordering::Relaxed);
    }

    /// For how long nothing could be read for want of room, since the start.
    pub(crate) fn held(&self) -> Duration {
        Duration::from_nanos(self.held.load(Ordering::Relaxed))
    }

    /// Whether a message waits until those of others are complete.
    pub(crate) fn has_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Bytes of messages that have begun to arrive.
    pub(crate) fn arriving(&self) -> usize {
        self.arriving.load(Ordering::Relaxed)
    }
}
