//! Interprets what was read from a peer: handshake, events, subscriptions, commands.
//!
//! Whatever must not be forwarded ends here: events that the cluster protocol does not know
//! (WIRE.md §1.2), anything but subscriptions from subscribers, and what the peer's node is not
//! allowed to say.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bstr::{BStr, ByteSlice};
use zcluster::access::{Access, Guard, Identity};
use zcluster::telemetry::BrokerSocket;
use zcluster::wire::EventFormat;
use zcluster::wire::zmtp::{
    Command, Item, Message, MessageReader, Open, Opening, Step, ZmtpError, put_frame, put_pong,
};

use super::bytes::Chunk;
use super::connection::{Connection, Gone, State};
use super::delivery::Delivery;
use super::refusals::{Fault, Refusals};
use super::router::{Route, Topic};
use super::run::Run;

/// PONGs that may wait for a peer that does not read; further PINGs go unanswered.
const MAX_ANSWERS: usize = 64 << 10;

impl Delivery<'_> {
    /// Processes the bytes of a read, starting at the incomplete message.
    pub(super) fn sort(&mut self, connection: &mut Connection, chunk: &Chunk) -> Result<(), Gone> {
        let State::Greeting(opening) = &mut connection.state else {
            return self.sort_frames(connection, chunk);
        };
        let mut out = Vec::new();
        let outcome = advance(opening, self.access, chunk, &mut out);
        if !out.is_empty() {
            connection.channel.put_raw(&out);
            self.hub.mark(&connection.peer, self.shard);
        }
        match outcome.map_err(Gone::Protocol)? {
            (consumed, None) => {
                connection.keep(&chunk[consumed..], 0);
                Ok(())
            }
            (consumed, Some(open)) => self.open(connection, open, chunk, consumed),
        }
    }

    /// Completes the handshake: identifies the peer and processes what followed.
    fn open(
        &mut self,
        connection: &mut Connection,
        open: Open,
        chunk: &Chunk,
        consumed: usize,
    ) -> Result<(), Gone> {
        let (settings, minor) = (&self.hub.settings, open.peer.minor);
        connection.key = open.client;
        if let Some(identity) = open.client.and_then(|key| self.access.admit(&key)) {
            connection.guard = Guard::new(Arc::clone(self.access), identity.clone());
            if let Identity::Node(name) = identity {
                connection.peer.lock().counts.prove_name(name);
            }
        }
        let decrypted = match open.codec {
            None => None,
            Some(codec) => {
                let (limit, mut plain) = (settings.max_message_size, Vec::new());
                let outcome =
                    connection.channel.encrypt(codec, limit, &chunk[consumed..], &mut plain);
                outcome.map_err(Gone::Protocol)?;
                Some(Arc::new(plain))
            }
        };
        let start = if decrypted.is_some() { 0 } else { consumed };
        connection.open(start, minor, settings, self.now);
        match connection.peer.socket {
            BrokerSocket::Frontend => {
                self.hub.join_publisher(&connection.peer, minor, self.shard, self.pool);
            }
            BrokerSocket::Backend => self.hub.join_subscriber(&connection.peer),
        }
        self.sort_frames(connection, decrypted.as_ref().unwrap_or(chunk))
    }

    /// Processes frames after the handshake.
    fn sort_frames(&mut self, connection: &mut Connection, chunk: &Chunk) -> Result<(), Gone> {
        let State::Open(reader) = &connection.state else { return Ok(()) };
        let mut reader = reader.clone();
        let outcome = match connection.peer.socket {
            BrokerSocket::Frontend => self.sort_events(connection, &mut reader, chunk),
            BrokerSocket::Backend => self.sort_subscriptions(connection, &mut reader, chunk),
        };
        let start = reader.start();
        connection.state = State::Open(reader);
        connection.keep(&chunk[start..], outcome?);
        Ok(())
    }

    /// From a publisher: gathers events into runs and delivers them. Returns the size of the next
    /// message in bytes, as far as it is known.
    fn sort_events(
        &mut self,
        connection: &mut Connection,
        reader: &mut MessageReader,
        chunk: &Chunk,
    ) -> Result<usize, Gone> {
        // Not earlier: the publisher may have known of a new subscription when it sent this.
        self.router.refresh();
        let (mut runs, mut refused) = (Runs::new(chunk), Refusals::default());
        let is_guarded = !connection.guard.is_open();
        let outcome = loop {
            match reader.next(chunk) {
                Ok(Item::Message(message)) => {
                    runs.frames += message.count as u64;
                    if let Err(fault) = self.check(&message, chunk) {
                        refused.add(fault);
                        continue;
                    }
                    let topic = &chunk[message.frames[0].clone()];
                    if is_guarded {
                        let [_, id, format, payload] = message.frames.each_ref();
                        let [id, format, payload] =
                            [id, format, payload].map(|frame| &chunk[frame.clone()]);
                        let outcome = connection.guard.check_event(topic, id, format, payload);
                        if let Err(denial) = outcome {
                            refused.deny(denial, topic, Some(id));
                            continue;
                        }
                    }
                    if runs.name != topic || runs.topic.is_none() {
                        runs.begin(topic, self.router.topic(topic));
                    }
                    if runs.events == 0 {
                        connection.learn_name(&chunk[message.frames[1].clone()]);
                    }
                    runs.add(&message);
                }
                Ok(Item::Command(body)) => {
                    if let Err(gone) = self.answer(connection, &chunk[body]) {
                        break Err(gone);
                    }
                }
                Ok(Item::Need(need)) => break Ok(need),
                Err(error) => break Err(Gone::Protocol(error)),
            }
        };
        runs.count();
        refused.report(connection, self.warnings, self.now);
        let metrics = &self.hub.metrics;
        metrics.frontend.messages_received.inc_by(runs.frames);
        metrics.frontend.bytes_received.inc_by(runs.body);
        metrics.events_unrouted.inc_by(runs.unrouted);
        if runs.events > 0 {
            connection.peer.lock().counts.events += runs.events;
        }
        self.deliver(connection, runs.found);
        outcome
    }

    /// Whether a message is an event that may be forwarded.
    fn check(&self, message: &Message, chunk: &Chunk) -> Result<(), Fault> {
        if message.count != 4 {
            return Err(Fault::FrameCount(message.count));
        }
        if self.hub.settings.validate_events {
            let [_, _, format, payload] = &message.frames;
            check_event(&chunk[format.clone()], &chunk[payload.clone()])
                .map_err(Fault::MalformedEvent)?;
        }
        Ok(())
    }

    /// From a subscriber: processes subscriptions and refuses everything else.
    fn sort_subscriptions(
        &mut self,
        connection: &mut Connection,
        reader: &mut MessageReader,
        chunk: &Chunk,
    ) -> Result<usize, Gone> {
        let mut changes: Vec<(bool, &[u8])> = Vec::new();
        let mut refused = Refusals::default();
        let outcome = loop {
            match reader.next(chunk) {
                Ok(Item::Message(message)) => {
                    let text = &chunk[message.frames[0].clone()];
                    match (message.count, text.split_first()) {
                        (1, Some((0, text))) => changes.push((false, text)),
                        (1, Some((1, text))) => changes.push((true, text)),
                        _ => refused.add(Fault::UserMessage),
                    }
                }
                Ok(Item::Command(body)) => match Command::parse(&chunk[body.clone()]) {
                    Ok(Command::Subscribe(text)) => changes.push((true, text)),
                    Ok(Command::Cancel(text)) => changes.push((false, text)),
                    _ => {
                        if let Err(gone) = self.answer(connection, &chunk[body]) {
                            break Err(gone);
                        }
                    }
                },
                Ok(Item::Need(need)) => break Ok(need),
                Err(error) => break Err(Gone::Protocol(error)),
            }
        };
        if !changes.is_empty() {
            self.take_changes(connection, changes, &mut refused);
        }
        refused.report(connection, self.warnings, self.now);
        outcome
    }

    fn take_changes(
        &mut self,
        connection: &Connection,
        mut changes: Vec<(bool, &[u8])>,
        refused: &mut Refusals,
    ) {
        let (peer, guard) = (&connection.peer, &connection.guard);
        let backend = &self.hub.metrics.backend;
        backend.messages_received.inc_by(changes.len() as u64);
        backend.bytes_received.inc_by(changes.iter().map(|(_, text)| 1 + text.len() as u64).sum());
        if !guard.is_open() {
            changes.retain(|(subscribes, text)| match guard.check_subscription(text) {
                Err(denial) if *subscribes => {
                    refused.deny(denial, text, None);
                    false
                }
                // A cancellation is always allowed.
                _ => true,
            });
        }
        for (subscribes, text) in &changes {
            if *subscribes && let Some(id) = self.hub.topics().parse_nodeid(text) {
                let mut state = peer.lock();
                let sent = state.outbox.sent().messages;
                if state.counts.becomes_node(id.as_bytes(), sent) {
                    let (name, who) = (state.counts.name().to_owned(), state.counts.who());
                    drop(state);
                    if let Some(other) = self.hub.join_node(peer, name.as_bstr(), id.as_bytes()) {
                        self.tell_namesake(name.as_bstr(), &who, &other);
                    }
                }
            }
        }
        for why in self.hub.subscribe(peer, changes.into_iter(), self.shard, self.pool) {
            refused.add(Fault::Subscription(why));
        }
    }

    /// Warns about two processes under one node name; `who` is the one that has just connected.
    fn tell_namesake(&mut self, name: &BStr, who: &str, other: &str) {
        self.hub.metrics.duplicate_names.inc();
        let key = ("duplicate name", name.to_string());
        if let Some(more) = self.warnings.check(&key, self.now) {
            log::warn!(
                "two processes under one name: {who} has connected, and {other} is still there; \
                 only one of them should run ({more} more like this)"
            );
        }
    }

    /// Cancels the subscriptions that a subscriber is no longer allowed to have.
    pub(super) fn withdraw(&mut self, connection: &Connection) {
        let (peer, guard) = (&connection.peer, &connection.guard);
        if peer.socket == BrokerSocket::Frontend || guard.is_open() {
            return;
        }
        let mut refused = Refusals::default();
        for text in self.hub.withdraw(peer, guard, self.shard, self.pool) {
            if let Err(denial) = guard.check_subscription(&text) {
                refused.deny(denial, &text, None);
            }
        }
        refused.report(connection, self.warnings, self.now);
    }

    /// Commands that either side may send.
    fn answer(&mut self, connection: &mut Connection, body: &[u8]) -> Result<(), Gone> {
        match Command::parse(body).map_err(Gone::Protocol)? {
            Command::Ping { ttl, context } => {
                connection.set_ttl(ttl);
                let mut pong = Vec::new();
                put_pong(context, &mut pong);
                let mut state = connection.peer.lock();
                if state.outbox.control_bytes() < MAX_ANSWERS {
                    state.outbox.put(&pong, self.pool);
                    drop(state);
                    self.hub.mark(&connection.peer, self.shard);
                }
                Ok(())
            }
            Command::Error(reason) => {
                let reason = String::from_utf8_lossy(&reason[..reason.len().min(64)]);
                Err(Gone::Protocol(ZmtpError::Refused(reason.escape_debug().to_string())))
            }
            _ => Ok(()),
        }
    }
}

/// Continues a handshake. Returns the number of bytes consumed, and the connection once it is open.
/// A peer is admitted if it proves to own an authorized key.
fn advance(
    opening: &mut Opening,
    access: &Access,
    bytes: &[u8],
    out: &mut Vec<u8>,
) -> Result<(usize, Option<Open>), ZmtpError> {
    let (consumed, step) = opening.advance(bytes, out)?;
    let open = match step {
        Step::More => None,
        Step::Authorize(key) => Some(opening.authorize(access.admit(&key).is_some(), out)?),
        Step::Open(open) => Some(open),
    };
    Ok((consumed, open))
}

/// Whether a payload is well-formed in its event format.
fn check_event(format: &[u8], payload: &[u8]) -> Result<(), String> {
    let format = EventFormat::from_name(format).ok_or_else(|| {
        format!("an event of unknown format {:?}", bstr::BStr::new(&format[..format.len().min(32)]))
    })?;
    format.check(payload).map_err(|error| format!("a malformed event: {error}"))
}

/// The runs found in a chunk.
struct Runs<'a> {
    chunk: &'a Chunk,
    found: Vec<(Rc<Route>, Run)>,
    /// The topic of the last event.
    name: &'a [u8],
    topic: Option<Rc<Topic>>,
    /// Events of that topic since it is the last one.
    of_topic: u64,
    events: u64,
    unrouted: u64,
    /// Frames received, and bytes in the bodies of events.
    frames: u64,
    body: u64,
}

impl<'a> Runs<'a> {
    fn new(chunk: &'a Chunk) -> Self {
        Runs {
            chunk,
            found: Vec::new(),
            name: &[],
            topic: None,
            of_topic: 0,
            events: 0,
            unrouted: 0,
            frames: 0,
            body: 0,
        }
    }

    /// The next events are of this topic.
    fn begin(&mut self, name: &'a [u8], topic: Rc<Topic>) {
        self.count();
        self.name = name;
        self.topic = Some(topic);
    }

    /// Counts the events of the last topic.
    fn count(&mut self) {
        if let Some(topic) = &self.topic {
            topic.count.fetch_add(std::mem::take(&mut self.of_topic), Ordering::Relaxed);
        }
    }

    /// Adds an event of the last topic: to the last run if it is adjacent and has the same route.
    #[inline]
    fn add(&mut self, message: &Message) {
        let body = message.frames.iter().map(ExactSizeIterator::len).sum();
        self.events += 1;
        self.of_topic += 1;
        self.body += body as u64;
        let Some(route) = self.topic.as_ref().and_then(|topic| topic.route.as_ref()) else {
            self.unrouted += 1;
            return;
        };
        if message.has_commands {
            self.found.push((Rc::clone(route), self.without_commands(message, body)));
            return;
        }
        if let Some((last, run)) = self.found.last_mut()
            && Rc::ptr_eq(last, route)
            && run.range.end == message.whole.start
            && Arc::ptr_eq(&run.chunk, self.chunk)
        {
            run.range.end = message.whole.end;
            run.messages += 1;
            run.body += body;
            return;
        }
        let chunk = Chunk::clone(self.chunk);
        let run = Run { chunk, range: message.whole.clone(), messages: 1, body };
        self.found.push((Rc::clone(route), run));
    }

    /// A PING may stand inside a message. It is for us, not for the recipients.
    #[cold]
    fn without_commands(&self, message: &Message, body: usize) -> Run {
        let mut bytes = Vec::with_capacity(message.whole.len());
        for (index, frame) in message.frames.iter().enumerate() {
            put_frame(&self.chunk[frame.clone()], index + 1 < message.count, &mut bytes);
        }
        Run { range: 0..bytes.len(), chunk: Arc::new(bytes), messages: 1, body }
    }
}
