//! Pieces of text that formatters send to the writer, in buffers that are reused.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::format::Times;
use crate::landing::Landing;
use crate::logs::Log;
use crate::plans::Plan;

/// Text a log collects before it is written.
pub(crate) const PIECE: usize = 128 << 10;
/// Capacity of the buffers that are kept for reuse.
pub(crate) const KEPT_CAPACITY: std::ops::Range<usize> = 64 << 10..1 << 20;
/// Buffers kept.
const KEPT: usize = 16;

/// A request to the writer.
pub(crate) enum ToWrite {
    /// Write text.
    Piece(Piece),
    /// Rotate all logs now (SIGHUP).
    Rotate,
}

/// Text of one log: whole lines with one set of columns.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) log: Arc<Log>,
    pub(crate) plan: Plan,
    /// The text, behind `skip` bytes that do not count.
    pub(crate) text: Vec<u8>,
    pub(crate) skip: usize,
    pub(crate) landing: Landing,
    pub(crate) records: u64,
    pub(crate) times: Times,
    /// When the first record arrived.
    pub(crate) received: Instant,
}

/// Text buffers for reuse: a fresh one costs the kernel more than a write.
#[derive(Clone, Debug, Default)]
pub(crate) struct TextBuffers(Arc<Mutex<Vec<Vec<u8>>>>);

impl TextBuffers {
    pub(crate) fn take(&self) -> Vec<u8> {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        free.pop().unwrap_or_else(|| Vec::with_capacity(PIECE + PIECE / 2))
    }

    /// Keeps a buffer for reuse if it is worth it.
    pub(crate) fn give_back(&self, mut text: Vec<u8>) {
        if KEPT_CAPACITY.contains(&text.capacity()) {
            let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if free.len() < KEPT {
                text.clear();
                free.push(text);
            }
        }
    }
}
