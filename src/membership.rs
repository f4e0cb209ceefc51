//! The hello handshake and node liveness (WIRE.md §6) as a state machine.
//!
//! [`Membership`] is fed with what the node's XPUB and XSUB showed, and the time. It answers with
//! [`Action`]s to carry out. It opens no socket and reads no clock.
//!
//! A new node greets no peer before it knows that no other process has its name (`settling`).
//!
//! Two things differ from Zeek, on purpose (§6.4):
//!
//! - A changed id is *one* transition. Zeek queues the `node_down` of the old id and may handle the
//!   new id's hello before it, after which the node counts as dead for good.
//! - After the connection to the broker was lost and came back, nodes whose subscription does not
//!   reappear within a grace time are down. Zeek never finds out, because no unsubscription is sent
//!   for a node that died while the broker was down. A node whose subscription reappears later is
//!   up again without a new greeting: it never considered us down, and a second greeting would only
//!   make a Zeek peer warn.

mod settling;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use bstr::{BStr, BString, ByteSlice};

use self::settling::{Outcome, Settling};
use crate::event::Event;
use crate::topic::NodeId;
use crate::value::Value;

/// How many entries each table that strangers can fill may hold. Real clusters have a few hundred
/// nodes. Beyond the limit, a new subscription replaces the one that has waited longest for its
/// handshake, and further hellos are dropped, each with a warning.
pub const MAX_ENTRIES: usize = 10_000;

/// A longer id is not a node's. Zeek's are below 400 bytes, because host and node names are
/// limited.
pub const MAX_ID_LEN: usize = 1024;

/// What a [`Membership`] needs to know about its own node and the layout.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Own name.
    pub name: String,
    /// Own id.
    pub id: NodeId,
    /// Names of all nodes of the layout.
    pub nodes: BTreeSet<String>,
    /// `hello_expiration`: how long half a handshake is remembered.
    pub hello_expiration: Duration,
    /// Time between our first hello and our second to one peer; works around a race in Zeek, see
    /// §6.4.
    pub hello_delay: Duration,
    /// How long nodes have to reappear after a reconnect.
    pub reconcile_grace: Duration,
}

/// One of the two messages of the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hello {
    /// `Cluster::Backend::ZeroMQ::hello`: I see your subscription.
    Backend,
    /// `Cluster::hello`: I see your subscription, and what you publish reaches me.
    Cluster,
}

impl Hello {
    /// The name of the event on the wire.
    pub fn event_name(self) -> &'static str {
        match self {
            Hello::Backend => "Cluster::Backend::ZeroMQ::hello",
            Hello::Cluster => "Cluster::hello",
        }
    }

    /// The message with that event name.
    pub fn from_event_name(name: &[u8]) -> Option<Self> {
        [Hello::Backend, Hello::Cluster].into_iter().find(|h| h.event_name().as_bytes() == name)
    }
}

/// Reads an event as a greeting: the message, and the name and id of its sender; `None` for any
/// other event.
pub fn read_hello(event: &Event) -> Option<(Hello, &BStr, &BStr)> {
    let hello = Hello::from_event_name(&event.name)?;
    match event.args.as_slice() {
        [Value::String(name), Value::String(id)] => Some((hello, name.as_bstr(), id.as_bstr())),
        _ => None,
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Our XPUB shows a subscription to the nodeid topic of that id.
    Subscribed(NodeId),
    /// Our XPUB shows that this subscription is gone.
    Unsubscribed(NodeId),
    /// A hello arrived from a node that claims that name and id.
    Hello(Hello, BString, NodeId),
    /// Our XPUB lost its connection to the broker.
    Disconnected,
    /// The connection is back, and its handshake complete.
    Connected,
    /// All existing subscriptions have been shown: a probe has come back.
    Ready,
    /// Time has passed; see [`Membership::deadline`].
    Tick,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Publish the hello, with our name and id, to the nodeid topic of that id.
    Greet(Hello, NodeId),
    /// Notify the application.
    NodeUp(String, NodeId),
    /// Notify the application.
    NodeDown(String, NodeId),
    /// End: the process with that id has our name, and is alive.
    NameTaken(NodeId),
    /// Write a line to `cluster.log`.
    ClusterLog(String),
    /// Write a warning to this process's own log.
    Warn(Warning),
}

/// What a user should look at. The texts are Zeek's, where Zeek has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// A node greeted again needlessly.
    HelloTwice(String, NodeId),
    /// A node of that name greets with another id than the one that is up: (name, old, new).
    NeverSaidGoodbye(String, NodeId, NodeId),
    /// A second hello with an id that no first hello introduced.
    DuplicateNode(String),
    /// A hello from another process with our own name.
    SameName(NodeId),
    /// A hello from a name that is not in the layout.
    UnexpectedNode(BString),
    /// An unsubscription of an id that no node has.
    UnknownUnsubscription(NodeId),
    /// A subscription was seen, but its node never greeted.
    ExpiredSubscription(NodeId),
    /// A node greeted, but its subscription was never seen.
    ExpiredHello(NodeId),
    /// Too many strangers, or an id too long for a node: ignored.
    TooMany(NodeId),
}

impl Warning {
    /// A name for the kind of warning, used to limit repetitions.
    pub fn kind(&self) -> &'static str {
        match self {
            Warning::HelloTwice(..) => "hello twice",
            Warning::NeverSaidGoodbye(..) => "never said goodbye",
            Warning::DuplicateNode(_) => "duplicate node",
            Warning::SameName(_) => "same name",
            Warning::UnexpectedNode(_) => "unexpected node",
            Warning::UnknownUnsubscription(_) => "unknown unsubscription",
            Warning::ExpiredSubscription(_) => "expired subscription",
            Warning::ExpiredHello(_) => "expired hello",
            Warning::TooMany(_) => "too many",
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::HelloTwice(name, id) => {
                write!(f, "node '{name}' sends ZeroMQ::hello twice (id:{id})")
            }
            Warning::NeverSaidGoodbye(name, old, new) => {
                write!(f, "node '{name}' never said goodbye (old id:{old} new id:{new})")
            }
            Warning::DuplicateNode(name) => {
                write!(f, "Got Cluster::hello msg from duplicate node:{name}")
            }
            Warning::SameName(id) => write!(
                f,
                "another process runs under the name of this node (id:{id}): nodes see only the one \
                 that greeted last; stop one of them"
            ),
            Warning::UnexpectedNode(name) => {
                write!(f, "Got Cluster::hello msg from unexpected node: {name}")
            }
            Warning::UnknownUnsubscription(id) => {
                write!(f, "unsubscription of unknown node with id '{id}'")
            }
            Warning::ExpiredSubscription(id) => write!(f, "Expired subscription from nodeid {id}"),
            Warning::ExpiredHello(id) => write!(f, "Expired hello from nodeid {id}"),
            Warning::TooMany(id) => {
                let shown = &id.as_bytes()[..id.as_bytes().len().min(64)];
                write!(
                    f,
                    "too many unknown nodes, or an overlong id: ignored '{}'",
                    shown.as_bstr()
                )
            }
        }
    }
}

/// What is known about one subscribed nodeid topic.
#[derive(Clone, Debug)]
struct Seen {
    /// When our first hello was sent to it.
    greeted: Instant,
    /// Since when we wait for its first hello; `None` once it came (or the wait expired).
    awaiting: Option<Instant>,
    /// Whether our second hello was sent to it, or is due.
    answered: bool,
}

/// Which nodes have not reappeared since the connection to the broker was lost.
#[derive(Clone, Debug)]
struct Reconcile {
    missing: BTreeSet<NodeId>,
    /// Set once connected again.
    deadline: Option<Instant>,
}

/// The state machine. Feed it with [`Membership::handle`].
#[derive(Clone, Debug)]
pub struct Membership {
    settings: Settings,
    /// Set until it is known that no other process has our name.
    settling: Option<Settling>,
    /// Ids by the names of nodes that are up.
    up: BTreeMap<String, NodeId>,
    /// Nodeid topics that are known to be subscribed.
    seen: BTreeMap<NodeId, Seen>,
    /// Those of `seen` that are not up, oldest first: forgotten in this order when there are too
    /// many.
    strangers: BTreeSet<(Instant, NodeId)>,
    /// Zeek's `nodeid_hellos`: first hellos whose subscription has not been seen, and since when.
    hellos: BTreeMap<NodeId, Instant>,
    /// Second hellos that are not due yet.
    due: BTreeMap<NodeId, Instant>,
    reconcile: Option<Reconcile>,
    /// Nodes declared down by reconciliation, which may still reappear: names by id.
    vanished: BTreeMap<NodeId, String>,
    /// No later than the first thing that waits for time to pass. Stored rather than computed,
    /// because the tables may be large and every input needs it.
    next: Option<Instant>,
}

impl Membership {
    /// A node that knows no peers yet.
    pub fn new(settings: Settings) -> Self {
        Membership {
            settings,
            settling: Some(Settling::default()),
            up: BTreeMap::new(),
            seen: BTreeMap::new(),
            strangers: BTreeSet::new(),
            hellos: BTreeMap::new(),
            due: BTreeMap::new(),
            reconcile: None,
            vanished: BTreeMap::new(),
            next: None,
        }
    }

    /// The nodes that are up, names to ids, without our own.
    pub fn members(&self) -> &BTreeMap<String, NodeId> {
        &self.up
    }

    /// When [`Input::Tick`] is due, or somewhat sooner; `None` if nothing waits for time to pass.
    pub fn deadline(&self) -> Option<Instant> {
        self.settling.as_ref().map_or(self.next, Settling::deadline)
    }

    /// Whether the node takes part: no other process has its name. Until then it must not publish.
    pub fn is_settled(&self) -> bool {
        self.settling.is_none()
    }

    fn schedule(&mut self, time: Instant) {
        self.next = Some(self.next.map_or(time, |next| next.min(time)));
    }

    /// Handles an input and returns what to do about it, in order.
    pub fn handle(&mut self, input: Input, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        let Some(settling) = &mut self.settling else {
            self.take_in(input, now, &mut actions);
            return actions;
        };
        match settling.handle(input, &self.settings, now, &mut actions) {
            Outcome::Waits => {}
            Outcome::Taken(id) => actions.push(Action::NameTaken(id)),
            Outcome::Settled { inputs, greeted } => {
                self.settling = None;
                for input in inputs {
                    self.take_in(input, now, &mut actions);
                }
                let is_second = |action: &Action| match action {
                    Action::Greet(Hello::Backend, id) => greeted.contains(id),
                    _ => false,
                };
                actions.retain(|action| !is_second(action));
            }
        }
        actions
    }

    fn take_in(&mut self, input: Input, now: Instant, actions: &mut Vec<Action>) {
        self.pass_time(now, actions);
        match input {
            Input::Subscribed(id) => self.subscribed(id, now, actions),
            Input::Unsubscribed(id) => self.unsubscribed(&id, actions),
            // No other process has our id; one that claims it gets no answer.
            Input::Hello(_, _, id) if id == self.settings.id => {}
            Input::Hello(Hello::Backend, name, id) => {
                self.backend_hello(&name, id, now, actions);
            }
            Input::Hello(Hello::Cluster, name, id) => {
                self.cluster_hello(name, id.clone(), actions);
                self.answer_second_hello(id, now, actions);
            }
            Input::Disconnected => {
                self.reconcile = Some(Reconcile {
                    missing: self.seen.keys().cloned().collect(),
                    deadline: None,
                });
            }
            Input::Connected => {
                let deadline = now + self.settings.reconcile_grace;
                if let Some(reconcile) = &mut self.reconcile {
                    reconcile.deadline = Some(deadline);
                    self.schedule(deadline);
                }
            }
            Input::Ready | Input::Tick => {}
        }
    }

    fn subscribed(&mut self, id: NodeId, now: Instant, actions: &mut Vec<Action>) {
        if id == self.settings.id {
            return;
        }
        if let Some(reconcile) = &mut self.reconcile {
            reconcile.missing.remove(&id);
        }
        if self.seen.contains_key(&id) {
            return;
        }
        if id.as_bytes().len() > MAX_ID_LEN || !self.make_room(actions) {
            actions.push(Action::Warn(Warning::TooMany(id)));
            return;
        }
        self.strangers.insert((now, id.clone()));
        if let Some(name) = self.vanished.remove(&id)
            && !self.up.contains_key(&name)
        {
            self.seen.insert(id.clone(), Seen { greeted: now, awaiting: None, answered: true });
            self.bring_up(name, id, actions);
            return;
        }
        actions.push(Action::Greet(Hello::Backend, id.clone()));
        if self.hellos.remove(&id).is_some() {
            self.seen.insert(id.clone(), Seen { greeted: now, awaiting: None, answered: false });
            self.answer_greeting(id, now, actions);
        } else {
            self.schedule(now + self.settings.hello_expiration);
            self.seen.insert(id, Seen { greeted: now, awaiting: Some(now), answered: false });
        }
    }

    /// Makes room for one more subscription; `false` if all belong to nodes that are up.
    fn make_room(&mut self, actions: &mut Vec<Action>) -> bool {
        if self.seen.len() < MAX_ENTRIES {
            return true;
        }
        let Some((_, oldest)) = self.strangers.pop_first() else { return false };
        self.forget(&oldest);
        actions.push(Action::Warn(Warning::TooMany(oldest)));
        true
    }

    fn unsubscribed(&mut self, id: &NodeId, actions: &mut Vec<Action>) {
        if *id == self.settings.id {
            return;
        }
        self.forget(id);
        self.vanished.remove(id);
        if !self.take_down(id, actions) {
            actions.push(Action::Warn(Warning::UnknownUnsubscription(id.clone())));
        }
    }

    fn backend_hello(&mut self, name: &[u8], id: NodeId, now: Instant, actions: &mut Vec<Action>) {
        if let Some((name, old)) = name.to_str().ok().and_then(|name| self.up.get_key_value(name)) {
            if *old == id {
                actions.push(Action::Warn(Warning::HelloTwice(name.clone(), id.clone())));
                // Zeek stops here. But a node greets again when it saw our subscription go and come
                // back, and then waits for our second hello before it counts us as up.
                self.answer_greeting(id, now, actions);
                return;
            }
            let (name, old) = (name.clone(), old.clone());
            actions.push(Action::Warn(Warning::NeverSaidGoodbye(name, old.clone(), id.clone())));
            self.take_down(&old, actions);
        }
        if self.seen.contains_key(&id) {
            self.answer_greeting(id, now, actions);
        } else if self.hellos.len() >= MAX_ENTRIES || id.as_bytes().len() > MAX_ID_LEN {
            actions.push(Action::Warn(Warning::TooMany(id)));
        } else {
            self.hellos.insert(id, now);
            self.schedule(now + self.settings.hello_expiration);
        }
    }

    /// Sends the second hello to a node that greeted, if its subscription exists and no second
    /// hello is on its way already.
    fn answer_greeting(&mut self, id: NodeId, now: Instant, actions: &mut Vec<Action>) {
        if let Some(seen) = self.seen.get_mut(&id)
            && !self.due.contains_key(&id)
        {
            seen.awaiting = None;
            seen.answered = true;
            let greeted = seen.greeted;
            self.greet_later(id, greeted, now, actions);
        }
    }

    fn cluster_hello(&mut self, name: BString, id: NodeId, actions: &mut Vec<Action>) {
        let known = name.to_str().ok().filter(|name| self.settings.nodes.contains(*name));
        let Some(name) = known.map(str::to_owned) else {
            actions.push(Action::Warn(Warning::UnexpectedNode(name)));
            return;
        };
        match self.up.get(&name) {
            Some(old) if *old == id => {
                actions.push(got_hello(&name, &id));
                return;
            }
            _ if name == self.settings.name => {
                actions.push(Action::Warn(Warning::SameName(id.clone())));
                if let Some(old) = self.up.get(&name).cloned() {
                    self.take_down(&old, actions);
                }
            }
            Some(old) => {
                let old = old.clone();
                actions.push(Action::Warn(Warning::DuplicateNode(name.clone())));
                self.take_down(&old, actions);
            }
            None => {}
        }
        self.bring_up(name, id, actions);
    }

    /// Sends our second hello to a node that sent its own but never got ours: its first hello was
    /// missed or expired before its subscription was seen. Zeek does not, and the two disagree for
    /// good.
    fn answer_second_hello(&mut self, id: NodeId, now: Instant, actions: &mut Vec<Action>) {
        if self.seen.get(&id).is_some_and(|seen| !seen.answered) {
            self.answer_greeting(id, now, actions);
        }
    }

    /// Sends the second hello, but not sooner than `hello_delay` after the first.
    fn greet_later(
        &mut self,
        id: NodeId,
        greeted: Instant,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let time = greeted + self.settings.hello_delay;
        if time <= now {
            actions.push(Action::Greet(Hello::Cluster, id));
        } else {
            self.due.insert(id, time);
            self.schedule(time);
        }
    }

    fn bring_up(&mut self, name: String, id: NodeId, actions: &mut Vec<Action>) {
        actions.push(Action::NodeUp(name.clone(), id.clone()));
        actions.push(got_hello(&name, &id));
        if let Some(seen) = self.seen.get(&id) {
            self.strangers.remove(&(seen.greeted, id.clone()));
        }
        self.up.insert(name, id);
    }

    /// Marks the node with that id as down; `false` if no node has it.
    fn take_down(&mut self, id: &NodeId, actions: &mut Vec<Action>) -> bool {
        let Some(name) = self.up.iter().find(|(_, up)| *up == id).map(|(name, _)| name.clone())
        else {
            return false;
        };
        self.up.remove(&name);
        if let Some(seen) = self.seen.get(id) {
            self.strangers.insert((seen.greeted, id.clone()));
        }
        actions.push(Action::NodeDown(name.clone(), id.clone()));
        actions.push(Action::ClusterLog(format!("node down: {name}")));
        true
    }

    fn forget(&mut self, id: &NodeId) {
        if let Some(seen) = self.seen.remove(id) {
            self.strangers.remove(&(seen.greeted, id.clone()));
        }
        self.hellos.remove(id);
        self.due.remove(id);
        if let Some(reconcile) = &mut self.reconcile {
            reconcile.missing.remove(id);
        }
    }

    fn pass_time(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.next.is_none_or(|next| now < next) {
            return;
        }
        for (id, _) in self.due.extract_if(.., |_, time| *time <= now) {
            actions.push(Action::Greet(Hello::Cluster, id));
        }
        self.expire(now, actions);
        if self.reconcile.as_ref().is_some_and(|r| r.deadline.is_some_and(|time| time <= now)) {
            self.finish_reconcile(actions);
        }
        let halves = self.seen.values().filter_map(|seen| seen.awaiting);
        let halves = halves.chain(self.hellos.values().copied()).min();
        let expiry = halves.map(|since| since + self.settings.hello_expiration);
        let due = self.due.values().copied().min();
        let reconcile = self.reconcile.as_ref().and_then(|r| r.deadline);
        self.next = [expiry, due, reconcile].into_iter().flatten().min();
    }

    fn expire(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let expiration = self.settings.hello_expiration;
        for (id, seen) in &mut self.seen {
            // The subscription itself still exists; only the wait for its hello is over.
            if seen.awaiting.take_if(|since| now >= *since + expiration).is_some() {
                actions.push(Action::Warn(Warning::ExpiredSubscription(id.clone())));
            }
        }
        self.hellos.retain(|id, since| {
            let alive = now < *since + expiration;
            if !alive {
                actions.push(Action::Warn(Warning::ExpiredHello(id.clone())));
            }
            alive
        });
    }

    fn finish_reconcile(&mut self, actions: &mut Vec<Action>) {
        let missing = self.reconcile.take().map(|r| r.missing).unwrap_or_default();
        for id in missing {
            let name = self.up.iter().find(|(_, up)| **up == id).map(|(name, _)| name.clone());
            self.forget(&id);
            self.take_down(&id, actions);
            if let Some(name) = name
                && self.vanished.len() < MAX_ENTRIES
            {
                self.vanished.insert(id, name);
            }
        }
    }
}

fn got_hello(name: &str, id: &NodeId) -> Action {
    Action::ClusterLog(format!("got hello from {name} ({id})"))
}

#[cfg(test)]
mod tests;
