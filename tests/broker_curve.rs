//! The broker under CURVE with keys that all nodes share: traffic, and which peers are accepted.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::fs;
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use support::bus::{CUT_OFF, cut_off};
use support::curve::CurvePeer;
use support::keys::SharedKeys;
use support::watched::{Peer, client, keys};
use support::{Cluster, Engine, NodeSpec, Process, Signal, wait_for};
use zcluster::transport::{ConnectionEventKind, CurveOptions, SocketKind};
use zcluster::wire::zmtp::{SocketType, put_frame, put_subscription};

const NODES: &[NodeSpec<'static>] =
    &[("manager", "manager"), ("worker-1", "worker"), ("worker-2", "worker")];

const FAILED: &str = "zcluster_broker_handshakes_failed_total";
const EVENTS: &str = "zcluster_broker_events_received_total";

/// Events from each of two publishers.
const MANY: u32 = 20_000;

/// A broker with keys that all nodes share, a publisher, and a subscriber of everything below
/// `test.`.
struct Shared {
    publisher: Peer,
    subscriber: Peer,
    keys: SharedKeys,
    number: u64,
    broker: Process,
    cluster: Cluster,
}

impl Shared {
    /// Starts a broker. `zeromq` and `broker`: lines of these sections.
    fn start(engine: Engine, zeromq: &str, broker: &str) -> Self {
        let keys = SharedKeys::new();
        let options = format!("{}{zeromq}\n[broker]\nmetrics_port = 0\n{broker}", keys.options());
        let cluster = Cluster::on(engine, NODES, &options);
        let broker = cluster.broker();
        let curve = || client(&Arc::new(keys.client.clone()), keys.server.public());
        let publisher = Peer::publisher(&broker, curve());
        let subscriber = Peer::subscriber(&broker, curve());
        subscriber.subscribe(b"test.");
        publisher.wait_subscription(true, b"test.");
        Shared { publisher, subscriber, keys, number: 0, broker, cluster }
    }

    fn client(&self) -> CurveOptions {
        client(&Arc::new(self.keys.client.clone()), self.keys.server.public())
    }

    /// Checks that publisher and subscriber are still connected and an event gets through.
    fn assert_well(&mut self) {
        self.number += 1;
        let number = self.number.to_be_bytes();
        let frames: [&[u8]; 4] = [b"test.well", b"sender", b"format", &number];
        self.publisher.send(&frames);
        assert_eq!(self.subscriber.receive(), frames);
        assert!(!self.publisher.was_cut_off() && !self.subscriber.was_cut_off());
        let stderr = self.broker.stderr();
        assert!(!stderr.contains("panicked") && !self.keys.are_in(&stderr), "{stderr}");
    }
}

fn events_and_subscriptions_flow(engine: Engine) {
    let mut bus = Shared::start(engine, "", "");
    bus.assert_well();
    // The requested engine, without a fallback.
    let name = if engine == Engine::Switch { "switch" } else { "zmq" };
    assert_eq!(bus.broker.ready["engine"], name);
    for size in [0, 1, 222, 223, 300, 70_000, 600 << 10, 10 << 20] {
        let payload = vec![7; size];
        let frames: [&[u8]; 4] = [b"test.size", b"sender", &payload[..size / 2], &payload];
        bus.publisher.send(&frames);
        bus.publisher.send(&[b"test.small", &b"sender"[..], b"format", b""]);
        assert!(bus.subscriber.receive() == frames, "{size} bytes");
        assert_eq!(bus.subscriber.receive()[0], b"test.small");
    }
    // A SUB, which uses commands, and a late publisher, which must receive all subscriptions.
    let prefixes: Vec<Vec<u8>> =
        (0..2_000).map(|n| format!("test.{n:04}.{}", "x".repeat(n % 300)).into_bytes()).collect();
    let late = Peer::connect(SocketKind::Sub, &bus.broker.endpoint("xpub"), bus.client(), None);
    late.socket.subscribe(b"test.0").unwrap();
    bus.publisher.wait_subscription(true, b"test.0");
    for prefix in &prefixes {
        bus.subscriber.subscribe(prefix);
    }
    for prefix in &prefixes {
        bus.publisher.wait_subscription(true, prefix);
    }
    let second = Peer::publisher(&bus.broker, bus.client());
    for prefix in &prefixes {
        second.wait_subscription(true, prefix);
    }
    // Many events from both.
    let (publishers, broker) = ([&bus.publisher, &second], &bus.broker);
    let mut next = [0; 2];
    let mut counted = 0;
    let mut got = |subscriber: &Peer| {
        while let Some(frames) = subscriber.try_receive() {
            let [_, from, _, number] = &frames[..] else { panic!("{frames:?}") };
            let from = usize::from(from[0] - b'0');
            assert_eq!(*number, u32::to_be_bytes(next[from]), "from {from}");
            next[from] += 1;
            counted += 1;
        }
        counted
    };
    for number in 0..MANY {
        for (publisher, name) in publishers.iter().zip([b"0", b"1"]) {
            publisher.send(&[b"test.many", &name[..], b"format", &number.to_be_bytes()]);
        }
        got(&bus.subscriber);
    }
    wait_for("all events", || (got(&bus.subscriber) == 2 * MANY).then_some(()));
    assert!(late.try_receive().is_none());
    assert_eq!(broker.metric(FAILED), 0.0);
    bus.assert_well();
}

fn the_unencrypted_more_flag_is_ignored(engine: Engine) {
    let mut bus = Shared::start(engine, "", "");
    let endpoint = bus.broker.endpoint("xsub");
    let mut peer = CurvePeer::connect(&endpoint, &bus.keys, SocketType::Xpub);
    for number in 0..3_u8 {
        let frames: [&[u8]; 4] = [b"test.more", b"sender", b"format", &[number]];
        let flagged: Vec<_> = (0..4).map(|at| (frames[at], at < 3)).collect();
        let sealed = peer.seal_with_more_outside(&flagged);
        peer.stream.write_all(&sealed).unwrap();
        assert_eq!(bus.subscriber.receive(), frames);
    }
    bus.assert_well();
}

/// A peer that is refused, and the effects.
struct Stranger {
    curve: Option<CurveOptions>,
    /// With the broker's own engine: the reason, and a part of the log line.
    reason: &'static str,
    line: String,
    /// With libzmq's engine: a part of the log line.
    zmq_line: String,
    /// The event that the peer sees.
    seen: ConnectionEventKind,
}

fn who_does_not_belong_is_refused(engine: Engine) {
    let begun = Instant::now();
    let mut bus = Shared::start(engine, "", "");
    let other = keys();
    let unauthorized = format!("its public key {} is not authorized to connect", other.public());
    let strangers = [
        Stranger {
            curve: Some(client(&other, bus.keys.server.public())),
            reason: "unauthorized",
            line: unauthorized.clone(),
            zmq_line: unauthorized,
            seen: ConnectionEventKind::HandshakeFailedAuth,
        },
        Stranger {
            curve: Some(client(&Arc::new(bus.keys.client.clone()), other.public())),
            reason: "mechanism",
            line: "expects this server to have another public key".into(),
            zmq_line: "expects this server to have another public key".into(),
            seen: ConnectionEventKind::HandshakeFailedNoDetail,
        },
        Stranger {
            curve: None,
            reason: "mechanism",
            line: "it does not encrypt (mechanism NULL) and this side does".into(),
            zmq_line: "one side encrypts (mechanism CURVE) and the other does not".into(),
            seen: ConnectionEventKind::HandshakeFailedProtocol,
        },
    ];
    for is_frontend in [true, false] {
        let (kind, key, label) = if is_frontend {
            (SocketKind::Xpub, "xsub", "frontend")
        } else {
            (SocketKind::Xsub, "xpub", "backend")
        };
        let of_socket = format!("socket=\"{label}\"");
        for stranger in &strangers {
            let failed = bus.broker.metric_with(FAILED, &of_socket);
            let reason = cut_off(label, stranger.reason);
            let cut = bus.broker.metric_with(CUT_OFF, &reason);
            let peer = Peer::connect(kind, &bus.broker.endpoint(key), stranger.curve.clone(), None);
            let value = peer.wait_event(stranger.seen);
            if stranger.seen == ConnectionEventKind::HandshakeFailedAuth {
                assert_eq!(value, 400);
            }
            wait_for("the failure to be counted", || {
                (bus.broker.metric_with(FAILED, &of_socket) > failed).then_some(())
            });
            let line = if engine == Engine::Switch {
                wait_for("the reason to be counted", || {
                    (bus.broker.metric_with(CUT_OFF, &reason) > cut).then_some(())
                });
                &stranger.line
            } else {
                &stranger.zmq_line
            };
            // It retries continuously, and is logged occasionally.
            bus.broker.wait_stderr_line(&["127.0.0.1", line]);
            drop(peer);
            bus.assert_well();
        }
    }
    let stderr = bus.broker.stderr();
    let told = stderr.lines().filter(|line| line.contains("more like this")).count() as u64;
    assert!(told <= 5 * (1 + begun.elapsed().as_secs() / 10), "{told} lines");
}

fn an_encrypted_peer_of_a_plain_broker(engine: Engine) {
    let cluster = Cluster::on(engine, NODES, "");
    let broker = cluster.broker();
    let (publisher, subscriber) = (Peer::publisher(&broker, None), Peer::subscriber(&broker, None));
    subscriber.subscribe(b"test.");
    publisher.wait_subscription(true, b"test.");
    let (own, server) = (keys(), keys());
    let stranger = Peer::publisher(&broker, client(&own, server.public()));
    stranger.wait_event(ConnectionEventKind::HandshakeFailedProtocol);
    broker.wait_metric(FAILED, 1.0);
    if engine == Engine::Switch {
        broker.wait_stderr_line(&[
            "127.0.0.1:",
            "it encrypts (mechanism CURVE) and this side does not",
        ]);
        assert!(broker.metric_with(CUT_OFF, &cut_off("frontend", "mechanism")) >= 1.0);
    } else {
        broker.wait_stderr_line(&["one side encrypts (mechanism CURVE) and the other does not"]);
    }
    let frames: [&[u8]; 4] = [b"test.well", b"sender", b"format", b"payload"];
    publisher.send(&frames);
    assert_eq!(subscriber.receive(), frames);
    assert!(!publisher.was_cut_off() && !subscriber.was_cut_off());
    // It listens on loopback only, so there is no warning.
    assert!(!broker.stderr().contains("is not encrypted"), "{}", broker.stderr());
}

fn open_sockets_are_warned_of(engine: Engine) {
    let cluster = Cluster::on(engine, NODES, "");
    let layout = fs::read_to_string(&cluster.layout).unwrap();
    let xsub = format!("tcp://127.0.0.1:{}", cluster.xsub_port);
    let open = format!("tcp://0.0.0.0:{}", cluster.xsub_port);
    fs::write(&cluster.layout, layout.replace(&xsub, &open)).unwrap();
    let broker = cluster.broker();
    broker.wait_stderr_line(&["WARN", &open, "is not encrypted", "zcluster keygen"]);
    assert_eq!(broker.stderr().matches("is not encrypted").count(), 1, "{}", broker.stderr());
}

on_both_engines!(
    events_and_subscriptions_flow,
    the_unencrypted_more_flag_is_ignored,
    who_does_not_belong_is_refused,
    an_encrypted_peer_of_a_plain_broker,
    open_sockets_are_warned_of,
);

/// An event of 64 KiB with a number.
fn large(number: u64) -> [Vec<u8>; 4] {
    let payload = [&number.to_be_bytes()[..], &vec![7; 64 << 10]].concat();
    [b"test.large".to_vec(), b"sender".to_vec(), b"format".to_vec(), payload]
}

fn number_of(frames: &[Vec<u8>]) -> u64 {
    u64::from_be_bytes(frames[3][..8].try_into().unwrap())
}

#[test]
fn what_comes_before_a_forged_frame_counts() {
    const FRAMES: &str = "zeek_cluster_zeromq_proxy_backend_messages_received_total";
    let mut bus = Shared::start(Engine::Switch, "", "");
    let forged = |socket| bus.broker.metric_with(CUT_OFF, &cut_off(socket, "protocol"));
    let event = |number: u8| {
        let mut frames = Vec::new();
        for (frame, more) in
            [(&b"test.forged"[..], true), (b"sender", true), (b"format", true), (&[number], false)]
        {
            put_frame(frame, more, &mut frames);
        }
        frames
    };
    let before: Vec<u8> = (0..100).flat_map(event).collect();
    let received = bus.broker.metric(EVENTS);
    let mut peer = CurvePeer::connect(&bus.broker.endpoint("xsub"), &bus.keys, SocketType::Xpub);
    let sealed = peer.seal_with_forgery(&before, &event(100), &event(101));
    peer.stream.write_all(&sealed).unwrap();
    for number in 0..100 {
        assert_eq!(bus.subscriber.receive()[3], [number]);
    }
    wait_for("the publisher to be cut off", || (forged("frontend") == 1.0).then_some(()));
    assert_eq!(bus.broker.metric(EVENTS), received + 100.0);

    let subscriptions = |prefixes: std::ops::Range<usize>| -> Vec<u8> {
        let mut frames = Vec::new();
        prefixes
            .for_each(|n| put_subscription(true, format!("sub.{n:03}").as_bytes(), &mut frames));
        frames
    };
    let received = bus.broker.metric(FRAMES);
    let mut peer = CurvePeer::connect(&bus.broker.endpoint("xpub"), &bus.keys, SocketType::Sub);
    let sealed = peer.seal_with_forgery(
        &subscriptions(0..100),
        &subscriptions(100..101),
        &subscriptions(101..102),
    );
    peer.stream.write_all(&sealed).unwrap();
    // It has them until it is cut off.
    for on in [true, false] {
        for n in 0..100 {
            bus.publisher.wait_subscription(on, format!("sub.{n:03}").as_bytes());
        }
    }
    assert_eq!(forged("backend"), 1.0);
    assert_eq!(bus.broker.metric(FRAMES), received + 100.0);
    bus.assert_well();
}

#[test]
fn a_subscriber_that_does_not_read_harms_nobody_else() {
    const HWM: u64 = 100;
    let mut bus = Shared::start(Engine::Switch, "", &format!("subscriber_hwm = {HWM}"));
    let stuck =
        Peer::connect(SocketKind::Xsub, &bus.broker.endpoint("xpub"), bus.client(), Some(1));
    stuck.subscribe(b"test.large");
    bus.publisher.wait_subscription(true, b"test.large");
    let dropped = || bus.broker.metric("zcluster_broker_events_dropped_total") as u64;
    let mut published = 0;
    // No faster than the other subscriber reads.
    let mut publish = || {
        for _ in 0..HWM / 2 {
            bus.publisher.send(&large(published));
            published += 1;
        }
        for number in published - HWM / 2..published {
            assert_eq!(number_of(&bus.subscriber.receive()), number);
        }
        published
    };
    wait_for("the queue to be full", || {
        publish();
        (dropped() > 0).then_some(())
    });
    let published = publish();
    wait_for("the queue to be told of, bounded and full", || {
        let waiting = bus.broker.metric("zcluster_broker_queue_messages") as u64;
        assert!(waiting <= HWM, "{waiting} wait");
        (waiting == HWM).then_some(())
    });
    assert!(bus.broker.memory() < 100 << 20, "{}", bus.broker.memory());
    // Everything that is not counted as dropped arrives, in order.
    let expected = published - dropped();
    let (mut count, mut last) = (0, None);
    wait_for("what waits", || {
        while let Some(frames) = stuck.try_receive() {
            let number = number_of(&frames);
            assert!(last < Some(number), "{number} after {last:?}");
            last = Some(number);
            count += 1;
        }
        (count == expected).then_some(())
    });
    assert!(!stuck.was_cut_off());
    bus.assert_well();
}

#[test]
fn old_keys_are_good_until_they_are_taken_out() {
    let (old_client, old_server) = (keys(), keys());
    let server_line =
        format!("old_server_secretkey = {:?}\n", &**old_server.secret().expose_text());
    let client_line = format!("old_client_publickey = {:?}\n", old_client.public().to_string());
    let curve = format!("[curve]\n{server_line}{client_line}");
    let mut bus = Shared::start(Engine::Switch, &curve, "");
    let old = Peer::subscriber(&bus.broker, client(&old_client, old_server.public()));
    old.subscribe(b"test.old");
    bus.publisher.wait_subscription(true, b"test.old");

    let layout = fs::read_to_string(&bus.cluster.layout).unwrap();
    fs::write(&bus.cluster.layout, layout.replace(&client_line, "")).unwrap();
    bus.broker.signal(Signal::HUP);
    old.wait_event(ConnectionEventKind::Disconnected);
    bus.publisher.wait_subscription(false, b"test.old");
    // The old server key still works for others.
    let known = Arc::new(bus.keys.client.clone());
    let other = Peer::subscriber(&bus.broker, client(&known, old_server.public()));
    other.subscribe(b"test.other");
    bus.publisher.wait_subscription(true, b"test.other");
    bus.assert_well();
}

#[test]
fn what_waits_is_sent_before_the_end() {
    let count = 400;
    let mut bus = Shared::start(Engine::Switch, "linger_ms = 600000", "");
    let late = Peer::connect(SocketKind::Xsub, &bus.broker.endpoint("xpub"), bus.client(), Some(1));
    late.subscribe(b"test.large");
    bus.publisher.wait_subscription(true, b"test.large");
    for number in 0..count {
        bus.publisher.send(&large(number));
        assert_eq!(number_of(&bus.subscriber.receive()), number);
    }
    bus.broker.wait_metric(EVENTS, count as f64);
    bus.broker.signal(Signal::TERM);
    for number in 0..count {
        assert_eq!(number_of(&late.receive()), number);
    }
    assert_eq!(bus.broker.wait().code(), Some(0));
    assert!(late.try_receive().is_none());
    assert!(!bus.broker.stderr().contains("not sent in time"), "{}", bus.broker.stderr());
}
