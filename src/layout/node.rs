//! [`Node`]: one node of a layout, and its [`NodeType`].

use std::net::IpAddr;
use std::str::FromStr;

use super::curve::Allow;
use super::setting::{Raw, Scalar, Setting, toml_string};
use super::table::Table;
use super::websocket::WebSocket;
use super::words::{names, one_of};
use crate::wire::zmtp::PublicKey;

/// One node, `Cluster::Node` of Zeek (WIRE.md §8.1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its role.
    pub node_type: NodeType,
    /// The address of its host.
    pub ip: IpAddr,
    /// Scope of a link-local IPv6 address: the name of an interface.
    pub zone_id: Option<String>,
    /// Where a log receiver listens for log batches; 0 lets the system choose. Unused by other
    /// nodes.
    pub port: Option<u16>,
    /// Name of its manager.
    pub manager: Option<String>,
    /// Metrics port; unset means none, 0 lets the system choose.
    pub metrics_port: Option<u16>,
    /// The WebSocket API it offers, if any.
    pub websocket: Option<WebSocket>,
    /// Its public keys, where each node has its own: the first identifies it as a server, any of
    /// them admits it.
    pub curve_publickey: Vec<PublicKey>,
    /// What it may do, if different from the other nodes of its type. Read it through
    /// [`Layout::allow`](super::Layout::allow).
    pub allow: Allow,
}

impl Node {
    /// A node of that type at that address, with everything else unset.
    pub fn new(node_type: NodeType, ip: IpAddr) -> Self {
        Node {
            node_type,
            ip,
            zone_id: None,
            port: None,
            manager: None,
            metrics_port: None,
            websocket: None,
            curve_publickey: Vec::new(),
            allow: Allow::default(),
        }
    }

    /// Its host as written in an endpoint: an IPv6 address has brackets and its scope.
    pub(super) fn endpoint(&self, port: u16) -> String {
        match (self.ip, &self.zone_id) {
            (IpAddr::V6(ip), Some(zone)) if ip.is_unicast_link_local() => {
                format!("tcp://[{ip}%{zone}]:{port}")
            }
            (IpAddr::V6(ip), _) => format!("tcp://[{ip}]:{port}"),
            (IpAddr::V4(ip), _) => format!("tcp://{ip}:{port}"),
        }
    }
}

names! {
    /// The type of a node, `Cluster::NodeType` of Zeek.
    pub enum NodeType {
        /// Not part of a cluster.
        #[default]
        None = "none",
        /// Speaks to nodes for an operator.
        Control = "control",
        /// Receives logs.
        Logger = "logger",
        /// Coordinates the cluster; at most one.
        Manager = "manager",
        /// Offloads work from the others. Not the broker.
        Proxy = "proxy",
        /// Analyses traffic.
        Worker = "worker",
    }
}

impl NodeType {
    /// The name of the enum value in Zeek script.
    pub const fn zeek_name(self) -> &'static str {
        match self {
            NodeType::None => "Cluster::NONE",
            NodeType::Control => "Cluster::CONTROL",
            NodeType::Logger => "Cluster::LOGGER",
            NodeType::Manager => "Cluster::MANAGER",
            NodeType::Proxy => "Cluster::PROXY",
            NodeType::Worker => "Cluster::WORKER",
        }
    }
}

/// A text that is not the name of a [`NodeType`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown node type `{0}`; expected none, control, logger, manager, proxy or worker")]
pub struct UnknownNodeType(pub String);

impl FromStr for NodeType {
    type Err = UnknownNodeType;

    /// Parses `worker`, `WORKER` and `Cluster::WORKER`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bare = text.strip_prefix("Cluster::").unwrap_or(text);
        let known = NodeType::ALL.iter().find(|t| t.as_str().eq_ignore_ascii_case(bare));
        known.copied().ok_or_else(|| UnknownNodeType(text.into()))
    }
}

impl Scalar for NodeType {
    fn expected() -> String {
        one_of(NodeType::ALL)
    }
    fn parse(raw: &Raw<'_>) -> Option<Self> {
        match raw {
            Raw::Text(text) | Raw::Word(text) => text.parse().ok(),
            _ => None,
        }
    }
    fn toml(&self) -> String {
        toml_string(self.as_str())
    }
    fn zeek(&self) -> String {
        self.zeek_name().into()
    }
}

impl Table for Node {
    fn options(&mut self) -> Vec<(&'static str, &mut dyn Setting)> {
        vec![
            ("node_type", &mut self.node_type),
            ("ip", &mut self.ip),
            ("zone_id", &mut self.zone_id),
            ("port", &mut self.port),
            ("manager", &mut self.manager),
            ("metrics_port", &mut self.metrics_port),
            ("curve_publickey", &mut self.curve_publickey),
        ]
    }
}
