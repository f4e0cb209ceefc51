//! [`Landing`]: where in its file the text of a log will land.
//!
//! The kernel copies text into the pages of a file about twice as fast if it need not shift it within
//! cache lines. So text begins in its buffer where in a cache line it will begin in the file. After
//! a rotation, or when several formatters share a file, that may be wrong: then the copy is slower.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of a cache line.
const LINE: usize = 64;

/// Known to whoever collects the text of a log, and, by clones that go with the pieces, to the writer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Landing {
    /// Bytes of text handed on so far.
    handed_on: usize,
    /// How many bytes more the file has, or fewer: headers, and what was rotated.
    more: Arc<AtomicUsize>,
}

impl Landing {
    /// Fills the start of an empty buffer, so that text behind it lies as it will in the file. Returns
    /// how many bytes these are.
    pub(crate) fn prepare(&self, text: &mut Vec<u8>) -> usize {
        let in_file = self.handed_on.wrapping_add(self.more.load(Ordering::Relaxed));
        let skip = in_file.wrapping_sub(text.as_ptr().addr()) % LINE;
        text.resize(skip, 0);
        skip
    }

    /// Counts text that is handed on. The clone goes with it.
    pub(crate) fn hand_on(&mut self, bytes: usize) -> Self {
        self.handed_on = self.handed_on.wrapping_add(bytes);
        self.clone()
    }

    /// Tells how long the file is with the text that this clone came with.
    pub(crate) fn landed(&self, length: u64) {
        self.more.store((length as usize).wrapping_sub(self.handed_on), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where in a cache line the text begins in memory.
    fn place(landing: &Landing) -> usize {
        let mut text = Vec::with_capacity(1000);
        let skip = landing.prepare(&mut text);
        assert_eq!(text.len(), skip);
        (text.as_ptr().addr() + skip) % LINE
    }

    #[test]
    fn text_lies_in_memory_as_it_will_in_the_file() {
        let mut landing = Landing::default();
        assert_eq!(place(&landing), 0, "a new file");
        let first = landing.hand_on(100);
        assert_eq!(place(&landing), 100 % LINE, "as far as is known");
        let second = landing.hand_on(1000);
        // There was a header.
        first.landed(30 + 100);
        assert_eq!(place(&landing), 1130 % LINE);
        second.landed(1130);
        assert_eq!(place(&landing), 1130 % LINE);
        // The file was rotated before the third.
        let third = landing.hand_on(2000);
        third.landed(2000);
        assert_eq!(place(&landing), 2000 % LINE);
    }
}
