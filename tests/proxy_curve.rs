//! The broker under CURVE: what flows, who comes in, what each node may say, and keys that change
//! while it runs.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use support::bus::{CUT_OFF, REFUSED, cut_off, refused};
use support::keys::{PER_NODE, SharedKeys, make_keys};
use support::load::{node_id, nodeid_topic};
use support::{Cluster, Engine, NodeSpec, Process, Signal, http_get, wait_for};
use zcluster::access::key_file::{public_path, read_secret_keys, secret_path, write_public_keys};
use zcluster::layout::CurveKeys;
use zcluster::transport::{
    ConnectionEventKind, Context, CurveOptions, Monitor, Socket, SocketKind, SocketOptions,
};
use zcluster::wire::EventFormat;
use zcluster::wire::zmtp::{KeyPair, PublicKey};
use zcluster::{Event, Value};

const NODES: &[NodeSpec<'static>] =
    &[("manager", "manager"), ("worker-1", "worker"), ("worker-2", "worker")];

const FAILED: &str = "zcluster_proxy_handshakes_failed_total";
const EVENTS: &str = "zcluster_proxy_events_received_total";

fn keys() -> Arc<KeyPair> {
    Arc::new(KeyPair::generate())
}

fn client(keys: &Arc<KeyPair>, server: &PublicKey) -> Option<CurveOptions> {
    Some(CurveOptions::Client { keys: Arc::clone(keys), server: *server })
}

/// A socket of libzmq, and what happens to its connection.
struct Peer {
    monitor: Monitor,
    socket: Socket,
    _context: Context,
}

impl Peer {
    fn connect(
        kind: SocketKind,
        endpoint: &str,
        curve: Option<CurveOptions>,
        receive_hwm: Option<i32>,
    ) -> Self {
        let context = Context::new(1).unwrap();
        let options = SocketOptions {
            curve,
            receive_hwm,
            send_hwm: (kind == SocketKind::Xsub).then_some(0),
            xpub_verbose: kind == SocketKind::Xpub,
            xpub_nodrop: kind == SocketKind::Xpub,
            ..SocketOptions::default()
        };
        let socket = Socket::new(&context, kind, &options).unwrap();
        let monitor = Monitor::new(&context, &socket).unwrap();
        socket.connect(endpoint).unwrap();
        Peer { monitor, socket, _context: context }
    }

    fn publisher(proxy: &Process, curve: Option<CurveOptions>) -> Self {
        Self::connect(SocketKind::Xpub, &proxy.endpoint("xsub"), curve, None)
    }

    fn subscriber(proxy: &Process, curve: Option<CurveOptions>) -> Self {
        Self::connect(SocketKind::Xsub, &proxy.endpoint("xpub"), curve, None)
    }

    fn send<F: AsRef<[u8]>>(&self, frames: &[F]) {
        wait_for("room to send", || self.socket.try_send(frames).unwrap().then_some(()));
    }

    fn subscribe(&self, prefix: &[u8]) {
        self.send(&[[b"\x01", prefix].concat()]);
    }

    fn try_receive(&self) -> Option<Vec<Vec<u8>>> {
        let message = self.socket.try_receive().unwrap()?;
        Some(message.frames.iter().map(|frame| frame.to_vec()).collect())
    }

    fn receive(&self) -> Vec<Vec<u8>> {
        wait_for("a message", || self.try_receive())
    }

    /// Waits until a publisher hears of this: `\x01` or `\0`, and the prefix.
    fn wait_subscription(&self, on: bool, prefix: &[u8]) {
        let expected = [&[u8::from(on)], prefix].concat();
        while self.receive() != [expected.clone()] {}
    }

    /// The value of the next such event of its connection.
    fn wait_event(&self, kind: ConnectionEventKind) -> u32 {
        wait_for("an event of the connection", || {
            self.monitor.try_next().unwrap().filter(|event| event.kind == kind)
        })
        .value
    }

    /// Whether its connection has ended since this was last asked.
    fn was_cut_off(&self) -> bool {
        std::iter::from_fn(|| self.monitor.try_next().unwrap())
            .any(|event| event.kind == ConnectionEventKind::Disconnected)
    }
}

/// A broker with keys that all nodes share, a publisher, and a subscriber of everything below
/// `test.`.
struct Shared {
    publisher: Peer,
    subscriber: Peer,
    keys: SharedKeys,
    number: u64,
    proxy: Process,
    _cluster: Cluster,
}

impl Shared {
    /// `proxy`: lines of `[proxy]`.
    fn start(engine: Engine, zeromq: &str, proxy: &str) -> Self {
        let keys = SharedKeys::new();
        let options = format!("{}{zeromq}\n[proxy]\nmetrics_port = 0\n{proxy}", keys.options());
        let cluster = Cluster::on(engine, NODES, &options);
        let proxy = cluster.proxy();
        let curve = || client(&Arc::new(keys.client.clone()), keys.server.public());
        let publisher = Peer::publisher(&proxy, curve());
        let subscriber = Peer::subscriber(&proxy, curve());
        subscriber.subscribe(b"test.");
        publisher.wait_subscription(true, b"test.");
        Shared { publisher, subscriber, keys, number: 0, proxy, _cluster: cluster }
    }

    fn client(&self) -> Option<CurveOptions> {
        client(&Arc::new(self.keys.client.clone()), self.keys.server.public())
    }

    /// The publisher and the subscriber are connected as they were, and an event gets through.
    fn assert_well(&mut self) {
        self.number += 1;
        let number = self.number.to_be_bytes();
        let frames: [&[u8]; 4] = [b"test.well", b"sender", b"format", &number];
        self.publisher.send(&frames);
        assert_eq!(self.subscriber.receive(), frames);
        assert!(!self.publisher.was_cut_off() && !self.subscriber.was_cut_off());
        let stderr = self.proxy.stderr();
        assert!(!stderr.contains("panicked") && !self.keys.are_in(&stderr), "{stderr}");
    }
}

fn events_and_subscriptions_flow(engine: Engine) {
    let mut bus = Shared::start(engine, "", "");
    bus.assert_well();
    // As it was asked for, and not another.
    let name = if engine == Engine::Switch { "switch" } else { "zmq" };
    assert_eq!(bus.proxy.ready["engine"], name);
    for size in [0, 1, 222, 223, 300, 70_000, 600 << 10, 10 << 20] {
        let payload = vec![7; size];
        let frames: [&[u8]; 4] = [b"test.size", b"sender", &payload[..size / 2], &payload];
        bus.publisher.send(&frames);
        bus.publisher.send(&[b"test.small", &b"sender"[..], b"format", b""]);
        assert!(bus.subscriber.receive() == frames, "{size} bytes");
        assert_eq!(bus.subscriber.receive()[0], b"test.small");
    }
    // One that uses commands, and one that comes late and must hear everything.
    let prefixes: Vec<Vec<u8>> =
        (0..2_000).map(|n| format!("test.{n:04}.{}", "x".repeat(n % 300)).into_bytes()).collect();
    let late = Peer::connect(SocketKind::Sub, &bus.proxy.endpoint("xpub"), bus.client(), None);
    late.socket.subscribe(b"test.0").unwrap();
    bus.publisher.wait_subscription(true, b"test.0");
    for prefix in &prefixes {
        bus.subscriber.subscribe(prefix);
    }
    for prefix in &prefixes {
        bus.publisher.wait_subscription(true, prefix);
    }
    let second = Peer::publisher(&bus.proxy, bus.client());
    for prefix in &prefixes {
        second.wait_subscription(true, prefix);
    }
    // Many, from both.
    const MANY: u32 = 20_000;
    let (publishers, proxy) = ([&bus.publisher, &second], &bus.proxy);
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
    assert_eq!(proxy.metric(FAILED), 0.0);
    bus.assert_well();
}

/// Waits for a line on standard error that has all these parts.
fn wait_line(process: &Process, parts: &[&str]) {
    wait_for(&format!("a line with {parts:?}"), || {
        let stderr = process.stderr();
        stderr.lines().any(|line| parts.iter().all(|part| line.contains(part))).then_some(())
    });
}

/// Who is refused, and how that shows.
struct Stranger {
    curve: Option<CurveOptions>,
    /// In the broker's own engine: the reason, and a part of the line.
    reason: &'static str,
    line: String,
    /// A part of the line of libzmq's.
    zmq_line: String,
    /// What the peer learns.
    seen: ConnectionEventKind,
}

fn who_does_not_belong_is_refused(engine: Engine) {
    let begun = Instant::now();
    let mut bus = Shared::start(engine, "", "");
    let other = keys();
    let unauthorized = format!("its public key {} is not one of those", other.public());
    let strangers = [
        Stranger {
            curve: client(&other, bus.keys.server.public()),
            reason: "unauthorized",
            line: unauthorized.clone(),
            zmq_line: unauthorized,
            seen: ConnectionEventKind::HandshakeFailedAuth,
        },
        Stranger {
            curve: client(&Arc::new(bus.keys.client.clone()), other.public()),
            reason: "mechanism",
            line: "takes this server for one with another public key".into(),
            zmq_line: "takes this server for one with another public key".into(),
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
            let failed = bus.proxy.metric_with(FAILED, &of_socket);
            let reason = cut_off(label, stranger.reason);
            let cut = bus.proxy.metric_with(CUT_OFF, &reason);
            let peer = Peer::connect(kind, &bus.proxy.endpoint(key), stranger.curve.clone(), None);
            let value = peer.wait_event(stranger.seen);
            if stranger.seen == ConnectionEventKind::HandshakeFailedAuth {
                assert_eq!(value, 400);
            }
            wait_for("the failure to be counted", || {
                (bus.proxy.metric_with(FAILED, &of_socket) > failed).then_some(())
            });
            let line = if engine == Engine::Switch {
                wait_for("the reason to be counted", || {
                    (bus.proxy.metric_with(CUT_OFF, &reason) > cut).then_some(())
                });
                &stranger.line
            } else {
                &stranger.zmq_line
            };
            // It tries again and again, and is told of now and then.
            wait_line(&bus.proxy, &["127.0.0.1", line]);
            drop(peer);
            bus.assert_well();
        }
    }
    let stderr = bus.proxy.stderr();
    let told = stderr.lines().filter(|line| line.contains("more like this")).count() as u64;
    assert!(told <= 5 * (1 + begun.elapsed().as_secs() / 10), "{told} lines");
}

fn an_encrypted_peer_of_a_plain_broker(engine: Engine) {
    let cluster = Cluster::on(engine, NODES, "");
    let proxy = cluster.proxy();
    let (publisher, subscriber) = (Peer::publisher(&proxy, None), Peer::subscriber(&proxy, None));
    subscriber.subscribe(b"test.");
    publisher.wait_subscription(true, b"test.");
    let (own, server) = (keys(), keys());
    let stranger = Peer::publisher(&proxy, client(&own, server.public()));
    stranger.wait_event(ConnectionEventKind::HandshakeFailedProtocol);
    proxy.wait_metric(FAILED, 1.0);
    if engine == Engine::Switch {
        wait_line(&proxy, &["127.0.0.1:", "it encrypts (mechanism CURVE) and this side does not"]);
        assert!(proxy.metric_with(CUT_OFF, &cut_off("frontend", "mechanism")) >= 1.0);
    } else {
        wait_line(&proxy, &["one side encrypts (mechanism CURVE) and the other does not"]);
    }
    let frames: [&[u8]; 4] = [b"test.well", b"sender", b"format", b"payload"];
    publisher.send(&frames);
    assert_eq!(subscriber.receive(), frames);
    assert!(!publisher.was_cut_off() && !subscriber.was_cut_off());
    // Nobody else can reach it: there is nothing to warn of.
    assert!(!proxy.stderr().contains("is not encrypted"), "{}", proxy.stderr());
}

fn open_sockets_are_warned_of(engine: Engine) {
    let cluster = Cluster::on(engine, NODES, "");
    let layout = fs::read_to_string(&cluster.layout).unwrap();
    let xsub = format!("tcp://127.0.0.1:{}", cluster.xsub_port);
    let open = format!("tcp://0.0.0.0:{}", cluster.xsub_port);
    fs::write(&cluster.layout, layout.replace(&xsub, &open)).unwrap();
    let proxy = cluster.proxy();
    wait_line(&proxy, &["WARN", &open, "is not encrypted", "zcluster keygen"]);
    assert_eq!(proxy.stderr().matches("is not encrypted").count(), 1, "{}", proxy.stderr());
}

on_both_engines!(
    events_and_subscriptions_flow,
    who_does_not_belong_is_refused,
    an_encrypted_peer_of_a_plain_broker,
    open_sockets_are_warned_of,
);

/// An event of 64 KiB with a number.
fn large(number: u64) -> [Vec<u8>; 4] {
    let payload = [&number.to_be_bytes()[..], &[7; 64 << 10]].concat();
    [b"test.large".to_vec(), b"sender".to_vec(), b"format".to_vec(), payload]
}

fn number_of(frames: &[Vec<u8>]) -> u64 {
    u64::from_be_bytes(frames[3][..8].try_into().unwrap())
}

#[test]
fn a_subscriber_that_does_not_read_harms_nobody_else() {
    const HWM: u64 = 100;
    let mut bus = Shared::start(Engine::Switch, "", &format!("subscriber_hwm = {HWM}"));
    let stuck = Peer::connect(SocketKind::Xsub, &bus.proxy.endpoint("xpub"), bus.client(), Some(1));
    stuck.subscribe(b"test.large");
    bus.publisher.wait_subscription(true, b"test.large");
    let dropped = || bus.proxy.metric("zcluster_proxy_events_dropped_total") as u64;
    let mut published = 0;
    // No faster than the other reads.
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
        let waiting = bus.proxy.metric("zcluster_proxy_queue_messages") as u64;
        assert!(waiting <= HWM, "{waiting} wait");
        (waiting == HWM).then_some(())
    });
    assert!(bus.proxy.memory() < 100 << 20, "{}", bus.proxy.memory());
    // What is not counted as lost arrives, in order.
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
fn what_waits_is_sent_before_the_end() {
    let count = 400;
    let mut bus = Shared::start(Engine::Switch, "linger_ms = 600000", "");
    let late = Peer::connect(SocketKind::Xsub, &bus.proxy.endpoint("xpub"), bus.client(), Some(1));
    late.subscribe(b"test.large");
    bus.publisher.wait_subscription(true, b"test.large");
    for number in 0..count {
        bus.publisher.send(&large(number));
        assert_eq!(number_of(&bus.subscriber.receive()), number);
    }
    bus.proxy.wait_metric(EVENTS, count as f64);
    bus.proxy.signal(Signal::TERM);
    for number in 0..count {
        assert_eq!(number_of(&late.receive()), number);
    }
    assert_eq!(bus.proxy.wait().code(), Some(0));
    assert!(late.try_receive().is_none());
    assert!(!bus.proxy.stderr().contains("not sent in time"), "{}", bus.proxy.stderr());
}

/// A cluster in which each node has keys of its own, and its broker.
struct PerNode {
    proxy: Process,
    cluster: Cluster,
}

impl PerNode {
    /// `rules`: tables of TOML.
    fn start(engine: Engine, rules: &str) -> Self {
        let cluster = Cluster::on(engine, NODES, &format!("{PER_NODE}{rules}"));
        let names = NODES.iter().map(|(name, _)| *name).chain([CurveKeys::BROKER]);
        make_keys(cluster.dir.path(), &names.collect::<Vec<_>>());
        let proxy = cluster.proxy();
        PerNode { proxy, cluster }
    }

    fn keys_dir(&self) -> PathBuf {
        self.cluster.dir.path().join("keys")
    }

    fn keys_of(&self, name: &str) -> Arc<KeyPair> {
        Arc::new(read_secret_keys(&secret_path(&self.keys_dir(), name)).unwrap().swap_remove(0))
    }

    fn client(&self, name: &str) -> Option<CurveOptions> {
        client(&self.keys_of(name), self.keys_of(CurveKeys::BROKER).public())
    }

    /// Says which public keys a node has.
    fn authorize(&self, name: &str, keys: &[&KeyPair]) {
        let keys: Vec<_> = keys.iter().map(|pair| *pair.public()).collect();
        write_public_keys(&public_path(&self.keys_dir(), name), &keys).unwrap();
    }

    /// Takes its keys away from a node.
    fn revoke(&self, name: &str) {
        fs::remove_file(public_path(&self.keys_dir(), name)).unwrap();
    }

    fn publisher(&self, name: &str) -> Peer {
        Peer::publisher(&self.proxy, self.client(name))
    }

    fn subscriber(&self, name: &str) -> Peer {
        Peer::subscriber(&self.proxy, self.client(name))
    }

    /// Asks the broker to load its keys again, and waits for a new line that says this.
    fn reload(&self, expected: &str) {
        let count = || self.proxy.stderr().matches(expected).count();
        let before = count();
        self.proxy.signal(Signal::HUP);
        wait_for(expected, || (count() > before).then_some(()));
    }

    fn wait_refused(&self, peer: &str, reason: &str, count: f64) {
        let label = format!("peer=\"{peer}\",{}", refused(reason));
        wait_for(&format!("{count} of {label}"), || {
            let now = self.proxy.metric_with(REFUSED, &label);
            assert!(now <= count, "{now} of {label}");
            (now == count).then_some(())
        });
    }

    /// How many of `/status` of that kind have this name, and have proved it.
    fn proven(&self, kind: &str, name: &str) -> usize {
        let text = http_get(&self.proxy.endpoint("metrics"), "/status");
        let status: serde_json::Value = serde_json::from_str(&text).unwrap();
        let is_it =
            |peer: &&serde_json::Value| peer["peer"] == name && peer["identity"] == "proven";
        status[kind].as_array().unwrap().iter().filter(is_it).count()
    }
}

/// A greeting of a node of that name, from a process of that id.
fn hello(name: &str, id: &str) -> Vec<u8> {
    let event = Event::new("Cluster::hello", vec![Value::from(name), Value::from(id)]);
    let mut payload = Vec::new();
    EventFormat::BrokerBinV1.encode(&event, &mut payload);
    payload
}

#[test]
fn nobody_passes_for_another_node() {
    let bus = PerNode::start(Engine::Switch, "");
    let [own, other] = [node_id("worker-1"), node_id("worker-2")];
    let subscriber = bus.subscriber("manager");
    subscriber.subscribe(b"");
    let publisher = bus.publisher("worker-1");
    publisher.wait_subscription(true, b"");
    // Known by their keys, before they have said anything.
    assert_eq!(bus.proven("publishers", "worker-1"), 1);
    assert_eq!(bus.proven("subscribers", "manager"), 1);

    let format = b"broker-bin-v1".as_slice();
    let to_manager = nodeid_topic(&node_id("manager"));
    let forged = [
        (&b"test.a"[..], &other, b"payload".to_vec()),
        (b"test.a", &String::new(), b"payload".to_vec()),
        (b"test.a", &"zeromq_stranger_host_1_N0".to_owned(), b"payload".to_vec()),
        (&to_manager, &other, hello("worker-2", &other)),
        (&to_manager, &own, hello("worker-2", &other)),
        (&to_manager, &own, hello("worker-2", &own)),
        (&to_manager, &own, hello("worker-1", &other)),
    ];
    for (count, (topic, id, payload)) in forged.iter().enumerate() {
        publisher.send(&[topic, id.as_bytes(), format, payload]);
        let genuine = [&to_manager, own.as_bytes(), format, &hello("worker-1", &own)];
        publisher.send(&genuine);
        assert_eq!(subscriber.receive(), genuine, "{count}");
        bus.wait_refused("worker-1", "impersonation", count as f64 + 1.0);
    }
    wait_line(
        &bus.proxy,
        &["refused from worker-1 at 127.0.0.1:", "another node", "test.a", &other],
    );

    // Topics of processes: whoever subscribes to one is taken for its owner.
    let thief = bus.subscriber("worker-1");
    thief.subscribe(&nodeid_topic(&other));
    thief.subscribe(&nodeid_topic(&own));
    publisher.wait_subscription(true, &nodeid_topic(&own));
    bus.wait_refused("worker-1", "impersonation", forged.len() as f64 + 1.0);
    let manager = bus.publisher("manager");
    manager.wait_subscription(true, b"");
    let secret: [&[u8]; 4] = [&nodeid_topic(&other), b"manager", b"f", b"for worker-2"];
    manager.send(&secret);
    assert_eq!(subscriber.receive(), secret);
    let open: [&[u8]; 4] = [&nodeid_topic(&own), b"manager", b"f", b"for worker-1"];
    manager.send(&open);
    assert_eq!(thief.receive(), open);
    // To cancel what was refused is nobody's loss.
    thief.send(&[[b"\0", &nodeid_topic(&other)[..]].concat()]);
    bus.wait_refused("worker-1", "unsubscription", 1.0);
    assert!(!thief.was_cut_off() && !publisher.was_cut_off());
}

#[test]
fn nodes_publish_and_subscribe_to_what_they_may() {
    let rules = "[allow.worker]\npublish = [\"test.up.\"]\nsubscribe = [\"test.down.\"]\n";
    let bus = PerNode::start(Engine::Switch, rules);
    let subscriber = bus.subscriber("manager");
    subscriber.subscribe(b"");
    let (worker, manager) = (bus.publisher("worker-1"), bus.publisher("manager"));
    worker.wait_subscription(true, b"");
    manager.wait_subscription(true, b"");
    // Runs of what is allowed and what is not, in turns.
    let id = node_id("worker-1");
    for number in 0..300_u32 {
        let topic: &[u8] = if number / 10 % 2 == 0 { b"test.up.a" } else { b"test.forbidden" };
        worker.send(&[topic, id.as_bytes(), b"f", &number.to_be_bytes()]);
    }
    for number in (0..300_u32).filter(|number| number / 10 % 2 == 0) {
        assert_eq!(subscriber.receive()[3], number.to_be_bytes());
    }
    bus.wait_refused("worker-1", "publish_denied", 150.0);
    wait_line(&bus.proxy, &["refused from worker-1 at 127.0.0.1:", "test.forbidden"]);
    // Nothing is said of managers.
    manager.send(&[b"test.forbidden", &b"manager"[..], b"f", b"p"]);
    assert_eq!(subscriber.receive()[0], b"test.forbidden");

    let reader = bus.subscriber("worker-2");
    reader.subscribe(b"");
    reader.subscribe(b"test.");
    reader.subscribe(b"test.down.");
    manager.wait_subscription(true, b"test.down.");
    bus.wait_refused("worker-2", "subscribe_denied", 2.0);
    wait_line(&bus.proxy, &["refused from worker-2 at 127.0.0.1:", "may not subscribe"]);
    for topic in [&b"test.secret"[..], b"test.down.b"] {
        manager.send(&[topic, b"manager", b"f", b"p"]);
    }
    assert_eq!(reader.receive()[0], b"test.down.b");
    assert!(reader.try_receive().is_none());
}

#[test]
fn rules_hold_without_keys_by_the_name_that_is_said() {
    let cluster = Cluster::on(Engine::Switch, NODES, "[allow.worker]\npublish = [\"test.up.\"]\n");
    let proxy = cluster.proxy();
    let (publisher, subscriber) = (Peer::publisher(&proxy, None), Peer::subscriber(&proxy, None));
    subscriber.subscribe(b"test.");
    publisher.wait_subscription(true, b"test.");
    let (worker, manager) = (node_id("worker-1"), node_id("manager"));
    for (id, topic) in [
        (&worker, "test.no"),
        (&manager, "test.yes"),
        (&worker, "test.no"),
        (&worker, "test.up.yes"),
    ] {
        publisher.send(&[topic.as_bytes(), id.as_bytes(), b"f", b"p"]);
    }
    assert_eq!(subscriber.receive()[0], b"test.yes");
    assert_eq!(subscriber.receive()[0], b"test.up.yes");
    assert_eq!(proxy.metric_with(REFUSED, &refused("publish_denied")), 2.0);
}

#[test]
fn a_withdrawn_key_cuts_off_its_node_and_nobody_else() {
    // Each thread looks after its own connections.
    let bus = PerNode::start(Engine::Switch, "[proxy]\nmetrics_port = 0\nio_threads = 3\n");
    let subscribers = ["manager", "worker-1", "worker-2"].map(|name| bus.subscriber(name));
    let publishers = ["manager", "worker-1", "worker-2"].map(|name| bus.publisher(name));
    for (subscriber, prefix) in subscribers.iter().zip([&b"test."[..], b"test.1", b"test.2"]) {
        subscriber.subscribe(prefix);
        publishers.iter().for_each(|publisher| publisher.wait_subscription(true, prefix));
    }
    let flows = |number: u8| {
        let frames: [&[u8]; 4] = [b"test.1", b"manager", b"f", &[number]];
        publishers[0].send(&frames);
        assert_eq!(subscribers[0].receive(), frames);
        assert_eq!(subscribers[1].receive(), frames);
        let (publishers, subscribers) = (&publishers[..2], &subscribers[..2]);
        assert!(!publishers.iter().chain(subscribers).any(Peer::was_cut_off));
    };
    flows(0);

    // What is broken changes nothing.
    let unchanged = "who may connect stays as it was";
    fs::write(public_path(&bus.keys_dir(), "worker-2"), "no key at all").unwrap();
    bus.reload(unchanged);
    wait_line(&bus.proxy, &[unchanged, "worker-2.pub"]);
    let layout = fs::read_to_string(&bus.cluster.layout).unwrap();
    fs::write(&bus.cluster.layout, "[zeromq").unwrap();
    bus.reload(unchanged);
    fs::write(&bus.cluster.layout, layout.replace("per-node", "shared")).unwrap();
    bus.reload("switches encryption off, which takes a restart");
    fs::write(&bus.cluster.layout, &layout).unwrap();
    flows(1);
    assert!(!publishers[2].was_cut_off() && !subscribers[2].was_cut_off());

    // A second key for one, as while keys are changed: nobody notices.
    let [first, second, other] = [bus.keys_of("worker-1"), keys(), bus.keys_of("worker-2")];
    bus.authorize("worker-1", &[&first, &second]);
    bus.authorize("worker-2", &[&other]);
    bus.reload("keys that may connect: 4");
    flows(2);
    let also =
        Peer::subscriber(&bus.proxy, client(&second, bus.keys_of(CurveKeys::BROKER).public()));
    also.subscribe(b"test.also");
    publishers[0].wait_subscription(true, b"test.also");
    assert_eq!(bus.proven("subscribers", "worker-1"), 2);

    // One node goes, and comes again in vain.
    bus.revoke("worker-2");
    bus.reload("keys that may connect: 3");
    for peer in [&publishers[2], &subscribers[2]] {
        peer.wait_event(ConnectionEventKind::Disconnected);
        peer.wait_event(ConnectionEventKind::HandshakeFailedAuth);
    }
    publishers[0].wait_subscription(false, b"test.2");
    wait_line(&bus.proxy, &["cut off worker-2 at 127.0.0.1:", "its key was withdrawn"]);
    for socket in ["frontend", "backend"] {
        let cut = bus.proxy.metric_with(CUT_OFF, &cut_off(socket, "unauthorized"));
        assert!(cut >= 1.0, "{socket}");
    }
    assert!(!also.was_cut_off());
    flows(3);

    // A key that is another node's from now on: the name that was proven is no longer true.
    bus.authorize("worker-1", &[&first]);
    bus.authorize("worker-2", &[&second]);
    bus.reload("keys that may connect: 3");
    also.wait_event(ConnectionEventKind::Disconnected);
    wait_for("it to come back", || (bus.proven("subscribers", "worker-2") == 1).then_some(()));
    wait_line(&bus.proxy, &["cut off worker-1 at 127.0.0.1:", "become that of another node"]);
    flows(4);
}

#[test]
fn rules_that_change_hold_at_once() {
    let bus = PerNode::start(Engine::Switch, "");
    let (publisher, manager) = (bus.publisher("worker-1"), bus.publisher("manager"));
    let (subscriber, reader) = (bus.subscriber("manager"), bus.subscriber("worker-1"));
    subscriber.subscribe(b"test.up");
    for prefix in [&b"test.a"[..], b"test.a", b"test.b"] {
        reader.subscribe(prefix);
    }
    for publisher in [&publisher, &manager] {
        publisher.wait_subscription(true, b"test.up");
        publisher.wait_subscription(true, b"test.b");
    }
    let id = node_id("worker-1");
    let publish = |topic: &[u8]| publisher.send(&[topic, id.as_bytes(), b"f", b"p"]);
    publish(b"test.up.any");
    assert_eq!(subscriber.receive()[0], b"test.up.any");

    let layout = fs::read_to_string(&bus.cluster.layout).unwrap();
    let rules = "[allow.worker]\npublish = [\"test.up.1\"]\nsubscribe = [\"test.b\"]\n";
    fs::write(&bus.cluster.layout, format!("{layout}{rules}")).unwrap();
    bus.reload("keys that may connect: 3");
    // As often as it has subscribed.
    manager.wait_subscription(false, b"test.a");
    bus.wait_refused("worker-1", "subscribe_denied", 1.0);
    publish(b"test.up.2");
    publish(b"test.up.1");
    assert_eq!(subscriber.receive()[0], b"test.up.1");
    bus.wait_refused("worker-1", "publish_denied", 1.0);
    for topic in [&b"test.a"[..], b"test.b"] {
        manager.send(&[topic, b"manager", b"f", b"p"]);
    }
    assert_eq!(reader.receive()[0], b"test.b");

    fs::write(&bus.cluster.layout, &layout).unwrap();
    bus.reload("keys that may connect: 3");
    publish(b"test.up.2");
    assert_eq!(subscriber.receive()[0], b"test.up.2");
    for peer in [&publisher, &manager, &subscriber, &reader] {
        assert!(!peer.was_cut_off());
    }
}

#[test]
fn what_engine_zmq_can_and_cannot() {
    let bus = PerNode::start(Engine::Zmq, "[allow.worker]\npublish = []\n");
    wait_line(&bus.proxy, &["WARN", "engine zmq cannot enforce", "engine switch does"]);
    let publisher = bus.publisher("worker-1");
    let subscriber = bus.subscriber("manager");
    subscriber.subscribe(b"test.");
    publisher.wait_subscription(true, b"test.");
    let other = node_id("worker-2");
    let frames: [&[u8]; 4] = [b"test.any", other.as_bytes(), b"f", b"p"];
    publisher.send(&frames);
    assert_eq!(subscriber.receive(), frames);
    // A key that is withdrawn lets nobody in, and cuts nobody off.
    bus.revoke("worker-1");
    bus.reload("keys that may connect: 2");
    wait_line(&bus.proxy, &["engine zmq", "cannot end connections"]);
    let late = bus.publisher("worker-1");
    assert_eq!(late.wait_event(ConnectionEventKind::HandshakeFailedAuth), 400);
    wait_line(&bus.proxy, &["refused 127.0.0.1: its public key"]);
    publisher.send(&frames);
    assert_eq!(subscriber.receive(), frames);
    assert!(!publisher.was_cut_off());
}
