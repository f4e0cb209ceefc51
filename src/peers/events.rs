//! The events of Zeek's `Broker` module about peers, typed.

use serde::{Deserialize, Serialize};

use super::{EndpointInfo, ErrorCode};
use crate::Event;

macro_rules! events {
    ($($(#[$doc:meta])* $event:ident = $name:literal;)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq, Eq, Event, Serialize, Deserialize)]
            #[event(name = $name)]
            pub struct $event {
                /// The broker or the node it is about.
                pub endpoint: EndpointInfo,
                /// A line for people.
                pub msg: String,
            }
        )*
    };
}

events! {
    /// The bus has answered: what is published reaches its subscribers.
    PeerAdded = "Broker::peer_added";
    /// This node has ended the connection to the broker itself.
    PeerRemoved = "Broker::peer_removed";
    /// The connection to the broker is lost.
    PeerLost = "Broker::peer_lost";
    /// A node is up.
    EndpointDiscovered = "Broker::endpoint_discovered";
    /// A node is gone.
    EndpointUnreachable = "Broker::endpoint_unreachable";
    /// A change that no other event is about.
    Status = "Broker::status";
}

/// Something is wrong with the connection to the broker.
#[derive(Clone, Debug, PartialEq, Eq, Event, Serialize, Deserialize)]
#[event(name = "Broker::error")]
pub struct Error {
    /// What it is.
    pub code: ErrorCode,
    /// A line for people: what, where, and why.
    pub msg: String,
}
