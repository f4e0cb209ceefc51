//! The node's two sockets on the bus, XPUB and XSUB (WIRE.md §1.1), and what flows over them.
//!
//! Knows subscriptions and frames; knows nothing of membership or the application.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bstr::BString;

use super::{NodeError, handshake};
use crate::access::ClientKeys;
use crate::layout::{Layout, ZeroMq};
use crate::rate_limit::RateLimit;
use crate::telemetry::{EventFault, NodeMetrics, NodeSocket};
use crate::topic::NodeId;
use crate::transport::{
    ConnectionEventKind, Context, CurveOptions, HandshakeFault, Interest, Monitor, PollSet,
    Received, SUBSCRIPTION_HWM, Socket, SocketKind, SocketOptions, TransportError,
};
use crate::wire::event_format::EventFormat;
use crate::wire::frames::{EventMessage, SubscriptionMessage};

/// Prefixes remembered as subscribed by somebody. Far beyond any cluster; a peer that subscribes
/// to more is not told apart from one that repeats itself.
const MAX_KNOWN_PREFIXES: usize = 100_000;
/// Longer prefixes are nobody's topic and are not remembered.
const MAX_KNOWN_PREFIX_LEN: usize = 1024;

/// How often each kind of trouble is told.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// News of a connection to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Up,
    Down,
}

/// What is known of a connection.
#[derive(Clone, Copy, Debug, Default)]
struct LinkState {
    up: bool,
    was_up: bool,
    /// Why its last handshake failed, unless that was taken in already.
    fault: Option<HandshakeFault>,
}

/// A change of the subscriptions that the own XPUB shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SubscriptionChange {
    /// `new` where no one was known to have it.
    Subscribed {
        prefix: BString,
        new: bool,
    },
    Unsubscribed {
        prefix: BString,
    },
}

struct Warnings {
    parts: RateLimit,
    format: RateLimit,
    xpub_drop: RateLimit,
    handshake: RateLimit,
}

/// Both sockets.
pub(super) struct Bus {
    id: NodeId,
    metrics: NodeMetrics,
    // Monitors before their sockets: they are dropped in this order.
    xpub_monitor: Monitor,
    xsub_monitor: Monitor,
    xpub: Socket,
    xsub: Socket,
    /// Own subscriptions and how often each was asked for. On the wire each stands once: a second
    /// one would never be taken back (WIRE.md §1.4).
    own: BTreeMap<BString, usize>,
    /// Prefixes that somebody has subscribed to.
    known: HashSet<BString>,
    /// The connections of the XPUB and the XSUB.
    links: [LinkState; 2],
    /// Where they lead.
    endpoints: [String; 2],
    is_encrypted: bool,
    warnings: Warnings,
}

impl Bus {
    pub(super) fn connect(
        context: &Context,
        layout: &Layout,
        keys: Option<&ClientKeys>,
        id: NodeId,
        metrics: NodeMetrics,
    ) -> Result<Self, TransportError> {
        let options = &layout.zeromq;
        let ipv6 = layout.needs_ipv6();
        let curve = keys.map(|keys| CurveOptions::Client {
            keys: Arc::clone(keys.keys()),
            server: keys.broker(),
        });
        let with_curve = |options| SocketOptions { curve: curve.clone(), ..options };
        let xpub_options = with_curve(xpub_options(options, ipv6));
        let xsub_options = with_curve(xsub_options(options, ipv6));
        let xpub = Socket::new(context, SocketKind::Xpub, &xpub_options)?;
        let xsub = Socket::new(context, SocketKind::Xsub, &xsub_options)?;
        let xpub_monitor = Monitor::new(context, &xpub)?;
        let xsub_monitor = Monitor::new(context, &xsub)?;
        let endpoints = [layout.connect_xpub_endpoint(), layout.connect_xsub_endpoint()];
        xpub.connect(&endpoints[0])?;
        xsub.connect(&endpoints[1])?;
        let limit = || RateLimit::new(WARNING_INTERVAL);
        Ok(Bus {
            id,
            metrics,
            xpub_monitor,
            xsub_monitor,
            xpub,
            xsub,
            own: BTreeMap::new(),
            known: HashSet::new(),
            links: [LinkState::default(); 2],
            endpoints,
            is_encrypted: curve.is_some(),
            warnings: Warnings {
                parts: limit(),
                format: limit(),
                xpub_drop: limit(),
                handshake: limit(),
            },
        })
    }

    /// Adds what the I/O thread waits for. Room on the XPUB cannot be waited for: libzmq says of
    /// publishers that they can always be written to.
    pub(super) fn poll<'a>(&'a self, poll: &mut PollSet<'a>) {
        poll.add_monitor(&self.xpub_monitor);
        poll.add_monitor(&self.xsub_monitor);
        poll.add(&self.xpub, Interest::Readable);
        poll.add(&self.xsub, Interest::Readable);
    }

    /// Subscribes, unless this node has subscribed to it already.
    pub(super) fn subscribe(&mut self, prefix: BString) -> Result<(), TransportError> {
        if !self.own.contains_key(&prefix) {
            self.xsub.try_send(&[SubscriptionMessage::Subscribe(&prefix).encode()])?;
        }
        *self.own.entry(prefix).or_default() += 1;
        Ok(())
    }

    /// Takes one subscription back; the last one of a prefix ends it.
    pub(super) fn unsubscribe(&mut self, prefix: &BString) -> Result<(), TransportError> {
        let Some(count) = self.own.get_mut(prefix) else { return Ok(()) };
        *count -= 1;
        if *count == 0 {
            self.own.remove(prefix);
            self.xsub.try_send(&[SubscriptionMessage::Unsubscribe(prefix).encode()])?;
        }
        Ok(())
    }

    /// Sends an event; `false` when there is no room for it.
    pub(super) fn try_publish(
        &mut self,
        topic: &[u8],
        format: EventFormat,
        payload: &[u8],
    ) -> Result<bool, TransportError> {
        let message = EventMessage {
            topic,
            sender: self.id.as_bytes(),
            format: format.name().as_bytes(),
            payload,
        };
        self.xpub.try_send(&message.frames())
    }

    /// Counts an event that was dropped for want of room, and tells it once in a while.
    pub(super) fn count_drop(&mut self, now: Instant) {
        self.metrics.xpub_drops.inc();
        if let Some(more) = self.warnings.xpub_drop.check(now) {
            log::warn!(
                "dropped an event: the connection to the broker takes no more \
                 (xpub_sndhwm; {more} more like this)"
            );
        }
    }

    /// The next event that is neither malformed nor our own. `None` when nothing has arrived or
    /// `budget`, the number of messages to look at, is used up.
    pub(super) fn next_event(
        &mut self,
        format: EventFormat,
        budget: &mut u32,
        now: Instant,
    ) -> Result<Option<Received>, TransportError> {
        while *budget > 0 {
            let Some(received) = self.xsub.try_receive()? else { return Ok(None) };
            *budget -= 1;
            if received.count != 4 {
                self.count_parts_error("xsub", 4, received.count, now);
                continue;
            }
            let Ok(message) = EventMessage::parse(&received.frames) else { continue };
            if message.sender == self.id.as_bytes() {
                self.metrics.own_echoes.inc();
                continue;
            }
            if message.format != format.name().as_bytes() {
                self.metrics.event_errors[EventFault::Format].inc();
                if let Some(more) = self.warnings.format.check(now) {
                    log::error!(
                        "ProcessEventMessage: Wrong format: {} vs {} (from {}; {more} more like this)",
                        bstr::BStr::new(message.format),
                        format.name(),
                        bstr::BStr::new(message.sender),
                    );
                }
                continue;
            }
            return Ok(Some(received));
        }
        Ok(None)
    }

    /// The next change of subscriptions; as [`Bus::next_event`].
    pub(super) fn next_subscription(
        &mut self,
        budget: &mut u32,
        now: Instant,
    ) -> Result<Option<SubscriptionChange>, TransportError> {
        while *budget > 0 {
            let Some(received) = self.xpub.try_receive()? else { return Ok(None) };
            *budget -= 1;
            let [frame] = received.frames.as_slice() else {
                self.count_parts_error("xpub", 1, received.count, now);
                continue;
            };
            match SubscriptionMessage::parse(frame) {
                Some(SubscriptionMessage::Subscribe(prefix)) => {
                    let prefix = BString::from(prefix);
                    let new = self.known.len() < MAX_KNOWN_PREFIXES
                        && prefix.len() <= MAX_KNOWN_PREFIX_LEN
                        && self.known.insert(prefix.clone());
                    return Ok(Some(SubscriptionChange::Subscribed { prefix, new }));
                }
                Some(SubscriptionMessage::Unsubscribe(prefix)) => {
                    let prefix = BString::from(prefix);
                    self.known.remove(&prefix);
                    return Ok(Some(SubscriptionChange::Unsubscribed { prefix }));
                }
                // Nobody uses messages in this direction (WIRE.md §1.4).
                None => {}
            }
        }
        Ok(None)
    }

    /// Whether somebody, perhaps this process, has subscribed to exactly that prefix. Where there are
    /// too many to know them all, the answer is yes.
    pub(super) fn is_subscribed(&self, prefix: &[u8]) -> bool {
        self.known.contains(prefix)
            || self.known.len() >= MAX_KNOWN_PREFIXES
            || prefix.len() > MAX_KNOWN_PREFIX_LEN
    }

    /// Whether somebody has subscribed to a prefix of that topic; as [`Bus::is_subscribed`].
    pub(super) fn is_wanted(&self, topic: &[u8]) -> bool {
        (0..=topic.len()).any(|end| self.is_subscribed(&topic[..end]))
    }

    /// Forgets all subscriptions: the connection is new, and shows them anew.
    pub(super) fn forget_subscriptions(&mut self) {
        self.known.clear();
    }

    fn count_parts_error(&mut self, socket: &str, expected: usize, found: usize, now: Instant) {
        self.metrics.message_errors.inc();
        if let Some(more) = self.warnings.parts.check(now) {
            let parts = if expected == 1 { "part" } else { "parts" };
            log::error!(
                "[zeromq] {socket}: error: expected {expected} {parts}, have {found}! \
                 ({more} more like this)"
            );
        }
    }

    /// The endpoint of a connection that is missing; of both, that of the XPUB.
    pub(super) fn missing(&self) -> Option<&str> {
        let index = self.links.iter().position(|link| !link.up)?;
        Some(&self.endpoints[index])
    }

    /// Why the last handshake of that connection has failed, if it has since this was last asked.
    pub(super) fn take_fault(&mut self) -> Option<HandshakeFault> {
        self.links.iter_mut().find(|link| !link.up)?.fault.take()
    }

    /// Takes in news of connections and returns those of the XPUB, in order.
    ///
    /// # Errors
    /// Also when the broker and this node cannot talk for their keys.
    pub(super) fn read_connections(&mut self, now: Instant) -> Result<Vec<Link>, NodeError> {
        let mut changes = Vec::new();
        let [xpub, xsub] = &mut self.links;
        for (monitor, socket, link) in [
            (&self.xpub_monitor, NodeSocket::Xpub, xpub),
            (&self.xsub_monitor, NodeSocket::Xsub, xsub),
        ] {
            while let Some(event) = monitor.try_next()? {
                let change = match event.kind {
                    ConnectionEventKind::HandshakeSucceeded => {
                        self.metrics.connections[socket].set(1);
                        if link.was_up {
                            self.metrics.reconnects[socket].inc();
                        }
                        *link = LinkState { up: true, was_up: true, fault: None };
                        Link::Up
                    }
                    // libzmq says so of connections without a handshake, too.
                    ConnectionEventKind::Disconnected if !link.up => continue,
                    ConnectionEventKind::Disconnected => {
                        self.metrics.connections[socket].set(0);
                        link.up = false;
                        Link::Down
                    }
                    _ => {
                        if let Some(fault) = event.handshake_fault() {
                            link.fault = Some(fault);
                            self.metrics.handshakes_failed[socket].inc();
                        }
                        let line = handshake::look_at(&event, "the broker", self.is_encrypted)?;
                        if let Some(line) = line
                            && let Some(more) = self.warnings.handshake.check(now)
                        {
                            log::warn!("{line} ({more} more like this)");
                        }
                        continue;
                    }
                };
                if socket == NodeSocket::Xpub {
                    changes.push(change);
                }
            }
        }
        Ok(changes)
    }

    /// How long the closed XPUB goes on sending.
    pub(super) fn set_linger(&self, milliseconds: i32) -> Result<(), TransportError> {
        self.xpub.set_linger(milliseconds)
    }
}

fn xpub_options(options: &ZeroMq, ipv6: bool) -> SocketOptions {
    SocketOptions {
        ipv6,
        linger_ms: options.linger_ms,
        send_hwm: Some(options.xpub_sndhwm),
        send_buffer: Some(options.xpub_sndbuf),
        max_message_size: Some(clamp(options.max_message_size)),
        xpub_verbose: true,
        xpub_nodrop: options.connect_xpub_nodrop,
        ..SocketOptions::default()
    }
}

fn xsub_options(options: &ZeroMq, ipv6: bool) -> SocketOptions {
    SocketOptions {
        ipv6,
        send_hwm: Some(SUBSCRIPTION_HWM),
        receive_hwm: Some(options.xsub_rcvhwm),
        receive_buffer: Some(options.xsub_rcvbuf),
        max_message_size: Some(clamp(options.max_message_size)),
        ..SocketOptions::default()
    }
}

fn clamp(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
