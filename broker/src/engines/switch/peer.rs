//! [`Peer`]: what all threads may know about a connection, and its counters.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ahash::AHashMap;
use bstr::{BStr, BString, ByteSlice};
use zcluster::rate_limit::RateLimit;
use zcluster::telemetry::{
    BrokerMetrics, BrokerSocket, Counter, EventDrop, LabelValue, PerLabel, Refusal,
    SubscriberCounters,
};

use super::outbox::{Freed, Outbox};
use super::subscriptions::{PeerId, Text};

/// How often to warn that a subscriber loses events, or that a peer's messages are refused.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);
/// Longest name of a node, in bytes.
const MAX_NAME: usize = 128;
/// Drop counters kept at hand; further ones are looked up each time.
const MAX_COUNTERS: usize = 1_000;

/// A connection, as all threads see it.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) id: PeerId,
    /// The thread that reads and writes it.
    pub(super) shard: usize,
    pub(super) socket: BrokerSocket,
    /// Its address, for messages.
    pub(super) address: String,
    pub(super) since: Instant,
    /// Whether its thread knows that there is data to send.
    pub(super) is_marked: AtomicBool,
    state: Mutex<State>,
}

/// The mutable part of a peer.
#[derive(Debug)]
pub(super) struct State {
    pub(super) outbox: Outbox,
    pub(super) counts: Counts,
    /// It made no room in the time allowed, so publishers no longer wait for it.
    pub(super) is_slow: bool,
    /// Bit set of threads that hold publishers back until it has room.
    pub(super) awaited_by: u64,
    /// Set while a publisher waits for it: since when it has drained too little to count as
    /// reading, and what its bulk lane had sent by then.
    idle: Option<(Instant, Freed)>,
    /// Since when its queue has been full, if that ends its connection.
    pub(super) full_since: Option<Instant>,
    /// When the socket last took data.
    pub(super) last_taken: Instant,
    /// Publishers: held back, because no recipient has room for its events.
    pub(super) is_held: bool,
    /// Publishers: bytes of subscriptions owed to it on arrival, allowed beyond
    /// `control_max_bytes`.
    pub(super) allowance: usize,
    /// Publishers: does not read its subscriptions, and is about to be cut off.
    pub(super) has_overflown: bool,
}

/// The counters of one connection.
#[derive(Debug)]
pub(super) struct Counts {
    metrics: BrokerMetrics,
    /// The name of its node; empty while unknown.
    name: BString,
    /// Whether its key proves that name.
    is_proven: bool,
    /// Subscribers: the id of its process, where it is a node.
    node_id: Option<BString>,
    address: String,
    /// Subscribers: events that matched its subscriptions.
    pub(super) matched: u64,
    /// Subscribers: matched events that were dropped.
    pub(super) dropped: u64,
    /// Publishers: accepted events.
    pub(super) events: u64,
    /// Refused messages and subscriptions.
    pub(super) refused: u64,
    /// Subscribers only.
    counters: Option<SubscriberCounters>,
    refusals: PerLabel<Refusal, Counter>,
    told: Told,
    drops: AHashMap<(Text, EventDrop), Counter>,
    drop_warning: RateLimit,
    unreported_drops: u64,
    refusal_warning: RateLimit,
    refusals_to_tell: u64,
}

/// What the metrics already include.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    matched: u64,
    sent: u64,
    events: u64,
}

impl Peer {
    pub(super) fn new(
        id: PeerId,
        shard: usize,
        socket: BrokerSocket,
        address: String,
        outbox: Outbox,
        metrics: &BrokerMetrics,
    ) -> Arc<Self> {
        let counters = (socket == BrokerSocket::Backend)
            .then(|| metrics.subscriber(BrokerMetrics::UNNAMED.as_bytes()));
        let counts = Counts {
            metrics: metrics.clone(),
            name: BString::default(),
            is_proven: false,
            node_id: None,
            address: address.clone(),
            matched: 0,
            dropped: 0,
            events: 0,
            refused: 0,
            counters,
            refusals: metrics.refused(BrokerMetrics::UNNAMED.as_bytes()),
            told: Told::default(),
            drops: AHashMap::new(),
            drop_warning: RateLimit::new(WARNING_INTERVAL),
            unreported_drops: 0,
            refusal_warning: RateLimit::new(WARNING_INTERVAL),
            refusals_to_tell: 0,
        };
        let state = State {
            outbox,
            counts,
            is_slow: false,
            awaited_by: 0,
            idle: None,
            full_since: None,
            last_taken: Instant::now(),
            is_held: false,
            allowance: 0,
            has_overflown: false,
        };
        Arc::new(Peer {
            id,
            shard,
            socket,
            address,
            since: Instant::now(),
            is_marked: AtomicBool::new(false),
            state: Mutex::new(state),
        })
    }

    /// Locks the mutable part. The caller must not lock the directory meanwhile.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics under this lock; if it did, the counters would at worst be stale.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Since when it has drained too little to count as reading, counted from the first call.
    pub(super) fn idle_since(&mut self, now: Instant) -> Instant {
        self.check_whether_it_reads();
        self.idle.get_or_insert((now, self.outbox.freed())).0
    }

    /// Restarts that time if it has drained enough.
    pub(super) fn check_whether_it_reads(&mut self) {
        if self.idle.is_some_and(|(_, before)| self.outbox.has_made_room_since(before)) {
            self.idle = None;
        }
    }
}

impl Counts {
    /// The name of its node, or else its address.
    pub(super) fn label(&self) -> &str {
        match self.name.to_str() {
            Ok(name) if !name.is_empty() => name,
            _ => &self.address,
        }
    }

    /// Its name and its address.
    pub(super) fn who(&self) -> String {
        match self.name.to_str() {
            Ok(name) if !name.is_empty() => format!("{name} at {}", self.address),
            _ => self.address.clone(),
        }
    }

    /// The key for limiting warnings: the node it has proved to be, or its host. The port is left
    /// out, because it differs at each connection.
    pub(super) fn warning_key(&self) -> &str {
        if self.is_proven {
            return self.label();
        }
        self.address.rsplit_once(':').map_or(&*self.address, |(host, _)| host)
    }

    fn metrics_label(&self) -> &[u8] {
        if self.name.is_empty() { BrokerMetrics::UNNAMED.as_bytes() } else { &self.name }
    }

    /// Whether the name of its node is known.
    pub(super) fn is_named(&self) -> bool {
        !self.name.is_empty()
    }

    /// Whether its key proves the name.
    pub(super) fn is_proven(&self) -> bool {
        self.is_proven
    }

    /// Sets the name that its key proves, before anything is counted.
    pub(super) fn prove_name(&mut self, name: &str) {
        self.is_proven = true;
        self.set_name(name.as_bytes(), 0);
    }

    /// Takes the name from a process id of the usual form, unless a key has proved another one.
    /// Earlier counts keep their label.
    pub(super) fn learn_name(&mut self, id: &[u8], sent: u64) {
        if !self.is_proven
            && let Some(name) = node_name(id)
        {
            self.set_name(name, sent);
        }
    }

    /// It has subscribed to the topic of that id, and so is a node. Returns whether that is news, and
    /// its name is known.
    pub(super) fn becomes_node(&mut self, id: &[u8], sent: u64) -> bool {
        if !self.is_named() {
            self.learn_name(id, sent);
        }
        let is_news = self.node_id.is_none() && self.is_named();
        if is_news {
            self.node_id = Some(id.into());
        }
        is_news
    }

    /// Whether it is another process under the name of that node.
    pub(super) fn is_namesake(&self, name: &BStr, id: &[u8]) -> bool {
        self.name == *name && self.node_id.as_ref().is_some_and(|own| *own != id)
    }

    /// The name of its node; empty while that is not known.
    pub(super) fn name(&self) -> &BStr {
        self.name.as_bstr()
    }

    fn set_name(&mut self, name: &[u8], sent: u64) {
        self.publish(sent);
        self.name = name.into();
        if let Some(counters) = &mut self.counters {
            *counters = self.metrics.subscriber(name);
        }
        self.refusals = self.metrics.refused(name);
        self.drops.clear();
    }

    /// Counts events that it will not get, and warns at a limited rate.
    pub(super) fn drop_events(&mut self, prefix: &Text, reason: EventDrop, count: u64) {
        if count == 0 {
            return;
        }
        self.dropped += count;
        self.metrics.drops[reason].inc_by(count);
        if let Some(counters) = &self.counters {
            counters.dropped.inc_by(count);
        }
        if self.drops.len() >= MAX_COUNTERS {
            self.drops.clear();
        }
        let key = (Text::clone(prefix), reason);
        if let Some(counter) = self.drops.get(&key) {
            counter.inc_by(count);
        } else {
            let counter = self.metrics.dropped(self.metrics_label(), prefix, reason);
            counter.inc_by(count);
            self.drops.insert(key, counter);
        }
        self.unreported_drops += count;
        if self.drop_warning.check(Instant::now()).is_some() {
            let count = std::mem::take(&mut self.unreported_drops);
            let (who, prefix) = (self.who(), BStr::new(&**prefix));
            let reason = reason.as_str();
            log::warn!(
                "subscriber {who} loses events ({reason}): {count} since the last warning, most \
                 recently for {prefix:?}"
            );
        }
    }

    /// Counts refused messages or subscriptions. Returns, at a limited rate, how many there were
    /// beside the one to report.
    pub(super) fn refuse(&mut self, reason: Refusal, count: u64) -> Option<u64> {
        self.refused += count;
        self.metrics.refusals[reason].inc_by(count);
        self.refusals[reason].inc_by(count);
        self.refusals_to_tell += count;
        self.refusal_warning.check(Instant::now())?;
        Some(std::mem::take(&mut self.refusals_to_tell).saturating_sub(1))
    }

    /// Updates the metrics. `sent`: events sent to it so far.
    pub(super) fn publish(&mut self, sent: u64) {
        let Told { matched, sent: sent_before, events } = self.told;
        if let Some(counters) = &self.counters {
            counters.matched.inc_by(self.matched - matched);
            counters.sent.inc_by(sent - sent_before);
        }
        self.metrics.events_sent.inc_by(sent - sent_before);
        if self.events > events {
            self.metrics.publisher_events(self.metrics_label()).inc_by(self.events - events);
            self.metrics.events_received.inc_by(self.events - events);
        }
        self.told = Told { matched: self.matched, sent, events: self.events };
    }
}

/// The name in a process id: `zeromq_<name>_<host>_<pid>_<unique>` (WIRE.md §1.5). Only for
/// messages and metrics: if the host name contains `_`, the result is too long. Peers choose their
/// ids, so a text that is too long or not printable is no name.
fn node_name(id: &[u8]) -> Option<&[u8]> {
    let mut parts = id.strip_prefix(b"zeromq_")?.rsplitn_str(4, "_");
    let (unique, pid, _host) = (parts.next()?, parts.next()?, parts.next()?);
    let is_id = unique.starts_with(b"N") && !pid.is_empty() && pid.iter().all(u8::is_ascii_digit);
    let is_name = |name: &&[u8]| {
        (1..=MAX_NAME).contains(&name.len()) && !name.iter().any(u8::is_ascii_control)
    };
    parts.next().filter(|name| is_id && is_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_from_ids() {
        for (id, name) in [
            ("zeromq_worker-1_host1_4242_NwrZBf1q3FkxySjt2a", Some("worker-1")),
            ("zeromq_a_b_my.host-2_1_N0", Some("a_b")),
            ("zeromq__host1_4242_N0", None),
            ("zeromq_worker-1_host1_4242_x", None),
            ("zeromq_worker-1_host1_pid_N0", None),
            ("zeromq_worker-1", None),
            ("worker-1_host1_4242_N0", None),
            ("", None),
            ("zeromq_a\nb_host1_1_N0", None),
            (&format!("zeromq_{}_host1_1_N0", "a".repeat(MAX_NAME + 1)), None),
        ] {
            assert_eq!(node_name(id.as_bytes()), name.map(str::as_bytes), "{id}");
        }
    }
}
