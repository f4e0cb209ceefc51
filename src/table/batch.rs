//! [`Batch`]: changes of a table that wait to be published (WIRE.md §8.7). Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bstr::{BStr, BString};

use crate::value::Value;

/// Changes that together are about this many bytes are published, whatever their number.
pub(super) const MAX_BYTES: usize = 1 << 20;

/// Longer delays are this long, which any clock can say.
pub(super) const LONGEST_DELAY: Duration = Duration::from_secs(365 * 86_400);

/// When changes are published.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// This many at once; 0: each by itself.
    pub(super) max_batch_size: usize,
    /// This long after the changes before; 0: each by itself.
    pub(super) max_batch_delay: Duration,
}

/// What to do after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Publish everything.
    Now,
    /// Publish everything then, unless it happens before.
    At(Instant),
}

/// Changes by topic. There are never more than the limits say.
#[derive(Debug)]
pub(super) struct Batch {
    limits: Limits,
    queues: BTreeMap<BString, Vec<Value>>,
    changes: usize,
    bytes: usize,
    published: Option<Instant>,
}

impl Batch {
    pub(super) fn new(mut limits: Limits) -> Self {
        limits.max_batch_delay = limits.max_batch_delay.min(LONGEST_DELAY);
        Batch { limits, queues: BTreeMap::new(), changes: 0, bytes: 0, published: None }
    }

    pub(super) fn push(&mut self, topic: &BStr, row: Value, now: Instant) -> Due {
        self.bytes += row.size();
        self.changes += 1;
        match self.queues.get_mut(topic) {
            Some(queue) => queue.push(row),
            None => _ = self.queues.insert(topic.to_owned(), vec![row]),
        }
        let Limits { max_batch_size, max_batch_delay } = self.limits;
        let is_full = self.changes >= max_batch_size || self.bytes >= MAX_BYTES;
        match self.published {
            Some(published)
                if !is_full
                    && !max_batch_delay.is_zero()
                    && now.saturating_duration_since(published) <= max_batch_delay =>
            {
                Due::At(published + max_batch_delay)
            }
            _ => Due::Now,
        }
    }

    /// What waits, to be published now.
    pub(super) fn take(&mut self, now: Instant) -> BTreeMap<BString, Vec<Value>> {
        self.changes = 0;
        self.bytes = 0;
        self.published = Some(now);
        std::mem::take(&mut self.queues)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_millis(10);

    fn batch(max_batch_size: usize, max_batch_delay: Duration) -> Batch {
        Batch::new(Limits { max_batch_size, max_batch_delay })
    }

    #[test]
    fn changes_wait_for_size_or_time() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        // (milliseconds, whether it is published at once), with one batch of at most 3.
        let rows = [
            (0, true),
            (0, false),
            (5, false),
            (6, true),
            (7, false),
            // Not more than the delay after the last.
            (16, false),
            (17, true),
            (28, true),
            (100, true),
            // The clock of another thread may be slightly behind.
            (99, false),
        ];
        let mut batch = batch(3, DELAY);
        let mut published = start;
        for (row, (millis, is_now)) in rows.into_iter().enumerate() {
            let due = batch.push("t".into(), Value::Count(1), at(millis));
            let expected = if is_now { Due::Now } else { Due::At(published + DELAY) };
            assert_eq!(due, expected, "row {row}");
            if is_now {
                published = at(millis);
                assert!(!batch.take(published).is_empty());
                assert!(batch.is_empty());
            }
        }
    }

    #[test]
    fn zero_turns_batches_off() {
        let now = Instant::now();
        for (size, delay) in [(0, DELAY), (10, Duration::ZERO)] {
            let mut batch = batch(size, delay);
            for _ in 0..3 {
                assert_eq!(batch.push("t".into(), Value::Count(1), now), Due::Now);
                batch.take(now);
            }
        }
    }

    #[test]
    fn batches_are_bounded_in_bytes() {
        let now = Instant::now();
        let mut batch = batch(usize::MAX, Duration::MAX);
        batch.take(now);
        let row = Value::from("x".repeat(1000));
        for _ in 0..MAX_BYTES / 1003 {
            // The end of a delay without end is still some time.
            let due = batch.push("t".into(), row.clone(), now);
            assert_eq!(due, Due::At(now + LONGEST_DELAY));
            assert!(batch.bytes < MAX_BYTES);
        }
        assert_eq!(batch.push("u".into(), row, now), Due::Now);
        assert!(batch.bytes >= MAX_BYTES);
        let queues = batch.take(now);
        assert_eq!(queues[BStr::new("u")].len(), 1);
        assert_eq!(batch.bytes, 0);
    }
}
