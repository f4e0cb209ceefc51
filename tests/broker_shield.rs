//! Messages that the broker's own engine does not forward, because the cluster protocol does not
//! define them (WIRE.md §1.2): they are counted by peer and reason, and nothing else is affected.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use support::bus::{Bus, Frames, RECEIVED, REFUSED, refused};
use support::load::node_id;
use support::peers::{Publisher, PublisherKind, Subscriber, SubscriberKind};
use support::zmtp::ZmtpPeer;
use zcluster::wire::zmtp::SocketType;
use zcluster::wire::{EventFormat, MAX_DEPTH};
use zcluster::{Event, Value};

#[test]
fn events_have_four_frames() {
    let mut bus = Bus::start("", "");
    let id = node_id("worker-1");
    let mut bad = 0.0;
    for kind in [PublisherKind::Xpub, PublisherKind::Zmtp31] {
        let mut peer = Publisher::connect(kind, &bus.broker.endpoint("xsub"));
        assert_eq!(peer.see(), (true, vec![]));
        // From this the broker learns the peer's name.
        let good: Frames<'_> = [b"topic", id.as_bytes(), b"format", b"payload"];
        peer.send(&good);
        assert_eq!(bus.receive(), good);
        let frames: &[&[&[u8]]] = &[
            &[b"topic"],
            &[b"topic", b"sender"],
            &[b"topic", b"sender", b"format"],
            &[b"topic", b"sender", b"format", b"payload", b"more"],
            &[b"topic".as_slice(); 100],
            // Looks like a subscription.
            &[b"\x01topic"],
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
    // The content of frames is arbitrary.
    bus.publisher.send(&[b"\xff"; 4]);
    assert_eq!(bus.receive(), [b"\xff"; 4]);
    bus.assert_well();
    bus.wait_count(RECEIVED, "", 6.0);
    assert_eq!(bus.broker.metric(REFUSED), bad);
}

#[test]
fn subscribers_have_nothing_else_to_say() {
    let mut bus = Bus::start("", "");
    let mut bad = 0.0;
    let large = vec![b'x'; 1 << 20];
    for kind in [SubscriberKind::Xsub, SubscriberKind::Zmtp30, SubscriberKind::Zmtp31] {
        let mut peer = Subscriber::connect(kind, &bus.broker.endpoint("xpub"));
        let messages: &[&[&[u8]]] = &[
            &[b"\x02user"],
            &[b"\xff"],
            &[&large],
            &[b"\x02user", b"message"],
            &[b"x".as_slice(); 100],
            // More frames than a subscription has.
            &[b"\x01topic", b"more"],
            &[b"\0topic", b"more"],
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
    assert_eq!(bus.broker.metric(REFUSED), bad);
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
    for prefix in &prefixes {
        peer.subscribe(true, prefix);
    }
    for prefix in &prefixes[..99] {
        see((true, prefix));
    }
    // One can be replaced by another.
    peer.subscribe(false, &prefixes[0]);
    see((false, &prefixes[0]));
    peer.subscribe(true, &prefixes[149]);
    see((true, &prefixes[149]));
    bus.wait_count(REFUSED, &refused("subscription_limit"), 4.0 + 51.0);
    // The limit is per peer.
    let mut other = ZmtpPeer::connect(&bus.xpub(), SocketType::Sub, 1);
    other.subscribe(true, b"other");
    assert_eq!(bus.publisher.receive().unwrap().subscription(), Some((true, &b"other"[..])));
    // Refused subscriptions are not active.
    bus.publisher.send(&[b"many.120".as_slice(), b"s", b"f", b"p"]);
    bus.publisher.send(&[b"many.149".as_slice(), b"s", b"f", b"p"]);
    assert_eq!(peer.receive_message().unwrap()[0], b"many.149");
    assert_eq!(bus.receive()[0], b"many.120");
    assert_eq!(bus.receive()[0], b"many.149");
    bus.assert_well();
}

#[test]
fn peers_cannot_cancel_subscriptions_of_others() {
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

/// An event whose only argument is `depth` nested vectors (WIRE.md §2). The event itself takes
/// three more levels.
fn nested(depth: usize) -> Vec<u8> {
    let event = Event::new("Test::nested", vec![Value::Vector(vec![])]);
    let mut payload = Vec::new();
    EventFormat::BrokerBinV1.encode(&event, &mut payload);
    // It ends with the empty vector: type, number of elements.
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
            nested(MAX_DEPTH - 3),
            b"\x0e\xff\xff\xff\xff\x0f".to_vec(),
            b"\x05\xff\xff\xff\xff\x0f".to_vec(),
        ];
        bad.extend((0..good.len()).map(|length| good[..length].to_vec()));
        let fine = [good.clone(), nested(MAX_DEPTH - 4)];
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
