//! Rules for `[broker]`: ranges, and options of the engine `switch` that another engine ignores.

use std::time::Duration;

use super::super::broker::MAX_IO_THREADS;
use super::super::table::Table;
use super::super::{Broker, BrokerEngine, WhenFull};
use super::{Check, LONGEST};

/// Topics of nodes contain names of up to 200 bytes.
const SHORT_SUBSCRIPTION: u32 = 256;
/// Anything longer is not a topic.
const LONGEST_SUBSCRIPTION: i64 = 1024 * 1024;
/// Options that every engine uses.
const OF_ALL_ENGINES: [&str; 3] = ["metrics_port", "metrics_address", "engine"];

impl Check<'_> {
    pub(super) fn broker(&mut self) {
        self.proxy_ranges();
        match self.layout.broker.engine {
            BrokerEngine::Switch => self.proxy_unwise(),
            BrokerEngine::Zmq => self.without_effect(),
        }
    }

    fn proxy_ranges(&mut self) {
        let broker = &self.layout.broker;
        self.range(&["broker", "io_threads"], broker.io_threads.into(), 1, MAX_IO_THREADS.into());
        self.at_least_one(&["broker", "max_subscriptions"], broker.max_subscriptions.into());
        let length = broker.max_subscription_length.into();
        self.range(&["broker", "max_subscription_length"], length, 1, LONGEST_SUBSCRIPTION);
        for (key, value) in [
            ("patience", broker.patience),
            ("disconnect_after", broker.disconnect_after),
            ("block_timeout", broker.block_timeout),
            ("handshake_timeout", broker.handshake_timeout),
        ] {
            self.at_most(&["broker", key], value, LONGEST);
        }
        if broker.handshake_timeout.is_zero() {
            let message = "`handshake_timeout`: found `0`, expected more: no peer could connect";
            self.error(&["broker", "handshake_timeout"], message);
        }
        if broker.control_prefixes.iter().any(String::is_empty) {
            let message = "`control_prefixes`: found \"\", which would make every event a control \
                           event; expected topic prefixes";
            self.error(&["broker", "control_prefixes"], message);
        }
    }

    fn proxy_unwise(&mut self) {
        let (broker, zeromq) = (&self.layout.broker, &self.layout.zeromq);
        for (key, bytes) in [
            ("subscriber_max_bytes", broker.subscriber_max_bytes),
            ("control_max_bytes", broker.control_max_bytes),
        ] {
            if bytes == 0 {
                let message =
                    format!("`{key}` is 0: a peer that does not read may use up all memory");
                self.warn(&["broker", key], message);
            }
        }
        if (1..SHORT_SUBSCRIPTION).contains(&broker.max_subscription_length) {
            let message = format!(
                "`max_subscription_length` is below {SHORT_SUBSCRIPTION}: topics of nodes with long \
                 names are refused"
            );
            self.warn(&["broker", "max_subscription_length"], message);
        }
        let mut policies = broker.topic.values().filter_map(|topic| topic.when_full);
        let blocks = broker.when_full == WhenFull::Block || policies.any(|p| p == WhenFull::Block);
        let block_timeout = if blocks { broker.block_timeout } else { Duration::ZERO };
        // While the broker does not read from a publisher, it does not answer its pings either.
        for (key, value) in [("patience", broker.patience), ("block_timeout", block_timeout)] {
            if value >= zeromq.heartbeat_timeout && !zeromq.heartbeat_interval.is_zero() {
                let message = format!(
                    "`{key}` is not below `heartbeat_timeout`: publishers that are held back may \
                     consider the broker dead"
                );
                self.warn(&["broker", key], message);
            }
        }
    }

    /// A user who sets an option of an engine expects that engine.
    fn without_effect(&mut self) {
        for (name, _) in Broker::default().options() {
            if self.places.has(&["broker", name]) && !OF_ALL_ENGINES.contains(&name) {
                let message = format!("`{name}` has no effect with `engine = \"zmq\"`");
                self.warn(&["broker", name], message);
            }
        }
        for prefix in self.layout.broker.topic.keys() {
            let message = "`[broker.topic]` has no effect with `engine = \"zmq\"`";
            self.warn(&["broker", "topic", prefix], message);
        }
    }
}
