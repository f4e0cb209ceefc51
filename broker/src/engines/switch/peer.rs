//! [`Peer`]: what all threads may know of a connection, and the books kept of it.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ahash::AHashMap;
use bstr::{BStr, BString, ByteSlice};
use zcluster::rate_limit::RateLimit;
use zcluster::telemetry::{
    BrokerMetrics, BrokerSocket, Counter, EventDrop, LabelValue, Refusal, SubscriberCounters,
};

use super::outbox::{Freed, Outbox};
use super::subscriptions::{PeerId, Text};

/// How often it is told that a subscriber loses events, or that a peer sends what is refused.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);
/// Bytes of the longest name of a node.
const MAX_NAME: usize = 128;
/// Counters of drops kept at hand; beyond, they are looked up anew.
const MAX_COUNTERS: usize = 1_000;

/// A connection, as all threads see it.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) id: PeerId,
    /// The thread that reads from it and writes to it.
    pub(super) shard: usize,
    pub(super) socket: BrokerSocket,
    /// Where it comes from, for people.
    pub(super) address: String,
    pub(super) since: Instant,
    /// Whether its thread knows that there is something to send.
    pub(super) is_marked: AtomicBool,
    state: Mutex<State>,
}

/// What changes.
#[derive(Debug)]
pub(super) struct State {
    pub(super) outbox: Outbox,
    pub(super) books: Books,
    /// It made no room within the time it was given: nobody waits for it.
    pub(super) is_slow: bool,
    /// Threads that hold publishers back until it has room, as bits.
    pub(super) awaited_by: u64,
    /// Once it has no room for what a publisher waits with: since when it has not taken enough to
    /// count as reading, and what had left its bulk lane by then.
    idle: Option<(Instant, Freed)>,
    /// Since when it has been full, where that ends its connection.
    pub(super) full_since: Option<Instant>,
    /// When it last took anything.
    pub(super) last_taken: Instant,
    /// Publishers: it is not read, because nobody has room for its events.
    pub(super) is_held: bool,
    /// Publishers: bytes that may wait beyond `control_max_bytes`, because they are owed.
    pub(super) allowance: usize,
    /// Publishers: does not read what it must hear, and is to be cut off.
    pub(super) has_overflown: bool,
}

/// What one connection got, lost and sent.
#[derive(Debug)]
pub(super) struct Books {
    metrics: BrokerMetrics,
    /// The name of its node; empty while that is not known.
    name: BString,
    /// Whether it has proved to be that node, by its key.
    is_proven: bool,
    /// Subscribers: the id of its process, where it is a node.
    node_id: Option<BString>,
    address: String,
    /// Subscribers: events that were for it.
    pub(super) matched: u64,
    /// Subscribers: of those, the ones it will not get.
    pub(super) dropped: u64,
    /// Publishers: events that were accepted.
    pub(super) events: u64,
    /// Messages and subscriptions that were not.
    pub(super) refused: u64,
    /// Subscribers only.
    counters: Option<SubscriberCounters>,
    told: Told,
    drops: AHashMap<(Text, EventDrop), Counter>,
    drop_warning: RateLimit,
    drops_to_tell: u64,
    refusal_warning: RateLimit,
    refusals_to_tell: u64,
}

/// What the metrics know already.
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
        let books = Books {
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
            told: Told::default(),
            drops: AHashMap::new(),
            drop_warning: RateLimit::new(WARNING_INTERVAL),
            drops_to_tell: 0,
            refusal_warning: RateLimit::new(WARNING_INTERVAL),
            refusals_to_tell: 0,
        };
        let state = State {
            outbox,
            books,
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

    /// Locks what changes. Whoever has it must not ask for the directory.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics with the lock, and if: numbers are at worst those of before.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Since when it has not taken enough to count as reading, now that it has no room.
    pub(super) fn idle_since(&mut self, now: Instant) -> Instant {
        self.look_whether_it_reads();
        self.idle.get_or_insert((now, self.outbox.freed())).0
    }

    /// Takes note where it has taken enough.
    pub(super) fn look_whether_it_reads(&mut self) {
        if self.idle.is_some_and(|(_, before)| self.outbox.has_made_room_since(before)) {
            self.idle = None;
        }
    }
}

impl Books {
    /// The name of its node, or else where it comes from.
    pub(super) fn label(&self) -> &str {
        match self.name.to_str() {
            Ok(name) if !name.is_empty() => name,
            _ => &self.address,
        }
    }

    /// Who it is, and where it comes from.
    pub(super) fn who(&self) -> String {
        match self.name.to_str() {
            Ok(name) if !name.is_empty() => format!("{name} at {}", self.address),
            _ => self.address.clone(),
        }
    }

    /// Whom a warning is about, however often it comes again: the node that it has proved to be, or
    /// else its host, without the port, which is another each time.
    pub(super) fn whom(&self) -> &str {
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

    /// Whether it has proved to be the node of that name.
    pub(super) fn is_proven(&self) -> bool {
        self.is_proven
    }

    /// It has proved to be that node, before anything was counted.
    pub(super) fn prove_name(&mut self, name: &str) {
        self.is_proven = true;
        self.set_name(name.as_bytes(), 0);
    }

    /// Learns the name of its node from the id of its process, if it has the usual form, and if it
    /// has not proved to be another. What was counted so far stays where it is.
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
        self.drops.clear();
    }

    /// Counts events that it will not get, and says so now and then.
    pub(super) fn drop_events(&mut self, prefix: &Text, reason: EventDrop, count: u64) {
        if count == 0 {
            return;
        }
        self.dropped += count;
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
        self.drops_to_tell += count;
        if self.drop_warning.check(Instant::now()).is_some() {
            let count = std::mem::take(&mut self.drops_to_tell);
            let (who, prefix) = (self.who(), BStr::new(&**prefix));
            let reason = reason.as_str();
            log::warn!(
                "subscriber {who} loses events ({reason}): {count} since this was last said, the \
                 last for {prefix:?}"
            );
        }
    }

    /// Counts messages or subscriptions that are not passed on. Now and then that is to be told: how
    /// many there were beside one.
    pub(super) fn refuse(&mut self, reason: Refusal, count: u64) -> Option<u64> {
        self.refused += count;
        self.metrics.refused(self.metrics_label(), reason).inc_by(count);
        self.refusals_to_tell += count;
        self.refusal_warning.check(Instant::now())?;
        Some(std::mem::take(&mut self.refusals_to_tell).saturating_sub(1))
    }

    /// Brings the metrics up to date. `sent`: events sent to it so far.
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

/// The name in the id of a node: `zeromq_<name>_<host>_<pid>_<unique>` (WIRE.md §1.5). For people
/// and metrics only: a host name with `_` in it makes it a longer one. Peers say what they like:
/// what is too long or not printable is no name.
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
