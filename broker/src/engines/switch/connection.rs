//! [`Connection`]: one peer's channel, the bytes that are no whole message yet, who it is, and its
//! signs of life. What the bytes mean is told apart in [`sorting`](super::sorting).

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

/// What an unfinished message may keep allocated when it is small.
const SPARE: usize = 16 << 10;
/// For how long a publisher counts as serving those it has served.
const SERVES_FOR: Duration = Duration::from_secs(1);
/// How many of the routes it has served lately are remembered.
const SERVED: usize = 8;

pub(super) enum State {
    Greeting(Opening),
    Open(MessageReader),
}

/// A connection, as its thread has it.
pub(super) struct Connection {
    pub(super) peer: Arc<Peer>,
    pub(super) channel: Channel,
    pub(super) state: State,
    /// The key that it has proved to own, where it is encrypted.
    pub(super) key: Option<PublicKey>,
    /// What it may say.
    pub(super) guard: Guard,
    /// Whether it waits for room to write.
    pub(super) waits_to_write: bool,
    /// Whether it is watched at all.
    is_polled: bool,
    /// Whether the name of its node was looked for.
    is_named: bool,
    /// A publisher whose events nobody has room for: it is not read.
    pub(super) held: Option<Held>,
    /// Routes on which events went out, and when last.
    served: VecDeque<(Rc<Route>, Instant)>,
    /// What was received and is not a whole message.
    unfinished: Vec<u8>,
    /// Bytes the unfinished message takes, as far as they are known.
    need: usize,
    /// It comes in pieces that are small beside what is there of it already.
    trickles: bool,
    life: Life,
}

/// Signs of life.
struct Life {
    accepted: Instant,
    last: Instant,
    /// When the next PING is due.
    next_ping: Option<Instant>,
    /// When the peer must have shown some, after a PING.
    deadline: Option<Instant>,
    /// How long it may be silent, as it said itself.
    ttl: Option<Duration>,
}

/// Why a connection ends.
#[derive(Debug)]
pub(super) enum Gone {
    /// The peer closed it.
    Closed,
    /// The system says so.
    Io(std::io::Error),
    /// The peer breaks the protocol.
    Protocol(ZmtpError),
    /// We end it.
    CutOff(CutOff, &'static str),
}

impl Gone {
    /// What it counts as, and why, for people; `None` for ends that are nobody's fault.
    pub(super) fn fault(&self) -> Option<(CutOff, String)> {
        let cut_off = match self {
            // The kernel's own heartbeat: what was sent is not acknowledged, or finds no room.
            Gone::Io(error) if error.kind() == ErrorKind::TimedOut => {
                return Some((CutOff::Heartbeat, "takes nothing (heartbeat_timeout)".into()));
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

/// What is to be done for a silent peer.
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

/// What a read has found, if the stream goes on and something has come.
fn something(outcome: Result<Read, ChannelError>) -> Result<Option<usize>, Gone> {
    match outcome {
        Ok(Read::Bytes(read)) => Ok(Some(read)),
        Ok(Read::End) => Err(Gone::Closed),
        Err(ChannelError::Io(error)) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Connection {
    /// A connection just accepted, whose first bytes wait to be sent.
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

    /// The handshake is complete; messages begin at that place of what was read.
    pub(super) fn open(&mut self, at: usize, minor: u8, settings: &Settings, now: Instant) {
        let mut reader = MessageReader::new(settings.max_message_size);
        reader.rebase(at);
        self.state = State::Open(reader);
        // Only ZMTP 3.1 has PINGs.
        if minor > 0 && !settings.heartbeat_interval.is_zero() {
            self.life.next_ping = Some(now + settings.heartbeat_interval);
        }
    }

    /// Reads once. Returns bytes with something complete in them, perhaps: what is left must come
    /// back through [`Connection::keep`].
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
        // Nobody else has it.
        let Some(bytes) = Arc::get_mut(&mut chunk) else { return Ok(None) };
        bytes.extend_from_slice(&self.unfinished);
        let read = something(self.channel.read_to(bytes, scratch))?;
        if let Some(read) = read {
            self.heard(now);
            // Or each piece would cost a copy of all that is there.
            self.trickles = read < self.unfinished.len() / 4;
        }
        // Of a frame that is encrypted nothing is seen before all of it is there.
        if matches!(read, None | Some(0)) {
            pool.give_chunk(chunk);
            return Ok(None);
        }
        Ok(Some(chunk))
    }

    /// A message larger than a chunk, or one that comes slowly, gets memory of its own, as it comes.
    fn read_large(&mut self, scratch: &mut Scratch, now: Instant) -> Result<Option<Chunk>, Gone> {
        let bytes = &mut self.unfinished;
        if bytes.len() == bytes.capacity() {
            let more = bytes.len().max(CHUNK).min(self.need - bytes.len());
            bytes.reserve_exact(more);
        }
        if something(self.channel.read_to(bytes, scratch))?.is_none() {
            return Ok(None);
        }
        self.heard(now);
        if self.unfinished.len() < self.need {
            return Ok(None);
        }
        self.trickles = false;
        Ok(Some(Arc::new(std::mem::take(&mut self.unfinished))))
    }

    /// Keeps what is left of bytes that were read, from that place on. `need`: bytes from there on
    /// without which nothing is complete.
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

    /// A publisher says the id of its process: its node may be named in it.
    pub(super) fn learn_name(&mut self, id: &[u8]) {
        if !std::mem::replace(&mut self.is_named, true) {
            self.peer.lock().books.learn_name(id, 0);
        }
    }

    /// Sends what there is room for, and ends our direction: a peer whose handshake fails is to
    /// learn why.
    pub(super) fn say_last(&mut self) {
        let _ = self.channel.flush();
        let _ = self.channel.stream().end_writing();
    }

    /// Says what it waits for.
    pub(super) fn update_interest(&self, poller: &Poller) {
        if self.is_polled {
            let reads = self.held.is_none();
            let _ = poller.change(&self.channel, self.peer.id, reads, self.waits_to_write);
        }
    }

    /// Takes it out of what is watched, or puts it back. Errors show in the next read or write.
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

    /// The peer lives.
    pub(super) fn heard(&mut self, now: Instant) {
        self.life.last = now;
        self.life.deadline = None;
    }

    /// The peer sent a PING with that ttl, in tenths of a second.
    pub(super) fn set_ttl(&mut self, ttl: u16) {
        self.life.ttl = (ttl > 0).then(|| Duration::from_millis(u64::from(ttl) * 100));
    }

    /// Looks whether the peer is late with anything.
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
        // One that is held back may have sent long ago what we have not read.
        if self.held.is_some() {
            life.last = now;
            life.deadline = None;
        }
        // Our PING may wait behind what it is slow to take. One that takes nothing is found by the
        // system (`Stream::set_user_timeout`).
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

    /// Events went out on that route.
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

    /// Whether it has lately served anybody but those.
    pub(super) fn serves_others(&mut self, these: &[Late], now: Instant) -> bool {
        self.served.retain(|(_, at)| now.saturating_duration_since(*at) < SERVES_FOR);
        let mut recipients = self.served.iter().flat_map(|(route, _)| &route.recipients);
        recipients.any(|one| {
            let is_other = !these.iter().any(|late| Arc::ptr_eq(&late.peer, one));
            is_other && !one.lock().outbox.is_closed()
        })
    }
}
