//! [`Noted`]: a change, for those who watch the store.

use bstr::BStr;

use super::content::{Content, Entry};
use super::protocol::{Change, Kind};
use crate::Value;

/// A change of one entry, and the value that it had before, if that is known.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Noted {
    pub(super) change: Change,
    pub(super) old: Option<Value>,
}

impl Noted {
    pub(super) fn new(change: Change, old: Option<Entry>) -> Self {
        Noted { change, old: old.map(|entry| entry.value) }
    }

    /// What it means for each entry that all are erased.
    pub(super) fn erased(content: &Content, by: &BStr) -> impl Iterator<Item = Noted> {
        content.iter().map(|(key, entry)| {
            Noted::new(Change::new(Kind::Erase, key, None, by), Some(entry.clone()))
        })
    }
}
