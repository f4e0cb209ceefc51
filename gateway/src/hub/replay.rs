//! [`Replay`]: the last events, for clients of version 2 that return.

use std::collections::VecDeque;

use bstr::{BStr, BString};
use bytes::Bytes;

use super::Bounds;

#[derive(Debug)]
pub(super) struct Past {
    pub(super) seq: u64,
    pub(super) topic: BString,
    /// The number of the client that published it.
    pub(super) origin: Option<u64>,
    pub(super) text: Bytes,
}

/// Events in order, bounded in number and bytes; the oldest make room for new ones.
#[derive(Debug)]
pub(super) struct Replay {
    bounds: Bounds,
    past: VecDeque<Past>,
    bytes: usize,
    /// The last event that had to make room.
    forgotten: u64,
}

impl Replay {
    pub(super) fn new(bounds: Bounds) -> Self {
        Replay { bounds, past: VecDeque::new(), bytes: 0, forgotten: 0 }
    }

    pub(super) fn push(&mut self, seq: u64, topic: &BStr, origin: Option<u64>, text: Bytes) {
        self.bytes += topic.len() + text.len();
        self.past.push_back(Past { seq, topic: topic.into(), origin, text });
        while self.past.len() > self.bounds.messages || self.bytes > self.bounds.bytes {
            let Some(old) = self.past.pop_front() else { break };
            self.bytes -= old.topic.len() + old.text.len();
            self.forgotten = old.seq;
        }
    }

    /// Forgets everything up to that number, because events are missing there.
    pub(super) fn forget(&mut self, seq: u64) {
        self.past.clear();
        self.bytes = 0;
        self.forgotten = seq;
    }

    /// The events after that number, and the number up to which others may have been forgotten.
    pub(super) fn after(&self, seq: u64) -> (impl Iterator<Item = &Past>, Option<u64>) {
        let start = self.past.partition_point(|past| past.seq <= seq);
        (self.past.range(start..), (self.forgotten > seq).then_some(self.forgotten))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten_and_that_is_known() {
        let mut replay = Replay::new(Bounds { messages: 3, bytes: 20 });
        let seqs = |replay: &Replay, after| -> (Vec<u64>, Option<u64>) {
            let (past, forgotten) = replay.after(after);
            (past.map(|past| past.seq).collect(), forgotten)
        };
        for seq in [1, 2, 5] {
            replay.push(seq, "t".into(), None, Bytes::from("1234"));
        }
        assert_eq!(seqs(&replay, 0), (vec![1, 2, 5], None));
        assert_eq!(seqs(&replay, 2), (vec![5], None));
        assert_eq!(seqs(&replay, 9), (vec![], None));
        replay.push(6, "t".into(), None, Bytes::from("1234"));
        assert_eq!(seqs(&replay, 0), (vec![2, 5, 6], Some(1)));
        assert_eq!(seqs(&replay, 1), (vec![2, 5, 6], None));
        replay.push(7, "t".into(), None, Bytes::from("123456789012"));
        assert_eq!(seqs(&replay, 1), (vec![6, 7], Some(5)));
        replay.push(8, "t".into(), None, Bytes::from(vec![b'x'; 100]));
        assert_eq!(seqs(&replay, 5), (vec![], Some(8)), "larger than all of it");
        replay.push(9, "t".into(), None, Bytes::from("1234"));
        replay.forget(12);
        replay.push(13, "t".into(), None, Bytes::from("1234"));
        assert_eq!(seqs(&replay, 8), (vec![13], Some(12)));
        assert_eq!(seqs(&replay, 12), (vec![13], None));
    }
}
