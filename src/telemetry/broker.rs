//! [`BrokerMetrics`]: what the broker counts.
//!
//! Any engine counts connections and frames; events, and what becomes of them per peer, are counted
//! by engines that can tell events apart. Then for each peer, at any time: matched = sent + dropped
//! + waiting in its queue.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::labels::{LabelValue, LabelledFamily, label_values};
use super::{Counter, Gauge, LabelCap, MAX_LABEL_VALUES, PerLabel, Telemetry};

/// A counter that follows a total counted elsewhere, such as the statistics of a forwarder.
///
/// It never goes back: a smaller total, from statistics that were read before others but reported
/// after them, changes nothing.
#[derive(Clone, Debug, Default)]
pub struct AbsoluteCounter(Counter);

impl AbsoluteCounter {
    /// Raises the counter to `total`, where that is more.
    pub fn raise_to(&self, total: u64) {
        self.0.inner().fetch_max(total, Ordering::Relaxed);
    }

    /// Adds to the counter, for an engine that counts as it forwards. Use either this or
    /// [`AbsoluteCounter::raise_to`] on one counter.
    pub fn inc_by(&self, more: u64) {
        self.0.inc_by(more);
    }

    /// The value.
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

label_values! {
    /// The two sockets of the broker, as Zeek's metrics name them.
    BrokerSocket {
        /// XSUB, to which nodes connect to publish.
        Frontend = "frontend",
        /// XPUB, to which nodes connect to subscribe.
        Backend = "backend",
    }
}

label_values! {
    /// Why a subscriber did not get an event of a topic it has subscribed.
    EventDrop {
        /// Its queue was full.
        QueueFull = "queue_full",
        /// Its queue of control events was full.
        ControlFull = "control_full",
        /// It was disconnected, or went, before the event was sent.
        Disconnected = "disconnected",
    }
}

label_values! {
    /// Why something a peer sent was not passed on.
    Refusal {
        /// An event of more or less than four frames (WIRE.md §1.2).
        FrameCount = "frame_count",
        /// A message of a subscriber that is no subscription.
        UserMessage = "user_message",
        /// An event whose payload is not well-formed (`validate_events`).
        MalformedEvent = "malformed_event",
        /// An unsubscription of what the peer has not subscribed.
        Unsubscription = "unsubscription",
        /// A subscription that is too long, or one too many.
        SubscriptionLimit = "subscription_limit",
        /// The peer speaks for another node than the one whose key it has.
        Impersonation = "impersonation",
        /// An event on a topic on which the node may not publish.
        PublishDenied = "publish_denied",
        /// A subscription that the node may not make.
        SubscribeDenied = "subscribe_denied",
    }
}

label_values! {
    /// Why the broker ended a connection.
    CutOff {
        /// The peer does not speak ZMTP.
        Protocol = "protocol",
        /// It uses another security mechanism, or takes the broker for one with another key.
        Mechanism = "mechanism",
        /// Its key is not one of those that may connect, or no longer is.
        Unauthorized = "unauthorized",
        /// Its socket is of a type that has no business here.
        SocketType = "socket_type",
        /// A frame or message is too large, or there are too many connections.
        Limit = "limit",
        /// It did not finish its handshake in time.
        HandshakeTimeout = "handshake_timeout",
        /// It left a ping unanswered.
        Heartbeat = "heartbeat",
        /// Its queue was full for too long (`when_full = "disconnect"`).
        Slow = "slow",
        /// Its queue of control events was full: without them it knows too little of the cluster.
        ControlOverflow = "control_overflow",
    }
}

/// The traffic of one socket. "Messages" are frames: an event is four of them.
#[derive(Clone, Debug)]
pub struct SocketTraffic {
    /// `…_messages_received_total`: frames that came in.
    pub messages_received: AbsoluteCounter,
    /// `…_bytes_received_total`: their bytes.
    pub bytes_received: AbsoluteCounter,
    /// `…_messages_sent_total`: frames that went out; subscriptions on the frontend, events on
    /// the backend.
    pub messages_sent: AbsoluteCounter,
    /// `…_bytes_sent_total`: their bytes.
    pub bytes_sent: AbsoluteCounter,
}

/// Handles to the series of the broker; use a peer's name to get its series.
///
/// Names come from the network: each label has at most [`MAX_LABEL_VALUES`] values of its own, and
/// what comes later shares the series of [`LabelCap::OTHER`].
#[derive(Clone, Debug)]
pub struct BrokerMetrics {
    /// `zeek_cluster_zeromq_proxy_frontend_…`: the XSUB socket.
    pub frontend: SocketTraffic,
    /// `zeek_cluster_zeromq_proxy_backend_…`: the XPUB socket.
    pub backend: SocketTraffic,
    /// `zcluster_broker_peers{socket}`: connections that are open, those that still shake hands
    /// among them.
    pub peers: PerLabel<BrokerSocket, Gauge>,
    /// `zcluster_broker_handshakes_failed_total{socket}`: connections that failed before any
    /// message, for example because of a wrong key.
    pub handshakes_failed: PerLabel<BrokerSocket, Counter>,
    /// `zcluster_broker_disconnects_total{socket}`: connections that ended.
    pub disconnects: PerLabel<BrokerSocket, Counter>,
    /// `zcluster_broker_accept_failures_total{socket}`: attempts to accept a connection that
    /// failed, mostly because the process is out of file descriptors.
    pub accept_failures: PerLabel<BrokerSocket, Counter>,
    /// `zcluster_broker_cut_off_total{socket,reason}`: connections the broker ended.
    pub cut_off: PerLabel<BrokerSocket, PerLabel<CutOff, Counter>>,
    /// `zcluster_broker_events_received_total`: events accepted from publishers.
    pub events_received: Counter,
    /// `zcluster_broker_events_sent_total`: events sent to subscribers, counted once per
    /// subscriber.
    pub events_sent: Counter,
    /// `zcluster_broker_events_unrouted_total`: events without a subscriber.
    pub events_unrouted: Counter,
    /// `zcluster_broker_duplicate_names_total`: processes that connected under the name of a node
    /// that another process had.
    pub duplicate_names: Counter,
    /// `zcluster_broker_held_total`: how often a publisher was held back because no recipient had
    /// room.
    pub held: Counter,
    /// `zcluster_broker_queue_messages`: events waiting in the queues of subscribers.
    pub queue_messages: Gauge,
    /// `zcluster_broker_queue_bytes`: memory they hold; memory shared by several queues counts
    /// once.
    pub queue_bytes: Gauge,
    /// `zcluster_broker_subscriptions`: distinct prefixes that are subscribed.
    pub subscriptions: Gauge,

    /// `zcluster_broker_drops_total{reason}`: events that subscribers did not get, over all peers
    /// and prefixes. What [`BrokerMetrics::dropped`] counts is counted here as well: these series
    /// exist before the first loss, so that alerts see it.
    pub drops: PerLabel<EventDrop, Counter>,
    /// `zcluster_broker_refusals_total{reason}`: what was not passed on, over all peers; the same
    /// for [`BrokerMetrics::refused`].
    pub refusals: PerLabel<Refusal, Counter>,

    subscriber_matched: LabelledFamily<Counter, 1>,
    subscriber_sent: LabelledFamily<Counter, 1>,
    subscriber_dropped: LabelledFamily<Counter, 1>,
    dropped: LabelledFamily<Counter, 3>,
    publisher_events: LabelledFamily<Counter, 1>,
    refused: LabelledFamily<Counter, 2>,
    peer_names: Arc<LabelCap>,
    dropped_prefixes: Arc<LabelCap>,
}

/// Handles to the series of one subscriber.
#[derive(Clone, Debug)]
pub struct SubscriberCounters {
    /// `zcluster_broker_subscriber_events_matched_total{peer}`: events of topics it has subscribed.
    pub matched: Counter,
    /// `zcluster_broker_subscriber_events_sent_total{peer}`: those of them that were sent.
    pub sent: Counter,
    /// `zcluster_broker_subscriber_events_dropped_total{peer}`: those of them that it did not get.
    pub dropped: Counter,
}

impl BrokerMetrics {
    pub(super) fn register(telemetry: &Telemetry, prefix: &str) -> Self {
        let name = |series: &str| format!("{prefix}_{series}");
        BrokerMetrics {
            frontend: SocketTraffic::register(telemetry, BrokerSocket::Frontend),
            backend: SocketTraffic::register(telemetry, BrokerSocket::Backend),
            peers: telemetry.register_per_label(
                &name("peers"),
                "Connections that are open",
                "socket",
            ),
            handshakes_failed: telemetry.register_per_label(
                &name("handshakes_failed"),
                "Connections refused or broken off before any message",
                "socket",
            ),
            disconnects: telemetry.register_per_label(
                &name("disconnects"),
                "Connections that ended",
                "socket",
            ),
            accept_failures: telemetry.register_per_label(
                &name("accept_failures"),
                "Attempts to accept a connection that failed",
                "socket",
            ),
            cut_off: register_cut_off(telemetry, &name("cut_off")),
            events_received: telemetry
                .register(&name("events_received"), "Events accepted from publishers"),
            events_sent: telemetry.register(
                &name("events_sent"),
                "Events sent to subscribers, counted once per subscriber",
            ),
            events_unrouted: telemetry
                .register(&name("events_unrouted"), "Events without a subscriber"),
            duplicate_names: telemetry.register(
                &name("duplicate_names"),
                "Processes that connected under the name of a node that another process had",
            ),
            held: telemetry.register(
                &name("held"),
                "How often a publisher was held back because subscribers had no room",
            ),
            queue_messages: telemetry
                .register(&name("queue_messages"), "Events waiting in the queues of subscribers"),
            queue_bytes: telemetry.register(
                &name("queue_bytes"),
                "Bytes of memory held by the queues of peers, shared memory counted once",
            ),
            subscriptions: telemetry
                .register(&name("subscriptions"), "Distinct prefixes that are subscribed"),
            drops: telemetry.register_per_label(
                &name("drops"),
                "Events dropped instead of sent to a subscriber, by reason",
                "reason",
            ),
            refusals: telemetry.register_per_label(
                &name("refusals"),
                "Messages and subscriptions that were refused, by reason",
                "reason",
            ),
            subscriber_dropped: telemetry.register(
                &name("subscriber_events_dropped"),
                "Events that matched the peer's subscriptions and were dropped",
            ),
            subscriber_matched: telemetry.register(
                &name("subscriber_events_matched"),
                "Events that matched the peer's subscriptions",
            ),
            subscriber_sent: telemetry
                .register(&name("subscriber_events_sent"), "Events sent to the peer"),
            dropped: telemetry.register(
                &name("events_dropped"),
                "Events that matched the peer's subscriptions and were dropped, by topic prefix \
                 and reason",
            ),
            publisher_events: telemetry
                .register(&name("publisher_events"), "Events accepted from the peer"),
            refused: telemetry.register(
                &name("refused"),
                "Messages and subscriptions of the peer that were refused, by reason",
            ),
            peer_names: Arc::new(LabelCap::new(MAX_LABEL_VALUES)),
            dropped_prefixes: Arc::new(LabelCap::new(MAX_LABEL_VALUES)),
        }
    }

    /// What the names of the broker's own series start with.
    pub const PREFIX: &'static str = "zcluster_broker";
    /// … in a broker that was started under its former name, `zcluster-proxy`.
    pub const FORMER_PREFIX: &'static str = "zcluster_proxy";
    /// The label of a peer whose name is not known.
    pub const UNNAMED: &'static str = "unnamed";

    /// The counters of one subscriber. Takes locks; keep the result.
    pub fn subscriber(&self, peer: &[u8]) -> SubscriberCounters {
        let labels = [self.peer_label(peer)];
        SubscriberCounters {
            matched: self.subscriber_matched.get_or_create_owned(&labels),
            sent: self.subscriber_sent.get_or_create_owned(&labels),
            dropped: self.subscriber_dropped.get_or_create_owned(&labels),
        }
    }

    /// `zcluster_broker_events_dropped_total{peer,prefix,reason}`: events of topics with that
    /// prefix that the peer has subscribed and did not get. Takes locks; keep the result.
    ///
    /// Pairs of peer and prefix past [`MAX_LABEL_VALUES`] lose their prefix only, so that the sum
    /// over a peer stays right.
    pub fn dropped(&self, peer: &[u8], prefix: &[u8], reason: EventDrop) -> Counter {
        let peer = self.peer_label(peer);
        let [_, prefix] = self.dropped_prefixes.admit_all([peer.1.as_bytes(), prefix]);
        self.dropped.get_or_create_owned(&[peer, ("prefix", prefix), reason_label(reason)])
    }

    /// `zcluster_broker_publisher_events_total{peer}`: events accepted from it. Takes locks; keep
    /// the result.
    pub fn publisher_events(&self, peer: &[u8]) -> Counter {
        self.publisher_events.get_or_create_owned(&[self.peer_label(peer)])
    }

    /// `zcluster_broker_refused_total{peer,reason}`: what it sent and was not passed on. All
    /// reasons exist from now on. Takes locks; keep the result.
    pub fn refused(&self, peer: &[u8]) -> PerLabel<Refusal, Counter> {
        let peer = self.peer_label(peer);
        PerLabel::from_fn(|reason: Refusal| {
            self.refused.get_or_create_owned(&[peer.clone(), reason_label(reason)])
        })
    }

    fn peer_label(&self, peer: &[u8]) -> (&'static str, String) {
        ("peer", self.peer_names.admit(peer).into_owned())
    }
}

fn reason_label(reason: impl LabelValue) -> (&'static str, String) {
    ("reason", reason.as_str().to_owned())
}

fn register_cut_off(
    telemetry: &Telemetry,
    name: &str,
) -> PerLabel<BrokerSocket, PerLabel<CutOff, Counter>> {
    let family: LabelledFamily<Counter, 2> =
        telemetry.register(name, "Connections the broker ended, by reason");
    PerLabel::from_fn(|socket: BrokerSocket| {
        let socket = ("socket", socket.as_str().to_owned());
        PerLabel::from_fn(|reason| {
            family.get_or_create_owned(&[socket.clone(), reason_label(reason)])
        })
    })
}

impl SocketTraffic {
    fn register(telemetry: &Telemetry, socket: BrokerSocket) -> Self {
        let (side, kind) = match socket {
            BrokerSocket::Frontend => ("frontend", "XSUB"),
            BrokerSocket::Backend => ("backend", "XPUB"),
        };
        let counter = |what: &str, help: &str| {
            AbsoluteCounter(telemetry.register(
                &format!("zeek_cluster_zeromq_proxy_{side}_{what}"),
                &format!("{help} the {kind} socket of the broker"),
            ))
        };
        SocketTraffic {
            messages_received: counter("messages_received", "Frames received on"),
            bytes_received: counter("bytes_received", "Bytes received on"),
            messages_sent: counter("messages_sent", "Frames sent on"),
            bytes_sent: counter("bytes_sent", "Bytes sent on"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::tests::value;

    #[test]
    fn names_are_exact() {
        let telemetry = Telemetry::new("", "");
        let mut total = 0;
        for traffic in [&telemetry.broker().frontend, &telemetry.broker().backend] {
            for counter in [
                &traffic.messages_received,
                &traffic.bytes_received,
                &traffic.messages_sent,
                &traffic.bytes_sent,
            ] {
                total += 1;
                counter.raise_to(total);
            }
        }
        telemetry.broker().peers[BrokerSocket::Backend].inc();
        for (name, expected) in [
            ("zeek_cluster_zeromq_proxy_frontend_messages_received_total", "1"),
            ("zeek_cluster_zeromq_proxy_frontend_bytes_received_total", "2"),
            ("zeek_cluster_zeromq_proxy_frontend_messages_sent_total", "3"),
            ("zeek_cluster_zeromq_proxy_frontend_bytes_sent_total", "4"),
            ("zeek_cluster_zeromq_proxy_backend_messages_received_total", "5"),
            ("zeek_cluster_zeromq_proxy_backend_bytes_received_total", "6"),
            ("zeek_cluster_zeromq_proxy_backend_messages_sent_total", "7"),
            ("zeek_cluster_zeromq_proxy_backend_bytes_sent_total", "8"),
            (r#"zcluster_broker_peers{socket="backend"}"#, "1"),
            (r#"zcluster_broker_peers{socket="frontend"}"#, "0"),
            (r#"zcluster_broker_accept_failures_total{socket="frontend"}"#, "0"),
        ] {
            assert_eq!(value(&telemetry, name).as_deref(), Some(expected), "{name}");
        }
    }

    #[test]
    fn events_are_counted_by_peer() {
        let telemetry = Telemetry::new("broker", "node");
        let broker = telemetry.broker();
        broker.events_received.inc_by(1);
        broker.events_sent.inc_by(2);
        broker.events_unrouted.inc_by(3);
        broker.duplicate_names.inc_by(30);
        broker.held.inc_by(4);
        broker.queue_messages.set(5);
        broker.queue_bytes.set(6);
        broker.subscriptions.set(7);
        broker.subscriber(b"worker-1").matched.inc_by(8);
        broker.subscriber(b"worker-1").sent.inc_by(9);
        broker.subscriber(b"worker-1").dropped.inc_by(31);
        broker.drops[EventDrop::ControlFull].inc_by(32);
        broker.refusals[Refusal::Impersonation].inc_by(33);
        broker.dropped(b"worker-1", b"zeek.\xff", EventDrop::QueueFull).inc_by(10);
        broker.dropped(b"worker-1", b"", EventDrop::ControlFull).inc_by(11);
        broker.dropped(b"worker-1", b"", EventDrop::Disconnected).inc_by(12);
        broker.publisher_events(BrokerMetrics::UNNAMED.as_bytes()).inc_by(13);
        for (more, reason) in (14..).zip(Refusal::ALL) {
            broker.refused(b"m")[*reason].inc_by(more);
        }
        for (more, reason) in (22..).zip(CutOff::ALL) {
            broker.cut_off[BrokerSocket::Backend][*reason].inc_by(more);
        }
        for (name, labels, expected) in [
            ("events_received_total", "", "1"),
            ("events_sent_total", "", "2"),
            ("events_unrouted_total", "", "3"),
            ("duplicate_names_total", "", "30"),
            ("held_total", "", "4"),
            ("queue_messages", "", "5"),
            ("queue_bytes", "", "6"),
            ("subscriptions", "", "7"),
            ("subscriber_events_matched_total", r#",peer="worker-1""#, "8"),
            ("subscriber_events_sent_total", r#",peer="worker-1""#, "9"),
            (
                "events_dropped_total",
                ",peer=\"worker-1\",prefix=\"zeek.\u{fffd}\",reason=\"queue_full\"",
                "10",
            ),
            ("events_dropped_total", r#",peer="worker-1",prefix="",reason="control_full""#, "11"),
            ("events_dropped_total", r#",peer="worker-1",prefix="",reason="disconnected""#, "12"),
            ("publisher_events_total", r#",peer="unnamed""#, "13"),
            ("refused_total", r#",peer="m",reason="frame_count""#, "14"),
            ("refused_total", r#",peer="m",reason="user_message""#, "15"),
            ("refused_total", r#",peer="m",reason="malformed_event""#, "16"),
            ("refused_total", r#",peer="m",reason="unsubscription""#, "17"),
            ("refused_total", r#",peer="m",reason="subscription_limit""#, "18"),
            ("refused_total", r#",peer="m",reason="impersonation""#, "19"),
            ("refused_total", r#",peer="m",reason="publish_denied""#, "20"),
            ("refused_total", r#",peer="m",reason="subscribe_denied""#, "21"),
            ("cut_off_total", r#",socket="backend",reason="protocol""#, "22"),
            ("cut_off_total", r#",socket="backend",reason="mechanism""#, "23"),
            ("cut_off_total", r#",socket="backend",reason="unauthorized""#, "24"),
            ("cut_off_total", r#",socket="backend",reason="socket_type""#, "25"),
            ("cut_off_total", r#",socket="backend",reason="limit""#, "26"),
            ("cut_off_total", r#",socket="backend",reason="handshake_timeout""#, "27"),
            ("cut_off_total", r#",socket="backend",reason="heartbeat""#, "28"),
            ("cut_off_total", r#",socket="backend",reason="slow""#, "29"),
            ("cut_off_total", r#",socket="backend",reason="control_overflow""#, "30"),
            ("cut_off_total", r#",socket="frontend",reason="slow""#, "0"),
            ("subscriber_events_dropped_total", r#",peer="worker-1""#, "31"),
            ("drops_total", r#",reason="control_full""#, "32"),
            ("drops_total", r#",reason="queue_full""#, "0"),
            ("refusals_total", r#",reason="impersonation""#, "33"),
            ("refusals_total", r#",reason="frame_count""#, "0"),
        ] {
            let series = format!(r#"zcluster_broker_{name}{{node="broker"{labels}}}"#);
            assert_eq!(value(&telemetry, &series).as_deref(), Some(expected), "{series}");
        }
    }

    #[test]
    fn peers_cannot_make_series_without_end() {
        let telemetry = Telemetry::new("", "");
        let broker = telemetry.broker();
        broker.subscriber(b"early");
        for number in 0..2 * MAX_LABEL_VALUES {
            broker.dropped(b"early", number.to_string().as_bytes(), EventDrop::QueueFull).inc();
            broker.publisher_events(format!("peer-{number}").as_bytes()).inc();
        }
        broker.dropped(b"late", b"zeek.", EventDrop::QueueFull).inc();
        for (series, expected) in [
            (r#"publisher_events_total{peer="other"}"#, MAX_LABEL_VALUES + 1),
            (
                r#"events_dropped_total{peer="early",prefix="other",reason="queue_full"}"#,
                MAX_LABEL_VALUES,
            ),
            (r#"events_dropped_total{peer="other",prefix="other",reason="queue_full"}"#, 1),
        ] {
            let series = format!("zcluster_broker_{series}");
            assert_eq!(value(&telemetry, &series), Some(expected.to_string()), "{series}");
        }
    }

    #[test]
    fn an_absolute_counter_never_goes_back() {
        let counter = AbsoluteCounter::default();
        for (total, expected) in [(5, 5), (3, 5), (0, 5), (5, 5), (9, 9), (u64::MAX, u64::MAX)] {
            counter.raise_to(total);
            assert_eq!(counter.get(), expected);
        }
    }
}
