//! What the engine reports about itself: `/status`, and metrics that are summed up at intervals.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::AHashSet;
use serde_json::{Value, json};

use super::hub::Hub;
use super::peer::{Peer, State};
use super::topics::{Busiest, Rate};

/// A subscriber with a full queue that has taken nothing for this long is stalled.
const STALLED_AFTER: Duration = Duration::from_secs(1);
/// How many topics are listed.
const MAX_TOPICS: usize = 1_000;

/// Updates the metrics that are sums over all peers.
pub(super) fn publish(hub: &Hub) {
    hub.topics_seen.measure(Instant::now());
    let (mut messages, mut bytes) = (0, 0);
    let mut chunks = AHashSet::new();
    for peer in peers(hub) {
        let mut state = peer.lock();
        let sent = state.outbox.sent().messages;
        state.counts.publish(sent);
        messages += state.outbox.messages();
        bytes += state.outbox.memory(&mut chunks);
    }
    hub.metrics.queue_messages.set(messages as i64);
    hub.metrics.queue_bytes.set(bytes as i64);
}

/// All connected peers, and the busiest topics.
pub(super) fn status(hub: &Hub) -> Value {
    let Busiest { topics, other } = hub.topics_seen.busiest(MAX_TOPICS);
    let topic = |(topic, rate): (Box<[u8]>, Rate)| {
        let topic = String::from_utf8_lossy(&topic);
        json!({ "topic": topic, "events": rate.events, "events_per_second": rate.per_second })
    };
    let topics: Vec<Value> = topics.into_iter().map(topic).collect();
    let (mut publishers, mut subscribers) = (Vec::new(), Vec::new());
    let all = peers(hub);
    let directory = hub.directory();
    for peer in all {
        let state = peer.lock();
        let common = json!({
            "peer": state.counts.label(),
            "address": peer.address,
            "identity": if state.counts.is_proven() { "proven" } else { "claimed" },
            "connected_s": peer.since.elapsed().as_secs_f64(),
        });
        let Value::Object(mut entry) = common else { continue };
        let mut set = |key: &str, value: Value| entry.insert(key.into(), value);
        if directory.publishers.contains_key(&peer.id) {
            set("events", state.counts.events.into());
            set("refused", state.counts.refused.into());
            set("held", state.is_held.into());
            publishers.push(Value::Object(entry));
        } else {
            set("subscriptions", directory.subscriptions.of_peer(peer.id).into());
            set("queued_messages", state.outbox.messages().into());
            set("queued_bytes", state.outbox.bytes().into());
            set("sent", state.outbox.sent().messages.into());
            set("dropped", state.counts.dropped.into());
            set("state", word(&state).into());
            subscribers.push(Value::Object(entry));
        }
    }
    json!({
        "engine": "switch",
        "topics": topics,
        "other_topics": { "events": other.events, "events_per_second": other.per_second },
        "publishers": publishers,
        "subscribers": subscribers,
        "subscriptions": directory.subscriptions.len(),
    })
}

/// A subscriber's state in one word.
fn word(state: &State) -> &'static str {
    let troubled = !state.outbox.has_room() || state.is_slow || state.full_since.is_some();
    if !troubled {
        "ok"
    } else if state.last_taken.elapsed() >= STALLED_AFTER {
        "stalled"
    } else {
        "slow"
    }
}

/// All peers whose handshake is complete.
fn peers(hub: &Hub) -> Vec<Arc<Peer>> {
    let directory = hub.directory();
    let publishers = directory.publishers.values().map(|publisher| &publisher.peer);
    publishers.chain(directory.subscribers.values()).map(Arc::clone).collect()
}
