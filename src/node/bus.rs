//! The node's two sockets on the bus, XPUB and XSUB (WIRE.md §1.1), and the messages on them.
//!
//! Knows subscriptions and frames, but nothing of membership or the application.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bstr::BString;

use super::subscriptions::{Audience, Reader, Subscriptions};
use super::{NodeError, handshake};
use crate::access::ClientKeys;
use crate::layout::{Layout, ZeroMq};
use crate::rate_limit::RateLimit;
use crate::telemetry::{EventFault, NodeMetrics, NodeSocket};
use crate::topic::{NodeId, Signals};
use crate::transport::{
    ConnectionEventKind, Context, CurveOptions, HandshakeFault, Interest, Monitor, PollSet,
    Received, SUBSCRIPTION_HWM, Socket, SocketKind, SocketOptions, TransportError,
};
use crate::wire::event_format::EventFormat;
use crate::wire::frames::{EventMessage, SubscriptionMessage};

/// How many subscribed prefixes to remember. Far beyond any cluster; past it, a new subscription
/// cannot be told from a repeated one.
const MAX_KNOWN_PREFIXES: usize = 100_000;
/// Longer prefixes match no real topic and are not remembered.
const MAX_KNOWN_PREFIX_LEN: usize = 1024;

/// How often each kind of problem is logged.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// A change of the connection to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Up,
    Down,
}

/// An event that has arrived.
pub(super) struct Incoming {
    pub(super) message: Received,
    /// Whether this node published it.
    pub(super) is_own: bool,
}

/// The state of one connection.
#[derive(Clone, Copy, Debug, Default)]
struct LinkState {
    up: bool,
    was_up: bool,
    /// It was lost since that was last asked.
    was_lost: bool,
    /// Why its last handshake failed, until that is read.
    fault: Option<HandshakeFault>,
}

/// A change of the subscriptions that our XPUB shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SubscriptionChange {
    /// `new` if no process was known to have it.
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
    // Monitors before their sockets: fields are dropped in this order.
    xpub_monitor: Monitor,
    xsub_monitor: Monitor,
    xpub: Socket,
    xsub: Socket,
    subscriptions: Subscriptions,
    /// Prefixes that have a subscriber.
    known: HashSet<BString>,
    /// The connections of the XPUB and the XSUB.
    links: [LinkState; 2],
    /// What has proved that this node and the broker cannot communicate.
    refusal: Option<HandshakeFault>,
    /// Their endpoints.
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
            subscriptions: Subscriptions::new(Signals::new(
                &options.nodeid_topic_prefix,
                &options.internal_topic_prefix,
            )),
            known: HashSet::new(),
            links: [LinkState::default(); 2],
            refusal: None,
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

    /// Adds what the I/O thread waits for. It cannot wait for room on the XPUB: libzmq reports
    /// publishers as always writable.
    ///
    /// A socket that had nothing to receive is read again only after the set has waited.
    pub(super) fn poll<'a>(&'a self, poll: &mut PollSet<'a>) {
        poll.add_monitor(&self.xpub_monitor);
        poll.add_monitor(&self.xsub_monitor);
        poll.add(&self.xpub, Interest::Readable);
        poll.add(&self.xsub, Interest::Readable);
    }

    /// Subscribes for a reader.
    pub(super) fn subscribe(
        &mut self,
        prefix: BString,
        reader: Reader,
    ) -> Result<(), TransportError> {
        if let Some(prefix) = self.subscriptions.subscribe(prefix, reader) {
            self.xsub.try_send(&[SubscriptionMessage::Subscribe(&prefix).encode()])?;
        }
        Ok(())
    }

    /// Cancels one subscription of a reader.
    pub(super) fn unsubscribe(
        &mut self,
        prefix: &BString,
        reader: Reader,
    ) -> Result<(), TransportError> {
        if let Some(prefix) = self.subscriptions.unsubscribe(prefix, reader) {
            self.xsub.try_send(&[SubscriptionMessage::Unsubscribe(&prefix).encode()])?;
        }
        Ok(())
    }

    /// Cancels all subscriptions of guests.
    pub(super) fn forget_guests(&mut self) -> Result<(), TransportError> {
        for (prefix, times) in self.subscriptions.of_guests() {
            for _ in 0..times {
                self.unsubscribe(&prefix, Reader::Guests)?;
            }
        }
        Ok(())
    }

    /// Whom an event on that topic is for.
    pub(super) fn audience(&mut self, topic: &[u8]) -> Audience {
        self.subscriptions.audience(topic)
    }

    /// Sends an event; `false` if there is no room for it.
    pub(super) fn try_publish(
        &mut self,
        topic: &[u8],
        format: EventFormat,
        payload: &[u8],
    ) -> Result<bool, TransportError> {
        self.try_publish_as(None, topic, format, payload)
    }

    /// Sends an event of another sender, if one is given; `false` if there is no room for it.
    pub(super) fn try_publish_as(
        &mut self,
        sender: Option<&[u8]>,
        topic: &[u8],
        format: EventFormat,
        payload: &[u8],
    ) -> Result<bool, TransportError> {
        let message = EventMessage {
            topic,
            sender: sender.unwrap_or(self.id.as_bytes()),
            format: format.name().as_bytes(),
            payload,
        };
        self.xpub.try_send(&message.frames())
    }

    /// Counts an event that was dropped because there was no room, and logs that from time to time.
    pub(super) fn count_drop(&mut self, now: Instant) {
        self.metrics.xpub_drops.inc();
        if let Some(more) = self.warnings.xpub_drop.check(now) {
            log::warn!(
                "dropped an event: the connection to the broker has no room \
                 (xpub_sndhwm; {more} more like this)"
            );
        }
    }

    /// The next event that is not malformed; our own ones only if guests may want them. `None` if
    /// nothing has arrived or `budget`, the number of messages to look at, is used up.
    pub(super) fn next_event(
        &mut self,
        format: EventFormat,
        budget: &mut u32,
        now: Instant,
    ) -> Result<Option<Incoming>, TransportError> {
        while *budget > 0 && !self.xsub.is_settled() {
            let Some(received) = self.xsub.try_receive()? else { return Ok(None) };
            *budget -= 1;
            if received.count != 4 {
                self.count_parts_error("xsub", 4, received.count, now);
                continue;
            }
            let Ok(message) = EventMessage::parse(&received.frames) else { continue };
            let is_own = message.sender == self.id.as_bytes();
            if is_own {
                self.metrics.own_echoes.inc();
                if !self.subscriptions.has_guests() {
                    continue;
                }
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
            return Ok(Some(Incoming { message: received, is_own }));
        }
        Ok(None)
    }

    /// The next change of subscriptions; `budget` is as in [`Bus::next_event`].
    pub(super) fn next_subscription(
        &mut self,
        budget: &mut u32,
        now: Instant,
    ) -> Result<Option<SubscriptionChange>, TransportError> {
        while *budget > 0 && !self.xpub.is_settled() {
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
                // No peer sends messages in this direction (WIRE.md §1.4).
                None => {}
            }
        }
        Ok(None)
    }

    /// Whether some process, perhaps this one, has subscribed to exactly that prefix. True if there
    /// are too many to remember them all.
    pub(super) fn is_subscribed(&self, prefix: &[u8]) -> bool {
        self.known.contains(prefix)
            || self.known.len() >= MAX_KNOWN_PREFIXES
            || prefix.len() > MAX_KNOWN_PREFIX_LEN
    }

    /// Whether some process has subscribed to a prefix of that topic; see [`Bus::is_subscribed`].
    pub(super) fn is_wanted(&self, topic: &[u8]) -> bool {
        (0..=topic.len()).any(|end| self.is_subscribed(&topic[..end]))
    }

    /// Forgets all subscriptions: a new connection shows them again.
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

    /// The endpoint of a missing connection; the XPUB's if both are missing.
    pub(super) fn missing(&self) -> Option<&str> {
        let index = self.links.iter().position(|link| !link.up)?;
        Some(&self.endpoints[index])
    }

    /// The fault for which [`Bus::read_connections`] has returned [`NodeError::Refused`].
    pub(super) fn refusal(&self) -> Option<HandshakeFault> {
        self.refusal
    }

    /// Whether the connections of the XPUB and the XSUB are up.
    pub(super) fn up(&self) -> [bool; 2] {
        self.links.map(|link| link.up)
    }

    /// Which of them were lost since the last call, even if they are up again.
    pub(super) fn take_losses(&mut self) -> [bool; 2] {
        self.links.each_mut().map(|link| std::mem::take(&mut link.was_lost))
    }

    /// Why the last handshake of that connection failed, if it has since the last call.
    pub(super) fn take_fault(&mut self) -> Option<HandshakeFault> {
        self.links.iter_mut().find(|link| !link.up)?.fault.take()
    }

    /// Reads connection events and returns those of the XPUB, in order.
    ///
    /// # Errors
    /// Also when wrong keys keep the broker and this node from communicating.
    pub(super) fn read_connections(&mut self, now: Instant) -> Result<Vec<Link>, NodeError> {
        let mut changes = Vec::new();
        let [xpub, xsub] = &mut self.links;
        for (monitor, socket, link) in [
            (&self.xpub_monitor, NodeSocket::Xpub, xpub),
            (&self.xsub_monitor, NodeSocket::Xsub, xsub),
        ] {
            while !monitor.is_settled()
                && let Some(event) = monitor.try_next()?
            {
                let change = match event.kind {
                    ConnectionEventKind::HandshakeSucceeded => {
                        self.metrics.connections[socket].set(1);
                        if link.was_up {
                            self.metrics.reconnects[socket].inc();
                        }
                        *link = LinkState { up: true, was_up: true, fault: None, ..*link };
                        Link::Up
                    }
                    // libzmq also reports connections without a handshake.
                    ConnectionEventKind::Disconnected if !link.up => continue,
                    ConnectionEventKind::Disconnected => {
                        self.metrics.connections[socket].set(0);
                        link.up = false;
                        link.was_lost = true;
                        Link::Down
                    }
                    _ => {
                        let fault = event.handshake_fault();
                        if let Some(fault) = fault {
                            link.fault = Some(fault);
                            self.metrics.handshakes_failed[socket].inc();
                        }
                        let line = handshake::look_at(&event, "the broker", self.is_encrypted);
                        self.refusal = fault.filter(|_| line.is_err());
                        let line = line?;
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

    /// Sets how long the closed XPUB keeps sending.
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
