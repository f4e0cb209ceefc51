//! [`Crowd`]: all nodes of a cluster on one thread.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use zcluster::net::{Event, Poller};
use zcluster::wire::zmtp::{Curve, SocketType};

use super::link::{Buffers, Link};
use super::names::Names;
use super::told::Told;
use crate::broker::Broker;
use crate::raw::{Session, take_notification};

/// How long anything may take that all nodes do together.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long after a failure a node connects again, as with libzmq (`ZMQ_RECONNECT_IVL`).
const RETRY: Duration = Duration::from_millis(100);
/// How long a turn waits for something to happen.
const TURN: Duration = Duration::from_millis(20);

/// Many nodes. Each has a publisher and a subscriber, like a real one.
pub(super) struct Crowd {
    pub(super) names: Names,
    pub(super) poller: Poller,
    /// The sessions to connect: those of a node's publisher and of its subscriber, node by node.
    sessions: Vec<(Session, Vec<u8>)>,
    curve: Option<Curve>,
    /// Where they connect to.
    addresses: [SocketAddr; 2],
    /// In the same order.
    pub(super) links: Vec<Link>,
    /// Links that failed, and when to try again, in this order.
    retries: VecDeque<(Instant, usize)>,
    /// How often one failed.
    failures: u64,
    /// How many of them have completed their handshakes.
    open: usize,
    /// What each node's publisher has been told.
    told: Vec<Told>,
    /// How many of them have been told everything.
    complete: usize,
    /// The events of each node's subscriber.
    inboxes: Vec<Inbox>,
    /// Bytes of all events.
    received: u64,
    /// Whether there is more to send, so that a turn does not wait.
    pub(super) has_more: bool,
    pub(super) buffers: Buffers,
    ready: Vec<Event>,
}

/// The events that a subscriber has received.
#[derive(Default)]
struct Inbox {
    bytes: u64,
    /// Whether the first one was read and is a hello to this node. All later ones are only counted.
    is_checked: bool,
}

impl Crowd {
    /// Prepares nodes, encrypted ones if there are keys, as far as is possible without a broker.
    pub(super) fn new(nodes: usize, curve: Option<&Curve>) -> Self {
        let names = Names::new(nodes);
        Crowd {
            poller: Poller::new().unwrap(),
            sessions: (0..2 * nodes).map(|link| session(link, curve)).collect(),
            curve: curve.cloned(),
            addresses: [SocketAddr::from(([0; 4], 0)); 2],
            links: Vec::new(),
            retries: VecDeque::new(),
            failures: 0,
            open: 0,
            told: (0..nodes).map(|_| Told::new(names.prefixes())).collect(),
            complete: 0,
            inboxes: (0..nodes).map(|_| Inbox::default()).collect(),
            received: 0,
            has_more: false,
            buffers: Buffers::new(),
            ready: Vec::new(),
            names,
        }
    }

    /// Begins to connect all nodes.
    pub(super) fn connect(&mut self, broker: &Broker) {
        let address = |endpoint: &str| -> SocketAddr {
            endpoint.trim_start_matches("tcp://").parse().unwrap()
        };
        self.addresses = [address(&broker.xsub), address(&broker.xpub)];
        for (i, session) in std::mem::take(&mut self.sessions).into_iter().enumerate() {
            self.links.push(Link::connect(self.addresses[i % 2], session, i as u64, &self.poller));
        }
    }

    /// Gives a link up that did not get in, to connect again later.
    fn give_up(&mut self, at: usize, error: &io::Error) {
        assert!(!self.links[at].is_open(), "a node was cut off: {error}");
        self.links[at].close(&self.poller);
        self.retries.push_back((Instant::now() + RETRY, at));
        self.failures += 1;
    }

    /// Connects the links again whose time has come.
    fn retry(&mut self) {
        let now = Instant::now();
        while let Some((due, at)) = self.retries.front().copied()
            && due <= now
        {
            self.retries.pop_front();
            let session = session(at, self.curve.as_ref());
            let address = self.addresses[at % 2];
            self.links[at] = Link::connect(address, session, at as u64, &self.poller);
        }
    }

    /// Whether all handshakes are complete.
    pub(super) fn is_open(&self) -> bool {
        self.open == self.links.len()
    }

    /// Whether all publishers know all prefixes.
    pub(super) fn is_complete(&self) -> bool {
        self.complete == self.told.len()
    }

    /// How often a node could not connect and tried again.
    pub(super) fn failures(&self) -> u64 {
        self.failures
    }

    pub(super) fn notifications(&self) -> u64 {
        self.told.iter().map(Told::notifications).sum()
    }

    /// Bytes of the events that each node has received.
    pub(super) fn received(&self) -> impl Iterator<Item = u64> + '_ {
        self.inboxes.iter().map(|inbox| inbox.bytes)
    }

    /// Bytes of the events that all nodes together have received.
    pub(super) fn received_in_total(&self) -> u64 {
        self.received
    }

    /// Takes turns until something holds.
    pub(super) fn run_until(&mut self, mut holds: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(
                Instant::now() < deadline,
                "{} of {} connections are open, {} of {} publishers know all, {} bytes received",
                self.open,
                self.links.len(),
                self.complete,
                self.told.len(),
                self.received
            );
            self.turn();
        }
    }

    /// Waits until something happens, if there is nothing to send, and handles it.
    fn turn(&mut self) {
        let mut ready = std::mem::take(&mut self.ready);
        ready.clear();
        let timeout = if self.has_more { Duration::ZERO } else { TURN };
        ready.extend(self.poller.wait(Some(timeout)).unwrap());
        for event in &ready {
            if let Err(error) = self.look_at(*event) {
                self.give_up(event.key as usize, &error);
            }
        }
        self.ready = ready;
        self.retry();
    }

    fn look_at(&mut self, event: Event) -> io::Result<()> {
        let at = event.key as usize;
        if event.writable {
            self.links[at].flush(false, &self.poller)?;
        }
        match event.readable {
            true if at.is_multiple_of(2) => self.read_publisher(at),
            true => self.read_subscriber(at),
            false => Ok(()),
        }
    }

    fn read_publisher(&mut self, at: usize) -> io::Result<()> {
        let (link, told) = (&mut self.links[at], &mut self.told[at / 2]);
        let (was_open, was_complete) = (link.is_open(), told.is_complete());
        link.receive(&mut self.buffers, &self.poller)?;
        let mut rest = &self.buffers.plain[..];
        while let Some((notification, size)) = take_notification(rest) {
            if let Some(notification) = notification {
                told.take(notification, &self.names);
            }
            rest = &rest[size..];
        }
        link.keep(rest);
        self.open += usize::from(link.is_open() && !was_open);
        self.complete += usize::from(told.is_complete() && !was_complete);
        Ok(())
    }

    fn read_subscriber(&mut self, at: usize) -> io::Result<()> {
        let (link, inbox) = (&mut self.links[at], &mut self.inboxes[at / 2]);
        if inbox.is_checked {
            let count = link.discard(&mut self.buffers)? as u64;
            inbox.bytes += count;
            self.received += count;
            return Ok(());
        }
        let was_open = link.is_open();
        let count = link.receive(&mut self.buffers, &self.poller)? as u64;
        if !was_open {
            // There are no events before the last node is in.
            assert!(self.buffers.plain.is_empty());
            if link.is_open() {
                self.open += 1;
                link.put(&self.names.subscriptions(at / 2), &mut self.buffers);
                link.flush(false, &self.poller)?;
            }
            return Ok(());
        }
        inbox.bytes += count;
        self.received += count;
        if let Some(first) = self.buffers.plain.get(..self.names.hello_size(false)) {
            assert!(
                self.names.is_hello(first, at / 2),
                "this is not what was sent: {:?}",
                bstr::BStr::new(first)
            );
            inbox.is_checked = true;
        } else {
            link.keep(&self.buffers.plain);
        }
        Ok(())
    }
}

/// A session of a node's publisher or subscriber, and the first bytes to send.
fn session(link: usize, curve: Option<&Curve>) -> (Session, Vec<u8>) {
    let ours = if link.is_multiple_of(2) { SocketType::Xpub } else { SocketType::Xsub };
    let mut first = Vec::new();
    (Session::new(ours, curve.cloned(), &mut first), first)
}

/// CPU time of this thread so far.
pub(super) fn own_cpu_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}
