//! The broker and nodes with per-node keys: no node can impersonate another, each publishes only
//! what it may, and SIGHUP changes keys and rules.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use support::bus::{CUT_OFF, REFUSED, cut_off, refused};
use support::keys::{PER_NODE, make_keys};
use support::load::{node_id, nodeid_topic};
use support::watched::{Peer, client, keys};
use support::{Cluster, Engine, NodeSpec, Process, Signal, http_get, wait_for};
use zcluster::access::key_file::{public_path, read_secret_keys, secret_path, write_public_keys};
use zcluster::access::revoked::Revoked;
use zcluster::layout::CurveKeys;
use zcluster::transport::{ConnectionEventKind, CurveOptions};
use zcluster::wire::EventFormat;
use zcluster::wire::zmtp::KeyPair;
use zcluster::{Event, Value};

const NODES: &[NodeSpec<'static>] =
    &[("manager", "manager"), ("worker-1", "worker"), ("worker-2", "worker")];

/// A broker, and a cluster with a key pair per node.
struct PerNode {
    broker: Process,
    cluster: Cluster,
}

impl PerNode {
    /// Starts the broker. `rules`: TOML tables.
    fn start(engine: Engine, rules: &str) -> Self {
        let cluster = Cluster::on(engine, NODES, &format!("{PER_NODE}{rules}"));
        let names = NODES.iter().map(|(name, _)| *name).chain([CurveKeys::BROKER]);
        make_keys(cluster.dir.path(), &names.collect::<Vec<_>>());
        let broker = cluster.broker();
        PerNode { broker, cluster }
    }

    fn keys_dir(&self) -> PathBuf {
        self.cluster.dir.path().join("keys")
    }

    fn keys_of(&self, name: &str) -> Arc<KeyPair> {
        Arc::new(read_secret_keys(&secret_path(&self.keys_dir(), name)).unwrap().swap_remove(0))
    }

    fn client(&self, name: &str) -> CurveOptions {
        client(&self.keys_of(name), self.keys_of(CurveKeys::BROKER).public())
    }

    /// Sets the public keys of a node.
    fn authorize(&self, name: &str, keys: &[&KeyPair]) {
        let keys: Vec<_> = keys.iter().map(|pair| *pair.public()).collect();
        write_public_keys(&public_path(&self.keys_dir(), name), &keys).unwrap();
    }

    /// Revokes the key of a node, whose public key stays where it is.
    fn revoke(&self, name: &str) {
        let mut revoked = Revoked::read(&self.keys_dir()).unwrap();
        assert!(revoked.add(name, *self.keys_of(name).public(), SystemTime::now()));
        revoked.write().unwrap();
    }

    fn publisher(&self, name: &str) -> Peer {
        Peer::publisher(&self.broker, self.client(name))
    }

    fn subscriber(&self, name: &str) -> Peer {
        Peer::subscriber(&self.broker, self.client(name))
    }

    /// Makes the broker reload its keys, and waits for a new line that contains `expected`.
    fn reload(&self, expected: &str) {
        let count = || self.broker.stderr().matches(expected).count();
        let before = count();
        self.broker.signal(Signal::HUP);
        wait_for(expected, || (count() > before).then_some(()));
    }

    fn wait_refused(&self, peer: &str, reason: &str, count: f64) {
        let label = format!("peer=\"{peer}\",{}", refused(reason));
        wait_for(&format!("{count} of {label}"), || {
            let now = self.broker.metric_with(REFUSED, &label);
            assert!(now <= count, "{now} of {label}");
            (now == count).then_some(())
        });
    }

    /// The number of entries of that kind in `/status` with this name and a proven identity.
    fn proven(&self, kind: &str, name: &str) -> usize {
        let text = http_get(&self.broker.endpoint("metrics"), "/status");
        let status: serde_json::Value = serde_json::from_str(&text).unwrap();
        let is_it =
            |peer: &&serde_json::Value| peer["peer"] == name && peer["identity"] == "proven";
        status[kind].as_array().unwrap().iter().filter(is_it).count()
    }
}

/// A hello of a node with that name, from a process with that id.
fn hello(name: &str, id: &str) -> Vec<u8> {
    event("Cluster::hello", name, id)
}

fn event(name: &str, first: &str, second: &str) -> Vec<u8> {
    let event = Event::new(name, vec![Value::from(first), Value::from(second)]);
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
    // Identified by their keys before they have sent anything.
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
        // A Zeek node that receives this treats the other as gone.
        (b"test.a", &own, event("Broker::peer_lost", &other, "gone")),
    ];
    for (count, (topic, id, payload)) in forged.iter().enumerate() {
        publisher.send(&[topic, id.as_bytes(), format, payload]);
        let genuine = [&to_manager, own.as_bytes(), format, &hello("worker-1", &own)];
        publisher.send(&genuine);
        assert_eq!(subscriber.receive(), genuine, "{count}");
        bus.wait_refused("worker-1", "impersonation", count as f64 + 1.0);
    }
    bus.broker.wait_stderr_line(&[
        "refused from worker-1 at 127.0.0.1:",
        "another node",
        "test.a",
        &other,
    ]);

    // Topics of processes: publishers treat whoever subscribes to one as its owner.
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
    // A node that receives its own probe concludes that the bus is ready.
    let probe = |id: &str| format!("zeek.zeromq.internal.{id}.1.");
    thief.subscribe(probe(&other).as_bytes());
    bus.wait_refused("worker-1", "impersonation", forged.len() as f64 + 2.0);
    // Unsubscribing from a refused subscription is harmless.
    thief.send(&[[b"\0", &nodeid_topic(&other)[..]].concat()]);
    bus.wait_refused("worker-1", "unsubscription", 1.0);
    assert!(!thief.was_cut_off() && !publisher.was_cut_off());
}

#[test]
fn reconnecting_for_each_message_causes_no_more_warnings() {
    let bus = PerNode::start(Engine::Switch, "");
    let subscriber = bus.subscriber("manager");
    subscriber.subscribe(b"test.");
    for count in 1..=5 {
        let publisher = bus.publisher("worker-1");
        publisher.wait_subscription(true, b"test.");
        publisher.send(&[b"test.a".as_slice(), b"zeromq_manager_h_1_N0", b"f", b""]);
        bus.wait_refused("worker-1", "impersonation", f64::from(count));
    }
    // The absence of a line cannot be awaited, so wait for the line of another node.
    let other = bus.publisher("worker-2");
    other.wait_subscription(true, b"test.");
    other.send(&[b"test.a".as_slice(), b"zeromq_manager_h_1_N0", b"f", b""]);
    bus.broker.wait_stderr_line(&["refused from worker-2 at"]);
    assert_eq!(bus.broker.stderr().matches("refused from worker-1 at").count(), 1);
}

/// An id and a payload that could make a few bytes cost the broker much time or memory.
#[test]
fn hostile_ids_and_payloads_are_cheap_to_check() {
    const NONES: usize = 32 << 20;
    let bus = PerNode::start(Engine::Switch, "");
    let subscriber = bus.subscriber("manager");
    subscriber.subscribe(b"test.");
    let publisher = bus.publisher("worker-1");
    publisher.wait_subscription(true, b"test.");
    let (own, format) = (node_id("worker-1"), b"broker-bin-v1".as_slice());

    let endless = [b"zeromq_".to_vec(), vec![b'_'; 4 << 20]].concat();
    publisher.send(&[b"test.a", &endless[..], format, b""]);
    publisher.send(&[b"test.b", own.as_bytes(), format, b""]);
    assert_eq!(subscriber.receive()[0], b"test.b");
    bus.wait_refused("worker-1", "impersonation", 1.0);

    // Values of one byte each, which take many times as much memory once built.
    let before = bus.broker.peak_memory();
    let args = vec![Value::from("Cluster::"), Value::Vector(Vec::new())];
    let mut large = Vec::new();
    EventFormat::BrokerBinV1.encode(&Event::new("Site::note", args), &mut large);
    assert_eq!(large.pop(), Some(0), "the length of the vector");
    large.extend_from_slice(&[0x80, 0x80, 0x80, (NONES >> 21) as u8]);
    large.resize(large.len() + NONES, 0);
    assert!(EventFormat::BrokerBinV1.check(&large).is_ok());
    publisher.send(&[b"test.c", own.as_bytes(), format, &large]);
    assert!(subscriber.receive()[3] == large);
    let grown = bus.broker.peak_memory() - before;
    assert!(grown < 8 * NONES as u64, "{grown}");
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
    // Alternating runs of allowed and denied events.
    let id = node_id("worker-1");
    for number in 0..300_u32 {
        let topic: &[u8] = if number / 10 % 2 == 0 { b"test.up.a" } else { b"test.forbidden" };
        worker.send(&[topic, id.as_bytes(), b"f", &number.to_be_bytes()]);
    }
    for number in (0..300_u32).filter(|number| number / 10 % 2 == 0) {
        assert_eq!(subscriber.receive()[3], number.to_be_bytes());
    }
    bus.wait_refused("worker-1", "publish_denied", 150.0);
    bus.broker.wait_stderr_line(&["refused from worker-1 at 127.0.0.1:", "test.forbidden"]);
    // There are no rules for managers.
    manager.send(&[b"test.forbidden", &b"manager"[..], b"f", b"p"]);
    assert_eq!(subscriber.receive()[0], b"test.forbidden");

    let reader = bus.subscriber("worker-2");
    reader.subscribe(b"");
    reader.subscribe(b"test.");
    reader.subscribe(b"test.down.");
    manager.wait_subscription(true, b"test.down.");
    bus.wait_refused("worker-2", "subscribe_denied", 2.0);
    bus.broker.wait_stderr_line(&["refused from worker-2 at 127.0.0.1:", "may not subscribe"]);
    for topic in [&b"test.secret"[..], b"test.down.b"] {
        manager.send(&[topic, b"manager", b"f", b"p"]);
    }
    assert_eq!(reader.receive()[0], b"test.down.b");
    assert!(reader.try_receive().is_none());
}

#[test]
fn without_keys_rules_apply_to_the_claimed_name() {
    let rules = "[allow.worker]\npublish = [\"test.up.\"]\nsubscribe = []\n";
    let cluster = Cluster::on(Engine::Switch, NODES, rules);
    let broker = cluster.broker();
    broker.wait_stderr("`allow` is no protection without keys per node");
    broker.wait_stderr("`subscribe` has no effect without keys per node");
    let (publisher, subscriber) = (Peer::publisher(&broker, None), Peer::subscriber(&broker, None));
    // Of a worker, as it says.
    subscriber.subscribe(&nodeid_topic(&node_id("worker-1")));
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
    assert_eq!(broker.metric_with(REFUSED, &refused("publish_denied")), 2.0);
}

#[test]
fn revoking_a_key_cuts_off_only_its_node() {
    // Each thread handles its own connections.
    let bus = PerNode::start(Engine::Switch, "[broker]\nmetrics_port = 0\nio_threads = 3\n");
    let subscribers = ["manager", "worker-1", "worker-2"].map(|name| bus.subscriber(name));
    let publishers = ["manager", "worker-1", "worker-2"].map(|name| bus.publisher(name));
    for (subscriber, prefix) in subscribers.iter().zip([&b"test."[..], b"test.1", b"test.2"]) {
        subscriber.subscribe(prefix);
        for publisher in &publishers {
            publisher.wait_subscription(true, prefix);
        }
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

    // Invalid files change nothing.
    let unchanged = "reload failed, the current keys and rules stay in effect";
    fs::write(public_path(&bus.keys_dir(), "worker-2"), "no key at all").unwrap();
    bus.reload(unchanged);
    bus.broker.wait_stderr_line(&[unchanged, "worker-2.pub"]);
    let layout = fs::read_to_string(&bus.cluster.layout).unwrap();
    fs::write(&bus.cluster.layout, "[zeromq").unwrap();
    bus.reload(unchanged);
    fs::write(&bus.cluster.layout, layout.replace("per-node", "shared")).unwrap();
    bus.reload("CURVE cannot be switched on or off while the process runs");
    fs::write(&bus.cluster.layout, &layout).unwrap();
    flows(1);
    assert!(!publishers[2].was_cut_off() && !subscribers[2].was_cut_off());

    // A second key for one node, as during rotation, affects nothing.
    let [first, second, other] = [bus.keys_of("worker-1"), keys(), bus.keys_of("worker-2")];
    bus.authorize("worker-1", &[&first, &second]);
    bus.authorize("worker-2", &[&other]);
    bus.reload("4 keys may connect");
    flows(2);
    let also =
        Peer::subscriber(&bus.broker, client(&second, bus.keys_of(CurveKeys::BROKER).public()));
    also.subscribe(b"test.also");
    publishers[0].wait_subscription(true, b"test.also");
    assert_eq!(bus.proven("subscribers", "worker-1"), 2);

    // One node is cut off, and reconnects in vain.
    bus.revoke("worker-2");
    bus.reload("3 keys may connect");
    bus.broker.wait_stderr_line(&[
        "of worker-2 (",
        "worker-2.pub) is revoked in",
        "and is refused",
    ]);
    for peer in [&publishers[2], &subscribers[2]] {
        peer.wait_event(ConnectionEventKind::Disconnected);
        peer.wait_event(ConnectionEventKind::HandshakeFailedAuth);
    }
    publishers[0].wait_subscription(false, b"test.2");
    bus.broker.wait_stderr_line(&["cut off worker-2 at 127.0.0.1:", "its key was revoked"]);
    for socket in ["frontend", "backend"] {
        let cut = bus.broker.metric_with(CUT_OFF, &cut_off(socket, "unauthorized"));
        assert!(cut >= 1.0, "{socket}");
    }
    assert!(!also.was_cut_off());
    flows(3);

    // A key is moved to another node, so the proven name no longer applies.
    bus.authorize("worker-1", &[&first]);
    bus.authorize("worker-2", &[&second]);
    bus.reload("3 keys may connect");
    also.wait_event(ConnectionEventKind::Disconnected);
    wait_for("it to come back", || (bus.proven("subscribers", "worker-2") == 1).then_some(()));
    bus.broker.wait_stderr_line(&[
        "cut off worker-1 at 127.0.0.1:",
        "its key now belongs to another node",
    ]);
    flows(4);
}

#[test]
fn rules_that_change_hold_at_once() {
    let bus = PerNode::start(Engine::Switch, "");
    let (publisher, manager) = (bus.publisher("worker-1"), bus.publisher("manager"));
    let (subscriber, reader) = (bus.subscriber("manager"), bus.subscriber("worker-1"));
    subscriber.subscribe(b"test.up");
    publisher.wait_subscription(true, b"test.up");
    for prefix in [&b"test.a"[..], b"test.a", b"test.b"] {
        reader.subscribe(prefix);
    }
    manager.wait_subscription(true, b"test.b");
    let id = node_id("worker-1");
    let publish = |topic: &[u8]| publisher.send(&[topic, id.as_bytes(), b"f", b"p"]);
    publish(b"test.up.any");
    assert_eq!(subscriber.receive()[0], b"test.up.any");

    let layout = fs::read_to_string(&bus.cluster.layout).unwrap();
    let rules = "[allow.worker]\npublish = [\"test.up.1\"]\nsubscribe = [\"test.b\"]\n";
    fs::write(&bus.cluster.layout, format!("{layout}{rules}")).unwrap();
    bus.reload("rules for nodes apply");
    // For both of its subscriptions.
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
    bus.reload("no rules for nodes");
    // Each thread applies it in its next iteration.
    let frames = wait_for("an event that may be published again", || {
        publish(b"test.up.2");
        subscriber.try_receive()
    });
    assert_eq!(frames[0], b"test.up.2");
    for peer in [&publisher, &manager, &subscriber, &reader] {
        assert!(!peer.was_cut_off());
    }
}

#[test]
fn what_engine_zmq_can_and_cannot() {
    let bus = PerNode::start(Engine::Zmq, "[allow.worker]\npublish = []\n");
    bus.broker.wait_stderr_line(&["WARN", "engine zmq cannot enforce", "engine switch can"]);
    let publisher = bus.publisher("worker-1");
    let subscriber = bus.subscriber("manager");
    subscriber.subscribe(b"test.");
    publisher.wait_subscription(true, b"test.");
    let other = node_id("worker-2");
    let frames: [&[u8]; 4] = [b"test.any", other.as_bytes(), b"f", b"p"];
    publisher.send(&frames);
    assert_eq!(subscriber.receive(), frames);
    // A revoked key prevents new connections, but does not end existing ones.
    bus.revoke("worker-1");
    bus.reload("2 keys may connect");
    bus.broker.wait_stderr_line(&["engine zmq", "cannot close existing connections"]);
    let late = bus.publisher("worker-1");
    assert_eq!(late.wait_event(ConnectionEventKind::HandshakeFailedAuth), 400);
    bus.broker.wait_stderr_line(&["refused 127.0.0.1: its public key"]);
    publisher.send(&frames);
    assert_eq!(subscriber.receive(), frames);
    assert!(!publisher.was_cut_off());
}
