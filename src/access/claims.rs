//! Events that say who takes part. Zeek believes them by their names, whatever their topics.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::Denial;
use crate::event::Event;
use crate::membership::Hello;
use crate::wire::broker_bin;
use crate::wire::event_format::EventFormat;

/// Events that each Zeek node raises for itself and no node publishes (WIRE.md §1.4, §6.2, §7.3).
/// Those of Broker, and their effect on members, are there with every backend.
const RAISED_LOCALLY: [&str; 11] = [
    "Cluster::node_up",
    "Cluster::node_down",
    "Cluster::websocket_client_added",
    "Cluster::websocket_client_lost",
    "Cluster::Backend::error",
    "Cluster::Backend::ZeroMQ::subscription",
    "Cluster::Backend::ZeroMQ::unsubscription",
    "Cluster::Backend::ZeroMQ::monitoring_event",
    "Broker::peer_added",
    "Broker::peer_lost",
    "Broker::peer_removed",
];

/// A node says to know all others (WIRE.md §6.5).
const FULLY_CONNECTED: &str = "Cluster::Experimental::node_fully_connected";

/// Bytes of the largest payload in which a node says who it is; honest ones have some hundred.
const MAX_CLAIM: usize = 16 << 10;

/// Bytes of the largest JSON that is taken apart for the name of its event, which takes memory for
/// many times as much.
const MAX_JSON: usize = 4 << 20;

/// The event in a payload, where it is one in which a node says who it is.
///
/// # Errors
/// Where it is one that no node publishes.
pub(super) fn membership_event(format: &[u8], payload: &[u8]) -> Result<Option<Event>, Denial> {
    // Nobody understands others.
    let Some(format) = EventFormat::from_name(format) else { return Ok(None) };
    let is_suspect = match format {
        // Building an event takes many times its bytes: others need not be.
        EventFormat::BrokerBinV1 => match broker_bin::event_name(payload) {
            Ok(name) => is_raised_locally(name) || is_claim(name),
            Err(_) => mentions_members(payload),
        },
        // Where a name may be written in many ways.
        EventFormat::BrokerJsonV1 => mentions_members(payload) || payload.contains(&b'\\'),
    };
    if !is_suspect {
        return Ok(None);
    }
    let limit = if format == EventFormat::BrokerBinV1 { MAX_CLAIM } else { MAX_JSON };
    if payload.len() > limit {
        return Err(Denial::Impersonation);
    }
    // What we cannot read somebody else perhaps can.
    let event = format.decode(payload).map_err(|_| Denial::Impersonation)?;
    if is_raised_locally(&event.name) {
        return Err(Denial::Impersonation);
    }
    Ok(is_claim(&event.name).then_some(event))
}

fn is_raised_locally(name: &[u8]) -> bool {
    RAISED_LOCALLY.iter().any(|other| name == other.as_bytes())
}

fn is_claim(name: &[u8]) -> bool {
    name == FULLY_CONNECTED.as_bytes() || Hello::from_event_name(name).is_some()
}

/// Whether the name of an event about members may be in a payload, by what they all begin with.
fn mentions_members(payload: &[u8]) -> bool {
    static NAMES: LazyLock<[Finder<'static>; 2]> =
        LazyLock::new(|| ["Cluster::", "Broker::peer_"].map(Finder::new));
    NAMES.iter().any(|name| name.find(payload).is_some())
}
