//! Spreads log batches over the loggers, round robin (WIRE.md §4.2), or sends all to one.
//!
//! One PUSH socket per logger instead of one for all. On the wire that is the same, but it lets a
//! node stop sending to a logger that says goodbye while batches already sent to it still arrive,
//! and keeps batches from queueing up for a logger that is known to be down.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::NodeError;
use super::log_peer::{LogPeer, Remark, Terms};
use crate::access::ClientKeys;
use crate::layout::{Layout, ZeroMq};
use crate::pool;
use crate::rate_limit::RateLimit;
use crate::telemetry::{NodeMetrics, NodeSocket};
use crate::transport::{Context, CurveOptions, PollSet, SocketOptions, TransportError, Waker};

/// How often failed handshakes are logged.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);
/// How many loggers a message names when none is available.
const MAX_NAMED: usize = 3;

/// The loggers, and which is next.
pub(super) struct Fanout {
    loggers: Vec<LogPeer>,
    order: Order,
    /// Loggers of the layout that the node cannot connect to, and why not.
    out_of_reach: Vec<String>,
    /// Since when no logger is available.
    none_since: Option<Instant>,
    metrics: NodeMetrics,
    warning: RateLimit,
}

/// Which logger gets the next batch.
enum Order {
    /// The one after the last, which is at this index.
    RoundRobin { next: usize },
    /// The first that is available.
    First,
}

/// What happened to a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// It was handed over.
    Yes,
    /// No available logger has room.
    NoRoom,
    /// No logger is available. libzmq would accept the batch anyway, and it would be unknown
    /// whether a logger ever gets it.
    NobodyThere,
    /// The layout has no logger.
    NoLoggers,
}

impl Fanout {
    /// Connects to the endpoints of all log receivers. Without round robin, `node` decides which of
    /// them comes first.
    pub(super) fn new(
        context: &Context,
        layout: &Layout,
        node: &[u8],
        keys: Option<&ClientKeys>,
        metrics: &NodeMetrics,
        waker: &Arc<Waker>,
    ) -> Result<Self, TransportError> {
        let options = push_options(&layout.zeromq, layout.needs_ipv6());
        let terms = Terms {
            log_sndhwm: layout.zeromq.log_sndhwm,
            shutdown_timeout: layout.log.shutdown_timeout,
            is_encrypted: keys.is_some(),
            is_per_node: layout.has_keys_per_node(),
        };
        let (mut loggers, mut out_of_reach) = (Vec::new(), Vec::new());
        for (name, endpoint) in layout.log_routes() {
            let curve = match keys {
                None => None,
                Some(keys) => {
                    let Some(server) = keys.logger(name) else {
                        let (name, expected) = match name {
                            Some(name) => (name, "in the layout or in authorized_keys_dir"),
                            // It is not a node of the layout.
                            None => ("the logger", "servers.pub in authorized_keys_dir"),
                        };
                        log::warn!(
                            "{name} at {endpoint} gets no logs from this node: its public key is \
                             not known (expected {expected})"
                        );
                        out_of_reach
                            .push(format!("{name} at {endpoint}: its public key is not known"));
                        continue;
                    };
                    Some(CurveOptions::Client { keys: Arc::clone(keys.keys()), server })
                }
            };
            let options = SocketOptions { curve, ..options.clone() };
            let name = name.map(str::to_owned);
            loggers.push(LogPeer::connect(context, name, endpoint, &options, terms, waker)?);
        }
        let mut order = Order::RoundRobin { next: 0 };
        if !layout.cluster.enable_round_robin_logging {
            order = Order::First;
            let names: Vec<&str> = loggers.iter().map(LogPeer::id).collect();
            let preference = pool::preference(&names, node);
            let mut ranked: Vec<_> = loggers.into_iter().enumerate().collect();
            ranked.sort_by_key(|(index, _)| preference.iter().position(|other| other == index));
            loggers = ranked.into_iter().map(|(_, logger)| logger).collect();
        }
        Ok(Fanout { loggers, order, out_of_reach, ..Fanout::none(metrics) })
    }

    /// A fanout without loggers, for nodes that write logs themselves.
    pub(super) fn none(metrics: &NodeMetrics) -> Self {
        Fanout {
            loggers: Vec::new(),
            order: Order::RoundRobin { next: 0 },
            out_of_reach: Vec::new(),
            none_since: None,
            metrics: metrics.clone(),
            warning: RateLimit::new(WARNING_INTERVAL),
        }
    }

    /// Hands a batch to the next logger that accepts it. Without round robin, an available logger
    /// that has no room is waited for.
    pub(super) fn try_send(
        &mut self,
        frames: &[&[u8]; 4],
        records: u64,
    ) -> Result<Sent, TransportError> {
        let count = self.loggers.len();
        if count == 0 {
            return Ok(Sent::NoLoggers);
        }
        let mut outcome = Sent::NobodyThere;
        for turn in 0..count {
            let at = match &mut self.order {
                Order::RoundRobin { next } => {
                    let at = *next;
                    *next = (at + 1) % count;
                    at
                }
                Order::First => turn,
            };
            let logger = &mut self.loggers[at];
            if !logger.is_there() {
                continue;
            }
            if logger.try_send(frames, records)? {
                return Ok(Sent::Yes);
            }
            outcome = Sent::NoRoom;
            if matches!(self.order, Order::First) {
                break;
            }
        }
        Ok(outcome)
    }

    /// Whether the layout has no logger.
    pub(super) fn is_empty(&self) -> bool {
        self.loggers.is_empty() && self.out_of_reach.is_empty()
    }

    /// Checks whether a logger is available. Returns since when none is, although the layout has
    /// some, and a number that changes whenever [`Fanout::why_nobody`] does.
    pub(super) fn look(&mut self, now: Instant) -> (Option<Instant>, u64) {
        if self.is_empty() || self.loggers.iter().any(LogPeer::is_there) {
            self.none_since = None;
            return (None, 0);
        }
        let since = *self.none_since.get_or_insert(now);
        let mix =
            |all: u64, logger: &LogPeer| all.wrapping_mul(1_000_003).wrapping_add(logger.changes());
        (Some(since), self.loggers.iter().fold(0, mix))
    }

    /// Why no logger is available.
    pub(super) fn why_nobody(&self) -> String {
        let out_of_reach = self.out_of_reach.iter().cloned();
        let all = self.loggers.iter().map(LogPeer::why_not_there).chain(out_of_reach);
        let mut why = all.take(MAX_NAMED).collect::<Vec<_>>().join(", ");
        let count = self.loggers.len() + self.out_of_reach.len();
        if count > MAX_NAMED {
            why.push_str(&format!(", and {} more", count - MAX_NAMED));
        }
        why
    }

    /// Starts or stops sending to a logger whose node came up or went down; ignores other nodes.
    pub(super) fn set_down(&mut self, name: &str, down: bool, now: Instant) {
        self.loggers.iter_mut().for_each(|logger| logger.set_down(name, down, now));
    }

    /// Waits for connection events, and with `room` for room at any available logger; without round
    /// robin at the one that gets the next batch.
    pub(super) fn poll<'a>(&'a self, poll: &mut PollSet<'a>, room: bool) {
        let first = self.loggers.iter().position(LogPeer::is_there);
        for (index, logger) in self.loggers.iter().enumerate() {
            let may_send = match self.order {
                Order::RoundRobin { .. } => true,
                Order::First => first == Some(index),
            };
            logger.poll(poll, room && may_send);
        }
    }

    /// When there is something to report even if nothing happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.loggers.iter().filter_map(LogPeer::deadline).min()
    }

    /// Reads connection events, and logs them.
    ///
    /// # Errors
    /// Also when wrong keys keep a logger and this node from communicating, and all share the same
    /// keys.
    pub(super) fn read_connections(&mut self, now: Instant) -> Result<(), NodeError> {
        for logger in &mut self.loggers {
            while let Some(remark) = logger.read_connection(&self.metrics, now)? {
                match remark {
                    Remark::Note(line) => log::info!("{line}"),
                    Remark::Trouble(line) => log::warn!("{line}"),
                    Remark::Handshake(line) => {
                        if let Some(more) = self.warning.check(now) {
                            log::warn!("{line} ({more} more like this)");
                        }
                    }
                }
            }
        }
        let connected = self.loggers.iter().filter(|logger| logger.is_connected()).count();
        self.metrics.connections[NodeSocket::Push].set(connected as i64);
        Ok(())
    }

    /// Closes the sockets, which keep sending for `linger_ms`. Returns how many records are in
    /// flight, and may not arrive if that takes too long.
    pub(super) fn close(self, linger_ms: i32) -> u64 {
        let closed = self.loggers.into_iter().map(|logger| logger.close(linger_ms));
        let (under_way, lost) = closed.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
        self.metrics.log_records_unconfirmed.inc_by(lost);
        under_way
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
