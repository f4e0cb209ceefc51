//! [`Table`]: a handle of a table, and how a table changes.

use std::borrow::Borrow;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::hash::Hash;
use std::rc::Rc;

use bstr::{BStr, BString, ByteSlice};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::batch::{Batch, Due};
use super::callbacks::{ExpireFunc, OnChange, guarded};
use super::change::{self, Change, Changes};
use super::common::{Common, Counts};
use super::entries::Entries;
use super::error::TableError;
use super::index::Shape;
use super::options::{Options, ToNewNodes, Topic};
use super::walks::Walks;
use crate::app::{Context, Outcome, TimerId};
use crate::topic;
use crate::value::{Timestamp, Value, to_value};

/// What can be a key of a table: anything with these traits.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a key of a table",
    note = "a key needs serde's `Serialize` and `Deserialize`, and `Hash`, `Eq` and `Clone`"
)]
pub trait Key: Serialize + DeserializeOwned + Hash + Eq + Clone + 'static {}
impl<K: Serialize + DeserializeOwned + Hash + Eq + Clone + 'static> Key for K {}

/// What can be a value of a table: anything with these traits.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a value of a table",
    note = "a value needs serde's `Serialize` and `Deserialize`, and `Clone`"
)]
pub trait Yield: Serialize + DeserializeOwned + Clone + 'static {}
impl<V: Serialize + DeserializeOwned + Clone + 'static> Yield for V {}

/// A table that replicates. This is a handle: clones are the same table. Made by
/// [`Tables::table`](super::Tables::table).
///
/// `Table<Value, Value>` has keys and values of any type, see [`Value`].
pub struct Table<K, V> {
    pub(super) core: Rc<Core<K, V>>,
}

impl<K, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        Table { core: Rc::clone(&self.core) }
    }
}

impl<K, V> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Table").field(&self.core.id).finish()
    }
}

/// The table itself.
pub(super) struct Core<K, V> {
    pub(super) id: BString,
    pub(super) is_set: bool,
    pub(super) shape: Shape,
    pub(super) common: Rc<Common>,
    pub(super) entries: RefCell<Entries<K, V>>,
    pub(super) max_entries: usize,
    /// `None` for a table of this process only.
    pub(super) changes: Option<Changes>,
    topic: Topic<K>,
    pub(super) batch: RefCell<Batch>,
    pub(super) batch_timer: Cell<Option<TimerId>>,
    on_change: RefCell<Vec<OnChange<K, V>>>,
    pub(super) expires: bool,
    pub(super) expire_func: RefCell<Option<ExpireFunc<K, V>>>,
    pub(super) walks: RefCell<Walks>,
    pub(super) has_walk_timer: Cell<bool>,
    /// There is a timer for the next turn of expiry, or a turn is being taken.
    pub(super) has_expiry_timer: Cell<bool>,
    /// Where a walk through old elements has stopped; 0 if none is under way.
    pub(super) expiry_cursor: Cell<usize>,
    pub(super) to_new_nodes: Option<ToNewNodes>,
    /// Changes of others are being applied. As in Zeek, what a hook then changes is not published, or
    /// hooks on two nodes could answer each other for ever.
    pub(super) is_applying: Cell<bool>,
    pub(super) counts: Cell<Counts>,
}

/// A change that a hook is told of: see [`Table::on_change`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed<'a, K, V> {
    /// What happened.
    pub change: Change,
    /// The key of the element.
    pub key: &'a K,
    /// Its value; after it was removed or has expired, the one it had.
    pub value: &'a V,
    /// The value before, if it was assigned again.
    pub previous: Option<&'a V>,
    /// Whether another node made the change.
    pub is_remote: bool,
}

impl<K: Key, V: Yield> Table<K, V> {
    pub(super) fn new(
        id: BString,
        is_set: bool,
        options: Options<K, V>,
        common: &Rc<Common>,
    ) -> Self {
        let default_topic = || Topic::Fixed(format!("{}{id}/", topic::TABLE).into());
        let topic = options.topic.unwrap_or_else(default_topic);
        let core = Core {
            id,
            is_set,
            shape: Shape::of::<K>(),
            common: Rc::clone(common),
            entries: RefCell::new(Entries::new(options.expiry)),
            max_entries: options.max_entries,
            changes: options.changes,
            topic,
            batch: RefCell::new(Batch::new(options.limits)),
            batch_timer: Cell::default(),
            on_change: RefCell::default(),
            expires: options.expiry.is_some(),
            expire_func: RefCell::new(options.expire_func),
            walks: RefCell::default(),
            has_walk_timer: Cell::default(),
            has_expiry_timer: Cell::default(),
            expiry_cursor: Cell::default(),
            to_new_nodes: options.to_new_nodes,
            is_applying: Cell::default(),
            counts: Cell::default(),
        };
        Table { core: Rc::new(core) }
    }

    /// The name of the table.
    pub fn id(&self) -> &BStr {
        self.core.id.as_bstr()
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.core.entries.borrow().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is an element with that key.
    pub fn contains<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.with(key, |value| value.is_some())
    }

    /// A copy of the value of a key.
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.core.entries.borrow().read(key, || self.core.common.stamp()).cloned()
    }

    /// Lets a function see the value of a key. It may read the table, but not change it.
    pub fn with<Q: Hash + Eq + ?Sized, R>(&self, key: &Q, see: impl FnOnce(Option<&V>) -> R) -> R
    where
        K: Borrow<Q>,
    {
        let entries = self.core.entries.borrow();
        see(entries.read(key, || self.core.common.stamp()))
    }

    /// Lets a function see all elements, in no particular order; this does not count as reading them.
    /// It may read the table, but not change it.
    pub fn for_each(&self, mut see: impl FnMut(&K, &V)) {
        for (key, value) in self.core.entries.borrow().iter() {
            see(key, value);
        }
    }

    /// Assigns a value to a key. Returns the value before. Publishes the change if that is wanted, or
    /// lets it wait for others (WIRE.md §8.7), and tells the hooks.
    ///
    /// # Errors
    /// [`TableError::Full`], [`TableError::InUse`], and, in a table with
    /// [`publish_on_change`](Options::publish_on_change), if key or value have no form in Zeek. Nothing
    /// has changed then.
    pub fn insert(
        &self,
        key: K,
        value: V,
        context: &mut Context<'_>,
    ) -> Result<Option<V>, TableError> {
        self.assign(key, value, false, context)
    }

    /// Removes a key. Returns its value. Publishes the change if that is wanted, and tells the hooks.
    ///
    /// # Errors
    /// [`TableError::InUse`]. Nothing has changed then.
    pub fn remove<Q: Hash + Eq + ?Sized>(
        &self,
        key: &Q,
        context: &mut Context<'_>,
    ) -> Result<Option<V>, TableError>
    where
        K: Borrow<Q>,
    {
        self.take(key, Change::Removed, false, context)
    }

    /// Removes all elements, one after the other, as [`Table::remove`] does.
    ///
    /// # Errors
    /// As [`Table::remove`]. Some elements are then still there.
    pub fn clear(&self, context: &mut Context<'_>) -> Result<(), TableError> {
        // A hook may add elements meanwhile.
        let keys: Vec<K> = self.core.entries.borrow().iter().map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.remove(&key, context)?;
        }
        Ok(())
    }

    /// Calls a hook after each change, made here or by others (`&on_change`). It may change the table; as
    /// in Zeek, hooks are not told of what hooks change, and if the change was made by another node, it
    /// is not published either.
    pub fn on_change(
        &self,
        hook: impl FnMut(&Table<K, V>, &Changed<'_, K, V>, &mut Context<'_>) -> Outcome + 'static,
    ) {
        self.core.on_change.borrow_mut().push(Box::new(hook));
    }

    /// What has happened to the table so far.
    pub fn counts(&self) -> Counts {
        self.core.counts.get()
    }

    pub(super) fn assign(
        &self,
        key: K,
        value: V,
        is_remote: bool,
        context: &mut Context<'_>,
    ) -> Result<Option<V>, TableError> {
        let core = &*self.core;
        let (change, row, for_topic, told, previous) = {
            let mut entries = core.entries.try_borrow_mut().map_err(|_| core.in_use())?;
            let position = entries.position(&key);
            if position.is_none() && core.max_entries > 0 && entries.len() >= core.max_entries {
                return Err(TableError::Full { id: core.id.clone(), max: core.max_entries });
            }
            let change = if position.is_some() { Change::Changed } else { Change::New };
            let previous = position.and_then(|position| entries.at(position)).map(|(_, v)| v);
            let row = if is_remote {
                None
            } else {
                core.assigned_row(change, &key, &value, previous, context.time())?
            };
            let for_topic = core.key_for_topic(&key, row.is_some());
            let told = core.is_hooked().then(|| (key.clone(), value.clone()));
            let previous = entries.assign(key, value, core.common.stamp());
            (change, row, for_topic, told, previous)
        };
        if let Some(row) = row {
            self.queue(row, for_topic.as_ref(), context);
        }
        if core.expires {
            self.watch_expiry(context);
        }
        if let Some((key, value)) = told {
            let previous = previous.as_ref();
            self.tell(&Changed { change, key: &key, value: &value, previous, is_remote }, context);
        }
        Ok(previous)
    }

    pub(super) fn take<Q: Hash + Eq + ?Sized>(
        &self,
        key: &Q,
        change: Change,
        is_remote: bool,
        context: &mut Context<'_>,
    ) -> Result<Option<V>, TableError>
    where
        K: Borrow<Q>,
    {
        let core = &*self.core;
        let (row, key, value) = {
            let mut entries = core.entries.try_borrow_mut().map_err(|_| core.in_use())?;
            let Some(position) = entries.position(key) else { return Ok(None) };
            let row = match entries.at(position) {
                Some((key, value)) if !is_remote && core.is_published(change) => {
                    core.element_row(change, key, value, context.time())
                }
                _ => None,
            };
            let Some((key, value)) = entries.remove(position) else { return Ok(None) };
            (row, key, value)
        };
        if let Some(row) = row {
            self.queue(row, Some(&key), context);
        }
        let (key, value, previous) = (&key, value, None);
        self.tell(&Changed { change, key, value: &value, previous, is_remote }, context);
        Ok(Some(value))
    }

    fn tell(&self, changed: &Changed<'_, K, V>, context: &mut Context<'_>) {
        let mut hooks = self.core.on_change.take();
        for hook in &mut hooks {
            let outcome = guarded(|| hook(self, changed, context).map_err(|e| e.to_string()));
            if let Err(what) | Ok(Err(what)) = outcome {
                self.core.warn("hook", || format!("a hook of on_change failed: {what}"));
            }
        }
        // Those that hooks have added follow.
        let added = self.core.on_change.replace(hooks);
        self.core.on_change.borrow_mut().extend(added);
    }

    /// Lets a change wait, or publishes it with those that wait.
    fn queue(&self, row: Value, key: Option<&K>, context: &mut Context<'_>) {
        let core = &*self.core;
        let due = match &core.topic {
            Topic::Fixed(topic) => {
                core.batch.borrow_mut().push(topic.as_bstr(), row, core.common.now())
            }
            Topic::PerKey(topic) => {
                let found = guarded(|| key.and_then(|key| topic(key, context)));
                let topic = found.unwrap_or_else(|what| {
                    core.warn("topic", || format!("the function of topic_with {what}"));
                    None
                });
                let Some(topic) = topic else {
                    core.count(|counts| counts.unpublished += 1);
                    core.warn("no topic", || "no topic for a change: not published".into());
                    return;
                };
                core.batch.borrow_mut().push(topic.as_bstr(), row, core.common.now())
            }
        };
        match due {
            // No timer fires any more.
            _ if core.common.is_finished.get() => self.flush(context),
            Due::Now => self.flush(context),
            Due::At(at) if core.batch_timer.get().is_none() => {
                let table = self.clone();
                let after = at.saturating_duration_since(core.common.now());
                let timer = context.call_after(after, move |context| {
                    table.core.batch_timer.set(None);
                    table.flush(context);
                    Ok(())
                });
                core.batch_timer.set(Some(timer));
            }
            Due::At(_) => {}
        }
    }

    /// Publishes what waits.
    pub(super) fn flush(&self, context: &mut Context<'_>) {
        let core = &*self.core;
        if let Some(timer) = core.batch_timer.take() {
            context.cancel(timer);
        }
        let mut batch = core.batch.borrow_mut();
        if batch.is_empty() {
            return;
        }
        let queues = batch.take(core.common.now());
        drop(batch);
        for (topic, rows) in queues {
            core.publish(topic.as_bstr(), rows, context);
        }
    }
}

impl<K: Key, V: Yield> Core<K, V> {
    /// Whether a change that is made here now is to be published.
    fn is_published(&self, change: Change) -> bool {
        self.changes.is_some_and(|changes| changes.contains(change)) && !self.is_applying.get()
    }

    /// An assignment that is made here, as it is sent; `None` if it is not to be published. It must have
    /// a form even then, for a later change of the element may be published.
    fn assigned_row(
        &self,
        change: Change,
        key: &K,
        value: &V,
        previous: Option<&V>,
        time: Timestamp,
    ) -> Result<Option<Value>, TableError> {
        if self.changes.is_none() {
            return Ok(None);
        }
        let (index, value) = (self.index(key)?, self.value(value)?);
        if !self.is_published(change) {
            return Ok(None);
        }
        // One without a form, from another node, can still be replaced.
        let previous = previous.and_then(|previous| self.value(previous).ok()).unwrap_or_default();
        Ok(Some(change::row(change, time, index, value, previous)))
    }

    /// A change of an element that is in the table. If it has no form, it is counted as not published.
    pub(super) fn element_row(
        &self,
        change: Change,
        key: &K,
        value: &V,
        time: Timestamp,
    ) -> Option<Value> {
        let row = self.index(key).and_then(|index| {
            Ok(change::row(change, time, index, self.value(value)?, Value::None))
        });
        match row {
            Ok(row) => Some(row),
            Err(error) => {
                self.count(|counts| counts.unpublished += 1);
                self.warn("no form", || format!("cannot publish {}: {error}", change.name()));
                None
            }
        }
    }

    fn index(&self, key: &K) -> Result<Vec<Value>, TableError> {
        to_value(key)
            .and_then(|key| self.shape.index(key))
            .map_err(|error| TableError::Key { id: self.id.clone(), error })
    }

    /// A value as it is sent: none in sets.
    fn value(&self, value: &V) -> Result<Value, TableError> {
        if self.is_set {
            return Ok(Value::None);
        }
        match to_value(value) {
            Ok(Value::None) => Err(TableError::NoValue { id: self.id.clone() }),
            Ok(value) => Ok(value),
            Err(error) => Err(TableError::Value { id: self.id.clone(), error }),
        }
    }

    fn key_for_topic(&self, key: &K, is_published: bool) -> Option<K> {
        (is_published && matches!(self.topic, Topic::PerKey(_))).then(|| key.clone())
    }

    fn is_hooked(&self) -> bool {
        !self.on_change.borrow().is_empty()
    }

    pub(super) fn publish(&self, topic: &BStr, rows: Vec<Value>, context: &mut Context<'_>) {
        let count = rows.len() as u64;
        let event = change::event(&self.id, context.time(), context.id().as_bytes(), rows);
        match context.publish(topic, &event) {
            Ok(()) => self.count(|counts| counts.published += count),
            Err(error) => {
                self.count(|counts| counts.unpublished += count);
                self.warn("publish", || format!("cannot publish {count} changes: {error}"));
            }
        }
    }
}

impl<K, V> Core<K, V> {
    pub(super) fn count(&self, add: impl FnOnce(&mut Counts)) {
        let mut counts = self.counts.get();
        add(&mut counts);
        self.counts.set(counts);
    }

    pub(super) fn warn(&self, kind: &'static str, what: impl FnOnce() -> String) {
        self.common.warn(kind, &self.id, what);
    }

    fn in_use(&self) -> TableError {
        TableError::InUse { id: self.id.clone() }
    }
}
