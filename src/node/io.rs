//! The I/O thread of a node: the only one that touches its sockets.
//!
//! Each turn handles what has arrived, carries out what the application and the handshake want, and
//! sends what can be sent; then it sleeps until there is more to do. Nothing here blocks but that
//! sleep.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use bstr::{BString, ByteSlice};

use super::broker::{BrokerLink, BrokerNews, BrokerState, PeerFault};
use super::bus::{Bus, Incoming, Link, SubscriptionChange};
use super::condition::{Condition, Lack, Reporter, Signs, Stage, State};
use super::fanout::Fanout;
use super::guests::{Arrival, Change, Desk};
use super::local_logs::LocalLogs;
use super::log_pump::{Closed, LogPump};
use super::log_stream::{CLUSTER_LOG, LogStream, Streams};
use super::notification::{Notification, ReceivedEvent};
use super::outbox::{Greetings, Outbox, Publication};
use super::subscriptions::{Audience, Reader};
use super::watch::{MUTE, Report, Watch};
use super::{LogBatch, NodeError, Outgoing, Unsent, later, lock};
use crate::Event;
use crate::access::{AccessCell, Guard, Identity};
use crate::health::Pressure;
use crate::layout::Layout;
use crate::membership::{Action, Hello, Input, Membership, Warning, read_hello};
use crate::pool::Pools;
use crate::queue::{self, Empty, Limits, Rejected};
use crate::rate_limit::{KeyedRateLimit, RateLimit};
use crate::telemetry::NodeMetrics;
use crate::topic::{NodeId, NodeTopics, shown};
use crate::transport::{Context, PollSet, TransportError, Waker};
use crate::value::{Timestamp, Value};
use crate::wire::event_format::EventFormat;
use crate::wire::zeek_bin::{FieldSpec, Limits as RecordLimits, LogSchema, LogValue, Scalar};

/// How often queue depths are written to the metrics.
const GAUGE_INTERVAL: Duration = Duration::from_millis(250);
/// How often each kind of problem is logged.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// How precise libzmq's clock is when it gives up on what a closed socket still holds.
const LINGER_MARGIN: Duration = Duration::from_millis(20);

/// Time between attempts to publish while the XPUB has no room.
const ROOM_RETRY: Duration = Duration::from_millis(5);
/// How long a probe may take before it is sent again.
const PROBE_RETRY: Duration = Duration::from_secs(5);

/// What health reports when the broker is not connected.
const NO_BROKER: &str = "no connection to the broker";

/// What the builder hands over.
pub(super) struct Parts {
    pub(super) name: String,
    pub(super) id: NodeId,
    pub(super) layout: Arc<Layout>,
    pub(super) topics: NodeTopics,
    pub(super) format: EventFormat,
    pub(super) metrics: NodeMetrics,
    pub(super) context: Context,
    pub(super) waker: Arc<Waker>,
    pub(super) bus: Bus,
    pub(super) fanout: Fanout,
    pub(super) local_logs: Option<LocalLogs>,
    pub(super) membership: Membership,
    pub(super) outgoing: queue::Receiver<Outgoing>,
    pub(super) outbox_limits: Limits,
    pub(super) batches: queue::Receiver<LogBatch>,
    pub(super) notify: queue::Sender<Notification>,
    pub(super) members: Arc<Mutex<BTreeMap<String, NodeId>>>,
    pub(super) pools: Arc<Mutex<Pools>>,
    pub(super) streams: Arc<Streams>,
    pub(super) own_topics: Vec<BString>,
    pub(super) access: Arc<AccessCell>,
    pub(super) failure: Arc<Mutex<Option<NodeError>>>,
    pub(super) condition: Arc<Condition>,
    pub(super) broker_state: Arc<Mutex<BrokerState>>,
}

/// The state of the thread.
pub(super) struct Io {
    name: String,
    id: NodeId,
    own_nodeid_topic: BString,
    /// Whether the process is no node of the layout, and greets nobody.
    is_standalone: bool,
    layout: Arc<Layout>,
    topics: NodeTopics,
    format: EventFormat,
    metrics: Arc<NodeMetrics>,
    waker: Arc<Waker>,
    bus: Bus,
    logs: LogPump,
    membership: Membership,
    outgoing: queue::Receiver<Outgoing>,
    notify: queue::Sender<Notification>,
    members: Arc<Mutex<BTreeMap<String, NodeId>>>,
    pools: Arc<Mutex<Pools>>,
    cluster_log: LogStream,
    own_topics: Vec<BString>,
    access: Arc<AccessCell>,
    access_generation: u64,
    /// Checks received events against the rules.
    guard: Guard,
    failure: Arc<Mutex<Option<NodeError>>>,
    /// Greetings waiting for room; they are sent before any event.
    greetings: Greetings,
    outbox: Outbox,
    /// The desk of the gateway that this node hosts.
    guests: Option<Box<Desk>>,
    /// The last attempt to publish found no room.
    bus_is_full: bool,
    probe: Probe,
    /// When to send probes again that have not come back.
    probe_retry: Option<Instant>,
    /// Watches the broker.
    broker: Watch,
    /// What the application knows of the connection to it …
    broker_link: BrokerLink,
    /// … and what it can ask for.
    broker_state: Arc<Mutex<BrokerState>>,
    /// The node has said goodbye.
    has_left: bool,
    /// Set once the node should end.
    deadline: Option<Instant>,
    /// Whether the queues are near their limits, in the order of [`State::near_limit`].
    pressures: [Pressure; 3],
    reporter: Reporter,
    /// When to write the gauges next; `None` once they are zero and nothing happens.
    gauges_due: Option<Instant>,
    warnings: Warnings,
    /// Last, so that it is dropped after all sockets.
    _context: Context,
}

/// The ready-to-publish probe (WIRE.md §1.8): when a new subscription of our own comes back to our
/// XPUB, all others have arrived there, too.
struct Probe {
    count: u64,
    /// The subscription the node waits for; `None` when the bus is ready.
    topic: Option<BString>,
}

struct Warnings {
    onloop: RateLimit,
    payload: RateLimit,
    notify: RateLimit,
    membership: KeyedRateLimit<String>,
    denied: KeyedRateLimit<String>,
}

impl Io {
    pub(super) fn new(parts: Parts) -> Result<Self, NodeError> {
        let cluster_log =
            LogStream::open(&parts.streams, None, cluster_log_schema(), RecordLimits::default())?;
        let limit = || RateLimit::new(WARNING_INTERVAL);
        let logs = LogPump::new(
            &parts.id,
            parts.fanout,
            parts.local_logs,
            parts.batches,
            parts.streams,
            parts.layout.zeromq.log_hwm_action,
            parts.metrics.clone(),
        );
        Ok(Io {
            own_nodeid_topic: parts.topics.nodeid(&parts.id),
            is_standalone: parts.name.is_empty(),
            name: parts.name,
            id: parts.id,
            layout: parts.layout,
            topics: parts.topics,
            format: parts.format,
            metrics: Arc::new(parts.metrics),
            broker: Watch::new("broker", Arc::clone(&parts.waker), Instant::now()),
            broker_link: BrokerLink::default(),
            broker_state: parts.broker_state,
            waker: parts.waker,
            bus: parts.bus,
            logs,
            membership: parts.membership,
            outgoing: parts.outgoing,
            notify: parts.notify,
            members: parts.members,
            pools: parts.pools,
            cluster_log,
            own_topics: parts.own_topics,
            access_generation: parts.access.generation(),
            guard: Guard::new(parts.access.load(), Identity::Unproven),
            access: parts.access,
            failure: parts.failure,
            greetings: Greetings::default(),
            outbox: Outbox::new(parts.outbox_limits),
            guests: None,
            bus_is_full: false,
            probe: Probe { count: 0, topic: None },
            probe_retry: None,
            has_left: false,
            deadline: None,
            pressures: [Pressure::default(); 3],
            reporter: Reporter::new(parts.condition),
            gauges_due: None,
            warnings: Warnings {
                onloop: limit(),
                payload: limit(),
                notify: limit(),
                membership: KeyedRateLimit::new(WARNING_INTERVAL, 100),
                denied: KeyedRateLimit::new(WARNING_INTERVAL, 100),
            },
            _context: parts.context,
        })
    }

    /// Runs until the node is shut down. The body of the thread.
    pub(super) fn run(mut self) -> Unsent {
        if let Err(error) = self.start().and_then(|()| self.turn_until_done()) {
            let fault = self.bus.refusal().map_or(PeerFault::Other, PeerFault::from);
            let trouble = BrokerNews::Trouble { fault, details: error.to_string() };
            self.notify(Notification::Broker(trouble), Instant::now());
            // Logged by the caller that asks why the node has ended.
            *lock(&self.failure) = Some(error);
        }
        let closed = self.broker_link.closed();
        self.tell_broker_state(closed, Instant::now());
        self.finish()
    }

    fn start(&mut self) -> Result<(), NodeError> {
        for topic in &self.own_topics {
            self.bus.subscribe(topic.clone(), Reader::Node)?;
        }
        Ok(self.send_probe()?)
    }

    fn turn_until_done(&mut self) -> Result<(), NodeError> {
        loop {
            let now = Instant::now();
            let busy = self.turn(now)?;
            if self.is_done(now) {
                return Ok(());
            }
            self.sleep(now, busy)?;
        }
    }

    /// Runs one turn; `true` if a socket may still have messages waiting after its share of the
    /// turn.
    fn turn(&mut self, now: Instant) -> Result<bool, NodeError> {
        let share = match self.layout.zeromq.poll_max_messages {
            0 => u32::MAX,
            share => share,
        };
        let links = self.bus.read_connections(now)?;
        let states = self.broker_link.changed(self.bus.up(), self.bus.take_losses());
        self.tell_broker_state(states, now);
        for link in links {
            self.link_changed(link, now)?;
        }
        let mut subscriptions = share;
        while let Some(change) = self.bus.next_subscription(&mut subscriptions, now)? {
            self.subscription_changed(change, now)?;
        }
        let mut events = share;
        while let Some(incoming) = self.bus.next_event(self.format, &mut events, now)? {
            self.event_received(incoming, now)?;
        }
        let commands_left = self.take_commands(share, now)?;
        if self.membership.deadline().is_some_and(|deadline| deadline <= now) {
            self.feed_membership(Input::Tick, now)?;
        }
        self.send_publications()?;
        let guests_left = self.serve_guests(share, now)?;
        self.retry_probes(now)?;
        let batches_left = self.logs.pump(share, self.deadline.is_some(), now)?;
        self.tell_of_broker(now);
        self.update_gauges(now);
        self.report(now);
        Ok(subscriptions == 0 || events == 0 || commands_left || guests_left || batches_left)
    }

    fn sleep(&mut self, now: Instant, busy: bool) -> Result<(), TransportError> {
        let mut poll = PollSet::new();
        let waker = poll.add_waker(&self.waker);
        self.bus.poll(&mut poll);
        self.logs.poll(&mut poll);
        let timeout = if busy {
            Some(Duration::ZERO)
        } else {
            let deadlines = [
                self.membership.deadline(),
                self.logs.deadline(now),
                self.broker.deadline(),
                self.deadline,
                self.gauges_due,
                self.bus_is_full.then(|| now + ROOM_RETRY),
                self.probe_retry,
            ];
            let next = deadlines.into_iter().flatten().min();
            next.map(|next| next.saturating_duration_since(now))
        };
        poll.wait(timeout)?;
        if poll.is_readable(waker) {
            self.waker.reset();
        }
        Ok(())
    }

    fn is_done(&self, now: Instant) -> bool {
        let Some(deadline) = self.deadline else { return false };
        let sent = self.outbox.is_empty()
            && self.greetings.is_empty()
            && self.guests.as_ref().is_none_or(|desk| desk.waiting() == 0)
            && self.logs.is_drained();
        sent || now >= deadline
    }

    /// Lets the sockets linger for what they hold, and counts what could not be sent.
    fn finish(self) -> Unsent {
        let Io {
            name,
            layout,
            metrics,
            deadline,
            notify,
            outbox,
            guests,
            bus,
            logs,
            _context: context,
            ..
        } = self;
        // No more notifications follow.
        drop(notify);
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let left = left.map_or(0, |left| i32::try_from(left.as_millis()).unwrap_or(i32::MAX));
        // Linger -1 means forever, but the caller waits only until the deadline.
        let linger = layout.zeromq.linger_ms.max(left);
        let of_guests = guests.map_or(0, |desk| desk.waiting());
        let events = (outbox.len() + of_guests) as u64;
        metrics.xpub_drops.inc_by(events);
        if let Err(error) = bus.set_linger(linger) {
            log::debug!("{name}: {error}");
        }
        // Both sockets send at the same time, and the context ends when they are done.
        drop(bus);
        let Closed { records, own, under_way } = logs.close(linger);
        let closed = Instant::now();
        drop(context);
        let linger = Duration::from_millis(u64::try_from(linger).unwrap_or(0));
        if closed.elapsed() + LINGER_MARGIN >= linger {
            metrics.log_records_unconfirmed.inc_by(under_way);
        }
        let unconfirmed = metrics.log_records_unconfirmed.get();
        if events + records > 0 {
            log::warn!("{name}: ended with {events} events and {records} log records unsent");
        }
        if unconfirmed > 0 {
            log::warn!("{name}: up to {unconfirmed} log records sent may not have arrived");
        }
        Unsent { events, records, own_records: own, unconfirmed }
    }

    // The bus.

    fn is_ready(&self) -> bool {
        self.probe.topic.is_none()
    }

    fn next_probe_topic(&mut self) -> BString {
        self.probe.count += 1;
        let prefix = &self.layout.zeromq.internal_topic_prefix;
        BString::from(format!("{prefix}{}.{}.", self.id, self.probe.count))
    }

    fn send_probe(&mut self) -> Result<(), TransportError> {
        let topic = self.next_probe_topic();
        if let Some(old) = self.probe.topic.replace(topic.clone()) {
            self.bus.unsubscribe(&old, Reader::Node)?;
        }
        self.bus.subscribe(topic, Reader::Node)
    }

    /// Sends probes once more that have not come back although the broker is there: it may have had no
    /// room for another subscription. The topic is the same, so whichever comes back counts.
    fn retry_probes(&mut self, now: Instant) -> Result<(), TransportError> {
        let under_way = self.guests.as_ref().and_then(|desk| desk.probe_under_way());
        let topics = self.probe.topic.iter().chain(under_way.map(|(topic, _)| topic));
        let topics: Vec<BString> = topics.cloned().collect();
        if topics.is_empty() || self.bus.missing().is_some() {
            self.probe_retry = None;
        } else if *self.probe_retry.get_or_insert(now + PROBE_RETRY) <= now {
            self.probe_retry = Some(now + PROBE_RETRY);
            for topic in topics {
                self.bus.unsubscribe(&topic, Reader::Node)?;
                self.bus.subscribe(topic, Reader::Node)?;
            }
        }
        Ok(())
    }

    /// Whether the bus answers: the node's probe has come back, and that of guests does in time.
    fn is_answered(&self, now: Instant) -> bool {
        let under_way = self.guests.as_ref().and_then(|desk| desk.probe_under_way());
        self.is_ready()
            && under_way
                .is_none_or(|(_, sent)| now.saturating_duration_since(sent) < PROBE_RETRY * 2)
    }

    /// Logs that the broker is lost or missing, and that it is back: both connections are up, and
    /// the bus has answered. A return is logged at the same level as the loss.
    fn tell_of_broker(&mut self, now: Instant) {
        let is_answered = self.is_answered(now);
        let report = self.broker.look_at_broker(&mut self.bus, is_answered, now);
        let Some(Report { line, fault }) = report else { return };
        log::warn!("{}: {line}", self.name);
        if let Some(fault) = fault {
            let trouble = BrokerNews::Trouble { fault, details: line };
            self.notify(Notification::Broker(trouble), now);
        }
    }

    fn tell_broker_state(&mut self, states: Vec<BrokerState>, now: Instant) {
        for state in states {
            *lock(&self.broker_state) = state;
            self.notify(Notification::Broker(BrokerNews::State(state)), now);
        }
    }

    fn link_changed(&mut self, link: Link, now: Instant) -> Result<(), NodeError> {
        match link {
            Link::Up => {
                log::debug!("{}: connected to the broker", self.name);
                self.feed_membership(Input::Connected, now)
            }
            Link::Down => {
                self.notify(Notification::Disconnected, now);
                if let Some(desk) = &mut self.guests {
                    desk.disconnected();
                }
                self.feed_membership(Input::Disconnected, now)?;
                Ok(self.send_probe()?)
            }
        }
    }

    fn subscription_changed(
        &mut self,
        change: SubscriptionChange,
        now: Instant,
    ) -> Result<(), NodeError> {
        match change {
            SubscriptionChange::Subscribed { prefix, new } => {
                if self.probe.topic.as_ref() == Some(&prefix) {
                    self.probe.topic = None;
                    self.bus.unsubscribe(&prefix, Reader::Node)?;
                    self.notify(Notification::Connected, now);
                    let states = self.broker_link.answered();
                    self.tell_broker_state(states, now);
                    if let Some(desk) = &mut self.guests {
                        desk.reconnected();
                    }
                    return self.feed_membership(Input::Ready, now);
                }
                if self.guests.as_mut().is_some_and(|desk| desk.is_probe(&prefix)) {
                    return Ok(self.bus.unsubscribe(&prefix, Reader::Node)?);
                }
                let nodeid = self.peer_of(&prefix);
                if new {
                    self.notify(Notification::Subscription(prefix), now);
                }
                match nodeid {
                    Some(id) => self.feed_membership(Input::Subscribed(id), now),
                    None => Ok(()),
                }
            }
            SubscriptionChange::Unsubscribed { prefix } => {
                let nodeid = self.peer_of(&prefix);
                self.notify(Notification::Unsubscription(prefix), now);
                match nodeid {
                    Some(id) => self.feed_membership(Input::Unsubscribed(id), now),
                    None => Ok(()),
                }
            }
        }
    }

    /// The process whose nodeid topic that is, if this node takes part in the handshake.
    fn peer_of(&self, prefix: &[u8]) -> Option<NodeId> {
        if self.is_standalone { None } else { self.topics.parse_nodeid(prefix) }
    }

    fn event_received(&mut self, incoming: Incoming, now: Instant) -> Result<(), NodeError> {
        let Incoming { message, is_own } = incoming;
        let Some(event) = ReceivedEvent::new(message, self.format, &self.metrics) else {
            return Ok(());
        };
        if !is_own && !self.is_allowed(&event, now) {
            return Ok(());
        }
        let Audience { node, guests } = self.bus.audience(event.topic());
        let is_for_node = node && !is_own;
        if !guests {
            return if is_for_node { self.event_for_node(event, now) } else { Ok(()) };
        }
        if is_for_node {
            self.event_for_node(event.copy(), now)?;
        }
        if let Some(desk) = &mut self.guests
            && !desk.deliver(event, &self.metrics)
        {
            self.warn_of_slow_reader("the gateway", now);
        }
        Ok(())
    }

    fn event_for_node(&mut self, event: ReceivedEvent, now: Instant) -> Result<(), NodeError> {
        if !self.is_standalone && event.topic() == self.own_nodeid_topic.as_bstr() {
            let decoded = event.decode_uncounted();
            match &decoded {
                Ok(greeting) => {
                    if let Some((hello, name, id)) = read_hello(greeting) {
                        event.count(&decoded);
                        let hello = Input::Hello(hello, name.to_owned(), NodeId::from_bytes(id));
                        return self.feed_membership(hello, now);
                    }
                }
                Err(error) => {
                    event.count(&decoded);
                    if let Some(more) = self.warnings.payload.check(now) {
                        log::error!(
                            "Failed to unserialize message: {}: {error} (from {}; {more} more like this)",
                            shown(event.topic()),
                            shown(event.sender()),
                        );
                    }
                    return Ok(());
                }
            }
        }
        let bytes = event.size();
        match self.notify.try_send(Notification::Event(event), bytes) {
            // Without a receiver, events are not wanted.
            Ok(()) | Err(Rejected::Closed(_)) => {}
            Err(Rejected::Full(_)) => {
                self.metrics.onloop_drops.inc();
                self.warn_of_slow_reader("the application", now);
            }
        }
        Ok(())
    }

    fn warn_of_slow_reader(&mut self, reader: &str, now: Instant) {
        if let Some(more) = self.warnings.onloop.check(now) {
            log::warn!(
                "dropped an event: {reader} reads events too slowly \
                 (onloop_queue_hwm; {more} more like this)"
            );
        }
    }

    /// Whether the rules of the layout let an event through. The sender is what the event claims:
    /// only a broker that knows the keys of nodes can verify it (docs/security.md).
    fn is_allowed(&mut self, event: &ReceivedEvent, now: Instant) -> bool {
        if self.access.generation() != self.access_generation {
            self.access_generation = self.access.generation();
            self.guard = Guard::new(self.access.load(), Identity::Unproven);
        }
        if self.guard.is_open() {
            return true;
        }
        let (topic, sender) = (event.topic(), event.sender());
        let format = self.format.name().as_bytes();
        let Err(denial) = self.guard.check_event(topic, sender, format, event.payload()) else {
            return true;
        };
        let access = self.access.load();
        let name = access.owner(sender).map_or("unnamed", |name| name);
        self.metrics.deny_event(name, denial);
        let key = format!("{name} {denial:?}");
        if let Some(more) = self.warnings.denied.check(&key, now) {
            let (sender, topic) = (shown(sender), shown(topic));
            log::warn!(
                "refused an event from {sender} on {topic}: {denial} ({more} more like this)"
            );
        }
        false
    }

    /// Notifies the application, in the lane that events cannot fill.
    fn notify(&mut self, notification: Notification, now: Instant) {
        if let Err(Rejected::Full(lost)) = self.notify.send_control(notification)
            && let Some(more) = self.warnings.notify.check(now)
        {
            log::warn!(
                "the application does not read its notifications; dropped {lost:?} \
                 ({more} more like this)"
            );
        }
    }

    /// Reports the state of the node, for callers that ask about its health.
    fn report(&mut self, now: Instant) {
        let is_stopping = self.has_left || self.deadline.is_some();
        let missing = self.bus.missing();
        let signs = Signs {
            stage: if is_stopping { Stage::Stopping } else { Stage::Running },
            broker: (self.broker.since(), missing.is_none(), self.broker.changes()),
            loggers: self.logs.look(now),
            near_limit: self.pressures.map(|pressure| pressure.is_near()),
        };
        let (broker, logs) = (&self.broker, &self.logs);
        self.reporter.report(signs, || {
            let no_broker = |since| {
                let (what, details) = match (missing, broker.cause()) {
                    (None, _) => ("the bus has not been ready", MUTE.into()),
                    (Some(endpoint), None) => (NO_BROKER, endpoint.to_owned()),
                    (Some(endpoint), Some(cause)) => (NO_BROKER, format!("{endpoint}: {cause}")),
                };
                Lack { what, since, details }
            };
            let no_logger = |since| Lack {
                what: "no logger has been available",
                since,
                details: logs.why_nobody(),
            };
            State {
                stage: signs.stage,
                broker: signs.broker.0.map(no_broker),
                loggers: signs.loggers.0.map(no_logger),
                near_limit: signs.near_limit,
            }
        });
    }

    // The application.

    /// Carries out up to `share` commands; `true` when there may be more.
    fn take_commands(&mut self, share: u32, now: Instant) -> Result<bool, TransportError> {
        for _ in 0..share {
            match self.outgoing.receive_until(Some(now)) {
                Ok(Outgoing::Publish { topic, payload }) => {
                    if !self.outbox.push(Publication { topic, payload }) {
                        self.bus.count_drop(now);
                    }
                }
                Ok(Outgoing::Subscribe(prefix)) => {
                    self.bus.subscribe(prefix, Reader::Application)?;
                }
                Ok(Outgoing::Unsubscribe(prefix)) => {
                    self.bus.unsubscribe(&prefix, Reader::Application)?;
                }
                Ok(Outgoing::Host(mut desk)) => {
                    self.bus.forget_guests()?;
                    for (name, id) in self.membership.members() {
                        desk.tell(Arrival::NodeUp { name: name.clone(), id: id.clone() });
                    }
                    if self.is_ready() {
                        desk.begin();
                    }
                    self.guests = Some(desk);
                }
                Ok(Outgoing::Guests(change)) => self.change_guests(change)?,
                Ok(Outgoing::ClusterLog(line)) => self.write_cluster_log(&line),
                Ok(Outgoing::Leave) => {
                    self.has_left = true;
                    let closed = self.broker_link.closed();
                    self.tell_broker_state(closed, now);
                    for topic in std::mem::take(&mut self.own_topics) {
                        self.bus.unsubscribe(&topic, Reader::Node)?;
                    }
                }
                Ok(Outgoing::Shutdown { deadline }) => self.deadline = Some(deadline),
                Err(Empty::TimedOut) => return Ok(false),
                // The last handle was dropped.
                Err(Empty::Closed) => {
                    self.deadline
                        .get_or_insert_with(|| later(now, self.layout.log.shutdown_timeout));
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Sends greetings, then events, while there is room. Events wait until the bus is ready, and
    /// until it is known that no other process has this node's name.
    fn send_publications(&mut self) -> Result<(), TransportError> {
        self.bus_is_full = false;
        while let Some((hello, to)) = self.greetings.pop() {
            if !self.try_greet(hello, &to)? {
                self.greetings.put_back(hello, to);
                self.bus_is_full = true;
                return Ok(());
            }
        }
        while self.is_ready()
            && self.membership.is_settled()
            && let Some(event) = self.outbox.front()
        {
            if !self.bus.try_publish(&event.topic, self.format, &event.payload)? {
                self.bus_is_full = true;
                return Ok(());
            }
            self.outbox.pop();
        }
        Ok(())
    }

    // Guests.

    fn tell_guests(&mut self, arrival: impl FnOnce() -> Arrival) {
        if let Some(desk) = &mut self.guests {
            desk.tell(arrival());
        }
    }

    fn change_guests(&mut self, change: Change) -> Result<(), TransportError> {
        for prefix in change.subscribe {
            self.bus.subscribe(prefix, Reader::Guests)?;
        }
        for prefix in change.unsubscribe {
            self.bus.unsubscribe(&prefix, Reader::Guests)?;
        }
        if let (Some(desk), Some(number)) = (&mut self.guests, change.confirm) {
            desk.want(number);
        }
        Ok(())
    }

    /// Sends up to `share` events of guests, while the bus takes them, and confirms subscriptions;
    /// `true` when more can be sent.
    fn serve_guests(&mut self, share: u32, now: Instant) -> Result<bool, TransportError> {
        let Some(mut desk) = self.guests.take() else { return Ok(false) };
        if desk.is_closed() && desk.waiting() == 0 {
            self.bus.forget_guests()?;
            return Ok(false);
        }
        let can_send = self.is_ready()
            && self.membership.is_settled()
            && self.outbox.is_empty()
            && desk.can_publish();
        let mut left = if can_send && !self.bus_is_full { share } else { 0 };
        let had_share = left > 0;
        while left > 0
            && let Some(event) = desk.next_event()
        {
            let sender = Some(event.sender.as_slice());
            if !self.bus.try_publish_as(sender, &event.topic, self.format, &event.payload)? {
                self.bus_is_full = true;
                desk.put_back(event);
                break;
            }
            left -= 1;
        }
        if self.is_ready()
            && let Some(topic) = desk.probe(now, || self.next_probe_topic())
        {
            self.bus.subscribe(topic, Reader::Node)?;
        }
        desk.finish_turn();
        self.guests = Some(desk);
        Ok(had_share && left == 0)
    }

    // Membership.

    fn feed_membership(&mut self, input: Input, now: Instant) -> Result<(), NodeError> {
        for action in self.membership.handle(input, now) {
            match action {
                Action::Greet(hello, id) => self.greet(hello, id)?,
                Action::NodeUp(name, id) => {
                    log::info!("{}: node up: {name} ({id})", self.name);
                    self.metrics.node_up.inc();
                    self.member_changed(&name, true, now);
                    self.tell_guests(|| Arrival::NodeUp { name: name.clone(), id: id.clone() });
                    self.notify(Notification::NodeUp { name, id }, now);
                }
                Action::NodeDown(name, id) => {
                    log::info!("{}: node down: {name} ({id})", self.name);
                    self.metrics.node_down.inc();
                    self.member_changed(&name, false, now);
                    self.tell_guests(|| Arrival::NodeDown { name: name.clone(), id: id.clone() });
                    self.notify(Notification::NodeDown { name, id }, now);
                }
                Action::NameTaken(id) => {
                    return Err(NodeError::NameTaken { name: self.name.clone(), id });
                }
                Action::ClusterLog(message) => self.write_cluster_log(&message),
                Action::Warn(warning) => self.warn(&warning, now),
            }
        }
        Ok(())
    }

    fn member_changed(&mut self, name: &str, up: bool, now: Instant) {
        self.logs.set_down(name, !up, now);
        let mut pools = lock(&self.pools);
        if up {
            pools.node_up(name);
        } else {
            pools.node_down(name);
        }
        drop(pools);
        let members = self.membership.members();
        lock(&self.members).clone_from(members);
        if let Some(node) = self.layout.node(name) {
            let of_type = |name: &&String| {
                self.layout.node(name).is_some_and(|other| other.node_type == node.node_type)
            };
            let count = members.keys().filter(of_type).count();
            self.metrics.members_up(node.node_type.as_str()).set(count as i64);
        }
    }

    fn greet(&mut self, hello: Hello, to: NodeId) -> Result<(), TransportError> {
        self.metrics.outgoing_events.inc();
        if self.greetings.is_empty() && self.try_greet(hello, &to)? {
            return Ok(());
        }
        self.metrics.control_deferred.inc();
        self.greetings.push(hello, to);
        Ok(())
    }

    fn try_greet(&mut self, hello: Hello, to: &NodeId) -> Result<bool, TransportError> {
        let args = vec![Value::from(self.name.as_str()), Value::from(self.id.as_bytes())];
        let mut payload = Vec::new();
        self.format.encode(&Event::new(hello.event_name(), args), &mut payload);
        self.bus.try_publish(&self.topics.nodeid(to), self.format, &payload)
    }

    fn warn(&mut self, warning: &Warning, now: Instant) {
        let kind = warning.kind();
        if let Some(more) = self.warnings.membership.check(kind, now) {
            log::warn!("{}: {warning} ({more} more like this)", self.name);
        }
    }

    fn write_cluster_log(&self, message: &str) {
        let ts = Timestamp::from(SystemTime::now()).as_secs_f64();
        let record = [LogValue::Time(ts), self.name.as_str().into(), message.into()];
        if let Err(error) = self.cluster_log.write_unblocking(&record) {
            log::warn!("{}: cluster.log line lost: {error}", self.name);
        }
    }

    /// Writes the depths of the queues, from time to time, until all of them are empty.
    fn update_gauges(&mut self, now: Instant) {
        if self.gauges_due.is_some_and(|due| now < due) {
            return;
        }
        let (messages, bytes) = self.outgoing.depth();
        let publish = (messages + self.outbox.len(), bytes + self.outbox.bytes());
        let depths = [publish, self.notify.depth(), self.logs.depth()];
        let gauges = self.metrics.queue_gauges();
        for (queue, ((messages, bytes), gauges)) in depths.into_iter().zip(gauges).enumerate() {
            gauges.0.set(messages as i64);
            gauges.1.set(bytes as i64);
            let percent = self.reporter.percent(queue, (messages, bytes));
            self.pressures[queue].observe(percent, now);
        }
        let idle = depths.iter().all(|(messages, _)| *messages == 0);
        self.gauges_due = (!idle).then(|| now + GAUGE_INTERVAL);
    }
}

/// `cluster.log` (WIRE.md §5.10).
fn cluster_log_schema() -> LogSchema {
    let fields = vec![
        FieldSpec::new("ts", Scalar::Time),
        FieldSpec::new("node", Scalar::String),
        FieldSpec::new("message", Scalar::String),
    ];
    LogSchema::new(CLUSTER_LOG, "cluster", fields)
}
