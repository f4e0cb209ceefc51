//! Other implementations of ZMTP, imitated in what sets them apart from libzmq (docs/broker.md,
//! "Other implementations"): what the broker makes of that.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use support::bus::{Bus, CUT_OFF, EVENT, REFUSED, cut_off, refused};
use support::zmtp::{Incoming, ZmtpPeer};
use support::{Cluster, Engine, wait_for};
use zcluster::wire::zmtp::SocketType;

/// Heartbeats that are soon over.
const SHORT: &str =
    "heartbeat_interval = \"50ms\"\nheartbeat_timeout = \"300ms\"\nheartbeat_ttl = \"300ms\"";

/// PINGs after which a peer without heartbeats would have been cut off three times.
const MANY: usize = 18;

/// A minor version, and how a peer of it subscribes: zmq.rs 0.7.0 and rzmq 0.5.28 greet with 3.0 and
/// subscribe by messages, omq-tokio 0.33.0 greets with 3.1 and subscribes by commands.
const VERSIONS: [u8; 2] = [0, 1];

/// What comes next to a peer that knows no command but READY: anything else would end it, as it
/// ends zmq.rs.
fn message_of(peer: &mut ZmtpPeer) -> Vec<Vec<u8>> {
    match peer.receive() {
        Some(Incoming::Message(frames)) => frames,
        other => panic!("{other:?} for a message"),
    }
}

#[test]
fn peers_of_zmtp_3_0_hear_no_command_and_stay_for_any_number_of_heartbeats() {
    let mut bus = Bus::start(SHORT, "");
    let mut old_subscriber = ZmtpPeer::connect(&bus.xpub(), SocketType::Sub, 0);
    old_subscriber.answers_pings = false;
    old_subscriber.subscribe(true, b"demo.");
    assert_eq!(bus.publisher.receive().unwrap().subscription(), Some((true, &b"demo."[..])));
    let mut old_publisher = ZmtpPeer::connect(&bus.xsub(), SocketType::Pub, 0);
    old_publisher.answers_pings = false;
    for expected in [b"\x01".as_slice(), b"\x01demo."] {
        assert_eq!(message_of(&mut old_publisher), [expected]);
    }
    // Of one that knows them, to see how much time has passed.
    let mut timer = ZmtpPeer::connect(&bus.xpub(), SocketType::Sub, 1);
    timer.answers_pings = false;
    let mut pings = 0;
    while pings < MANY {
        let Some(Incoming::Command(body)) = timer.receive() else { panic!("no PING") };
        assert!(body.starts_with(b"\x04PING"), "{body:?}");
        timer.write(&support::zmtp::command(b"\x04PONG"));
        pings += 1;
        // Those of the bus answer theirs.
        assert_eq!(bus.publisher.try_receive(), None);
        assert_eq!(bus.subscriber.try_receive(), None);
        for old in [&mut old_subscriber, &mut old_publisher] {
            assert_eq!(old.try_receive(), None);
            assert!(!old.has_ended);
        }
    }
    let event = [b"demo.x".as_slice(), b"sender", b"broker-bin-v1", b"payload"];
    old_publisher.send(&event);
    assert_eq!(message_of(&mut old_subscriber), event);
    assert_eq!(bus.receive(), event);
    assert_eq!(bus.broker.metric(CUT_OFF), 0.0);
    bus.assert_well();
}

#[test]
fn a_subscriber_of_zmtp_3_0_that_does_not_read_is_cut_off_by_the_kernel() {
    let mut bus = Bus::start(SHORT, "subscriber_max_bytes = \"1MiB\"");
    let mut stuck = ZmtpPeer::narrow_subscriber(&bus.xpub(), 0);
    stuck.subscribe(true, b"demo.");
    assert_eq!(bus.publisher.receive().unwrap().subscription(), Some((true, &b"demo."[..])));
    let payload = vec![7; 64 << 10];
    let event = [b"demo.x".as_slice(), b"sender", b"broker-bin-v1", &payload];
    wait_for("it to be cut off", || {
        bus.publisher.send(&event);
        assert_eq!(bus.receive(), event);
        bus.publisher.try_receive()
    });
    bus.wait_count(CUT_OFF, &cut_off("backend", "heartbeat"), 1.0);
    bus.assert_well();
}

#[test]
fn engine_zmq_sends_pings_to_peers_of_zmtp_3_0_as_well() {
    // libzmq knows no better, as its own greeting says 3.0 up to version 4.3.2.
    let cluster = Cluster::on(Engine::Zmq, &[("manager", "manager")], SHORT);
    let broker = cluster.broker();
    for (endpoint, socket_type) in [("xpub", SocketType::Sub), ("xsub", SocketType::Pub)] {
        let mut old = ZmtpPeer::connect(&broker.endpoint(endpoint), socket_type, 0);
        old.answers_pings = false;
        let Some(Incoming::Command(body)) = old.receive() else { panic!("no PING") };
        assert!(body.starts_with(b"\x04PING"), "{body:?}");
    }
}

#[test]
fn who_subscribes_twice_gets_events_once_and_leaves_a_reference_behind() {
    for minor in VERSIONS {
        let mut bus = Bus::start("", "");
        let seen = |bus: &mut Bus| {
            let seen = bus.publisher.receive().unwrap();
            let (on, prefix) = seen.subscription().unwrap();
            (on, prefix.to_vec())
        };
        let event = [b"demo.x".as_slice(), b"sender", b"broker-bin-v1", b"payload"];

        // As rzmq and omq-tokio do when they are back after a restart of the broker.
        let mut twice = ZmtpPeer::connect(&bus.xpub(), SocketType::Sub, minor);
        for _ in 0..2 {
            twice.subscribe(true, b"demo.");
            assert_eq!(seen(&mut bus), (true, b"demo.".to_vec()));
        }
        bus.publisher.send(&event);
        bus.publisher.send(&EVENT);
        assert_eq!((bus.receive(), bus.receive()), (own(&event), own(&EVENT)));
        assert_eq!(twice.receive_message().unwrap(), event);

        // One cancellation ends what it gets, and the second what publishers know of it.
        twice.subscribe(false, b"demo.");
        twice.subscribe(true, b"mark");
        assert_eq!(seen(&mut bus), (true, b"mark".to_vec()));
        bus.publisher.send(&event);
        bus.publisher.send(&[b"mark".as_slice(), b"sender", b"broker-bin-v1", b""]);
        assert_eq!(bus.receive(), event);
        bus.receive();
        assert_eq!(twice.receive_message().unwrap()[0], b"mark");
        twice.subscribe(false, b"demo.");
        assert_eq!(seen(&mut bus), (false, b"demo.".to_vec()));

        // Without any, one reference stays when it goes.
        for _ in 0..2 {
            twice.subscribe(true, b"demo.");
            assert_eq!(seen(&mut bus), (true, b"demo.".to_vec()));
        }
        drop(twice);
        assert_eq!(seen(&mut bus), (false, b"mark".to_vec()));
        // The empty prefix of the bus's own subscriber, and the one that was left behind.
        bus.wait_count("zcluster_broker_subscriptions", "", 2.0);
        assert_eq!(bus.broker.metric(REFUSED), 0.0);
        bus.assert_well();
    }
}

#[test]
fn a_cancellation_of_what_was_never_subscribed_ends_here() {
    for minor in VERSIONS {
        let mut bus = Bus::start("", "");
        let mut other = ZmtpPeer::connect(&bus.xpub(), SocketType::Sub, minor);
        other.subscribe(true, b"never");
        assert_eq!(bus.publisher.receive().unwrap().subscription(), Some((true, &b"never"[..])));

        // As zmq.rs and omq-tokio do.
        let mut peer = ZmtpPeer::connect(&bus.xpub(), SocketType::Sub, minor);
        peer.subscribe(true, b"demo.");
        for _ in 0..100 {
            peer.subscribe(false, b"never");
        }
        peer.subscribe(true, b"mark");
        for expected in [b"demo.".as_slice(), b"mark"] {
            let seen = bus.publisher.receive().unwrap();
            assert_eq!(seen.subscription(), Some((true, expected)));
        }
        bus.wait_count(REFUSED, &refused("unsubscription"), 100.0);
        let warning = "cancels a prefix that it has not subscribed";
        bus.broker.wait_stderr(warning);
        assert_eq!(bus.broker.stderr().matches(warning).count(), 1);

        // Everybody else still has what it subscribed to, and so has the peer.
        let topics = ["never.x", "demo.x"];
        for topic in topics {
            bus.publisher.send(&[topic.as_bytes(), b"sender", b"broker-bin-v1", b"payload"]);
            assert_eq!(bus.receive()[0], topic.as_bytes());
        }
        assert_eq!(other.receive_message().unwrap()[0], b"never.x");
        assert_eq!(peer.receive_message().unwrap()[0], b"demo.x");
        assert!(peer.is_open());
        bus.assert_well();
    }
}

#[test]
fn peers_of_zmtp_2_are_refused_by_name() {
    let mut bus = Bus::start("", "");
    for is_frontend in [true, false] {
        let (endpoint, label) = bus.socket(is_frontend);
        // The greeting of ZMTP 2.0 as JeroMQ 0.3.6 sends it: PUB or SUB, and an empty identity.
        let socket_type = if is_frontend { 1 } else { 2 };
        let greeting = [0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 1, socket_type, 0, 0];
        let mut peer = ZmtpPeer::silent(&endpoint);
        peer.write(&greeting);
        peer.drain();
        bus.wait_count(CUT_OFF, &cut_off(label, "protocol"), 1.0);
    }
    bus.broker.wait_stderr("no ZMTP 3 greeting");
    bus.assert_well();
}

fn own(frames: &[&[u8]]) -> Vec<Vec<u8>> {
    frames.iter().map(|frame| frame.to_vec()).collect()
}
