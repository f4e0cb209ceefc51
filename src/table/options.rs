//! [`Options`]: what Zeek's attributes say about a table.

use std::fmt;
use std::time::Duration;

use bstr::BString;

use super::batch::Limits;
use super::callbacks::{ExpireFunc, TopicFunc};
use super::change::{Change, Changes};
use super::entries::{Expiry, Since};
use super::handle::Table;
use crate::app::Context;

/// How many elements an event of [`Table::publish_table`] has, if nothing else is said.
pub const PUBLISH_TABLE_BATCH_SIZE: usize = 10_000;

/// Where changes are published.
pub(super) enum Topic<K> {
    Fixed(BString),
    PerKey(TopicFunc<K>),
}

/// Whether a table is sent to a node of that name that comes up.
pub(super) type ToNewNodes = Box<dyn Fn(&str) -> bool>;

/// What a table is like: Zeek's `&publish_on_change`, `&create_expire` and so on. Without any, it is a
/// table of this process only.
///
/// ```
/// use std::time::Duration;
/// use zcluster::table::{Change, Options, Table, Tables};
///
/// let tables = Tables::new();
/// let services: Table<String, u64> = tables.table(
///     "Demo::services",
///     Options::new()
///         .publish_on_change([Change::New, Change::Changed, Change::Removed])
///         .topic_with(|_, context| context.hrw_topic("zeek.cluster.pool.proxy", b"key"))
///         .write_expire(Duration::from_secs(600))
///         .max_entries(100_000),
/// )?;
/// # Ok::<(), zcluster::table::TableError>(())
/// ```
pub struct Options<K, V = ()> {
    pub(super) changes: Option<Changes>,
    /// `None`: `zeek/table/<id>/`.
    pub(super) topic: Option<Topic<K>>,
    pub(super) limits: Limits,
    pub(super) expiry: Option<Expiry>,
    pub(super) expire_func: Option<ExpireFunc<K, V>>,
    /// 0: no limit.
    pub(super) max_entries: usize,
    pub(super) to_new_nodes: Option<ToNewNodes>,
}

impl<K, V> Default for Options<K, V> {
    fn default() -> Self {
        Options {
            changes: None,
            topic: None,
            limits: Limits { max_batch_size: 10, max_batch_delay: Duration::from_millis(10) },
            expiry: None,
            expire_func: None,
            max_entries: 0,
            to_new_nodes: None,
        }
    }
}

impl<K, V> fmt::Debug for Options<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("changes", &self.changes).finish_non_exhaustive()
    }
}

impl<K, V> Options<K, V> {
    /// A table that is not published and whose elements do not expire.
    pub fn new() -> Self {
        Options::default()
    }

    /// Publishes these changes, and applies those of others, whatever they are.
    #[must_use]
    pub fn publish_on_change(mut self, changes: impl IntoIterator<Item = Change>) -> Self {
        self.changes = Some(changes.into_iter().collect());
        self
    }

    /// Publishes changes to this topic, by default `zeek/table/<name>/`. Every node subscribes to
    /// `zeek/table/`; other topics are for the app to subscribe to.
    #[must_use]
    pub fn topic(mut self, topic: impl Into<BString>) -> Self {
        self.topic = Some(Topic::Fixed(topic.into()));
        self
    }

    /// Publishes each change to the topic that a function finds for its key. If it finds none, for
    /// example because a pool has no node, the change is not published, and counted as such.
    #[must_use]
    pub fn topic_with(
        mut self,
        topic: impl Fn(&K, &mut Context<'_>) -> Option<BString> + 'static,
    ) -> Self {
        self.topic = Some(Topic::PerKey(Box::new(topic)));
        self
    }

    /// Publishes this many changes at once (`max_batch_size`, 10 by default). 0 publishes each change
    /// by itself.
    #[must_use]
    pub fn max_batch_size(mut self, changes: usize) -> Self {
        self.limits.max_batch_size = changes;
        self
    }

    /// Publishes what waits this long after the changes before (`max_batch_delay`, 10 ms by default).
    /// The first change after such a time goes out at once. 0 publishes each change by itself.
    #[must_use]
    pub fn max_batch_delay(mut self, delay: Duration) -> Self {
        self.limits.max_batch_delay = delay;
        self
    }

    /// Removes elements this long after they were added. As in Zeek, a table has one kind of expiry:
    /// the last one that is set here.
    #[must_use]
    pub fn create_expire(self, after: Duration) -> Self {
        self.expire(Since::Create, after)
    }

    /// Removes elements this long after they were last assigned, or read with `get`, `with` or
    /// `contains`. What other nodes read does not count.
    #[must_use]
    pub fn read_expire(self, after: Duration) -> Self {
        self.expire(Since::Read, after)
    }

    /// Removes elements this long after they were last assigned.
    #[must_use]
    pub fn write_expire(self, after: Duration) -> Self {
        self.expire(Since::Write, after)
    }

    fn expire(mut self, since: Since, after: Duration) -> Self {
        self.expiry = Some(Expiry::new(since, after));
        self
    }

    /// Asks a function about each element that is to expire (`&expire_func`). If it returns zero, the
    /// element goes; otherwise it stays for that time. The function may change the table.
    #[must_use]
    pub fn expire_func(
        mut self,
        keep: impl FnMut(&Table<K, V>, &K, &mut Context<'_>) -> Duration + 'static,
    ) -> Self {
        self.expire_func = Some(Box::new(keep));
        self
    }

    /// How many elements the table may have; 0, the default, is no limit. Beyond it, `insert` fails for
    /// new keys, and those of others are refused: counted, and logged at a limited rate.
    #[must_use]
    pub fn max_entries(mut self, entries: usize) -> Self {
        self.max_entries = entries;
        self
    }

    /// Sends the whole table to a node that comes up, if `wanted` says so of its name: see
    /// [`Table::publish_table`]. Let the node that writes the table do it.
    #[must_use]
    pub fn publish_to_new_nodes(mut self, wanted: impl Fn(&str) -> bool + 'static) -> Self {
        self.to_new_nodes = Some(Box::new(wanted));
        self
    }
}
