//! [`Deadlines`]: which entries expire next. Pure.

use std::collections::BTreeSet;

use crate::store::content::Entry;
use crate::value::{Timestamp, Value};

/// The keys of all entries that expire, by time.
#[derive(Debug, Default)]
pub(super) struct Deadlines(BTreeSet<(Timestamp, Value)>);

impl Deadlines {
    /// An entry replaces another one.
    pub(super) fn replace(&mut self, key: &Value, old: Option<&Entry>, new: Option<&Entry>) {
        let time = |entry: Option<&Entry>| Some(entry?.expiry?.expires);
        let (old, new) = (time(old), time(new));
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
