//! What must hold of `[proxy]`: ranges, and options of its own engine that another one ignores.

use std::time::Duration;

use super::super::proxy::MAX_IO_THREADS;
use super::super::table::Table;
use super::super::{Proxy, ProxyEngine, WhenFull};
use super::{Check, LONGEST};

/// Topics of nodes have names of up to 200 bytes in them.
const SHORT_SUBSCRIPTION: u32 = 256;
/// Options that every engine heeds.
const OF_ALL_ENGINES: [&str; 3] = ["metrics_port", "metrics_address", "engine"];

impl Check<'_> {
    pub(super) fn proxy(&mut self) {
        self.proxy_ranges();
        match self.layout.proxy.engine {
            ProxyEngine::Switch => self.proxy_unwise(),
            ProxyEngine::Zmq => self.proxy_without_effect(),
        }
    }

    fn proxy_ranges(&mut self) {
        let proxy = &self.layout.proxy;
        self.range(&["proxy", "io_threads"], proxy.io_threads.into(), 1, MAX_IO_THREADS.into());
        for (key, value) in [
            ("max_subscriptions", proxy.max_subscriptions),
            ("max_subscription_length", proxy.max_subscription_length),
        ] {
            self.at_least_one(&["proxy", key], value.into());
        }
        for (key, value) in [
            ("patience", proxy.patience),
            ("disconnect_after", proxy.disconnect_after),
            ("block_timeout", proxy.block_timeout),
            ("handshake_timeout", proxy.handshake_timeout),
        ] {
            self.at_most(&["proxy", key], value, LONGEST);
        }
        if proxy.handshake_timeout.is_zero() {
            let message = "`handshake_timeout`: found `0`, expected more: nobody could connect";
            self.error(&["proxy", "handshake_timeout"], message);
        }
        if proxy.control_prefixes.iter().any(String::is_empty) {
            let message = "`control_prefixes`: found \"\", with which every event would be one of \
                           control; expected prefixes of topics";
            self.error(&["proxy", "control_prefixes"], message);
        }
    }

    fn proxy_unwise(&mut self) {
        let (proxy, zeromq) = (&self.layout.proxy, &self.layout.zeromq);
        for (key, bytes) in [
            ("subscriber_max_bytes", proxy.subscriber_max_bytes),
            ("control_max_bytes", proxy.control_max_bytes),
        ] {
            if bytes == 0 {
                let message =
                    format!("`{key}` is 0: a peer that does not read may take all memory");
                self.warn(&["proxy", key], message);
            }
        }
        if (1..SHORT_SUBSCRIPTION).contains(&proxy.max_subscription_length) {
            let message = format!(
                "`max_subscription_length` is below {SHORT_SUBSCRIPTION}: topics of nodes with long \
                 names are refused"
            );
            self.warn(&["proxy", "max_subscription_length"], message);
        }
        let mut policies = proxy.topic.values().filter_map(|topic| topic.when_full);
        let blocks = proxy.when_full == WhenFull::Block || policies.any(|p| p == WhenFull::Block);
        let block_timeout = if blocks { proxy.block_timeout } else { Duration::ZERO };
        // A publisher that is not read gets no answer to its pings either.
        for (key, value) in [("patience", proxy.patience), ("block_timeout", block_timeout)] {
            if value >= zeromq.heartbeat_timeout && !zeromq.heartbeat_interval.is_zero() {
                let message = format!(
                    "`{key}` is not below `heartbeat_timeout`: publishers that are held back may \
                     take the broker for dead"
                );
                self.warn(&["proxy", key], message);
            }
        }
    }

    /// Who sets an option of an engine expects that engine.
    fn proxy_without_effect(&mut self) {
        for (name, _) in Proxy::default().options() {
            if self.places.has(&["proxy", name]) && !OF_ALL_ENGINES.contains(&name) {
                let message = format!("`{name}` has no effect with `engine = \"zmq\"`");
                self.warn(&["proxy", name], message);
            }
        }
        for prefix in self.layout.proxy.topic.keys() {
            let message = "`[proxy.topic]` has no effect with `engine = \"zmq\"`";
            self.warn(&["proxy", "topic", prefix], message);
        }
    }
}
