//! [`Bus`]: what an app does to the cluster.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bstr::{BStr, BString};

use crate::Event;
use crate::Layout;
use crate::node::{Node, NodeError};
use crate::topic::NodeId;

/// A node, or what stands for one in tests.
pub(super) trait Bus {
    fn name(&self) -> &str;
    fn id(&self) -> &NodeId;
    fn members(&self) -> BTreeMap<String, NodeId>;
    fn publish(&self, topic: &[u8], event: Cow<'_, Event>) -> Result<(), NodeError>;
    fn layout(&self) -> &Layout;
    /// The topic of this node by its name.
    fn own_topic(&self) -> &BStr;
    fn rr_topic(&self, pool: &str, key: &[u8]) -> Option<BString>;
    fn hrw_topic(&self, pool: &str, key: &[u8]) -> Option<BString>;
    fn subscribe(&self, prefix: &[u8]) -> Result<(), NodeError>;
    fn unsubscribe(&self, prefix: &[u8]) -> Result<(), NodeError>;
    fn publish_topic(&self, topic: BString) -> bool;
    fn unpublish_topic(&self, topic: &[u8]) -> bool;
    fn advertise_topic(&self, prefix: BString) -> Result<bool, NodeError>;
    fn unadvertise_topic(&self, prefix: &[u8]) -> Result<bool, NodeError>;
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

    fn publish(&self, topic: &[u8], event: Cow<'_, Event>) -> Result<(), NodeError> {
        Node::publish(self, topic, &*event)
    }

    fn layout(&self) -> &Layout {
        Node::layout(self)
    }

    fn own_topic(&self) -> &BStr {
        Node::own_topic(self)
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

    fn publish_topic(&self, topic: BString) -> bool {
        Node::publish_topic(self, topic)
    }

    fn unpublish_topic(&self, topic: &[u8]) -> bool {
        Node::unpublish_topic(self, topic)
    }

    fn advertise_topic(&self, prefix: BString) -> Result<bool, NodeError> {
        Node::advertise_topic(self, prefix)
    }

    fn unadvertise_topic(&self, prefix: &[u8]) -> Result<bool, NodeError> {
        Node::unadvertise_topic(self, prefix)
    }

    fn cluster_log(&self, line: &str) -> Result<(), NodeError> {
        Node::cluster_log(self, line)
    }
}
