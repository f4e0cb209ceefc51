//! The topics of a store, and which names stores can have.

use bstr::{BStr, BString};

/// The topic on which masters are asked what there is.
pub(super) const STORES: &str = "zcluster.stores";

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

    /// What a process receives.
    pub(super) fn process(&self, id: &[u8]) -> BString {
        [&*self.prefix, id].concat().into()
    }
}
