//! `[curve]`: whose keys are accepted; `[allow.TYPE]` and `[nodes.NAME.allow]`: what a node may
//! publish, subscribe to and log.

use std::path::PathBuf;

use super::table::table;
use super::words::words;
use super::{Layout, NodeType, Secret};
use crate::wire::zmtp::PublicKey;

words! {
    /// Which processes have CURVE keys.
    pub enum CurveMode {
        /// All servers share one key pair and all clients another, as in Zeek (WIRE.md §7.1).
        #[default]
        Shared = "shared",
        /// Each node has its own keys, which identify it.
        PerNode = "per-node",
    }
}

table! {
    /// `[curve]`: encryption options beyond Zeek's four in `[zeromq]`.
    pub struct CurveKeys {
        /// Which processes have keys.
        mode: CurveMode = CurveMode::Shared,
        /// Mode `per-node`: the directory of public keys, `NAME.pub` for the node `NAME`; a key in
        /// it is accepted. Relative to the layout file.
        authorized_keys_dir: PathBuf = "keys/authorized".into(),
        /// Mode `per-node`: the directory of the secret keys of this host's processes,
        /// `NAME.secret`, readable by no other user. Relative to the layout file.
        secret_keys_dir: PathBuf = "keys/secret".into(),
        /// Mode `per-node`: the public key of the broker, unless it is in the directory.
        broker_publickey: Option<PublicKey> = None,
        /// Mode `shared`, during key rotation: a further secret key that servers answer to.
        old_server_secretkey: Secret = Secret::default(),
        /// Mode `shared`, during key rotation: a further client key that servers accept.
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
    /// What a node may do: its own rules, or else those of its type.
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

    /// Whether there are any rules about what nodes may do.
    pub fn has_rules(&self) -> bool {
        let default = Allow::default();
        self.allow
            .values()
            .chain(self.nodes.values().map(|node| &node.allow))
            .any(|a| *a != default)
    }

    /// Whether every node has its own keys.
    pub fn has_keys_per_node(&self) -> bool {
        self.curve.mode == CurveMode::PerNode
    }

    /// Whether a key of that name admits a peer that is not a node.
    pub fn has_operator_key(&self, name: &str) -> bool {
        self.has_keys_per_node() && name == CurveKeys::OPERATOR && self.node(name).is_none()
    }

    /// Whether sockets should be encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.has_keys_per_node() || self.zeromq.has_curve_keys()
    }
}

impl CurveKeys {
    /// The name under which the broker has keys. No node may have this name.
    pub const BROKER: &'static str = "broker";
    /// The name of a key pair that all servers hold in addition to their own, for Zeek nodes, which
    /// know one key for all servers. No node may have this name.
    pub const SERVERS: &'static str = "servers";
    /// The name of a key for people and scripts that publish and subscribe without being a node. A
    /// node may have this name; then it is the node's key.
    pub const OPERATOR: &'static str = "operator";
}

/// A node type as a key of `[allow]`, or the name of a key that is not a node's.
pub(super) fn is_type(name: &str) -> bool {
    name == CurveKeys::OPERATOR || NodeType::ALL.iter().any(|node_type| node_type.as_str() == name)
}
