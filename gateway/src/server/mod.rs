//! The rim of the gateway: one thread with HTTP, the connections of clients, and the node.
//!
//! The [hub](crate::hub) decides; this moves bytes. Everything runs on the thread of one
//! [`HttpServer`]: the tasks of clients, and the pump between the node and the hub. The node's own
//! thread never waits for them.

mod announce;
mod conversation;
mod files;
mod meter;
mod pump;
mod stats;
mod transport;
mod upgrade;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use zcluster::Event;
use zcluster::daemon::BROKER;
use zcluster::health::Health;
use zcluster::http::{HttpError, HttpServer, Limits, Service, routes};
use zcluster::layout::{Layout, WebSocket, WhenClientFull};
use zcluster::node::guests::{Change, Guests};
use zcluster::node::{Node, NodeError};
use zcluster::queue;
use zcluster::telemetry::{Counter, Telemetry, WebSocketMetrics};
use zcluster::topic::Signals;

use crate::access::{Access, AccessError};
use crate::hub::{Bounds, Hub, Nodes, Settings, WhenFull};
use crate::schema::Schema;
use crate::tls::{Tls, TlsError};

use meter::Budget;

pub(crate) use announce::lines;

/// How long the clients get to answer the close frame when the gateway stops.
const FAREWELL: Duration = Duration::from_millis(700);
/// The bytes of events from clients that wait for the bus.
const EVENT_QUEUE_BYTES: usize = 8 << 20;

/// Why there is no gateway.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// It cannot listen.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The node has ended.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// Files of access control cannot be used.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// Files of TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The schema file cannot be read.
    #[error("cannot read the schema file {}: {error}", path.display())]
    UnreadableSchema {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        error: io::Error,
    },
    /// The schema file has mistakes: one line each.
    #[error("{0}")]
    Schema(String),
}

/// What a gateway is made of.
pub struct Parts<'a> {
    /// The node that hosts it.
    pub node: &'a Node,
    /// The layout of the cluster.
    pub layout: &'a Layout,
    /// The options.
    pub options: &'a WebSocket,
    /// Where to count.
    pub telemetry: &'a Telemetry,
    /// What `/services.json` lists.
    pub services: Vec<Service>,
}

impl std::fmt::Debug for Parts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("options", self.options).finish_non_exhaustive()
    }
}

/// What all tasks share.
struct Shared {
    hub: Mutex<Hub>,
    guests: OnceLock<Guests>,
    /// What the node could not be told yet.
    untold: Mutex<Vec<Change>>,
    /// Something has arrived from the node.
    arrived: Notify,
    /// The node takes events of clients again.
    room: Arc<Notify>,
    /// Held by every client's task; see [`Gateway::shutdown`].
    alive: Mutex<Option<mpsc::Sender<()>>>,
    clients: AtomicUsize,
    /// What clients have sent that waits in memory.
    budget: Arc<Budget>,
    options: WebSocket,
    access: ArcSwap<Access>,
    tls: Option<Tls>,
    metrics: WebSocketMetrics,
    blocks: OnceLock<Counter>,
    on_event: Box<dyn Fn(Event) + Send + Sync>,
}

impl Shared {
    fn reload_tls(&self) -> Result<(), GatewayError> {
        let Some(tls) = &self.tls else { return Ok(()) };
        tls.reload()?;
        self.warn_of_certificate();
        Ok(())
    }

    fn warn_of_certificate(&self) {
        if let Some(warning) = self.tls.as_ref().and_then(|tls| tls.warning(SystemTime::now())) {
            log::warn!("WebSocket API: {warning}");
        }
    }

    fn hub(&self) -> MutexGuard<'_, Hub> {
        lock(&self.hub)
    }

    /// Tells the node which subscriptions have changed, and announces who came and went. Call it
    /// after whatever may change subscriptions.
    fn settle(&self) {
        let Some(guests) = self.guests.get() else { return };
        // First, so that changes are told in their order, whichever thread takes them.
        let mut untold = lock(&self.untold);
        let (change, announcements) = {
            let mut hub = self.hub();
            (hub.take_change(), hub.take_announcements())
        };
        untold.extend(change);
        while let Some(change) = untold.first() {
            // A node that has ended has no use for it.
            if matches!(guests.change(change.clone()), Err(NodeError::QueueFull)) {
                break;
            }
            untold.remove(0);
        }
        drop(untold);
        for announcement in announcements {
            let (line, event) = lines(&announcement);
            if let Err(error) = guests.log(line) {
                log::debug!("gateway: cluster.log line lost: {error}");
            }
            (self.on_event)(event);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere ends its own task only; what it left is still the best there is.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Changes who may connect to a running gateway, and what clients may do.
pub struct AccessControl {
    shared: Weak<Shared>,
}

impl std::fmt::Debug for AccessControl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AccessControl")
    }
}

impl AccessControl {
    /// Reads access again: files of tokens and certificates, and the options that can change while it runs. Clients
    /// that are still allowed what they have notice nothing; others are disconnected. Returns a
    /// summary.
    ///
    /// # Errors
    /// If a file cannot be used; nothing has changed then.
    pub fn reload(&self, options: &WebSocket) -> Result<String, GatewayError> {
        let Some(shared) = self.shared.upgrade() else { return Ok(String::new()) };
        let mut renewed = shared.options.clone();
        renewed.take_over(options);
        let access = Arc::new(Access::load(&renewed)?);
        shared.reload_tls()?;
        register(&shared.metrics, &renewed);
        let summary = access.summary();
        if *shared.access.load_full() != *access {
            shared.access.store(Arc::clone(&access));
            shared.hub().renew(&access);
            shared.settle();
        }
        Ok(summary)
    }
}

/// Reads the files that the options name, as [`Gateway::start`] would, and says what they mean: for a
/// check of the configuration. Opens no socket.
///
/// # Errors
/// What would keep the gateway from starting.
pub fn check(options: &WebSocket) -> Result<Vec<String>, GatewayError> {
    let access = Access::load(options)?;
    let tls = Tls::load(&options.tls_options)?;
    let schema = schema(options)?;
    let mut lines = vec![access.summary()];
    lines.push(match &tls {
        Some(tls) => tls.warning(SystemTime::now()).unwrap_or_else(|| "encrypted by TLS".into()),
        None => "not encrypted".into(),
    });
    if schema.is_some() {
        lines.push("events of clients are checked by the schema file".into());
    }
    Ok(lines)
}

/// A running gateway. Dropping it closes all connections.
pub struct Gateway {
    http: Option<HttpServer>,
    shared: Arc<Shared>,
    ended: mpsc::Receiver<()>,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("http", &self.http).finish_non_exhaustive()
    }
}

impl Gateway {
    /// Listens, and lets clients in. `health` is called for `/healthz` and `/readyz`; `on_event` gets
    /// the events `Cluster::websocket_client_added` and `…_lost` (WIRE.md §3.7). Neither may block.
    ///
    /// # Errors
    /// If it cannot listen, or the node has ended.
    pub fn start(
        parts: Parts<'_>,
        health: impl Fn() -> Health + Send + Sync + 'static,
        on_event: impl Fn(Event) + Send + Sync + 'static,
    ) -> Result<Self, GatewayError> {
        let Parts { node, layout, options, telemetry, services } = parts;
        let (alive, ended) = mpsc::channel();
        let shared = Arc::new(Shared {
            hub: Mutex::new(Hub::new(settings(node, layout, options)?, nodes(node, layout))),
            guests: OnceLock::new(),
            untold: Mutex::default(),
            arrived: Notify::new(),
            room: Arc::default(),
            alive: Mutex::new(Some(alive)),
            clients: AtomicUsize::new(0),
            budget: Budget::new(options),
            options: options.clone(),
            access: ArcSwap::from_pointee(Access::load(options)?),
            tls: Tls::load(&options.tls_options)?,
            metrics: telemetry.websocket().clone(),
            blocks: OnceLock::new(),
            on_event: Box::new(on_event),
        });
        register(&shared.metrics, options);
        let limits = queue::Limits {
            messages: options.max_event_queue_size as usize,
            bytes: EVENT_QUEUE_BYTES,
        };
        let (told, room) = (Arc::clone(&shared), Arc::clone(&shared.room));
        let guests = node.host(
            limits,
            move || told.arrived.notify_one(),
            // One client after the other: the room is soon taken.
            move || room.notify_one(),
        )?;
        let _ = shared.guests.set(guests);
        let sources = stats::Sources {
            node: node.name().into(),
            telemetry: telemetry.clone(),
            services: services.clone(),
            broker: services.iter().find(|s| s.node_type == BROKER).map(|s| s.address),
        };
        let work = {
            let shared = Arc::clone(&shared);
            async move {
                tokio::join!(pump::run(Arc::clone(&shared)), stats::run(shared, sources));
            }
        };
        let router = routes::metrics(telemetry.clone(), Some(services), health);
        let router = upgrade::router(router.merge(files::router()), &shared);
        let address = SocketAddr::new(options.listen_addr, options.listen_port);
        let http = HttpServer::start_with(
            address,
            router,
            http_limits(options),
            transport::Wire(Arc::clone(&shared)),
            work,
        )?;
        shared.warn_of_certificate();
        let scheme = if shared.tls.is_some() { "https" } else { "http" };
        log::info!(
            "WebSocket API and live page on {scheme}://{}/: {}",
            http.local_addr(),
            shared.access.load().summary()
        );
        let _ = shared.blocks.set(shared.metrics.blocks(http.local_addr()));
        Ok(Gateway { http: Some(http), shared, ended })
    }

    /// The address it listens on, with the port the system chose.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(HttpServer::local_addr)
    }

    /// A handle that changes access while the gateway runs.
    pub fn access_control(&self) -> AccessControl {
        AccessControl { shared: Arc::downgrade(&self.shared) }
    }

    /// How many clients are connected.
    pub fn clients(&self) -> usize {
        self.shared.clients.load(Ordering::Relaxed)
    }

    /// Closes all connections, with code 1001, and stops. Returns within two seconds.
    pub fn shutdown(self) {
        drop(self);
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        *lock(&self.shared.alive) = None;
        self.shared.hub().end();
        // Nothing is ever sent: it disconnects when the last client is gone.
        if self.ended.recv_timeout(FAREWELL) == Err(RecvTimeoutError::Timeout) {
            log::debug!("gateway: closing connections of clients that do not answer");
        }
        drop(self.http.take());
        self.shared.settle();
    }
}

fn settings(node: &Node, layout: &Layout, options: &WebSocket) -> Result<Settings, GatewayError> {
    let clamp = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let bus = &layout.zeromq;
    Ok(Settings {
        node: node.name().into(),
        id: node.id().to_string(),
        server: upgrade::SERVER.into(),
        signals: Signals::new(&bus.nodeid_topic_prefix, &bus.internal_topic_prefix),
        queue: Bounds {
            messages: options.client_queue_messages as usize,
            bytes: clamp(options.client_queue_bytes),
        },
        when_full: match options.when_full {
            WhenClientFull::Close => WhenFull::Close,
            WhenClientFull::DropOldest => WhenFull::DropOldest,
        },
        max_subscriptions: options.max_subscriptions as usize,
        // While one set of prefixes replaces another, the broker has both. The node needs some, too.
        max_prefixes: (layout.broker.max_subscriptions as usize).div_ceil(4),
        max_prefix_length: layout.broker.max_subscription_length as usize,
        max_message_bytes: clamp(options.max_message_size),
        max_bus_bytes: bus.max_message_size,
        replay: Bounds {
            messages: options.replay_events as usize,
            bytes: clamp(options.replay_bytes),
        },
        resume_timeout: options.resume_timeout,
        schema: schema(options)?,
    })
}

/// Creates the series of the applications that have credentials.
fn register(metrics: &WebSocketMetrics, options: &WebSocket) {
    let proven =
        options.applications.iter().filter(|(_, application)| application.has_credentials());
    for (name, _) in proven {
        metrics.proven(name);
    }
}

/// Reads the schema file, if there is one.
fn schema(options: &WebSocket) -> Result<Option<Arc<Schema>>, GatewayError> {
    let Some(path) = &options.schema_file else { return Ok(None) };
    let text = std::fs::read_to_string(path)
        .map_err(|error| GatewayError::UnreadableSchema { path: path.clone(), error })?;
    let schema = Schema::parse(&text).map_err(|errors| {
        let lines: Vec<String> =
            errors.iter().map(|error| format!("{}:{error}", path.display())).collect();
        GatewayError::Schema(lines.join("\n"))
    })?;
    Ok(Some(Arc::new(schema)))
}

/// The nodes of the layout. Which others are up, the node tells.
fn nodes(node: &Node, layout: &Layout) -> Nodes {
    let entry = |(name, other): (&String, &zcluster::layout::Node)| {
        let id = (name == node.name()).then(|| node.id().to_string());
        (name.clone(), (other.node_type.as_str(), id))
    };
    Nodes::new(layout.nodes.iter().map(entry).collect())
}

/// What one client may make the server hold until it has become a WebSocket.
fn http_limits(options: &WebSocket) -> Limits {
    // The limit on stalled writes stays with the connection. Pings notice such clients sooner.
    let pings = 3 * options.ping_interval;
    let stalled = if options.ping_interval.is_zero() { Duration::from_secs(3600) } else { pings };
    Limits {
        connections: 256,
        next_request: options.handshake_timeout,
        stalled_write: stalled.max(Duration::from_secs(10)),
        ..Limits::default()
    }
}
