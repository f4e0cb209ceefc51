//! Events that only the app itself raises: that it starts and stops, and what its node reports.

use crate::Event;
use crate::value::Value;

const INIT: &str = "zeek_init";
const DONE: &str = "zeek_done";
const NODE_UP: &str = "Cluster::node_up";
const NODE_DOWN: &str = "Cluster::node_down";
const SUBSCRIPTION: &str = "Cluster::Backend::ZeroMQ::subscription";
const UNSUBSCRIPTION: &str = "Cluster::Backend::ZeroMQ::unsubscription";

/// Their names.
pub(super) const NAMES: [&str; 6] = [INIT, DONE, NODE_UP, NODE_DOWN, SUBSCRIPTION, UNSUBSCRIPTION];

pub(super) fn init() -> Event {
    Event::new(INIT, vec![])
}

pub(super) fn done() -> Event {
    Event::new(DONE, vec![])
}

pub(super) fn node_up(name: &str, id: &[u8]) -> Event {
    Event::new(NODE_UP, vec![name.into(), id.into()])
}

pub(super) fn node_down(name: &str, id: &[u8]) -> Event {
    Event::new(NODE_DOWN, vec![name.into(), id.into()])
}

pub(super) fn subscription(prefix: impl Into<Value>) -> Event {
    Event::new(SUBSCRIPTION, vec![prefix.into()])
}

pub(super) fn unsubscription(prefix: impl Into<Value>) -> Event {
    Event::new(UNSUBSCRIPTION, vec![prefix.into()])
}
