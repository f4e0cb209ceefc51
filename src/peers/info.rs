//! [`EndpointInfo`], [`PeerInfo`] and what they consist of: records of Zeek's `Broker` module. Pure.

use serde::{Deserialize, Serialize};

use crate::Layout;
use crate::layout::{Endpoint, Host};
use crate::node::BrokerState;
use crate::topic::NodeId;
use crate::value::{Port, Protocol};

/// `Broker::EndpointInfo`: the broker, or a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EndpointInfo {
    /// The id of a node's process; [`EndpointInfo::BROKER`] for the broker, which has none.
    pub id: String,
    /// Where it is.
    pub network: Option<NetworkInfo>,
}

/// `Broker::NetworkInfo`: where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NetworkInfo {
    /// Its IP address or the name of its host.
    pub address: String,
    /// The port where it listens; `0/unknown` if it does not.
    pub bound_port: Port,
}

impl EndpointInfo {
    /// What stands for the id of the broker.
    pub const BROKER: &'static str = "broker";

    /// The broker of a layout, at the address where nodes send their events. Without a network if that
    /// is a Unix socket.
    pub fn broker(layout: &Layout) -> Self {
        let network = match layout.connect_xpub_endpoint().parse() {
            Ok(Endpoint::Tcp { host, port }) => Some(NetworkInfo {
                address: match host {
                    Host::Any => "0.0.0.0".into(),
                    Host::V4(ip) => ip.to_string(),
                    Host::V6(ip, _) => ip.to_string(),
                    Host::Name(name) => name,
                },
                bound_port: Port::new(port, Protocol::Tcp),
            }),
            _ => None,
        };
        EndpointInfo { id: Self::BROKER.into(), network }
    }

    /// A process of a node, at the address that the layout gives it. Only loggers listen, for logs. Bytes
    /// of the id that are no UTF-8 are replaced.
    pub fn node(layout: &Layout, name: &str, id: &NodeId) -> Self {
        let network = layout.node(name).map(|node| NetworkInfo {
            address: node.ip.to_string(),
            bound_port: match node.port {
                Some(port) if port > 0 => Port::new(port, Protocol::Tcp),
                _ => Port::default(),
            },
        });
        EndpointInfo { id: id.to_string(), network }
    }
}

/// `Broker::PeerInfo`: a peer and how things are with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PeerInfo {
    /// The peer.
    pub peer: EndpointInfo,
    /// How things are with it.
    pub status: PeerStatus,
}

/// `Broker::PeerStatus`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PeerStatus {
    /// The app has not started yet.
    #[default]
    #[serde(rename = "Broker::INITIALIZING")]
    Initializing,
    /// Not connected yet.
    #[serde(rename = "Broker::CONNECTING")]
    Connecting,
    /// Connected, but the bus has not answered yet.
    #[serde(rename = "Broker::CONNECTED")]
    Connected,
    /// The bus has answered: what is published reaches its subscribers.
    #[serde(rename = "Broker::PEERED")]
    Peered,
    /// The connection has just been lost, or this node has ended it.
    #[serde(rename = "Broker::DISCONNECTED")]
    Disconnected,
    /// Lost, and trying to connect again.
    #[serde(rename = "Broker::RECONNECTING")]
    Reconnecting,
}

impl From<BrokerState> for PeerStatus {
    fn from(state: BrokerState) -> Self {
        match state {
            BrokerState::Connecting => PeerStatus::Connecting,
            BrokerState::Connected => PeerStatus::Connected,
            BrokerState::Ready => PeerStatus::Peered,
            BrokerState::Reconnecting => PeerStatus::Reconnecting,
            BrokerState::Closed => PeerStatus::Disconnected,
        }
    }
}
