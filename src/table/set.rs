//! [`Set`]: a handle of a set.

use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;
use std::ops::Deref;

use super::error::TableError;
use super::handle::{Key, Table};
use crate::app::Context;

/// A set that replicates: a table without values, whose other methods are those of [`Table`]. This is a
/// handle: clones are the same set. Made by [`Tables::set`](super::Tables::set).
pub struct Set<K>(pub(super) Table<K, ()>);

impl<K> Clone for Set<K> {
    fn clone(&self) -> Self {
        Set(self.0.clone())
    }
}

impl<K> fmt::Debug for Set<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Set").field(&self.0.core.id).finish()
    }
}

impl<K: Key> Set<K> {
    /// Adds an element; `false` if it was there. As with a table, that is then a change,
    /// [`Change::Changed`](super::Change::Changed), which lets it stay longer with `write_expire`.
    ///
    /// # Errors
    /// As [`Table::insert`].
    pub fn insert(&self, key: K, context: &mut Context<'_>) -> Result<bool, TableError> {
        self.0.insert(key, (), context).map(|previous| previous.is_none())
    }

    /// Removes an element; `false` if it was not there.
    ///
    /// # Errors
    /// As [`Table::remove`].
    pub fn remove<Q: Hash + Eq + ?Sized>(
        &self,
        key: &Q,
        context: &mut Context<'_>,
    ) -> Result<bool, TableError>
    where
        K: Borrow<Q>,
    {
        self.0.remove(key, context).map(|removed| removed.is_some())
    }
}

impl<K> Deref for Set<K> {
    type Target = Table<K, ()>;

    fn deref(&self) -> &Table<K, ()> {
        &self.0
    }
}
