//! The broker's own engine and peers that speak ZMTP badly, oddly or not at all (RFC 23, RFC 37):
//! whoever breaks the protocol is cut off and counted, what would harm others is not passed on,
//! and everybody else notices nothing.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::time::{Duration, Instant};

use support::load::node_id;
use support::peers::{Publisher, PublisherKind, Subscriber, SubscriberKind};
use support::zmtp::{Incoming, ZmtpPeer, command, greeting, handshake, message, ping, ready};
use support::{Cluster, Engine, NodeSpec, Process, wait_for};
use zcluster::wire::EventFormat;
use zcluster::wire::zmtp::SocketType;
use zcluster::{Event, Value};

const NODES: &[NodeSpec<'static>] = &[("manager", "manager")];

const REFUSED: &str = "zcluster_proxy_refused_total";
const CUT_OFF: &str = "zcluster_proxy_cut_off_total";
const RECEIVED: &str = "zcluster_proxy_events_received_total";

/// The frames of an event.
type Frames<'a> = [&'a [u8]; 4];

const EVENT: Frames<'static> = [b"topic", b"sender", b"broker-bin-v1", b"payload"];

/// A broker with a publisher and a subscriber that behave, so that all can be seen to be well.
struct Bus {
    publisher: ZmtpPeer,
    subscriber: ZmtpPeer,
    /// Makes each event of theirs another one.
    number: u64,
    proxy: Process,
    _cluster: Cluster,
}

impl Bus {
    /// `options`: lines of `[zeromq]`, then of `[proxy]`.
    fn start(zeromq: &str, proxy: &str) -> Self {
        let options = format!("{zeromq}\n[proxy]\nmetrics_port = 0\n{proxy}");
        let cluster = Cluster::on(Engine::Switch, NODES, &options);
        let proxy = cluster.proxy();
        let mut publisher = ZmtpPeer::connect(&proxy.endpoint("xsub"), SocketType::Xpub, 1);
        let mut subscriber = ZmtpPeer::connect(&proxy.endpoint("xpub"), SocketType::Xsub, 1);
        subscriber.subscribe(true, b"");
        assert_eq!(publisher.receive().unwrap().subscription(), Some((true, &b""[..])));
        Bus { publisher, subscriber, number: 0, proxy, _cluster: cluster }
    }

    fn xsub(&self) -> String {
        self.proxy.endpoint("xsub")
    }

    fn xpub(&self) -> String {
        self.proxy.endpoint("xpub")
    }

    /// The endpoint and label of one of the sockets.
    fn socket(&self, is_frontend: bool) -> (String, &'static str) {
        if is_frontend { (self.xsub(), "frontend") } else { (self.xpub(), "backend") }
    }

    /// What the subscriber gets next.
    fn receive(&mut self) -> Vec<Vec<u8>> {
        self.subscriber.receive_message().unwrap()
    }

    /// Nothing that was not checked has reached the subscriber, and an event does.
    fn assert_well(&mut self) {
        self.number += 1;
        let number = self.number.to_be_bytes();
        let event = Event::new("Test::well", vec![Value::from(self.number)]);
        let mut payload = Vec::new();
        EventFormat::BrokerBinV1.encode(&event, &mut payload);
        let frames: Frames<'_> = [b"well", &number, b"broker-bin-v1", &payload];
        self.publisher.send(&frames);
        assert_eq!(self.receive(), frames);
        assert!(self.proxy.is_running());
        assert!(self.proxy.health().0, "{}", self.proxy.health().1);
        assert!(!self.proxy.stderr().contains("panicked"));
    }

    fn count(&self, name: &str, label: &str) -> f64 {
        self.proxy.metric_with(name, label)
    }

    /// Waits until a counter has a value, and fails where it is beyond.
    fn wait_count(&self, name: &str, label: &str, value: f64) {
        wait_for(&format!("{name}{{{label}}} = {value}"), || {
            let now = self.count(name, label);
            assert!(now <= value, "{name}{{{label}}} is {now}, beyond {value}");
            (now == value).then_some(())
        });
    }
}

fn refused(reason: &str) -> String {
    format!("reason=\"{reason}\"")
}

fn cut_off(socket: &str, reason: &str) -> String {
    format!("socket=\"{socket}\",reason=\"{reason}\"")
}

#[test]
fn only_sockets_of_the_pattern_may_connect() {
    let mut bus = Bus::start("", "");
    let good = [["PUB", "XPUB"], ["SUB", "XSUB"]];
    let all = [
        "PUB", "XPUB", "SUB", "XSUB", "PUSH", "PULL", "REQ", "REP", "DEALER", "ROUTER", "PAIR",
        "STREAM", "", "xpub", "XPUBX",
    ];
    let mut bad = [0.0; 2];
    for (side, is_frontend) in [true, false].into_iter().enumerate() {
        let (endpoint, label) = bus.socket(is_frontend);
        for name in all {
            let mut peer = ZmtpPeer::silent(&endpoint);
            peer.write(&greeting(1, "NULL"));
            peer.write(&ready(&[("Socket-Type", name.as_bytes())]));
            peer.skip_greeting();
            if good[side].contains(&name) {
                assert!(matches!(peer.receive(), Some(Incoming::Command(_))), "{name}");
                if is_frontend {
                    assert!(peer.receive().unwrap().subscription().is_some());
                    peer.send(&EVENT);
                    assert_eq!(bus.receive(), EVENT, "{name}");
                } else {
                    peer.subscribe(true, name.as_bytes());
                    let seen = bus.publisher.receive().unwrap();
                    assert_eq!(seen.subscription(), Some((true, name.as_bytes())));
                    drop(peer);
                    let seen = bus.publisher.receive().unwrap();
                    assert_eq!(seen.subscription(), Some((false, name.as_bytes())));
                }
            } else {
                peer.wait_end();
                bad[side] += 1.0;
                bus.wait_count(CUT_OFF, &cut_off(label, "socket_type"), bad[side]);
            }
        }
    }
    bus.assert_well();
}

#[test]
fn properties_and_versions_that_are_accepted() {
    let mut bus = Bus::start("", "");
    let value = vec![b'x'; 300];
    let readies = [
        ready(&[("Socket-Type", b"XPUB"), ("Identity", b"me")]),
        ready(&[("Identity", &value[..255]), ("Socket-Type", b"XPUB")]),
        ready(&[("X-Other", &value), ("socket-type", b"XPUB"), ("Identity", b"")]),
    ];
    for ready in &readies {
        for (major, minor) in [(3, 0), (3, 1), (3, 2), (4, 0)] {
            let mut peer = ZmtpPeer::silent(&bus.xsub());
            let mut greeting = greeting(minor, "NULL");
            greeting[10] = major;
            // The signature may have anything here, and what comes last is of no meaning.
            greeting[1..9].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 9]);
            greeting[63] = 7;
            peer.write(&greeting);
            peer.write(ready);
            peer.skip_greeting();
            assert!(matches!(peer.receive(), Some(Incoming::Command(_))));
            let seen = peer.receive().unwrap();
            assert!(seen.subscription().is_some());
            assert_eq!(matches!(seen, Incoming::Command(_)), (major, minor) != (3, 0));
            peer.send(&EVENT);
            assert_eq!(bus.receive(), EVENT);
        }
    }
    bus.assert_well();
}

#[test]
fn who_shakes_hands_badly_is_cut_off() {
    let mut bus = Bus::start("", "");
    let good = greeting(1, "NULL");
    let mut old = good.clone();
    old[10] = 1;
    let after = |bytes: &[u8]| [good.as_slice(), bytes].concat();
    let mut long_ready = vec![6];
    long_ready.extend_from_slice(&(1u64 << 40).to_be_bytes());
    let peers: &[(Vec<u8>, &str)] = &[
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), "protocol"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), "protocol"),
        (vec![0; 1 << 16], "protocol"),
        (vec![0xff; 1 << 16], "protocol"),
        (old, "protocol"),
        (greeting(1, "CURVE"), "mechanism"),
        (greeting(1, "PLAIN"), "mechanism"),
        (greeting(1, ""), "mechanism"),
        (greeting(1, "NULLNULLNULLNULLNULL"), "mechanism"),
        (after(&message(&EVENT)), "protocol"),
        (after(&ping(1, b"")), "protocol"),
        (after(&command(b"\x05ERROR\x03bad")), "protocol"),
        (after(&command(b"\x05READY\x0bSocket-Type\xff\xff\xff\xffXPUB")), "protocol"),
        (after(&command(b"\x05READY\x0bSocket-T")), "protocol"),
        (after(&command(b"")), "protocol"),
        (after(&command(b"\x05READY")), "socket_type"),
        (after(&ready(&[("X", &[0; 100 << 10])])), "limit"),
        (after(&long_ready), "limit"),
        (after(b"\x08\x00"), "protocol"),
        (after(b"\x05\x00"), "protocol"),
    ];
    for is_frontend in [true, false] {
        let (endpoint, label) = bus.socket(is_frontend);
        for (number, (bytes, reason)) in peers.iter().enumerate() {
            let before = bus.count(CUT_OFF, &cut_off(label, reason));
            let all = bus.proxy.metric(CUT_OFF);
            let mut peer = ZmtpPeer::silent(&endpoint);
            peer.write(bytes);
            peer.drain();
            wait_for(&format!("peer {number} of {label} to be counted"), || {
                (bus.proxy.metric(CUT_OFF) > all).then_some(())
            });
            let now = bus.count(CUT_OFF, &cut_off(label, reason));
            assert_eq!(now, before + 1.0, "peer {number} of {label}: not {reason}");
        }
    }
    // Who leaves in the middle is no offender.
    let all = bus.proxy.metric(CUT_OFF);
    let whole = handshake(SocketType::Pub, 1);
    for end in [0, 1, 10, 63, 64, 65, whole.len() - 1, whole.len()] {
        let mut peer = ZmtpPeer::silent(&bus.xsub());
        peer.write(&whole[..end]);
    }
    wait_for("all of them to be gone", || {
        (bus.proxy.metric("zcluster_proxy_peers") == 2.0).then_some(())
    });
    assert_eq!(bus.proxy.metric(CUT_OFF), all);
    bus.assert_well();
}

#[test]
fn a_handshake_has_its_time() {
    let mut bus = Bus::start("", "handshake_timeout = \"500ms\"");
    let whole = handshake(SocketType::Pub, 1);
    let (xsub, xpub) = (bus.xsub(), bus.xpub());
    let mut stalled: Vec<_> = [0, 1, 10, 11, 64, whole.len() - 1]
        .iter()
        .flat_map(|end| [(&xsub, *end), (&xpub, *end)])
        .map(|(endpoint, end)| {
            let mut peer = ZmtpPeer::silent(endpoint);
            peer.write(&whole[..end]);
            peer
        })
        .collect();
    // One that says a byte now and then has no more time than the others.
    let mut slow = ZmtpPeer::silent(&bus.xsub());
    let begun = Instant::now();
    let mut bytes = whole.iter();
    while slow.is_open() {
        if begun.elapsed() > Duration::from_millis(10) * bytes.len() as u32
            && let Some(byte) = bytes.next()
            && bytes.len() > 0
        {
            slow.write(&[*byte]);
        }
        std::thread::park_timeout(Duration::from_millis(1));
        assert!(begun.elapsed() < support::PATIENCE, "never cut off");
    }
    stalled.iter_mut().for_each(ZmtpPeer::drain);
    let of = |socket| cut_off(socket, "handshake_timeout");
    bus.wait_count(CUT_OFF, &of("frontend"), stalled.len() as f64 / 2.0 + 1.0);
    bus.wait_count(CUT_OFF, &of("backend"), stalled.len() as f64 / 2.0);
    bus.assert_well();
}

#[test]
fn bytes_that_come_one_by_one_make_whole_messages() {
    let mut bus = Bus::start("", "");
    let mut publisher = ZmtpPeer::silent(&bus.xsub());
    let mut bytes = handshake(SocketType::Pub, 1);
    bytes.extend(message(&EVENT));
    bytes.extend(ping(0, b"ctx"));
    bytes.extend(message(&EVENT.map(|frame| [frame, &[0; 300]].concat())));
    bytes.extend(message(&EVENT));
    let mut subscriber = ZmtpPeer::silent(&bus.xpub());
    let mut subscriptions = handshake(SocketType::Sub, 1);
    subscriptions.extend(message(&[b"\x01slow"]));
    subscriptions.extend(command(b"\x09SUBSCRIBEslower"));
    subscriptions.extend(message(&[b"\0slow"]));
    for byte in &subscriptions {
        subscriber.write(&[*byte]);
    }
    for expected in [(true, &b"slow"[..]), (true, b"slower"), (false, b"slow")] {
        let seen = bus.publisher.receive().unwrap();
        assert_eq!(seen.subscription(), Some(expected));
    }
    for byte in &bytes {
        publisher.write(&[*byte]);
    }
    assert_eq!(bus.receive(), EVENT);
    assert_eq!(bus.receive(), EVENT.map(|frame| [frame, &[0; 300]].concat()));
    assert_eq!(bus.receive(), EVENT);
    bus.assert_well();
}

#[test]
fn long_headers_of_short_frames() {
    let mut bus = Bus::start("", "");
    let long = |flags: u8, body: &[u8]| {
        [&[flags | 2], (body.len() as u64).to_be_bytes().as_slice(), body].concat()
    };
    // They come out as they went in: whoever receives must bear it, as libzmq does.
    let mut libzmq = [SubscriberKind::Xsub, SubscriberKind::Sub].map(|kind| {
        let mut subscriber = Subscriber::connect(kind, &bus.proxy.endpoint("xpub"));
        subscriber.subscribe(true, b"topic");
        let seen = bus.publisher.receive().unwrap();
        assert_eq!(seen.subscription(), Some((true, &b"topic"[..])));
        subscriber
    });
    let last = EVENT.len() - 1;
    let frames = EVENT.iter().enumerate().map(|(n, body)| long(u8::from(n < last), body));
    let bytes = frames.collect::<Vec<_>>().concat();
    bus.publisher.write(&bytes);
    assert_eq!(bus.receive(), EVENT);
    for subscriber in &mut libzmq {
        assert_eq!(wait_for("the event", || subscriber.try_receive()), EVENT);
    }
    // Also of what the broker itself is told.
    let mut subscriber = ZmtpPeer::silent(&bus.xpub());
    subscriber.write(&greeting(1, "NULL"));
    subscriber.write(&long(4, &ready(&[("Socket-Type", b"SUB")])[2..]));
    subscriber.write(&long(4, b"\x09SUBSCRIBElong"));
    subscriber.write(&long(0, b"\x01longer"));
    for expected in [b"long".as_slice(), b"longer"] {
        let seen = bus.publisher.receive().unwrap();
        assert_eq!(seen.subscription(), Some((true, expected)));
    }
    drop(libzmq);
    bus.assert_well();
}

#[test]
fn commands_inside_a_message_are_no_part_of_it() {
    let mut bus = Bus::start("", "");
    let mut peer = ZmtpPeer::connect(&bus.xsub(), SocketType::Pub, 1);
    assert!(peer.receive().unwrap().subscription().is_some());
    let bytes = message(&EVENT);
    // (where a frame begins, a command before it)
    let mut with_commands = Vec::new();
    let mut rest = bytes.as_slice();
    let mut contexts = Vec::new();
    while !rest.is_empty() {
        let context = format!("context {}", contexts.len()).into_bytes();
        with_commands.extend(ping(0, &context));
        with_commands.extend(command(b"\x07UNKNOWNx"));
        with_commands.extend(command(b"\x04PONGunasked"));
        contexts.push(context);
        let end = 2 + usize::from(rest[1]);
        with_commands.extend_from_slice(&rest[..end]);
        rest = &rest[end..];
    }
    for size in [with_commands.len(), 1, 7] {
        for piece in with_commands.chunks(size) {
            peer.write(piece);
        }
        for context in &contexts {
            let pong = [b"\x04PONG".as_slice(), context].concat();
            assert_eq!(peer.receive(), Some(Incoming::Command(pong)));
        }
        assert_eq!(bus.receive(), EVENT);
    }
    // Runs of messages with commands anywhere.
    let mut run = Vec::new();
    for n in 0..1000u32 {
        let frames: Frames<'_> = [b"topic", b"sender", b"format", &n.to_be_bytes()];
        let bytes = message(&frames);
        let cut = [0, 7, 15][n as usize % 3];
        run.extend_from_slice(&bytes[..cut]);
        run.extend(ping(0, &n.to_be_bytes()));
        run.extend_from_slice(&bytes[cut..]);
    }
    peer.write(&run);
    for n in 0..1000u32 {
        assert_eq!(bus.receive()[3], n.to_be_bytes());
    }
    for n in 0..1000u32 {
        let pong = [b"\x04PONG".as_slice(), &n.to_be_bytes()].concat();
        assert_eq!(peer.receive(), Some(Incoming::Command(pong)));
    }
    bus.assert_well();
}

#[test]
fn who_breaks_the_protocol_later_is_cut_off() {
    let mut bus = Bus::start("max_message_size = \"1MiB\"", "");
    let huge = |flags: u8, size: u64| [&[flags | 2], size.to_be_bytes().as_slice()].concat();
    let mut endless = Vec::new();
    for _ in 0..(1 << 20) {
        endless.extend_from_slice(b"\x01\x00");
    }
    let two_halves = [
        [huge(1, 600 << 10), vec![0; 600 << 10]].concat(),
        [huge(0, 600 << 10), vec![0; 600 << 10]].concat(),
    ]
    .concat();
    let peers: &[(Vec<u8>, &str)] = &[
        (b"\x08\x01x".to_vec(), "protocol"),
        (b"\xf8\x01x".to_vec(), "protocol"),
        (b"\x05\x01x".to_vec(), "protocol"),
        (b"\x07\0\0\0\0\0\0\0\x01x".to_vec(), "protocol"),
        (command(b""), "protocol"),
        (command(b"\x09SUB"), "protocol"),
        (command(b"\x04PING\0"), "protocol"),
        (huge(0, u64::MAX), "limit"),
        (huge(1, 1 << 63), "limit"),
        (huge(4, 1 << 40), "limit"),
        (huge(0, (1 << 20) + 1), "limit"),
        (two_halves, "limit"),
        (endless, "limit"),
    ];
    for is_frontend in [true, false] {
        let (endpoint, label) = bus.socket(is_frontend);
        let ours = if is_frontend { SocketType::Pub } else { SocketType::Sub };
        for (number, (bytes, reason)) in peers.iter().enumerate() {
            let before = bus.count(CUT_OFF, &cut_off(label, reason));
            let all = bus.proxy.metric(CUT_OFF);
            let mut peer = ZmtpPeer::connect(&endpoint, ours, 1);
            peer.write(bytes);
            peer.wait_end();
            wait_for(&format!("peer {number} of {label} to be counted"), || {
                (bus.proxy.metric(CUT_OFF) > all).then_some(())
            });
            let now = bus.count(CUT_OFF, &cut_off(label, reason));
            assert_eq!(now, before + 1.0, "peer {number} of {label}: not {reason}");
        }
        // In the middle of an event as well: its beginning reaches nobody.
        let mut peer = ZmtpPeer::connect(&endpoint, ours, 1);
        peer.write(&[&message(&EVENT)[..9], b"\xff"].concat());
        peer.wait_end();
        // Who says that it gives up may go on or not; it is its own business.
        let mut peer = ZmtpPeer::connect(&endpoint, ours, 1);
        peer.write(&command(b"\x05ERROR\x03bye"));
    }
    bus.assert_well();
}

#[test]
fn half_a_message_is_never_forwarded() {
    let mut bus = Bus::start("", "");
    let large = EVENT.map(|frame| [frame, &[1; 100 << 10]].concat());
    for bytes in [message(&EVENT), message(&large)] {
        let step = bytes.len().div_ceil(25);
        for end in (0..bytes.len()).step_by(step).chain([bytes.len() - 1]) {
            let mut peer = ZmtpPeer::connect(&bus.xsub(), SocketType::Pub, 1);
            // A whole one before, to see that it is read.
            peer.send(&EVENT);
            peer.write(&bytes[..end]);
            assert_eq!(bus.receive(), EVENT);
            drop(peer);
        }
    }
    wait_for("all of them to be gone", || {
        (bus.proxy.metric("zcluster_proxy_peers") == 2.0).then_some(())
    });
    bus.assert_well();
}

#[test]
fn events_have_four_frames() {
    let mut bus = Bus::start("", "");
    let id = node_id("worker-1");
    let mut bad = 0.0;
    for kind in [PublisherKind::Xpub, PublisherKind::Zmtp31] {
        let mut peer = Publisher::connect(kind, &bus.proxy.endpoint("xsub"));
        assert_eq!(peer.see(), (true, vec![]));
        // This names it.
        let good: Frames<'_> = [b"topic", id.as_bytes(), b"format", b"payload"];
        peer.send(&good);
        assert_eq!(bus.receive(), good);
        let frames: &[&[&[u8]]] = &[
            &[b""],
            &[b"topic"],
            &[b"topic", b"sender"],
            &[b"topic", b"sender", b"format"],
            &[b"topic", b"sender", b"format", b"payload", b""],
            &[b"topic".as_slice(); 100],
            &[b"".as_slice(); 5],
            // As if it were a subscription.
            &[b"\x01topic"],
            &[b"\0"],
        ];
        for frames in frames {
            peer.send(frames);
            bad += 1.0;
        }
        peer.send(&good);
        assert_eq!(bus.receive(), good);
        let label = "peer=\"worker-1\",reason=\"frame_count\"";
        bus.wait_count(REFUSED, label, bad);
    }
    // Their frames may be anything.
    bus.publisher.send(&[b""; 4]);
    assert_eq!(bus.receive(), [b""; 4]);
    bus.assert_well();
    bus.wait_count(RECEIVED, "", 6.0);
    assert_eq!(bus.proxy.metric(REFUSED), bad);
}

#[test]
fn subscribers_have_nothing_else_to_say() {
    let mut bus = Bus::start("", "");
    let mut bad = 0.0;
    let large = vec![b'x'; 1 << 20];
    for kind in [SubscriberKind::Xsub, SubscriberKind::Zmtp30, SubscriberKind::Zmtp31] {
        let mut peer = Subscriber::connect(kind, &bus.proxy.endpoint("xpub"));
        let messages: &[&[&[u8]]] = &[
            &[b""],
            &[b"\x02user"],
            &[b"\xff"],
            &[&large],
            &[b"\x02user", b"message"],
            &[b"", b"", b""],
            &[b"x".as_slice(); 100],
            &[b"\x01topic", b"more"],
            &[b"\0topic", b"more"],
            &[b"\x01", b""],
        ];
        for frames in messages {
            peer.send(frames);
            bad += 1.0;
        }
        peer.subscribe(true, b"last");
        // Nothing else reaches the publisher, and so no node.
        let seen = bus.publisher.receive().unwrap();
        assert_eq!(seen.subscription(), Some((true, &b"last"[..])));
        bus.wait_count(REFUSED, &refused("user_message"), bad);
        drop(peer);
        let seen = bus.publisher.receive().unwrap();
        assert_eq!(seen.subscription(), Some((false, &b"last"[..])));
        bus.assert_well();
    }
    assert_eq!(bus.proxy.metric(REFUSED), bad);
}

#[test]
fn subscriptions_have_limits() {
    let mut bus = Bus::start("", "max_subscriptions = 100\nmax_subscription_length = 50");
    let mut peer = ZmtpPeer::connect(&bus.xpub(), SocketType::Sub, 1);
    let mut see = |expected: (bool, &[u8])| {
        let seen = bus.publisher.receive().unwrap();
        assert_eq!(seen.subscription(), Some(expected));
    };
    let longest = [b'x'; 50];
    for by_command in [true, false] {
        peer.subscribe_as(by_command, true, &[b'x'; 51]);
        peer.subscribe_as(by_command, true, &[b'x'; 5000]);
        peer.subscribe_as(by_command, true, &longest);
        see((true, &longest));
    }
    let prefixes: Vec<_> = (0..150).map(|n| format!("many.{n:03}").into_bytes()).collect();
    prefixes.iter().for_each(|prefix| peer.subscribe(true, prefix));
    prefixes[..99].iter().for_each(|prefix| see((true, prefix)));
    // One may go and another come.
    peer.subscribe(false, &prefixes[0]);
    see((false, &prefixes[0]));
    peer.subscribe(true, &prefixes[149]);
    see((true, &prefixes[149]));
    bus.wait_count(REFUSED, &refused("subscription_limit"), 4.0 + 51.0);
    // Each peer has its own.
    let mut other = ZmtpPeer::connect(&bus.xpub(), SocketType::Sub, 1);
    other.subscribe(true, b"other");
    assert_eq!(bus.publisher.receive().unwrap().subscription(), Some((true, &b"other"[..])));
    // What was refused was never there.
    bus.publisher.send(&[b"many.120".as_slice(), b"s", b"f", b"p"]);
    bus.publisher.send(&[b"many.149".as_slice(), b"s", b"f", b"p"]);
    assert_eq!(peer.receive_message().unwrap()[0], b"many.149");
    assert_eq!(bus.receive()[0], b"many.120");
    assert_eq!(bus.receive()[0], b"many.149");
    bus.assert_well();
}

#[test]
fn nobody_takes_back_what_others_subscribe() {
    let mut bus = Bus::start("", "");
    let mut peer = ZmtpPeer::connect(&bus.xpub(), SocketType::Sub, 1);
    for by_command in [true, false] {
        peer.subscribe_as(by_command, false, b"");
        peer.subscribe_as(by_command, false, b"topic");
    }
    peer.subscribe(true, b"last");
    assert_eq!(bus.publisher.receive().unwrap().subscription(), Some((true, &b"last"[..])));
    bus.wait_count(REFUSED, &refused("unsubscription"), 4.0);
    bus.assert_well();
    let mut late = ZmtpPeer::connect(&bus.xsub(), SocketType::Pub, 0);
    let mut seen = [late.receive().unwrap(), late.receive().unwrap()];
    seen.sort_by_key(|incoming| incoming.subscription().unwrap().1.len());
    assert_eq!(seen.each_ref().map(|one| one.subscription().unwrap().1), [&b""[..], b"last"]);
}

/// An event whose only argument are vectors in vectors (WIRE.md §2).
fn nested(depth: usize) -> Vec<u8> {
    let event = Event::new("Test::nested", vec![Value::Vector(vec![])]);
    let mut payload = Vec::new();
    EventFormat::BrokerBinV1.encode(&event, &mut payload);
    // The empty vector is the end of it: type, number of elements.
    assert_eq!(payload.split_off(payload.len() - 2), [0x0e, 0]);
    for _ in 0..depth {
        payload.extend([0x0e, 1]);
    }
    payload.extend([0x0e, 0]);
    payload
}

#[test]
fn payloads_are_checked_where_that_is_asked_for() {
    for checks in [true, false] {
        let mut bus = Bus::start("", &format!("validate_events = {checks}"));
        let mut good = Vec::new();
        let event = Event::new("Test::good", vec![Value::from(1u64), Value::from("text")]);
        EventFormat::BrokerBinV1.encode(&event, &mut good);
        let mut bad = vec![
            vec![],
            b"garbage".to_vec(),
            vec![0xff; 1 << 20],
            [good.as_slice(), b"trailing"].concat(),
            nested(100_000),
            nested(5_000_000),
            b"\x0e\xff\xff\xff\xff\x0f".to_vec(),
            b"\x05\xff\xff\xff\xff\x0f".to_vec(),
        ];
        bad.extend((0..good.len()).map(|length| good[..length].to_vec()));
        let fine = [good.clone(), nested(10)];
        for payload in bad.iter().chain(&fine) {
            let frames: Frames<'_> = [b"topic", b"sender", b"broker-bin-v1", payload];
            bus.publisher.send(&frames);
            let passes = !checks || fine.contains(payload);
            if passes {
                assert_eq!(bus.receive(), frames);
            }
        }
        let expected = if checks { bad.len() as f64 } else { 0.0 };
        bus.wait_count(REFUSED, &refused("malformed_event"), expected);
        bus.assert_well();
    }
}

#[test]
fn large_messages_pass_up_to_the_limit() {
    let mut bus = Bus::start("max_message_size = \"65MiB\"", "");
    let payload = vec![7; 64 << 20];
    let frames: Frames<'_> = [b"topic", b"sender", b"format", &payload];
    bus.publisher.send(&frames);
    assert!(bus.receive() == frames, "the payload is another");
    bus.assert_well();
    // Also for who is slow and reads it late, and with small ones around it.
    let mut peer = ZmtpPeer::connect(&bus.xsub(), SocketType::Pub, 1);
    peer.send(&EVENT);
    peer.send(&frames);
    peer.send(&EVENT);
    bus.wait_count(RECEIVED, "", 5.0);
    assert_eq!(bus.receive(), EVENT);
    assert!(bus.receive() == frames, "the payload is another");
    assert_eq!(bus.receive(), EVENT);
    let too_large = vec![7; 65 << 20];
    peer.send(&[b"topic".as_slice(), b"sender", b"format", &too_large]);
    peer.wait_end();
    bus.wait_count(CUT_OFF, &cut_off("frontend", "limit"), 1.0);
    bus.assert_well();
    // What it took for them is given back.
    wait_for("the memory", || (bus.proxy.memory() < 64 << 20).then_some(()));
}

#[test]
fn heartbeats() {
    let mut bus = Bus::start(
        "heartbeat_interval = \"100ms\"\nheartbeat_timeout = \"600ms\"\nheartbeat_ttl = \"700ms\"",
        "",
    );
    for is_frontend in [true, false] {
        let (endpoint, label) = bus.socket(is_frontend);
        let ours = if is_frontend { SocketType::Xpub } else { SocketType::Xsub };
        // One that knows no PINGs, and gets none.
        let mut old = ZmtpPeer::connect(&endpoint, ours, 0);
        // One that answers with anything.
        let mut talking = ZmtpPeer::connect(&endpoint, ours, 1);
        talking.answers_pings = false;
        // One that does not answer: it came last and is the only one to go.
        let mut silent = ZmtpPeer::connect(&endpoint, ours, 1);
        silent.answers_pings = false;
        let mut pings = 0;
        wait_for("the silent one to be cut off", || {
            // Those of the bus answer as they should.
            assert_eq!(bus.publisher.try_receive(), None);
            assert_eq!(bus.subscriber.try_receive(), None);
            if talking.try_receive().is_some_and(|one| one.subscription().is_none()) {
                talking.write(&command(b"\x07UNKNOWN"));
            }
            if let Some(incoming) = old.try_receive() {
                assert!(incoming.subscription().is_some(), "{incoming:?}");
            }
            while let Some(incoming) = silent.try_receive() {
                let Incoming::Command(body) = &incoming else { panic!("{incoming:?}") };
                if incoming.subscription().is_none() {
                    assert!(body.starts_with(b"\x04PING\0\x07"), "{body:?}");
                    pings += 1;
                }
            }
            silent.has_ended.then_some(())
        });
        assert!(pings > 0);
        // PINGs of peers.
        talking.write(&ping(0, b"a context"));
        loop {
            let Some(Incoming::Command(body)) = talking.receive() else { panic!("cut off") };
            if body == b"\x04PONGa context" {
                break;
            }
        }
        assert!(old.is_open());
        assert_eq!(bus.count(CUT_OFF, &cut_off(label, "heartbeat")), 1.0);
        drop((talking, old));
        bus.assert_well();
    }
}

#[test]
fn who_says_how_long_it_may_be_silent_is_held_to_it() {
    let mut bus = Bus::start("heartbeat_interval = \"0s\"", "");
    for is_frontend in [true, false] {
        let (endpoint, label) = bus.socket(is_frontend);
        let ours = if is_frontend { SocketType::Pub } else { SocketType::Sub };
        // It may take that back.
        let mut other = ZmtpPeer::connect(&endpoint, ours, 1);
        other.write(&[ping(3, b""), ping(0, b"")].concat());
        let mut peer = ZmtpPeer::connect(&endpoint, ours, 1);
        peer.write(&ping(3, b""));
        peer.drain();
        bus.wait_count(CUT_OFF, &cut_off(label, "heartbeat"), 1.0);
        bus.assert_well();
        assert!(other.is_open());
    }
}
