//! [`Common`]: what all tables share. [`Counts`]: what happened to one.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use bstr::{BStr, BString};

use super::entries::{Stamp, nanos};
use crate::app::Clock;
use crate::rate_limit::KeyedRateLimit;

/// The same warning is logged once in this time, with the number of those between.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);
/// How many tables and kinds of warnings are told apart.
const MAX_WARNINGS: usize = 100;
/// How much of a name that somebody else chose is logged.
const MAX_NAME: usize = 100;

/// How often something happened to a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Changes from others that were applied, even if they changed nothing.
    pub applied: u64,
    /// Changes from others that were not, because they do not fit the table.
    pub skipped: u64,
    /// New elements from others for which there was no room (`max_entries`).
    pub refused: u64,
    /// Changes that were published, those of whole tables included.
    pub published: u64,
    /// Changes that were to be published and were not: they had no form in Zeek, no topic, or the
    /// node had ended.
    pub unpublished: u64,
    /// Elements that expired here.
    pub expired: u64,
}

/// As much of a name that somebody else chose as is logged.
pub(super) fn shown(name: &[u8]) -> &BStr {
    BStr::new(&name[..name.len().min(MAX_NAME)])
}

/// Time, warnings, and how expiry is checked.
pub(super) struct Common {
    clock: RefCell<Clock>,
    base: Instant,
    /// The app has ended: no timer fires any more.
    pub(super) is_finished: Cell<bool>,
    warnings: RefCell<KeyedRateLimit<(&'static str, BString)>>,
    /// `table_expire_interval`
    pub(super) expire_interval: Cell<Duration>,
    /// `table_incremental_step`
    pub(super) incremental_step: Cell<usize>,
    /// `table_expire_delay`
    pub(super) expire_delay: Cell<Duration>,
}

impl Default for Common {
    fn default() -> Self {
        Common {
            clock: RefCell::default(),
            base: Instant::now(),
            is_finished: Cell::default(),
            warnings: RefCell::new(KeyedRateLimit::new(WARNING_INTERVAL, MAX_WARNINGS)),
            expire_interval: Cell::new(Duration::from_secs(10)),
            incremental_step: Cell::new(5000),
            expire_delay: Cell::new(Duration::from_millis(10)),
        }
    }
}

impl Common {
    pub(super) fn set_clock(&self, clock: &Clock) {
        self.clock.replace(clock.clone());
    }

    /// On the clock of timers.
    pub(super) fn now(&self) -> Instant {
        self.clock.borrow().instant()
    }

    /// The same as a number.
    pub(super) fn stamp(&self) -> Stamp {
        nanos(self.now().saturating_duration_since(self.base))
    }

    /// Logs a warning about a table, at a limited rate for each kind.
    pub(super) fn warn(&self, kind: &'static str, id: &[u8], what: impl FnOnce() -> String) {
        let id = shown(id);
        if let Some(more) = self.warnings.borrow_mut().check(&(kind, id.to_owned()), self.now()) {
            log::warn!("table {id}: {} ({more} more like this)", what());
        }
    }
}
