//! [`Deadlines`]: which entries expire next. Pure.

use std::collections::BTreeSet;

use crate::store::Expiry;
use crate::value::{Timestamp, Value};

/// The keys of all entries that expire, by time.
#[derive(Debug, Default)]
pub(super) struct Deadlines(BTreeSet<(Timestamp, Value)>);

impl Deadlines {
    /// The entry of a key has another expiry.
    pub(super) fn replace(&mut self, key: &Value, old: Option<Expiry>, new: Option<Expiry>) {
        let time = |expiry: Expiry| expiry.expires;
        let (old, new) = (old.map(time), new.map(time));
        if old == new {
            return;
        }
        if let Some(time) = old {
            self.0.remove(&(time, key.clone()));
        }
        if let Some(time) = new {
            self.0.insert((time, key.clone()));
        }
    }

    pub(super) fn first(&self) -> Option<Timestamp> {
        self.0.first().map(|(time, _)| *time)
    }

    /// The key of an entry that has expired.
    pub(super) fn due(&self, now: Timestamp) -> Option<Value> {
        self.0.first().filter(|(time, _)| *time <= now).map(|(_, key)| key.clone())
    }
}
