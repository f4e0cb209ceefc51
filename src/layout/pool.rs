//! `[pools.NAME]`: pools of nodes, Zeek's `Cluster::PoolSpec` (WIRE.md §8.4).

use super::table::table;
use super::{Layout, NodeType};
use crate::pool::PoolSpec;

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

/// Whether a pool of that name exists in every cluster.
pub(super) fn is_built_in(name: &str) -> bool {
    PoolSpec::built_in().iter().any(|spec| spec.node_type.as_str() == name)
}

impl Layout {
    /// All pools of the cluster: those that always exist first. They are named after their types.
    pub fn pool_specs(&self) -> Vec<PoolSpec> {
        let built_in = PoolSpec::built_in().map(|spec| spec.node_type.as_str());
        let own = self.pools.keys().map(String::as_str).filter(|name| !is_built_in(name));
        built_in.into_iter().chain(own).map(|name| self.pool_spec(name)).collect()
    }

    /// The pool of that name in the layout.
    pub(super) fn pool_spec(&self, name: &str) -> PoolSpec {
        let built_in = PoolSpec::built_in().into_iter().find(|of| of.node_type.as_str() == name);
        let topic = || format!("zeek.cluster.pool.{name}");
        let mut spec = built_in.unwrap_or_else(|| PoolSpec::new(topic(), NodeType::None));
        if let Some(pool) = self.pools.get(name) {
            if !pool.topic.is_empty() {
                spec.topic.clone_from(&pool.topic);
            }
            spec.node_type = pool.node_type.unwrap_or(spec.node_type);
            spec.max_nodes = pool.max_nodes;
            spec.exclusive = pool.exclusive;
        }
        spec
    }
}
