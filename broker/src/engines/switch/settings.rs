//! [`Settings`]: the options of the layout in the form the engine needs them.

use std::time::Duration;

use zcluster::layout::{Layout, WhenFull};
use zcluster::topic::NodeTopics;

use super::outbox::{Lane, Limits};
use super::subscriptions;

/// What the layout says.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    broker: zcluster::layout::Broker,
    control_prefixes: Vec<String>,
    pub(super) topics: NodeTopics,
    pub(super) io_threads: usize,
    /// Bounds of the control lane of a peer.
    pub(super) control: Limits,
    /// Bounds of the bulk lane of a peer.
    pub(super) bulk: Limits,
    pub(super) subscriptions: subscriptions::Limits,
    pub(super) patience: Duration,
    pub(super) disconnect_after: Duration,
    pub(super) block_timeout: Duration,
    pub(super) handshake_timeout: Duration,
    pub(super) max_message_size: u64,
    pub(super) validate_events: bool,
    /// How often PINGs are sent; zero: never.
    pub(super) heartbeat_interval: Duration,
    /// How long the answer may take.
    pub(super) heartbeat_timeout: Duration,
    /// What peers are told of our own PINGs, in tenths of a second; 0: nothing.
    pub(super) heartbeat_ttl: u16,
    /// How long what waits may still be sent at the end; `None`: for ever.
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

    /// The lane for events of that topic.
    pub(super) fn lane(&self, topic: &[u8]) -> Lane {
        let is_control =
            self.control_prefixes.iter().any(|prefix| topic.starts_with(prefix.as_bytes()));
        if is_control { Lane::Control } else { Lane::Bulk }
    }

    /// What becomes of events of that topic where there is no room.
    pub(super) fn when_full(&self, topic: &[u8]) -> WhenFull {
        self.broker.when_full(topic)
    }
}

fn unless_zero(limit: u64) -> usize {
    if limit == 0 { usize::MAX } else { usize::try_from(limit).unwrap_or(usize::MAX) }
}
