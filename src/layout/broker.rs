//! `[broker]`: the broker, how its `switch` engine treats subscribers that fall behind, and
//! overrides for some topics.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::ZeroMq;
use super::options::MIB;
use super::table::table;
use super::words::words;

words! {
    /// The engine that forwards events.
    pub enum BrokerEngine {
        /// zcluster's own: a queue per subscriber, so a subscriber that stops reading does not stop
        /// the others.
        #[default]
        Switch = "switch",
        /// libzmq's `zmq_proxy`, as inside a Zeek manager.
        Zmq = "zmq",
    }
}

words! {
    /// What happens to an event for a subscriber whose queue is full.
    pub enum WhenFull {
        /// The subscriber misses it.
        #[default]
        DropNewest = "drop-newest",
        /// The subscriber misses the oldest events in its queue instead.
        DropOldest = "drop-oldest",
        /// The subscriber misses it, and is disconnected once its queue has been full for
        /// `disconnect_after`.
        Disconnect = "disconnect",
        /// Its publisher waits, for up to `block_timeout`.
        Block = "block",
    }
}

table! {
    /// `[broker]`: the broker. All options except `engine` and the metrics configure the engine
    /// `switch` and have no effect on the other.
    pub struct Broker {
        /// Metrics port; unset means none, 0 lets the system choose.
        metrics_port: Option<u16> = None,
        /// Metrics address. Read it through
        /// [`Layout::broker_metrics_address`](super::Layout::broker_metrics_address).
        metrics_address: Option<IpAddr> = None,
        /// The engine that forwards events.
        engine: BrokerEngine = BrokerEngine::Switch,
        /// Threads that forward, 1 to 64.
        io_threads: u32 = 1,
        /// Bound of each subscriber's queue, in events; 0 means unlimited.
        subscriber_hwm: u32 = 100_000,
        /// Bound of each subscriber's queue, in bytes; 0 means unlimited.
        subscriber_max_bytes: u64 = 64 * MIB,
        /// What happens at these bounds. Read it through [`Broker::when_full`].
        when_full: WhenFull = WhenFull::DropNewest,
        /// How long a publisher waits when no subscriber has room for its event; 0 means not at
        /// all.
        patience: Duration = Duration::from_millis(100),
        /// How long a queue may be full with `when_full = "disconnect"`.
        disconnect_after: Duration = Duration::from_secs(10),
        /// How long a publisher waits for room with `when_full = "block"`.
        block_timeout: Duration = Duration::from_secs(5),
        /// Topic prefixes whose events have a separate queue, sent before all others; empty means
        /// the prefix of nodes by id. Read them through [`Broker::control_prefixes`].
        control_prefixes: Vec<String> = Vec::new(),
        /// Bound of that queue, per subscriber, in events; 0 means unlimited.
        control_hwm: u32 = 10_000,
        /// Bound of that queue, per subscriber, in bytes; 0 means unlimited.
        control_max_bytes: u64 = 8 * MIB,
        /// Whether events whose payload is not well-formed `broker-bin-v1` are dropped.
        validate_events: bool = false,
        /// Maximum number of subscriptions per peer.
        max_subscriptions: u32 = 250_000,
        /// The longest prefix a peer may subscribe to, in bytes.
        max_subscription_length: u32 = 1024,
        /// How long a peer may take to finish the ZMTP handshake.
        handshake_timeout: Duration = Duration::from_secs(10),
    }
    beside {
        /// `[broker.topic."PREFIX"]`: overrides for the events of some topics. Read it through
        /// [`Broker::when_full`].
        topic: BTreeMap<String, TopicOptions>,
    }
}

table! {
    /// `[broker.topic."PREFIX"]`: overrides for events whose topic starts with the prefix. Unset
    /// options inherit from the next shorter prefix, and finally from `[broker]`.
    pub struct TopicOptions {
        /// What happens to such an event for a subscriber whose queue is full.
        when_full: Option<WhenFull> = None,
    }
}

impl Broker {
    /// What happens to an event of that topic for a subscriber whose queue is full, by the longest
    /// matching prefix. Looks at each prefix: cache the answer where it is needed often.
    pub fn when_full(&self, topic: &[u8]) -> WhenFull {
        self.topic
            .iter()
            .filter(|(prefix, _)| topic.starts_with(prefix.as_bytes()))
            .filter_map(|(prefix, options)| Some((prefix.len(), options.when_full?)))
            .max_by_key(|(length, _)| *length)
            .map_or(self.when_full, |(_, when_full)| when_full)
    }

    /// Topic prefixes whose events have a separate queue: the option, or by default the topics of
    /// nodes by id, which hellos are sent to.
    pub fn control_prefixes(&self, zeromq: &ZeroMq) -> Vec<String> {
        if self.control_prefixes.is_empty() {
            vec![format!("{}.", zeromq.nodeid_topic_prefix)]
        } else {
            self.control_prefixes.clone()
        }
    }
}

/// The maximum number of forwarding threads.
pub(super) const MAX_IO_THREADS: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_that_says_something_wins() {
        let mut broker = Broker { when_full: WhenFull::Block, ..Broker::default() };
        assert_eq!(broker.when_full(b"zeek.a"), WhenFull::Block);
        for (prefix, when_full) in [
            ("zeek.", Some(WhenFull::DropOldest)),
            ("zeek.a.b", Some(WhenFull::Disconnect)),
            ("zeek.a.b.c", None),
            ("zeek.z", Some(WhenFull::DropNewest)),
        ] {
            broker.topic.insert(prefix.into(), TopicOptions { when_full });
        }
        for (topic, expected) in [
            (&b""[..], WhenFull::Block),
            (b"zeek", WhenFull::Block),
            (b"zeek.", WhenFull::DropOldest),
            (b"zeek.a", WhenFull::DropOldest),
            (b"zeek.a.b", WhenFull::Disconnect),
            (b"zeek.a.b.c.d", WhenFull::Disconnect),
            (b"zeek.z\xff", WhenFull::DropNewest),
            (b"\xff", WhenFull::Block),
        ] {
            assert_eq!(broker.when_full(topic), expected, "{:?}", topic.escape_ascii().to_string());
        }
        let all = TopicOptions { when_full: Some(WhenFull::Disconnect) };
        broker.topic.insert(String::new(), all);
        assert_eq!(broker.when_full(b"zeek"), WhenFull::Disconnect);
    }

    #[test]
    fn control_prefixes_are_those_of_hellos_unless_set() {
        let mut zeromq = ZeroMq::default();
        let mut broker = Broker::default();
        assert_eq!(broker.control_prefixes(&zeromq), ["zeek.cluster.nodeid."]);
        zeromq.nodeid_topic_prefix = "x".into();
        assert_eq!(broker.control_prefixes(&zeromq), ["x."]);
        broker.control_prefixes = vec!["a".into(), "b".into()];
        assert_eq!(broker.control_prefixes(&zeromq), ["a", "b"]);
    }
}
