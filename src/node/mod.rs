//! A running node: joins the bus, greets the others, publishes, subscribes, and sends logs.
//!
//! One I/O thread per node owns all its sockets (`io`). The application holds a [`Node`], a handle
//! that can be cloned and moved between threads, and one [`Notifications`] receiver. Between them
//! are bounded queues:
//!
//! | queue | bound | when full |
//! |---|---|---|
//! | events to publish | 10,000 and `publish_queue_bytes` | the event is dropped and counted, as in Zeek |
//! | events received | `onloop_queue_hwm` and `onloop_queue_bytes` | the event is dropped and counted |
//! | log batches to send | `log_sndhwm` and `log_queue_bytes` | `log_hwm_action` |
//!
//! A node can also host a gateway for programs that do not speak ZeroMQ: see [`guests`].
//!
//! Membership changes and commands use a separate lane of the same queues, which bulk data cannot
//! fill.
//!
//! If the layout or [`Builder::client_keys`] provides keys, the node encrypts. Missing keys are an
//! error of [`Builder::start`]. If a peer rejects them, that shows later: the notifications end,
//! and [`Node::take_failure`] returns [`NodeError::Refused`] with the peer and the cause.
//!
//! [`Node::health`] returns what is wrong with a node just now, if anything: `/healthz` and
//! `/readyz` of the daemons use it.
//!
//! ```no_run
//! use zcluster::node::{Node, Notification};
//! use zcluster::{Event, Value};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let loaded = zcluster::layout::load("cluster-layout.toml", |name| std::env::var(name).ok())?;
//! let (node, notifications) = Node::builder(loaded.layout, "worker-1").start()?;
//! node.subscribe("demo.")?;
//! while let Some(notification) = notifications.receive() {
//!     match notification {
//!         Notification::NodeUp { name, .. } => {
//!             node.publish("demo.greetings", &Event::new("Demo::hello", vec![Value::from(name)]))?;
//!         }
//!         Notification::Event(received) => println!("{:?}", received.decode()?),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod broker;
mod builder;
mod bus;
pub mod client;
mod condition;
mod fanout;
pub mod guests;
mod handshake;
mod identity;
mod inquiry;
mod io;
mod local_logs;
mod log_peer;
mod log_pump;
mod log_stream;
mod notification;
mod outage;
mod outbox;
mod subscriptions;
pub(crate) mod topic_rules;
mod under_way;
mod watch;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bstr::{BStr, BString};

pub use broker::{BrokerNews, BrokerState, PeerFault};
pub use builder::Builder;
#[cfg(feature = "app")]
pub(crate) use builder::pools_of;
#[cfg(feature = "logging")]
pub(crate) use log_stream::MAX_BATCH_BYTES;
pub use log_stream::{LogError, LogStream};
pub use notification::{Notification, Notifications, ReceiveError, ReceivedEvent};

use crate::access::{AccessCell, KeyError};
use crate::event::{EventError, ToEvent};
use crate::health::Health;
use crate::layout::Layout;
use crate::pool::{PoolError, Pools};
use crate::queue::{self, Limits, Rejected};
use crate::telemetry::Telemetry;
use crate::topic::{NodeId, NodeTopics};
use crate::transport::{TransportError, Waker};
use crate::wire::event_format::EventFormat;
use crate::wire::zeek_bin::{Limits as RecordLimits, LogSchema, SchemaError};

use condition::Condition;
use guests::{Change, Desk};
use log_stream::Streams;
use topic_rules::TopicRules;

/// Why a node does not start, or an operation on it fails.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The layout has no node of that name.
    #[error("'{name}' is not a valid node in the layout; it has: {known}")]
    UnknownNode {
        /// The requested name.
        name: String,
        /// The nodes of the layout.
        known: String,
    },
    /// The keys of the node are missing or wrong.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The broker or a logger and this node cannot communicate: one of them has wrong keys.
    #[error("cannot talk to {peer}: {why}")]
    Refused {
        /// The peer, and its address.
        peer: String,
        /// The most likely cause.
        why: &'static str,
    },
    /// Another live process runs under the name of the node.
    #[error(
        "node '{name}' is up already: the process with id {id} answers under that name; stop it \
         first, or start this one under another name"
    )]
    NameTaken {
        /// The name.
        name: String,
        /// The id of that process, with its host and its pid.
        id: NodeId,
    },
    /// A socket could not be opened or configured.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The system refused a thread or a file descriptor.
    #[error("cannot start the node's I/O thread: {0}")]
    System(#[from] std::io::Error),
    /// A log stream with an unusable schema.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The pools do not fit the nodes of the layout.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// A typed event with an argument that Zeek has no type for.
    #[error(transparent)]
    Event(#[from] EventError),
    /// The process does not let itself publish to the topic.
    #[error(
        "'{topic}' is not a topic that this process publishes: `auto_publish_topics` is off, and \
         neither `publish_topics` nor the program names it"
    )]
    NotPublished {
        /// The topic.
        topic: BString,
    },
    /// The I/O thread is behind.
    #[error("the queue to the node's I/O thread is full")]
    QueueFull,
    /// The node has been shut down.
    #[error("the node has been shut down")]
    Closed,
}

/// A request of the application to the I/O thread. Publications are bulk; everything else is
/// control.
#[derive(Debug)]
enum Outgoing {
    Publish {
        topic: BString,
        payload: Vec<u8>,
    },
    Subscribe(BString),
    Unsubscribe(BString),
    /// Serve the guests of a gateway.
    Host(Box<Desk>),
    /// Change what they subscribe to.
    Guests(Change),
    /// Write a line of `cluster.log`.
    ClusterLog(String),
    /// Say goodbye: peers see this node down, while its sockets stay open.
    Leave,
    /// Send what is waiting, until the deadline, and end.
    Shutdown {
        deadline: Instant,
    },
}

/// How long a logger that has said goodbye must receive nothing before it closes its connections. A
/// connection that ends sooner has not ended in good order.
pub const FAREWELL_QUIET: Duration = Duration::from_millis(300);

/// What a node did not send before it ended, or sent without knowing that it arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unsent {
    /// Events that were discarded.
    pub events: u64,
    /// Log records that no logger accepted.
    pub records: u64,
    /// Those of them that the node itself wrote: lines of `cluster.log`.
    pub own_records: u64,
    /// The most log records since the node started that were sent but may not have arrived, because
    /// the connection to their logger was lost soon after or was too slow at the end. An upper
    /// bound, since loggers acknowledge nothing.
    pub unconfirmed: u64,
}

/// A log batch on its way to the loggers.
#[derive(Debug)]
struct LogBatch {
    payload: Vec<u8>,
    records: u64,
    /// Whether they are lines of `cluster.log`, which the node itself writes.
    is_own: bool,
}

/// What handles and the I/O thread share.
struct Shared {
    name: String,
    id: NodeId,
    layout: Arc<Layout>,
    topics: NodeTopics,
    own_topic: BString,
    format: EventFormat,
    telemetry: Telemetry,
    outgoing: queue::Sender<Outgoing>,
    /// To the application, as the I/O thread does, which closes the queue when it ends.
    notify: queue::WeakSender<Notification>,
    /// Whether it waits there already.
    is_nudged: Arc<AtomicBool>,
    /// Bounds of a queue of received events.
    received_limits: Limits,
    waker: Arc<Waker>,
    members: Arc<Mutex<BTreeMap<String, NodeId>>>,
    pools: Arc<Mutex<Pools>>,
    streams: Arc<Streams>,
    access: Arc<AccessCell>,
    topic_rules: Mutex<TopicRules>,
    /// Whether every topic may be published, without a look at the rules.
    publishes_all: bool,
    failure: Arc<Mutex<Option<NodeError>>>,
    condition: Arc<Condition>,
    broker_state: Arc<Mutex<BrokerState>>,
    thread: Mutex<Option<JoinHandle<Unsent>>>,
}

/// A handle to a running node. Clones share the node; it ends with [`Node::shutdown`], or when the
/// last handle and every [`LogStream`] have been dropped.
#[derive(Clone)]
pub struct Node {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("name", &self.shared.name)
            .field("id", &self.shared.id)
            .finish()
    }
}

impl Node {
    /// Returns a builder for the node of that name in the layout.
    pub fn builder(layout: impl Into<Arc<Layout>>, name: impl Into<String>) -> Builder {
        Builder::new(layout.into(), name.into())
    }

    /// Returns a builder for a process that is no node of the layout, as Zeek 9 allows: it publishes,
    /// subscribes and logs, but greets nobody, so that nodes do not notice it, and it knows of none.
    /// Its name is empty. Where each node has its own key, it has the
    /// [operator's](crate::layout::CurveKeys::OPERATOR).
    ///
    /// [`client`] does the same without a thread of its own, and without logs.
    pub fn standalone(layout: impl Into<Arc<Layout>>) -> Builder {
        Builder::new(layout.into(), String::new())
    }

    /// The name of this node; empty for a [standalone](Node::standalone) process.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The id of this process, new with each start.
    pub fn id(&self) -> &NodeId {
        &self.shared.id
    }

    /// The layout of the cluster, as it was at the start of this node.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.shared.layout
    }

    /// The topics of single nodes, with the prefixes of the layout.
    pub fn topics(&self) -> &NodeTopics {
        &self.shared.topics
    }

    /// The topic of this node, whichever process runs it.
    pub fn own_topic(&self) -> &BStr {
        self.shared.own_topic.as_ref()
    }

    /// The metrics of this node.
    pub fn telemetry(&self) -> &Telemetry {
        &self.shared.telemetry
    }

    /// Publishes an event, [typed](crate::TypedEvent) or not. Does not wait for the bus; it blocks only until the I/O thread has
    /// accepted the event.
    ///
    /// Events published before the bus has answered for the first time, or while it has no room,
    /// wait in the node. Beyond 10,000 of them, or `publish_queue_bytes`, further events are
    /// dropped and counted as `zeek_cluster_zeromq_xpub_drops_total`. Success means that the event
    /// was queued, not that it was received; events without a subscriber are discarded (WIRE.md
    /// §1.2).
    ///
    /// # Errors
    /// [`NodeError::Closed`] after shutdown; [`NodeError::Event`] when an argument of a typed event
    /// has no form in Zeek; [`NodeError::NotPublished`], counted as
    /// `zcluster_publish_forbidden_total`, when the process does not let itself publish to the topic.
    /// The event is then not published.
    pub fn publish(
        &self,
        topic: impl AsRef<[u8]>,
        event: &(impl ToEvent + ?Sized),
    ) -> Result<(), NodeError> {
        let (publication, bytes) = self.encode(topic.as_ref(), event)?;
        self.shared.outgoing.send(publication, bytes).map_err(|rejected| refused(&rejected))
    }

    /// Publishes an event like [`Node::publish`], but fails instead of waiting for the I/O thread.
    /// Does not block.
    ///
    /// # Errors
    /// [`NodeError::QueueFull`], counted as `zcluster_publish_rejected_total`, and those of
    /// [`Node::publish`].
    pub fn try_publish(
        &self,
        topic: impl AsRef<[u8]>,
        event: &(impl ToEvent + ?Sized),
    ) -> Result<(), NodeError> {
        let (publication, bytes) = self.encode(topic.as_ref(), event)?;
        let answer = self
            .shared
            .outgoing
            .try_send(publication, bytes)
            .map_err(|rejected| refused(&rejected));
        if matches!(answer, Err(NodeError::QueueFull)) {
            self.shared.telemetry.node().publish_rejected.inc();
        }
        answer
    }

    fn encode(
        &self,
        topic: &[u8],
        event: &(impl ToEvent + ?Sized),
    ) -> Result<(Outgoing, usize), NodeError> {
        if !self.shared.publishes_all && !lock(&self.shared.topic_rules).may_publish(topic) {
            self.shared.telemetry.node().publish_forbidden.inc();
            return Err(NodeError::NotPublished { topic: topic.into() });
        }
        let mut payload = Vec::with_capacity(256);
        self.shared.format.encode(&*event.to_event()?, &mut payload);
        self.shared.telemetry.node().outgoing_events.inc();
        let bytes = topic.len() + payload.len();
        Ok((Outgoing::Publish { topic: topic.into(), payload }, bytes))
    }

    /// Publishes an event to the next live member of a pool, in turn; `false` if none is alive.
    /// Each `key` has its own turns. Blocks like [`Node::publish`].
    ///
    /// # Errors
    /// As [`Node::publish`].
    pub fn publish_rr(
        &self,
        pool: &str,
        key: &[u8],
        event: &(impl ToEvent + ?Sized),
    ) -> Result<bool, NodeError> {
        self.publish_to(self.rr_topic(pool, key), event)
    }

    /// Publishes an event to the live member of a pool that rendezvous hashing maps a key to;
    /// `false` if none is alive. [`crate::pool::hash_key`] creates keys as Zeek does. Blocks like
    /// [`Node::publish`].
    ///
    /// # Errors
    /// As [`Node::publish`].
    pub fn publish_hrw(
        &self,
        pool: &str,
        key: &[u8],
        event: &(impl ToEvent + ?Sized),
    ) -> Result<bool, NodeError> {
        self.publish_to(self.hrw_topic(pool, key), event)
    }

    fn publish_to(
        &self,
        topic: Option<BString>,
        event: &(impl ToEvent + ?Sized),
    ) -> Result<bool, NodeError> {
        topic.map_or(Ok(false), |topic| self.publish(topic, event).map(|()| true))
    }

    /// The topic of the next live member of a pool, in turn (`Cluster::rr_topic`); `None` if none is
    /// alive. It may be this node's own: what a node publishes does not come back to it.
    pub fn rr_topic(&self, pool: &str, key: &[u8]) -> Option<BString> {
        lock(&self.shared.pools).rr_topic(pool, key)
    }

    /// The topic of the live member of a pool that rendezvous hashing maps a key to
    /// (`Cluster::hrw_topic`); `None` if none is alive.
    pub fn hrw_topic(&self, pool: &str, key: &[u8]) -> Option<BString> {
        lock(&self.shared.pools).hrw_topic(pool, key)
    }

    /// Subscribes to all topics that start with these bytes. Does not block. Subscriptions are
    /// counted: it takes as many calls of [`Node::unsubscribe`] to end one.
    ///
    /// A subscription to the topic of a process by its id would announce that process to all nodes, and
    /// hide its end from them. So a shorter prefix is sent in its place, and only what was wanted is
    /// delivered.
    ///
    /// # Errors
    /// [`NodeError::Closed`] after shutdown, [`NodeError::QueueFull`] when thousands of such
    /// requests wait.
    pub fn subscribe(&self, prefix: impl Into<BString>) -> Result<(), NodeError> {
        let prefix = prefix.into();
        let mut rules = lock(&self.shared.topic_rules);
        if rules.is_hidden(&prefix) {
            log::warn!(
                "nothing of the subscription to '{prefix}' is shown to others: \
                 `auto_advertise_topics` is off, and no advertised topic begins like it"
            );
        }
        let changes = rules.subscribe(prefix);
        self.show(changes)
    }

    /// Ends a subscription. Does not block.
    ///
    /// # Errors
    /// As [`Node::subscribe`].
    pub fn unsubscribe(&self, prefix: impl Into<BString>) -> Result<(), NodeError> {
        // The lock makes others see changes in the order in which they are made.
        let mut rules = lock(&self.shared.topic_rules);
        let changes = rules.unsubscribe(prefix.into());
        self.show(changes)
    }

    /// Lets this process publish to a topic, to the letter, where `auto_publish_topics` is off
    /// (`Broker::publish_topic`); `false` if it was allowed before.
    pub fn publish_topic(&self, topic: impl Into<BString>) -> bool {
        lock(&self.shared.topic_rules).publish_topic(topic.into())
    }

    /// Withdraws that (`Broker::unpublish_topic`); `false` if there was nothing to withdraw.
    pub fn unpublish_topic(&self, topic: impl AsRef<[u8]>) -> bool {
        lock(&self.shared.topic_rules).unpublish_topic(topic.as_ref())
    }

    /// Lets others see this process's subscriptions to topics with that prefix, where
    /// `auto_advertise_topics` is off (`Broker::advertise_topic`); `false` if they were allowed before.
    /// Of a subscription to a shorter prefix, others see the part that is allowed. Does not block.
    ///
    /// # Errors
    /// As [`Node::subscribe`].
    pub fn advertise_topic(&self, prefix: impl Into<BString>) -> Result<bool, NodeError> {
        let mut rules = lock(&self.shared.topic_rules);
        let changes = rules.advertise_topic(prefix.into());
        changes.map_or(Ok(false), |changes| self.show(changes).map(|()| true))
    }

    /// Withdraws that (`Broker::unadvertise_topic`); `false` if there was nothing to withdraw. Does not
    /// block.
    ///
    /// # Errors
    /// As [`Node::subscribe`].
    pub fn unadvertise_topic(&self, prefix: impl AsRef<[u8]>) -> Result<bool, NodeError> {
        let mut rules = lock(&self.shared.topic_rules);
        let changes = rules.unadvertise_topic(prefix.as_ref());
        changes.map_or(Ok(false), |changes| self.show(changes).map(|()| true))
    }

    fn show(&self, changes: Vec<topic_rules::Change>) -> Result<(), NodeError> {
        changes.into_iter().try_for_each(|change| {
            self.command(match change {
                topic_rules::Change::Subscribe(prefix) => Outgoing::Subscribe(prefix),
                topic_rules::Change::Unsubscribe(prefix) => Outgoing::Unsubscribe(prefix),
            })
        })
    }

    /// Opens a log stream to the loggers of the layout.
    ///
    /// # Errors
    /// When the schema has no fields, or invalid names.
    pub fn log(&self, schema: LogSchema) -> Result<LogStream, NodeError> {
        self.log_within(schema, RecordLimits::default())
    }

    /// The same with other limits of a record.
    pub(crate) fn log_within(
        &self,
        schema: LogSchema,
        limits: RecordLimits,
    ) -> Result<LogStream, NodeError> {
        LogStream::open(&self.shared.streams, Some(Arc::clone(&self.shared)), schema, limits)
    }

    /// The nodes that are up, without this one: names to ids.
    pub fn members(&self) -> BTreeMap<String, NodeId> {
        lock(&self.shared.members).clone()
    }

    /// What is wrong with the node just now: no connection to the broker, a bus that does not
    /// answer, no logger that accepts its logs, a queue near its limit; also that it is stopping,
    /// or has ended. Does not block.
    ///
    /// [`Health::is_ready`] turns true once the bus has answered for the first time and a logger is
    /// available, if the layout has any.
    pub fn health(&self) -> Health {
        self.shared.condition.health(Instant::now())
    }

    /// The state of the connection to the broker. Changes are
    /// [`Notification::Broker`], which may be a moment later. Does not block.
    pub fn broker_state(&self) -> BrokerState {
        *lock(&self.shared.broker_state)
    }

    /// The rules that received events are checked against; replace them when the layout has
    /// changed.
    pub fn access(&self) -> &Arc<AccessCell> {
        &self.shared.access
    }

    /// Why the node has ended by itself, if it has: [`Notifications`] have then ended, too. Returns
    /// it once.
    pub fn take_failure(&self) -> Option<NodeError> {
        lock(&self.shared.failure).take()
    }

    /// Says goodbye: every peer sees this node down, but its sockets stay open. A logger does this
    /// before it stops, so that producers switch to other loggers.
    ///
    /// # Errors
    /// As [`Node::subscribe`].
    pub fn leave(&self) -> Result<(), NodeError> {
        self.command(Outgoing::Leave)
    }

    /// Sends queued events and logs for up to `patience`, and ends the node. Blocks until then.
    /// What could not be sent is counted, logged, and returned; further calls return nothing.
    pub fn shutdown(&self, patience: Duration) -> Unsent {
        let deadline = later(Instant::now(), patience);
        // An error means that it has ended already.
        let _ = self.command(Outgoing::Shutdown { deadline });
        let Some(thread) = lock(&self.shared.thread).take() else { return Unsent::default() };
        thread.join().unwrap_or_else(|_| {
            log::error!("the node's I/O thread panicked");
            Unsent::default()
        })
    }

    /// Writes a line of `cluster.log` (WIRE.md §5.10). Does not block.
    ///
    /// # Errors
    /// As [`Node::subscribe`].
    pub fn cluster_log(&self, line: impl Into<String>) -> Result<(), NodeError> {
        self.command(Outgoing::ClusterLog(line.into()))
    }

    /// Whether the node has ended, by itself or by [`Node::shutdown`].
    pub fn has_ended(&self) -> bool {
        lock(&self.shared.thread).as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Makes [`Notification::Nudged`] appear among the notifications, to interrupt a thread that waits
    /// for them. Does not block.
    ///
    /// # Errors
    /// As [`Node::subscribe`].
    pub fn nudge(&self) -> Result<(), NodeError> {
        // Not by way of the I/O thread, which may be asleep.
        if self.shared.is_nudged.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.shared.notify.send_control(Notification::Nudged).map_err(|rejected| {
            self.shared.is_nudged.store(false, Ordering::Release);
            refused(&rejected)
        })
    }

    fn command(&self, command: Outgoing) -> Result<(), NodeError> {
        self.shared.outgoing.send_control(command).map_err(|rejected| refused(&rejected))
    }
}

fn refused<T>(rejected: &Rejected<T>) -> NodeError {
    match rejected {
        Rejected::Full(_) => NodeError::QueueFull,
        Rejected::Closed(_) => NodeError::Closed,
    }
}

/// `now` plus `span`, capped at a year.
pub(crate) fn later(now: Instant, span: Duration) -> Instant {
    const A_YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    now + span.min(A_YEAR)
}

/// Locks data that a panic elsewhere cannot leave half changed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
