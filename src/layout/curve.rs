//! `[curve]`: whose keys let whom in; `[allow.TYPE]` and `[nodes.NAME.allow]`: what a node may say.

use std::path::PathBuf;

use super::table::table;
use super::words::words;
use super::{Layout, NodeType, Secret};
use crate::wire::zmtp::PublicKey;

words! {
    /// Who has keys of CURVE.
    pub enum CurveMode {
        /// All servers have one pair of keys and all clients another, as in Zeek (WIRE.md §7.1).
        #[default]
        Shared = "shared",
        /// Each node has its own, which says who it is.
        PerNode = "per-node",
    }
}

table! {
    /// `[curve]`: encryption beyond the four options of Zeek in `[zeromq]`.
    pub struct CurveKeys {
        /// Who has keys.
        mode: CurveMode = CurveMode::Shared,
        /// Mode `per-node`: the directory of public keys, `NAME.pub` for the node `NAME`; whose
        /// key is there may come in. Found from where the layout file is.
        authorized_keys_dir: PathBuf = "keys/authorized".into(),
        /// Mode `per-node`: the directory of the secret keys of this host's processes,
        /// `NAME.secret`, which nobody else may be able to read. Found from where the layout file
        /// is.
        secret_keys_dir: PathBuf = "keys/secret".into(),
        /// Mode `per-node`: the public key of the central broker, unless it is in the directory.
        broker_publickey: Option<PublicKey> = None,
        /// Mode `shared`, while keys are changed: a secret key that servers answer to as well.
        old_server_secretkey: Secret = Secret::default(),
        /// Mode `shared`, while keys are changed: a client key that servers accept as well.
        old_client_publickey: Option<PublicKey> = None,
    }
}

table! {
    /// What a node, or each node of a type, may do; unset means everything.
    pub struct Allow {
        /// Prefixes of the topics it may publish on.
        publish: Option<Vec<String>> = None,
        /// Prefixes of the topics it may subscribe to.
        subscribe: Option<Vec<String>> = None,
        /// Whether it may send logs.
        logs: Option<bool> = None,
    }
}

impl Layout {
    /// What a node may do: what is said of it alone, else what is said of its type.
    pub fn allow(&self, name: &str) -> Allow {
        if self.has_operator_key(name) {
            let rules = self.allow.get(name).cloned().unwrap_or_default();
            return Allow { logs: Some(false), ..rules };
        }
        let Some(node) = self.node(name) else { return Allow::default() };
        let own = node.allow.clone();
        let of_type = self.allow.get(node.node_type.as_str()).cloned().unwrap_or_default();
        Allow {
            publish: own.publish.or(of_type.publish),
            subscribe: own.subscribe.or(of_type.subscribe),
            logs: own.logs.or(of_type.logs),
        }
    }

    /// Whether anything at all is said of what nodes may do.
    pub fn has_rules(&self) -> bool {
        let default = Allow::default();
        self.allow
            .values()
            .chain(self.nodes.values().map(|node| &node.allow))
            .any(|a| *a != default)
    }

    /// Whether every node has keys of its own.
    pub fn has_keys_per_node(&self) -> bool {
        self.curve.mode == CurveMode::PerNode
    }

    /// Whether a key of that name lets in somebody who is no node.
    pub fn has_operator_key(&self, name: &str) -> bool {
        self.has_keys_per_node() && name == CurveKeys::OPERATOR && self.node(name).is_none()
    }

    /// Whether sockets are to be encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.has_keys_per_node() || self.zeromq.has_curve_keys()
    }
}

impl CurveKeys {
    /// The name under which the central broker has keys. No node is called so.
    pub const BROKER: &'static str = "broker";
    /// The name of a pair of keys that all servers have beside their own, for nodes of Zeek: they
    /// know one key of all servers. No node is called so.
    pub const SERVERS: &'static str = "servers";
    /// The name of a key for people and scripts, who publish and subscribe without being a node. A
    /// node may be called so; then it is the node's key.
    pub const OPERATOR: &'static str = "operator";
}

/// A type of node as a key of `[allow]`, or the holder of a key who is no node.
pub(super) fn is_type(name: &str) -> bool {
    name == CurveKeys::OPERATOR || NodeType::ALL.iter().any(|node_type| node_type.as_str() == name)
}
