//! [`Layout`]: the nodes of a cluster, where they listen, and every option they agree on.
//!
//! Every process reads the same file, `cluster-layout.toml`; Zeek's `cluster-layout.zeek` can be
//! imported and exported (WIRE.md §8.1). Names are Zeek's names.
//!
//! Parsing turns text into a checked [`Layout`] or returns all errors of the text at once; it opens
//! no socket and resolves no name.

mod broker;
mod changes;
mod curve;
mod diagnostic;
mod endpoint;
mod env;
mod load;
mod log;
mod metrics;
mod node;
mod options;
mod pool;
mod secret;
mod setting;
mod store;
mod syntax;
mod table;
mod toml;
mod toml_print;
mod validate;
mod websocket;
mod words;
pub mod zeek;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use crate::topic::NodeTopics;

pub use broker::{Broker, BrokerEngine, TopicOptions, WhenFull};
pub use changes::{Role, waiting_for_restart};
pub use curve::{Allow, CurveKeys, CurveMode};
pub use diagnostic::{Diagnostic, LayoutErrors, Severity};
pub use endpoint::{Endpoint, EndpointError, Host, UnixAddress};
pub use env::{Environment, EnvironmentError, EnvironmentErrors, SECRET_VARIABLES};
pub use load::{Checked, LoadError, Loaded, check, load};
pub use log::{
    Compress, Fsync, JsonStringEscapePolicy, JsonTimestamps, Log, LogFormat, PathOptions,
    PathSettings, RotationName,
};
pub use node::{Node, NodeType, UnknownNodeType};
pub use options::{Cluster, EventSerializer, LogHwmAction, Telemetry, ZeroMq};
pub use pool::Pool;
pub use secret::Secret;
pub use store::{
    SqliteFailureMode, SqliteJournalMode, SqliteSynchronous, Store, StoreBackend, StoreNameError,
    check_store_name,
};
pub use toml_print::{to_toml, to_toml_with_secrets};
pub use websocket::{Application, TlsOptions, WebSocket, WhenClientFull};

/// The newest version of layout files that this program knows. It increases when a new option must
/// be understood by every program in the cluster.
pub const LAYOUT_VERSION: u32 = 1;

/// A cluster: its nodes and its options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// What the nodes agree on.
    pub cluster: Cluster,
    /// Sockets, endpoints and queues.
    pub zeromq: ZeroMq,
    /// Keys beyond Zeek's.
    pub curve: CurveKeys,
    /// What the nodes of a type may do, by the name of the type. Read it through [`Layout::allow`].
    pub allow: BTreeMap<String, Allow>,
    /// The broker.
    pub broker: Broker,
    /// Logs and log files.
    pub log: Log,
    /// Metrics.
    pub telemetry: Telemetry,
    /// Pools of nodes, by name. Read them through [`Layout::pool_specs`].
    pub pools: BTreeMap<String, Pool>,
    /// Data stores, by name. Read them through [`Layout::store`].
    pub stores: BTreeMap<String, Store>,
    /// The nodes by name.
    pub nodes: BTreeMap<String, Node>,
}

impl Layout {
    /// The topics of single nodes, with the prefixes of the layout.
    pub fn node_topics(&self) -> NodeTopics {
        NodeTopics {
            node_prefix: self.zeromq.node_topic_prefix.clone(),
            nodeid_prefix: self.zeromq.nodeid_topic_prefix.clone(),
        }
    }

    /// The node of that name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.get(name)
    }

    /// The nodes of a type, sorted by the bytes of their names.
    pub fn nodes_of_type(&self, node_type: NodeType) -> impl Iterator<Item = (&str, &Node)> {
        let of_type = move |(_, node): &(_, &Node)| node.node_type == node_type;
        self.nodes.iter().map(|(name, node)| (name.as_str(), node)).filter(of_type)
    }

    /// The loggers, sorted by name.
    pub fn loggers(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes_of_type(NodeType::Logger)
    }

    /// The manager, if any.
    pub fn manager(&self) -> Option<(&str, &Node)> {
        self.nodes_of_type(NodeType::Manager).next()
    }

    /// The nodes that receive logs: the loggers, and the manager if it is one; sorted by name.
    pub fn log_receivers(&self) -> impl Iterator<Item = (&str, &Node)> {
        let all = self.nodes.iter().map(|(name, node)| (name.as_str(), node));
        all.filter(|(_, node)| self.receives_logs(node))
    }

    /// Whether a node receives logs and has an address for them, and is therefore run by
    /// `zcluster-logger`: every logger, and the manager with `manager_is_logger`.
    pub fn is_run_by_logger(&self, name: &str) -> bool {
        let is_logger = self.node(name).is_some_and(|node| node.node_type == NodeType::Logger);
        is_logger || self.listen_log_endpoint(name).is_some()
    }

    /// Whether logs are distributed over more than one receiver, so that several files may have the
    /// same path and time.
    pub fn several_loggers(&self) -> bool {
        self.log_receivers().nth(1).is_some()
    }

    fn receives_logs(&self, node: &Node) -> bool {
        match node.node_type {
            NodeType::Logger => true,
            NodeType::Manager => self.cluster.manager_is_logger,
            _ => false,
        }
    }

    /// Where log producers connect: the endpoints of the option, then every log receiver with a
    /// fixed port, without duplicates.
    pub fn connect_log_endpoints(&self) -> Vec<String> {
        let mut endpoints = self.zeromq.connect_log_endpoints.clone();
        for (_, node) in self.log_receivers() {
            let Some(port) = node.port.filter(|port| *port != 0) else { continue };
            let endpoint = node.endpoint(port);
            if !endpoints.contains(&endpoint) {
                endpoints.push(endpoint);
            }
        }
        endpoints
    }

    /// Where log producers connect, with the name of the node there if known.
    pub fn log_routes(&self) -> impl Iterator<Item = (Option<&str>, String)> {
        self.connect_log_endpoints().into_iter().map(|endpoint| {
            let is_there = |name: &&str| self.listen_log_endpoint(name).as_ref() == Some(&endpoint);
            (self.log_receivers().map(|(name, _)| name).find(is_there), endpoint)
        })
    }

    /// Where a log receiver listens: the option, or else its own address and port. `None` for nodes
    /// that receive no logs or have no port.
    pub fn listen_log_endpoint(&self, name: &str) -> Option<String> {
        let node = self.node(name).filter(|node| self.receives_logs(node))?;
        if self.zeromq.listen_log_endpoint.is_empty() {
            node.port.map(|port| node.endpoint(port))
        } else {
            Some(self.zeromq.listen_log_endpoint.clone())
        }
    }

    /// Where a node's XPUB connects: the option, or else the broker's XSUB.
    pub fn connect_xpub_endpoint(&self) -> String {
        self.connect_endpoint(&self.zeromq.connect_xpub_endpoint, &self.zeromq.listen_xsub_endpoint)
    }

    /// Where a node's XSUB connects: the option, or else the broker's XPUB.
    pub fn connect_xsub_endpoint(&self) -> String {
        self.connect_endpoint(&self.zeromq.connect_xsub_endpoint, &self.zeromq.listen_xpub_endpoint)
    }

    /// A wildcard cannot be connected to: the broker is then expected on the manager's host, as in
    /// Zeek's multi-host helper, or on this host.
    fn connect_endpoint(&self, connect: &str, listen: &str) -> String {
        if !connect.is_empty() {
            return connect.into();
        }
        match listen.parse() {
            Ok(Endpoint::Tcp { host, port }) if host.is_wildcard() => match self.manager() {
                Some((_, manager)) => manager.endpoint(port),
                None => Node::new(NodeType::None, Ipv4Addr::LOCALHOST.into()).endpoint(port),
            },
            _ => listen.into(),
        }
    }

    /// The address at which a node serves its metrics.
    pub fn metrics_address(&self, node: &Node) -> IpAddr {
        self.telemetry.metrics_address.unwrap_or(node.ip)
    }

    /// The address at which the broker serves its metrics: the option, or else that of
    /// `[telemetry]`, or else where its XPUB listens.
    pub fn broker_metrics_address(&self) -> IpAddr {
        let listens = || match self.zeromq.listen_xpub_endpoint.parse() {
            Ok(Endpoint::Tcp { host, .. }) => host.ip(),
            _ => None,
        };
        let set = self.broker.metrics_address.or(self.telemetry.metrics_address);
        set.or_else(listens).unwrap_or(Ipv4Addr::LOCALHOST.into())
    }

    /// Whether sockets must enable IPv6: the option, or any IPv6 address in the layout.
    pub fn needs_ipv6(&self) -> bool {
        let is_v6 = |endpoint: &String| {
            matches!(endpoint.parse(), Ok(Endpoint::Tcp { host: Host::V6(..), .. }))
        };
        let zeromq = &self.zeromq;
        let endpoints = [
            &zeromq.listen_xpub_endpoint,
            &zeromq.listen_xsub_endpoint,
            &zeromq.connect_xpub_endpoint,
            &zeromq.connect_xsub_endpoint,
            &zeromq.listen_log_endpoint,
        ];
        zeromq.ipv6
            || self.nodes.values().any(|node| node.ip.is_ipv6())
            || endpoints.into_iter().chain(&zeromq.connect_log_endpoints).any(is_v6)
    }

    /// The value of `manager_is_logger` if the file does not set it.
    fn default_manager_is_logger(&self) -> bool {
        self.manager().is_some() && self.loggers().next().is_none()
    }
}

#[cfg(test)]
mod tests;
