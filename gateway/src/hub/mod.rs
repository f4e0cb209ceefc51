//! [`Hub`]: the clients, what they have subscribed to, and what waits for each of them.
//!
//! It does no I/O. The rim feeds it with messages of clients and with events of the node, and asks
//! it what to send to whom, what to publish, and what to tell the node. An event is decoded and
//! turned into text once per version of the API, however many clients want it; their queues share
//! that text.
//!
//! Everything a client can make it hold is bounded: subscriptions, answers and events that wait
//! (`outbox`), what is kept for clients that return (`replay`).

mod outbox;
mod prefixes;
mod replay;
mod v1;
mod v2;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use bstr::{BStr, BString};
use bytes::Bytes;
use slab::Slab;
use zcluster::Event;
use zcluster::access::speaks_for_nodes;
use zcluster::node::guests::Change;
use zcluster::telemetry::ApplicationMetrics;
use zcluster::topic::Signals;
use zcluster::value::Timestamp;
use zcluster::wire::broker_json::{self, InvalidUtf8};

pub use outbox::{Bounds, Lag};
pub use v2::Nodes;

use crate::access::{Access, Admitted};
use crate::schema::Schema;
use crate::v2::{Delivery, ErrorCode, RequestId, ServerMessage};
use outbox::{Outbox, Queued};
use prefixes::Prefixes;
use replay::Replay;
use v1::First;
use v2::Second;

/// How many topics to remember the recipients of. A new topic beyond makes it forget them all.
const MAX_ROUTES: usize = 4_096;
/// How many requests of one client may wait for a confirmation. Beyond, it is not read.
const MAX_PENDING: usize = 100;
/// How many connections that a session has had before are remembered.
const MAX_FORMER: usize = 16;
/// The longest prefix and topic, in bytes, that a client may use. No real one is nearly as long.
const MAX_TOPIC: usize = 1024;

const TOO_SLOW: Closing =
    Closing { code: 1008, reason: "Client reads too slowly", is_urgent: true };
const NOT_ALLOWED: Closing =
    Closing { code: 1008, reason: "Access rules have changed", is_urgent: true };
const TERMINATING: Closing = Closing { code: 1001, reason: "Terminating", is_urgent: true };

/// What the hub does to a client whose queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Closes its connection.
    Close,
    /// Drops its oldest events; a client of version 2 is told.
    DropOldest,
}

/// How the gateway is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name of the node that hosts it.
    pub node: String,
    /// The id of that node's process.
    pub id: String,
    /// What version 1 calls the version of the server, and version 2 the server.
    pub server: String,
    /// Which subscriptions would have a meaning to nodes.
    pub signals: Signals,
    /// What may wait for one client.
    pub queue: Bounds,
    /// What to do beyond for clients of version 1; those of version 2 are told what was dropped.
    pub when_full: WhenFull,
    /// How many prefixes a client may have.
    pub max_subscriptions: usize,
    /// How many different prefixes all clients together may have.
    pub max_prefixes: usize,
    /// The longest prefix, in bytes.
    pub max_prefix_length: usize,
    /// The longest message of a client, in bytes.
    pub max_message_bytes: usize,
    /// The longest message on the bus, in bytes.
    pub max_bus_bytes: u64,
    /// What is kept for clients that return.
    pub replay: Bounds,
    /// For how long a lost client may return.
    pub resume_timeout: Duration,
    /// What events must look like, if that is declared.
    pub schema: Option<Arc<Schema>>,
}

/// The version of the API that a client uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Zeek's.
    V1,
    /// Ours.
    V2,
}

/// A client that has connected.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The version it asked for.
    pub version: Version,
    /// Where it is.
    pub peer: SocketAddr,
    /// What it calls itself (`X-Application-Name`).
    pub name: Option<String>,
    /// Who it is to access control, and what it may do.
    pub admitted: Admitted,
    /// Where to count.
    pub metrics: ApplicationMetrics,
    /// The secret by which a client of version 2 can return.
    pub session: String,
}

/// A client, until it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(usize);

/// How to tell a client whether its event was published: see [`Hub::published`].
#[derive(Debug)]
pub struct Reply(Option<RequestId>);

/// What the rim must do after a message.
#[derive(Debug)]
pub enum Outcome {
    /// Nothing, but send what waits.
    Done,
    /// Keep the message and hand it in again later: an earlier one is not carried out yet.
    Busy,
    /// Publish an event.
    Publish {
        /// The id of the client.
        sender: BString,
        /// The topic.
        topic: BString,
        /// The event.
        event: Event,
        /// Belongs to the result.
        reply: Reply,
    },
}

/// Why the gateway ends a connection: the code and the reason of the close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closing {
    /// The code (RFC 6455 §7.4).
    pub code: u16,
    /// The reason.
    pub reason: &'static str,
    /// Whether to end it even if what waits for the client cannot be sent before.
    pub is_urgent: bool,
}

/// What is to be announced on the hosting node (WIRE.md §3.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Announcement {
    /// A client has subscribed and can publish.
    Added {
        /// The client.
        endpoint: Endpoint,
        /// Its prefixes; `None` for a client of version 2, which has none yet.
        subscriptions: Option<Vec<BString>>,
    },
    /// Such a client is gone.
    Lost {
        /// The client.
        endpoint: Endpoint,
        /// The code of the close frame, or 1006.
        code: u16,
        /// The reason.
        reason: String,
    },
}

/// `Cluster::EndpointInfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The id of the client.
    pub id: String,
    /// Its address.
    pub peer: SocketAddr,
    /// What it calls itself.
    pub name: Option<String>,
    /// Who it is to access control, if it has proven it.
    pub application: Option<Arc<str>>,
}

/// The figures of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    /// The client.
    pub endpoint: Endpoint,
    /// The version of the API.
    pub version: Version,
    /// Who it is to access control.
    pub application: Option<Arc<str>>,
    /// How many prefixes it has.
    pub subscriptions: usize,
    /// Messages from it.
    pub received: u64,
    /// Messages to it.
    pub sent: u64,
    /// Messages that wait for it.
    pub queued: usize,
    /// Events that were dropped because it read too slowly.
    pub dropped: u64,
}

#[derive(Debug)]
enum Protocol {
    V1(First),
    V2(Second),
}

#[derive(Debug)]
struct Client {
    endpoint: Endpoint,
    number: u64,
    admitted: Admitted,
    metrics: ApplicationMetrics,
    protocol: Protocol,
    /// The numbers of connections that it has resumed, the last ones.
    former: VecDeque<u64>,
    prefixes: BTreeSet<BString>,
    outbox: Outbox,
    /// Requests that wait for a confirmation.
    pending: usize,
    /// Why the connection must end.
    closing: Option<Closing>,
    /// The task that sends, while it sleeps.
    waker: Option<Waker>,
    received: u64,
    sent: u64,
    dropped: u64,
}

impl Client {
    /// Whether it has published an event with this origin, also in a connection that it resumed.
    fn is_origin(&self, origin: Option<u64>) -> bool {
        origin.is_some_and(|origin| origin == self.number || self.former.contains(&origin))
    }

    /// Whether its messages must wait until an earlier one is carried out.
    fn is_busy(&self) -> bool {
        match &self.protocol {
            Protocol::V1(first) => first.is_waiting(),
            Protocol::V2(_) => self.pending >= MAX_PENDING,
        }
    }

    fn renew(&mut self, access: &Access) {
        let allowed = access.renew(&self.admitted).ok().filter(|admitted| {
            admitted.application == self.admitted.application
                && self.prefixes.iter().all(|prefix| admitted.rules.may_subscribe(prefix))
        });
        if let Some(admitted) = allowed {
            self.admitted = admitted;
        } else {
            self.forget_session();
            self.closing.get_or_insert(NOT_ALLOWED);
            self.wake();
        }
    }

    /// Whether events may be sent to it.
    fn is_listening(&self) -> bool {
        match &self.protocol {
            Protocol::V1(first) => first.is_open(),
            Protocol::V2(_) => true,
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn answer(&mut self, text: String) {
        self.after(|outbox| outbox.push_answer(Bytes::from(text)));
    }

    fn event(&mut self, text: &Bytes, seq: u64) {
        self.after(|outbox| outbox.push_event(text, seq));
    }

    fn replay(&mut self, events: Vec<(u64, Bytes)>) {
        if self.closing.is_none() {
            self.outbox.push_replay(events);
            self.wake();
        }
    }

    fn after(&mut self, push: impl FnOnce(&mut Outbox) -> Queued) {
        if self.closing.is_some() {
            return;
        }
        match push(&mut self.outbox) {
            Queued::Yes { dropped } => {
                self.dropped += dropped;
                if dropped > 0 {
                    self.metrics.dropped.inc_by(dropped);
                }
            }
            Queued::Overflow => {
                self.metrics.too_slow.inc();
                self.closing = Some(TOO_SLOW);
            }
        }
        self.wake();
    }
}

/// Who gets events on a topic.
#[derive(Debug, Default)]
struct Route {
    v1: Vec<usize>,
    v2: Vec<usize>,
}

/// A confirmation that a client waits for.
#[derive(Debug)]
struct Pending {
    number: u64,
    key: Key,
    client: u64,
    reply: Option<RequestId>,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Hub {
    settings: Settings,
    clients: Slab<Client>,
    opened: u64,
    prefixes: Prefixes,
    /// Prefix to the clients that listen to it.
    listeners: HashMap<BString, BTreeSet<usize>>,
    routes: HashMap<BString, Arc<Route>>,
    pending: VecDeque<Pending>,
    announcements: Vec<Announcement>,
    seq: u64,
    replay: Replay,
    /// Clients that may return, the oldest first.
    lost: VecDeque<(Key, u64)>,
    nodes: v2::Nodes,
    topics: HashMap<BString, u64>,
    scratch: Vec<u8>,
    is_ending: bool,
}

impl Hub {
    /// A hub without clients.
    pub fn new(settings: Settings, nodes: v2::Nodes) -> Self {
        Hub {
            replay: Replay::new(settings.replay),
            prefixes: Prefixes::new(settings.signals.clone(), settings.max_prefixes),
            settings,
            clients: Slab::new(),
            opened: 0,
            listeners: HashMap::new(),
            routes: HashMap::new(),
            pending: VecDeque::new(),
            announcements: Vec::new(),
            seq: 0,
            lost: VecDeque::new(),
            nodes,
            topics: HashMap::new(),
            scratch: Vec::new(),
            is_ending: false,
        }
    }

    /// How the gateway is set up.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    // Clients.

    /// Adds a client.
    pub fn open(&mut self, opening: Opening) -> Key {
        let number = self.opened;
        self.opened += 1;
        let id = format!("{}-websocket-{number}", self.settings.id);
        let (protocol, when_full) = match opening.version {
            Version::V1 => (Protocol::V1(First::default()), self.settings.when_full),
            // It is told what it missed.
            Version::V2 => (Protocol::V2(Second::new(opening.session)), WhenFull::DropOldest),
        };
        let (peer, name) = (opening.peer, opening.name);
        let application = opening.admitted.proven().cloned();
        let key = self.clients.insert(Client {
            endpoint: Endpoint { id, peer, name, application },
            number,
            admitted: opening.admitted,
            metrics: opening.metrics,
            protocol,
            former: VecDeque::new(),
            prefixes: BTreeSet::new(),
            outbox: Outbox::new(self.settings.queue, when_full),
            pending: 0,
            closing: self.is_ending.then_some(TERMINATING),
            waker: None,
            received: 0,
            sent: 0,
            dropped: 0,
        });
        let key = Key(key);
        if opening.version == Version::V2 {
            self.welcome(key);
        }
        key
    }

    /// Handles a message of a client, from a text frame or a binary one. Answers wake nobody: call
    /// [`Hub::watch`] again.
    pub fn message(&mut self, key: Key, text: &[u8], is_text: bool) -> Outcome {
        let Some(client) = self.clients.get_mut(key.0) else { return Outcome::Done };
        if client.closing == Some(NOT_ALLOWED) {
            return Outcome::Done;
        }
        if client.is_busy() {
            return Outcome::Busy;
        }
        client.received += 1;
        // Its task is awake, and looks at what waits before it sleeps.
        client.waker = None;
        match client.protocol {
            Protocol::V1(_) => self.message_v1(key, text),
            Protocol::V2(_) => self.message_v2(key, text, is_text),
        }
    }

    /// Tells a client that its events were accepted by the bus.
    pub fn published(&mut self, key: Key, replies: &[Reply]) {
        let Some(client) = self.clients.get_mut(key.0) else { return };
        client.metrics.outgoing_events.inc_by(replies.len() as u64);
        for reply in replies {
            client.answer_ok(reply.0.as_ref());
        }
    }

    /// Tells a client that its events were not accepted, because the node is ending.
    pub fn not_published(&mut self, key: Key, replies: &[Reply]) {
        let Some(client) = self.clients.get_mut(key.0) else { return };
        if let Protocol::V2(_) = client.protocol {
            for reply in replies {
                let why = "the node is shutting down";
                client.refuse(reply.0.as_ref(), ErrorCode::Unavailable, why);
            }
        }
    }

    /// Tells a client that its event is too long for the bus.
    pub fn too_long(&mut self, key: Key, reply: &Reply) {
        let why =
            format!("the event takes more than {} bytes on the bus", self.settings.max_bus_bytes);
        let Some(client) = self.clients.get_mut(key.0) else { return };
        match client.protocol {
            Protocol::V1(_) => self.refuse_v1(key, ErrorCode::TooLarge.as_str(), &why, false),
            Protocol::V2(_) => client.refuse(reply.0.as_ref(), ErrorCode::TooLarge, &why),
        }
    }

    /// Moves messages for a client, of about that many bytes, to `out`.
    pub fn take(&mut self, key: Key, out: &mut VecDeque<Bytes>, bytes: usize) {
        let Some(client) = self.clients.get_mut(key.0) else { return };
        if let Some(lag) = client.outbox.take_lag()
            && let Protocol::V2(_) = client.protocol
        {
            let Lag { dropped, from, to } = lag;
            let mut text = String::new();
            ServerMessage::Lagged { dropped: Some(dropped), from, to }.write(&mut text);
            out.push_back(text.into());
        }
        let before = out.len();
        client.outbox.take(out, bytes);
        client.sent += (out.len() - before) as u64;
    }

    /// Wakes `waker` once more waits for a client, or its connection must end. Returns why it must
    /// end, if it must now.
    pub fn watch(&mut self, key: Key, waker: &Waker) -> Option<Closing> {
        let client = self.clients.get_mut(key.0)?;
        match &mut client.waker {
            Some(known) => known.clone_from(waker),
            None => client.waker = Some(waker.clone()),
        }
        client.closing
    }

    /// Holds all clients against new rules, and ends the connections of those that may not have what
    /// they have.
    pub fn renew(&mut self, access: &Access) {
        for (_, client) in &mut self.clients {
            client.renew(access);
        }
        self.tick(Instant::now());
    }

    /// The same for a client that has just come: the rules may have changed since it was admitted.
    pub fn renew_client(&mut self, key: Key, access: &Access) {
        if let Some(client) = self.clients.get_mut(key.0) {
            client.renew(access);
        }
    }

    /// Ends the connections of all clients, and of those that still come.
    pub fn end(&mut self) {
        self.is_ending = true;
        for (_, client) in &mut self.clients {
            client.closing.get_or_insert(TERMINATING);
            client.wake();
        }
    }

    /// Removes a client. One of version 2 that did not end its session itself may return.
    pub fn close(&mut self, key: Key, code: u16, reason: &str, is_wanted: bool, now: Instant) {
        let Some(client) = self.clients.get_mut(key.0) else { return };
        client.waker = None;
        if client.is_announced() {
            self.announcements.push(Announcement::Lost {
                endpoint: client.endpoint.clone(),
                code,
                reason: reason.into(),
            });
        }
        if !is_wanted && self.keep(key, now) {
            return;
        }
        self.remove(key);
    }

    /// A client that is gone needs no confirmations.
    fn forget_pending(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key.0) else { return };
        if std::mem::take(&mut client.pending) > 0 {
            let number = client.number;
            self.pending.retain(|pending| pending.client != number);
        }
    }

    fn remove(&mut self, key: Key) -> Option<Client> {
        self.forget_pending(key);
        let client = self.clients.try_remove(key.0)?;
        for prefix in &client.prefixes {
            self.stop_listening(key, prefix);
            self.prefixes.remove(prefix);
        }
        Some(client)
    }

    /// The figures of all clients that are connected.
    pub fn figures(&self) -> Vec<Figures> {
        let clients = self.clients.iter().map(|(_, client)| client);
        let connected = clients.filter(|client| !client.is_lost());
        connected
            .map(|client| Figures {
                endpoint: client.endpoint.clone(),
                version: Self::version(client),
                application: client.admitted.application.clone(),
                subscriptions: client.prefixes.len(),
                received: client.received,
                sent: client.sent,
                queued: client.outbox.len(),
                dropped: client.dropped,
            })
            .collect()
    }

    // Subscriptions.

    /// What the node must be told about subscriptions, if anything.
    pub fn take_change(&mut self) -> Option<Change> {
        self.prefixes.take_change()
    }

    /// Every change up to that one is in effect.
    pub fn confirmed(&mut self, number: u64) {
        while self.pending.front().is_some_and(|pending| pending.number <= number)
            && let Some(pending) = self.pending.pop_front()
        {
            let same = |client: &&mut Client| client.number == pending.client;
            let Some(client) = self.clients.get_mut(pending.key.0).filter(same) else { continue };
            client.pending -= 1;
            // Messages may have waited for it.
            client.wake();
            match client.protocol {
                Protocol::V1(_) => self.acknowledge(pending.key),
                Protocol::V2(_) => client.answer_ok(pending.reply.as_ref()),
            }
        }
    }

    /// Gives prefixes to a client that does not have them, and asks for a confirmation.
    fn subscribe(&mut self, key: Key, prefixes: BTreeSet<BString>, reply: Option<RequestId>) {
        let client = &mut self.clients[key.0];
        let (number, is_listening) = (client.number, client.is_listening());
        for prefix in prefixes {
            if self.clients[key.0].prefixes.insert(prefix.clone()) {
                self.prefixes.add(&prefix);
                if is_listening {
                    self.listen(key, prefix);
                }
            }
        }
        self.clients[key.0].pending += 1;
        let asked = self.prefixes.ask();
        self.pending.push_back(Pending { number: asked, key, client: number, reply });
    }

    fn unsubscribe(&mut self, key: Key, prefix: &BString) {
        if self.clients[key.0].prefixes.remove(prefix) {
            self.stop_listening(key, prefix);
            self.prefixes.remove(prefix);
        }
    }

    /// From now on the client gets events of that prefix.
    fn listen(&mut self, key: Key, prefix: BString) {
        self.listeners.entry(prefix).or_default().insert(key.0);
        self.routes.clear();
    }

    fn stop_listening(&mut self, key: Key, prefix: &BString) {
        if let Some(listeners) = self.listeners.get_mut(prefix) {
            listeners.remove(&key.0);
            if listeners.is_empty() {
                self.listeners.remove(prefix);
            }
            self.routes.clear();
        }
    }

    // Events.

    /// An event has arrived from the bus. `decode` is called only if a client wants it. The client
    /// that published it does not get it.
    pub fn event(
        &mut self,
        topic: &BStr,
        sender: &BStr,
        received: Timestamp,
        decode: impl FnOnce() -> Option<Event>,
    ) {
        self.seq += 1;
        self.count_topic(topic);
        let route = self.route(topic);
        let origin = self.number_of(sender);
        let is_for = |key: &usize| self.clients.get(*key).is_some_and(|c| !c.is_origin(origin));
        if !route.v1.iter().chain(&route.v2).any(is_for) {
            return;
        }
        let Some(event) = decode() else { return };
        let seq = self.seq;
        if route.v1.iter().any(is_for) {
            self.scratch.clear();
            broker_json::encode_data_message(topic, &event, InvalidUtf8::Escape, &mut self.scratch);
            let text = Bytes::copy_from_slice(&self.scratch);
            self.deliver(&route.v1, origin, &text, seq);
        }
        if !route.v2.is_empty() {
            let schema = self.settings.schema.as_deref();
            let mut text = String::with_capacity(256);
            Delivery { seq, topic, event: &event, received }.write(schema, &mut text);
            let text = Bytes::from(text);
            self.deliver(&route.v2, origin, &text, seq);
            self.replay.push(seq, topic, origin, text);
        }
    }

    /// Events were lost between the node and the hub. Nobody knows for whom they were.
    pub fn missed(&mut self, count: u64) {
        if count == 0 {
            return;
        }
        let from = self.seq + 1;
        self.seq += count;
        self.replay.forget(self.seq);
        self.tell_missed(from, self.seq);
    }

    fn deliver(&mut self, keys: &[usize], origin: Option<u64>, text: &Bytes, seq: u64) {
        for key in keys {
            if let Some(client) = self.clients.get_mut(*key)
                && !client.is_origin(origin)
                && !client.is_lost()
            {
                client.metrics.incoming_events.inc();
                client.event(text, seq);
            }
        }
    }

    fn route(&mut self, topic: &BStr) -> Arc<Route> {
        if let Some(route) = self.routes.get(topic) {
            return Arc::clone(route);
        }
        let mut keys: BTreeSet<usize> = BTreeSet::new();
        for end in 0..=topic.len().min(MAX_TOPIC) {
            keys.extend(self.listeners.get(&topic[..end]).into_iter().flatten());
        }
        let mut route = Route::default();
        for key in keys {
            match self.clients[key].protocol {
                Protocol::V1(_) => route.v1.push(key),
                Protocol::V2(_) => route.v2.push(key),
            }
        }
        let route = Arc::new(route);
        if self.routes.len() >= MAX_ROUTES {
            self.routes.clear();
        }
        if topic.len() <= MAX_TOPIC {
            self.routes.insert(topic.into(), Arc::clone(&route));
        }
        route
    }

    /// The number of the client with that id, if it is one of ours.
    fn number_of(&self, sender: &BStr) -> Option<u64> {
        let rest =
            sender.strip_prefix(self.settings.id.as_bytes())?.strip_prefix(b"-websocket-")?;
        std::str::from_utf8(rest).ok()?.parse().ok()
    }

    fn count_topic(&mut self, topic: &BStr) {
        if let Some(count) = self.topics.get_mut(topic) {
            *count += 1;
        } else if self.topics.len() < MAX_ROUTES {
            self.topics.insert(topic.into(), 1);
        }
    }

    /// Events by topic since the last call, of a limited number of topics.
    pub fn take_topics(&mut self) -> HashMap<BString, u64> {
        std::mem::take(&mut self.topics)
    }

    /// What is to be announced.
    pub fn take_announcements(&mut self) -> Vec<Announcement> {
        std::mem::take(&mut self.announcements)
    }
}

impl Hub {
    /// Why a client may not have these prefixes, if it may not: code and sentence.
    fn refuse_prefixes(
        &mut self,
        key: Key,
        prefixes: &BTreeSet<BString>,
    ) -> Option<(ErrorCode, String)> {
        let client = &self.clients[key.0];
        let max = self.settings.max_subscriptions;
        let mut count = client.prefixes.len();
        for prefix in prefixes {
            let longest = self.settings.max_prefix_length.min(MAX_TOPIC);
            if prefix.len() > longest {
                let text = format!("a subscription is longer than {longest} bytes");
                return Some((ErrorCode::NotAllowed, text));
            }
            if !client.admitted.rules.may_subscribe(prefix) {
                let text = format!("not allowed to subscribe to `{prefix}`");
                return Some((ErrorCode::NotAllowed, text));
            }
            count += usize::from(!client.prefixes.contains(prefix));
            if count > max {
                let text = format!("more than {max} subscriptions");
                return Some((ErrorCode::TooManySubscriptions, text));
            }
        }
        // One that would never fit costs no lost client its session.
        let may_fit = prefixes.len() <= self.settings.max_prefixes;
        loop {
            let own = &self.clients[key.0].prefixes;
            if self.prefixes.has_room(prefixes.difference(own)) {
                return None;
            }
            // Who is there comes first.
            if !may_fit || !self.forget_oldest() {
                let text = "the clients of this gateway have too many subscriptions together";
                return Some((ErrorCode::TooManySubscriptions, text.into()));
            }
        }
    }

    /// Why a client may not publish an event, if it may not.
    fn refuse_event(&self, key: Key, topic: &BString, event: &Event) -> Option<String> {
        if topic.len() > MAX_TOPIC {
            return Some(format!("a topic is longer than {MAX_TOPIC} bytes"));
        }
        if speaks_for_nodes(&event.name) {
            return Some(format!("only nodes publish {}", event.name));
        }
        let is_allowed = self.clients[key.0].admitted.rules.may_publish(topic);
        (!is_allowed).then(|| format!("not allowed to publish on `{topic}`"))
    }
}
