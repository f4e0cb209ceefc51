//! One client: its WebSocket, its turns, its end.

use std::collections::VecDeque;
use std::future::{pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use bytes::Bytes;
use futures_util::{Sink, SinkExt, StreamExt};
use tokio::sync::futures::OwnedNotified;
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite;
use zcluster::node::guests::GuestEvent;
use zcluster::queue::Rejected;
use zcluster::telemetry::ClientRefusal;

use super::Shared;
use super::meter::Meter;
use crate::hub::{Closing, Key, Opening, Outcome, Reply};

/// How much is taken from the hub at once, in bytes.
const PIECE: usize = 64 << 10;
/// How much is received from a client before other clients get their turn, in bytes. A message costs
/// [`MESSAGE`] more than it has, so there are 64 messages at most.
const TURN: usize = 128 << 10;
const MESSAGE: usize = 2 << 10;
/// How many answers to pings may wait to be written before the client is not read.
const MAX_PONGS: usize = 64;
/// How many bytes of events are handed to the node together, apart from the last event.
const GROUP: usize = 256 << 10;
/// How long messages get that wait for the bus when their client has ended the connection, or is gone.
const LAST_CALL: Duration = Duration::from_secs(10);
/// The same if the gateway ends it.
const SHORT_CALL: Duration = Duration::from_millis(200);
/// How long a message may take from its first byte to its last.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(60);
/// The code of a close frame after a message that is too long.
const TOO_LARGE: u16 = 1009;
/// How long the client gets to take the close frame, and to answer it.
const FAREWELL: Duration = Duration::from_millis(500);

/// Why a connection ends at once.
pub(super) struct Refusal {
    /// The error to send.
    pub(super) error: String,
    /// The reason of the close frame.
    pub(super) reason: &'static str,
}

/// How a connection ended.
struct End {
    code: u16,
    reason: String,
    /// The close frame to send, unless the client has closed or is gone.
    farewell: Option<(u16, String)>,
    /// Whether the client wanted it.
    is_wanted: bool,
}

impl End {
    fn by_gateway(closing: Closing) -> Self {
        let Closing { code, reason, .. } = closing;
        let farewell = Some((code, reason.to_owned()));
        End { code, reason: reason.into(), farewell, is_wanted: false }
    }

    fn vanished() -> Self {
        End { code: 1006, reason: "Abnormal closure".into(), farewell: None, is_wanted: false }
    }

    /// What the WebSocket reports.
    fn because_of(error: axum::Error) -> Self {
        let error = error.into_inner();
        let (code, reason) = match error.downcast_ref::<tungstenite::Error>() {
            Some(tungstenite::Error::Protocol(
                tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
            )) => return End::vanished(),
            Some(tungstenite::Error::Utf8(_)) => (1007, "Invalid frame payload data".to_owned()),
            Some(tungstenite::Error::Capacity(error)) => (TOO_LARGE, error.to_string()),
            Some(tungstenite::Error::Protocol(error)) => (1002, error.to_string()),
            _ => return End::vanished(),
        };
        // A reason has 123 bytes at most.
        let reason: String = reason.chars().filter(char::is_ascii).take(120).collect();
        End { code, reason: reason.clone(), farewell: Some((code, reason)), is_wanted: false }
    }
}

/// Serves a client until one side ends the connection.
pub(super) async fn hold(
    mut socket: WebSocket,
    opening: Result<Opening, Refusal>,
    meter: &Meter,
    shared: &Arc<Shared>,
) {
    let opening = match opening {
        Ok(opening) => opening,
        Err(Refusal { error, reason }) => {
            let error = Message::Text(error.into());
            if let Ok(Ok(())) = timeout(FAREWELL, socket.send(error)).await {
                say_goodbye(&mut socket, 1008, reason.to_owned()).await;
            }
            return;
        }
    };
    let metrics = opening.metrics.clone();
    metrics.connections.inc();
    metrics.clients.inc();
    meter.start();
    let key = {
        let mut hub = shared.hub();
        let key = hub.open(opening);
        hub.renew_client(key, &shared.access.load());
        key
    };
    let mut conversation = Conversation::new(&mut socket, key, meter, shared);
    let end = poll_fn(|context| conversation.poll(context)).await;
    let rest = poll_fn(|context| conversation.hand_over_rest(context));
    let patience = if end.farewell.is_none() { LAST_CALL } else { SHORT_CALL };
    let _ = timeout(patience, rest).await;
    metrics.lost.inc_by(conversation.waiting() as u64);
    if meter.is_over() {
        shared.metrics.refused[ClientRefusal::Memory].inc();
    }
    let mut last = conversation.out;
    if end.code == TOO_LARGE {
        {
            let mut hub = shared.hub();
            hub.too_large(key);
            hub.take(key, &mut last, usize::MAX);
        }
        // What came before the message has its answers.
        let _ = timeout(FAREWELL, send_all(&mut socket, last)).await;
    }
    match end.farewell.clone() {
        Some((code, reason)) => say_goodbye(&mut socket, code, reason).await,
        // The answer to the client's close frame is in the socket's buffer.
        None if end.is_wanted => drop(timeout(FAREWELL, socket.next()).await),
        None => {}
    }
    let now = std::time::Instant::now();
    shared.hub().close(key, end.code, &end.reason, end.is_wanted, now);
    metrics.clients.dec();
    shared.settle();
}

async fn send_all(socket: &mut WebSocket, texts: VecDeque<Bytes>) -> Result<(), axum::Error> {
    for text in texts {
        if let Ok(text) = Utf8Bytes::try_from(text) {
            socket.feed(Message::Text(text)).await?;
        }
    }
    socket.flush().await
}

/// Sends a close frame and waits a moment for the answer.
async fn say_goodbye(socket: &mut WebSocket, code: u16, reason: String) {
    let frame = CloseFrame { code, reason: reason.into() };
    let closing = async {
        if socket.send(Message::Close(Some(frame))).await.is_err() {
            return;
        }
        loop {
            match socket.next().await {
                Some(Ok(Message::Close(_))) => return,
                Some(Ok(_)) => {}
                // After an error, nothing more can be read. Closing at once would reset the
                // connection, and the client might not see why it ends.
                Some(Err(_)) | None => pending().await,
            }
        }
    };
    let _ = timeout(FAREWELL, closing).await;
}

/// Events that are handed to the node together, and what to tell the client about each.
#[derive(Default)]
struct Group {
    events: Vec<GuestEvent>,
    replies: Vec<Reply>,
    bytes: usize,
}

/// Events that the node had no room for.
struct Stuck {
    group: Group,
    /// Resolves when there may be room.
    room: Pin<Box<OwnedNotified>>,
}

/// The state of a connection.
struct Conversation<'a> {
    socket: &'a mut WebSocket,
    key: Key,
    meter: &'a Meter,
    shared: &'a Arc<Shared>,
    /// What was taken from the hub and is not in the socket's buffer yet.
    out: VecDeque<Bytes>,
    needs_flush: bool,
    /// Answers to pings that are not known to be written.
    pongs: usize,
    /// What this turn has received.
    group: Group,
    stuck: Option<Stuck>,
    /// Messages that must wait until an earlier one is carried out.
    early: VecDeque<(Bytes, bool)>,
    early_bytes: usize,
    /// When a message that has begun must be there.
    patience: Option<Pin<Box<Sleep>>>,
    heartbeat: Option<Heartbeat>,
    pace: Option<Pace>,
}

impl<'a> Conversation<'a> {
    fn new(socket: &'a mut WebSocket, key: Key, meter: &'a Meter, shared: &'a Arc<Shared>) -> Self {
        Conversation {
            socket,
            key,
            meter,
            shared,
            out: VecDeque::new(),
            needs_flush: false,
            pongs: 0,
            group: Group::default(),
            stuck: None,
            early: VecDeque::new(),
            early_bytes: 0,
            patience: None,
            heartbeat: Heartbeat::new(shared.options.ping_interval),
            pace: Pace::new(shared.options.max_rate),
        }
    }

    /// Does what can be done, and registers for the rest.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<End> {
        match self.turn(context) {
            Ok(()) => Poll::Pending,
            Err(end) => Poll::Ready(end),
        }
    }

    fn turn(&mut self, context: &mut Context<'_>) -> Result<(), End> {
        let mut left = TURN;
        loop {
            // Before, so that nothing is missed.
            let closing = self.shared.hub().watch(self.key, context.waker());
            self.beat(context)?;
            let is_all_sent = self.send(context)?;
            if let Some(closing) = closing
                && (is_all_sent || closing.is_urgent)
            {
                return Err(End::by_gateway(closing));
            }
            let before = left;
            let received = self.receive(context, &mut left);
            self.hand_over();
            received?;
            self.watch_memory(context)?;
            if left == 0 {
                // Woken at once, the others would get no turn before the sockets are looked at again.
                let _ = pin!(yield_now()).poll(context);
                return Ok(());
            }
            // Messages may have been answered.
            if left == before {
                return Ok(());
            }
        }
    }

    // Sending.

    /// Writes what waits; `true` if nothing is left.
    fn send(&mut self, context: &mut Context<'_>) -> Result<bool, End> {
        loop {
            if self.out.is_empty() {
                self.shared.hub().take(self.key, &mut self.out, PIECE);
            }
            if self.out.is_empty() {
                break;
            }
            match self.socket.poll_ready_unpin(context) {
                Poll::Ready(ready) => ready.map_err(End::because_of)?,
                Poll::Pending => return Ok(false),
            }
            if let Some(text) = self.out.pop_front()
                && let Ok(text) = Utf8Bytes::try_from(text)
            {
                self.start_send(Message::Text(text))?;
            }
        }
        self.flush(context)
    }

    fn start_send(&mut self, message: Message) -> Result<(), End> {
        self.needs_flush = true;
        Pin::new(&mut *self.socket).start_send(message).map_err(End::because_of)
    }

    fn flush(&mut self, context: &mut Context<'_>) -> Result<bool, End> {
        if self.needs_flush {
            match self.socket.poll_flush_unpin(context) {
                Poll::Ready(flushed) => flushed.map_err(End::because_of)?,
                Poll::Pending => return Ok(false),
            }
            self.needs_flush = false;
            self.pongs = 0;
        }
        Ok(true)
    }

    /// Whether we do not read what the client sends, because of what it has sent before.
    fn is_deaf(&self) -> bool {
        self.stuck.is_some()
            || (!self.early.is_empty() && self.is_full())
            || self.pace.as_ref().is_some_and(Pace::is_paused)
    }

    /// Sends a ping if it is time for one.
    fn beat(&mut self, context: &mut Context<'_>) -> Result<(), End> {
        // Whom we do not read cannot answer.
        let is_deaf = self.is_deaf();
        let Some(heartbeat) = &mut self.heartbeat else { return Ok(()) };
        let Poll::Ready(beat) = heartbeat.poll(context) else { return Ok(()) };
        match beat {
            Beat::Ping(payload) => self.start_send(Message::Ping(payload.into())),
            Beat::Missed if is_deaf => Ok(()),
            Beat::Missed => Err(End::by_gateway(PING_TIMEOUT)),
        }
    }

    // Receiving.

    fn receive(&mut self, context: &mut Context<'_>, left: &mut usize) -> Result<(), End> {
        while *left > 0 {
            if self.group.bytes >= GROUP {
                self.hand_over();
            }
            if !self.unstick(context) {
                return Ok(());
            }
            // Each would be one more for a client that does not read.
            if self.pongs >= MAX_PONGS && !self.flush(context)? {
                return Ok(());
            }
            if let Some(pace) = &mut self.pace
                && pace.poll(context).is_pending()
            {
                return Ok(());
            }
            if let Some((text, is_text)) = self.early.pop_front() {
                let bytes = text.len();
                if let Some(text) = self.handle(text, is_text) {
                    self.early.push_front((text, is_text));
                    if self.is_full() {
                        return Ok(());
                    }
                } else {
                    *left = left.saturating_sub(MESSAGE + bytes);
                    continue;
                }
            }
            let message = match self.socket.poll_next_unpin(context) {
                Poll::Pending => return Ok(()),
                Poll::Ready(None) => return Err(End::vanished()),
                Poll::Ready(Some(Err(_))) if self.meter.is_over() => {
                    return Err(End::by_gateway(NO_MEMORY));
                }
                Poll::Ready(Some(message)) => message.map_err(End::because_of)?,
            };
            match &message {
                Message::Text(_) | Message::Binary(_) => {
                    self.meter.finish();
                    self.patience = None;
                }
                control => self.meter.control(size(control)),
            }
            *left = left.saturating_sub(MESSAGE + size(&message));
            // The answer to a ping may be behind much else.
            if let Some(heartbeat) = &mut self.heartbeat {
                heartbeat.heard();
            }
            match message {
                Message::Text(text) => self.arrived(text.into(), true),
                Message::Binary(bytes) => self.arrived(bytes, false),
                Message::Pong(_) => {}
                // The answer is in the socket's buffer.
                Message::Ping(_) => {
                    self.needs_flush = true;
                    self.pongs += 1;
                }
                Message::Close(frame) => {
                    let (code, reason) =
                        frame.map_or((1005, String::new()), |f| (f.code, f.reason.to_string()));
                    return Err(End { code, reason, farewell: None, is_wanted: true });
                }
            }
        }
        Ok(())
    }

    fn arrived(&mut self, text: Bytes, is_text: bool) {
        if let Some(pace) = &mut self.pace {
            pace.count();
        }
        let waiting = if self.early.is_empty() { self.handle(text, is_text) } else { Some(text) };
        if let Some(text) = waiting {
            self.early_bytes += text.len();
            self.early.push_back((text, is_text));
        }
    }

    /// Whether no more messages may wait.
    fn is_full(&self) -> bool {
        let options = &self.shared.options;
        self.early.len() >= options.max_event_queue_size as usize
            || self.early_bytes as u64 >= options.max_message_size
    }

    /// Handles a message; returns it if it must wait.
    fn handle(&mut self, text: Bytes, is_text: bool) -> Option<Bytes> {
        let outcome = self.shared.hub().message(self.key, &text, is_text);
        match outcome {
            Outcome::Busy => return Some(text),
            Outcome::Done => self.shared.settle(),
            Outcome::Publish { sender, topic, event, reply } => {
                if let Some(guests) = self.shared.guests.get() {
                    let event = guests.prepare(sender, topic, &event);
                    let mut hub = self.shared.hub();
                    if event.bus_bytes() > hub.settings().max_bus_bytes {
                        hub.too_long(self.key, &reply);
                    } else {
                        self.group.bytes += event.size();
                        self.group.events.push(event);
                        self.group.replies.push(reply);
                    }
                }
            }
        }
        self.early_bytes =
            if self.early.is_empty() { 0 } else { self.early_bytes.saturating_sub(text.len()) };
        None
    }

    /// Hands over what was received.
    fn hand_over(&mut self) {
        if !self.group.events.is_empty() {
            let group = std::mem::take(&mut self.group);
            self.publish(group);
        }
    }

    fn publish(&mut self, mut group: Group) {
        let Some(guests) = self.shared.guests.get() else { return };
        let outcome = match guests.try_publish(group.events) {
            Err(Rejected::Full(events)) => {
                if let Some(blocks) = self.shared.blocks.get() {
                    blocks.inc();
                }
                // From here on, news of room is not missed.
                let mut room = Box::pin(Arc::clone(&self.shared.room).notified_owned());
                room.as_mut().enable();
                match guests.try_publish(events) {
                    Err(Rejected::Full(events)) => {
                        group.events = events;
                        self.stuck = Some(Stuck { group, room });
                        return;
                    }
                    outcome => outcome,
                }
            }
            outcome => outcome,
        };
        let mut hub = self.shared.hub();
        match outcome {
            Ok(()) => hub.published(self.key, &group.replies),
            Err(_) => hub.not_published(self.key, &group.replies),
        }
    }

    /// Tries to publish the events that had no room; `false` if they still have none.
    fn unstick(&mut self, context: &mut Context<'_>) -> bool {
        while let Some(stuck) = &mut self.stuck {
            if stuck.room.as_mut().poll(context).is_pending() {
                return false;
            }
            if let Some(Stuck { group, .. }) = self.stuck.take() {
                self.publish(group);
            }
            if self.stuck.is_none() {
                // Only one was told of the room. There may be some for the next one.
                self.shared.room.notify_one();
            }
        }
        true
    }

    /// Ready when the node has all events of the client, also those that wait for its subscriptions.
    fn hand_over_rest(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.group.bytes >= GROUP || self.early.is_empty() {
                self.hand_over();
            }
            if !self.unstick(context) {
                return Poll::Pending;
            }
            let Some((text, is_text)) = self.early.pop_front() else { return Poll::Ready(()) };
            // Before, so that nothing is missed.
            self.shared.hub().watch(self.key, context.waker());
            if let Some(text) = self.handle(text, is_text) {
                self.early.push_front((text, is_text));
                return Poll::Pending;
            }
        }
    }

    /// How many messages the node does not have yet.
    fn waiting(&self) -> usize {
        let stuck = self.stuck.as_ref().map_or(0, |stuck| stuck.group.events.len());
        self.early.len() + self.group.events.len() + stuck
    }

    /// Tells the meter what waits, and ends the connection if a message takes too long to arrive.
    fn watch_memory(&mut self, context: &mut Context<'_>) -> Result<(), End> {
        let stuck = self.stuck.as_ref().map_or(0, |stuck| stuck.group.bytes);
        self.meter.set_complete(self.early_bytes + self.group.bytes + stuck);
        // Whom we do not read cannot finish.
        if !self.meter.is_unfinished() || self.is_deaf() {
            self.patience = None;
            return Ok(());
        }
        let patience = (self.patience)
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + MESSAGE_TIMEOUT)));
        match patience.as_mut().poll(context) {
            Poll::Ready(()) => Err(End::by_gateway(TOO_LATE)),
            Poll::Pending => Ok(()),
        }
    }
}

/// The bytes of a message.
fn size(message: &Message) -> usize {
    match message {
        Message::Text(text) => text.len(),
        Message::Binary(bytes) | Message::Ping(bytes) | Message::Pong(bytes) => bytes.len(),
        Message::Close(_) => 0,
    }
}

/// Try again later.
const NO_MEMORY: Closing =
    Closing { code: 1013, reason: "Too many long messages at once", is_urgent: true };
const TOO_LATE: Closing = Closing { code: 1008, reason: "Message takes too long", is_urgent: true };
const PING_TIMEOUT: Closing = Closing { code: 1011, reason: "Ping timeout", is_urgent: true };

/// Pings, and whether they are answered.
struct Heartbeat {
    interval: Duration,
    next: Pin<Box<Sleep>>,
    count: u64,
    is_awaited: bool,
}

enum Beat {
    Ping(String),
    /// Nothing has come since the last ping.
    Missed,
}

impl Heartbeat {
    /// `None` if clients are not pinged. As in Zeek, fractions of a second do not count.
    fn new(interval: Duration) -> Option<Self> {
        let interval = Duration::from_secs(interval.as_secs());
        let next = Box::pin(sleep_until(Instant::now()));
        let heartbeat = Heartbeat { interval, next, count: 0, is_awaited: false };
        (!interval.is_zero()).then_some(heartbeat)
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Beat> {
        ready!(self.next.as_mut().poll(context));
        self.next.as_mut().reset(Instant::now() + self.interval);
        // To be woken by the next one.
        let _ = self.next.as_mut().poll(context);
        if std::mem::replace(&mut self.is_awaited, true) {
            return Poll::Ready(Beat::Missed);
        }
        let payload =
            format!("ixwebsocket::heartbeat::{}s::{}", self.interval.as_secs(), self.count);
        self.count += 1;
        Poll::Ready(Beat::Ping(payload))
    }

    /// Something has come from the client.
    fn heard(&mut self) {
        self.is_awaited = false;
    }
}

/// Limits how fast messages of a client are read. A pause of the client earns it one second's worth
/// of messages at once.
struct Pace {
    rate: f64,
    earned: f64,
    counted: Instant,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    fn new(rate: u32) -> Option<Self> {
        let earned = f64::from(rate);
        let pace = Pace { rate: earned, earned, counted: Instant::now(), pause: None };
        (rate > 0).then_some(pace)
    }

    fn is_paused(&self) -> bool {
        self.pause.is_some()
    }

    /// A message was read.
    fn count(&mut self) {
        let now = Instant::now();
        let earned = self.earned + self.rate * (now - self.counted).as_secs_f64();
        self.counted = now;
        self.earned = earned.min(self.rate) - 1.0;
        if self.earned < 0.0 {
            let wait = Duration::from_secs_f64(-self.earned / self.rate);
            self.pause = Some(Box::pin(sleep_until(now + wait)));
        }
    }

    /// Ready when the next message may be read.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        Poll::Ready(())
    }
}
