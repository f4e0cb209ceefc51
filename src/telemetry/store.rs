//! [`StoreMetrics`]: what a process counts for each of its stores.

use super::labels::LabelledFamily;
use super::{Counter, Gauge, Telemetry};

/// The families of all stores, which have the label `store`.
#[derive(Clone, Debug)]
pub struct StoreFamilies {
    entries: LabelledFamily<Gauge, 1>,
    has_master: LabelledFamily<Gauge, 1>,
    waiting: LabelledFamily<Gauge, 1>,
    changes: LabelledFamily<Counter, 1>,
    errors: LabelledFamily<Counter, 1>,
    snapshots: LabelledFamily<Counter, 1>,
    dropped: LabelledFamily<Counter, 1>,
}

/// Handles to the series of one store.
#[derive(Clone, Debug)]
pub struct StoreMetrics {
    /// `zcluster_store_entries{store}`: entries that this process has of the store.
    pub entries: Gauge,
    /// `zcluster_store_has_master{store}`: whether a master is there, as this process sees it.
    pub has_master: Gauge,
    /// `zcluster_store_commands_waiting{store}`: commands of this process without an answer.
    pub waiting: Gauge,
    /// `zcluster_store_changes_total{store}`: changes that this process has made in its content.
    pub changes: Counter,
    /// `zcluster_store_errors_total{store}`: commands of this process that have failed.
    pub errors: Counter,
    /// `zcluster_store_snapshots_total{store}`: snapshots that a master has begun to send, or a clone has completed.
    pub snapshots: Counter,
    /// `zcluster_store_commands_dropped_total{store}`: commands that a master has dropped, for its clients to send them
    /// again, because its backend is behind.
    pub dropped: Counter,
}

impl StoreFamilies {
    pub(super) fn register(t: &Telemetry) -> Self {
        StoreFamilies {
            entries: t.register("zcluster_store_entries", "Entries of a store in this process"),
            has_master: t.register(
                "zcluster_store_has_master",
                "Whether the master of a store is there, as this process sees it",
            ),
            waiting: t.register(
                "zcluster_store_commands_waiting",
                "Commands of this process that wait for an answer",
            ),
            changes: t.register(
                "zcluster_store_changes",
                "Changes that this process has made in its content of a store",
            ),
            errors: t.register(
                "zcluster_store_errors",
                "Commands of this process for a store that have failed",
            ),
            snapshots: t.register(
                "zcluster_store_snapshots",
                "Snapshots of a store that its master has begun, or a clone has completed",
            ),
            dropped: t.register(
                "zcluster_store_commands_dropped",
                "Commands that a master has dropped because its backend is behind",
            ),
        }
    }

    /// The series of the store of that name.
    pub fn of(&self, store: &str) -> StoreMetrics {
        let label = [("store", store.to_owned())];
        StoreMetrics {
            entries: self.entries.get_or_create_owned(&label),
            has_master: self.has_master.get_or_create_owned(&label),
            waiting: self.waiting.get_or_create_owned(&label),
            changes: self.changes.get_or_create_owned(&label),
            errors: self.errors.get_or_create_owned(&label),
            snapshots: self.snapshots.get_or_create_owned(&label),
            dropped: self.dropped.get_or_create_owned(&label),
        }
    }
}
