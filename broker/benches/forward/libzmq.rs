//! Clients that use libzmq, each with its own context and thread, like separate processes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use zcluster::transport::{
    Context, CurveOptions, Interest, PollSet, Received, Socket, SocketKind, SocketOptions,
};
use zcluster::wire::SubscriptionMessage;

use crate::crew::{Connections, Counter, Crew, Flag, PATIENCE, STOP_INTERVAL, counters};
use crate::event::Sample;

/// How long a publisher waits when its queue is full. An XPUB does not signal that it has room
/// again.
const RETRY: Duration = Duration::from_millis(1);
/// Queue length of a publisher: more events than it can send within [`RETRY`].
const SEND_HWM: i32 = 10_000;

/// A socket with its own context. The context comes second, because dropping it waits for the
/// socket.
pub(crate) struct Peer {
    socket: Socket,
    _context: Context,
}

impl Peer {
    fn new(kind: SocketKind, curve: Option<CurveOptions>) -> Self {
        let context = Context::new(1).unwrap();
        let options = SocketOptions {
            linger_ms: 0,
            send_hwm: Some(SEND_HWM),
            xpub_nodrop: kind == SocketKind::Xpub,
            curve,
            ..SocketOptions::default()
        };
        let socket = Socket::new(&context, kind, &options).unwrap();
        Peer { socket, _context: context }
    }

    /// Connects a subscriber to these prefixes.
    pub(crate) fn subscriber(
        endpoint: &str,
        prefixes: &[String],
        curve: Option<CurveOptions>,
    ) -> Self {
        let peer = Self::new(SocketKind::Xsub, curve);
        peer.socket.connect(endpoint).unwrap();
        peer.subscribe(prefixes);
        peer
    }

    /// Creates a publisher that listens. Returns it and its endpoint.
    pub(crate) fn listening_publisher() -> (Self, String) {
        let peer = Self::new(SocketKind::Xpub, None);
        let endpoint = peer.socket.bind("tcp://127.0.0.1:*").unwrap();
        (peer, endpoint)
    }

    fn subscribe(&self, prefixes: &[String]) {
        for prefix in prefixes {
            let message = SubscriptionMessage::Subscribe(prefix.as_bytes()).encode();
            assert!(self.socket.try_send(&[message]).unwrap(), "no room for a subscription");
        }
    }

    /// Connects a publisher and waits until it has seen all these subscriptions.
    pub(crate) fn publisher(
        endpoint: &str,
        prefixes: &[String],
        curve: Option<CurveOptions>,
    ) -> Self {
        let peer = Self::new(SocketKind::Xpub, curve);
        peer.socket.connect(endpoint).unwrap();
        peer.wait_for_subscriptions(prefixes);
        peer
    }

    /// Waits until the publisher has seen all these subscriptions.
    pub(crate) fn wait_for_subscriptions(&self, prefixes: &[String]) {
        let mut missing: BTreeSet<&[u8]> = prefixes.iter().map(String::as_bytes).collect();
        let deadline = Instant::now() + PATIENCE;
        while !missing.is_empty() {
            assert!(Instant::now() < deadline, "these subscriptions do not come: {missing:?}");
            let Some(received) = self.receive() else {
                self.wait(STOP_INTERVAL);
                continue;
            };
            if let Some(SubscriptionMessage::Subscribe(prefix)) =
                SubscriptionMessage::parse(&received.frames[0])
            {
                missing.remove(prefix);
            }
        }
    }

    /// Waits for a message, at most for `timeout`. Meanwhile libzmq can send.
    pub(crate) fn wait(&self, timeout: Duration) {
        let mut poll = PollSet::new();
        poll.add(&self.socket, Interest::Readable);
        poll.wait(Some(timeout)).unwrap();
    }

    /// Receives the next message, if there is one.
    pub(crate) fn receive(&self) -> Option<Received> {
        self.socket.try_receive().unwrap()
    }

    /// Sends an event as soon as the queue has room; `false` if stopped before that.
    pub(crate) fn send(&self, sample: &Sample, stop: &Flag) -> bool {
        while !self.socket.try_send(&sample.frames()).unwrap() {
            if stop.is_set() {
                return false;
            }
            self.wait(RETRY);
        }
        true
    }
}

/// Starts one subscriber for each list of prefixes.
pub(crate) fn subscribers(
    endpoint: &str,
    prefixes: &[Vec<String>],
    curve: Option<&CurveOptions>,
) -> Crew {
    let (counters, stop) = (counters(prefixes.len()), Flag::default());
    let spawn = |(prefixes, counter): (&Vec<String>, &Counter)| {
        let peer = Peer::subscriber(endpoint, prefixes, curve.cloned());
        let (counter, stop) = (counter.clone(), stop.clone());
        std::thread::spawn(move || -> Connections {
            let mut events = 0;
            while !stop.is_set() {
                if let Some(received) = peer.receive() {
                    assert_eq!(received.count, 4, "an event has four frames");
                    events += 1;
                    counter.set(events);
                } else {
                    peer.wait(STOP_INTERVAL);
                }
            }
            Box::new(peer)
        })
    };
    let threads = prefixes.iter().zip(&counters).map(spawn).collect();
    Crew::new(counters, stop, threads)
}

/// Starts one publisher for each sample, after they have seen all these subscriptions.
pub(crate) fn publishers(
    endpoint: &str,
    samples: &[Sample],
    prefixes: &[String],
    curve: Option<&CurveOptions>,
) -> Crew {
    // None sends before all are connected.
    let connect = |_| Peer::publisher(endpoint, prefixes, curve.cloned());
    let peers: Vec<Peer> = samples.iter().map(connect).collect();
    let (counters, stop) = (counters(samples.len()), Flag::default());
    let spawn = |((peer, sample), counter): ((Peer, &Sample), &Counter)| {
        let (sample, counter, stop) = (sample.clone(), counter.clone(), stop.clone());
        std::thread::spawn(move || -> Connections {
            let mut events = 0;
            while !stop.is_set() && peer.send(&sample, &stop) {
                events += 1;
                counter.set(events);
            }
            Box::new(peer)
        })
    };
    let threads = peers.into_iter().zip(samples).zip(&counters).map(spawn).collect();
    Crew::new(counters, stop, threads)
}
