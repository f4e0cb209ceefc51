//! Events that only the app itself raises: that it starts and stops, and what its node reports.

use bstr::BString;
use serde::{Deserialize, Serialize};

use crate::value::Value;
use crate::{Event, TypedEvent};

const INIT: &str = "zeek_init";
const DONE: &str = "zeek_done";

/// Their names.
pub(super) const NAMES: [&str; 6] =
    [INIT, DONE, NodeUp::NAME, NodeDown::NAME, Subscription::NAME, Unsubscription::NAME];

/// The handshake with a node is complete: events published to its topics reach it.
#[derive(Clone, Debug, PartialEq, Eq, Event, Serialize, Deserialize)]
#[event(name = "Cluster::node_up")]
pub struct NodeUp {
    /// Its name in the layout.
    pub name: String,
    /// The id of its process.
    pub id: BString,
}

/// A node is gone, or was replaced by a new process of that name.
#[derive(Clone, Debug, PartialEq, Eq, Event, Serialize, Deserialize)]
#[event(name = "Cluster::node_down")]
pub struct NodeDown {
    /// Its name in the layout.
    pub name: String,
    /// The id of the process that is gone.
    pub id: BString,
}

/// A prefix has its first subscriber.
#[derive(Clone, Debug, PartialEq, Eq, Event, Serialize, Deserialize)]
#[event(name = "Cluster::Backend::ZeroMQ::subscription")]
pub struct Subscription {
    /// The prefix.
    pub topic: BString,
}

/// The last subscriber of a prefix is gone.
#[derive(Clone, Debug, PartialEq, Eq, Event, Serialize, Deserialize)]
#[event(name = "Cluster::Backend::ZeroMQ::unsubscription")]
pub struct Unsubscription {
    /// The prefix.
    pub topic: BString,
}

pub(super) fn init() -> Event {
    Event::new(INIT, vec![])
}

pub(super) fn done() -> Event {
    Event::new(DONE, vec![])
}

pub(super) fn node_up(name: &str, id: &[u8]) -> Event {
    Event::new(NodeUp::NAME, vec![name.into(), id.into()])
}

pub(super) fn node_down(name: &str, id: &[u8]) -> Event {
    Event::new(NodeDown::NAME, vec![name.into(), id.into()])
}

pub(super) fn subscription(prefix: impl Into<Value>) -> Event {
    Event::new(Subscription::NAME, vec![prefix.into()])
}

pub(super) fn unsubscription(prefix: impl Into<Value>) -> Event {
    Event::new(Unsubscription::NAME, vec![prefix.into()])
}
