//! [`Cluster`]: what a node knows of its cluster, under the names of Zeek's `Cluster` module
//! (WIRE.md §8.3). Pure.

use std::collections::BTreeMap;

use bstr::BString;

use crate::layout::{Layout, Node, NodeType};
use crate::topic::{self, NodeId};
use crate::value::{Port, Protocol};

/// The nodes of the layout, and which of them are up, as one node sees them now.
///
/// ```
/// use zcluster::app::Cluster;
/// use zcluster::layout::{Layout, NodeType};
///
/// let text = r#"
///     [nodes.manager]
///     node_type = "manager"
///     ip = "127.0.0.1"
///     [nodes.worker-1]
///     node_type = "worker"
///     ip = "127.0.0.1"
/// "#;
/// let (layout, _) = Layout::from_toml(text, "layout").unwrap();
/// let cluster = Cluster::new(&layout, "manager", Default::default());
/// assert_eq!(cluster.local_node_type(), NodeType::Manager);
/// assert_eq!(cluster.get_node_count(NodeType::Worker), 1);
/// assert_eq!(cluster.get_active_node_count(NodeType::Worker), 0);
/// assert_eq!(cluster.node_topic("worker-1"), "zeek.cluster.node.worker-1.");
/// ```
#[derive(Clone, Debug)]
pub struct Cluster<'a> {
    layout: &'a Layout,
    name: &'a str,
    members: BTreeMap<String, NodeId>,
}

impl<'a> Cluster<'a> {
    /// What the node of that name knows. `members`: the other nodes that are up.
    pub fn new(layout: &'a Layout, name: &'a str, members: BTreeMap<String, NodeId>) -> Self {
        Cluster { layout, name, members }
    }

    /// Whether this process is a node at all.
    pub fn is_enabled(&self) -> bool {
        !self.name.is_empty()
    }

    /// The type of this node; [`NodeType::None`] if the layout does not have it.
    pub fn local_node_type(&self) -> NodeType {
        self.layout.node(self.name).map_or(NodeType::None, |node| node.node_type)
    }

    /// How many nodes of a type the layout has.
    pub fn get_node_count(&self, node_type: NodeType) -> usize {
        self.layout.nodes_of_type(node_type).count()
    }

    /// How many of them are up, without this one.
    pub fn get_active_node_count(&self, node_type: NodeType) -> usize {
        let is_up = |(name, _): &(&str, &Node)| self.members.contains_key(*name);
        self.layout.nodes_of_type(node_type).filter(is_up).count()
    }

    /// The nodes of a type, sorted by the bytes of their names.
    pub fn nodes_with_type(&self, node_type: NodeType) -> Vec<(&'a str, &'a Node)> {
        self.layout.nodes_of_type(node_type).collect()
    }

    /// The topic of a node, whichever process runs it.
    pub fn node_topic(&self, name: &str) -> BString {
        self.layout.node_topics().node(name)
    }

    /// The topic of a process.
    pub fn nodeid_topic(&self, id: &NodeId) -> BString {
        self.layout.node_topics().nodeid(id)
    }

    /// The node that a process is, if it is up.
    pub fn nodeid_to_node(&self, id: &NodeId) -> Option<(&'a str, &'a Node)> {
        let (name, _) = self.members.iter().find(|(_, known)| *known == id)?;
        self.layout.nodes.get_key_value(name).map(|(name, node)| (name.as_str(), node))
    }

    /// The port where this node serves metrics; `0/unknown` if the layout says none.
    pub fn local_node_metrics_port(&self) -> Port {
        let port = self.layout.node(self.name).and_then(|node| node.metrics_port);
        port.map_or_else(Port::default, |number| Port::new(number, Protocol::Tcp))
    }

    /// The topics that together reach every node but those of type `control`: publish to each. Zeek's constant of that name holds
    /// topics of another backend, and reaches nobody on this one (WIRE.md §1.6).
    pub fn broadcast_topics(&self) -> [&'static str; 4] {
        [topic::LOGGER, topic::MANAGER, topic::PROXY, topic::WORKER]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: &str = r#"
        [nodes.manager]
        node_type = "manager"
        ip = "127.0.0.1"
        metrics_port = 9991
        [nodes.worker-2]
        node_type = "worker"
        ip = "127.0.0.1"
        [nodes.worker-10]
        node_type = "worker"
        ip = "127.0.0.1"
    "#;

    #[test]
    fn questions_are_answered_as_in_zeek() {
        let (layout, _) = Layout::from_toml(LAYOUT, "layout").unwrap();
        let id = NodeId::from_bytes("zeromq_worker-2_h_1_N1");
        let members = [("worker-2".to_owned(), id.clone())];
        let cluster = Cluster::new(&layout, "manager", members.into());
        assert!(cluster.is_enabled());
        assert_eq!(cluster.local_node_metrics_port(), Port::new(9991, Protocol::Tcp));
        let workers = cluster.nodes_with_type(NodeType::Worker);
        let names: Vec<&str> = workers.into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["worker-10", "worker-2"]);
        for (node_type, all, active) in
            [(NodeType::Worker, 2, 1), (NodeType::Manager, 1, 0), (NodeType::Proxy, 0, 0)]
        {
            let counts =
                (cluster.get_node_count(node_type), cluster.get_active_node_count(node_type));
            assert_eq!(counts, (all, active), "{node_type:?}");
        }
        assert_eq!(cluster.nodeid_to_node(&id).unwrap().0, "worker-2");
        assert!(cluster.nodeid_to_node(&NodeId::from_bytes("x")).is_none());
        let topic = "zeek.cluster.nodeid.zeromq_worker-2_h_1_N1.";
        assert_eq!(cluster.nodeid_topic(&id), topic);
    }

    #[test]
    fn a_process_that_is_no_node_is_told_so() {
        let (layout, _) = Layout::from_toml(LAYOUT, "layout").unwrap();
        let cluster = Cluster::new(&layout, "", BTreeMap::new());
        assert!(!cluster.is_enabled());
        assert_eq!(cluster.local_node_type(), NodeType::None);
        assert_eq!(cluster.local_node_metrics_port(), Port::default());
    }
}
