//! One producer's connection: turns its bytes into log batches.

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

/// Bytes of answers a peer may leave unread; further PINGs get none.
const MAX_ANSWERS: usize = 4 << 10;
/// Room reserved at once for an announced message; more follows as it arrives.
const FIRST_ROOM: usize = 1 << 20;
/// Unfinished messages up to this size never wait for their turn.
pub(super) const SMALL: usize = 16 << 10;
/// The least room for a read into a shared buffer.
const MIN_READ: usize = 64 << 10;
/// Bytes of an unfinished message that are copied into each buffer the connection reads into;
/// larger ones collect in their own memory.
const MOVED: usize = 16 << 10;

/// The sender of batches.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) id: BString,
    pub(crate) counters: SenderCounters,
    /// Whether it is this process, which counts its records as it writes them.
    pub(crate) is_self: bool,
}

/// A batch in a buffer.
#[derive(Clone, Debug)]
pub(crate) struct BatchAt {
    /// Index into the burst's senders.
    pub(crate) sender: u32,
    /// Its range in the buffer.
    pub(crate) payload: Range<usize>,
}

/// Receives the batches of a connection, and the faults in its messages.
pub(super) trait Sink {
    /// A log batch at this range of the buffer being read.
    fn batch(&mut self, sender: &Arc<Sender>, payload: Range<usize>);
    /// A message with the wrong number of frames.
    fn bad_frame_count(&mut self, count: usize);
    /// A batch that is malformed or that its sender may not send.
    fn rejected(&mut self, sender: &Sender, fault: BatchFault, what: &dyn Display);
    /// Returns the sender with that id.
    fn sender(&mut self, id: &[u8]) -> Arc<Sender>;
}

enum State {
    Greeting(Opening),
    Open(MessageReader),
}

/// A producer's connection.
pub(super) struct Connection {
    pub(super) channel: Channel,
    /// The peer's address, for messages.
    pub(super) peer: String,
    pub(super) accepted: Instant,
    /// Whether it waits for its turn to be read.
    pub(super) is_waiting: bool,
    /// Most bytes to read at once while it is not known how large its message is.
    pub(super) most: Option<usize>,
    /// Whether it has sent anything since the last sweep.
    pub(super) has_sent: bool,
    /// Whether it is read at sweeps, or once its socket holds much.
    pub(super) is_busy: bool,
    /// Whether it waits for room to write.
    pub(super) waits_to_write: bool,
    /// Messages so far.
    pub(super) messages: u64,
    /// Bytes of its memory that the table of connections has counted.
    pub(super) counted: usize,
    state: State,
    limit: u64,
    /// The current access rules.
    access: Arc<AccessCell>,
    /// The key it was admitted with, and the identity of that key.
    client: Option<(PublicKey, Identity)>,
    /// Checks its batches; `None` where everything is allowed.
    guard: Option<Guard>,
    /// Received bytes of an incomplete message.
    unfinished: Vec<u8>,
    /// Bytes the unfinished message takes, as far as known.
    need: usize,
    /// Frames to send.
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
    /// A system error.
    Io(std::io::Error),
    /// The peer violates the protocol or is not admitted.
    Protocol(ZmtpError),
    /// The key it was admitted with is no longer allowed.
    Revoked(PublicKey),
}

impl Gone {
    /// The fault to count, or `None` if the end is no fault.
    pub(super) fn fault(&self) -> Option<PeerFault> {
        Some(match self {
            Gone::Protocol(error) => match error {
                // At HELLO, the peer has another server's key.
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
            Gone::Closed => f.write_str("it disconnected"),
            Gone::Torn => f.write_str("it disconnected in the middle of a log batch"),
            Gone::Io(error) => error.fmt(f),
            Gone::Protocol(error) => error.fmt(f),
            Gone::Revoked(key) => {
                write!(f, "its public key {key} is no longer authorized to connect")
            }
        }
    }
}

impl From<ZmtpError> for Gone {
    fn from(error: ZmtpError) -> Self {
        Gone::Protocol(error)
    }
}

impl Connection {
    /// Returns a connection that was just accepted. `limit` is the size of its largest message in
    /// bytes.
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
            most: None,
            has_sent: false,
            is_busy: false,
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

    /// Returns whether the handshake is done.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Memory held for the unfinished message.
    pub(super) fn held(&self) -> usize {
        self.unfinished.capacity() + self.channel.held()
    }

    /// Returns whether the unfinished message may have to wait for its turn.
    pub(super) fn is_large(&self) -> bool {
        self.need() > SMALL
    }

    /// Bytes of memory that the unfinished message takes, as far as known.
    pub(super) fn need(&self) -> usize {
        // An encrypted frame may exist twice while it is decrypted.
        self.need.max(self.unfinished.len().saturating_add(self.channel.need().saturating_mul(2)))
    }

    /// Room that the next read needs in a shared buffer; `None` if the unfinished message is so
    /// large that it collects in its own memory.
    pub(super) fn room(&self) -> Option<usize> {
        let kept = self.unfinished.capacity();
        let room = if self.channel.is_encrypted() {
            let is_large = kept > MOVED || self.channel.gathers();
            if is_large { usize::MAX } else { kept + MIN_READ }
        } else {
            let is_large = kept > 0 && self.need > MOVED;
            if is_large { usize::MAX } else { self.need.max(kept + MIN_READ) }
        };
        (room <= BUFFER).then_some(room)
    }

    /// Sends pending bytes as far as there is room.
    pub(super) fn flush(&mut self, scratch: &mut Scratch) {
        let outcome = if self.answers.is_empty() {
            self.channel.flush()
        } else {
            let outcome = self.channel.write_pieces(&[IoSlice::new(&self.answers)], scratch);
            outcome.map(|taken| drop(self.answers.drain(..taken)))
        };
        if outcome.is_err_and(|error| error.kind() != ErrorKind::WouldBlock) {
            // The next read returns the error, too.
            self.is_mute = true;
        }
    }

    /// Returns whether something remains to be sent.
    pub(super) fn has_answers(&self) -> bool {
        !self.is_mute && (!self.answers.is_empty() || self.channel.has_unsent())
    }

    /// Tells the peer to stop sending; bytes it has sent still arrive.
    pub(super) fn say_goodbye(&mut self) {
        self.is_mute = true;
        let _ = self.channel.stream().end_writing();
    }

    /// Applies new rules. Fails if its key is no longer admitted or belongs to another node now.
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

    /// Reads once into a shared buffer, behind its contents, and passes on the batches found. The
    /// rest, an unfinished message, moves out of the buffer.
    pub(super) fn read_shared(
        &mut self,
        buffer: &mut Vec<u8>,
        scratch: &mut Scratch,
        sink: &mut impl Sink,
    ) -> Result<(), Gone> {
        let base = buffer.len();
        buffer.extend_from_slice(&self.unfinished);
        match self.read(buffer, scratch) {
            // Nothing arrived: the unfinished message stays where it is.
            Ok(false) => buffer.truncate(base),
            Ok(true) => {
                self.unfinished.clear();
                let start = self.read_items(buffer, base, sink)?;
                // With exact capacity: many connections may hold the start of a message.
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

    /// Reads once into the connection's own buffer and, if not encrypted, at most up to the end of
    /// its unfinished message. Returns the buffer with its batches when the message is complete.
    pub(super) fn read_own(
        &mut self,
        scratch: &mut Scratch,
        sink: &mut impl Sink,
    ) -> Result<Option<Vec<u8>>, Gone> {
        let has_room = self.unfinished.len() < self.unfinished.capacity();
        if !has_room && !self.channel.is_encrypted() {
            // Memory for the announced length is reserved in steps, as bytes arrive.
            let room = self.need.min(FIRST_ROOM.max(2 * self.unfinished.len()));
            self.unfinished.reserve_exact(room - self.unfinished.len());
        }
        let mut buffer = std::mem::take(&mut self.unfinished);
        let outcome = self.read(&mut buffer, scratch);
        if !matches!(outcome, Ok(true)) || buffer.len() < self.need {
            self.unfinished = buffer;
            return outcome.map(|_| None);
        }
        let start = self.read_items(&mut buffer, 0, sink)?;
        if start == 0 {
            self.unfinished = buffer;
            return Ok(None);
        }
        self.unfinished = buffer[start..].to_vec();
        Ok(Some(buffer))
    }

    /// Says whether what was read last ended before something wrong.
    pub(super) fn check(&mut self) -> Result<(), Gone> {
        self.channel.fault().map_or(Ok(()), |fault| Err(Gone::Protocol(fault)))
    }

    /// Reads once and returns whether bytes arrived.
    fn read(&mut self, buffer: &mut Vec<u8>, scratch: &mut Scratch) -> Result<bool, Gone> {
        let outcome = match self.most.filter(|_| !self.is_large()) {
            Some(most) => self.channel.read_some(most, buffer, scratch),
            None => self.channel.read_to(buffer, scratch),
        };
        match outcome {
            Ok(Read::Bytes(count)) => {
                self.has_sent = true;
                Ok(count > 0)
            }
            Ok(Read::End) if self.need() > 0 => Err(Gone::Torn),
            Ok(Read::End) => Err(Gone::Closed),
            Err(ChannelError::Io(error)) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(ChannelError::Io(error)) => Err(Gone::Io(error)),
            Err(ChannelError::Protocol(error)) => Err(Gone::Protocol(error)),
        }
    }

    /// Continues the handshake. Returns where the plain frames after it begin in `buffer`, or its
    /// unread rest if it is not finished.
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
            // The peer learns the reason. There is room: little was sent to it so far.
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

    /// Passes on the complete messages in `buffer` from `base`, where this connection's bytes
    /// begin. Returns where the unfinished message starts.
    fn read_items(
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
        // The unfinished rest moves to the start of its own buffer, or of its part of the next one.
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
        // A proven node name overrides the id in the message.
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
            let what = format_args!("with the id '{}', {denial}", start_of(id));
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

/// Returns the fault to count for a batch that its sender may not send.
fn fault_of(denial: Denial) -> BatchFault {
    match denial {
        Denial::Impersonation => BatchFault::Impersonation,
        Denial::Logs | Denial::Publish | Denial::Subscribe => BatchFault::NotAllowed,
    }
}

/// Returns as much of a peer's text as fits a log line.
fn start_of(text: &[u8]) -> &BStr {
    BStr::new(&text[..text.len().min(64)])
}
