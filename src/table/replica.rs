//! [`Replica`]: what others do to a table, whatever its types.

use std::cell::Cell;

use bstr::{BStr, ByteSlice};

use super::change::{Change, TableChangeInfo};
use super::common::shown;
use super::error::TableError;
use super::handle::{Key, Table, Yield};
use super::options::PUBLISH_TABLE_BATCH_SIZE;
use crate::app::Context;
use crate::topic::NodeId;
use crate::value::{Value, from_value};

/// A table of any type.
pub(super) trait Replica {
    /// Whether it has `publish_on_change`.
    fn replicates(&self) -> bool;
    /// Applies what another node has changed.
    fn apply(&self, infos: Vec<TableChangeInfo>, sender: &BStr, context: &mut Context<'_>);
    /// A node has come up.
    fn node_up(&self, name: &str, id: &NodeId, context: &mut Context<'_>);
    /// A node is gone.
    fn node_down(&self, name: &str, id: &NodeId, context: &mut Context<'_>);
    /// The app has ended: publishes what waits.
    fn finish(&self, context: &mut Context<'_>);
}

impl<K: Key, V: Yield> Replica for Table<K, V> {
    fn replicates(&self) -> bool {
        self.core.changes.is_some()
    }

    fn apply(&self, infos: Vec<TableChangeInfo>, sender: &BStr, context: &mut Context<'_>) {
        let _applying = Applying::start(&self.core.is_applying);
        let sender = shown(sender);
        for info in infos {
            let change = info.change;
            match self.apply_one(info, context) {
                Ok(()) => self.core.count(|counts| counts.applied += 1),
                Err(Refusal::Full) => {
                    let max = self.core.max_entries;
                    self.core.count(|counts| counts.refused += 1);
                    self.core.warn("full", || {
                        format!("refused a new element from {sender}: max_entries is {max}")
                    });
                }
                Err(Refusal::Misfit(why)) => {
                    self.core.count(|counts| counts.skipped += 1);
                    self.core.warn("misfit", || {
                        format!("skipped {} from {sender}: {why}", change.name())
                    });
                }
            }
        }
    }

    fn node_up(&self, name: &str, id: &NodeId, context: &mut Context<'_>) {
        if self.core.to_new_nodes.as_ref().is_some_and(|wanted| wanted(name)) {
            let topic = context.cluster().nodeid_topic(id);
            let batch_size = PUBLISH_TABLE_BATCH_SIZE;
            self.publish_all(topic.as_bstr(), batch_size, Some(name), context);
        }
    }

    fn node_down(&self, name: &str, id: &NodeId, context: &mut Context<'_>) {
        let topic = context.cluster().nodeid_topic(id);
        self.core.walks.borrow_mut().node_down(name, topic.as_bstr());
    }

    fn finish(&self, context: &mut Context<'_>) {
        self.flush(context);
        self.keep_publishing(context);
    }
}

/// While it exists, changes of others are being applied.
struct Applying<'a>(&'a Cell<bool>);

impl<'a> Applying<'a> {
    fn start(flag: &'a Cell<bool>) -> Self {
        flag.set(true);
        Applying(flag)
    }
}

impl Drop for Applying<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// Why a change is not applied.
enum Refusal {
    Full,
    Misfit(String),
}

fn misfit(why: impl Into<String>) -> Refusal {
    Refusal::Misfit(why.into())
}

impl<K: Key, V: Yield> Table<K, V> {
    fn apply_one(&self, info: TableChangeInfo, context: &mut Context<'_>) -> Result<(), Refusal> {
        let TableChangeInfo { change, index, value, previous_value, .. } = info;
        if change != Change::Changed && previous_value != Value::None {
            return Err(misfit("it has a previous value, which only TABLE_ELEMENT_CHANGED may"));
        }
        if self.core.is_set && value != Value::None {
            return Err(misfit("it has a value, and this is a set"));
        }
        let key =
            self.core.shape.key::<K>(index).map_err(|error| misfit(format!("key: {error}")))?;
        let outcome = if change.assigns() {
            if !self.core.is_set && value == Value::None {
                return Err(misfit("it has no value"));
            }
            let value = from_value(value).map_err(|error| misfit(format!("value: {error}")))?;
            self.assign(key, value, true, context).map(drop)
        } else {
            self.take(&key, change, true, context).map(drop)
        };
        outcome.map_err(|error| match error {
            TableError::Full { .. } => Refusal::Full,
            error => misfit(error.to_string()),
        })
    }
}
