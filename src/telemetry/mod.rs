//! Metrics shared by all binaries, under the names of WIRE.md §7.7 where Zeek has a name for the
//! same thing, and under `zcluster_` where it has none.
//!
//! [`Telemetry`] owns the registry; each part of the program takes its typed group of handles from
//! it ([`NodeMetrics`], [`BrokerMetrics`], [`LogSenderMetrics`], [`LoggerMetrics`]) once, at start.
//! Counting on a handle is one relaxed atomic operation: no lock, no allocation. Only histograms,
//! creating a series with labels and scraping take locks. Nothing here opens a socket;
//! `crate::http` serves the text.

mod broker;
mod exposition;
mod gauge_share;
mod label_cap;
mod labels;
mod log_sender;
mod logger;
mod node;
mod process;
#[cfg(feature = "store")]
mod store;
mod websocket;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use prometheus_client::encoding::text;
use prometheus_client::registry::{Metric, Registry};

pub use broker::{
    AbsoluteCounter, BrokerMetrics, BrokerSocket, CutOff, EventDrop, Refusal, SocketTraffic,
    SubscriberCounters,
};
pub use exposition::Exposition;
pub use gauge_share::GaugeShare;
pub use label_cap::LabelCap;
use labels::LabelledFamily;
pub use labels::{LabelValue, PerLabel};
pub use log_sender::{LogSenderMetrics, LogStreamCounters};
pub use logger::{BatchFault, LoggerMetrics, PathCounters, PeerFault, SenderCounters};
pub use node::{EventFault, LogLoss, NodeMetrics, NodeSocket};
#[cfg(feature = "store")]
pub use store::{StoreFamilies, StoreMetrics};
pub use websocket::{ApplicationMetrics, ClientRefusal, WebSocketMetrics};

/// A number that only grows. `inc` and `inc_by` are one relaxed atomic addition.
pub type Counter = prometheus_client::metrics::counter::Counter<u64>;
/// A number that goes up and down. Each operation is one relaxed atomic instruction.
pub type Gauge = prometheus_client::metrics::gauge::Gauge<i64>;
/// A distribution of observations, here of seconds. An observation takes a lock for a moment.
pub type Histogram = prometheus_client::metrics::histogram::Histogram;

/// The label that names the node unless configured otherwise, as in Zeek.
pub const DEFAULT_NODE_LABEL: &str = "node";

/// How many values of one label that peers choose get a series of their own.
pub const MAX_LABEL_VALUES: usize = 1000;

/// The metrics of one process. Clones share them.
#[derive(Clone)]
pub struct Telemetry {
    shared: Arc<Shared>,
}

struct Shared {
    registry: Mutex<Registry>,
    // Each group registers its families when first asked for, and once: a family that is
    // registered twice would be exposed twice, which scrapers reject.
    ready: OnceLock<Gauge>,
    message_errors: OnceLock<Counter>,
    writer_writes: OnceLock<LabelledFamily<Counter, 5>>,
    node: OnceLock<NodeMetrics>,
    broker: OnceLock<BrokerMetrics>,
    log_sender: OnceLock<LogSenderMetrics>,
    logger: OnceLock<LoggerMetrics>,
    websocket: OnceLock<WebSocketMetrics>,
    #[cfg(feature = "store")]
    stores: OnceLock<StoreFamilies>,
}

impl Telemetry {
    /// Metrics whose every series carries the label `<label_name>="<node_name>"`.
    ///
    /// The label is left out if either is empty. Characters that no label name may have become
    /// `_`. Registers what every process exposes: build information and its use of the system.
    pub fn new(node_name: &str, label_name: &str) -> Self {
        let mut registry = if node_name.is_empty() || label_name.is_empty() {
            Registry::default()
        } else {
            let label = (labels::label_name(label_name).into(), node_name.to_owned().into());
            Registry::with_labels(std::iter::once(label))
        };
        process::register(&mut registry);
        Telemetry {
            shared: Arc::new(Shared {
                registry: Mutex::new(registry),
                ready: OnceLock::new(),
                message_errors: OnceLock::new(),
                writer_writes: OnceLock::new(),
                node: OnceLock::new(),
                broker: OnceLock::new(),
                log_sender: OnceLock::new(),
                logger: OnceLock::new(),
                websocket: OnceLock::new(),
                #[cfg(feature = "store")]
                stores: OnceLock::new(),
            }),
        }
    }

    /// All series in the OpenMetrics text format.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        text::encode(&mut text, &self.registry()).expect("writing to a String does not fail");
        text
    }

    /// All series as text in that format.
    pub fn encode_as(&self, format: Exposition) -> String {
        let text = self.encode();
        match format {
            Exposition::OpenMetrics => text,
            Exposition::Text => exposition::classic(&text),
        }
    }

    /// `zcluster_ready`: 1 while the process is ready for its work, as `/readyz` says, else 0.
    /// Updated at each request for `/metrics`.
    pub fn ready(&self) -> &Gauge {
        let register = || {
            self.register(
                "zcluster_ready",
                "Whether the process is ready for its work, as /readyz says",
            )
        };
        self.shared.ready.get_or_init(register)
    }

    /// What a node of the bus counts. Every call hands out the same counters.
    pub fn node(&self) -> &NodeMetrics {
        self.shared.node.get_or_init(|| NodeMetrics::register(self))
    }

    /// What the broker counts. Every call hands out the same counters.
    pub fn broker(&self) -> &BrokerMetrics {
        self.broker_named(BrokerMetrics::PREFIX)
    }

    /// The same, with another prefix of the series' names, if this is the first call.
    pub fn broker_named(&self, prefix: &str) -> &BrokerMetrics {
        self.shared.broker.get_or_init(|| BrokerMetrics::register(self, prefix))
    }

    /// What writers of log streams count. Every call hands out the same counters.
    pub fn log_sender(&self) -> &LogSenderMetrics {
        self.shared.log_sender.get_or_init(|| LogSenderMetrics::register(self))
    }

    /// What a logger counts. Every call hands out the same counters.
    pub fn logger(&self) -> &LoggerMetrics {
        self.shared.logger.get_or_init(|| LoggerMetrics::register(self))
    }

    /// What a gateway counts. Every call hands out the same counters.
    pub fn websocket(&self) -> &WebSocketMetrics {
        self.shared.websocket.get_or_init(|| WebSocketMetrics::register(self))
    }

    /// What is counted for each data store.
    #[cfg(feature = "store")]
    pub fn stores(&self) -> &StoreFamilies {
        self.shared.stores.get_or_init(|| StoreFamilies::register(self))
    }

    /// Multipart messages with a wrong number of frames, on any socket of the process: Zeek has
    /// one counter for all of them, so the groups share this one.
    fn message_errors(&self) -> Counter {
        let register = || {
            self.register(
                "zeek_cluster_zeromq_msg_errors",
                "Multipart messages with a wrong number of frames, on any socket",
            )
        };
        self.shared.message_errors.get_or_init(register).clone()
    }

    /// Records per writer of logs: producers count what they give to a writer, loggers what they
    /// write for it, in one family.
    fn writer_writes(&self) -> LabelledFamily<Counter, 5> {
        let register =
            || self.register("zeek_log_writer_writes", "Records that reached a log writer");
        self.shared.writer_writes.get_or_init(register).clone()
    }

    /// Adds a metric under its final name, without the `_total` of counters, which the encoder
    /// adds. `help` is a sentence without its full stop.
    fn register<M: Metric + Clone + Default>(&self, name: &str, help: &str) -> M {
        self.add(name, help, M::default())
    }

    /// Adds a metric that has no default.
    fn add<M: Metric + Clone>(&self, name: &str, help: &str, metric: M) -> M {
        self.registry().register(name, help, metric.clone());
        metric
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        // Poisoned means that an encoder panicked; it left the registry as it was.
        self.shared.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The value of the series `name`, written as it is exposed: `name{label="value"}`.
    pub(crate) fn value(telemetry: &Telemetry, series: &str) -> Option<String> {
        let text = telemetry.encode();
        let prefix = format!("{series} ");
        let mut found = text.lines().filter_map(|line| line.strip_prefix(&prefix));
        let value = found.next().map(str::to_owned);
        assert_eq!(found.next(), None, "{series} is exposed twice");
        value
    }

    #[test]
    fn every_series_carries_the_node() {
        let telemetry = Telemetry::new("worker-1", "node");
        telemetry.node();
        telemetry.logger().path("conn");
        telemetry.broker();
        telemetry.log_sender().stream("Conn::LOG", "Log::WRITER_ASCII", "default", "conn");
        let text = telemetry.encode();
        let series: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert!(series.len() > 40, "{text}");
        for line in series {
            assert!(line.contains(r#"{node="worker-1""#), "{line}");
        }
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn the_node_label_can_be_renamed_and_left_out() {
        let rows = [
            ("manager", "endpoint", r#"{endpoint="manager"}"#),
            ("manager", "my-label", r#"{my_label="manager"}"#),
            ("manager", "1st", r#"{_1st="manager"}"#),
            (r#"a"b\c"#, "node", r#"{node="a\"b\\c"}"#),
            ("", "node", ""),
            ("manager", "", ""),
        ];
        for (node, label, expected) in rows {
            let telemetry = Telemetry::new(node, label);
            telemetry.node().xpub_drops.inc();
            let series = format!("zeek_cluster_zeromq_xpub_drops_total{expected}");
            assert_eq!(value(&telemetry, &series).as_deref(), Some("1"), "{node} {label}");
        }
    }

    #[test]
    fn a_family_is_registered_once() {
        let telemetry = Telemetry::new("", "");
        telemetry.node().message_errors.inc();
        telemetry.clone().node().message_errors.inc();
        telemetry.logger().message_errors.inc();
        assert_eq!(value(&telemetry, "zeek_cluster_zeromq_msg_errors_total").as_deref(), Some("3"));
        let text = telemetry.encode();
        let mut types: Vec<&str> =
            text.lines().filter(|line| line.starts_with("# TYPE ")).collect();
        let all = types.len();
        types.sort_unstable();
        types.dedup();
        assert_eq!(types.len(), all);
    }
}
