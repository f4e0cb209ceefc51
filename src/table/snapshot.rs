//! Whole tables, sent in turns (`Cluster::publish_table`).

use std::time::Duration;

use bstr::{BStr, BString, ByteSlice};

use super::batch::{MAX_BYTES, size};
use super::change::Change;
use super::handle::{Key, Table, Yield};
use crate::app::Context;
use crate::value::Value;

/// Between two events, other events are handled.
const PAUSE: Duration = Duration::from_millis(1);

impl<K: Key, V: Yield> Table<K, V> {
    /// Publishes all elements as new ones, `batch_size` per event, or fewer if they are large
    /// ([`PUBLISH_TABLE_BATCH_SIZE`](super::PUBLISH_TABLE_BATCH_SIZE) is Zeek's default). The first event
    /// is published now, the others from timers, and each has the elements as they are then. So
    /// whoever gets changes of the table from this node, too, ends up with the same content. A table
    /// without [`publish_on_change`](super::Options::publish_on_change) is not published; a warning is
    /// logged.
    pub fn publish_table(
        &self,
        topic: impl AsRef<[u8]>,
        batch_size: usize,
        context: &mut Context<'_>,
    ) {
        if self.core.changes.is_none() {
            self.core.warn("local", || "not published: it has no publish_on_change".into());
            return;
        }
        self.publish_below(self.len(), BStr::new(topic.as_ref()).into(), batch_size, context);
    }

    /// The elements at positions below `cursor`, from the last to the first: those added meanwhile are
    /// above, and those that fill gaps come from above.
    fn publish_below(
        &self,
        cursor: usize,
        topic: BString,
        batch_size: usize,
        context: &mut Context<'_>,
    ) {
        let (rows, cursor) = self.rows_below(cursor, batch_size.max(1), context);
        if !rows.is_empty() {
            self.core.publish(topic.as_bstr(), rows, context);
        }
        if cursor > 0 {
            let table = self.clone();
            context.call_after(PAUSE, move |context| {
                table.publish_below(cursor, topic, batch_size, context);
                Ok(())
            });
        }
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
                bytes += size(&row);
                rows.push(row);
            }
        }
        (rows, cursor)
    }
}
