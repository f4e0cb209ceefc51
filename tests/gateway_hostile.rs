//! Clients that send what nobody should, more than anybody should, or do not read: the others lose
//! nothing, and the node does not grow.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use support::websocket::{Client, Gateway, NODES, data_message, frame, tcp_with_small_buffer};
use support::websocket_v2::{PATH, V2, publication};
use support::{
    Cluster, Process, command, wait_for, wait_members, wait_notification,
    wait_until_it_stands_still,
};
use zcluster::Event;
use zcluster::node::Notification;

const V1_PATH: &str = "/v1/messages/json";
const MIB: u64 = 1 << 20;

fn connect(gateway: &Gateway) -> V2 {
    V2::connect(&gateway.address(), &[]).unwrap()
}

fn descriptors(process: &Process) -> usize {
    fs::read_dir(format!("/proc/{}/fd", process.pid())).unwrap().count()
}

fn clients(gateway: &Gateway) -> f64 {
    gateway.manager.metric("zcluster_websocket_clients")
}

/// Five clients of both versions that send each other numbered events.
struct Healthy {
    first: Vec<Client>,
    second: Vec<V2>,
    rounds: u64,
}

impl Healthy {
    fn connect(gateway: &Gateway) -> Self {
        Healthy {
            first: (0..3).map(|_| gateway.subscriber(&["healthy."])).collect(),
            second: (0..2).map(|_| V2::subscriber(&gateway.address(), &["healthy."])).collect(),
            rounds: 0,
        }
    }

    /// Each publishes an event, and hears those of the four others and nothing else.
    fn round(&mut self) {
        let (round, others) = (self.rounds, 4);
        self.rounds += 1;
        for client in &mut self.first {
            client.publish("healthy.first", "Test::round", &[round]);
        }
        for client in &mut self.second {
            client.publish("healthy.second", "Test::round", json!([round]));
        }
        for client in &mut self.first {
            for _ in 0..others {
                assert_eq!(client.event().2, [round]);
            }
        }
        for client in &mut self.second {
            for _ in 0..others {
                assert_eq!(client.event_parts().2, json!([round]));
            }
        }
    }
}

/// A connection that has become a WebSocket, for bytes that no library would send.
fn upgraded(address: &str, path: &str) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    stream.set_write_timeout(Some(Duration::from_secs(1))).ok()?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        answer.push(byte[0]);
    }
    answer.starts_with(b"HTTP/1.1 101").then_some(stream)
}

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;

/// How many kinds of attacks there are.
const KINDS: usize = 18;

/// Attacks the gateway over one connection, in one of [`KINDS`] ways. What the gateway does about it
/// is its affair.
fn attack(kind: usize, address: &str) -> Option<()> {
    let path = if kind.is_multiple_of(2) { V1_PATH } else { PATH };
    let subscribed = |path| {
        let mut stream = upgraded(address, path)?;
        let text: &[u8] = if path == PATH {
            br#"{"type":"subscribe","id":1,"topics":["hostile."]}"#
        } else {
            br#"["hostile."]"#
        };
        stream.write_all(&frame(TEXT, text)).ok()?;
        Some(stream)
    };
    let send_all = |path, payloads: &[Vec<u8>]| {
        let mut stream = subscribed(path)?;
        for payload in payloads {
            stream.write_all(&frame(TEXT, payload)).ok()?;
        }
        Some(stream)
    };
    let event = data_message("hostile.a", "Test::hostile", &[1, 2, 3]);
    let publication = publication("hostile.a", "Test::hostile", json!([[1, [2]], "x"])).to_string();
    let mut stream = match kind {
        // Every prefix of good messages.
        0 => send_all(path, &(0..event.len()).map(|end| event[..end].into()).collect::<Vec<_>>()),
        1 => send_all(
            path,
            &(0..publication.len()).map(|end| publication[..end].into()).collect::<Vec<_>>(),
        ),
        // Deeper than anything is allowed to be.
        2 | 3 => {
            let brackets = |open: &str| open.repeat(100_000).into_bytes();
            let inside = |value: &str| event.replace("\"data\":1}", &format!("\"data\":{value}}}"));
            send_all(
                path,
                &[
                    brackets("["),
                    brackets("{\"a\":"),
                    brackets("[{\"set\":"),
                    inside(&"[".repeat(100_000)).into_bytes(),
                    publication.replace("[1,", &"[".repeat(100_000)).into_bytes(),
                ],
            )
        }
        // Long strings, numbers and names; many small values.
        4 | 5 => {
            let long = "x".repeat(MIB as usize);
            let zeros = "0,".repeat(MIB as usize / 2);
            send_all(
                path,
                &[
                    event.replace("Test::hostile", &long).into_bytes(),
                    event.replace("hostile.a", &long).into_bytes(),
                    publication.replace("\"x\"", &format!("\"{long}\"")).into_bytes(),
                    publication.replace("hostile.a", &long).into_bytes(),
                    publication.replace("\"x\"", &format!("[{zeros}0]")).into_bytes(),
                    publication.replace("\"x\"", &long.replace('x', "9")).into_bytes(),
                    format!("{{\"{long}\":1}}").into_bytes(),
                    format!("[{zeros}0]").into_bytes(),
                ],
            )
        }
        // No UTF-8, and text as binary.
        6 | 7 => {
            let mut stream = subscribed(path)?;
            stream.write_all(&frame(BINARY, b"\xff\xfe")).ok()?;
            stream.write_all(&frame(BINARY, event.as_bytes())).ok()?;
            stream.write_all(&frame(TEXT, b"\"\xff\xfe\"")).ok()?;
            Some(stream)
        }
        // Half a frame, of a message that is never complete.
        8 | 9 => {
            let mut stream = subscribed(path)?;
            let whole = frame(TEXT, &vec![b'x'; MIB as usize]);
            stream.write_all(&whole[..whole.len() / 2]).ok()?;
            Some(stream)
        }
        // A handshake that never ends, and one that is none.
        10 => {
            let mut stream = TcpStream::connect(address).ok()?;
            stream.set_read_timeout(Some(Duration::from_millis(20))).ok()?;
            let mut byte = [0];
            for sent in format!("GET {path} HTTP/1.1\r\nHost: {}\r\n", "x".repeat(1000)).bytes() {
                stream.write_all(&[sent]).ok()?;
                if !matches!(stream.read(&mut byte), Err(e) if e.kind() == std::io::ErrorKind::WouldBlock)
                {
                    return None;
                }
            }
            Some(stream)
        }
        11 => {
            let mut stream = TcpStream::connect(address).ok()?;
            stream.write_all(&[0x16, 3, 1, 2, 0, 1]).ok()?;
            stream.write_all(&"A: b\r\n".repeat(20_000).into_bytes()).ok()?;
            Some(stream)
        }
        // Opcodes and bits that mean nothing, control frames that are too long, wrong masks.
        12 | 13 => {
            for byte in [0x83, 0x87, 0x8b, 0x8f, 0xc1, 0xb1, 0x80, 0x09, 0x08] {
                subscribed(path)?.write_all(&frame(byte, b"12345")).ok()?;
            }
            subscribed(path)?.write_all(&frame(0x89, &[b'x'; 126])).ok()?;
            subscribed(path)?.write_all(&frame(0x88, b"\x03")).ok()?;
            let mut stream = subscribed(path)?;
            // The length claims more than anybody has.
            stream.write_all(b"\x81\x7f\x7f\xff\xff\xff\xff\xff\xff\xff12345").ok()?;
            let mut masked = vec![TEXT, 0x8a, 1, 2, 3, 4];
            masked.extend(b"unmasked!!");
            let mut stream = subscribed(path)?;
            stream.write_all(&masked).ok()?;
            Some(stream)
        }
        // Thousands of tiny messages, pings and fragments; the answers are not read.
        14 | 15 => {
            let mut stream = subscribed(path)?;
            for _ in 0..100 {
                stream.write_all(&frame(TEXT, b"{}").repeat(200)).ok()?;
                stream.write_all(&frame(0x89, b"ping").repeat(50)).ok()?;
            }
            Some(stream)
        }
        16 => {
            let mut stream = subscribed(path)?;
            stream.write_all(&frame(0x01, b"[")).ok()?;
            stream.write_all(&frame(0x00, b"").repeat(20_000)).ok()?;
            stream.write_all(&frame(0x00, b"[").repeat(20_000)).ok()?;
            stream.write_all(&frame(TEXT, b"a message within a message")).ok()?;
            Some(stream)
        }
        // Subscriptions that come and go, sessions that are guessed.
        _ => {
            let mut stream = upgraded(address, PATH)?;
            for number in 0..500 {
                let messages = [
                    json!({ "type": "resume", "session": "", "after": number }),
                    json!({ "type": "subscribe", "topics": [format!("hostile.{number}")] }),
                    json!({ "type": "unsubscribe", "topics": [format!("hostile.{}", number / 2)] }),
                    json!({ "type": "notices", "kinds": ["nodes", "bus", "stats"] }),
                ];
                for message in messages {
                    stream.write_all(&frame(TEXT, message.to_string().as_bytes())).ok()?;
                }
            }
            Some(stream)
        }
    }?;
    // Some wait for what comes of it, others just go.
    if kind.is_multiple_of(3) {
        let mut buffer = vec![0; 1 << 16];
        while matches!(stream.read(&mut buffer), Ok(count) if count > 0) {}
    }
    Some(())
}

#[test]
fn hostile_clients_disturb_nobody() {
    const ATTACKERS: usize = 200;
    let gateway = Gateway::start(
        "max_message_size = \"1100 KiB\"\nclient_queue_bytes = \"1 MiB\"\nping_interval = \"20s\"\n\
         handshake_timeout = \"2s\"\nresume_timeout = \"1s\"",
    );
    let mut healthy = Healthy::connect(&gateway);
    healthy.round();
    let before = descriptors(&gateway.manager);
    let address = gateway.address();
    let (start, done) = (Barrier::new(ATTACKERS + 1), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for attacker in 0..ATTACKERS {
            let (address, start, done) = (&address, &start, &done);
            scope.spawn(move || {
                // It holds its first connection while all others connect.
                let first =
                    upgraded(address, if attacker.is_multiple_of(2) { V1_PATH } else { PATH });
                start.wait();
                drop(first);
                for step in 0..KINDS / 3 {
                    attack((attacker + 3 * step) % KINDS, address);
                }
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
        start.wait();
        while done.load(Ordering::Relaxed) < ATTACKERS as u64 {
            healthy.round();
        }
    });
    for _ in 0..10 {
        healthy.round();
    }
    assert!(healthy.rounds > 20, "only {} rounds", healthy.rounds);
    // A few messages of the largest size for each: one that arrives, one or two that wait to be
    // handled, one that is written, and a queue.
    let peak = gateway.manager.peak_memory();
    assert!(peak < ATTACKERS as u64 * 5 * MIB, "{} MiB", peak / MIB);
    wait_for("the end of all attackers", || (clients(&gateway) == 5.0).then_some(()));
    wait_for("their descriptors", || (descriptors(&gateway.manager) == before).then_some(()));
    let (is_well, problems) = gateway.manager.health();
    assert!(is_well, "{problems}");
    assert!(!gateway.manager.stderr().contains("panicked"));
    println!("{} rounds, {} MiB", healthy.rounds, peak / MIB);
}

#[test]
fn large_messages_of_one_client_are_handled_between_those_of_others() {
    const MESSAGES: usize = 150;
    let gateway = Gateway::start("max_message_size = \"1 MiB\"\nping_interval = \"0s\"");
    let mut healthy = Healthy::connect(&gateway);
    let headers = [("x-application-name", "greedy")];
    let client = V2::connect(&gateway.address(), &headers).unwrap();
    let mut stream = client.client.socket.get_ref().try_clone().unwrap();
    // Wrong at its end only.
    let zeros = "0,".repeat(200_000);
    let message = format!(r#"{{"type":"publish","topic":"a","event":"b","args":[{zeros}{{}}]}}"#);
    let message = frame(TEXT, message.as_bytes());
    std::thread::scope(|scope| {
        scope.spawn(|| (0..MESSAGES).for_each(|_| stream.write_all(&message).unwrap()));
        let errors = || {
            let name = "zcluster_websocket_errors_total";
            gateway.manager.metric_with(name, "app=\"greedy\"") as usize
        };
        wait_for("the first of them", || (errors() > 0).then_some(()));
        let before = healthy.rounds;
        while errors() < MESSAGES {
            healthy.round();
        }
        let rounds = healthy.rounds - before;
        println!("{rounds} rounds");
        assert!(rounds > 5, "{rounds} rounds of the others while {MESSAGES} messages were handled");
    });
}

#[test]
fn what_the_gateway_itself_misses_is_told() {
    let options = "max_message_size = \"1 MiB\"\nping_interval = \"0s\"\nreplay_events = 1000";
    let gateway = Gateway::with(NODES, options, "onloop_queue_hwm = 10");
    let (node, notifications) = gateway.cluster.library_node("worker-1");
    wait_members(&node, &["manager"]);
    let mut listener = V2::subscriber(&gateway.address(), &["test."]);
    let lost = V2::subscriber(&gateway.address(), &["test."]);
    wait_notification(&notifications, "the subscription", |notification| {
        matches!(notification, Notification::Subscription(p) if p == "test.").then_some(())
    });
    let (session, after) = (lost.session(), lost.seq());
    let mut last = after;
    let (mut missing, mut received) = (0, 0);
    lost.client.vanish();
    let mut next = |listener: &mut V2| {
        let message = listener.receive();
        let number = |key: &str| message[key].as_u64().unwrap();
        if message["type"] == "lagged" {
            assert_eq!((number("from"), &message["dropped"]), (last + 1, &Json::Null));
            missing += number("to") - last;
            last = number("to");
            return None;
        }
        assert_eq!((&message["type"], number("seq")), (&json!("event"), last + 1));
        received += 1;
        last = number("seq");
        Some(message["args"][0].as_u64().unwrap())
    };
    let event = |number: u64| Event::new("Test::number", vec![number.into()]);

    // While it reads large messages, others wait for it.
    let busy = V2::connect(&gateway.address(), &[]).unwrap();
    let mut stream = busy.client.socket.get_ref().try_clone().unwrap();
    let zeros = "0,".repeat(400_000);
    let message = format!(r#"{{"type":"publish","topic":"a","event":"b","args":[{zeros}{{}}]}}"#);
    let message = frame(TEXT, message.as_bytes());
    let dropped = || gateway.manager.metric("zeek_cluster_zeromq_onloop_drops_total") as u64;
    let (is_enough, large) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_enough.load(Ordering::Relaxed) {
                stream.write_all(&message).unwrap();
                large.fetch_add(1, Ordering::Relaxed);
            }
        });
        let mut sent = 0;
        wait_for("losses", || {
            for _ in 0..100 {
                node.publish("test.a", &event(sent)).unwrap();
                sent += 1;
            }
            (dropped() > 0).then_some(())
        });
        is_enough.store(true, Ordering::Relaxed);
    });
    let errors = || gateway.manager.metric("zcluster_websocket_errors_total") as u64;
    wait_for("the large messages", || (errors() == large.load(Ordering::Relaxed)).then_some(()));
    let end = 1 << 40;
    node.publish("test.end", &event(end)).unwrap();
    while next(&mut listener) != Some(end) {}
    assert_eq!(missing, dropped());
    assert!(missing > 0 && received > 0, "{missing} missing, {received} received");
    // Whoever comes back later is told, too.
    let mut back = connect(&gateway);
    assert_eq!(back.resume(&session, after)["complete"], false);
    assert_eq!(back.receive()["type"], "lagged");
}

/// The arguments of the event `Cluster::websocket_client_lost` on the host, for a client with that
/// name.
fn lost(gateway: &mut Gateway, name: &str) -> Json {
    gateway.manager.wait_line("the lost client", |line| {
        let is_it = line["event"] == "Cluster::websocket_client_lost" && line["args"][0][2] == name;
        is_it.then(|| line["args"].clone())
    })
}

/// An event with a number and a text of that many bytes, for version 1.
fn long_event(number: u64, bytes: usize) -> String {
    data_message("test.numbers", &format!("Test::{}", "x".repeat(bytes)), &[number])
}

/// A client of version 1 with a name, subscribed to `test.`, that has little room for what it does
/// not read.
fn narrow(gateway: &Gateway, name: &str) -> Client {
    let stream = tcp_with_small_buffer(&gateway.address());
    let headers = [("x-application-name", name)];
    let mut client = Client::over(stream, "gateway", V1_PATH, &headers).unwrap();
    client.subscribe(&["test."]);
    client
}

/// Publishes numbered events of 4 KB until `enough`, one at a time to a client that reads.
/// Returns how many there were.
fn publish_until(gateway: &Gateway, mut enough: impl FnMut() -> bool) -> u64 {
    let mut publisher = gateway.subscriber(&[]);
    let mut reader = gateway.subscriber(&["test."]);
    let mut sent = 0;
    wait_for("enough events", || {
        for _ in 0..50 {
            publisher.send(long_event(sent, 4000));
            sent += 1;
        }
        for number in sent - 50..sent {
            assert_eq!(reader.event().2, [number], "the one that reads lost something");
        }
        enough().then_some(sent)
    })
}

#[test]
fn a_client_that_stops_reading_is_cut_off_alone() {
    let mut gateway = Gateway::start("ping_interval = \"0s\"\nclient_queue_messages = 100");
    let mut slow = narrow(&gateway, "slow");
    let app = "app=\"slow\"";
    let metric = |gateway: &Gateway, name: &str| gateway.manager.metric_with(name, app);
    publish_until(&gateway, || metric(&gateway, "zcluster_websocket_too_slow_total") == 1.0);
    let args = lost(&mut gateway, "slow");
    assert_eq!((&args[1], &args[2]), (&json!(1008), &json!("Client reads too slowly")));
    assert_eq!(metric(&gateway, "zcluster_websocket_events_dropped_total"), 0.0);
    wait_for("its end", || (metric(&gateway, "zcluster_websocket_clients") == 0.0).then_some(()));
    // What it reads now has no gap before the end.
    let mut next = 0;
    let closed = loop {
        match slow.next() {
            Ok(text) => {
                let event: Json = serde_json::from_str(&text).unwrap();
                assert_eq!(event["data"][2]["data"][1]["data"][0]["data"], next);
                next += 1;
            }
            Err(closed) => break closed,
        }
    };
    // The reason comes through only if it reads again soon enough.
    assert!([1008, 1006].contains(&closed.0), "{closed:?}");
    assert!(next > 0);
}

#[test]
fn the_oldest_events_are_dropped_if_that_is_wanted() {
    let gateway = Gateway::start(
        "ping_interval = \"0s\"\nclient_queue_messages = 100\nwhen_full = \"drop-oldest\"",
    );
    let mut slow = narrow(&gateway, "slow");
    let dropped = "zcluster_websocket_events_dropped_total";
    let dropped = || gateway.manager.metric_with(dropped, "app=\"slow\"") as u64;
    let sent = publish_until(&gateway, || dropped() > 500);
    let dropped = dropped();
    let (mut received, mut last) = (0, None);
    while last != Some(sent - 1) {
        let number = slow.event().2[0];
        assert!(last < Some(number), "{number} after {last:?}");
        received += 1;
        last = Some(number);
    }
    assert_eq!(received + dropped, sent);
    assert_eq!(gateway.manager.metric("zcluster_websocket_too_slow_total"), 0.0);
    slow.publish("nobody", "Test::still_there", &[]);
}

#[test]
fn a_client_that_asks_much_and_reads_nothing_is_cut_off() {
    let mut gateway = Gateway::start("ping_interval = \"0s\"\nclient_queue_messages = 100");
    let stream = tcp_with_small_buffer(&gateway.address());
    let headers = [("x-application-name", "deaf")];
    let mut client = V2::welcomed(Client::over(stream, "gateway", PATH, &headers).unwrap());
    let mut stream = client.client.socket.get_ref().try_clone().unwrap();
    let wrong = frame(TEXT, br#"{"type":"subscribe","topics":7}"#).repeat(1000);
    let too_slow = "zcluster_websocket_too_slow_total";
    wait_for("the end", || {
        let _ = stream.write_all(&wrong);
        (gateway.manager.metric_with(too_slow, "app=\"deaf\"") == 1.0).then_some(())
    });
    assert_eq!(lost(&mut gateway, "deaf")[1], 1008);
    while client.next().is_ok() {}
}

#[test]
fn a_client_that_sends_too_fast_is_read_more_slowly() {
    const RATE: u64 = 400;
    const EVENTS: u64 = 2_000;
    let options = format!("max_rate = {RATE}\nping_interval = \"1s\"");
    let gateway = Gateway::start(&options);
    let mut listener = V2::subscriber(&gateway.address(), &["test.", "other."]);
    let mut fast = gateway.subscriber(&[]);
    let mut other = gateway.subscriber(&[]);
    let started = Instant::now();
    for number in 0..EVENTS {
        fast.publish("test.a", "Test::fast", &[number]);
    }
    other.publish("other.a", "Test::other", &[]);
    let (mut next, mut before_other) = (0, None);
    while next < EVENTS {
        // It reads, so that it answers pings.
        if next % 100 == 0 {
            fast.is_silent_for(Duration::from_millis(1));
        }
        let (topic, _, args) = listener.event_parts();
        if topic == "other.a" {
            before_other = Some(next);
        } else {
            assert_eq!(args, json!([next]));
            next += 1;
        }
    }
    // A second's worth comes at once.
    let least = Duration::from_secs((EVENTS - RATE) / RATE - 1);
    assert!(started.elapsed() >= least, "{:?}", started.elapsed());
    assert!(before_other.is_some_and(|count| count < EVENTS), "the other one waited, too");
    fast.publish("test.a", "Test::fast", &[EVENTS]);
    assert_eq!(listener.event_parts().2, json!([EVENTS]), "it is still there");
}

/// Kills the broker, and returns when the gateway knows.
fn lose_broker(gateway: &mut Gateway) {
    let mut watcher = V2::subscriber(&gateway.address(), &["nothing."]);
    watcher.succeed(json!({ "type": "notices", "kinds": ["bus"] }));
    assert_eq!(watcher.receive()["connected"], true);
    gateway.broker.kill();
    assert_eq!(watcher.receive()["connected"], false);
}

#[test]
fn a_flood_without_a_broker_is_held_back_and_nothing_is_lost() {
    const EVENTS: u64 = 20_000;
    let mut gateway = Gateway::start("ping_interval = \"0s\"");
    let mut listeners =
        [V2::subscriber(&gateway.address(), &["test."]), V2::subscriber(&gateway.address(), &[""])];
    let mut flood = gateway.subscriber(&[]);
    let mut other = gateway.subscriber(&[]);
    lose_broker(&mut gateway);
    let before = gateway.manager.memory();
    let sent = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..EVENTS {
                flood.send(long_event(number, 1000));
                sent.store(number + 1, Ordering::Relaxed);
            }
        });
        wait_until_it_stands_still(|| sent.load(Ordering::Relaxed));
        let held_back = sent.load(Ordering::Relaxed);
        assert!(held_back < EVENTS, "it was never held back");
        let grown = gateway.manager.memory().saturating_sub(before);
        assert!(grown < 64 * MIB, "{} MiB", grown / MIB);
        // So is another client, and both are served in turn later.
        other.publish("test.other", "Test::other", &[]);
        gateway.broker = gateway.cluster.broker();
        // They read at the same time.
        let mut counts = [(0, 0); 2];
        while counts.iter().any(|(next, others)| *next < EVENTS || *others < 1) {
            for (listener, (next, others)) in listeners.iter_mut().zip(&mut counts) {
                if *next == EVENTS && *others == 1 {
                    continue;
                }
                match listener.event_parts() {
                    (topic, _, args) if topic == "test.numbers" => {
                        assert_eq!(args, json!([*next]));
                        *next += 1;
                    }
                    (topic, ..) => *others += u64::from(topic == "test.other"),
                }
            }
        }
    });
    assert_eq!(gateway.manager.metric("zcluster_websocket_events_dropped_total"), 0.0);
    assert!(gateway.manager.metric("zeek_cluster_onloop_queue_blocks_total") > 0.0);
}

#[test]
fn requests_that_wait_for_the_broker_are_bounded() {
    const REQUESTS: u64 = 200_000;
    let mut gateway = Gateway::start("ping_interval = \"0s\"");
    let mut client = connect(&gateway);
    lose_broker(&mut gateway);
    let mut stream = client.client.socket.get_ref().try_clone().unwrap();
    let (sent, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let id = "i".repeat(50);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..REQUESTS {
                let message = json!({
                    "type": "subscribe", "id": format!("{id}{number}"),
                    "topics": [format!("test.{}", number % 100)],
                });
                if stream.write_all(&frame(TEXT, message.to_string().as_bytes())).is_err() {
                    break;
                }
                sent.store(number + 1, Ordering::Relaxed);
            }
            stop.store(true, Ordering::Relaxed);
        });
        wait_until_it_stands_still(|| sent.load(Ordering::Relaxed));
        assert!(sent.load(Ordering::Relaxed) < REQUESTS, "all of them wait in the gateway");
        gateway.broker = gateway.cluster.broker();
        for number in 0..REQUESTS {
            assert_eq!(client.receive(), json!({ "type": "ok", "id": format!("{id}{number}") }));
        }
    });
    assert!(stop.load(Ordering::Relaxed));
    let mut other = connect(&gateway);
    other.publish("test.7", "Test::heard", json!([]));
    assert_eq!(client.event_parts().1, "Test::heard");
}

#[test]
fn who_is_held_back_is_not_taken_for_dead() {
    const EVENTS: u64 = 200;
    let mut gateway = Gateway::start("ping_interval = \"1s\"");
    let mut listener = gateway.subscriber(&["test."]);
    // One waits for its ack, the other for room for its events. Both answer pings.
    lose_broker(&mut gateway);
    let mut waiting: Vec<Client> = vec![gateway.client(), gateway.client()];
    let mut held_back = connect(&gateway);
    waiting[0].send("[]");
    waiting[1].send("[\"nobody\"]");
    for number in 0..EVENTS {
        for client in &mut waiting {
            client.publish("test.a", "Test::late", &[number]);
        }
    }
    held_back.fail(publication("test.a", "Test::never", json!([])));
    // So much later, others would be.
    let mut mute: Vec<Client> = (0..3).map(|_| gateway.client()).collect();
    for client in &mut mute {
        let stream = client.socket.get_mut();
        let mut bytes = vec![0; 4096];
        loop {
            for client in &mut waiting {
                assert!(client.is_silent_for(Duration::from_millis(5)), "it was cut off");
            }
            assert!(listener.is_silent_for(Duration::from_millis(5)));
            stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            match stream.read(&mut bytes) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
    gateway.broker = gateway.cluster.broker();
    for client in &mut waiting {
        assert_eq!(client.receive()["type"], "ack");
    }
    let mut seen = [0; EVENTS as usize];
    for _ in 0..2 * EVENTS {
        seen[listener.event().2[0] as usize] += 1;
    }
    assert!(seen.iter().all(|count| *count == 2), "{seen:?}");
}

#[test]
fn subscriptions_of_clients_are_no_nodes() {
    let mut gateway = Gateway::start("");
    let (node, notifications) = gateway.cluster.library_node("worker-1");
    wait_members(&node, &["manager"]);
    gateway.manager.wait_all_up(&["worker-1"]);
    // The topic by which others know that this node lives, and that of a node which does not.
    let own = format!("zeek.cluster.nodeid.{}.", node.id());
    let other = "zeek.cluster.nodeid.zeromq_worker-2_host_1_N0123.";
    let probe = "zeek.zeromq.internal.zeromq_worker-2_host_1_N0123.";
    let mut second = V2::subscriber(&gateway.address(), &[&own, other, probe]);
    let mut first = gateway.subscriber(&[&own, other]);
    second.subscribe(&["last."]);
    wait_notification(&notifications, "the last subscription", |notification| {
        if let Notification::Subscription(prefix) = &notification {
            assert!(prefix != other && prefix != probe, "{prefix}");
        }
        matches!(notification, Notification::Subscription(p) if p == "last.").then_some(())
    });
    // They hear what they asked for, and nothing else.
    for topic in ["zeek.cluster.nodeid.x", other, "last."] {
        node.publish(topic, &Event::new("Test::heard", vec![])).unwrap();
    }
    assert_eq!(second.event_parts().0, other);
    assert_eq!(second.event_parts().0, "last.");
    assert_eq!(first.event().0, other);
    // The death of the node is noticed, although somebody has subscribed to its topic.
    drop((node, notifications));
    gateway.manager.wait_member("node_down", "worker-1");
}

#[test]
fn a_host_whose_output_nobody_reads_serves_on() {
    let cluster = Cluster::new(NODES, "[nodes.manager.websocket]\nlisten_port = 0\n");
    let _broker = cluster.broker();
    let mut command = command("zcluster-node");
    command.args(["--layout", cluster.layout_arg(), "--node", "manager", "--no-stdin"]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = Killed(child.unwrap());
    let mut output = child.0.stdout.take().unwrap();
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        let mut byte = [0];
        output.read_exact(&mut byte).unwrap();
        line.push(byte[0]);
    }
    let ready: Json = serde_json::from_slice(&line).unwrap();
    let address = ready["ready"]["http"].as_str().unwrap();
    // From here on, nobody reads what it says about each of these.
    let mut listener = V2::subscriber(address, &["test."]);
    for number in 0..600 {
        let name = format!("client-{}", "x".repeat(100));
        let headers = [("x-application-name", name.as_str())];
        let mut client = V2::connect(address, &headers).unwrap();
        client.publish("test.a", "Test::number", json!([number]));
        assert_eq!(listener.event_parts().2, json!([number]));
        client.client.close();
    }
}

struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
