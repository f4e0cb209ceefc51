//! The broker's own engine with peers that speak ZMTP badly, oddly or not at all (RFC 23, RFC 37):
//! peers that violate the protocol are cut off and counted, and others are not affected.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::time::{Duration, Instant};

use support::bus::{Bus, CUT_OFF, EVENT, Frames, RECEIVED, cut_off};
use support::peers::{Subscriber, SubscriberKind};
use support::wait_for;
use support::zmtp::{Incoming, ZmtpPeer, command, greeting, handshake, message, ping, ready};
use zcluster::wire::zmtp::SocketType;

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
            // The signature can have anything here, and the last bytes have no meaning.
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
fn peers_with_bad_handshakes_are_cut_off() {
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
        (after(&ready(&[("X", &vec![0; 100 << 10])])), "limit"),
        (after(&long_ready), "limit"),
        (after(b"\x08\x00"), "protocol"),
        (after(b"\x05\x00"), "protocol"),
    ];
    for is_frontend in [true, false] {
        let (endpoint, label) = bus.socket(is_frontend);
        for (number, (bytes, reason)) in peers.iter().enumerate() {
            let before = bus.count(CUT_OFF, &cut_off(label, reason));
            let all = bus.broker.metric(CUT_OFF);
            let mut peer = ZmtpPeer::silent(&endpoint);
            peer.write(bytes);
            peer.drain();
            wait_for(&format!("peer {number} of {label} to be counted"), || {
                (bus.broker.metric(CUT_OFF) > all).then_some(())
            });
            let now = bus.count(CUT_OFF, &cut_off(label, reason));
            assert_eq!(now, before + 1.0, "peer {number} of {label}: not {reason}");
        }
    }
    // Disconnecting in the middle is not a violation.
    let all = bus.broker.metric(CUT_OFF);
    let whole = handshake(SocketType::Pub, 1);
    for end in [0, 1, 10, 63, 64, 65, whole.len() - 1, whole.len()] {
        let mut peer = ZmtpPeer::silent(&bus.xsub());
        peer.write(&whole[..end]);
    }
    wait_for("all of them to be gone", || {
        (bus.broker.metric("zcluster_broker_peers") == 2.0).then_some(())
    });
    assert_eq!(bus.broker.metric(CUT_OFF), all);
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
    // A peer that sends single bytes gets no more time.
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
    // They are forwarded unchanged: receivers must accept them, as libzmq does.
    let mut libzmq = [SubscriberKind::Xsub, SubscriberKind::Sub].map(|kind| {
        let mut subscriber = Subscriber::connect(kind, &bus.broker.endpoint("xpub"));
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
    // Also in what is sent to the broker itself.
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
    // Commands before each frame.
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
    // A run of messages with commands between frames.
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
fn peers_that_break_the_protocol_later_are_cut_off() {
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
            let all = bus.broker.metric(CUT_OFF);
            let mut peer = ZmtpPeer::connect(&endpoint, ours, 1);
            peer.write(bytes);
            peer.wait_end();
            wait_for(&format!("peer {number} of {label} to be counted"), || {
                (bus.broker.metric(CUT_OFF) > all).then_some(())
            });
            let now = bus.count(CUT_OFF, &cut_off(label, reason));
            assert_eq!(now, before + 1.0, "peer {number} of {label}: not {reason}");
        }
        // Also in the middle of an event, whose start is not forwarded.
        let mut peer = ZmtpPeer::connect(&endpoint, ours, 1);
        peer.write(&[&message(&EVENT)[..9], b"\xff"].concat());
        peer.wait_end();
        // A peer that sends ERROR may be cut off or not.
        let mut peer = ZmtpPeer::connect(&endpoint, ours, 1);
        peer.write(&command(b"\x05ERROR\x03bye"));
    }
    bus.assert_well();
}

#[test]
fn half_a_message_is_never_forwarded() {
    let mut bus = Bus::start("", "");
    let large = EVENT.map(|frame| [frame, &vec![1; 100 << 10]].concat());
    for bytes in [message(&EVENT), message(&large)] {
        let step = bytes.len().div_ceil(25);
        for end in (0..bytes.len()).step_by(step).chain([bytes.len() - 1]) {
            let mut peer = ZmtpPeer::connect(&bus.xsub(), SocketType::Pub, 1);
            // A whole one first, to see that it is read.
            peer.send(&EVENT);
            peer.write(&bytes[..end]);
            assert_eq!(bus.receive(), EVENT);
            drop(peer);
        }
    }
    wait_for("all of them to be gone", || {
        (bus.broker.metric("zcluster_broker_peers") == 2.0).then_some(())
    });
    bus.assert_well();
}

#[test]
fn large_messages_pass_up_to_the_limit() {
    let mut bus = Bus::start("max_message_size = \"65MiB\"", "");
    let payload = vec![7; 64 << 20];
    let frames: Frames<'_> = [b"topic", b"sender", b"format", &payload];
    bus.publisher.send(&frames);
    assert!(bus.receive() == frames, "the payload is another");
    bus.assert_well();
    // Also for a slow reader, and between small messages.
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
    // Its memory is released.
    wait_for("the memory", || (bus.broker.memory() < 64 << 20).then_some(()));
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
        // A ZMTP 3.0 peer, which does not support PINGs and gets none.
        let mut old = ZmtpPeer::connect(&endpoint, ours, 0);
        // A peer that replies with something else.
        let mut talking = ZmtpPeer::connect(&endpoint, ours, 1);
        talking.answers_pings = false;
        // A peer that does not reply: it connected last and is the only one to be cut off.
        let mut silent = ZmtpPeer::connect(&endpoint, ours, 1);
        silent.answers_pings = false;
        let mut pings = 0;
        wait_for("the silent one to be cut off", || {
            // The peers of the bus reply properly.
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
        // The broker answers PINGs, too.
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
fn the_ttl_of_a_peers_pings_is_enforced() {
    let mut bus = Bus::start("heartbeat_interval = \"0s\"", "");
    for is_frontend in [true, false] {
        let (endpoint, label) = bus.socket(is_frontend);
        let ours = if is_frontend { SocketType::Pub } else { SocketType::Sub };
        // A later PING can disable the timeout.
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
