//! The sections of a layout that are tables of options, with their names, types and defaults.
//!
//! A new option is one line here ([`table`](super::table)). Names and defaults in the `[zeromq]`
//! section are those of WIRE.md §7.4. `[log]` is in [`log`](super::log), `[broker]` in
//! [`broker`](super::broker), `websocket` of a node in [`websocket`](super::websocket).

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::secret::Secret;
use super::store::StoreBackend;
use super::table::table;
use super::words::words;
use crate::wire::event_format::EventFormat;

words! {
    /// How events are serialized on the bus (WIRE.md §2.8).
    pub enum EventSerializer {
        /// WIRE.md §2, Zeek's default.
        #[default]
        BrokerBinV1 = "broker-bin-v1",
        /// WIRE.md §3.2.
        BrokerJsonV1 = "broker-json-v1",
    }
}

impl EventSerializer {
    /// The format in which it writes events.
    pub(crate) fn format(self) -> EventFormat {
        match self {
            EventSerializer::BrokerBinV1 => EventFormat::BrokerBinV1,
            EventSerializer::BrokerJsonV1 => EventFormat::BrokerJsonV1,
        }
    }
}

words! {
    /// What a log producer does when every logger is at its high-water mark.
    pub enum LogHwmAction {
        /// The producer waits: nothing is lost, and overload propagates back to the code that
        /// writes logs.
        #[default]
        Block = "block",
        /// The batch is dropped and counted, as Zeek does.
        Drop = "drop",
    }
}

pub(super) const MIB: u64 = 1024 * 1024;

table! {
    /// `[cluster]`: what the nodes agree on.
    pub struct Cluster {
        /// The layout file version that the file is written for, at most
        /// [`LAYOUT_VERSION`](super::LAYOUT_VERSION).
        layout_version: u32 = 1,
        /// Name of the cluster, shown in dashboards and messages.
        name: String = "zcluster".into(),
        /// Serialization of the events that this cluster's nodes publish; they understand both.
        event_serializer: EventSerializer = EventSerializer::BrokerBinV1,
        /// Whether the manager receives logs. Default: only if the layout has a manager and no
        /// logger.
        manager_is_logger: bool = false,
        /// Whether the nodes may publish to every topic, or only to those of `publish_topics` and
        /// those that a program allows itself. A node's greetings are always sent.
        auto_publish_topics: bool = true,
        /// Whether others see every subscription of a program, or only those below
        /// `advertise_topics` and what the program allows itself. A node's own topics are always seen.
        auto_advertise_topics: bool = true,
        /// Topics that may be published without `auto_publish_topics`.
        publish_topics: Vec<String> = Vec::new(),
        /// Prefixes that may be subscribed to without `auto_advertise_topics`.
        advertise_topics: Vec<String> = Vec::new(),
        /// Whether a node spreads its log batches over all loggers. If not, it sends all to one, which
        /// depends on the name of the node, and to another only while that one is down.
        enable_round_robin_logging: bool = true,
        /// Name of the node that has the masters of data stores; empty means the manager. Read it through
        /// [`Layout::store_master`](super::Layout::store_master).
        default_master_node: String = String::new(),
        /// Backend of the stores that need not be persistent. Read it through
        /// [`Layout::store_backend`](super::Layout::store_backend), like the next one.
        default_backend: StoreBackend = StoreBackend::Memory,
        /// Backend of the stores that programs want to be persistent.
        default_persistent_backend: StoreBackend = StoreBackend::Sqlite,
        /// Directory of the files of stores; unset means the working directory, which a relative path is resolved from.
        default_store_dir: Option<PathBuf> = None,
    }
}

table! {
    /// `[zeromq]`: the options of Zeek's ZeroMQ backend under Zeek's names (WIRE.md §7.4), followed
    /// by zcluster's own.
    ///
    /// High-water marks are in messages and 0 means unlimited; buffers are in bytes and -1 means
    /// the kernel's default.
    pub struct ZeroMq {
        /// Where a node's XPUB connects; empty means where the broker's XSUB listens. Read it
        /// through [`Layout::connect_xpub_endpoint`](super::Layout::connect_xpub_endpoint).
        connect_xpub_endpoint: String = String::new(),
        /// Where a node's XSUB connects; empty means where the broker's XPUB listens. Read it
        /// through [`Layout::connect_xsub_endpoint`](super::Layout::connect_xsub_endpoint).
        connect_xsub_endpoint: String = String::new(),
        /// Log receivers in addition to those of the layout. Read them through
        /// [`Layout::connect_log_endpoints`](super::Layout::connect_log_endpoints).
        connect_log_endpoints: Vec<String> = Vec::new(),
        /// I/O threads of the broker.
        proxy_io_threads: u32 = 2,
        /// Where the broker's XSUB listens.
        listen_xsub_endpoint: String = "tcp://127.0.0.1:5556".into(),
        /// Where the broker's XPUB listens.
        listen_xpub_endpoint: String = "tcp://127.0.0.1:5555".into(),
        /// Where log receivers listen; empty means at their `ip` and `port`. Read it through
        /// [`Layout::listen_log_endpoint`](super::Layout::listen_log_endpoint).
        listen_log_endpoint: String = String::new(),
        /// How long closing sockets may still send, in milliseconds; -1 means forever.
        linger_ms: i32 = 500,
        /// Send high-water mark of a node's XPUB.
        xpub_sndhwm: i32 = 1000,
        /// Send buffer of a node's XPUB.
        xpub_sndbuf: i32 = -1,
        /// Receive high-water mark of a node's XSUB.
        xsub_rcvhwm: i32 = 1000,
        /// Receive buffer of a node's XSUB.
        xsub_rcvbuf: i32 = -1,
        /// Bound of the queue of received events, in messages.
        onloop_queue_hwm: u32 = 10_000,
        /// Whether log batches are queued for connected loggers only (`ZMQ_IMMEDIATE`).
        log_immediate: bool = false,
        /// Send high-water mark of a log producer, per logger.
        log_sndhwm: i32 = 1000,
        /// Receive high-water mark of a logger, per producer. zcluster's loggers use `max_memory`
        /// instead.
        log_rcvhwm: i32 = 1000,
        /// Send buffer of a log producer.
        log_sndbuf: i32 = -1,
        /// Receive buffer of a logger.
        log_rcvbuf: i32 = -1,
        /// Whether sockets may use IPv6. See also
        /// [`Layout::needs_ipv6`](super::Layout::needs_ipv6).
        ipv6: bool = false,
        /// Whether a node's XPUB reports a full peer rather than dropping silently.
        connect_xpub_nodrop: bool = true,
        /// Whether the broker's XPUB holds publishers back rather than dropping silently.
        listen_xpub_nodrop: bool = true,
        /// Messages read from one socket before switching to the next.
        poll_max_messages: u32 = 100,
        /// CURVE public key of the servers, 40 Z85 characters; empty means no CURVE.
        curve_server_publickey: Secret = Secret::default(),
        /// CURVE secret key of the servers.
        curve_server_secretkey: Secret = Secret::default(),
        /// CURVE public key shared by all clients.
        curve_client_publickey: Secret = Secret::default(),
        /// CURVE secret key shared by all clients.
        curve_client_secretkey: Secret = Secret::default(),
        /// Prefix of the topics of nodes by name.
        node_topic_prefix: String = "zeek.cluster.node".into(),
        /// Prefix of the topics of processes by id.
        nodeid_topic_prefix: String = "zeek.cluster.nodeid".into(),
        /// How long a node waits for a peer to answer its hello.
        hello_expiration: Duration = Duration::from_secs(10),
        /// Prefix of the probes by which a node detects that its subscriptions have arrived.
        internal_topic_prefix: String = "zeek.zeromq.internal.".into(),

        /// How often ZMTP pings a silent connection (`ZMQ_HEARTBEAT_IVL`); 0 means never.
        heartbeat_interval: Duration = Duration::from_secs(5),
        /// How long a ping may go unanswered before the connection is closed
        /// (`ZMQ_HEARTBEAT_TIMEOUT`).
        heartbeat_timeout: Duration = Duration::from_secs(15),
        /// How long the peer may receive nothing before it closes its end (`ZMQ_HEARTBEAT_TTL`); 0
        /// means it gets no such limit. Tenths of a second, at most 6553 s.
        heartbeat_ttl: Duration = Duration::from_secs(15),
        /// What log producers do at `log_sndhwm`.
        log_hwm_action: LogHwmAction = LogHwmAction::Block,
        /// Bound of a node's queue of events to publish, in bytes.
        publish_queue_bytes: u64 = 64 * MIB,
        /// Bound of a node's queue of received events, in bytes.
        onloop_queue_bytes: u64 = 64 * MIB,
        /// Bound of a producer's queue of log batches, in bytes.
        log_queue_bytes: u64 = 64 * MIB,
        /// The largest message accepted from a peer, in bytes (`ZMQ_MAXMSGSIZE`).
        max_message_size: u64 = 128 * MIB,
        /// How long a silent node may take to return before it counts as down.
        reconcile_grace: Duration = Duration::from_secs(3),
        /// How long a node waits after a peer's subscription before it sends a hello.
        hello_delay: Duration = Duration::from_millis(100),
    }
}

impl ZeroMq {
    /// Whether any CURVE key is set, so that encryption is expected.
    pub fn has_curve_keys(&self) -> bool {
        [
            &self.curve_server_publickey,
            &self.curve_server_secretkey,
            &self.curve_client_publickey,
            &self.curve_client_secretkey,
        ]
        .iter()
        .any(|key| !key.is_empty())
    }

    /// Whether client sockets use CURVE (WIRE.md §7.1).
    pub fn curve_client(&self) -> bool {
        !self.curve_server_publickey.is_empty()
            && !self.curve_client_publickey.is_empty()
            && !self.curve_client_secretkey.is_empty()
    }

    /// Whether server sockets use CURVE (WIRE.md §7.1).
    pub fn curve_server(&self) -> bool {
        !self.curve_server_secretkey.is_empty() && !self.curve_client_publickey.is_empty()
    }

    /// Options that Zeek does not have: the exporter leaves them out.
    pub(super) const OWN: [&'static str; 10] = [
        "heartbeat_interval",
        "heartbeat_timeout",
        "heartbeat_ttl",
        "log_hwm_action",
        "publish_queue_bytes",
        "onloop_queue_bytes",
        "log_queue_bytes",
        "max_message_size",
        "reconcile_grace",
        "hello_delay",
    ];
    /// Options for threads inside Zeek: accepted, without effect.
    pub(super) const IGNORED: [&'static str; 2] = ["run_proxy_thread", "debug_flags"];
}

table! {
    /// `[telemetry]`: Prometheus metrics.
    pub struct Telemetry {
        /// Metrics address of every node; unset means the node's own `ip`. Read it through
        /// [`Layout::metrics_address`](super::Layout::metrics_address).
        metrics_address: Option<IpAddr> = None,
        /// Name of the label that holds the node's name.
        metrics_endpoint_label: String = "node".into(),
    }
}
