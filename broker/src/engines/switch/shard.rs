//! [`Shard`]: one thread of the engine with its share of the connections.
//!
//! In each turn it reads once from every publisher that has sent something, then writes once to
//! every subscriber that got something, unless that had better wait ([`gathering`](super::gathering)).
//! The first thread accepts connections for all.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ahash::AHashMap;
use zcluster::access::{Access, Guard, Identity};
use zcluster::net::{Event, Listener, Poller, Scratch, Stream};
use zcluster::telemetry::{BrokerSocket, CutOff, EventDrop, LabelValue};
use zcluster::wire::zmtp::{ZmtpError, put_ping};

use super::bytes::Pool;
use super::connection::{Attention, Connection, Gone};
use super::delivery::{Delivery, count};
use super::gathering::{ENOUGH, Gathering};
use super::hub::{Hub, Mail};
use super::outbox::{Outbox, SLICES};
use super::peer::Peer;
use super::refusals::Warnings;
use super::router::Router;
use super::subscriptions::PeerId;

/// Bytes to read before delivering them.
const READ_TURN: usize = 1 << 20;
/// Bytes to write to one peer before the next gets its turn.
const WRITE_TURN: usize = 4 << 20;
/// Reads at the end, whose data is discarded.
const LAST_READS: usize = 16;
/// Connections to accept before existing ones get their turn.
const ACCEPTED_AT_A_TIME: usize = 64;
/// How often to check what no event reports.
const TICK: Duration = Duration::from_millis(100);
/// A thread that was not scheduled for this long finds every peer late, with their answers still
/// unread: it extends all deadlines by the same time.
const AWAY: Duration = Duration::from_secs(1);
/// How long accepting pauses when the process runs out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(250);
/// How often each kind of fault is reported.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);
/// Pairs of fault and host that are told apart.
const MAX_WARNINGS: usize = 1_024;
/// PINGs are skipped while the control lane holds more than this.
const MAX_PINGS: usize = 64 << 10;

const WAKER: u64 = u64::MAX;
/// Listeners are numbered from here on.
const LISTENERS: u64 = u64::MAX - 2;

/// A thread of the engine.
pub(super) struct Shard {
    hub: Arc<Hub>,
    index: usize,
    poller: Poller,
    /// Polls only the waker, during pauses.
    pausing: Poller,
    /// Only in the first thread, until the engine stops.
    listeners: Vec<(Listener, BrokerSocket)>,
    connections: AHashMap<PeerId, Connection>,
    /// Publishers that are held back, longest first.
    held: VecDeque<PeerId>,
    pool: Pool,
    scratch: Scratch,
    router: Router,
    /// The access rules that the connections were checked against, and their version.
    access: Arc<Access>,
    access_generation: u64,
    mail: Vec<Mail>,
    gathering: Gathering,
    /// The thread that gets the next connection.
    next_thread: usize,
    accept_again: Option<Instant>,
    next_tick: Instant,
    /// No peer is checked for lateness before this.
    lenient_until: Instant,
    warnings: Warnings,
    now: Instant,
    is_ending: bool,
}

/// Borrows what delivery needs, without the connections.
macro_rules! delivery {
    ($shard:expr) => {
        Delivery {
            hub: &$shard.hub,
            shard: $shard.index,
            pool: &mut $shard.pool,
            router: &mut $shard.router,
            access: &$shard.access,
            warnings: &mut $shard.warnings,
            now: $shard.now,
        }
    };
}

impl Shard {
    pub(super) fn new(
        hub: &Arc<Hub>,
        index: usize,
        listeners: Vec<(Listener, BrokerSocket)>,
    ) -> io::Result<Self> {
        let (poller, pausing) = (Poller::new()?, Poller::new()?);
        poller.add(&**hub.waker(index), WAKER, true, false)?;
        pausing.add(&**hub.waker(index), WAKER, true, false)?;
        for (key, (listener, _)) in (LISTENERS..WAKER).zip(&listeners) {
            poller.add(listener, key, true, false)?;
        }
        let now = Instant::now();
        let access_generation = hub.access.generation();
        Ok(Shard {
            hub: Arc::clone(hub),
            index,
            poller,
            pausing,
            listeners,
            connections: AHashMap::new(),
            held: VecDeque::new(),
            pool: Pool::default(),
            scratch: Scratch::default(),
            router: Router::new(Arc::clone(hub)),
            access: hub.access.load(),
            access_generation,
            mail: Vec::new(),
            gathering: Gathering::new(now),
            next_thread: 0,
            accept_again: None,
            next_tick: now + TICK,
            lenient_until: now,
            warnings: Warnings::new(WARNING_INTERVAL, MAX_WARNINGS),
            now,
            is_ending: false,
        })
    }

    /// The thread's main loop. Returns how many events were read but not sent.
    pub(super) fn run(mut self) -> io::Result<u64> {
        let mut events: Vec<Event> = Vec::new();
        loop {
            if let Some(deadline) = self.hub.end()
                && self.is_at_end(deadline)
            {
                return Ok(self.finish());
            }
            if let Some(pause) = self.gathering.pause()
                && !self.is_ending
                && !self.hub.has_mail(self.index)
            {
                let _ = self.pausing.wait(Some(pause))?;
            }
            let timeout = self.timeout();
            events.clear();
            let before = Instant::now();
            events.extend(self.poller.wait(timeout)?);
            self.now = Instant::now();
            let waited = self.now.saturating_duration_since(before);
            if self.access_generation != self.hub.access.generation() {
                self.change_access();
            }
            let (mut read, mut read_before) = (0, 0);
            for event in &events {
                match event.key {
                    WAKER => self.hub.waker(self.index).reset(),
                    LISTENERS.. => self.accept((event.key - LISTENERS) as usize),
                    key => {
                        read += self.look_at(key, *event);
                        if read >= READ_TURN {
                            read_before += std::mem::take(&mut read);
                            self.write(events.len());
                        }
                    }
                }
            }
            self.write(events.len());
            self.gathering.note(waited, events.len(), read_before + read, self.now);
            if self.now >= self.next_tick {
                if self.now >= self.next_tick + AWAY {
                    self.lenient_until = self.now + AWAY;
                }
                self.next_tick = self.now + TICK;
                self.tick();
            }
        }
    }

    fn timeout(&self) -> Option<Duration> {
        if self.hub.has_mail(self.index) || !self.gathering.is_empty() {
            return Some(Duration::ZERO);
        }
        let is_quiet =
            self.connections.is_empty() && self.accept_again.is_none() && !self.is_ending;
        (!is_quiet).then(|| self.next_tick.saturating_duration_since(Instant::now()))
    }

    /// Handles an event of a connection. Returns how many bytes were read.
    fn look_at(&mut self, key: PeerId, event: Event) -> usize {
        let Some(connection) = self.connections.get_mut(&key) else { return 0 };
        if event.writable && connection.waits_to_write {
            // It drains its socket, so it is alive.
            connection.heard(self.now);
            connection.peer.lock().last_taken = self.now;
            self.hub.mark(&connection.peer, self.index);
        }
        if !event.readable {
            return 0;
        }
        if connection.held.is_some() {
            // It is gone. Its last data is read once it is no longer held back.
            connection.set_polled(false, &self.poller);
            return 0;
        }
        let read = connection.read(&mut self.pool, &mut self.scratch, self.now);
        let outcome = read.and_then(|chunk| {
            let Some(chunk) = chunk else { return Ok(0) };
            let outcome = delivery!(self).sort(connection, &chunk);
            let read = chunk.len();
            self.pool.give_chunk(chunk);
            outcome.and_then(|()| connection.check()).map(|()| read)
        });
        if connection.held.is_some() {
            self.held.push_back(key);
            connection.peer.lock().is_held = true;
            connection.update_interest(&self.poller);
        }
        outcome.unwrap_or_else(|gone| {
            self.close(key, &gone);
            0
        })
    }

    /// Handles the mailbox and writes to all peers with data, except those for whom more should gather.
    /// `ready`: how many connections the last poll found ready.
    fn write(&mut self, ready: usize) {
        let gathers = self.gathering.goes_on(ready, Instant::now()) && !self.is_ending;
        for key in self.gathering.take() {
            self.write_or_wait(key, gathers);
        }
        self.open_mail(gathers);
    }

    /// Writes to a peer, or lets it wait.
    fn write_or_wait(&mut self, key: PeerId, gathers: bool) {
        if gathers && self.connections.get(&key).is_some_and(may_wait) {
            self.gathering.add(key);
        } else if let Err(gone) = self.flush(key) {
            self.close(key, &gone);
        }
    }

    /// Handles the mailbox.
    fn open_mail(&mut self, gathers: bool) {
        let mut mail = std::mem::take(&mut self.mail);
        self.hub.take_mail(self.index, &mut mail);
        let mut has_room = false;
        for one in mail.drain(..) {
            match one {
                Mail::Marked(key) => self.write_or_wait(key, gathers),
                Mail::Accepted(stream, address, socket) => self.admit(stream, address, socket),
                Mail::Room => has_room = true,
            }
        }
        self.mail = mail;
        if has_room {
            self.retry();
        }
    }

    /// Tries again for publishers that are held back.
    fn retry(&mut self) {
        for key in std::mem::take(&mut self.held) {
            let Some(connection) = self.connections.get_mut(&key) else { continue };
            delivery!(self).retry(connection);
            if connection.held.is_some() {
                self.held.push_back(key);
            } else {
                connection.peer.lock().is_held = false;
                connection.set_polled(true, &self.poller);
                connection.update_interest(&self.poller);
            }
        }
    }

    /// Writes a peer's queued data, as much as the socket takes.
    fn flush(&mut self, key: PeerId) -> Result<(), Gone> {
        let Some(connection) = self.connections.get_mut(&key) else { return Ok(()) };
        let peer = Arc::clone(&connection.peer);
        // Cleared first: data that arrives from now on sets it again.
        peer.is_marked.store(false, Ordering::Release);
        let mut state = peer.lock();
        if state.has_overflown {
            let why = "does not read subscriptions (control_max_bytes)";
            return Err(Gone::CutOff(CutOff::ControlOverflow, why));
        }
        let before = state.outbox.sent();
        let channel = &mut connection.channel;
        let (mut written, mut is_behind) = (0, false);
        while !is_behind && written < WRITE_TURN {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = state.outbox.slices(&mut slices);
            if count == 0 && !channel.has_unsent() {
                break;
            }
            let wanted: usize = slices[..count].iter().map(|slice| slice.len()).sum();
            let sent = match channel.write_pieces(&slices[..count], &mut self.scratch) {
                Ok(sent) => sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(_) if peer.socket == BrokerSocket::Frontend => {
                    // It no longer reads, but its last data is still to be read; the end shows
                    // there.
                    state.outbox.close(&mut |_| {});
                    break;
                }
                Err(error) => return Err(Gone::Io(error)),
            };
            state.outbox.advance(sent, &mut self.pool);
            // Data that an encrypted channel has accepted and not sent is no longer in the outbox.
            is_behind = sent < wanted || channel.has_unsent();
            written += sent;
            if !is_behind && state.outbox.is_empty() {
                break;
            }
        }
        state.outbox.set_behind(is_behind, &mut self.pool);
        if written > 0 || !is_behind {
            state.last_taken = self.now;
        }
        state.check_whether_it_reads();
        if state.outbox.is_below(1, 2) {
            state.is_slow = false;
            state.full_since = None;
        }
        if state.awaited_by != 0 && state.outbox.has_room() {
            let threads = std::mem::take(&mut state.awaited_by);
            self.hub.notify_room(threads, self.index);
        }
        let after = state.outbox.sent();
        let is_done = state.outbox.is_empty();
        drop(state);
        if peer.socket == BrokerSocket::Backend {
            let backend = &self.hub.metrics.backend;
            backend.messages_sent.inc_by(4 * (after.messages - before.messages));
            backend.bytes_sent.inc_by(after.body - before.body);
        }
        if !is_behind && !is_done {
            self.hub.mark(&peer, self.index);
        }
        if connection.waits_to_write != is_behind {
            connection.waits_to_write = is_behind;
            connection.update_interest(&self.poller);
        }
        Ok(())
    }

    /// Accepts the connections waiting at a listener.
    fn accept(&mut self, which: usize) {
        for _ in 0..ACCEPTED_AT_A_TIME {
            let Some((listener, socket)) = self.listeners.get(which) else { return };
            let socket = *socket;
            match listener.accept() {
                Ok(None) => return,
                Ok(Some((stream, address))) => {
                    let thread = self.next_thread;
                    self.next_thread = (thread + 1) % self.hub.settings.io_threads;
                    if thread == self.index {
                        self.admit(stream, address, socket);
                    } else {
                        let mail = Mail::Accepted(stream, address, socket);
                        self.hub.send(thread, mail, self.index);
                    }
                }
                Err(error) => {
                    self.hub.metrics.accept_failures[socket].inc();
                    let kind = ("accept", String::new());
                    if let Some(more) = self.warnings.check(&kind, self.now) {
                        log::error!("cannot accept connections: {error} ({more} more like this)");
                    }
                    // The listener would be ready again at once.
                    self.listen(false);
                    self.accept_again = Some(self.now + ACCEPT_PAUSE);
                    return;
                }
            }
        }
    }

    /// Starts or stops watching the listeners.
    fn listen(&self, looks: bool) {
        for (key, (listener, _)) in (LISTENERS..WAKER).zip(&self.listeners) {
            let _ = self.poller.change(listener, key, looks, false);
        }
    }

    /// Takes over a connection.
    fn admit(&mut self, stream: Stream, address: String, socket: BrokerSocket) {
        if self.is_ending {
            return;
        }
        let settings = &self.hub.settings;
        if !settings.heartbeat_timeout.is_zero() {
            let _ = stream.set_user_timeout(settings.heartbeat_timeout);
        }
        let key = self.hub.next_peer();
        let outbox = Outbox::new(settings.control, settings.bulk);
        let peer = Peer::new(key, self.index, socket, address, outbox, &self.hub.metrics);
        let connection = Connection::new(peer, stream, &self.access, self.now);
        if let Err(error) = self.poller.add(&connection.channel, key, true, false) {
            log::error!("cannot watch a connection: {error}");
            return;
        }
        self.hub.metrics.peers[socket].inc();
        self.hub.mark(&connection.peer, self.index);
        self.connections.insert(key, connection);
    }

    /// Ends a connection, or notes its end.
    fn close(&mut self, key: PeerId, gone: &Gone) {
        let Some(mut connection) = self.connections.remove(&key) else { return };
        self.held.retain(|held| *held != key);
        if let Some(held) = connection.held.take() {
            delivery!(self).abandon(held);
        }
        if !connection.is_open() {
            connection.say_last();
        }
        let peer = Arc::clone(&connection.peer);
        self.tell_end(&connection, gone);
        self.close_counts(&peer);
        self.hub.leave(&peer, self.index, &mut self.pool);
        let metrics = &self.hub.metrics;
        metrics.peers[peer.socket].dec();
        metrics.disconnects[peer.socket].inc();
    }

    /// Counts what a peer will not get. Returns the number of events.
    fn close_counts(&mut self, peer: &Peer) -> u64 {
        let mut lost = Vec::new();
        let mut state = peer.lock();
        state.outbox.close(&mut |topic| count(&mut lost, topic));
        let threads = std::mem::take(&mut state.awaited_by);
        drop(state);
        let total = lost.iter().map(|(_, count)| count).sum();
        if peer.socket == BrokerSocket::Backend {
            delivery!(self).account(peer, EventDrop::Disconnected, lost);
        }
        self.hub.notify_room(threads, self.index);
        let mut state = peer.lock();
        let sent = state.outbox.sent().messages;
        state.counts.publish(sent);
        total
    }

    fn tell_end(&mut self, connection: &Connection, gone: &Gone) {
        let peer = &connection.peer;
        let (who, warning_key) = {
            let counts = &peer.lock().counts;
            (counts.who(), counts.warning_key().to_owned())
        };
        let metrics = &self.hub.metrics;
        if !connection.is_open() {
            metrics.handshakes_failed[peer.socket].inc();
        }
        let Some((reason, why)) = gone.fault() else {
            match gone {
                Gone::Io(error) => log::debug!("{who}: {error}"),
                _ => log::debug!("{who} disconnected"),
            }
            return;
        };
        metrics.cut_off[peer.socket][reason].inc();
        // libzmq gives up right after some of these, so each cause is reported separately.
        let kind = match gone {
            Gone::Protocol(ZmtpError::Undecryptable(command)) => command,
            _ => reason.as_str(),
        };
        if let Some(more) = self.warnings.check(&(kind, warning_key), self.now) {
            log::warn!("cut off {who}: {why} ({more} more like this)");
        }
    }

    /// Checks all connections against the current access rules.
    fn change_access(&mut self) {
        // The version is read first: rules replaced in between are then checked again.
        self.access_generation = self.hub.access.generation();
        self.access = self.hub.access.load();
        let mut ended = Vec::new();
        for (key, connection) in &mut self.connections {
            let identity = match connection.key.map(|key| self.access.admit(&key)) {
                None => &Identity::Unproven,
                Some(Some(identity)) if identity == connection.guard.identity() => identity,
                Some(Some(_)) => {
                    ended.push((*key, "its key now belongs to another node"));
                    continue;
                }
                Some(None) => {
                    ended.push((*key, "its key was revoked"));
                    continue;
                }
            };
            connection.guard = Guard::new(Arc::clone(&self.access), identity.clone());
            delivery!(self).withdraw(connection);
        }
        for (key, why) in ended {
            self.close(key, &Gone::CutOff(CutOff::Unauthorized, why));
        }
    }

    /// Checks what no event reports: silent peers, full queues, held publishers.
    fn tick(&mut self) {
        if self.accept_again.is_some_and(|at| self.now >= at) {
            self.accept_again = None;
            self.listen(true);
        }
        // The kernel reports room only once there is a lot of it. Trying now keeps a peer that
        // reads from being taken for slow.
        for key in &self.held {
            let held = self.connections.get(key).and_then(|connection| connection.held.as_ref());
            for peer in held.iter().flat_map(|held| held.awaited()) {
                self.hub.mark(peer, self.index);
            }
        }
        self.write(0);
        self.retry();
        if self.now < self.lenient_until {
            return;
        }
        let hub = Arc::clone(&self.hub);
        let mut ended = Vec::new();
        for (key, connection) in &mut self.connections {
            match connection.look_after(&hub.settings, self.now) {
                Ok(Attention::None) => {}
                Ok(Attention::Ping) => {
                    let mut ping = Vec::new();
                    put_ping(hub.settings.heartbeat_ttl, &mut ping);
                    let mut state = connection.peer.lock();
                    if state.outbox.control_bytes() < MAX_PINGS {
                        state.outbox.put(&ping, &mut self.pool);
                        drop(state);
                        hub.mark(&connection.peer, self.index);
                    }
                }
                Err(gone) => ended.push((*key, gone)),
            }
            let full_since = connection.peer.lock().full_since;
            if full_since.is_some_and(|since| self.now >= since + hub.settings.disconnect_after) {
                let why = "its queue has been full for too long (disconnect_after)";
                ended.push((*key, Gone::CutOff(CutOff::Slow, why)));
            }
        }
        for (key, gone) in ended {
            self.close(key, &gone);
        }
    }

    /// Advances the shutdown: no more accepting, no more reading from publishers. Returns whether
    /// everything was sent or time is up.
    fn is_at_end(&mut self, deadline: Instant) -> bool {
        if !self.is_ending {
            self.is_ending = true;
            self.listeners.clear();
            self.accept_again = None;
            for key in std::mem::take(&mut self.held) {
                if let Some(connection) = self.connections.get_mut(&key)
                    && let Some(held) = connection.held.take()
                {
                    delivery!(self).abandon(held);
                }
            }
            for connection in self.connections.values_mut() {
                if connection.peer.socket == BrokerSocket::Frontend {
                    connection.set_polled(false, &self.poller);
                }
            }
            self.hub.fall_quiet(self.index);
            self.write(0);
        }
        let waits = |connection: &Connection| {
            connection.peer.socket == BrokerSocket::Backend
                && (connection.channel.has_unsent() || !connection.peer.lock().outbox.is_empty())
        };
        // Other threads may still deliver events to our peers.
        Instant::now() >= deadline || (self.hub.is_quiet() && !self.connections.values().any(waits))
    }

    /// Closes all connections. Returns how many events were not sent.
    fn finish(mut self) -> u64 {
        let mut lost = 0;
        for (_, connection) in std::mem::take(&mut self.connections) {
            // An orderly close: unread data from the peer must not turn it into a reset, which
            // could destroy data already written.
            let _ = connection.channel.stream().end_writing();
            // Does not wait for a peer that never stops sending.
            let mut rest = Vec::with_capacity(64 << 10);
            for _ in 0..LAST_READS {
                rest.clear();
                if !matches!(connection.channel.stream().read_to(&mut rest), Ok(1..)) {
                    break;
                }
            }
            lost += self.close_counts(&connection.peer);
        }
        lost
    }
}

/// Whether it does no harm if what a peer is to get waits for more.
fn may_wait(connection: &Connection) -> bool {
    connection.is_open() && connection.peer.lock().outbox.may_gather(ENOUGH)
}
