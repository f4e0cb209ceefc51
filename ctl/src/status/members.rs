//! Which nodes of the layout are connected to the broker, and which are not. Pure.
//!
//! Names are what peers say they are, unless keys per node prove them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use zcluster::layout::{Layout, NodeType};
use zcluster::telemetry::BrokerMetrics;

use super::Status;

/// Which connections a node has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// It publishes and subscribes.
    Up,
    /// It does only one of the two.
    Half,
    /// It has no connection.
    Down,
}

/// A node that should be connected, and its connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Member {
    pub(super) name: String,
    node_type: &'static str,
    pub(super) state: State,
    /// Connections on which it publishes.
    xsub: usize,
    /// Connections on which it subscribes.
    xpub: usize,
}

impl Member {
    /// The sockets of the broker that it is not connected to.
    pub(super) fn missing(&self) -> &'static str {
        match self.state {
            State::Up => "",
            State::Down => "-",
            State::Half if self.xsub == 0 => "xsub",
            State::Half => "xpub",
        }
    }
}

/// The nodes of a layout, as the broker sees them.
#[derive(Clone, Debug, Default)]
pub(super) struct Members {
    /// The nodes that should be connected, by name.
    pub(super) all: Vec<Member>,
    /// The names of all nodes, including those that may be absent.
    known: BTreeSet<String>,
}

/// A node of type `control` belongs to an operator and may be absent; one of type `none` is not
/// part of the cluster.
fn should_be_there(node_type: NodeType) -> bool {
    !matches!(node_type, NodeType::Control | NodeType::None)
}

impl Members {
    pub(super) fn new(layout: &Layout, status: &Status) -> Self {
        let publishers = status.publishers.iter().map(|p| (p.peer.as_str(), p.address.as_str()));
        let subscribers = status.subscribers.iter().map(|s| (s.peer.as_str(), s.address.as_str()));
        let (publishers, subscribers) = (by_name(publishers), by_name(subscribers));
        let hosts = |names: &BTreeMap<&str, Vec<&str>>, name: &str| -> Vec<String> {
            names.get(name).into_iter().flatten().map(|address| host(address).to_owned()).collect()
        };
        let nodes = layout.nodes.iter().filter(|(_, node)| should_be_there(node.node_type));
        let member = |(name, node): (&String, &zcluster::layout::Node)| {
            let (mut xsub, own) = (hosts(&publishers, name).len(), hosts(&subscribers, name));
            // A publisher has no name until its first event. An unnamed one on the same host may be
            // this node.
            if xsub == 0 && hosts(&publishers, "").iter().any(|host| own.contains(host)) {
                xsub = 1;
            }
            let state = match (xsub, own.len()) {
                (0, 0) => State::Down,
                (0, _) | (_, 0) => State::Half,
                _ => State::Up,
            };
            let (name, node_type) = (name.clone(), node.node_type.as_str());
            Member { name, node_type, state, xsub, xpub: own.len() }
        };
        Members { all: nodes.map(member).collect(), known: layout.nodes.keys().cloned().collect() }
    }

    /// Whether a peer has a name that belongs to no node.
    pub(super) fn is_stranger(&self, peer: &str) -> bool {
        !self.known.is_empty() && !is_unnamed(peer) && !self.known.contains(peer)
    }

    /// A description of the missing nodes; `None` if all are connected.
    pub(super) fn absent(&self) -> Option<String> {
        let told = self.all.iter().filter_map(|member| match member.state {
            State::Up => None,
            State::Down => Some(format!("{} is down", member.name)),
            State::Half => Some(format!("{} has no {} connection", member.name, member.missing())),
        });
        let told: Vec<_> = told.collect();
        (!told.is_empty()).then(|| told.join(", "))
    }

    /// The number of connected nodes, and of all nodes.
    pub(super) fn count(&self) -> (usize, usize) {
        let up = self.all.iter().filter(|member| member.state == State::Up).count();
        (up, self.all.len())
    }
}

/// Whether the broker knows no name for that peer and identifies it by its address.
fn is_unnamed(peer: &str) -> bool {
    peer.is_empty() || peer == BrokerMetrics::UNNAMED || peer.contains([':', '/'])
}

/// The addresses of peers by name; unnamed peers are under "".
fn by_name<'a>(peers: impl Iterator<Item = (&'a str, &'a str)>) -> BTreeMap<&'a str, Vec<&'a str>> {
    let mut names: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (peer, address) in peers {
        names.entry(if is_unnamed(peer) { "" } else { peer }).or_default().push(address);
    }
    names
}

fn host(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LAYOUT: &str = "[nodes.manager]\nnode_type = \"manager\"\nip = \"127.0.0.1\"\n\
        [nodes.worker-1]\nnode_type = \"worker\"\nip = \"127.0.0.1\"\n\
        [nodes.operator]\nnode_type = \"control\"\nip = \"127.0.0.1\"\n\
        [nodes.spare]\nnode_type = \"none\"\nip = \"127.0.0.1\"\n";

    /// `names` and addresses of publishers, and of subscribers.
    fn members(publishers: &[[&str; 2]], subscribers: &[[&str; 2]]) -> Members {
        let publisher = |[peer, address]: &[&str; 2]| {
            json!({"peer": peer, "address": address, "connected_s": 1.0, "events": 0, "refused": 0,
                   "held": false})
        };
        let subscriber = |[peer, address]: &[&str; 2]| {
            json!({"peer": peer, "address": address, "connected_s": 1.0, "queued_messages": 0,
                   "queued_bytes": 0, "sent": 0, "dropped": 0, "state": "ok"})
        };
        let status = json!({
            "engine": "switch",
            "publishers": publishers.iter().map(publisher).collect::<Vec<_>>(),
            "subscribers": subscribers.iter().map(subscriber).collect::<Vec<_>>(),
            "subscriptions": 0,
        });
        let layout = Layout::from_toml(LAYOUT, "l.toml").unwrap().0;
        Members::new(&layout, &serde_json::from_value(status).unwrap())
    }

    #[test]
    fn who_should_be_there_and_is_not_is_named() {
        let (manager, worker) = (["manager", "10.0.0.1:1"], ["worker-1", "10.0.0.2:2"]);
        let (unnamed, elsewhere) = (["10.0.0.2:3", "10.0.0.2:3"], ["10.0.0.3:3", "10.0.0.3:3"]);
        for (publishers, subscribers, absent) in [
            (vec![manager, worker], vec![manager, worker], None),
            (vec![manager, worker, worker], vec![manager, worker, worker], None),
            (vec![manager], vec![manager], Some("worker-1 is down")),
            (vec![], vec![], Some("manager is down, worker-1 is down")),
            (vec![manager], vec![manager, worker], Some("worker-1 has no xsub connection")),
            (vec![manager, worker], vec![manager], Some("worker-1 has no xpub connection")),
            // It has sent nothing yet.
            (vec![manager, unnamed], vec![manager, worker], None),
            (
                vec![manager, elsewhere],
                vec![manager, worker],
                Some("worker-1 has no xsub connection"),
            ),
            (vec![manager, unnamed], vec![manager, unnamed], Some("worker-1 is down")),
        ] {
            let members = members(&publishers, &subscribers);
            assert_eq!(members.absent().as_deref(), absent, "{publishers:?} {subscribers:?}");
        }
    }

    #[test]
    fn names_of_no_node_are_strangers() {
        let members = members(&[], &[]);
        for (peer, is_stranger) in [
            ("worker-1", false),
            ("operator", false),
            ("worker-9", true),
            ("unnamed", false),
            ("", false),
            ("127.0.0.1:4242", false),
        ] {
            assert_eq!(members.is_stranger(peer), is_stranger, "{peer}");
        }
        assert!(!Members::default().is_stranger("worker-9"), "without a layout no peer is");
    }
}
