//! `[pools.NAME]`: pools of nodes, Zeek's `Cluster::PoolSpec` (WIRE.md §8.4).

use super::table::table;
use super::{Layout, NodeType};
use crate::pool::PoolSpec;
use crate::topic;

table! {
    /// `[pools.NAME]`: a pool that distributes events over its nodes. The pools `worker`, `proxy` and
    /// `logger` always exist; a section changes them. All nodes need the same sections, and scripts of
    /// Zeek nodes the same pools.
    pub struct Pool {
        /// The topic of all members, by which a pool is known; empty means `zeek.cluster.pool.NAME`.
        topic: String = String::new(),
        /// The type of its members: logger, proxy or worker. Can be left out for the pools that always
        /// exist.
        node_type: Option<NodeType> = None,
        /// Largest number of members; unset means all nodes of the type.
        max_nodes: Option<u32> = None,
        /// Whether its members are in no other pool. Requires `max_nodes`.
        exclusive: bool = false,
    }
}

/// The pools that always exist, by their names in a layout.
const BUILT_IN: [(&str, NodeType, &str); 3] = [
    ("worker", NodeType::Worker, topic::WORKER_POOL),
    ("proxy", NodeType::Proxy, topic::PROXY_POOL),
    ("logger", NodeType::Logger, topic::LOGGER_POOL),
];

impl Layout {
    /// All pools of the cluster: those that always exist first.
    pub fn pool_specs(&self) -> Vec<PoolSpec> {
        let built_in = BUILT_IN.iter().map(|(name, _, _)| *name);
        let own = self.pools.keys().map(String::as_str);
        let own = own.filter(|name| BUILT_IN.iter().all(|(known, _, _)| known != name));
        built_in.chain(own).map(|name| self.pool_spec(name)).collect()
    }

    /// The pool of that name in the layout.
    pub(super) fn pool_spec(&self, name: &str) -> PoolSpec {
        let known = BUILT_IN.iter().find(|(known, _, _)| *known == name);
        let known_type = known.map_or(NodeType::None, |(_, node_type, _)| *node_type);
        let topic = known.map(|(_, _, topic)| (*topic).to_owned());
        let mut spec =
            PoolSpec::new(topic.unwrap_or_else(|| format!("zeek.cluster.pool.{name}")), known_type);
        if let Some(pool) = self.pools.get(name) {
            if !pool.topic.is_empty() {
                spec.topic.clone_from(&pool.topic);
            }
            spec.node_type = pool.node_type.unwrap_or(known_type);
            spec.max_nodes = pool.max_nodes;
            spec.exclusive = pool.exclusive;
        }
        spec
    }
}
