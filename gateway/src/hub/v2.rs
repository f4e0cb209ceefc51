//! What the hub does for clients of version 2.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use bstr::BString;
use bytes::Bytes;
use subtle::ConstantTimeEq;
use zcluster::value::Timestamp;

use super::{
    Announcement, Client, Closing, Hub, Key, MAX_FORMER, Outcome, Protocol, Reply, Version,
};
use crate::v2::{
    ClientMessage, ErrorCode, Limits, NodeEntry, Notices, Refusal, Request, RequestId,
    ServerMessage, Stats, Welcome,
};

/// How many topics and clients are shown in `stats`.
const MAX_ROWS: usize = 100;
/// How many lost clients may return at the same time; the oldest can no longer.
const MAX_LOST: usize = 1_024;

/// The session goes on in another connection.
const RESUMED: Closing =
    Closing { code: 1008, reason: "Session resumed by another connection", is_urgent: true };

/// The state of a client of version 2.
#[derive(Debug)]
pub(super) struct Second {
    session: String,
    notices: Notices,
    /// Whether nothing has come from it.
    is_fresh: bool,
    /// Until when it may return, if its connection is lost.
    lost: Option<Instant>,
}

impl Second {
    pub(super) fn new(session: String) -> Self {
        Second { session, notices: Notices::default(), is_fresh: true, lost: None }
    }
}

/// The nodes of the cluster, and whether they are up.
#[derive(Debug)]
pub struct Nodes {
    /// Name to type, and id if it is up.
    nodes: BTreeMap<String, (&'static str, Option<String>)>,
    is_connected: bool,
}

impl Nodes {
    /// The nodes by name, with type, and with id if they are up.
    pub fn new(nodes: BTreeMap<String, (&'static str, Option<String>)>) -> Self {
        Nodes { nodes, is_connected: false }
    }
}

/// A message as text.
fn text(message: &ServerMessage<'_>) -> String {
    let mut text = String::new();
    message.write(&mut text);
    text
}

impl Client {
    /// Whether its connection is lost, and it may return.
    pub(super) fn is_lost(&self) -> bool {
        matches!(&self.protocol, Protocol::V2(second) if second.lost.is_some())
    }

    /// Whether its coming was announced.
    pub(super) fn is_announced(&self) -> bool {
        match &self.protocol {
            Protocol::V1(first) => first.is_open(),
            Protocol::V2(_) => true,
        }
    }

    /// From now on it cannot return.
    pub(super) fn forget_session(&mut self) {
        if let Protocol::V2(second) = &mut self.protocol {
            second.session.clear();
            // To be removed at the next look.
            second.lost = second.lost.map(|_| Instant::now());
        }
    }

    fn notices(&self) -> Notices {
        match &self.protocol {
            Protocol::V2(second) if second.lost.is_none() => second.notices,
            Protocol::V1(_) | Protocol::V2(_) => Notices::default(),
        }
    }

    /// Answers that a request was carried out, if it has an id.
    pub(super) fn answer_ok(&mut self, id: Option<&RequestId>) {
        if let Some(id) = id {
            self.answer(text(&ServerMessage::Ok { id }));
        }
    }

    pub(super) fn refuse(&mut self, id: Option<&RequestId>, code: ErrorCode, message: &str) {
        self.metrics.errors.inc();
        self.answer(text(&ServerMessage::Error { id, code, message }));
    }
}

impl Hub {
    /// Sends the first message of a connection.
    pub(super) fn welcome(&mut self, key: Key) {
        let (settings, seq) = (&self.settings, self.seq);
        let client = &mut self.clients[key.0];
        let Protocol::V2(second) = &client.protocol else { return };
        let welcome = text(&ServerMessage::Welcome(Welcome {
            endpoint: &client.endpoint.id,
            session: &second.session,
            seq,
            node: &settings.node,
            application: client.admitted.application.as_deref(),
            limits: Limits {
                message_bytes: settings.max_message_bytes as u64,
                subscriptions: settings.max_subscriptions as u64,
                queue_messages: settings.queue.messages as u64,
                queue_bytes: settings.queue.bytes as u64,
                replay_events: settings.replay.messages as u64,
                resume_seconds: settings.resume_timeout.as_secs(),
            },
        }));
        client.answer(welcome);
        let endpoint = client.endpoint.clone();
        self.announcements.push(Announcement::Added { endpoint, subscriptions: None });
    }

    pub(super) fn message_v2(&mut self, key: Key, text: &[u8], is_text: bool) -> Outcome {
        let refused = |message: &str| Refusal {
            id: None,
            code: ErrorCode::BadMessage,
            message: message.into(),
        };
        let schema = self.settings.schema.clone();
        let request = match std::str::from_utf8(text) {
            Ok(text) if is_text => Request::parse(text, schema.as_deref()),
            Ok(_) | Err(_) => Err(refused("expected a text frame")),
        };
        let client = &mut self.clients[key.0];
        let Protocol::V2(second) = &mut client.protocol else { return Outcome::Done };
        let is_first = std::mem::take(&mut second.is_fresh);
        let Request { id, message } = match request {
            Ok(request) => request,
            Err(Refusal { id, code, message }) => {
                client.refuse(id.as_ref(), code, &message);
                return Outcome::Done;
            }
        };
        let prefixes = |topics: Vec<Cow<'_, str>>| -> BTreeSet<BString> {
            topics.into_iter().map(|topic| BString::from(&*topic)).collect()
        };
        match message {
            ClientMessage::Subscribe { topics } => {
                let prefixes = prefixes(topics);
                match self.refuse_prefixes(key, &prefixes) {
                    Some((code, why)) => self.clients[key.0].refuse(id.as_ref(), code, &why),
                    None => self.subscribe(key, prefixes, id),
                }
            }
            ClientMessage::Unsubscribe { topics } => {
                for prefix in prefixes(topics) {
                    self.unsubscribe(key, &prefix);
                }
                self.clients[key.0].answer_ok(id.as_ref());
            }
            ClientMessage::Notices(notices) => {
                second.notices = notices;
                client.answer_ok(id.as_ref());
                self.tell_state(key, notices);
            }
            ClientMessage::Publish { topic, event } => {
                let topic = BString::from(&*topic);
                if let Some(why) = self.refuse_event(key, &topic, &event) {
                    self.clients[key.0].refuse(id.as_ref(), ErrorCode::NotAllowed, &why);
                } else if self.nodes.is_connected {
                    let sender = BString::from(self.clients[key.0].endpoint.id.as_str());
                    return Outcome::Publish { sender, topic, event, reply: Reply(id) };
                } else {
                    let why = "the node is not connected to the broker";
                    self.clients[key.0].refuse(id.as_ref(), ErrorCode::Unavailable, why);
                }
            }
            ClientMessage::Resume { session, after } if is_first => {
                self.resume(key, id.as_ref(), &session, after);
            }
            ClientMessage::Resume { .. } => {
                let why = "resume must be the first message of a connection";
                client.refuse(id.as_ref(), ErrorCode::NotAllowed, why);
            }
        }
        Outcome::Done
    }

    /// What a client of version 2 is told about a message that is too long, before its connection
    /// ends.
    pub fn too_large(&mut self, key: Key) {
        let max = self.settings.max_message_bytes;
        if let Some(client) = self.clients.get_mut(key.0)
            && matches!(client.protocol, Protocol::V2(_))
        {
            let why = format!("the message is longer than {max} bytes");
            client.refuse(None, ErrorCode::TooLarge, &why);
        }
    }

    // Sessions.

    /// Keeps a client whose connection is lost, so that it may return; `false` if it may not.
    pub(super) fn keep(&mut self, key: Key, now: Instant) -> bool {
        let timeout = self.settings.resume_timeout;
        let client = &mut self.clients[key.0];
        let Protocol::V2(second) = &mut client.protocol else { return false };
        if timeout.is_zero() || second.session.is_empty() || self.is_ending {
            return false;
        }
        second.lost = Some(now + timeout);
        self.forget_pending(key);
        let client = &mut self.clients[key.0];
        // What waited for it is in the replay buffer, if anywhere.
        client.outbox.clear();
        client.closing = None;
        self.lost.push_back((key, client.number));
        if self.lost.len() > MAX_LOST {
            self.forget_oldest();
        }
        true
    }

    /// Forgets the client that was lost first; `false` if there is none.
    pub(super) fn forget_oldest(&mut self) -> bool {
        let Some((oldest, number)) = self.lost.pop_front() else { return false };
        self.forget(oldest, number);
        true
    }

    /// Forgets a lost client.
    fn forget(&mut self, key: Key, number: u64) {
        if self.clients.get(key.0).is_some_and(|c| c.number == number && c.is_lost()) {
            self.remove(key);
        }
    }

    /// Forgets lost clients whose time is over.
    pub fn tick(&mut self, now: Instant) {
        for (key, number) in std::mem::take(&mut self.lost) {
            let until = self.clients.get(key.0).and_then(|client| match &client.protocol {
                Protocol::V2(second) if client.number == number => second.lost,
                Protocol::V1(_) | Protocol::V2(_) => None,
            });
            if until.is_some_and(|until| until > now) {
                self.lost.push_back((key, number));
            } else {
                self.forget(key, number);
            }
        }
    }

    /// Gives a client what a lost one had, and the events that it missed.
    fn resume(&mut self, key: Key, id: Option<&RequestId>, session: &str, after: u64) {
        let is_same = |(at, client): &(usize, &Client)| {
            let Protocol::V2(second) = &client.protocol else { return false };
            *at != key.0
                && bool::from(second.session.as_bytes().ct_eq(session.as_bytes()))
                && client.admitted.application == self.clients[key.0].admitted.application
        };
        let found = self.clients.iter().find(is_same).map(|(at, _)| at);
        let Some(old) = found.filter(|_| !session.is_empty() && after <= self.seq) else {
            let why = "there is no such session";
            self.clients[key.0].refuse(id, ErrorCode::ResumeFailed, why);
            return;
        };
        let lost = &mut self.clients[old];
        let prefixes = std::mem::take(&mut lost.prefixes);
        let mut former = std::mem::take(&mut lost.former);
        former.push_back(lost.number);
        if former.len() > MAX_FORMER {
            former.pop_front();
        }
        let Protocol::V2(second) = &mut lost.protocol else { return };
        second.session.clear();
        let notices = std::mem::take(&mut second.notices);
        if second.lost.is_some() {
            self.remove(Key(old));
        } else {
            lost.closing = Some(RESUMED);
            lost.wake();
        }
        for prefix in &prefixes {
            self.stop_listening(Key(old), prefix);
            self.listen(key, prefix.clone());
        }
        let is_wanted = |topic: &BString| prefixes.iter().any(|prefix| topic.starts_with(prefix));
        let (past, forgotten) = self.replay.after(after);
        let past: Vec<(u64, Bytes)> = past
            .filter(|past| !past.origin.is_some_and(|origin| former.contains(&origin)))
            .filter(|past| is_wanted(&past.topic))
            .map(|past| (past.seq, past.text.clone()))
            .collect();
        let client = &mut self.clients[key.0];
        client.prefixes = prefixes;
        client.former = former;
        if let Protocol::V2(second) = &mut client.protocol {
            second.notices = notices;
        }
        let (replayed, complete) = (past.len() as u64, forgotten.is_none());
        client.answer(text(&ServerMessage::Resumed { id, replayed, complete }));
        if let Some(to) = forgotten {
            let from = after + 1;
            client.answer(text(&ServerMessage::Lagged { dropped: None, from, to }));
        }
        client.replay(past);
        self.tell_state(key, notices);
    }

    // Notices.

    /// Tells a client what is the case now.
    fn tell_state(&mut self, key: Key, notices: Notices) {
        let client = &mut self.clients[key.0];
        if notices.nodes {
            let entries: Vec<NodeEntry<'_>> = (self.nodes.nodes.iter())
                .map(|(node, (node_type, id))| NodeEntry {
                    node,
                    node_type,
                    id: id.as_deref(),
                    up: id.is_some(),
                })
                .collect();
            client.answer(text(&ServerMessage::Nodes { nodes: &entries }));
        }
        if notices.bus {
            client.answer(text(&ServerMessage::Bus { connected: self.nodes.is_connected }));
        }
    }

    fn notify(&mut self, wants: impl Fn(Notices) -> bool, message: &ServerMessage<'_>) {
        self.tell(|client| wants(client.notices()), message);
    }

    fn tell(&mut self, whom: impl Fn(&Client) -> bool, message: &ServerMessage<'_>) {
        let text = Bytes::from(text(message));
        for (_, client) in &mut self.clients {
            if whom(client) {
                client.after(|outbox| outbox.push_answer(text.clone()));
            }
        }
    }

    /// Tells the clients that hear events that some are missing.
    pub(super) fn tell_missed(&mut self, from: u64, to: u64) {
        let hears = |client: &Client| {
            Self::version(client) == Version::V2 && !client.is_lost() && !client.prefixes.is_empty()
        };
        self.tell(hears, &ServerMessage::Lagged { dropped: None, from, to });
    }

    /// A node is up, with that id, or gone.
    pub fn node_changed(&mut self, name: &str, id: Option<String>, ts: Timestamp) {
        let Some((_, known)) = self.nodes.nodes.get_mut(name) else { return };
        let before = std::mem::replace(known, id.clone());
        if let Some(id) = before.filter(|before| id.as_ref() != Some(before)) {
            let down = ServerMessage::NodeDown { node: name, id: &id, ts };
            self.notify(|notices| notices.nodes, &down);
        }
        if let Some(id) = id {
            self.notify(
                |notices| notices.nodes,
                &ServerMessage::NodeUp { node: name, id: &id, ts },
            );
        }
    }

    /// The connection to the broker is there, or lost.
    pub fn bus_changed(&mut self, connected: bool) {
        if self.nodes.is_connected != connected {
            self.nodes.is_connected = connected;
            self.notify(|notices| notices.bus, &ServerMessage::Bus { connected });
        }
    }

    /// Whether anybody wants [`Stats`].
    pub fn wants_stats(&self) -> bool {
        self.clients.iter().any(|(_, client)| client.notices().stats)
    }

    /// Sends measurements to whom wants them: of topics and clients, the first 100. Who may not subscribe to everything sees neither other
    /// topics than its own nor other clients.
    pub fn stats(&mut self, stats: &Stats<'_>) {
        let sees_all = |client: &Client| client.admitted.rules.may_subscribe("");
        let mut first = stats.clone();
        first.topics.truncate(MAX_ROWS);
        first.clients.truncate(MAX_ROWS);
        self.tell(
            |client| client.notices().stats && sees_all(client),
            &ServerMessage::Stats(&first),
        );
        let limited: Vec<Key> = (self.clients.iter())
            .filter(|(_, client)| client.notices().stats && !client.is_lost() && !sees_all(client))
            .map(|(key, _)| Key(key))
            .collect();
        for key in limited {
            let client = &mut self.clients[key.0];
            let (rules, endpoint) = (&client.admitted.rules, &client.endpoint.id);
            let mut own = stats.clone();
            own.topics.retain(|topic| rules.may_subscribe(&*topic.topic));
            own.topics.truncate(MAX_ROWS);
            own.clients.retain(|client| client.endpoint == *endpoint);
            let text = Bytes::from(text(&ServerMessage::Stats(&own)));
            client.after(|outbox| outbox.push_answer(text));
        }
    }

    /// The version that a client uses.
    pub(super) fn version(client: &Client) -> Version {
        match client.protocol {
            Protocol::V1(_) => Version::V1,
            Protocol::V2(_) => Version::V2,
        }
    }
}
