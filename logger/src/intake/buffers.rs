//! The memory of received bytes: counted, bounded and reused.
//!
//! Bytes are read into large buffers, batches are passed on as ranges of them, and a buffer returns
//! when the last batch in it is formatted.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use zcluster::telemetry::Gauge;
use zcluster::transport::Waker;

/// Bytes collected in a buffer before it is sent.
pub(super) const BUFFER: usize = 256 << 10;
/// Overhead of a buffer in flight, mainly the list of its batches.
const OVERHEAD: usize = 512;
/// Free buffers kept for reuse.
const KEPT: usize = 16;

/// The bytes in flight from the socket to the formatters.
#[derive(Debug)]
pub(crate) struct Buffers {
    /// Capacity and overhead of all buffers in flight.
    under_way: AtomicUsize,
    /// The limit for `under_way`. A single buffer may exceed it when there is no other.
    limit: usize,
    /// Capacity of the buffers that are kept for reuse.
    size: usize,
    /// Whether the receiver waits for room.
    wanted: AtomicBool,
    waker: Arc<Waker>,
    free: Mutex<Vec<Vec<u8>>>,
    /// The gauge of these bytes.
    memory: Gauge,
}

impl Buffers {
    /// With `is_encrypted`, buffers are larger: a read may decrypt to more bytes than fit behind
    /// the others.
    pub(super) fn new(
        limit: usize,
        is_encrypted: bool,
        waker: Arc<Waker>,
        memory: Gauge,
    ) -> Arc<Self> {
        Arc::new(Buffers {
            under_way: AtomicUsize::new(0),
            limit,
            size: if is_encrypted { 2 * BUFFER } else { BUFFER },
            wanted: AtomicBool::new(false),
            waker,
            free: Mutex::default(),
            memory,
        })
    }

    /// Returns an empty buffer with room for [`BUFFER`] bytes and, if encrypted, for the output of
    /// a read.
    pub(super) fn take(&self) -> Vec<u8> {
        let kept = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        kept.unwrap_or_else(|| Vec::with_capacity(self.size))
    }

    /// Bytes in flight.
    pub(crate) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }

    /// Returns whether more may be sent. If not, the waker is woken when there is room.
    pub(super) fn has_room(&self) -> bool {
        let is_room = || {
            let under_way = self.under_way.load(Ordering::SeqCst);
            under_way == 0 || under_way < self.limit
        };
        is_room() || {
            self.wanted.store(true, Ordering::SeqCst);
            // The last buffer may have returned just now.
            is_room()
        }
    }

    /// Counts `bytes` as in flight until the chunk is dropped.
    pub(super) fn send(self: &Arc<Self>, bytes: Vec<u8>) -> Chunk {
        let cost = bytes.capacity() + OVERHEAD;
        self.under_way.fetch_add(cost, Ordering::SeqCst);
        self.memory.inc_by(cost as i64);
        Chunk { bytes, home: Arc::clone(self) }
    }

    fn give_back(&self, mut bytes: Vec<u8>) {
        let cost = bytes.capacity() + OVERHEAD;
        self.memory.dec_by(cost as i64);
        if bytes.capacity() == self.size {
            bytes.clear();
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            if free.len() < KEPT {
                free.push(bytes);
            }
        }
        let left = self.under_way.fetch_sub(cost, Ordering::SeqCst) - cost;
        if (left == 0 || left < self.limit / 2) && self.wanted.swap(false, Ordering::SeqCst) {
            self.waker.wake();
        }
    }
}

/// Received bytes in flight; counted until the last user drops them.
#[derive(Debug)]
pub(crate) struct Chunk {
    bytes: Vec<u8>,
    home: Arc<Buffers>,
}

impl Deref for Chunk {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.home.give_back(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_way_is_bounded_and_comes_back() {
        let waker = Arc::new(Waker::new().unwrap());
        let buffers = Buffers::new(2 * BUFFER, false, waker, Gauge::default());
        let first = buffers.send(buffers.take());
        assert!(buffers.has_room());
        let second = buffers.send(Vec::with_capacity(3 * BUFFER));
        assert_eq!(buffers.under_way(), 4 * BUFFER + 2 * OVERHEAD);
        assert!(!buffers.has_room());
        drop(second);
        drop(first);
        assert_eq!((buffers.under_way(), buffers.has_room()), (0, true));
        assert_eq!(buffers.free.lock().unwrap().len(), 1, "only those of one size are kept");
        assert_eq!(buffers.take().capacity(), BUFFER);
    }
}
