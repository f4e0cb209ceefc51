//! [`Guests`]: what a gateway has of the node that hosts it.
//!
//! Programs that do not speak ZeroMQ take part in the cluster through a gateway. To the node they are
//! guests: they have subscriptions of their own, whose events do not reach the node's application,
//! and they publish under ids of their own. All of them share the node's connection to the bus.
//!
//! | queue | bound | when full |
//! |---|---|---|
//! | events for guests | `onloop_queue_hwm` and `onloop_queue_bytes` | the event is dropped and counted |
//! | events from guests, in groups | chosen by the gateway | [`Guests::try_publish`] returns the group |
//!
//! Events of guests wait here, not in the node's outbox, until the bus has room for them: a gateway
//! holds its clients back instead of dropping.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;
use std::vec;

use bstr::BString;

use super::{Node, NodeError, Outgoing, ReceivedEvent};
use crate::Event;
use crate::queue::{self, Limits, Rejected};
use crate::telemetry::NodeMetrics;
use crate::topic::NodeId;

/// What a gateway learns from its node, in the order it happened.
#[derive(Debug)]
pub enum Arrival {
    /// An event on a topic that a guest has subscribed to.
    Event(ReceivedEvent),
    /// Events were dropped here, because those before were not received in time.
    Missed(Missed),
    /// Every [`Change`] up to the one with this number is in effect, and events published from now
    /// on reach every subscriber.
    Confirmed(u64),
    /// A node is up.
    NodeUp {
        /// Its name in the layout.
        name: String,
        /// The id of its process.
        id: NodeId,
    },
    /// A node is gone.
    NodeDown {
        /// Its name in the layout.
        name: String,
        /// The id of the process that is gone.
        id: NodeId,
    },
    /// The bus has answered, for the first time or after a loss of the connection, and has all
    /// subscriptions of guests again.
    Connected,
    /// The connection to the broker is lost.
    Disconnected,
}

/// How many events were dropped: see [`Arrival::Missed`].
#[derive(Clone, Debug, Default)]
pub struct Missed(Arc<AtomicU64>);

impl Missed {
    /// The number so far. What is dropped from now on is announced again.
    pub fn take(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

/// A change of the subscriptions of all guests together. Each prefix is subscribed once, however many
/// guests want it (WIRE.md §1.4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Prefixes that nobody had before.
    pub subscribe: Vec<BString>,
    /// Prefixes that nobody needs any more.
    pub unsubscribe: Vec<BString>,
    /// Asks for [`Arrival::Confirmed`] with this number. Later changes have larger numbers.
    pub confirm: Option<u64>,
}

/// One event of a guest, ready to be sent: see [`Guests::prepare`].
#[derive(Debug)]
pub struct GuestEvent {
    pub(super) sender: BString,
    pub(super) topic: BString,
    pub(super) payload: Vec<u8>,
}

impl GuestEvent {
    /// Its size in bytes, as the queue counts it.
    pub fn size(&self) -> usize {
        self.sender.len() + self.topic.len() + self.payload.len()
    }

    /// How long its message is on the bus, at most. A broker cuts off a node that sends more than
    /// `max_message_size`.
    pub fn bus_bytes(&self) -> u64 {
        // Four frames, one of which names the format, with headers of up to nine bytes.
        const FRAMING: usize = 4 * 9 + 32;
        (self.size() + FRAMING) as u64
    }
}

/// The gateway's side: a handle to the node and what arrives from it. Dropping it ends the
/// subscriptions of all guests.
pub struct Guests {
    node: Node,
    arrivals: queue::Receiver<Arrival>,
    groups: queue::Sender<Vec<GuestEvent>>,
    door: Arc<Door>,
}

/// What both sides know of the events of guests.
#[derive(Debug, Default)]
struct Door {
    /// Whether the gateway waits for room.
    is_waiting: AtomicBool,
    /// How many events wait.
    events: AtomicUsize,
}

impl fmt::Debug for Guests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guests").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Guests {
    /// The node that hosts them.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Changes subscriptions. Does not block.
    ///
    /// # Errors
    /// [`NodeError::Closed`] after shutdown; [`NodeError::QueueFull`] when thousands of such requests
    /// wait, with nothing changed.
    pub fn change(&self, change: Change) -> Result<(), NodeError> {
        self.node.command(Outgoing::Guests(change))
    }

    /// Prepares an event that is published under the id of a guest.
    pub fn prepare(
        &self,
        sender: impl Into<BString>,
        topic: impl Into<BString>,
        event: &Event,
    ) -> GuestEvent {
        let mut payload = Vec::with_capacity(256);
        self.node.shared.format.encode(event, &mut payload);
        GuestEvent { sender: sender.into(), topic: topic.into(), payload }
    }

    /// Publishes a group of events, in order. Does not block.
    ///
    /// Waking the node's thread costs more than an event does, so a gateway hands over together what
    /// has come together.
    ///
    /// # Errors
    /// [`Rejected::Full`] while groups of events wait for the bus: once there is room, the gateway is
    /// told. [`Rejected::Closed`] after shutdown. Both return the group, of which nothing is
    /// published.
    pub fn try_publish(&self, group: Vec<GuestEvent>) -> Result<(), Rejected<Vec<GuestEvent>>> {
        let bytes = group.iter().map(GuestEvent::size).sum();
        let count = group.len();
        // Before the node can take them.
        self.door.events.fetch_add(count, Ordering::Relaxed);
        let mut answer = self.groups.try_send(group, bytes);
        if let Err(Rejected::Full(group)) = answer {
            // The node may have made room just before it could know that somebody waits.
            self.door.is_waiting.store(true, Ordering::SeqCst);
            answer = self.groups.try_send(group, bytes);
        }
        if answer.is_err() {
            self.door.events.fetch_sub(count, Ordering::Relaxed);
        }
        answer
    }

    /// Writes a line of `cluster.log`. Does not block.
    ///
    /// # Errors
    /// As [`Guests::change`].
    pub fn log(&self, line: impl Into<String>) -> Result<(), NodeError> {
        self.node.cluster_log(line)
    }

    /// What has arrived, if anything. Does not block.
    pub fn try_receive(&self) -> Option<Arrival> {
        self.arrivals.try_receive()
    }

    /// Events that have arrived and wait to be received, and their bytes.
    pub fn waiting(&self) -> (usize, usize) {
        self.arrivals.depth()
    }
}

impl Node {
    /// Makes this node host guests. `arrived` and `has_room` are called on the I/O thread, once a
    /// turn: when something has arrived for them, and when there is room again for a group of their
    /// events. They must not block. `outgoing` bounds the groups of events that wait for the bus.
    ///
    /// A node hosts one gateway: an earlier one gets nothing more.
    ///
    /// # Errors
    /// As [`Node::subscribe`].
    pub fn host(
        &self,
        outgoing: Limits,
        arrived: impl Fn() + Send + Sync + 'static,
        has_room: impl Fn() + Send + Sync + 'static,
    ) -> Result<Guests, NodeError> {
        let shared = &self.shared;
        let (sender, arrivals) = queue::bounded(shared.received_limits, || {});
        let waker = Arc::clone(&shared.waker);
        let (groups, receiver) = queue::bounded(outgoing, move || waker.wake());
        let door = Arc::<Door>::default();
        let desk = Desk {
            arrivals: sender,
            groups: receiver,
            door: Arc::clone(&door),
            arrived: Box::new(arrived),
            has_room: Box::new(has_room),
            has_news: false,
            has_made_room: false,
            group: Vec::new().into_iter(),
            is_away: true,
            missed: Missed::default(),
            stuck: None,
            confirmations: Confirmations::default(),
        };
        self.command(Outgoing::Host(Box::new(desk)))?;
        Ok(Guests { node: self.clone(), arrivals, groups, door })
    }
}

/// The I/O thread's side.
pub(super) struct Desk {
    arrivals: queue::Sender<Arrival>,
    groups: queue::Receiver<Vec<GuestEvent>>,
    door: Arc<Door>,
    arrived: Box<dyn Fn() + Send + Sync>,
    has_room: Box<dyn Fn() + Send + Sync>,
    /// Something has arrived since the gateway was last told.
    has_news: bool,
    /// A group has left the queue in this turn.
    has_made_room: bool,
    /// The rest of the group that left it last.
    group: vec::IntoIter<GuestEvent>,
    /// Whether the bus may lack subscriptions of guests, so that what others of them publish would
    /// not reach them.
    is_away: bool,
    /// Events dropped that the gateway has not heard of.
    missed: Missed,
    /// The event that found no room on the bus.
    stuck: Option<GuestEvent>,
    confirmations: Confirmations,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("confirmations", &self.confirmations).finish_non_exhaustive()
    }
}

impl Desk {
    /// Passes an event on; `false` if it is dropped because the gateway reads too slowly.
    pub(super) fn deliver(&mut self, event: ReceivedEvent, metrics: &NodeMetrics) -> bool {
        self.has_news = true;
        let bytes = event.size();
        let is_dropped =
            matches!(self.arrivals.try_send(Arrival::Event(event), bytes), Err(Rejected::Full(_)));
        if is_dropped {
            metrics.onloop_drops.inc();
            if self.missed.0.fetch_add(1, Ordering::Relaxed) == 0 {
                self.tell(Arrival::Missed(self.missed.clone()));
            }
        }
        !is_dropped
    }

    /// Passes on what is no event, in the lane that events cannot fill.
    pub(super) fn tell(&mut self, arrival: Arrival) {
        self.has_news = true;
        // A gateway that is gone needs no news, and one that reads nothing has lost its events, too.
        let _ = self.arrivals.send_control(arrival);
    }

    /// The guests of a node that is connected arrive: they have no subscriptions yet.
    pub(super) fn begin(&mut self) {
        self.is_away = false;
        self.tell(Arrival::Connected);
    }

    pub(super) fn disconnected(&mut self) {
        self.is_away = true;
        self.confirmations.disconnected();
        self.tell(Arrival::Disconnected);
    }

    /// The bus has answered the node. That answer may have overtaken subscriptions of guests, so
    /// another one is awaited.
    pub(super) fn reconnected(&mut self) {
        self.confirmations.want(0);
    }

    /// Asks for the confirmation with that number.
    pub(super) fn want(&mut self, number: u64) {
        self.confirmations.want(number);
    }

    /// The topic of a probe that should leave now, if one should. The bus must be connected:
    /// otherwise the probe would leave among all other subscriptions and could overtake them.
    pub(super) fn probe(
        &mut self,
        now: Instant,
        topic: impl FnOnce() -> BString,
    ) -> Option<BString> {
        self.confirmations.is_due().then(|| {
            let topic = topic();
            self.confirmations.sent(topic.clone(), now);
            topic
        })
    }

    /// The probe that is under way, and since when.
    pub(super) fn probe_under_way(&self) -> Option<(&BString, Instant)> {
        self.confirmations.under_way.as_ref().map(|inquiry| (&inquiry.topic, inquiry.sent))
    }

    /// Whether a subscription that our XPUB shows is a probe of the guests.
    pub(super) fn is_probe(&mut self, prefix: &BString) -> bool {
        let seen = self.confirmations.seen(prefix);
        if let Seen::Confirmed(number) = seen {
            if std::mem::take(&mut self.is_away) {
                self.tell(Arrival::Connected);
            }
            self.tell(Arrival::Confirmed(number));
        }
        seen != Seen::Other
    }

    /// Whether events of guests may be published.
    pub(super) fn can_publish(&self) -> bool {
        !self.is_away
    }

    /// The next event to publish.
    pub(super) fn next_event(&mut self) -> Option<GuestEvent> {
        if let Some(event) = self.stuck.take() {
            return Some(event);
        }
        loop {
            if let Some(event) = self.group.next() {
                self.door.events.fetch_sub(1, Ordering::Relaxed);
                return Some(event);
            }
            self.group = self.groups.try_receive()?.into_iter();
            self.has_made_room = true;
        }
    }

    /// Keeps the event that [`Desk::next_event`] returned, because the bus has no room.
    pub(super) fn put_back(&mut self, event: GuestEvent) {
        self.stuck = Some(event);
    }

    /// Events that wait for the bus.
    pub(super) fn waiting(&self) -> usize {
        usize::from(self.stuck.is_some()) + self.door.events.load(Ordering::Relaxed)
    }

    /// Whether the gateway is gone.
    pub(super) fn is_closed(&self) -> bool {
        self.arrivals.is_closed()
    }

    /// Tells the gateway what it must know.
    pub(super) fn finish_turn(&mut self) {
        if std::mem::take(&mut self.has_news) {
            (self.arrived)();
        }
        // It asks for room only after it has found none, so room that was made earlier is no news.
        if std::mem::take(&mut self.has_made_room)
            && self.door.is_waiting.load(Ordering::SeqCst)
            && self.door.is_waiting.swap(false, Ordering::SeqCst)
        {
            (self.has_room)();
        }
    }
}

/// Finds out when changes are in effect. The connection keeps the order of subscriptions, so a fresh
/// one of our own (WIRE.md §1.8) that comes back to the XPUB shows that all before it have arrived.
/// One probe serves all changes that wait when it leaves.
///
/// A connection that was lost begins again with all subscriptions in no particular order. The probe
/// may then overtake them, so a second one follows.
#[derive(Debug, Default)]
struct Confirmations {
    /// The largest number to confirm that no probe covers yet.
    wanted: Option<u64>,
    under_way: Option<Inquiry>,
}

#[derive(Debug)]
struct Inquiry {
    topic: BString,
    sent: Instant,
    number: u64,
    is_doubtful: bool,
}

impl Confirmations {
    fn want(&mut self, number: u64) {
        self.wanted = self.wanted.max(Some(number));
    }

    /// Whether a probe should leave now; [`Confirmations::sent`] follows.
    fn is_due(&self) -> bool {
        self.wanted.is_some() && self.under_way.is_none()
    }

    fn sent(&mut self, topic: BString, now: Instant) {
        if let Some(number) = self.wanted.take() {
            self.under_way = Some(Inquiry { topic, sent: now, number, is_doubtful: false });
        }
    }

    fn disconnected(&mut self) {
        if let Some(inquiry) = &mut self.under_way {
            inquiry.is_doubtful = true;
        }
    }

    /// What that subscription, which our XPUB shows, means.
    fn seen(&mut self, prefix: &BString) -> Seen {
        match self.under_way.take_if(|inquiry| inquiry.topic == *prefix) {
            None => Seen::Other,
            Some(inquiry) if inquiry.is_doubtful => {
                self.wanted = Some(self.wanted.unwrap_or(inquiry.number));
                Seen::Doubtful
            }
            Some(inquiry) => Seen::Confirmed(inquiry.number),
        }
    }
}

/// What a subscription means to [`Confirmations`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// It is no probe.
    Other,
    /// The probe that came back proves nothing.
    Doubtful,
    /// Everything up to that number is in effect.
    Confirmed(u64),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A desk before a gateway, and what arrives there; `told` counts the news of room.
    fn desk(
        groups: queue::Receiver<Vec<GuestEvent>>,
        door: &Arc<Door>,
        told: &Arc<AtomicUsize>,
    ) -> (Desk, queue::Receiver<Arrival>) {
        let (sender, arrivals) = queue::bounded(Limits { messages: 1, bytes: 0 }, || {});
        let told = Arc::clone(told);
        let desk = Desk {
            arrivals: sender,
            groups,
            door: Arc::clone(door),
            arrived: Box::new(|| {}),
            has_room: Box::new(move || {
                told.fetch_add(1, Ordering::Relaxed);
            }),
            has_news: false,
            has_made_room: false,
            group: Vec::new().into_iter(),
            is_away: true,
            missed: Missed::default(),
            stuck: None,
            confirmations: Confirmations::default(),
        };
        (desk, arrivals)
    }

    #[test]
    fn guests_are_connected_once_their_subscriptions_are() {
        let (_, groups) = queue::bounded(Limits { messages: 1, bytes: 0 }, || {});
        let (mut desk, arrivals) = desk(groups, &Arc::default(), &Arc::default());
        desk.begin();
        assert!(desk.can_publish());
        desk.disconnected();
        desk.want(7);
        assert!(!desk.can_publish());
        desk.reconnected();
        let probe = desk.probe(Instant::now(), || "probe.1.".into()).unwrap();
        assert!(!desk.is_probe(&"other".into()) && !desk.can_publish());
        assert!(desk.is_probe(&probe) && desk.can_publish());
        assert_eq!(desk.probe(Instant::now(), || "probe.2.".into()), None);
        let arrived: Vec<Arrival> = std::iter::from_fn(|| arrivals.try_receive()).collect();
        assert!(
            matches!(
                arrived[..],
                [
                    Arrival::Connected,
                    Arrival::Disconnected,
                    Arrival::Connected,
                    Arrival::Confirmed(7)
                ]
            ),
            "{arrived:?}"
        );
    }

    #[test]
    fn room_is_told_once_to_who_asks_and_events_stay_in_order() {
        let limits = Limits { messages: 1, bytes: 0 };
        let (groups, receiver) = queue::bounded(limits, || {});
        let (told, door) = (Arc::<AtomicUsize>::default(), Arc::<Door>::default());
        let (mut desk, _arrivals) = desk(receiver, &door, &told);
        let publish = |topics: &[&str]| {
            let event = |topic: &&str| GuestEvent {
                sender: "guest".into(),
                topic: (*topic).into(),
                payload: Vec::new(),
            };
            let answer = groups.try_send(topics.iter().map(event).collect(), 1);
            door.events.fetch_add(if answer.is_ok() { topics.len() } else { 0 }, Ordering::Relaxed);
            answer.is_ok()
        };
        assert!(publish(&["a", "b"]));
        assert!(!publish(&["c"]), "no room");
        door.is_waiting.store(true, Ordering::SeqCst);
        desk.finish_turn();
        assert_eq!((told.load(Ordering::Relaxed), desk.waiting()), (0, 2));

        let event = desk.next_event().unwrap();
        assert_eq!((event.topic.as_slice(), desk.waiting()), (&b"a"[..], 1));
        desk.put_back(event);
        assert_eq!(desk.waiting(), 2);
        desk.finish_turn();
        desk.finish_turn();
        assert_eq!(told.load(Ordering::Relaxed), 1);
        assert!(publish(&["c"]));
        let topics: Vec<BString> =
            std::iter::from_fn(|| desk.next_event()).map(|event| event.topic).collect();
        assert_eq!(topics, ["a", "b", "c"]);
        desk.finish_turn();
        assert_eq!((told.load(Ordering::Relaxed), desk.waiting()), (1, 0), "nobody asks");
    }

    #[test]
    fn one_probe_confirms_all_changes_before_it() {
        let mut confirmations = Confirmations::default();
        assert!(!confirmations.is_due());
        confirmations.want(1);
        confirmations.want(2);
        assert!(confirmations.is_due());
        confirmations.sent("probe.1.".into(), Instant::now());
        confirmations.want(3);
        confirmations.want(0);
        assert!(!confirmations.is_due(), "one at a time");
        assert_eq!(confirmations.seen(&"other".into()), Seen::Other);
        assert_eq!(confirmations.seen(&"probe.1.".into()), Seen::Confirmed(2));
        assert!(confirmations.is_due());
        confirmations.sent("probe.2.".into(), Instant::now());
        assert_eq!(confirmations.seen(&"probe.2.".into()), Seen::Confirmed(3));
        assert!(!confirmations.is_due());
    }

    #[test]
    fn a_probe_that_saw_the_connection_break_confirms_nothing() {
        let mut confirmations = Confirmations::default();
        confirmations.want(1);
        confirmations.sent("probe.1.".into(), Instant::now());
        confirmations.disconnected();
        assert_eq!(confirmations.seen(&"probe.1.".into()), Seen::Doubtful);
        assert!(confirmations.is_due());
        confirmations.sent("probe.2.".into(), Instant::now());
        assert_eq!(confirmations.seen(&"probe.2.".into()), Seen::Confirmed(1));
    }
}
