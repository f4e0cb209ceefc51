//! Whole tables, sent in turns (`Cluster::publish_table`).

use std::time::Duration;

use bstr::{BStr, ByteSlice};

use super::batch::MAX_BYTES;
use super::callbacks::guarded;
use super::change::Change;
use super::handle::{Key, Table, Yield};
use super::walks::Walk;
use crate::app::Context;
use crate::value::Value;

/// Between two events, other events are handled.
const PAUSE: Duration = Duration::from_millis(1);

impl<K: Key, V: Yield> Table<K, V> {
    /// Publishes all elements as new ones, `batch_size` per event, or fewer if they are large
    /// ([`PUBLISH_TABLE_BATCH_SIZE`](super::PUBLISH_TABLE_BATCH_SIZE) is Zeek's default). The first event
    /// is published now, the others from timers, and each has the elements as they are then. So
    /// whoever gets changes of the table from this node, too, ends up with the same content. If the table
    /// is being published already, it is done once more after that; at most 1,000 topics wait. At
    /// `zeek_done`, all that is left is published. A table without
    /// [`publish_on_change`](super::Options::publish_on_change) is not published; a warning is logged.
    pub fn publish_table(
        &self,
        topic: impl AsRef<[u8]>,
        batch_size: usize,
        context: &mut Context<'_>,
    ) {
        self.publish_all(BStr::new(topic.as_ref()), batch_size, None, context);
    }

    /// `node`: the name of the node that it is for, if that has come up.
    pub(super) fn publish_all(
        &self,
        topic: &BStr,
        batch_size: usize,
        node: Option<&str>,
        context: &mut Context<'_>,
    ) {
        let core = &*self.core;
        if core.changes.is_none() {
            core.warn("local", || "not published: it has no publish_on_change".into());
            return;
        }
        let node = node.map(str::to_owned);
        let walk = Walk { topic: topic.into(), batch_size: batch_size.max(1), node, cursor: None };
        if !core.walks.borrow_mut().push(walk) {
            let len = self.len();
            core.count(|counts| counts.unpublished += len as u64);
            core.warn("walks", || format!("not published to {topic}: too many topics wait"));
        }
        if !core.has_walk_timer.get() {
            self.publish_some(context);
            self.keep_publishing(context);
        }
    }

    /// A timer for the next event. Once the app ends there are none, and all events follow now.
    pub(super) fn keep_publishing(&self, context: &mut Context<'_>) {
        let core = &*self.core;
        while core.common.is_finished.get() && !core.walks.borrow().is_empty() {
            self.publish_some(context);
        }
        if core.has_walk_timer.get() || core.walks.borrow().is_empty() {
            return;
        }
        let table = self.clone();
        context.call_after(PAUSE, move |context| {
            table.core.has_walk_timer.set(false);
            table.publish_some(context);
            table.keep_publishing(context);
            Ok(())
        });
        core.has_walk_timer.set(true);
    }

    /// One event of the walk whose turn it is.
    fn publish_some(&self, context: &mut Context<'_>) {
        let core = &*self.core;
        let Some(mut walk) = core.walks.borrow_mut().take() else { return };
        let cursor = walk.cursor.unwrap_or(self.len());
        match guarded(|| self.publish_below(cursor, &walk, context)) {
            Ok(0) => {}
            Ok(cursor) => {
                walk.cursor = Some(cursor);
                core.walks.borrow_mut().put_back(walk);
            }
            Err(what) => {
                core.count(|counts| counts.unpublished += cursor as u64);
                core.warn("walk", || format!("not published to {}: it {what}", walk.topic));
            }
        }
    }

    /// The elements at positions below `cursor`, from the last to the first: those added meanwhile are
    /// above, and those that fill gaps come from above. Returns where it has stopped.
    fn publish_below(&self, cursor: usize, walk: &Walk, context: &mut Context<'_>) -> usize {
        let (rows, cursor) = self.rows_below(cursor, walk.batch_size, context);
        if !rows.is_empty() {
            self.core.publish(walk.topic.as_bstr(), rows, context);
        }
        cursor
    }

    fn rows_below(
        &self,
        cursor: usize,
        batch_size: usize,
        context: &Context<'_>,
    ) -> (Vec<Value>, usize) {
        let core = &*self.core;
        let entries = core.entries.borrow();
        let mut cursor = cursor.min(entries.len());
        let mut rows = Vec::with_capacity(cursor.min(batch_size));
        let (mut bytes, mut left) = (0, batch_size);
        while left > 0
            && bytes < MAX_BYTES
            && let Some(position) = cursor.checked_sub(1)
        {
            cursor = position;
            left -= 1;
            let Some((key, value)) = entries.at(position) else { continue };
            if let Some(row) = core.element_row(Change::New, key, value, context.time()) {
                bytes += row.size();
                rows.push(row);
            }
        }
        (rows, cursor)
    }
}
