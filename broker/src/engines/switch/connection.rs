//! [`Connection`]: one peer's channel, its incomplete message, its identity and its heartbeats.
//! [`sorting`](super::sorting) interprets the bytes.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use zcluster::access::{Access, Guard, Identity};
use zcluster::net::{Channel, ChannelError, Poller, Read, Scratch, Stream};
use zcluster::telemetry::{BrokerSocket, CutOff};
use zcluster::wire::zmtp::{Curve, MessageReader, Opening, PublicKey, SocketType, ZmtpError};

use super::bytes::{CHUNK, Chunk, Pool};
use super::held::{Held, Late};
use super::peer::Peer;
use super::router::Route;
use super::settings::Settings;

/// Capacity that the buffer of an incomplete message may keep once the message is small again.
const SPARE: usize = 16 << 10;
/// How long after its last delivery a publisher still counts as serving a route.
const SERVES_FOR: Duration = Duration::from_secs(1);
/// How many recently served routes are remembered.
const SERVED: usize = 8;

pub(super) enum State {
    Greeting(Opening),
    Open(MessageReader),
}

/// A connection, owned by its thread.
pub(super) struct Connection {
    pub(super) peer: Arc<Peer>,
    pub(super) channel: Channel,
    pub(super) state: State,
    /// The public key it has proved to own; `None` without encryption.
    pub(super) key: Option<PublicKey>,
    /// What it is allowed to say.
    pub(super) guard: Guard,
    /// Whether it waits until the socket is writable.
    pub(super) waits_to_write: bool,
    /// Whether epoll watches it at all.
    is_polled: bool,
    /// Whether its events have been searched for the name of its node.
    is_named: bool,
    /// Set while no recipient has room for this publisher's events: the connection is not read.
    pub(super) held: Option<Held>,
    /// Routes that events were delivered on, each with the time of the last one.
    served: VecDeque<(Rc<Route>, Instant)>,
    /// Received bytes that are not a complete message yet.
    unfinished: Vec<u8>,
    /// Size of the incomplete message in bytes, as far as it is known.
    need: usize,
    /// The message arrives in pieces that are small compared to what has arrived already.
    trickles: bool,
    life: Life,
}

/// Heartbeats of a peer.
struct Life {
    accepted: Instant,
    last: Instant,
    /// When to send the next PING.
    next_ping: Option<Instant>,
    /// Deadline for an answer to our PING.
    deadline: Option<Instant>,
    /// How long the peer may stay silent, from the TTL of its own PINGs.
    ttl: Option<Duration>,
}

/// Why a connection ended.
#[derive(Debug)]
pub(super) enum Gone {
    /// The peer closed it.
    Closed,
    /// The system reported an error.
    Io(std::io::Error),
    /// The peer violated the protocol.
    Protocol(ZmtpError),
    /// We closed it.
    CutOff(CutOff, &'static str),
}

impl Gone {
    /// The reason as a metric label and as text; `None` for an ordinary end.
    pub(super) fn fault(&self) -> Option<(CutOff, String)> {
        let cut_off = match self {
            // `TCP_USER_TIMEOUT`: data stayed unacknowledged, or the peer's window stayed closed.
            Gone::Io(error) if error.kind() == ErrorKind::TimedOut => {
                return Some((CutOff::Heartbeat, "does not read (heartbeat_timeout)".into()));
            }
            Gone::Closed | Gone::Io(_) => return None,
            Gone::CutOff(reason, why) => return Some((*reason, (*why).into())),
            Gone::Protocol(ZmtpError::Mechanism { .. } | ZmtpError::Undecryptable("HELLO")) => {
                CutOff::Mechanism
            }
            Gone::Protocol(ZmtpError::Unauthorized(_)) => CutOff::Unauthorized,
            Gone::Protocol(ZmtpError::SocketType(_)) => CutOff::SocketType,
            Gone::Protocol(ZmtpError::TooLarge { .. }) => CutOff::Limit,
            Gone::Protocol(_) => CutOff::Protocol,
        };
        let Gone::Protocol(error) = self else { return None };
        Some((cut_off, error.to_string()))
    }
}

/// What to do about a silent peer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Attention {
    None,
    Ping,
}

impl From<ChannelError> for Gone {
    fn from(error: ChannelError) -> Self {
        match error {
            ChannelError::Io(error) => Gone::Io(error),
            ChannelError::Protocol(error) => Gone::Protocol(error),
        }
    }
}

/// The result of a read that returned data.
fn unless_blocked(outcome: Result<Read, ChannelError>) -> Result<Option<usize>, Gone> {
    match outcome {
        Ok(Read::Bytes(read)) => Ok(Some(read)),
        Ok(Read::End) => Err(Gone::Closed),
        Err(ChannelError::Io(error)) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Connection {
    /// A connection that was just accepted. Our greeting waits to be sent.
    pub(super) fn new(peer: Arc<Peer>, stream: Stream, access: &Arc<Access>, now: Instant) -> Self {
        let ours = match peer.socket {
            BrokerSocket::Frontend => SocketType::Xsub,
            BrokerSocket::Backend => SocketType::Xpub,
        };
        let mut greeting = Vec::new();
        let curve = access.server_keys().map(|keys| Curve::Server(Arc::clone(keys)));
        let opening = Opening::new(ours, curve, &mut greeting);
        let mut channel = Channel::new(stream);
        channel.put_raw(&greeting);
        Connection {
            peer,
            channel,
            state: State::Greeting(opening),
            key: None,
            guard: Guard::new(Arc::clone(access), Identity::Unproven),
            waits_to_write: false,
            is_polled: true,
            is_named: false,
            held: None,
            served: VecDeque::new(),
            unfinished: Vec::new(),
            need: 0,
            trickles: false,
            life: Life { accepted: now, last: now, next_ping: None, deadline: None, ttl: None },
        }
    }

    /// Whether the handshake is complete.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Marks the handshake as complete; messages start at `at` in the bytes read.
    pub(super) fn open(&mut self, at: usize, minor: u8, settings: &Settings, now: Instant) {
        let mut reader = MessageReader::new(settings.max_message_size);
        reader.rebase(at);
        self.state = State::Open(reader);
        // ZMTP 3.0 has no PING.
        if minor > 0 && !settings.heartbeat_interval.is_zero() {
            self.life.next_ping = Some(now + settings.heartbeat_interval);
        }
    }

    /// Reads once. The bytes returned may hold complete messages; pass what is left to
    /// [`Connection::keep`].
    pub(super) fn read(
        &mut self,
        pool: &mut Pool,
        scratch: &mut Scratch,
        now: Instant,
    ) -> Result<Option<Chunk>, Gone> {
        if self.need > CHUNK || self.trickles {
            return self.read_large(scratch, now);
        }
        let mut chunk = pool.take_chunk();
        // The bytes have no other reader.
        let Some(bytes) = Arc::get_mut(&mut chunk) else { return Ok(None) };
        bytes.extend_from_slice(&self.unfinished);
        let read = unless_blocked(self.channel.read_to(bytes, scratch))?;
        if let Some(read) = read {
            self.heard(now);
            // Otherwise every piece would copy everything received so far.
            self.trickles = read < self.unfinished.len() / 4;
        }
        // An encrypted frame reveals nothing until all of it has arrived.
        if matches!(read, None | Some(0)) {
            pool.give_chunk(chunk);
            return Ok(None);
        }
        Ok(Some(chunk))
    }

    /// A message that is larger than a chunk or that arrives slowly gets its own memory, which
    /// grows as the message arrives.
    fn read_large(&mut self, scratch: &mut Scratch, now: Instant) -> Result<Option<Chunk>, Gone> {
        let bytes = &mut self.unfinished;
        if bytes.len() == bytes.capacity() {
            let more = bytes.len().max(CHUNK).min(self.need - bytes.len());
            bytes.reserve_exact(more);
        }
        if unless_blocked(self.channel.read_to(bytes, scratch))?.is_none() {
            return Ok(None);
        }
        self.heard(now);
        if self.unfinished.len() < self.need {
            return Ok(None);
        }
        self.trickles = false;
        Ok(Some(Arc::new(std::mem::take(&mut self.unfinished))))
    }

    /// Says whether what was read last ended before something wrong.
    pub(super) fn check(&mut self) -> Result<(), Gone> {
        self.channel.fault().map_or(Ok(()), |fault| Err(Gone::Protocol(fault)))
    }

    /// Keeps the unprocessed rest of a read. `need`: how many bytes, from
    /// its start, the next complete item takes at least.
    pub(super) fn keep(&mut self, rest: &[u8], need: usize) {
        self.need = need;
        self.trickles &= rest.len() > SPARE;
        if rest.is_empty() && self.unfinished.capacity() > SPARE {
            self.unfinished = Vec::new();
        }
        self.unfinished.clear();
        self.unfinished.extend_from_slice(rest);
        if let State::Open(reader) = &mut self.state {
            reader.rebase(0);
        }
    }

    /// Takes a publisher's process id from an event; it may contain the name of the node.
    pub(super) fn learn_name(&mut self, id: &[u8]) {
        if !std::mem::replace(&mut self.is_named, true) {
            self.peer.lock().counts.learn_name(id, 0);
        }
    }

    /// Sends what the socket accepts, then shuts down our direction, so that a peer whose handshake
    /// failed can still read the reason.
    pub(super) fn say_last(&mut self) {
        let _ = self.channel.flush();
        let _ = self.channel.stream().end_writing();
    }

    /// The events that epoll should report.
    pub(super) fn update_interest(&self, poller: &Poller) {
        if self.is_polled {
            let reads = self.held.is_none();
            let _ = poller.change(&self.channel, self.peer.id, reads, self.waits_to_write);
        }
    }

    /// Adds the connection to epoll or removes it. Errors surface at the next read or write.
    pub(super) fn set_polled(&mut self, is_polled: bool, poller: &Poller) {
        if std::mem::replace(&mut self.is_polled, is_polled) == is_polled {
            return;
        }
        let _ = if is_polled {
            poller.add(&self.channel, self.peer.id, true, self.waits_to_write)
        } else {
            poller.remove(&self.channel)
        };
    }

    /// Notes a sign of life.
    pub(super) fn heard(&mut self, now: Instant) {
        self.life.last = now;
        self.life.deadline = None;
    }

    /// Notes a PING of the peer with its TTL, in tenths of a second.
    pub(super) fn set_ttl(&mut self, ttl: u16) {
        self.life.ttl = (ttl > 0).then(|| Duration::from_millis(u64::from(ttl) * 100));
    }

    /// Checks the peer's deadlines.
    pub(super) fn look_after(
        &mut self,
        settings: &Settings,
        now: Instant,
    ) -> Result<Attention, Gone> {
        let life = &mut self.life;
        if !matches!(self.state, State::Open(_)) {
            if now >= life.accepted + settings.handshake_timeout {
                let why = "no complete handshake in time (handshake_timeout)";
                return Err(Gone::CutOff(CutOff::HandshakeTimeout, why));
            }
            return Ok(Attention::None);
        }
        // A publisher that is held back may have answered long ago: its bytes are still unread.
        if self.held.is_some() {
            life.last = now;
            life.deadline = None;
        }
        // Our PING may wait behind data that the peer reads slowly. A peer that reads nothing is
        // detected by the kernel (`Stream::set_user_timeout`).
        if self.waits_to_write && matches!(self.channel.stream(), Stream::Tcp(_)) {
            life.deadline = None;
        }
        let is_late = life.deadline.is_some_and(|deadline| now >= deadline)
            || life.ttl.is_some_and(|ttl| now >= life.last + ttl);
        if is_late {
            return Err(Gone::CutOff(CutOff::Heartbeat, "no sign of life (heartbeat_timeout)"));
        }
        if life.next_ping.is_some_and(|at| now >= at) {
            life.next_ping = Some(now + settings.heartbeat_interval);
            if !settings.heartbeat_timeout.is_zero() {
                life.deadline.get_or_insert(now + settings.heartbeat_timeout);
            }
            return Ok(Attention::Ping);
        }
        Ok(Attention::None)
    }

    /// Notes a delivery on `route`.
    pub(super) fn serves(&mut self, route: &Rc<Route>, now: Instant) {
        if let Some(known) = self.served.iter_mut().find(|served| Rc::ptr_eq(&served.0, route)) {
            known.1 = now;
            return;
        }
        if self.served.len() >= SERVED {
            self.served.pop_front();
        }
        self.served.push_back((Rc::clone(route), now));
    }

    /// Whether it has recently served any recipient other than these.
    pub(super) fn serves_others(&mut self, these: &[Late], now: Instant) -> bool {
        self.served.retain(|(_, at)| now.saturating_duration_since(*at) < SERVES_FOR);
        let mut recipients = self.served.iter().flat_map(|(route, _)| &route.recipients);
        recipients.any(|one| {
            let is_other = !these.iter().any(|late| Arc::ptr_eq(&late.peer, one));
            is_other && !one.lock().outbox.is_closed()
        })
    }
}
