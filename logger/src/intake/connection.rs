//! One producer's connection: its bytes to log batches.

use std::fmt::{self, Display};
use std::io::{ErrorKind, IoSlice};
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bstr::{BStr, BString};
use zcluster::access::{Access, AccessCell, Denial, Guard, Identity};
use zcluster::net::{Channel, ChannelError, Read, Scratch, Stream};
use zcluster::telemetry::{BatchFault, PeerFault, SenderCounters};
use zcluster::wire::LogMessage;
use zcluster::wire::zmtp::{
    Command, Curve, Item, Message, MessageReader, Open, Opening, PublicKey, SocketType, Step,
    ZmtpError, put_pong,
};

use super::buffers::BUFFER;

/// Answers a peer may leave unread; those to further PINGs are left out.
const MAX_ANSWERS: usize = 4 << 10;
/// Room made at once for a message that is announced; for more when it has come.
const FIRST_ROOM: usize = 1 << 20;
/// Bytes of an unfinished message that never have to wait for their turn.
const SMALL: usize = 16 << 10;
/// The least room for a read into a shared buffer.
const MIN_READ: usize = 64 << 10;
/// Bytes of an unfinished message that move to each buffer that is read into; more gather in memory
/// of their own.
const MOVED: usize = 16 << 10;

/// Who sent batches.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) id: BString,
    pub(crate) counters: SenderCounters,
    /// Whether it is this process, which has counted its records as it wrote them.
    pub(crate) is_self: bool,
}

/// A batch in a buffer.
#[derive(Clone, Debug)]
pub(crate) struct BatchAt {
    /// Index into the senders of the burst.
    pub(crate) sender: u32,
    /// Where in the buffer.
    pub(crate) payload: Range<usize>,
}

/// What messages are made of, and where what is wrong with them is told.
pub(super) trait Sink {
    /// A log batch at that place of the buffer that is being read.
    fn batch(&mut self, sender: &Arc<Sender>, payload: Range<usize>);
    /// A message with so many frames.
    fn bad_frame_count(&mut self, count: usize);
    /// A batch that cannot be read, or that its sender may not send.
    fn rejected(&mut self, sender: &Sender, fault: BatchFault, what: &dyn Display);
    /// The sender of that id.
    fn sender(&mut self, id: &[u8]) -> Arc<Sender>;
}

enum State {
    Greeting(Opening),
    Open(MessageReader),
}

/// A connection.
pub(super) struct Connection {
    pub(super) channel: Channel,
    /// For people.
    pub(super) peer: String,
    pub(super) accepted: Instant,
    /// Whether it waits for its turn to be read.
    pub(super) is_waiting: bool,
    /// Whether it waits for room to write.
    pub(super) waits_to_write: bool,
    /// Messages so far.
    pub(super) messages: u64,
    /// What of its memory the table of connections has counted.
    pub(super) counted: usize,
    state: State,
    limit: u64,
    /// Where it finds out who may come in.
    access: Arc<AccessCell>,
    /// The key it came in with, and whose that was.
    client: Option<(PublicKey, Identity)>,
    /// What its batches are held against; `None` where everything is allowed.
    guard: Option<Guard>,
    /// What was received and is not a whole message.
    unfinished: Vec<u8>,
    /// Bytes the unfinished message takes, as far as they are known.
    need: usize,
    /// Frames that are to be sent.
    answers: Vec<u8>,
    /// Whether nothing more can be sent.
    is_mute: bool,
    sender: Option<Arc<Sender>>,
}

/// Why a connection ends.
#[derive(Debug)]
pub(super) enum Gone {
    /// The peer closed it, between two messages.
    Closed,
    /// The peer closed it in the middle of a message.
    Torn,
    /// The system says so.
    Io(std::io::Error),
    /// The peer breaks the protocol, or may not come in.
    Protocol(ZmtpError),
    /// The key it came in with has been taken from it.
    Revoked(PublicKey),
}

impl Gone {
    /// What it counts as; `None` for ends that are nobody's fault.
    pub(super) fn fault(&self) -> Option<PeerFault> {
        Some(match self {
            Gone::Protocol(error) => match error {
                // With HELLO, it has been given the key of another server than us.
                ZmtpError::Mechanism { .. } | ZmtpError::Undecryptable("HELLO" | "INITIATE") => {
                    PeerFault::Mechanism
                }
                ZmtpError::SocketType(_) => PeerFault::SocketType,
                ZmtpError::TooLarge { .. } => PeerFault::Limit,
                ZmtpError::Unauthorized(_) => PeerFault::Unauthorized,
                _ => PeerFault::Protocol,
            },
            Gone::Revoked(_) => PeerFault::Unauthorized,
            Gone::Closed | Gone::Torn | Gone::Io(_) => return None,
        })
    }
}

impl Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Gone::Closed => f.write_str("it has gone"),
            Gone::Torn => f.write_str("it went in the middle of a log batch"),
            Gone::Io(error) => error.fmt(f),
            Gone::Protocol(error) => error.fmt(f),
            Gone::Revoked(key) => write!(f, "its public key {key} may no longer connect"),
        }
    }
}

impl From<ZmtpError> for Gone {
    fn from(error: ZmtpError) -> Self {
        Gone::Protocol(error)
    }
}

impl Connection {
    /// A connection just accepted. `limit`: bytes of its largest message.
    pub(super) fn new(stream: Stream, peer: String, limit: u64, access: Arc<AccessCell>) -> Self {
        let mut greeting = Vec::new();
        let keys = access.load().server_keys().map(|keys| Curve::Server(Arc::clone(keys)));
        let opening = Opening::new(SocketType::Pull, keys, &mut greeting);
        let mut channel = Channel::new(stream);
        channel.put_raw(&greeting);
        Connection {
            channel,
            peer,
            accepted: Instant::now(),
            is_waiting: false,
            waits_to_write: false,
            messages: 0,
            counted: 0,
            state: State::Greeting(opening),
            limit,
            access,
            client: None,
            guard: None,
            unfinished: Vec::new(),
            need: 0,
            answers: Vec::new(),
            is_mute: false,
            sender: None,
        }
    }

    /// Whether the handshake is done.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Memory it holds for its unfinished message.
    pub(super) fn held(&self) -> usize {
        self.unfinished.capacity() + self.channel.held()
    }

    /// Whether its unfinished message is one that may have to wait for its turn.
    pub(super) fn is_large(&self) -> bool {
        self.need() > SMALL
    }

    /// Bytes of memory that its unfinished message takes, as far as they are known.
    pub(super) fn need(&self) -> usize {
        // An encrypted frame is there twice while it is decrypted.
        self.need.max(self.unfinished.len().saturating_add(self.channel.need().saturating_mul(2)))
    }

    /// Room that its next read takes in a shared buffer; `None` where the unfinished message is so
    /// large that it gathers in memory of its own.
    pub(super) fn room(&self) -> Option<usize> {
        let kept = self.unfinished.capacity();
        let room = if self.channel.is_encrypted() {
            let is_large = kept > MOVED || self.channel.need() > BUFFER;
            if is_large { usize::MAX } else { kept + MIN_READ }
        } else {
            let is_large = kept > 0 && self.need > MOVED;
            if is_large { usize::MAX } else { self.need.max(kept + MIN_READ) }
        };
        (room <= BUFFER).then_some(room)
    }

    /// Sends what is to be sent, as far as there is room.
    pub(super) fn flush(&mut self, scratch: &mut Scratch) {
        let outcome = if self.answers.is_empty() {
            self.channel.flush()
        } else {
            let outcome = self.channel.write_pieces(&[IoSlice::new(&self.answers)], scratch);
            outcome.map(|taken| drop(self.answers.drain(..taken)))
        };
        if outcome.is_err_and(|error| error.kind() != ErrorKind::WouldBlock) {
            // It shows in the next read, too.
            self.is_mute = true;
        }
    }

    /// Whether something is still to be sent.
    pub(super) fn has_answers(&self) -> bool {
        !self.is_mute && (!self.answers.is_empty() || self.channel.has_unsent())
    }

    /// Tells the peer that nothing more is wanted; what it has sent still arrives.
    pub(super) fn say_farewell(&mut self) {
        self.is_mute = true;
        let _ = self.channel.stream().end_writing();
    }

    /// Goes by new rules. Fails where its key no longer lets it in, or is another node's now.
    pub(super) fn renew(&mut self, access: &Arc<Access>) -> Result<(), Gone> {
        if let Some((key, identity)) = &self.client
            && access.admit(key) != Some(identity)
        {
            return Err(Gone::Revoked(*key));
        }
        if self.is_open() {
            self.guard = self.new_guard(access);
        }
        Ok(())
    }

    fn new_guard(&self, access: &Arc<Access>) -> Option<Guard> {
        let identity = self.client.as_ref().map_or(Identity::Unproven, |(_, id)| id.clone());
        let guard = Guard::new(Arc::clone(access), identity);
        (!guard.is_open()).then_some(guard)
    }

    /// Reads once into a shared buffer, behind what is in it, and hands out the batches there.
    /// What is left of an unfinished message moves out of it.
    pub(super) fn read_shared(
        &mut self,
        buffer: &mut Vec<u8>,
        scratch: &mut Scratch,
        sink: &mut impl Sink,
    ) -> Result<(), Gone> {
        let base = buffer.len();
        buffer.extend_from_slice(&self.unfinished);
        match self.read(buffer, scratch) {
            // Nothing came after all: the unfinished message stays where it is.
            Ok(false) => buffer.truncate(base),
            Ok(true) => {
                self.unfinished.clear();
                let start = self.take_apart(buffer, base, sink)?;
                // Exactly: many connections may hold the start of a message.
                self.unfinished = buffer[start..].to_vec();
                buffer.truncate(start);
            }
            Err(gone) => {
                buffer.truncate(base);
                return Err(gone);
            }
        }
        Ok(())
    }

    /// Reads once into the connection's own buffer, if not encrypted up to the end of its
    /// unfinished message. When that is complete, the buffer is handed out with the batches in it.
    pub(super) fn read_own(
        &mut self,
        scratch: &mut Scratch,
        sink: &mut impl Sink,
    ) -> Result<Option<Vec<u8>>, Gone> {
        let has_room = self.unfinished.len() < self.unfinished.capacity();
        if !has_room && !self.channel.is_encrypted() {
            // The announced length is believed in steps.
            let room = self.need.min(FIRST_ROOM.max(2 * self.unfinished.len()));
            self.unfinished.reserve_exact(room - self.unfinished.len());
        }
        let mut buffer = std::mem::take(&mut self.unfinished);
        let outcome = self.read(&mut buffer, scratch);
        if !matches!(outcome, Ok(true)) || buffer.len() < self.need {
            self.unfinished = buffer;
            return outcome.map(|_| None);
        }
        let start = self.take_apart(&mut buffer, 0, sink)?;
        if start == 0 {
            self.unfinished = buffer;
            return Ok(None);
        }
        self.unfinished = buffer[start..].to_vec();
        Ok(Some(buffer))
    }

    /// Reads once; whether there was anything to look at.
    fn read(&mut self, buffer: &mut Vec<u8>, scratch: &mut Scratch) -> Result<bool, Gone> {
        match self.channel.read_to(buffer, scratch) {
            Ok(Read::Bytes(count)) => Ok(count > 0),
            Ok(Read::End) if self.need() > 0 => Err(Gone::Torn),
            Ok(Read::End) => Err(Gone::Closed),
            Err(ChannelError::Io(error)) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(ChannelError::Io(error)) => Err(Gone::Io(error)),
            Err(ChannelError::Protocol(error)) => Err(Gone::Protocol(error)),
        }
    }

    /// Goes on with the handshake. Returns where the frames behind it begin in `buffer`, plain ones
    /// in any case, or where what is left of it does, if it is not at its end.
    fn greet(&mut self, buffer: &mut Vec<u8>, base: usize) -> Result<usize, Gone> {
        let State::Greeting(opening) = &mut self.state else { return Ok(base) };
        let mut out = Vec::new();
        let mut client = None;
        let outcome = opening.advance(&buffer[base..], &mut out).and_then(|(consumed, step)| {
            let step = match step {
                Step::Authorize(key) => {
                    let identity = self.access.load().admit(&key).cloned();
                    let is_allowed = identity.is_some();
                    client = identity.map(|identity| (key, identity));
                    Step::Open(opening.authorize(is_allowed, &mut out)?)
                }
                step => step,
            };
            Ok((base + consumed, step))
        });
        self.channel.put_raw(&out);
        let (start, step) = outcome.inspect_err(|_| {
            // So that the peer learns why. There is room: it has got little so far.
            let _ = self.channel.flush();
        })?;
        let Step::Open(Open { codec, .. }) = step else {
            self.need = buffer.len() - start + 1;
            return Ok(start);
        };
        self.client = client;
        self.state = State::Open(MessageReader::new(self.limit));
        self.guard = self.new_guard(&self.access.load());
        if let Some(codec) = codec {
            let sealed = buffer.split_off(start);
            self.channel.encrypt(codec, self.limit, &sealed, buffer)?;
        }
        Ok(start)
    }

    /// Hands out what is complete in `buffer` from `base` on, where this connection's bytes begin.
    /// Returns where the unfinished message starts.
    fn take_apart(
        &mut self,
        buffer: &mut Vec<u8>,
        base: usize,
        sink: &mut impl Sink,
    ) -> Result<usize, Gone> {
        let base = self.greet(buffer, base)?;
        if !self.is_open() {
            return Ok(base);
        }
        let next = State::Open(MessageReader::new(self.limit));
        let State::Open(mut reader) = std::mem::replace(&mut self.state, next) else {
            return Ok(base);
        };
        reader.rebase(base);
        let start = loop {
            match reader.next(buffer)? {
                Item::Message(message) => self.message(&message, buffer, sink),
                Item::Command(body) => self.command(&buffer[body])?,
                Item::Need(need) => {
                    let start = reader.start();
                    let is_between = start == buffer.len() && !reader.is_mid_message();
                    self.need = if is_between { 0 } else { need };
                    break start;
                }
            }
        };
        // What is unfinished goes to the start of a buffer of its own, or of the next one's part.
        reader.rebase(0);
        self.state = State::Open(reader);
        Ok(start)
    }

    #[inline]
    fn message(&mut self, message: &Message, buffer: &[u8], sink: &mut impl Sink) {
        self.messages += 1;
        if message.count != 4 {
            sink.bad_frame_count(message.count);
            return;
        }
        let [_, id, format, payload] = &message.frames;
        let id = &buffer[id.clone()];
        // Whoever has proved to be a node is that, whatever it says to be.
        let who = match &self.client {
            Some((_, Identity::Node(name))) => name.as_bytes(),
            _ => id,
        };
        let sender = match &mut self.sender {
            Some(sender) if sender.id == who => sender,
            other => other.insert(sink.sender(who)),
        };
        sender.counters.batches.inc();
        if let Some(guard) = &mut self.guard
            && let Err(denial) = guard.check_batch(id)
        {
            let what = format_args!("under the id '{}' {denial}", start_of(id));
            sink.rejected(sender, fault_of(denial), &what);
            return;
        }
        let format = &buffer[format.clone()];
        if format == LogMessage::ZEEK_BIN {
            sink.batch(sender, payload.clone());
        } else {
            let what = format_args!(
                "Got log message in format '{}', but have deserializer '{}'",
                start_of(format),
                BStr::new(LogMessage::ZEEK_BIN),
            );
            sink.rejected(sender, BatchFault::Format, &what);
        }
    }

    fn command(&mut self, body: &[u8]) -> Result<(), ZmtpError> {
        match Command::parse(body)? {
            Command::Ping { context, .. } if !self.is_mute && self.answers.len() < MAX_ANSWERS => {
                put_pong(context, &mut self.answers);
            }
            Command::Error(_) => return Err(ZmtpError::Command("ERROR")),
            _ => {}
        }
        Ok(())
    }
}

/// What a batch counts as that its sender may not send.
fn fault_of(denial: Denial) -> BatchFault {
    match denial {
        Denial::Impersonation => BatchFault::Impersonation,
        Denial::Logs | Denial::Publish | Denial::Subscribe => BatchFault::NotAllowed,
    }
}

/// As much of foreign text as a line for people has room for.
fn start_of(text: &[u8]) -> &BStr {
    BStr::new(&text[..text.len().min(64)])
}
