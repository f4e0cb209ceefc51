//! Old elements: a walk through the table in turns, as in Zeek. It takes `table_incremental_step`
//! elements, pauses for `table_expire_delay`, and at its end for `table_expire_interval`.

use std::time::Duration;

use super::batch::LONGEST_DELAY;
use super::callbacks::guarded;
use super::change::Change;
use super::entries::{Stamp, nanos};
use super::handle::{Key, Table, Yield};
use crate::app::Context;

/// Shorter pauses are this long, so that other events are handled between two turns.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

impl<K: Key, V: Yield> Table<K, V> {
    /// From now on checks for old elements, until there is no element.
    pub(super) fn watch_expiry(&self, context: &mut Context<'_>) {
        if !self.core.has_expiry_timer.get() {
            self.check_after(self.core.common.expire_interval.get(), context);
        }
    }

    fn check_after(&self, pause: Duration, context: &mut Context<'_>) {
        let table = self.clone();
        context.call_after(pause.clamp(SHORTEST_PAUSE, LONGEST_DELAY), move |context| {
            table.take_turn(context);
            Ok(())
        });
        self.core.has_expiry_timer.set(true);
    }

    /// One turn, and a timer for the next. There counts as being one all the while: elements that
    /// functions of the user add start no walk of their own.
    fn take_turn(&self, context: &mut Context<'_>) {
        if let Err(what) = guarded(|| self.check_expiry(context)) {
            self.core.warn("expiry", || format!("the search for old elements {what}"));
        }
        if self.is_empty() {
            self.core.expiry_cursor.set(0);
            self.core.has_expiry_timer.set(false);
            return;
        }
        let common = &self.core.common;
        let is_at_end = self.core.expiry_cursor.get() == 0;
        let pause = if is_at_end { &common.expire_interval } else { &common.expire_delay };
        self.check_after(pause.get(), context);
    }

    fn check_expiry(&self, context: &mut Context<'_>) {
        let common = &self.core.common;
        let now = common.stamp();
        let mut cursor = match self.core.expiry_cursor.get() {
            0 => self.len(),
            cursor => cursor,
        };
        for _ in 0..common.incremental_step.get().max(1) {
            // An earlier removal may have made the table shorter.
            cursor = cursor.min(self.len());
            if cursor == 0 {
                self.core.expiry_cursor.set(0);
                break;
            }
            cursor -= 1;
            // Now, so that the next turn gets past an element that panics.
            self.core.expiry_cursor.set(cursor);
            if self.core.entries.borrow().is_due(cursor, now) {
                self.expire(cursor, now, context);
            }
        }
    }

    fn expire(&self, position: usize, now: Stamp, context: &mut Context<'_>) {
        let key = self.core.entries.borrow().at(position).map(|(key, _)| key.clone());
        let Some(key) = key else { return };
        let keep = nanos(self.keeps(&key, context));
        if keep > 0 {
            let entries = self.core.entries.borrow();
            // The function may have removed or moved it.
            if let Some(position) = entries.position(&key) {
                entries.keep(position, now, keep);
            }
            return;
        }
        match self.take(&key, Change::Expired, false, context) {
            Ok(Some(_)) => self.core.count(|counts| counts.expired += 1),
            Ok(None) => {}
            Err(error) => self.core.warn("expiry", || format!("cannot expire: {error}")),
        }
    }

    /// How much longer an element is to stay, as `expire_func` says.
    fn keeps(&self, key: &K, context: &mut Context<'_>) -> Duration {
        let Some(mut func) = self.core.expire_func.take() else { return Duration::ZERO };
        let keep = guarded(|| func(self, key, context));
        self.core.expire_func.replace(Some(func));
        keep.unwrap_or_else(|what| {
            self.core.warn("expire_func", || format!("expire_func {what}"));
            Duration::ZERO
        })
    }
}
