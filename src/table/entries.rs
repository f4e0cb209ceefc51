//! [`Entries`]: the content of a table, and how old its elements are. Pure.

use std::borrow::Borrow;
use std::cell::Cell;
use std::hash::Hash;
use std::time::Duration;

use indexmap::IndexMap;

/// Nanoseconds on the clock of timers.
pub(super) type Stamp = i64;

/// When an element expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expiry {
    pub(super) after: Since,
    pub(super) timeout: Stamp,
}

/// What the age of an element counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Since {
    /// `&create_expire`
    Create,
    /// `&read_expire`: the last time it was read or assigned.
    Read,
    /// `&write_expire`
    Write,
}

impl Expiry {
    pub(super) fn new(after: Since, timeout: Duration) -> Self {
        Expiry { after, timeout: nanos(timeout) }
    }
}

/// A duration as a difference of stamps. A hundred years are as good as any longer time.
pub(super) fn nanos(duration: Duration) -> Stamp {
    const LONG: Stamp = 100 * 365 * 86_400 * 1_000_000_000;
    Stamp::try_from(duration.as_nanos()).unwrap_or(LONG).min(LONG)
}

/// Elements at positions without gaps, so that a walk can be interrupted: from the last position to
/// the first, a walk misses none that stays, because a removal fills its gap with the last element.
#[derive(Debug)]
pub(super) struct Entries<K, V> {
    map: IndexMap<K, V, ahash::RandomState>,
    expiry: Option<Expiry>,
    /// By position; empty without an expiry.
    stamps: Vec<Cell<Stamp>>,
}

impl<K: Hash + Eq, V> Entries<K, V> {
    pub(super) fn new(expiry: Option<Expiry>) -> Self {
        Entries { map: IndexMap::default(), expiry, stamps: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.map.iter()
    }

    pub(super) fn position<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
    {
        self.map.get_index_of(key)
    }

    pub(super) fn at(&self, position: usize) -> Option<(&K, &V)> {
        self.map.get_index(position)
    }

    /// The value of a key, which counts as read.
    pub(super) fn read<Q: Hash + Eq + ?Sized>(
        &self,
        key: &Q,
        now: impl FnOnce() -> Stamp,
    ) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let (position, _, value) = self.map.get_full(key)?;
        if self.expiry.is_some_and(|expiry| expiry.after == Since::Read)
            && let Some(stamp) = self.stamps.get(position)
        {
            stamp.set(now());
        }
        Some(value)
    }

    /// Assigns a value; returns the one before.
    pub(super) fn assign(&mut self, key: K, value: V, now: Stamp) -> Option<V> {
        let (position, previous) = self.map.insert_full(key, value);
        if let Some(expiry) = self.expiry {
            match self.stamps.get(position) {
                None => self.stamps.push(Cell::new(now)),
                Some(_) if expiry.after == Since::Create => {}
                Some(stamp) => stamp.set(now),
            }
        }
        previous
    }

    pub(super) fn remove(&mut self, position: usize) -> Option<(K, V)> {
        let removed = self.map.swap_remove_index(position)?;
        if position < self.stamps.len() {
            self.stamps.swap_remove(position);
        }
        self.give_back();
        Some(removed)
    }

    /// Whether the element has reached its age.
    pub(super) fn is_due(&self, position: usize, now: Stamp) -> bool {
        match (self.expiry, self.stamps.get(position)) {
            (Some(expiry), Some(stamp)) => stamp.get() + expiry.timeout < now,
            _ => false,
        }
    }

    /// Lets an element expire some time from now.
    pub(super) fn keep(&self, position: usize, now: Stamp, time: Stamp) {
        if let (Some(expiry), Some(stamp)) = (self.expiry, self.stamps.get(position)) {
            stamp.set(now - expiry.timeout + time);
        }
    }

    /// After most elements are gone, gives memory back, seldom enough to cost nothing per removal.
    fn give_back(&mut self) {
        let len = self.map.len();
        if self.map.capacity() > 1024 && len < self.map.capacity() / 8 {
            self.map.shrink_to(len * 2);
            self.stamps.shrink_to(len * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn entries(after: Since, timeout: Stamp) -> Entries<u8, u8> {
        Entries::new(Some(Expiry { after, timeout }))
    }

    #[test]
    fn ages_count_from_what_the_option_says() {
        // Assigned at 0, read at 10, assigned again at 20: when it is due with a timeout of 100.
        for (after, due) in [(Since::Create, 101), (Since::Write, 121), (Since::Read, 121)] {
            let mut entries = entries(after, 100);
            assert_eq!(entries.assign(1, 1, 0), None);
            assert_eq!(entries.read(&1, || 10), Some(&1));
            assert_eq!(entries.assign(1, 2, 20), Some(1));
            assert!(!entries.is_due(0, due - 1), "{after:?}");
            assert!(entries.is_due(0, due), "{after:?}");
        }
        let mut read = entries(Since::Read, 100);
        read.assign(1, 1, 0);
        read.read(&1, || 50);
        assert!(!read.is_due(0, 150));
        assert!(read.is_due(0, 151));
        read.keep(0, 151, 30);
        assert!(!read.is_due(0, 181));
        assert!(read.is_due(0, 182));
    }

    #[test]
    fn memory_is_given_back() {
        let mut entries = Entries::<u64, ()>::new(Some(Expiry::new(Since::Create, Duration::MAX)));
        for key in 0..100_000 {
            entries.assign(key, (), 0);
        }
        for key in 10..100_000 {
            let position = entries.position(&key).unwrap();
            entries.remove(position);
        }
        assert!(entries.map.capacity() < 5000, "{}", entries.map.capacity());
        assert!((0..10).all(|key| entries.read(&key, || 0).is_some()));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Assign(u8),
        Remove(u8),
        Walk(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0..40_u8).prop_map(Step::Assign),
            (0..40_u8).prop_map(Step::Remove),
            (1..5_usize).prop_map(Step::Walk),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        /// An interrupted walk sees each element that was there from its start to its end.
        #[test]
        fn walks_miss_nothing(first in prop::collection::btree_set(0..40_u8, 0..40), steps in steps()) {
            let mut entries = entries(Since::Write, 100);
            let mut stamps = BTreeMap::new();
            for key in &first {
                entries.assign(*key, 0, 0);
                stamps.insert(*key, 0);
            }
            let mut stayed = first;
            let (mut seen, mut cursor) = (BTreeSet::new(), entries.len());
            let mut walk = |entries: &Entries<u8, u8>, count: usize| {
                for _ in 0..count {
                    cursor = cursor.min(entries.len());
                    if cursor > 0 {
                        cursor -= 1;
                        seen.insert(*entries.at(cursor).unwrap().0);
                    }
                }
            };
            for (now, step) in (1..).zip(steps) {
                match step {
                    Step::Assign(key) => {
                        entries.assign(key, 0, now);
                        stamps.insert(key, now);
                    }
                    Step::Remove(key) => {
                        if let Some(position) = entries.position(&key) {
                            entries.remove(position);
                        }
                        stayed.remove(&key);
                        stamps.remove(&key);
                    }
                    Step::Walk(count) => walk(&entries, count),
                }
            }
            walk(&entries, 1000);
            prop_assert!(stayed.is_subset(&seen), "{stayed:?} {seen:?}");
            prop_assert_eq!(entries.len(), stamps.len());
            for (key, stamp) in stamps {
                let position = entries.position(&key).unwrap();
                prop_assert!(!entries.is_due(position, stamp + 100));
                prop_assert!(entries.is_due(position, stamp + 101));
            }
        }
    }
}
