//! [`Content`]: the keys and values of a store. Pure.

use indexmap::IndexMap;

use super::expiry::Expiry;
use crate::value::Value;

/// What a key has.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) value: Value,
    pub(super) expiry: Option<Expiry>,
}

/// Entries at positions without gaps. A removal fills its gap with the last entry, so a walk from the last position
/// to the first misses none that stays.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    map: IndexMap<Value, Entry, ahash::RandomState>,
}

impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        self.map == other.map
    }
}

impl Content {
    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    pub(super) fn get(&self, key: &Value) -> Option<&Entry> {
        self.map.get(key)
    }

    pub(super) fn at(&self, position: usize) -> Option<(&Value, &Entry)> {
        self.map.get_index(position)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Value, &Entry)> {
        self.map.iter()
    }

    pub(super) fn into_entries(self) -> Vec<(Value, Entry)> {
        self.map.into_iter().collect()
    }

    /// Sets or removes an entry; returns the one before.
    pub(super) fn set(&mut self, key: &Value, entry: Option<Entry>) -> Option<Entry> {
        let Some(entry) = entry else {
            let removed = self.map.swap_remove(key);
            self.give_back();
            return removed;
        };
        match self.map.get_mut(key) {
            Some(old) => Some(std::mem::replace(old, entry)),
            None => self.map.insert(key.clone(), entry),
        }
    }

    /// After most entries are gone, gives memory back, seldom enough to cost nothing per removal.
    fn give_back(&mut self) {
        let len = self.map.len();
        if self.map.capacity() > 1024 && len < self.map.capacity() / 8 {
            self.map.shrink_to(len * 2);
        }
    }
}
