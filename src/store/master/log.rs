//! [`Log`]: what the backend is to keep, in batches. Pure.

use std::collections::BTreeSet;

use crate::store::backend::{ClientId, Record};
use crate::store::limits::MAX_UNSETTLED_BYTES;
use crate::value::Value;
use crate::wire::broker_bin;

/// A batch for the backend.
#[derive(Debug)]
pub(in crate::store) struct Batch {
    /// The last change in it.
    pub(in crate::store) sequence: u64,
    pub(in crate::store) records: Vec<Record>,
}

/// Records that the backend has not kept yet.
#[derive(Debug, Default)]
pub(super) struct Log {
    records: Vec<Record>,
    /// Whose commands they are of.
    clients: BTreeSet<ClientId>,
    bytes: usize,
    writing: Option<Writing>,
}

/// The batch that the backend has.
#[derive(Debug)]
struct Writing {
    clients: BTreeSet<ClientId>,
    bytes: usize,
}

impl Log {
    pub(super) fn push(&mut self, record: Record) {
        self.bytes += match &record {
            Record::Put { key, value, .. } => 64 + key.len() + value.len(),
            Record::Erase { key } => 64 + key.len(),
            _ => 64,
        };
        self.records.push(record);
    }

    /// The last record was a command of that client.
    pub(super) fn by(&mut self, client: &ClientId) {
        if !self.clients.contains(client) {
            self.clients.insert(client.clone());
        }
    }

    /// Whether there is no room for more.
    pub(super) fn is_full(&self) -> bool {
        let writing = self.writing.as_ref().map_or(0, |writing| writing.bytes);
        self.bytes + writing >= MAX_UNSETTLED_BYTES
    }

    /// The next batch with the clients that it is of, unless there is nothing, or the one before is not done.
    pub(super) fn take(&mut self) -> Option<(Vec<Record>, &BTreeSet<ClientId>)> {
        if self.is_writing() || self.records.is_empty() {
            return None;
        }
        let (clients, bytes) = (std::mem::take(&mut self.clients), std::mem::take(&mut self.bytes));
        let writing = self.writing.insert(Writing { clients, bytes });
        Some((std::mem::take(&mut self.records), &writing.clients))
    }

    /// The batch is done; returns the clients that it was of.
    pub(super) fn done(&mut self) -> BTreeSet<ClientId> {
        self.writing.take().map(|writing| writing.clients).unwrap_or_default()
    }

    /// Forgets what is not with the backend.
    pub(super) fn clear(&mut self) {
        self.records.clear();
        self.clients.clear();
        self.bytes = 0;
    }

    /// Whether the backend has a batch.
    pub(super) fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty() && !self.is_writing()
    }
}

/// A value as a backend keeps it.
pub(super) fn encoded(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    broker_bin::encode_value(value, &mut bytes);
    bytes
}
