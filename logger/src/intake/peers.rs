//! The table of connections: accepts them, decides which may be read, and cuts them off.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::AHashMap;
use zcluster::access::{Access, AccessCell};
use zcluster::net::{Listener, Poller, Scratch};
use zcluster::rate_limit::{KeyedRateLimit, RateLimit};
use zcluster::telemetry::{LoggerMetrics, PeerFault};

use super::LISTENER;
use super::buffers::BUFFER;
use super::connection::{Connection, Gone, SMALL};

/// Most connections at a time.
const MAX_CONNECTIONS: usize = 10_000;
/// Connections accepted before existing ones are served.
const ACCEPTED_AT_A_TIME: usize = 64;
/// Time a peer has for its handshake, the same as in libzmq.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);
/// Time a large message may take when others wait for their turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause in accepting after the system ran out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(250);
const WARNING_INTERVAL: Duration = Duration::from_secs(10);
/// Pairs of fault and host with separate rate limits; peers could create any number.
const WARNINGS: usize = 256;

/// The connection whose large message is read while others wait.
#[derive(Clone, Copy)]
struct Turn {
    key: u64,
    since: Instant,
    /// Messages of that connection at `since`.
    messages: u64,
}

/// All connections by number.
pub(super) struct Peers {
    all: AHashMap<u64, Connection>,
    next: u64,
    max_message: u64,
    /// Bytes of unfinished messages above which large ones are read one at a time.
    max_held: usize,
    held: usize,
    /// The connection that reads its large message.
    turn: Option<Turn>,
    /// How many connections wait for `turn`.
    waiting: usize,
    /// How many connections are in their handshake.
    greeting: usize,
    accept_again: Option<Instant>,
    next_check: Instant,
    access: Arc<AccessCell>,
    metrics: LoggerMetrics,
    accept_warning: RateLimit,
    /// By fault and host, without the port.
    peer_warning: KeyedRateLimit<(&'static str, String)>,
}

impl Peers {
    pub(super) fn new(
        max_message: u64,
        max_held: usize,
        access: Arc<AccessCell>,
        metrics: LoggerMetrics,
    ) -> Self {
        Peers {
            all: AHashMap::new(),
            next: 0,
            max_message,
            max_held,
            held: 0,
            turn: None,
            waiting: 0,
            greeting: 0,
            accept_again: None,
            next_check: Instant::now(),
            access,
            metrics,
            accept_warning: RateLimit::new(WARNING_INTERVAL),
            peer_warning: KeyedRateLimit::new(WARNING_INTERVAL, WARNINGS),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// How many messages have begun but are not complete.
    pub(super) fn unfinished(&self) -> u64 {
        self.all.values().filter(|peer| peer.is_open() && peer.need() > 0).count() as u64
    }

    /// How many connections wait until large messages of others are complete.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Bytes of messages that have begun to arrive.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Returns whether timeouts or a pause require regular calls of [`Peers::tick`].
    pub(super) fn need_attention(&self) -> bool {
        self.greeting > 0 || self.waiting > 0 || self.accept_again.is_some()
    }

    pub(super) fn get(&mut self, key: u64) -> Option<&mut Connection> {
        self.all.get_mut(&key)
    }

    /// Accepts waiting connections.
    pub(super) fn accept(&mut self, listener: &Listener, poller: &Poller, scratch: &mut Scratch) {
        for _ in 0..ACCEPTED_AT_A_TIME {
            match listener.accept() {
                Ok(None) => return,
                Ok(Some((stream, peer))) => {
                    if self.all.len() >= MAX_CONNECTIONS {
                        self.refuse(PeerFault::Limit, &peer, "too many connections");
                        continue;
                    }
                    let access = Arc::clone(&self.access);
                    let mut connection = Connection::new(stream, peer, self.max_message, access);
                    let key = self.next;
                    connection.flush(scratch);
                    connection.waits_to_write = connection.has_answers();
                    let waits = connection.waits_to_write;
                    if poller.add(&connection.channel, key, true, waits).is_err() {
                        continue;
                    }
                    self.next += 1;
                    self.greeting += 1;
                    self.all.insert(key, connection);
                    self.metrics.connections.set(self.all.len() as i64);
                }
                Err(error) => {
                    self.metrics.accept_failures.inc();
                    if let Some(more) = self.accept_warning.check(Instant::now()) {
                        log::error!("cannot accept a connection: {error} ({more} more like this)");
                    }
                    // The listener would be ready again at once.
                    let _ = poller.change(listener, LISTENER, false, false);
                    self.accept_again = Some(Instant::now() + ACCEPT_PAUSE);
                    return;
                }
            }
        }
    }

    /// Resumes accepting when the pause is over.
    pub(super) fn resume_accepting(&mut self, listener: &Listener, poller: &Poller) {
        if self.accept_again.is_some_and(|at| Instant::now() >= at) {
            self.accept_again = None;
            let _ = poller.change(listener, LISTENER, true, false);
        }
    }

    /// Returns whether a connection may be read now; if not, it waits for its turn.
    pub(super) fn may_read(&mut self, key: u64, poller: &Poller) -> bool {
        let Some(peer) = self.all.get_mut(&key) else { return false };
        let others = self.held - peer.counted;
        let must_wait = peer.is_large() && others + peer.need() > self.max_held;
        if must_wait {
            let messages = peer.messages;
            let turn = Turn { key, since: Instant::now(), messages };
            let holder = self.turn.get_or_insert(turn).key;
            // A connection that already waits gets events only when it breaks.
            if holder != key && !peer.is_waiting {
                peer.is_waiting = true;
                self.waiting += 1;
                let _ = poller.change(&peer.channel, key, false, peer.waits_to_write);
                return false;
            }
        }
        // What arrives may be the start of a large message, of which a whole read would be kept.
        let may_keep =
            others + BUFFER <= self.max_held || self.turn.is_some_and(|turn| turn.key == key);
        peer.most = (!may_keep).then_some(SMALL);
        true
    }

    /// Sends pending answers and updates the table after an event of a connection.
    pub(super) fn update(&mut self, key: u64, poller: &Poller, scratch: &mut Scratch) {
        let Some(peer) = self.all.get_mut(&key) else { return };
        peer.flush(scratch);
        if peer.has_answers() != peer.waits_to_write {
            peer.waits_to_write = peer.has_answers();
            let _ = poller.change(&peer.channel, key, !peer.is_waiting, peer.waits_to_write);
        }
        self.held = self.held - peer.counted + peer.held();
        self.metrics.memory_bytes.inc_by(peer.held() as i64 - peer.counted as i64);
        peer.counted = peer.held();
        let (is_large, messages) = (peer.is_large(), peer.messages);
        let is_over = |turn: Turn| turn.key == key && (!is_large || turn.messages != messages);
        if self.turn.is_some_and(is_over) {
            self.pass_turn(poller);
        }
    }

    /// Cuts off connections whose key is no longer admitted, and renews the checks of the others.
    pub(super) fn renew(&mut self, access: &Arc<Access>) {
        let renewed = self.all.iter_mut().map(|(key, peer)| (*key, peer.renew(access)));
        let gone: Vec<_> =
            renewed.filter_map(|(key, outcome)| Some((key, outcome.err()?))).collect();
        for (key, gone) in gone {
            self.remove(key, &gone);
        }
    }

    /// Removes a connection that ended or is cut off.
    pub(super) fn remove(&mut self, key: u64, gone: &Gone) {
        let Some(peer) = self.all.remove(&key) else { return };
        match (gone, gone.fault()) {
            (_, Some(fault)) => self.refuse(fault, &peer.peer, &gone.to_string()),
            (Gone::Torn, _) if peer.is_open() => {
                if let Some(more) = self.warn("torn", &peer.peer) {
                    log::warn!("{}: {gone} ({more} more like this)", peer.peer);
                }
            }
            _ => log::debug!("{}: {gone}", peer.peer),
        }
        if peer.is_waiting {
            self.waiting -= 1;
        }
        if self.turn.is_some_and(|turn| turn.key == key) {
            self.turn = None;
            self.next_check = Instant::now();
        }
        self.held -= peer.counted;
        self.metrics.memory_bytes.dec_by(peer.counted as i64);
        self.metrics.connections.set(self.all.len() as i64);
    }

    fn refuse(&mut self, fault: PeerFault, peer: &str, why: &str) {
        use zcluster::telemetry::LabelValue as _;
        self.metrics.peers_refused[fault].inc();
        if let Some(more) = self.warn(fault.as_str(), peer) {
            log::warn!("refused {peer}: {why} ({more} more like this)");
        }
    }

    /// Returns how many similar warnings were suppressed if one is due for this fault and peer.
    fn warn(&mut self, what: &'static str, peer: &str) -> Option<u64> {
        // The port changes with each connection.
        let host = peer.rsplit_once(':').map_or(peer, |(host, _)| host);
        self.peer_warning.check(&(what, host.to_owned()), Instant::now())
    }

    /// Frees the turn: waiting connections are read again.
    fn pass_turn(&mut self, poller: &Poller) {
        self.turn = None;
        if self.waiting == 0 {
            return;
        }
        for (key, peer) in self.all.iter_mut().filter(|(_, peer)| peer.is_waiting) {
            peer.is_waiting = false;
            let _ = poller.change(&peer.channel, *key, true, peer.waits_to_write);
        }
        self.waiting = 0;
    }

    /// Cuts off connections that take too long.
    pub(super) fn tick(&mut self, poller: &Poller, may_read: bool) {
        let now = Instant::now();
        if !may_read {
            // Peers are not late while the logger does not read.
            self.turn = self.turn.map(|turn| Turn { since: now, ..turn });
            if self.greeting > 0 {
                self.all.values_mut().for_each(|peer| peer.accepted = now);
            }
            return;
        }
        if !self.need_attention() || now < self.next_check {
            return;
        }
        self.next_check = now + Duration::from_millis(100);
        let mut late = Vec::new();
        self.greeting = 0;
        for (key, peer) in &self.all {
            if !peer.is_open() {
                self.greeting += 1;
                if now >= peer.accepted + HANDSHAKE_TIMEOUT {
                    late.push((*key, "no handshake in time"));
                }
            }
        }
        match self.turn {
            Some(turn) if self.waiting > 0 && now >= turn.since + TURN_TIMEOUT => {
                late.push((turn.key, "its message took too long while other peers waited"));
            }
            None if self.waiting > 0 => self.pass_turn(poller),
            _ => {}
        }
        for (key, why) in late {
            if let Some(peer) = self.all.get(&key) {
                let name = peer.peer.clone();
                self.refuse(PeerFault::Timeout, &name, why);
                self.remove(key, &Gone::Closed);
            }
        }
    }

    /// Tells all peers to stop sending. libzmq then closes the connection after the messages it has
    /// sent, and keeps the others.
    pub(super) fn say_goodbye(&mut self) {
        self.all.values_mut().for_each(Connection::say_goodbye);
    }
}
