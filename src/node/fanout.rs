//! Spreads log batches over the loggers, round robin (WIRE.md §4.2).
//!
//! One PUSH socket per logger instead of one for all. On the wire that is the same, but it lets a
//! node stop sending to a logger that says goodbye while what is under way to it still arrives,
//! and keeps batches from queueing up for a logger that is known to be down.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{NodeError, handshake};
use crate::access::ClientKeys;
use crate::layout::{Layout, ZeroMq};
use crate::rate_limit::RateLimit;
use crate::telemetry::{NodeMetrics, NodeSocket};
use crate::transport::{
    ConnectionEventKind, Context, CurveOptions, Interest, Monitor, PollSet, Socket, SocketKind,
    SocketOptions, TransportError,
};

/// How often failed handshakes are told.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

struct Logger {
    /// The node behind the endpoint, where the layout says so.
    name: Option<String>,
    monitor: Monitor,
    socket: Socket,
    connected: bool,
    was_connected: bool,
    /// It said goodbye, or died, and has not greeted since.
    down: bool,
}

/// The loggers and whose turn it is.
pub(super) struct Fanout {
    loggers: Vec<Logger>,
    next: usize,
    is_encrypted: bool,
    /// Nodes have keys of their own, and a logger is a node like others: its refusal ends no other.
    is_per_node: bool,
    metrics: NodeMetrics,
    warning: RateLimit,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// It is on its way.
    Yes,
    /// No logger has room, or all are down.
    NoRoom,
    /// The layout names no logger.
    NoLoggers,
}

impl Fanout {
    /// Connects to the endpoints of all log receivers.
    pub(super) fn new(
        context: &Context,
        layout: &Layout,
        keys: Option<&ClientKeys>,
        metrics: &NodeMetrics,
    ) -> Result<Self, TransportError> {
        let options = push_options(&layout.zeromq, layout.needs_ipv6());
        let mut loggers = Vec::new();
        for endpoint in layout.connect_log_endpoints() {
            let name = layout
                .log_receivers()
                .map(|(name, _)| name.to_owned())
                .find(|name| layout.listen_log_endpoint(name).as_ref() == Some(&endpoint));
            let curve = match keys {
                None => None,
                Some(keys) => {
                    let Some(server) = keys.logger(name.as_deref()) else {
                        let (name, expected) = match &name {
                            Some(name) => {
                                (name.as_str(), "in the layout or in authorized_keys_dir")
                            }
                            // It is no node of the layout.
                            None => ("the logger", "servers.pub in authorized_keys_dir"),
                        };
                        log::warn!(
                            "{name} at {endpoint} gets no logs from this node: its public key is \
                             not known (expected {expected})"
                        );
                        continue;
                    };
                    Some(CurveOptions::Client { keys: Arc::clone(keys.keys()), server })
                }
            };
            let options = SocketOptions { curve, ..options.clone() };
            let socket = Socket::new(context, SocketKind::Push, &options)?;
            let monitor = Monitor::new(context, &socket)?;
            socket.connect(&endpoint)?;
            loggers.push(Logger {
                name,
                monitor,
                socket,
                connected: false,
                was_connected: false,
                down: false,
            });
        }
        let (is_encrypted, is_per_node) = (keys.is_some(), layout.has_keys_per_node());
        Ok(Fanout { loggers, is_encrypted, is_per_node, ..Fanout::none(metrics) })
    }

    /// A fanout to nobody, for nodes that write logs themselves.
    pub(super) fn none(metrics: &NodeMetrics) -> Self {
        Fanout {
            loggers: Vec::new(),
            next: 0,
            is_encrypted: false,
            is_per_node: false,
            metrics: metrics.clone(),
            warning: RateLimit::new(WARNING_INTERVAL),
        }
    }

    /// Hands a batch to the next logger that takes it.
    pub(super) fn try_send(&mut self, frames: &[&[u8]; 4]) -> Result<Sent, TransportError> {
        if self.loggers.is_empty() {
            return Ok(Sent::NoLoggers);
        }
        for _ in 0..self.loggers.len() {
            let logger = &self.loggers[self.next];
            self.next = (self.next + 1) % self.loggers.len();
            if !logger.down && logger.socket.try_send(frames)? {
                return Ok(Sent::Yes);
            }
        }
        Ok(Sent::NoRoom)
    }

    /// A node came up or went down: if it is a logger, start or stop sending to it.
    pub(super) fn set_down(&mut self, name: &str, down: bool) {
        for logger in &mut self.loggers {
            if logger.name.as_deref() == Some(name) {
                logger.down = down;
            }
        }
    }

    /// Waits for room at any logger that may be sent to.
    pub(super) fn poll_room<'a>(&'a self, poll: &mut PollSet<'a>) {
        for logger in self.loggers.iter().filter(|logger| !logger.down) {
            poll.add(&logger.socket, Interest::Writable);
        }
    }

    /// Waits for news of connections.
    pub(super) fn poll_connections<'a>(&'a self, poll: &mut PollSet<'a>) {
        for logger in &self.loggers {
            poll.add_monitor(&logger.monitor);
        }
    }

    /// Takes in news of connections, for the metrics.
    ///
    /// # Errors
    /// Also when a logger and this node cannot talk for their keys, and all share them.
    pub(super) fn read_connections(&mut self, now: Instant) -> Result<(), NodeError> {
        for logger in &mut self.loggers {
            while let Some(event) = logger.monitor.try_next()? {
                match event.kind {
                    ConnectionEventKind::HandshakeSucceeded => {
                        logger.connected = true;
                        if std::mem::replace(&mut logger.was_connected, true) {
                            self.metrics.reconnects[NodeSocket::Push].inc();
                        }
                    }
                    ConnectionEventKind::Disconnected => logger.connected = false,
                    _ => {
                        if event.handshake_fault().is_some() {
                            self.metrics.handshakes_failed[NodeSocket::Push].inc();
                        }
                        let name = logger.name.as_deref().unwrap_or("the logger");
                        let line = match handshake::look_at(&event, name, self.is_encrypted) {
                            Err(refused) if self.is_per_node => Some(refused.to_string()),
                            outcome => outcome?,
                        };
                        if let Some(line) = line
                            && let Some(more) = self.warning.check(now)
                        {
                            log::warn!("{line} ({more} more like this)");
                        }
                    }
                }
            }
        }
        let connected = self.loggers.iter().filter(|logger| logger.connected).count();
        self.metrics.connections[NodeSocket::Push].set(connected as i64);
        Ok(())
    }

    /// How long closed sockets go on sending.
    pub(super) fn set_linger(&self, milliseconds: i32) -> Result<(), TransportError> {
        self.loggers.iter().try_for_each(|logger| logger.socket.set_linger(milliseconds))
    }
}

fn push_options(options: &ZeroMq, ipv6: bool) -> SocketOptions {
    SocketOptions {
        ipv6,
        linger_ms: options.linger_ms,
        send_hwm: Some(options.log_sndhwm),
        send_buffer: Some(options.log_sndbuf),
        immediate: options.log_immediate,
        ..SocketOptions::default()
    }
}
