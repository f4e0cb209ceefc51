//! One producer's connection: its bytes to log batches.

use std::io::{ErrorKind, Write};
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bstr::BString;
use zcluster::net::Stream;
use zcluster::telemetry::{BatchFault, PeerFault, SenderCounters};
use zcluster::wire::LogMessage;
use zcluster::wire::zmtp::{
    Command, Handshake, Item, Message, MessageReader, SocketType, ZmtpError, put_pong,
};

/// Answers a peer may leave unread; those to further PINGs are left out.
const MAX_ANSWERS: usize = 4 << 10;
/// Room made at once for a message that is announced; for more when it has come.
const FIRST_ROOM: usize = 1 << 20;
/// Bytes of an unfinished message that never have to wait for their turn.
const SMALL: usize = 16 << 10;

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
    /// A batch that cannot be read.
    fn rejected(&mut self, sender: &Sender, fault: BatchFault, what: &str);
    /// The sender of that id.
    fn sender(&mut self, id: &[u8]) -> Arc<Sender>;
}

enum State {
    Greeting(Handshake),
    Open(MessageReader),
}

/// A connection.
pub(super) struct Connection {
    pub(super) stream: Stream,
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
    /// What was received and is not a whole message.
    unfinished: Vec<u8>,
    /// Bytes the unfinished message takes, as far as they are known.
    need: usize,
    /// What is to be sent.
    answers: Vec<u8>,
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
    /// The peer breaks the protocol.
    Protocol(ZmtpError),
}

impl Gone {
    /// What it counts as; `None` for ends that are nobody's fault.
    pub(super) fn fault(&self) -> Option<PeerFault> {
        let Gone::Protocol(error) = self else { return None };
        Some(match error {
            ZmtpError::Mechanism { .. } => PeerFault::Mechanism,
            ZmtpError::SocketType(_) => PeerFault::SocketType,
            ZmtpError::TooLarge { .. } => PeerFault::Limit,
            _ => PeerFault::Protocol,
        })
    }
}

impl Connection {
    /// A connection just accepted. `limit`: bytes of its largest message.
    pub(super) fn new(stream: Stream, peer: String, limit: u64) -> Self {
        let mut answers = Vec::new();
        let handshake = Handshake::new(SocketType::Pull, &mut answers);
        Connection {
            stream,
            peer,
            accepted: Instant::now(),
            is_waiting: false,
            waits_to_write: false,
            messages: 0,
            counted: 0,
            state: State::Greeting(handshake),
            limit,
            unfinished: Vec::new(),
            need: 0,
            answers,
            sender: None,
        }
    }

    /// Whether the handshake is done.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Memory it holds for its unfinished message.
    pub(super) fn held(&self) -> usize {
        self.unfinished.capacity()
    }

    /// Whether its unfinished message is one that may have to wait for its turn.
    pub(super) fn is_large(&self) -> bool {
        self.need > SMALL
    }

    /// Bytes its unfinished message takes, as far as they are known.
    pub(super) fn need(&self) -> usize {
        self.need
    }

    /// Sends what is to be sent, as far as there is room.
    pub(super) fn flush(&mut self) -> Result<(), Gone> {
        while !self.answers.is_empty() {
            match self.stream.write(&self.answers) {
                Ok(count) => {
                    self.answers.drain(..count);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Gone::Io(error)),
            }
        }
        Ok(())
    }

    /// Gives up what is to be sent.
    pub(super) fn drop_answers(&mut self) {
        self.answers.clear();
    }

    /// Whether something is still to be sent.
    pub(super) fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }

    /// Reads once into a shared buffer, behind what is in it, and hands out the batches there.
    /// What is left of an unfinished message moves out of it.
    pub(super) fn read_shared(
        &mut self,
        buffer: &mut Vec<u8>,
        sink: &mut impl Sink,
    ) -> Result<(), Gone> {
        let base = buffer.len();
        buffer.extend_from_slice(&self.unfinished);
        match self.read(buffer) {
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

    /// Reads once into the connection's own buffer, up to the end of its unfinished message. When
    /// that is complete, the buffer is handed out with the batches in it.
    pub(super) fn read_own(&mut self, sink: &mut impl Sink) -> Result<Option<Vec<u8>>, Gone> {
        if self.unfinished.len() == self.unfinished.capacity() {
            // The announced length is believed in steps.
            let room = self.need.min(FIRST_ROOM.max(2 * self.unfinished.len()));
            self.unfinished.reserve_exact(room - self.unfinished.len());
        }
        let mut buffer = std::mem::take(&mut self.unfinished);
        let outcome = self.read(&mut buffer);
        if !matches!(outcome, Ok(true)) || buffer.len() < self.need {
            self.unfinished = buffer;
            return outcome.map(|_| None);
        }
        let start = self.take_apart(&buffer, 0, sink)?;
        if start == 0 {
            self.unfinished = buffer;
            return Ok(None);
        }
        self.unfinished = buffer[start..].to_vec();
        Ok(Some(buffer))
    }

    /// Reads once; whether there was anything.
    fn read(&mut self, buffer: &mut Vec<u8>) -> Result<bool, Gone> {
        match self.stream.read_to(buffer) {
            Ok(0) if self.need > 0 => Err(Gone::Torn),
            Ok(0) => Err(Gone::Closed),
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(Gone::Io(error)),
        }
    }

    /// Hands out what is complete in `buffer` from `base` on, where this connection's bytes begin.
    /// Returns where the unfinished message starts.
    fn take_apart(
        &mut self,
        buffer: &[u8],
        mut base: usize,
        sink: &mut impl Sink,
    ) -> Result<usize, Gone> {
        if let State::Greeting(handshake) = &mut self.state {
            let (consumed, peer) = handshake.advance(&buffer[base..]).map_err(Gone::Protocol)?;
            base += consumed;
            if peer.is_none() {
                self.need = buffer.len() - base + 1;
                return Ok(base);
            }
            self.state = State::Open(MessageReader::new(self.limit));
        }
        let State::Open(mut reader) =
            std::mem::replace(&mut self.state, State::Open(MessageReader::new(self.limit)))
        else {
            return Ok(base);
        };
        reader.rebase(base);
        let start = loop {
            match reader.next(buffer).map_err(Gone::Protocol)? {
                Item::Message(message) => self.message(&message, buffer, sink),
                Item::Command(body) => {
                    self.command(&buffer[body]).map_err(Gone::Protocol)?;
                }
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
        let sender = match &mut self.sender {
            Some(sender) if sender.id == id => sender,
            other => other.insert(sink.sender(id)),
        };
        sender.counters.batches.inc();
        let format = &buffer[format.clone()];
        if format == LogMessage::ZEEK_BIN {
            sink.batch(sender, payload.clone());
        } else {
            let what = format!(
                "Got log message in format '{}', but have deserializer '{}'",
                bstr::BStr::new(&format[..format.len().min(64)]),
                bstr::BStr::new(LogMessage::ZEEK_BIN),
            );
            sink.rejected(sender, BatchFault::Format, &what);
        }
    }

    fn command(&mut self, body: &[u8]) -> Result<(), ZmtpError> {
        match Command::parse(body)? {
            Command::Ping { context, .. } if self.answers.len() < MAX_ANSWERS => {
                put_pong(context, &mut self.answers);
            }
            Command::Error(_) => return Err(ZmtpError::Command("ERROR")),
            _ => {}
        }
        Ok(())
    }
}
