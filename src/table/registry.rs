//! [`Tables`]: the tables of an app by their name.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use bstr::{BString, ByteSlice};

use super::callbacks::{Policy, guarded};
use super::change::{Changes, TableChangeHeader, TableChangeInfo, TableChangeInfos};
use super::common::{Common, shown};
use super::error::TableError;
use super::handle::{Key, Table, Yield};
use super::options::Options;
use super::replica::Replica;
use super::set::Set;
use crate::app::{App, Context, Module, NodeDown, NodeUp};
use crate::topic::NodeId;

/// The tables of an app: [`App::with`] takes it. This is a handle: clones are the same tables, and tables
/// may be added while the app runs.
#[derive(Clone, Default)]
pub struct Tables {
    registry: Rc<Registry>,
}

#[derive(Default)]
struct Registry {
    common: Rc<Common>,
    tables: RefCell<BTreeMap<BString, Rc<dyn Replica>>>,
    policies: RefCell<Vec<Policy>>,
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.registry.tables.borrow().keys()).finish()
    }
}

impl Tables {
    /// No tables.
    pub fn new() -> Self {
        Tables::default()
    }

    /// Makes a table. `id` is its qualified name, the same on all nodes: `Demo::hosts`.
    ///
    /// # Errors
    /// If it has no name, or that of another; if no change is to be published.
    pub fn table<K: Key, V: Yield>(
        &self,
        id: impl Into<BString>,
        options: Options<K, V>,
    ) -> Result<Table<K, V>, TableError> {
        self.add(id.into(), false, options)
    }

    /// Makes a set: see [`Tables::table`].
    ///
    /// # Errors
    /// As [`Tables::table`].
    pub fn set<K: Key>(
        &self,
        id: impl Into<BString>,
        options: Options<K>,
    ) -> Result<Set<K>, TableError> {
        self.add(id.into(), true, options).map(Set)
    }

    fn add<K: Key, V: Yield>(
        &self,
        id: BString,
        is_set: bool,
        options: Options<K, V>,
    ) -> Result<Table<K, V>, TableError> {
        let mut tables = self.registry.tables.borrow_mut();
        if id.is_empty() {
            return Err(TableError::NoName);
        }
        if options.changes.is_some_and(Changes::is_empty) {
            return Err(TableError::NoChanges { id });
        }
        if tables.contains_key(&id) {
            return Err(TableError::Duplicate { id });
        }
        let table = Table::new(id.clone(), is_set, options, &self.registry.common);
        tables.insert(id, Rc::new(table.clone()));
        Ok(table)
    }

    /// Asks a function before changes of others are applied
    /// (`Cluster::apply_table_change_infos_policy`). It may change them. If it returns `false`, none of
    /// them is applied, and no further function is asked.
    pub fn apply_policy(
        &self,
        policy: impl FnMut(&TableChangeHeader, &mut Vec<TableChangeInfo>, &mut Context<'_>) -> bool
        + 'static,
    ) {
        self.registry.policies.borrow_mut().push(Box::new(policy));
    }

    /// How often tables are searched for elements that have reached their age
    /// (`table_expire_interval`, 10 s by default). They go up to this time later. Pauses are at least
    /// 1 ms long, and at most a year.
    pub fn table_expire_interval(&self, interval: Duration) {
        self.registry.common.expire_interval.set(interval);
    }

    /// How many elements are searched at once (`table_incremental_step`, 5,000 by default).
    pub fn table_incremental_step(&self, elements: usize) {
        self.registry.common.incremental_step.set(elements);
    }

    /// The pause between two such steps (`table_expire_delay`, 10 ms by default), at least 1 ms and at
    /// most a year.
    pub fn table_expire_delay(&self, delay: Duration) {
        self.registry.common.expire_delay.set(delay);
    }

    fn received(&self, changes: TableChangeInfos, context: &mut Context<'_>) {
        let TableChangeInfos { header, mut infos } = changes;
        let (id, common) = (&header.id, &self.registry.common);
        if header.node_id == context.id().as_bytes() {
            common.warn("own", id, || "ignored changes that claim to be from this node".into());
            return;
        }
        if !self.is_allowed(&header, &mut infos, context) {
            return;
        }
        let table = self.registry.tables.borrow().get(id).map(Rc::clone);
        let sender = header.node_id.as_bstr();
        match table {
            Some(table) if table.replicates() => table.apply(infos, sender, context),
            Some(_) => common.warn("local", id, || {
                format!("ignored changes from {}: it has no publish_on_change here", shown(sender))
            }),
            None => common.warn("unknown", id, || {
                format!("ignored changes from {}: there is no such table here", shown(sender))
            }),
        }
    }

    fn is_allowed(
        &self,
        header: &TableChangeHeader,
        infos: &mut Vec<TableChangeInfo>,
        context: &mut Context<'_>,
    ) -> bool {
        let mut policies = self.registry.policies.take();
        let is_allowed = policies.iter_mut().all(|policy| {
            guarded(|| policy(header, infos, context)).unwrap_or_else(|what| {
                self.registry.common.warn("policy", &header.id, || format!("apply_policy {what}"));
                false
            })
        });
        let added = self.registry.policies.replace(policies);
        self.registry.policies.borrow_mut().extend(added);
        is_allowed
    }

    /// Calls a function with each table; it may add tables.
    fn each(&self, mut call: impl FnMut(&dyn Replica)) {
        let tables: Vec<Rc<dyn Replica>> =
            self.registry.tables.borrow().values().map(Rc::clone).collect();
        for table in tables {
            call(&*table);
        }
    }
}

impl Module for Tables {
    fn install(self, app: App) -> App {
        self.registry.common.set_clock(app.clock());
        let (received, node_up, node_down) = (self.clone(), self.clone(), self.clone());
        app.on::<TableChangeInfos>(move |changes, context| {
            received.received(changes, context);
            Ok(())
        })
        .on::<NodeUp>(move |NodeUp { name, id }, context| {
            let id = NodeId::from_bytes(id);
            node_up.each(|table| table.node_up(&name, &id, context));
            Ok(())
        })
        .on::<NodeDown>(move |NodeDown { name, id }, context| {
            let id = NodeId::from_bytes(id);
            node_down.each(|table| table.node_down(&name, &id, context));
            Ok(())
        })
        // After all other handlers, which may change tables. What changes later is published at once.
        .on_event_with(i64::MIN, "zeek_done", move |_, context| {
            self.registry.common.is_finished.set(true);
            self.each(|table| table.finish(context));
            Ok(())
        })
    }
}

impl Module for &Tables {
    fn install(self, app: App) -> App {
        self.clone().install(app)
    }
}
