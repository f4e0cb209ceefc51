//! [`Hub`]: the state that the engine's threads share: connected peers, their subscriptions, and a
//! mailbox for each thread.
//!
//! Lock order: directory, peer, mailbox. The lock inside [`Topics`] is taken alone.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use ahash::AHashMap;
use bstr::{BStr, BString};
use zcluster::access::{AccessCell, Guard};
use zcluster::net::Stream;
use zcluster::telemetry::{BrokerMetrics, BrokerSocket};
use zcluster::topic::NodeTopics;
use zcluster::transport::Waker;
use zcluster::wire::zmtp::{put_frame, put_subscription};

use super::bytes::Pool;
use super::peer::Peer;
use super::settings::Settings;
use super::subscriptions::{PeerId, Refused, Subscriptions, Text};
use super::topics::Topics;

/// Shared by all threads of the engine.
pub(super) struct Hub {
    pub(super) settings: Settings,
    pub(super) metrics: BrokerMetrics,
    /// Which peers may connect, and what they may say. Each thread checks whether it was replaced.
    pub(super) access: Arc<AccessCell>,
    /// Events by topic.
    pub(super) topics_seen: Topics,
    directory: RwLock<Directory>,
    /// Incremented when routes change: cached routes of an older generation are stale.
    generation: AtomicU64,
    next_peer: AtomicU64,
    mailboxes: Vec<Mailbox>,
    /// When to give up what is still queued; unset until the engine stops.
    end: Mutex<Option<Instant>>,
    /// Bit set of threads that have stopped reading events.
    quiet: AtomicU64,
}

/// Connected peers and their subscriptions.
pub(super) struct Directory {
    pub(super) subscriptions: Subscriptions,
    /// Publishers whose handshake is complete.
    pub(super) subscribers: BTreeMap<PeerId, Arc<Peer>>,
    pub(super) publishers: BTreeMap<PeerId, Publisher>,
    /// The subscribers that are nodes, by the name of the node; more than one only by mistake.
    nodes: AHashMap<BString, Vec<Arc<Peer>>>,
}

/// A publisher whose handshake is complete.
pub(super) struct Publisher {
    pub(super) peer: Arc<Peer>,
    /// Its ZMTP minor version, which decides how subscriptions are encoded.
    minor: u8,
}

/// A request to a thread, from another one or from itself.
#[derive(Debug)]
pub(super) enum Mail {
    /// A new connection.
    Accepted(Stream, String, BrokerSocket),
    /// This peer has data to send.
    Marked(PeerId),
    /// A recipient that publishers wait for has room.
    Room,
}

struct Mailbox {
    mail: Mutex<Vec<Mail>>,
    waker: Arc<Waker>,
}

impl Hub {
    pub(super) fn new(
        settings: Settings,
        metrics: BrokerMetrics,
        access: Arc<AccessCell>,
    ) -> io::Result<Self> {
        let mailbox = |_| Ok(Mailbox { mail: Mutex::default(), waker: Arc::new(Waker::new()?) });
        let mailboxes = (0..settings.io_threads).map(mailbox).collect::<io::Result<_>>()?;
        let directory = Directory {
            subscriptions: Subscriptions::new(settings.subscriptions),
            subscribers: BTreeMap::new(),
            publishers: BTreeMap::new(),
            nodes: AHashMap::new(),
        };
        Ok(Hub {
            settings,
            metrics,
            access,
            topics_seen: Topics::new(Instant::now()),
            directory: RwLock::new(directory),
            generation: AtomicU64::new(0),
            next_peer: AtomicU64::new(0),
            mailboxes,
            end: Mutex::new(None),
            quiet: AtomicU64::new(0),
        })
    }

    pub(super) fn next_peer(&self) -> PeerId {
        self.next_peer.fetch_add(1, Ordering::Relaxed)
    }

    /// Changes whenever routes change.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Reads the directory.
    pub(super) fn directory(&self) -> RwLockReadGuard<'_, Directory> {
        self.directory.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> RwLockWriteGuard<'_, Directory> {
        self.directory.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a publisher and sends it every current prefix once.
    pub(super) fn join_publisher(&self, peer: &Arc<Peer>, minor: u8, from: usize, pool: &mut Pool) {
        let mut directory = self.change();
        let mut saying = Saying::default();
        directory.subscriptions.all().for_each(|text| saying.say(true, text));
        let owed = 2 * directory.subscriptions.bytes();
        let publisher = Publisher { peer: Arc::clone(peer), minor };
        self.notify(&publisher, &saying, owed, from, pool);
        directory.publishers.insert(peer.id, publisher);
    }

    /// Adds a subscriber.
    pub(super) fn join_subscriber(&self, peer: &Arc<Peer>) {
        self.change().subscribers.insert(peer.id, Arc::clone(peer));
    }

    /// A subscriber turns out to be a node. Returns name and address of another process that is
    /// connected under the same name, if there is one.
    pub(super) fn join_node(&self, peer: &Arc<Peer>, name: &BStr, id: &[u8]) -> Option<String> {
        let mut directory = self.change();
        let same = directory.nodes.entry(name.to_owned()).or_default();
        let other = same.iter().find_map(|peer| {
            let state = peer.lock();
            state.counts.is_namesake(name, id).then(|| state.counts.who())
        });
        same.push(Arc::clone(peer));
        other
    }

    /// Applies a subscriber's subscriptions and cancellations. New subscriptions take effect before
    /// any publisher is told. Returns the ones that were refused, with the reasons.
    pub(super) fn subscribe<'a>(
        &self,
        peer: &Peer,
        changes: impl Iterator<Item = (bool, &'a [u8])>,
        from: usize,
        pool: &mut Pool,
    ) -> Vec<Refused> {
        let mut refused = Vec::new();
        let mut saying = Saying::default();
        let mut directory = self.change();
        let owed = 2 * directory.subscriptions.bytes();
        for (subscribes, text) in changes {
            let subscriptions = &mut directory.subscriptions;
            let outcome = if subscribes {
                subscriptions.subscribe(peer.id, text).map(|()| true)
            } else {
                subscriptions.cancel(peer.id, text)
            };
            match outcome {
                Ok(true) => saying.say(subscribes, text),
                Ok(false) => {}
                Err(why) => refused.push(why),
            }
        }
        self.generation.fetch_add(1, Ordering::Release);
        self.notify_all(&directory, &saying, owed, from, pool);
        refused
    }

    /// Cancels the subscriptions that a subscriber is no longer allowed to have. Returns their
    /// prefixes.
    pub(super) fn withdraw(
        &self,
        peer: &Peer,
        guard: &Guard,
        from: usize,
        pool: &mut Pool,
    ) -> Vec<Text> {
        let mut directory = self.change();
        let owed = 2 * directory.subscriptions.bytes();
        let is_allowed = |text: &[u8]| guard.check_subscription(text).is_ok();
        let (lost, ended) = directory.subscriptions.withdraw(peer.id, is_allowed);
        let mut saying = Saying::default();
        for text in &ended {
            saying.say(false, text);
        }
        self.generation.fetch_add(1, Ordering::Release);
        self.notify_all(&directory, &saying, owed, from, pool);
        lost
    }

    /// Removes a peer and tells publishers which prefixes ended with it.
    pub(super) fn leave(&self, peer: &Peer, from: usize, pool: &mut Pool) {
        let mut directory = self.change();
        directory.publishers.remove(&peer.id);
        if directory.subscribers.remove(&peer.id).is_none() {
            return;
        }
        directory.forget_node(peer);
        let owed = 2 * directory.subscriptions.bytes();
        let mut saying = Saying::default();
        for text in directory.subscriptions.remove(peer.id) {
            saying.say(false, &text);
        }
        self.generation.fetch_add(1, Ordering::Release);
        self.notify_all(&directory, &saying, owed, from, pool);
    }

    fn notify_all(
        &self,
        directory: &Directory,
        saying: &Saying,
        owed: usize,
        from: usize,
        pool: &mut Pool,
    ) {
        self.metrics.subscriptions.set(directory.subscriptions.len() as i64);
        if saying.count > 0 {
            for publisher in directory.publishers.values() {
                self.notify(publisher, saying, owed, from, pool);
            }
        }
    }

    /// The directory is locked meanwhile, so that all publishers hear the same order.
    fn notify(
        &self,
        publisher: &Publisher,
        saying: &Saying,
        owed: usize,
        from: usize,
        pool: &mut Pool,
    ) {
        let peer = &publisher.peer;
        let mut state = peer.lock();
        if state.outbox.is_empty() {
            state.allowance = 0;
        }
        state.allowance = state.allowance.max(owed + saying.commands.len());
        state
            .outbox
            .put(if publisher.minor > 0 { &saying.commands } else { &saying.messages }, pool);
        let limit = self.settings.control.bytes.saturating_add(state.allowance);
        state.has_overflown |= state.outbox.control_bytes() > limit;
        drop(state);
        self.metrics.frontend.messages_sent.inc_by(saying.count);
        self.metrics.frontend.bytes_sent.inc_by(saying.body);
        self.mark(peer, from);
    }

    /// Tells a peer's thread that the peer has data to send. `from`: the calling thread.
    pub(super) fn mark(&self, peer: &Peer, from: usize) {
        if !peer.is_marked.swap(true, Ordering::AcqRel) {
            self.send(peer.shard, Mail::Marked(peer.id), from);
        }
    }

    /// Tells a bit set of threads that a recipient has room.
    pub(super) fn notify_room(&self, threads: u64, from: usize) {
        for thread in 0..self.mailboxes.len() {
            if threads & (1 << thread) != 0 {
                self.send(thread, Mail::Room, from);
            }
        }
    }

    /// Puts a request into a thread's mailbox. Threads check their mailboxes once per turn.
    pub(super) fn send(&self, thread: usize, mail: Mail, from: usize) {
        let mailbox = &self.mailboxes[thread];
        mailbox.mail.lock().unwrap_or_else(PoisonError::into_inner).push(mail);
        if thread != from {
            mailbox.waker.wake();
        }
    }

    /// Swaps a thread's mailbox for an empty list.
    pub(super) fn take_mail(&self, thread: usize, list: &mut Vec<Mail>) {
        let mut mail = self.mailboxes[thread].mail.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *mail, list);
    }

    /// Whether a thread has mail.
    pub(super) fn has_mail(&self, thread: usize) -> bool {
        let mail = self.mailboxes[thread].mail.lock().unwrap_or_else(PoisonError::into_inner);
        !mail.is_empty()
    }

    pub(super) fn waker(&self, thread: usize) -> &Arc<Waker> {
        &self.mailboxes[thread].waker
    }

    /// Asks all threads to send what is queued by the deadline, and to stop.
    pub(super) fn end_at(&self, deadline: Instant) {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(deadline);
        self.wake_all();
    }

    /// Wakes all threads.
    pub(super) fn wake_all(&self) {
        self.mailboxes.iter().for_each(|mailbox| mailbox.waker.wake());
    }

    /// When to give up what is queued; `None` until the engine stops.
    pub(super) fn end(&self) -> Option<Instant> {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a thread has read its last event and will deliver nothing more. Idempotent.
    pub(super) fn fall_quiet(&self, thread: usize) {
        self.quiet.fetch_or(1 << thread, Ordering::AcqRel);
        if self.is_quiet() {
            self.wake_all();
        }
    }

    /// Whether no thread has anything left to deliver.
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet.load(Ordering::Acquire).count_ones() as usize == self.mailboxes.len()
    }

    /// The nodeid topics.
    pub(super) fn topics(&self) -> &NodeTopics {
        &self.settings.topics
    }
}

/// Subscriptions and cancellations, encoded for either ZMTP version.
#[derive(Default)]
struct Saying {
    commands: Vec<u8>,
    messages: Vec<u8>,
    count: u64,
    body: u64,
}

impl Saying {
    fn say(&mut self, subscribes: bool, text: &[u8]) {
        put_subscription(subscribes, text, &mut self.commands);
        put_frame(&[&[u8::from(subscribes)], text].concat(), false, &mut self.messages);
        self.count += 1;
        self.body += 1 + text.len() as u64;
    }
}

impl Directory {
    fn forget_node(&mut self, peer: &Peer) {
        let state = peer.lock();
        let name = state.counts.name();
        if let Some(same) = self.nodes.get_mut(name) {
            same.retain(|one| one.id != peer.id);
            if same.is_empty() {
                self.nodes.remove(name);
            }
        }
    }

    /// The recipients of a topic, and the longest subscribed prefix that matches it.
    pub(super) fn recipients(&self, topic: &[u8]) -> Option<(Vec<Arc<Peer>>, Text)> {
        let found = self.subscriptions.matching(topic);
        let peers = found.recipients.iter().filter_map(|id| self.subscribers.get(id));
        Some((peers.map(Arc::clone).collect(), found.prefix?))
    }
}
