//! Rules for `[pools]`: whether the nodes of the layout can fill them.

use super::Check;
use crate::pool::{PoolError, problems};
use crate::topic;

/// Topics that all nodes of a type subscribe to.
const CLASSES: [&str; 4] = [topic::LOGGER, topic::MANAGER, topic::PROXY, topic::WORKER];

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
        // Members subscribe to the topic of their pool, which is a prefix.
        let own = self.layout.pools.keys().map(|name| (name, self.layout.pool_spec(name).topic));
        for (name, topic) in own.collect::<Vec<_>>() {
            let is_shorter = |other: &str| other != topic && topic.starts_with(other);
            let pools = specs.iter().map(|spec| spec.topic.as_str());
            if let Some(other) = pools.chain(CLASSES).find(|other| is_shorter(other)) {
                let message = format!(
                    "the topic `{topic}` begins with `{other}`: whoever subscribes to that also gets \
                     what is sent to this pool"
                );
                self.warn(&["pools", name, "topic"], message);
            }
        }
    }
}
