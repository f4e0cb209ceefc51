//! [`Told`]: what a node's publisher has been told about subscriptions.

use super::names::Names;
use crate::raw::Notification;

/// The prefixes that a publisher knows of.
pub(super) struct Told {
    /// A bit for each prefix of the cluster.
    known: Vec<u64>,
    /// How many it does not know of yet.
    missing: usize,
    notifications: u64,
}

impl Told {
    pub(super) fn new(prefixes: usize) -> Self {
        Told { known: vec![0; prefixes.div_ceil(64)], missing: prefixes, notifications: 0 }
    }

    pub(super) fn take(&mut self, notification: Notification<'_>, names: &Names) {
        self.notifications += 1;
        let Notification::Subscribed(prefix) = notification else { return };
        // Other clients' prefixes are not counted.
        let Some(prefix) = names.prefix(prefix) else { return };
        let (word, bit) = (&mut self.known[prefix / 64], 1 << (prefix % 64));
        if *word & bit == 0 {
            *word |= bit;
            self.missing -= 1;
        }
    }

    /// Whether it knows all prefixes.
    pub(super) fn is_complete(&self) -> bool {
        self.missing == 0
    }

    pub(super) fn notifications(&self) -> u64 {
        self.notifications
    }
}
