//! Events about cluster membership. Zeek recognizes them by name, whatever their topics.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::Denial;
use crate::event::Event;
use crate::membership::Hello;
use crate::wire::broker_bin;
use crate::wire::event_format::EventFormat;

/// Events that each Zeek node raises locally and no node publishes (WIRE.md §1.4, §6.2, §7.3).
/// Broker's events, and their effect on members, exist with every backend.
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

/// A node reports that it sees all others (WIRE.md §6.5).
const FULLY_CONNECTED: &str = "Cluster::Experimental::node_fully_connected";

/// The largest payload of a membership event, in bytes; honest ones have a few hundred.
const MAX_CLAIM: usize = 16 << 10;

/// The largest JSON that is parsed for the name of its event, in bytes: parsing takes many times as
/// much memory.
const MAX_JSON: usize = 4 << 20;

/// The event in a payload, if it is a membership event.
///
/// # Errors
/// When it is an event that no node publishes.
pub(super) fn membership_event(format: &[u8], payload: &[u8]) -> Result<Option<Event>, Denial> {
    // No node understands other formats.
    let Some(format) = EventFormat::from_name(format) else { return Ok(None) };
    let is_suspect = match format {
        // Decoding an event takes many times its size, so only suspicious ones are decoded.
        EventFormat::BrokerBinV1 => match broker_bin::event_name(payload) {
            Ok(name) => is_raised_locally(name) || is_claim(name),
            Err(_) => mentions_members(payload),
        },
        // A name can be escaped in many ways.
        EventFormat::BrokerJsonV1 => mentions_members(payload) || payload.contains(&b'\\'),
    };
    if !is_suspect {
        return Ok(None);
    }
    let limit = if format == EventFormat::BrokerBinV1 { MAX_CLAIM } else { MAX_JSON };
    if payload.len() > limit {
        return Err(Denial::Impersonation);
    }
    // Other implementations may be able to decode what this one cannot.
    let event = format.decode(payload).map_err(|_| Denial::Impersonation)?;
    if is_raised_locally(&event.name) {
        return Err(Denial::Impersonation);
    }
    Ok(is_claim(&event.name).then_some(event))
}

/// Whether an event of that name says who takes part in the cluster. Only nodes publish such events,
/// and some of them nobody does.
pub fn speaks_for_nodes(event: &[u8]) -> bool {
    is_raised_locally(event) || is_claim(event)
}

fn is_raised_locally(name: &[u8]) -> bool {
    RAISED_LOCALLY.iter().any(|other| name == other.as_bytes())
}

fn is_claim(name: &[u8]) -> bool {
    name == FULLY_CONNECTED.as_bytes() || Hello::from_event_name(name).is_some()
}

/// Whether a payload may have the name of a membership event, judged by their common prefixes.
fn mentions_members(payload: &[u8]) -> bool {
    static NAMES: LazyLock<[Finder<'static>; 2]> =
        LazyLock::new(|| ["Cluster::", "Broker::peer_"].map(Finder::new));
    NAMES.iter().any(|name| name.find(payload).is_some())
}
