//! Rules for `[pools]`: whether the nodes of the layout can fill them.

use super::Check;
use crate::pool::{PoolError, problems};

impl Check<'_> {
    pub(super) fn pools(&mut self) {
        if self.layout.pools.is_empty() {
            return;
        }
        let specs = self.layout.pool_specs();
        let nodes = self.layout.nodes.iter().map(|(name, node)| (name.as_str(), node.node_type));
        for problem in problems(&specs, nodes, self.layout.cluster.manager_is_logger) {
            let key = match problem {
                PoolError::DuplicateTopic { .. } => "topic",
                PoolError::NodeType { .. } => "node_type",
                PoolError::NoMaximum { .. } => "exclusive",
                PoolError::TooFewNodes { .. } => "max_nodes",
            };
            let is_meant = |name: &&String| {
                let spec = self.layout.pool_spec(name);
                match &problem {
                    PoolError::DuplicateTopic { topic }
                    | PoolError::NodeType { topic, .. }
                    | PoolError::NoMaximum { topic } => spec.topic == *topic,
                    PoolError::TooFewNodes { node_type, .. } => {
                        spec.exclusive && spec.node_type == *node_type
                    }
                }
            };
            let name = self.layout.pools.keys().rfind(is_meant).cloned().unwrap_or_default();
            self.error(&["pools", &name, key], problem.to_string());
        }
    }
}
