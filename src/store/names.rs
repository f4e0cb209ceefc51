//! The topics of a store, and which names stores can have.

use bstr::{BStr, BString};

use super::local::Received;

/// The topic on which masters are asked what there is.
pub(super) const STORES: &str = "zcluster.stores";

/// The topic on which a process is told what there is.
pub(super) fn stores_to(id: &[u8]) -> BString {
    [STORES.as_bytes(), b".to.", id].concat().into()
}

/// The topics of a store (docs/stores.md).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Topics {
    /// What masters receive.
    pub(super) master: BString,
    /// What masters say about themselves.
    pub(super) status: BString,
    /// All changes.
    pub(super) changes: BString,
    prefix: BString,
}

impl Topics {
    pub(super) fn new(store: &BStr) -> Self {
        let of =
            |what: &str| BString::from([b"zcluster.store.", &**store, what.as_bytes()].concat());
        Topics {
            master: of(".master"),
            status: of(".status"),
            changes: of(".changes"),
            prefix: of(".to."),
        }
    }

    /// Whether a message may come on a topic: who may publish what is decided by topics.
    pub(super) fn may_carry(&self, topic: &BStr, own_id: &[u8], received: &Received) -> bool {
        let to_this_process = || topic == self.process(own_id);
        match received {
            Received::Request(_) | Received::Sync(_) | Received::Pull(_) | Received::Probe(_) => {
                topic == self.master
            }
            Received::Status(_) => topic == self.status,
            Received::Changes(_) => topic == self.changes || to_this_process(),
            Received::Answers(_) | Received::Chunk(_) => to_this_process(),
        }
    }

    /// What a process receives.
    pub(super) fn process(&self, id: &[u8]) -> BString {
        [&*self.prefix, id].concat().into()
    }
}
