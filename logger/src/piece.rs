//! What formatters hand to the writer: pieces of text, in buffers that come back to be used again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::format::Times;
use crate::logs::Log;
use crate::plans::Plan;

/// Text a log gathers before it is written.
pub(crate) const PIECE: usize = 128 << 10;
/// Capacity of the buffers that are kept for use.
pub(crate) const KEPT_CAPACITY: std::ops::Range<usize> = 64 << 10..1 << 20;
/// How many of them.
const KEPT: usize = 16;

/// What the writer is asked to do.
pub(crate) enum ToWrite {
    /// Write text.
    Piece(Piece),
    /// Rotate all logs now (SIGHUP).
    Rotate,
}

/// Text of one log, whole lines of one set of columns.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) log: Arc<Log>,
    pub(crate) plan: Plan,
    pub(crate) text: Vec<u8>,
    pub(crate) records: u64,
    pub(crate) times: Times,
    /// When the first of them arrived.
    pub(crate) received: Instant,
}

/// Text buffers that were used, for use again: a fresh one costs the kernel more than a write.
#[derive(Clone, Debug, Default)]
pub(crate) struct TextBuffers(Arc<Mutex<Vec<Vec<u8>>>>);

impl TextBuffers {
    pub(crate) fn take(&self) -> Vec<u8> {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        free.pop().unwrap_or_else(|| Vec::with_capacity(PIECE + PIECE / 2))
    }

    /// Takes a buffer back, if it is worth keeping.
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
