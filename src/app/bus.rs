//! [`Bus`]: what an app does to the cluster.

use std::collections::BTreeMap;

use bstr::BString;

use crate::Event;
use crate::Layout;
use crate::node::{Node, NodeError};
use crate::topic::NodeId;

/// A node, or what stands for one in tests.
pub(super) trait Bus {
    fn name(&self) -> &str;
    fn id(&self) -> &NodeId;
    fn members(&self) -> BTreeMap<String, NodeId>;
    fn publish(&self, topic: &[u8], event: &Event) -> Result<(), NodeError>;
    fn layout(&self) -> &Layout;
    fn rr_topic(&self, pool: &str, key: &[u8]) -> Option<BString>;
    fn hrw_topic(&self, pool: &str, key: &[u8]) -> Option<BString>;
    fn subscribe(&self, prefix: &[u8]) -> Result<(), NodeError>;
    fn unsubscribe(&self, prefix: &[u8]) -> Result<(), NodeError>;
    fn cluster_log(&self, line: &str) -> Result<(), NodeError>;
}

impl Bus for Node {
    fn name(&self) -> &str {
        Node::name(self)
    }

    fn id(&self) -> &NodeId {
        Node::id(self)
    }

    fn members(&self) -> BTreeMap<String, NodeId> {
        Node::members(self)
    }

    fn publish(&self, topic: &[u8], event: &Event) -> Result<(), NodeError> {
        Node::publish(self, topic, event)
    }

    fn layout(&self) -> &Layout {
        Node::layout(self)
    }

    fn rr_topic(&self, pool: &str, key: &[u8]) -> Option<BString> {
        Node::rr_topic(self, pool, key)
    }

    fn hrw_topic(&self, pool: &str, key: &[u8]) -> Option<BString> {
        Node::hrw_topic(self, pool, key)
    }

    fn subscribe(&self, prefix: &[u8]) -> Result<(), NodeError> {
        Node::subscribe(self, prefix)
    }

    fn unsubscribe(&self, prefix: &[u8]) -> Result<(), NodeError> {
        Node::unsubscribe(self, prefix)
    }

    fn cluster_log(&self, line: &str) -> Result<(), NodeError> {
        Node::cluster_log(self, line)
    }
}
