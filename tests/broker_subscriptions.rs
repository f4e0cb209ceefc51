//! Subscriptions through the broker (WIRE.md §1.4): which of them publishers see and which
//! subscribers receive events, the same for every engine and kind of peer.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::BTreeMap;

use support::peers::{OBSERVERS, Publisher, PublisherKind, Subscriber, SubscriberKind};
use support::zmtp::{Incoming, ZmtpPeer};
use support::{Cluster, Engine, NodeSpec, Process, wait_for};
use zcluster::wire::zmtp::SocketType;

const NODES: &[NodeSpec<'static>] = &[("manager", "manager")];

/// Prefix of subscriptions that only show the test how far the broker is. It sorts after all
/// others.
const MARKER: &[u8] = b"\xff\xff\xff";

/// The topic of a subscriber that is always connected.
const WITNESS: &[u8] = b"\xff\xff\xffwitness";

/// The publishers: one of every kind.
const PUBLISHERS: [PublisherKind; 4] =
    [PublisherKind::Xpub, PublisherKind::Pub, PublisherKind::Zmtp30, PublisherKind::Zmtp31];
/// The index of PUB, which does not expose subscriptions.
const BLIND: usize = 1;

/// Kinds of the subscribers A and B.
const KINDS: [[SubscriberKind; 2]; 5] = [
    [SubscriberKind::Xsub, SubscriberKind::Zmtp31],
    [SubscriberKind::Sub, SubscriberKind::Xsub],
    [SubscriberKind::Zmtp30, SubscriberKind::Sub],
    [SubscriberKind::Zmtp31, SubscriberKind::Zmtp30],
    [SubscriberKind::Mixed, SubscriberKind::Mixed],
];

/// One of the two subscribers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    A,
    B,
}
use Who::{A, B};

/// An action and its expected effect. Publishers see `+prefix` and `-prefix`.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A subscriber subscribes to a prefix; what the publishers see.
    Sub(Who, &'static [u8], &'static [&'static [u8]]),
    /// A subscriber unsubscribes; what the publishers see.
    Unsub(Who, &'static [u8], &'static [&'static [u8]]),
    /// A subscriber disconnects; what the publishers see.
    Leave(Who, &'static [&'static [u8]]),
    /// Every publisher publishes an event with this topic; the subscribers that receive it, once
    /// each.
    Event(&'static [u8], &'static [Who]),
    /// New publishers connect; what they see, in any order.
    Late(&'static [&'static [u8]]),
}
use Step::{Event, Late, Leave, Sub, Unsub};

/// A broker and its peers.
struct Bus {
    kinds: [SubscriberKind; 2],
    publishers: Vec<Publisher>,
    /// Receives the last event of each round, after all others have been delivered.
    witness: ZmtpPeer,
    subscribers: BTreeMap<Who, Subscriber>,
    /// Makes markers and events unique.
    number: u64,
    /// The last marker, and the subscriber that subscribed to it.
    last_marker: Option<(Who, Vec<u8>)>,
    // Dropped after the peers, some of which wait until it has read everything they sent.
    broker: Process,
    _cluster: Cluster,
}

/// A subscription in the notation of the table.
fn signed((on, prefix): &(bool, Vec<u8>)) -> Vec<u8> {
    [if *on { b"+" } else { b"-" }.as_slice(), prefix].concat()
}

impl Bus {
    fn start(engine: Engine, kinds: [SubscriberKind; 2]) -> Self {
        // With one thread, publishers see the actions of several peers in the same order.
        let cluster = Cluster::on(engine, NODES, "proxy_io_threads = 1");
        let broker = cluster.broker();
        let endpoint = broker.endpoint("xsub");
        let mut publishers: Vec<_> =
            PUBLISHERS.map(|kind| Publisher::connect(kind, &endpoint)).into();
        let mut witness = ZmtpPeer::connect(&broker.endpoint("xpub"), SocketType::Sub, 1);
        witness.subscribe(true, WITNESS);
        wait_for("PUB to get a subscription", || {
            publishers[BLIND].send(&[WITNESS, b"sender", b"format", b""]);
            witness.try_receive()
        });
        Bus {
            kinds,
            publishers,
            witness,
            subscribers: BTreeMap::new(),
            number: 0,
            last_marker: None,
            broker,
            _cluster: cluster,
        }
    }

    /// The topic of that subscriber only.
    fn own_topic(who: Who) -> Vec<u8> {
        [MARKER, format!("{who:?}").as_bytes()].concat()
    }

    fn subscriber(&mut self, who: Who) -> &mut Subscriber {
        if !self.subscribers.contains_key(&who) {
            let kind = self.kinds[who as usize];
            let mut subscriber = Subscriber::connect(kind, &self.broker.endpoint("xpub"));
            subscriber.subscribe(true, &Self::own_topic(who));
            self.subscribers.insert(who, subscriber);
        }
        self.subscribers.get_mut(&who).unwrap()
    }

    /// Makes a subscriber subscribe to a new marker, which publishers see after all it did before.
    fn mark(&mut self, who: Who) -> Vec<u8> {
        self.number += 1;
        let marker = [MARKER, format!("0{}", self.number).as_bytes()].concat();
        self.subscriber(who).subscribe(true, &marker);
        self.last_marker = Some((who, marker.clone()));
        marker
    }

    /// Everything that each of these publishers sees before `end`, without markers.
    fn seen_until(publishers: &mut [Publisher], end: &(bool, Vec<u8>)) -> Vec<Vec<Vec<u8>>> {
        let until_end = |publisher: &mut Publisher| {
            let mut seen = Vec::new();
            loop {
                let next = publisher.see();
                if next == *end {
                    return seen;
                }
                if !next.1.starts_with(MARKER) {
                    seen.push(signed(&next));
                }
            }
        };
        let observers = publishers.iter_mut().filter(|one| !matches!(one, Publisher::Pub(_)));
        observers.map(until_end).collect()
    }

    /// Performs a step and checks its effect.
    fn take(&mut self, step: Step) {
        let context = format!("{step:?} of {:?}", self.kinds);
        let (end, expected) = match step {
            Sub(who, prefix, expected) => {
                self.subscriber(who).subscribe(true, prefix);
                ((true, self.mark(who)), expected)
            }
            Unsub(who, prefix, expected) => {
                self.subscriber(who).subscribe(false, prefix);
                ((true, self.mark(who)), expected)
            }
            Leave(who, expected) => {
                drop(self.subscribers.remove(&who).unwrap());
                self.last_marker = None;
                ((false, Self::own_topic(who)), expected)
            }
            Event(topic, expected) => return self.publish(topic, expected, &context),
            Late(expected) => return self.late(expected, &context),
        };
        for (n, seen) in Self::seen_until(&mut self.publishers, &end).iter().enumerate() {
            assert_eq!(seen, expected, "{context}, observer {n}");
        }
        if self.last_marker.is_none()
            && let Some(who) = self.subscribers.keys().next().copied()
        {
            let end = (true, self.mark(who));
            Self::seen_until(&mut self.publishers, &end);
        }
    }

    fn late(&mut self, expected: &[&[u8]], context: &str) {
        let who = *self.subscribers.keys().next().unwrap();
        for kind in OBSERVERS {
            let mut late = [Publisher::connect(kind, &self.broker.endpoint("xsub"))];
            // It is connected as soon as it sees anything; all current subscriptions arrive at
            // once.
            let first = late[0].see();
            let end = (true, self.mark(who));
            let mut seen = Self::seen_until(&mut late, &end).remove(0);
            if !first.1.starts_with(MARKER) {
                seen.push(signed(&first));
            }
            seen.sort();
            assert_eq!(seen, expected, "{context}, {kind:?}");
            Self::seen_until(&mut self.publishers, &end);
        }
    }

    fn publish(&mut self, topic: &[u8], expected: &[Who], context: &str) {
        for (publisher, kind) in PUBLISHERS.into_iter().enumerate() {
            if publisher == BLIND {
                self.wait_for_the_blind();
            }
            self.number += 1;
            let number = self.number.to_be_bytes();
            let event = |topic: &[u8]| {
                vec![topic.to_vec(), b"sender".to_vec(), b"format".to_vec(), number.to_vec()]
            };
            let mut send = |topic: &[u8]| {
                self.publishers[publisher].send(&[topic, b"sender", b"format", &number]);
            };
            send(topic);
            // One more event for each, to mark the end.
            for who in self.subscribers.keys() {
                send(&Self::own_topic(*who));
            }
            send(WITNESS);
            while self.witness.receive_message().unwrap()[3] != number {}
            for (who, subscriber) in &mut self.subscribers {
                let end = event(&Self::own_topic(*who));
                let mut received = Vec::new();
                wait_for("the last event", || {
                    let frames = subscriber.try_receive()?;
                    (frames == end).then_some(()).or_else(|| {
                        received.push(frames);
                        None
                    })
                });
                // Events that check the progress of PUB may arrive repeatedly.
                received.retain(|frames| !frames[0].starts_with(MARKER));
                let reached = if expected.contains(who) { vec![event(topic)] } else { vec![] };
                assert_eq!(received, reached, "{context}, from {kind:?} to {who:?}");
            }
        }
    }

    /// Waits until PUB has received the last marker, and so all subscriptions before it.
    fn wait_for_the_blind(&mut self) {
        let Some((who, marker)) = &self.last_marker else { return };
        let subscriber = self.subscribers.get_mut(who).unwrap();
        let publisher = &mut self.publishers[BLIND];
        wait_for("PUB to get a subscription", || {
            publisher.send(&[marker, b"sender", b"format", b""]);
            let received = std::iter::from_fn(|| subscriber.try_receive());
            received.into_iter().any(|frames| frames[0] == *marker).then_some(())
        });
    }

    fn run(&mut self, steps: &[Step]) {
        for step in steps {
            self.take(*step);
        }
        while let Some(who) = self.subscribers.keys().next().copied() {
            drop(self.subscribers.remove(&who));
            let end = (false, Self::own_topic(who));
            Self::seen_until(&mut self.publishers, &end);
        }
        self.last_marker = None;
    }
}

/// Each row cleans up after itself.
const ROWS: &[&[Step]] = &[
    // The first and last subscription to a prefix.
    &[
        Event(b"p", &[]),
        Sub(A, b"p", &[b"+p"]),
        Event(b"p", &[A]),
        Event(b"pq", &[A]),
        Event(b"", &[]),
        Event(b"q", &[]),
        Event(b"P", &[]),
        Unsub(A, b"p", &[b"-p"]),
        Event(b"p", &[]),
        Sub(A, b"p", &[b"+p"]),
        Event(b"p", &[A]),
        Leave(A, &[b"-p"]),
        Event(b"p", &[]),
    ],
    // Publishers see every subscription, but only the last unsubscription.
    &[
        Sub(A, b"p", &[b"+p"]),
        Sub(B, b"p", &[b"+p"]),
        Event(b"p.x", &[A, B]),
        Unsub(A, b"p", &[]),
        Event(b"p.x", &[B]),
        Sub(A, b"p", &[b"+p"]),
        Unsub(B, b"p", &[]),
        Event(b"p.x", &[A]),
        Unsub(A, b"p", &[b"-p"]),
        Event(b"p.x", &[]),
    ],
    // One of two disconnects, then the other.
    &[
        Sub(A, b"p", &[b"+p"]),
        Sub(A, b"own", &[b"+own"]),
        Sub(B, b"p", &[b"+p"]),
        Leave(A, &[b"-own"]),
        Event(b"p", &[B]),
        Leave(B, &[b"-p"]),
    ],
    // When a connection ends, unsubscriptions come in ascending byte order.
    &[
        Sub(A, b"b", &[b"+b"]),
        Sub(A, b"c\0", &[b"+c\0"]),
        Sub(A, b"a", &[b"+a"]),
        Sub(A, b"\xff", &[b"+\xff"]),
        Sub(A, b"", &[b"+"]),
        Sub(A, b"c", &[b"+c"]),
        Sub(A, b"B", &[b"+B"]),
        Sub(A, b"\0", &[b"+\0"]),
        Leave(A, &[b"-", b"-\0", b"-B", b"-a", b"-b", b"-c", b"-c\0", b"-\xff"]),
    ],
    // Late publishers see each prefix once.
    &[
        Sub(A, b"a", &[b"+a"]),
        Sub(B, b"a", &[b"+a"]),
        Sub(B, b"a.b", &[b"+a.b"]),
        Sub(A, b"gone", &[b"+gone"]),
        Unsub(A, b"gone", &[b"-gone"]),
        Sub(A, b"", &[b"+"]),
        Late(&[b"+", b"+a", b"+a.b"]),
        Unsub(B, b"a", &[]),
        Late(&[b"+", b"+a", b"+a.b"]),
        Leave(B, &[b"-a.b"]),
        Late(&[b"+", b"+a"]),
        Unsub(A, b"a", &[b"-a"]),
        Late(&[b"+"]),
    ],
    // A prefix of a prefix, and the empty prefix: one delivery, however many match.
    &[
        Sub(A, b"abc", &[b"+abc"]),
        Sub(A, b"a", &[b"+a"]),
        Sub(A, b"", &[b"+"]),
        Sub(A, b"abcd", &[b"+abcd"]),
        Sub(B, b"ab", &[b"+ab"]),
        Event(b"abcd.x", &[A, B]),
        Event(b"ab", &[A, B]),
        Event(b"", &[A]),
        Unsub(A, b"", &[b"-"]),
        Event(b"", &[]),
        Event(b"x", &[]),
        Event(b"a", &[A]),
        Unsub(A, b"a", &[b"-a"]),
        Event(b"ab", &[B]),
        Event(b"abc", &[A, B]),
        Unsub(A, b"abc", &[b"-abc"]),
        Event(b"abc", &[B]),
        Event(b"abcd", &[A, B]),
        Unsub(B, b"ab", &[b"-ab"]),
        Event(b"abcd", &[A]),
    ],
    // Any bytes.
    &[
        Sub(A, b"\0", &[b"+\0"]),
        Sub(A, b"\x01\x02", &[b"+\x01\x02"]),
        Sub(B, b"\xff\xfe", &[b"+\xff\xfe"]),
        Sub(B, b"\0\0", &[b"+\0\0"]),
        Event(b"\0", &[A]),
        Event(b"\0\0\xff", &[A, B]),
        Event(b"\x01", &[]),
        Event(b"\x01\x02\x03", &[A]),
        Event(b"\xff", &[]),
        Event(b"\xff\xfe", &[B]),
        Late(&[b"+\0", b"+\0\0", b"+\x01\x02", b"+\xff\xfe"]),
        Leave(B, &[b"-\0\0", b"-\xff\xfe"]),
        Leave(A, &[b"-\0", b"-\x01\x02"]),
    ],
    // Unsubscribing without a subscription has no effect, not even on those of others.
    &[
        Unsub(A, b"never", &[]),
        Unsub(A, b"", &[]),
        Sub(A, b"p", &[b"+p"]),
        Unsub(A, b"p.q", &[]),
        Event(b"p.q", &[A]),
    ],
    // A node receives its own events; it must filter them itself.
    &[
        Sub(A, b"zeek.cluster.nodeid.sender.", &[b"+zeek.cluster.nodeid.sender."]),
        Sub(B, b"zeek.cluster.", &[b"+zeek.cluster."]),
        Event(b"zeek.cluster.nodeid.sender.", &[A, B]),
        Event(b"zeek.cluster.nodeid.sender", &[B]),
        Leave(A, &[b"-zeek.cluster.nodeid.sender."]),
        Leave(B, &[b"-zeek.cluster."]),
    ],
];

fn subscriptions_come_and_go(engine: Engine) {
    let mut bus = Bus::start(engine, KINDS[0]);
    for kinds in KINDS {
        bus.kinds = kinds;
        for row in ROWS {
            bus.run(row);
        }
    }
    bus.broker.stop();
}

/// If a connection ends with two subscriptions to a prefix, only one of them is removed, so
/// publishers never see an unsubscription.
fn a_prefix_subscribed_twice_on_one_connection(engine: Engine) {
    let twice: &[Step] = &[
        Sub(A, b"p", &[b"+p"]),
        Sub(A, b"p", &[b"+p"]),
        Event(b"p", &[A]),
        Leave(A, &[]),
        Event(b"p", &[]),
        Sub(B, b"q", &[b"+q"]),
        Late(&[b"+p", b"+q"]),
        Sub(B, b"p", &[b"+p"]),
        Event(b"p", &[B]),
        Unsub(B, b"p", &[]),
    ];
    // libzmq in the peer sends only the last unsubscription.
    let with_libzmq: &[Step] = &[
        Sub(A, b"p", &[b"+p"]),
        Sub(A, b"p", &[b"+p"]),
        Unsub(A, b"p", &[]),
        Event(b"p", &[A]),
        Unsub(A, b"p", &[]),
        Event(b"p", &[]),
        Late(&[b"+p"]),
    ];
    let without: &[Step] = &[
        Sub(A, b"p", &[b"+p"]),
        Sub(A, b"p", &[b"+p"]),
        Unsub(A, b"p", &[]),
        Event(b"p", &[]),
        Unsub(A, b"p", &[b"-p"]),
        Event(b"p", &[]),
        Late(&[]),
    ];
    for kinds in KINDS {
        Bus::start(engine, kinds).run(twice);
        let account = if kinds[0].is_libzmq() { with_libzmq } else { without };
        Bus::start(engine, kinds).run(account);
    }
}

/// More than ten thousand subscriptions of one peer.
fn many_subscriptions_of_one_peer(engine: Engine) {
    const MANY: usize = 11_000;
    let cluster = Cluster::on(engine, NODES, "");
    let broker = cluster.broker();
    let prefixes: Vec<_> = (0..MANY).map(|n| format!("many.{n:05}.").into_bytes()).collect();
    let mut publishers: Vec<_> =
        OBSERVERS.map(|kind| Publisher::connect(kind, &broker.endpoint("xsub"))).into();
    let mut subscriber = ZmtpPeer::connect(&broker.endpoint("xpub"), SocketType::Xsub, 1);
    for prefix in &prefixes {
        subscriber.subscribe(true, prefix);
    }
    for publisher in &mut publishers {
        for prefix in &prefixes {
            assert_eq!(publisher.see(), (true, prefix.clone()));
        }
    }
    for n in [0, 1, MANY / 2, MANY - 1] {
        let topic = [prefixes[n].as_slice(), b"x"].concat();
        for publisher in &mut publishers {
            publisher.send(&[b"many.", b"s", b"f", b"unheard"]);
            publisher.send(&[&topic, b"s", b"f", b"p"]);
            let received = subscriber.receive();
            let frames = [topic.as_slice(), b"s", b"f", b"p"].map(<[u8]>::to_vec).to_vec();
            assert_eq!(received, Some(Incoming::Message(frames)));
        }
    }
    let mut late = Publisher::connect(PublisherKind::Zmtp31, &broker.endpoint("xsub"));
    let mut replayed: Vec<_> = (0..MANY).map(|_| late.see()).collect();
    replayed.sort();
    assert!(replayed.iter().map(|(_, prefix)| prefix).eq(&prefixes));
    drop(subscriber);
    publishers.push(late);
    for publisher in &mut publishers {
        for prefix in &prefixes {
            assert_eq!(publisher.see(), (false, prefix.clone()));
        }
    }
}

/// A publisher that has seen a subscription can publish to it at once.
fn a_subscription_that_is_seen_is_active(engine: Engine) {
    let cluster = Cluster::on(engine, NODES, "");
    let broker = cluster.broker();
    for kind in OBSERVERS {
        let mut publisher = Publisher::connect(kind, &broker.endpoint("xsub"));
        for n in 0..50 {
            let topic = format!("{kind:?}.{n}").into_bytes();
            let mut subscriber =
                Subscriber::connect(KINDS[n % KINDS.len()][0], &broker.endpoint("xpub"));
            subscriber.subscribe(true, &topic);
            while publisher.see() != (true, topic.clone()) {}
            publisher.send(&[&topic, b"s", b"f", b"p"]);
            let frames = wait_for("the event", || subscriber.try_receive());
            assert_eq!(frames[0], topic);
        }
    }
}

/// A broker that is killed sends no unsubscriptions. Its successor receives all subscriptions again
/// from the peers and forwards them to the publishers.
fn a_broker_that_comes_back(engine: Engine) {
    let cluster = Cluster::on(engine, NODES, "");
    let mut first = cluster.broker();
    let (xsub, xpub) = (first.endpoint("xsub"), first.endpoint("xpub"));
    let mut publisher = Publisher::connect(PublisherKind::Xpub, &xsub);
    let mut subscribers = [SubscriberKind::Xsub, SubscriberKind::Sub].map(|kind| {
        let mut subscriber = Subscriber::connect(kind, &xpub);
        subscriber.subscribe(true, b"p");
        assert_eq!(publisher.see(), (true, b"p".to_vec()));
        subscriber
    });
    first.kill();
    let broker = cluster.broker();
    assert_eq!((broker.endpoint("xsub"), broker.endpoint("xpub")), (xsub, xpub));
    // Once for each subscriber, or once for both if the publisher connected after one of them.
    let seen = wait_for("the subscriptions", || {
        // libzmq repeats them at the next call.
        for subscriber in &mut subscribers {
            assert_eq!(subscriber.try_receive(), None);
        }
        publisher.try_see()
    });
    assert_eq!(seen, (true, b"p".to_vec()));
    subscribers[0].subscribe(true, b"q");
    wait_for("a subscription that is new", || {
        let seen = publisher.try_see()?;
        assert!(seen.0, "{seen:?}");
        (seen.1 == b"q").then_some(())
    });
    for (n, subscriber) in subscribers.iter_mut().enumerate() {
        wait_for("an event", || {
            publisher.send(&[b"p", b"s", b"f", &n.to_be_bytes()]);
            subscriber.try_receive()
        });
    }
}

/// ZMTP 3.0 peers do not support commands. ZMTP 3.1 peers expect them when subscriptions are
/// repeated.
fn subscriptions_in_the_form_of_the_version(engine: Engine) {
    let cluster = Cluster::on(engine, NODES, "");
    let broker = cluster.broker();
    let mut subscriber = Subscriber::connect(SubscriberKind::Zmtp31, &broker.endpoint("xpub"));
    let mut early =
        [0, 1].map(|minor| ZmtpPeer::connect(&broker.endpoint("xsub"), SocketType::Xpub, minor));
    subscriber.subscribe(true, b"p");
    let message = |on: u8| Incoming::Message(vec![vec![on, b'p']]);
    let command = |name: &[u8]| Incoming::Command([&[name.len() as u8], name, b"p"].concat());
    let form = |peer: &mut ZmtpPeer| peer.receive().unwrap();
    let mut seen = early.each_mut().map(form).to_vec();
    let mut late =
        [0, 1].map(|minor| ZmtpPeer::connect(&broker.endpoint("xsub"), SocketType::Xpub, minor));
    assert_eq!(late.each_mut().map(form), [message(1), command(b"SUBSCRIBE")]);
    drop(subscriber);
    seen.extend(early.each_mut().map(form));
    // libzmq forwards subscriptions as messages to all.
    let expected = match engine {
        Engine::Zmq => [message(1), message(1), message(0), message(0)],
        Engine::Switch => [message(1), command(b"SUBSCRIBE"), message(0), command(b"CANCEL")],
    };
    assert_eq!(seen, expected);
}

on_both_engines!(
    subscriptions_come_and_go,
    a_prefix_subscribed_twice_on_one_connection,
    many_subscriptions_of_one_peer,
    a_subscription_that_is_seen_is_active,
    a_broker_that_comes_back,
    subscriptions_in_the_form_of_the_version,
);
