//! [`History`]: the last changes, for clones that have missed some. Pure.

use std::collections::VecDeque;

use crate::store::limits::{CATCH_UP_BYTES, MAX_HISTORY, MAX_HISTORY_BYTES};
use crate::store::protocol::Change;

/// The last changes that were published, in order.
#[derive(Debug, Default)]
pub(super) struct History {
    changes: VecDeque<(usize, Change)>,
    bytes: usize,
    /// The sequence number of the last one.
    last: u64,
}

impl History {
    /// Adds the change with the next sequence number.
    pub(super) fn push(&mut self, change: Change) {
        let size = change.size();
        self.last += 1;
        self.bytes += size;
        self.changes.push_back((size, change));
        while self.changes.len() > MAX_HISTORY || self.bytes > MAX_HISTORY_BYTES {
            let Some((size, _)) = self.changes.pop_front() else { return };
            self.bytes -= size;
        }
    }

    /// The changes after that sequence number, as many as are sent at once; `None` if the first of them is not
    /// known any more.
    pub(super) fn after(&self, sequence: u64) -> Option<impl Iterator<Item = &Change>> {
        let missing = self.last.checked_sub(sequence)?;
        let missing = usize::try_from(missing).ok().filter(|n| *n <= self.changes.len())?;
        let mut room = CATCH_UP_BYTES;
        let changes = self.changes.range(self.changes.len() - missing..);
        Some(changes.map_while(move |(size, change)| {
            let has_room = room > 0;
            room = room.saturating_sub(*size);
            has_room.then_some(change)
        }))
    }
}
