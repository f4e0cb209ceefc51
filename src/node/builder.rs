//! Configures a node and starts it.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use bstr::BString;

use super::bus::Bus;
use super::condition::{Bound, Condition};
use super::fanout::Fanout;
use super::identity::new_node_id;
use super::io::Io;
use super::local_logs::LocalLogs;
use super::log_stream::Streams;
use super::topic_rules::TopicRules;
use super::{Node, NodeError, Notifications, Shared};
use crate::access::{self, Access, AccessCell, ClientKeys};
use crate::layout::{CurveKeys, Layout, NodeType, ZeroMq};
use crate::membership::{Membership, Settings};
use crate::pool::{PoolError, PoolSpec, Pools};
use crate::queue::{self, Limits};
use crate::telemetry::Telemetry;
use crate::topic::{self, NodeTopics};
use crate::transport::{Context, Waker};

/// Events that wait for the bus; more than a node sends in a second.
const OUTBOX_MESSAGES: usize = 10_000;
/// Events on their way to the I/O thread, which moves them on at once.
const HANDOVER: Limits = Limits { messages: 1_000, bytes: 8 << 20 };

/// A node that is not running yet; see [`Node::builder`].
pub struct Builder {
    layout: Arc<Layout>,
    name: String,
    telemetry: Option<Telemetry>,
    local_logs: Option<LocalLogs>,
    access: Option<Arc<AccessCell>>,
    client_keys: Option<ClientKeys>,
    key: Option<String>,
    pools: Vec<PoolSpec>,
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Builder {
    pub(super) fn new(layout: Arc<Layout>, name: String) -> Self {
        Builder {
            layout,
            name,
            telemetry: None,
            local_logs: None,
            access: None,
            client_keys: None,
            key: None,
            pools: Vec::new(),
        }
    }

    /// Counts in these metrics instead of new ones.
    #[must_use]
    pub fn telemetry(mut self, telemetry: Telemetry) -> Self {
        self.telemetry = Some(telemetry);
        self
    }

    /// Adds a pool to those of the layout (`Cluster::register_pool`). All nodes of a cluster must have
    /// the same pools: better put them into the layout, as `[pools.NAME]`.
    #[must_use]
    pub fn pool(mut self, pool: PoolSpec) -> Self {
        self.pools.push(pool);
        self
    }

    /// Passes the node's own log batches to this function instead of sending them to the loggers:
    /// for a node that is a logger. The function must not block; if it returns `false`, it gets the
    /// batch again later.
    #[must_use]
    pub fn local_logs(mut self, sink: impl Fn(&[u8]) -> bool + Send + 'static) -> Self {
        self.local_logs = Some(Box::new(sink));
        self
    }

    /// Checks received events against these rules, which the caller keeps up to date, instead of
    /// the node's own: for a process with servers.
    #[must_use]
    pub fn access(mut self, access: Arc<AccessCell>) -> Self {
        self.access = Some(access);
        self
    }

    /// Connects with these keys instead of those the layout names: for keys that are in no file.
    ///
    /// ```
    /// use zcluster::access::ClientKeys;
    /// use zcluster::node::{Node, NodeError};
    /// use zcluster::wire::zmtp::SecretKey;
    ///
    /// # fn start(layout: zcluster::Layout, from_vault: &str) -> Result<(), Box<dyn std::error::Error>> {
    /// let own: SecretKey = from_vault.parse()?;
    /// let broker = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7".parse()?;
    /// let logger = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID".parse()?;
    /// let keys = ClientKeys::new(own.into(), broker).with_logger("logger-1", logger);
    /// let (node, notifications) = Node::builder(layout, "worker-1").client_keys(keys).start()?;
    /// // Wrong keys show only when the node connects.
    /// while let Some(_notification) = notifications.receive() {}
    /// match node.take_failure() {
    ///     Some(NodeError::Refused { peer, why }) => eprintln!("{peer} refuses this node: {why}"),
    ///     Some(error) => return Err(error.into()),
    ///     None => {}
    /// }
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn client_keys(mut self, keys: ClientKeys) -> Self {
        self.client_keys = Some(keys);
        self
    }

    /// Where each node has its own key, a [standalone](Node::standalone) process connects with the key of that name instead of the
    /// operator's. Means nothing to nodes.
    #[must_use]
    pub fn key(mut self, name: impl Into<String>) -> Self {
        self.key = Some(name.into());
        self
    }

    /// Opens the sockets, starts the I/O thread and begins the handshake. Does not wait for the
    /// broker or for any other node. If another live process runs under the same name, that shows
    /// later: the notifications end, and [`Node::take_failure`] returns [`NodeError::NameTaken`].
    ///
    /// # Errors
    /// When the layout has no such node, its keys are missing or wrong, an endpoint is malformed,
    /// or the system refuses.
    pub fn start(self) -> Result<(Node, Notifications), NodeError> {
        let Builder { layout, name, telemetry, local_logs, access, client_keys, key, pools } = self;
        let own = layout.node(&name);
        if own.is_none() && !name.is_empty() {
            let known: Vec<&str> = layout.nodes.keys().map(String::as_str).collect();
            return Err(NodeError::UnknownNode { name, known: known.join(", ") });
        }
        // The broker compares the name in ids with that of the key, where each node has its own.
        let key_name = match own {
            None if layout.has_keys_per_node() => key.as_deref().unwrap_or(CurveKeys::OPERATOR),
            _ => &name,
        };
        let keys = match client_keys {
            Some(keys) => Some(keys),
            None => access::client_keys(&layout, key_name)?,
        };
        let access =
            access.unwrap_or_else(|| Arc::new(AccessCell::new(Access::of_client(&layout))));
        let options = &layout.zeromq;
        let label = &layout.telemetry.metrics_endpoint_label;
        let telemetry = telemetry.unwrap_or_else(|| Telemetry::new(&name, label));
        let metrics = telemetry.node().clone();
        let id = new_node_id(key_name)?;
        let topics = layout.node_topics();
        let format = layout.cluster.event_serializer.format();

        let waker = Arc::new(Waker::new()?);
        let wake = |waker: &Arc<Waker>| {
            let waker = Arc::clone(waker);
            move || waker.wake()
        };
        let limits = |messages, bytes| Limits { messages, bytes: clamp(bytes) };
        let (outgoing, outgoing_rx) = queue::bounded(HANDOVER, wake(&waker));
        let received_limits = limits(options.onloop_queue_hwm as usize, options.onloop_queue_bytes);
        let (notify, notifications) = queue::bounded(received_limits, || {});
        let nudge = notify.downgrade();
        let is_nudged = Arc::new(AtomicBool::new(false));
        let batch_limit = usize::try_from(options.log_sndhwm).unwrap_or(0);
        for (messages, bytes, limits) in [
            (
                &metrics.publish_queue_limit_messages,
                &metrics.publish_queue_limit_bytes,
                limits(OUTBOX_MESSAGES, options.publish_queue_bytes),
            ),
            (
                &metrics.onloop_queue_limit_messages,
                &metrics.onloop_queue_limit_bytes,
                received_limits,
            ),
            (
                &metrics.log_queue_limit_messages,
                &metrics.log_queue_limit_bytes,
                limits(batch_limit, options.log_queue_bytes),
            ),
        ] {
            messages.set(limits.messages as i64);
            bytes.set(limits.bytes as i64);
        }
        for node in layout.nodes.values() {
            metrics.members_up(node.node_type.as_str());
        }
        let (batches, batches_rx) =
            queue::bounded(limits(batch_limit, options.log_queue_bytes), wake(&waker));
        let outbox_limits = limits(OUTBOX_MESSAGES, options.publish_queue_bytes);
        let condition = Arc::new(Condition::new(bounds(options, outbox_limits), metrics.clone()));
        let streams = Arc::new(Streams::new(
            &layout.log,
            options.log_hwm_action,
            batches,
            Arc::clone(&waker),
            telemetry.clone(),
        ));

        let context = Context::new(1)?;
        let bus = Bus::connect(&context, &layout, keys.as_ref(), id.clone(), metrics.clone())?;
        // A standalone process has no name.
        let key = if name.is_empty() { id.as_bytes() } else { name.as_bytes() };
        let fanout = match local_logs {
            Some(_) => Fanout::none(&metrics),
            None => Fanout::new(&context, &layout, key, keys.as_ref(), &metrics, &waker)?,
        };
        let membership = Membership::new(Settings {
            name: name.clone(),
            id: id.clone(),
            nodes: layout.nodes.keys().cloned().collect(),
            hello_expiration: options.hello_expiration,
            hello_delay: options.hello_delay,
            reconcile_grace: options.reconcile_grace,
        });
        let members = Arc::new(Mutex::new(BTreeMap::new()));
        let pools = pools_of(&layout, &pools, &name, &topics)?;
        let node_type = own.map_or(NodeType::None, |own| own.node_type);
        let own_topics =
            initial_topics(&pools, &name, node_type, [topics.nodeid(&id), topics.node(&name)]);
        let pools = Arc::new(Mutex::new(pools));
        let failure = Arc::default();
        let broker_state = Arc::default();
        let io = Io::new(super::io::Parts {
            name: name.clone(),
            id: id.clone(),
            layout: Arc::clone(&layout),
            topics: topics.clone(),
            format,
            metrics,
            context,
            waker: Arc::clone(&waker),
            bus,
            fanout,
            local_logs,
            membership,
            outgoing: outgoing_rx,
            outbox_limits,
            batches: batches_rx,
            notify,
            members: Arc::clone(&members),
            pools: Arc::clone(&pools),
            streams: Arc::clone(&streams),
            own_topics,
            access: Arc::clone(&access),
            failure: Arc::clone(&failure),
            condition: Arc::clone(&condition),
            broker_state: Arc::clone(&broker_state),
        })?;
        let thread_name =
            if name.is_empty() { "standalone-io".into() } else { format!("{name}-io") };
        let thread = std::thread::Builder::new().name(thread_name).spawn(|| io.run())?;
        let shared = Shared {
            own_topic: topics.node(&name),
            name,
            id,
            layout: Arc::clone(&layout),
            topics,
            format,
            telemetry,
            outgoing,
            notify: nudge,
            is_nudged: Arc::clone(&is_nudged),
            received_limits,
            waker,
            members,
            pools,
            streams,
            access,
            topic_rules: Mutex::new(TopicRules::new(&layout.cluster)),
            publishes_all: layout.cluster.auto_publish_topics,
            failure,
            condition,
            broker_state,
            thread: Mutex::new(Some(thread)),
        };
        let node = Node { shared: Arc::new(shared) };
        Ok((node, Notifications { queue: notifications, is_nudged }))
    }
}

/// The queues of a node, in the order used by [`Condition`].
fn bounds(options: &ZeroMq, outbox: Limits) -> [Bound; 3] {
    let events = Bound {
        what: "events to publish",
        unit: "events",
        messages: outbox.messages,
        messages_option: None,
        bytes: outbox.bytes,
        bytes_option: "publish_queue_bytes",
    };
    let received = Bound {
        what: "events received",
        messages: options.onloop_queue_hwm as usize,
        messages_option: Some("onloop_queue_hwm"),
        bytes: clamp(options.onloop_queue_bytes),
        bytes_option: "onloop_queue_bytes",
        ..events
    };
    let batches = Bound {
        what: "log batches",
        unit: "log batches",
        messages: usize::try_from(options.log_sndhwm).unwrap_or(0),
        messages_option: Some("log_sndhwm"),
        bytes: clamp(options.log_queue_bytes),
        bytes_option: "log_queue_bytes",
    };
    [events, received, batches]
}

/// The pools of a cluster, as the node of that name sees them.
pub(crate) fn pools_of(
    layout: &Layout,
    more: &[PoolSpec],
    name: &str,
    topics: &NodeTopics,
) -> Result<Pools, PoolError> {
    let nodes = layout.nodes.iter().map(|(name, node)| (name.as_str(), node.node_type));
    let manager_is_logger = layout.cluster.manager_is_logger;
    let specs = layout.pool_specs().into_iter().chain(more.iter().cloned());
    Pools::new(specs, nodes, name, manager_is_logger, |name| topics.node(name))
}

/// What a node subscribes to at start, in Zeek's order (WIRE.md §1.7).
fn initial_topics(
    pools: &Pools,
    name: &str,
    node_type: NodeType,
    own_topics: [BString; 2],
) -> Vec<BString> {
    let mut topics: Vec<BString> = vec![topic::SUPERVISOR.into(), topic::TABLE.into()];
    topics.extend(pools.topics_of(name).map(BString::from));
    let class = match node_type {
        NodeType::Logger => Some(topic::LOGGER),
        NodeType::Manager => Some(topic::MANAGER),
        NodeType::Proxy => Some(topic::PROXY),
        NodeType::Worker => Some(topic::WORKER),
        NodeType::Control => None,
        NodeType::None => return topics,
    };
    topics.extend(class.map(BString::from));
    topics.extend(own_topics);
    topics
}

fn clamp(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Node;
    use std::net::Ipv4Addr;

    #[test]
    fn subscriptions_stand_in_zeeks_order() {
        let rows = [
            (NodeType::Worker, false, vec!["zeek.cluster.pool.worker", "zeek.cluster.worker"]),
            (NodeType::Proxy, false, vec!["zeek.cluster.pool.proxy", "zeek.cluster.proxy"]),
            (NodeType::Logger, false, vec!["zeek.cluster.pool.logger", "zeek.cluster.logger"]),
            (NodeType::Manager, false, vec!["zeek.cluster.manager"]),
            (NodeType::Manager, true, vec!["zeek.cluster.pool.logger", "zeek.cluster.manager"]),
            (NodeType::Control, false, vec![]),
        ];
        let subscriptions = |node_type, manager_is_logger| {
            let mut layout = Layout::default();
            layout.nodes.insert("n".into(), Node::new(node_type, Ipv4Addr::LOCALHOST.into()));
            layout.cluster.manager_is_logger = manager_is_logger;
            let pools = pools_of(&layout, &[], "n", &NodeTopics::default()).unwrap();
            initial_topics(&pools, "n", node_type, ["ID".into(), "NODE".into()])
        };
        for (node_type, manager_is_logger, class) in rows {
            let first = ["zeek/supervisor", "zeek/table/"];
            let expected: Vec<&str> =
                first.into_iter().chain(class).chain(["ID", "NODE"]).collect();
            assert_eq!(subscriptions(node_type, manager_is_logger), expected, "{node_type}");
        }
        assert_eq!(subscriptions(NodeType::None, false), ["zeek/supervisor", "zeek/table/"]);
    }
}
