//! Which peers may connect, and what they may send (WIRE.md §7.1, docs/security.md). Pure, except
//! for [`files`], [`key_file`], [`protected_file`], [`revoked`] and [`inspect`].
//!
//! [`Access`] holds the keys and rules of a process, built from the layout and the key files; a
//! [`Guard`] checks one connection against it. [`AccessCell`] holds the current one for all
//! threads: a SIGHUP replaces it as a whole.

mod cell;
mod claims;
pub mod files;
mod guard;
pub mod inspect;
pub mod key_file;
pub mod protected_file;
pub mod revoked;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bstr::{BString, ByteSlice};

pub use cell::AccessCell;
pub use claims::speaks_for_nodes;
pub use files::{ClientKeys, KeyError, client_keys, server_access};
pub use guard::{Denial, Guard};

use crate::layout::{Allow, CurveKeys, Layout};
use crate::topic::NodeTopics;
use crate::wire::zmtp::{KeyPair, PublicKey};

/// The identity of the peer of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// It has not proved an identity: it has no key, or one that all clients share.
    Unproven,
    /// The node whose key it has.
    Node(Arc<str>),
}

/// Which keys may connect to the servers of a process, and what each node may send.
#[derive(Debug, Default)]
pub struct Access {
    /// The keys that servers answer to; empty without CURVE.
    keys: Arc<[KeyPair]>,
    admitted: HashMap<PublicKey, Identity>,
    /// Nodes of the layout, and the operator if it has a key.
    nodes: BTreeMap<Arc<str>, Arc<Rules>>,
    has_operator: bool,
    /// The length of the longest node name, in bytes.
    longest_name: usize,
    has_rules: bool,
    is_per_node: bool,
    topics: NodeTopics,
    internal_prefix: BString,
}

/// What a node may do.
#[derive(Debug, PartialEq, Eq)]
struct Rules {
    publish: Option<Vec<String>>,
    subscribe: Option<Vec<String>>,
    logs: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Rules { publish: None, subscribe: None, logs: true }
    }
}

impl Access {
    /// Creates the access of a layout, with these server keys (none: nothing is encrypted) and
    /// these admitted clients.
    pub fn new(
        layout: &Layout,
        keys: impl Into<Arc<[KeyPair]>>,
        admitted: HashMap<PublicKey, Identity>,
    ) -> Self {
        let rules = |name: &String| {
            let Allow { publish, subscribe, logs } = layout.allow(name);
            Arc::new(Rules { publish, subscribe, logs: logs.unwrap_or(true) })
        };
        let zeromq = &layout.zeromq;
        let operator = CurveKeys::OPERATOR.to_owned();
        let operator = Some(operator).filter(|name| layout.has_operator_key(name));
        let names = || layout.nodes.keys().chain(&operator);
        Access {
            keys: keys.into(),
            admitted,
            nodes: names().map(|name| (name.as_str().into(), rules(name))).collect(),
            longest_name: names().map(String::len).max().unwrap_or_default(),
            has_operator: operator.is_some(),
            has_rules: layout.has_rules(),
            is_per_node: layout.has_keys_per_node(),
            topics: layout.node_topics(),
            internal_prefix: zeromq.internal_topic_prefix.as_str().into(),
        }
    }

    /// Creates the access of a process that only connects: it has rules, but admits no clients.
    pub fn of_client(layout: &Layout) -> Self {
        Access::new(layout, [], HashMap::new())
    }

    /// The keys that servers answer to, the one that clients know first; none if nothing is
    /// encrypted.
    pub fn server_keys(&self) -> Option<&Arc<[KeyPair]>> {
        (!self.keys.is_empty()).then_some(&self.keys)
    }

    /// The identity behind a key, if the key may connect.
    pub fn admit(&self, key: &PublicKey) -> Option<&Identity> {
        self.admitted.get(key)
    }

    /// The number of keys that may connect.
    pub fn admitted_keys(&self) -> usize {
        self.admitted.len()
    }

    /// The summary that a server logs: how many keys may connect, and whether there are rules.
    pub fn summary(&self) -> String {
        let keys = match (self.keys.is_empty(), self.admitted.len()) {
            (true, _) => "nothing is encrypted".into(),
            (false, 1) => "1 key may connect".into(),
            (false, count) => format!("{count} keys may connect"),
        };
        format!("{keys}, {}", self.rules_summary())
    }

    /// The summary that a process without servers logs.
    pub fn rules_summary(&self) -> &'static str {
        if self.has_rules { "rules for nodes apply" } else { "no rules for nodes" }
    }

    /// Whether it admits the same clients as another, answers to the same keys, and has the same
    /// rules.
    pub fn is_same(&self, other: &Access) -> bool {
        let keys =
            |access: &Access| access.keys.iter().map(|pair| *pair.public()).collect::<Vec<_>>();
        keys(self) == keys(other)
            && self.admitted == other.admitted
            && self.nodes == other.nodes
            && self.is_per_node == other.is_per_node
    }

    /// Whether there are rules beyond which keys may connect.
    pub fn has_rules(&self) -> bool {
        self.has_rules || self.is_per_node
    }

    /// The node of the layout that a process id belongs to: `zeromq_NAME_…`, or the name itself.
    pub fn owner(&self, id: &[u8]) -> Option<&Arc<str>> {
        let Some(rest) = id.strip_prefix(b"zeromq_") else { return self.node(id) };
        // Names may have underscores, so the longest match is the node's. Peers choose their ids:
        // parts longer than any name are not looked up.
        let rest = &rest[..rest.len().min(self.longest_name + 1)];
        rest.rfind_iter("_").find_map(|end| self.node(&rest[..end]))
    }

    /// Whether a name with a key, or an id with that name, belongs to the operator, which may
    /// publish and subscribe but is not a node.
    fn is_operator(&self, name: &str) -> bool {
        self.has_operator && name == CurveKeys::OPERATOR
    }

    fn node(&self, name: &[u8]) -> Option<&Arc<str>> {
        self.nodes.get_key_value(name.to_str().ok()?).map(|(name, _)| name)
    }
}

#[cfg(test)]
mod tests;
