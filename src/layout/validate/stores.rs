//! Rules for data stores: their names, who has the master, and what is in which file.

use std::collections::BTreeMap;
use std::path::{Component, PathBuf};
use std::time::Duration;

use super::super::options::MIB;
use super::super::store::check_store_name;
use super::super::toml::suggestion;
use super::super::{Store, StoreBackend};
use super::{Check, LONGEST, option_name};

/// More often would only be traffic.
const SHORTEST_RESYNC: Duration = Duration::from_millis(100);
/// Sizes that make sense: a record must fit, and a message of the bus is at most 128 MiB by default.
const VALUE_SIZES: std::ops::RangeInclusive<u64> = 1024..=16 * MIB;

/// The options that only SQLite uses.
const OF_SQLITE: [&str; 5] =
    ["path", "synchronous", "journal_mode", "failure_mode", "integrity_check"];

impl Check<'_> {
    pub(super) fn stores(&mut self) {
        let cluster = &self.layout.cluster;
        self.master_node(&["cluster", "default_master_node"], &cluster.default_master_node);
        if cluster.default_persistent_backend == StoreBackend::Memory {
            let message = "`default_persistent_backend` is \"memory\": stores that programs want to be \
                           persistent end with their masters";
            self.warn(&["cluster", "default_persistent_backend"], message);
        }
        let mut taken = BTreeMap::new();
        for (name, store) in &self.layout.stores {
            match check_store_name(name) {
                Ok(()) => {
                    self.store(name, store);
                    self.store_file(name, &mut taken);
                }
                Err(error) => self.error(&["stores", name], error.to_string()),
            }
        }
    }

    fn store(&mut self, name: &str, store: &Store) {
        let at = |key| ["stores", name, key];
        self.master_node(&at("master_node"), &store.master_node);
        if self.layout.store_master(name).is_none() && !self.layout.nodes.is_empty() {
            let message = format!(
                "the store `{name}` has no master: the layout has no manager; expected `master_node`, or \
                 `default_master_node` of [cluster]"
            );
            self.warn(&["stores", name], message);
        }
        if !self.may_have_file(name) {
            for key in OF_SQLITE.into_iter().filter(|key| self.places.has(&at(key))) {
                let message =
                    format!("{} has no effect: its backend is memory", option_name(&at(key)));
                self.warn(&at(key), message);
            }
        }
        let path = at("clone_resync_interval");
        if store.clone_resync_interval < SHORTEST_RESYNC {
            let (name, found) =
                (option_name(&path), humantime::format_duration(store.clone_resync_interval));
            self.error(&path, format!("{name}: found {found}, expected at least 100ms"));
        }
        for (key, value) in [
            ("clone_resync_interval", store.clone_resync_interval),
            ("clone_stale_interval", store.stale_after().unwrap_or_default()),
            ("clone_mutation_buffer_interval", store.buffers_for()),
        ] {
            self.at_most(&at(key), value, LONGEST);
        }
        let path = at("max_value_size");
        if !VALUE_SIZES.contains(&store.max_value_size) {
            let found = bytesize::ByteSize(store.max_value_size).display().iec();
            let message =
                format!("{}: found {found}, expected 1 KiB to 16 MiB", option_name(&path));
            self.error(&path, message);
        }
    }

    fn master_node(&mut self, path: &[&str], node: &str) {
        let nodes = &self.layout.nodes;
        if node.is_empty() || nodes.contains_key(node) {
            return;
        }
        let hint = suggestion(node, nodes.keys().map(String::as_str)).map_or_else(
            || "expected the name of a node".to_owned(),
            |hint| format!("did you mean `{hint}`?"),
        );
        let message =
            format!("{} is `{node}`, which is not in the layout; {hint}", option_name(path));
        self.error(path, message);
    }

    /// Whether its backend is SQLite for any program.
    fn may_have_file(&self, store: &str) -> bool {
        [false, true]
            .iter()
            .any(|persistent| self.layout.store_backend(store, *persistent) == StoreBackend::Sqlite)
    }

    /// No two stores may write to the same file. `taken` has those of the stores before.
    fn store_file<'n>(&mut self, name: &'n str, taken: &mut BTreeMap<PathBuf, &'n str>) {
        if !self.may_have_file(name) {
            return;
        }
        let path = self.layout.store_path(name);
        let parts = path.components().filter(|part| *part != Component::CurDir);
        if let Some(other) = taken.insert(parts.collect(), name) {
            let shown = path.to_string_lossy();
            let message = format!(
                "the stores `{other}` and `{name}` have the same file, {shown:?}; expected one for each"
            );
            self.error(&["stores", name, "path"], message);
        }
    }
}
