//! [`Settings`]: the layout's options in the form the engine needs.

use std::time::Duration;

use zcluster::layout::{Layout, WhenFull};
use zcluster::topic::NodeTopics;

use super::outbox::{Lane, Limits};
use super::subscriptions;

/// The options of the layout.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    broker: zcluster::layout::Broker,
    control_prefixes: Vec<String>,
    pub(super) topics: NodeTopics,
    pub(super) io_threads: usize,
    /// Bounds of a peer's control lane.
    pub(super) control: Limits,
    /// Bounds of a peer's bulk lane.
    pub(super) bulk: Limits,
    pub(super) subscriptions: subscriptions::Limits,
    pub(super) patience: Duration,
    pub(super) disconnect_after: Duration,
    pub(super) block_timeout: Duration,
    pub(super) handshake_timeout: Duration,
    pub(super) max_message_size: u64,
    pub(super) validate_events: bool,
    /// How often to send PINGs; zero: never.
    pub(super) heartbeat_interval: Duration,
    /// How long to wait for an answer.
    pub(super) heartbeat_timeout: Duration,
    /// The TTL in our PINGs, in tenths of a second; 0: none.
    pub(super) heartbeat_ttl: u16,
    /// How long to send queued data before exiting; `None`: without limit.
    pub(super) linger: Option<Duration>,
}

impl Settings {
    pub(super) fn new(layout: &Layout) -> Self {
        let (broker, zeromq) = (&layout.broker, &layout.zeromq);
        let limits = |messages: u32, bytes: u64| Limits {
            messages: unless_zero(u64::from(messages)),
            bytes: unless_zero(bytes),
        };
        let tenths = zeromq.heartbeat_ttl.as_millis() / 100;
        Settings {
            control_prefixes: broker.control_prefixes(zeromq),
            topics: NodeTopics {
                node_prefix: zeromq.node_topic_prefix.clone(),
                nodeid_prefix: zeromq.nodeid_topic_prefix.clone(),
            },
            io_threads: broker.io_threads as usize,
            control: limits(broker.control_hwm, broker.control_max_bytes),
            bulk: limits(broker.subscriber_hwm, broker.subscriber_max_bytes),
            subscriptions: subscriptions::Limits {
                prefixes: broker.max_subscriptions as usize,
                length: broker.max_subscription_length as usize,
            },
            patience: broker.patience,
            disconnect_after: broker.disconnect_after,
            block_timeout: broker.block_timeout,
            handshake_timeout: broker.handshake_timeout,
            max_message_size: zeromq.max_message_size,
            validate_events: broker.validate_events,
            heartbeat_interval: zeromq.heartbeat_interval,
            heartbeat_timeout: zeromq.heartbeat_timeout,
            heartbeat_ttl: u16::try_from(tenths).unwrap_or(u16::MAX),
            linger: u64::try_from(zeromq.linger_ms).ok().map(Duration::from_millis),
            broker: broker.clone(),
        }
    }

    /// The lane for events of a topic.
    pub(super) fn lane(&self, topic: &[u8]) -> Lane {
        let is_control =
            self.control_prefixes.iter().any(|prefix| topic.starts_with(prefix.as_bytes()));
        if is_control { Lane::Control } else { Lane::Bulk }
    }

    /// The policy for events of a topic when a queue is full.
    pub(super) fn when_full(&self, topic: &[u8]) -> WhenFull {
        self.broker.when_full(topic)
    }
}

fn unless_zero(limit: u64) -> usize {
    if limit == 0 { usize::MAX } else { usize::try_from(limit).unwrap_or(usize::MAX) }
}
