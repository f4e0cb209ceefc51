//! Strangers on the bus and at every port: nothing they send affects the cluster.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::net::TcpStream;

use support::raw::{RawPeer, send_garbage, tcp};
use support::{Cluster, Engine, NodeSpec, Process, wait_all_see_all, wait_for};
use zcluster::transport::SocketKind;
use zcluster::wire::{EventFormat, MAX_DEPTH, SubscriptionMessage};
use zcluster::{Event, Value};

const NODES: &[NodeSpec<'static>] = &[
    ("manager", "manager"),
    ("logger-1", "logger"),
    ("worker-1", "worker"),
    ("worker-2", "worker"),
];
/// A node that starts later.
const LATE: &str = "worker-2";

const MANAGER_TOPIC: &[u8] = b"zeek.cluster.manager";
const FORMAT: &[u8] = b"broker-bin-v1";

/// Counts messages that the broker's own engine did not forward.
const REFUSED: &str = "zcluster_broker_refused_total";

/// A running cluster, without one node.
struct Running {
    cluster: Cluster,
    broker: Process,
    nodes: BTreeMap<String, Process>,
}

impl Running {
    fn start(engine: Engine, options: &str) -> Self {
        let cluster = Cluster::on(engine, NODES, options);
        let broker = cluster.broker();
        let early: Vec<_> = NODES.iter().copied().filter(|(name, _)| *name != LATE).collect();
        let mut nodes = cluster.start_all(&early);
        wait_all_see_all(&mut nodes);
        Running { cluster, broker, nodes }
    }

    fn node(&self, name: &str) -> &Process {
        &self.nodes[name]
    }

    /// Checks that no node went down, a new node can join, and events and logs flow.
    fn assert_well(mut self) {
        assert!(self.broker.is_running());
        let late = self.cluster.node(LATE, &[]);
        for node in self.nodes.values_mut() {
            assert_eq!(node.wait_member("node_up", LATE), late.id());
        }
        self.nodes.insert(LATE.into(), late);
        let others = ["manager", "logger-1", "worker-1"];
        self.nodes.get_mut(LATE).unwrap().wait_all_up(&others);
        for (from, to) in [("manager", LATE), (LATE, "worker-1"), ("worker-1", "manager")] {
            let line = format!(
                r#"{{"topic":"zeek.cluster.node.{to}.","event":"Test::after","args":["{from}"]}}"#
            );
            self.nodes.get_mut(from).unwrap().write_line(&line);
            let to = self.nodes.get_mut(to).unwrap();
            to.wait_line("the event", |line| (line["event"] == "Test::after").then_some(()));
        }
        for node in self.nodes.values_mut() {
            let down = node.seen.iter().find(|line| line.get("node_down").is_some());
            assert_eq!(down, None, "{}", node.name);
            assert!(!node.stderr().contains("panicked"), "{}", node.stderr());
            assert!(node.health().0, "{}: {}", node.name, node.health().1);
        }
        assert!(self.broker.health().0, "{}", self.broker.health().1);
        // The logger last: the others have logs for it.
        let mut logger = self.nodes.remove("logger-1").unwrap();
        self.nodes.values_mut().chain([&mut logger, &mut self.broker]).for_each(Process::stop);
    }
}

fn encode(event: &Event) -> Vec<u8> {
    let mut payload = Vec::new();
    EventFormat::BrokerBinV1.encode(event, &mut payload);
    payload
}

/// An event whose only argument is `depth` nested vectors (WIRE.md §2). The event itself takes
/// three more levels.
fn nested(depth: usize) -> Vec<u8> {
    let mut payload = encode(&Event::new("Test::nested", vec![Value::Vector(vec![])]));
    // It ends with the empty vector: type, number of elements.
    assert_eq!(payload.split_off(payload.len() - 2), [0x0e, 0]);
    for _ in 0..depth {
        payload.extend([0x0e, 1]);
    }
    payload.extend([0x0e, 0]);
    payload
}

fn messages_with_a_wrong_number_of_frames_are_counted(engine: Engine) {
    let running = Running::start(engine, "");
    let peer = RawPeer::publisher(&running.broker.endpoint("xsub"), MANAGER_TOPIC);
    let good = encode(&Event::new("Test::good", vec![]));
    let frames: &[&[&[u8]]] = &[
        &[MANAGER_TOPIC],
        &[MANAGER_TOPIC, b"stranger", FORMAT],
        &[MANAGER_TOPIC, b"stranger", FORMAT, &good, b"more"],
        &[MANAGER_TOPIC; 100],
    ];
    for frames in frames {
        peer.send(frames);
    }
    let manager = running.node("manager");
    match engine {
        Engine::Zmq => {
            manager.wait_metric("zeek_cluster_zeromq_msg_errors_total", 4.0);
            assert_eq!(manager.metric("zeek_cluster_zeromq_msg_errors_total"), 4.0);
            assert!(manager.stderr().contains("[zeromq] xsub: error: expected 4 parts, have 1!"));
        }
        // The broker does not forward them.
        Engine::Switch => {
            running.broker.wait_metric(REFUSED, 4.0);
            assert_eq!(running.broker.metric_with(REFUSED, "reason=\"frame_count\""), 4.0);
            assert_eq!(manager.metric("zeek_cluster_zeromq_msg_errors_total"), 0.0);
        }
    }
    running.assert_well();
}

fn short_messages_to_a_subscriber_of_everything(engine: Engine) {
    let mut running = Running::start(engine, "");
    let mut all = running.cluster.node(LATE, &["--subscribe", ""]);
    all.wait_all_up(&["manager"]);
    let peer = RawPeer::publisher(&running.broker.endpoint("xsub"), b"");
    peer.send(&[b"x"]);
    peer.send(&[b"x"; 4]);
    match engine {
        Engine::Zmq => all.wait_metric("zeek_cluster_zeromq_msg_errors_total", 1.0),
        Engine::Switch => running.broker.wait_metric(REFUSED, 1.0),
    }
    all.wait_metric("zcluster_event_errors_total", 1.0);
    drop(peer);
    all.stop();
    for node in running.nodes.values_mut() {
        node.wait_member("node_down", LATE);
        node.seen.clear();
    }
    running.assert_well();
}

fn events_that_do_not_decode_are_counted(engine: Engine) {
    let mut running = Running::start(engine, "");
    let incoming = |manager: &Process| manager.metric("zeek_cluster_core_incoming_events_total");
    let greetings = incoming(running.node("manager"));
    let peer = RawPeer::publisher(&running.broker.endpoint("xsub"), MANAGER_TOPIC);
    let good = encode(&Event::new("Test::good", vec![Value::from("x"), Value::from(1u64)]));
    let mut payloads = vec![
        b"garbage".to_vec(),
        vec![0xff; 1 << 20],
        [good.as_slice(), b"trailing"].concat(),
        nested(MAX_DEPTH - 3),
        // Claims of 4 G elements and 4 G bytes that do not follow.
        b"\x0e\xff\xff\xff\xff\x0f".to_vec(),
        b"\x05\xff\xff\xff\xff\x0f".to_vec(),
    ];
    payloads.extend((0..good.len()).map(|length| good[..length].to_vec()));
    for payload in &payloads {
        peer.send(&[MANAGER_TOPIC, b"stranger", FORMAT, payload]);
    }
    let formats: &[&[u8]] = &[b"", b"unknown", b"broker-json-v1", b"BROKER-BIN-V1", b"\xff\0"];
    for format in formats {
        peer.send(&[MANAGER_TOPIC, b"stranger", format, &good]);
    }
    // Any sender is accepted.
    for sender in [b"".as_slice(), b"\xff\0", &vec![b'x'; 100_000]] {
        peer.send(&[MANAGER_TOPIC, sender, FORMAT, &good]);
    }
    let manager = running.nodes.get_mut("manager").unwrap();
    for _ in 0..3 {
        manager.wait_line("a good event", |line| (line["event"] == "Test::good").then_some(()));
    }
    let errors = |reason: &str| {
        manager.metric_with("zcluster_event_errors_total", &format!("reason=\"{reason}\""))
    };
    assert_eq!(errors("format"), formats.len() as f64);
    assert_eq!(errors("payload"), payloads.len() as f64);
    assert_eq!(incoming(manager) - greetings, 3.0);
    running.assert_well();
}

fn greetings_of_strangers_make_no_members(engine: Engine) {
    let mut running = Running::start(engine, "");
    let manager = running.node("manager");
    let topic = format!("zeek.cluster.nodeid.{}.", manager.id());
    let peer = RawPeer::publisher(&running.broker.endpoint("xsub"), topic.as_bytes());
    let ids: Vec<Value> = vec![
        Value::from("stranger"),
        Value::from(manager.id()),
        Value::from(running.node("worker-1").id()),
        Value::from("x".repeat(100_000)),
        Value::from(b"\xff\0".as_slice()),
        Value::from(""),
    ];
    let mut arguments = vec![vec![], vec![Value::None], vec![Value::from(1u64); 2]];
    for id in &ids {
        for name in ["stranger", "", "\0", &"x".repeat(100_000)] {
            arguments.push(vec![Value::from(name), id.clone()]);
            arguments.push(vec![Value::from(name), id.clone(), Value::None]);
        }
        arguments.push(vec![id.clone(), Value::from(1u64)]);
        arguments.push(vec![Value::from(b"\xff".as_slice()), id.clone()]);
    }
    for name in ["Cluster::hello", "Cluster::Backend::ZeroMQ::hello"] {
        for arguments in &arguments {
            let payload = encode(&Event::new(name, arguments.clone()));
            peer.send(&[topic.as_bytes(), b"stranger", FORMAT, &payload]);
        }
        peer.send(&[topic.as_bytes(), b"stranger", FORMAT, b"garbage"]);
    }
    let manager = running.nodes.get_mut("manager").unwrap();
    let counts = ["Test::last", "Test::counted"].map(|name| {
        let payload = encode(&Event::new(name, vec![]));
        peer.send(&[topic.as_bytes(), b"stranger", FORMAT, &payload]);
        manager.wait_line("the last events", |line| (line["event"] == name).then_some(()));
        manager.metric("zeek_cluster_core_incoming_events_total")
    });
    assert_eq!(counts[1] - counts[0], 1.0, "each event counts once");
    assert_eq!(manager.metric("zcluster_members_up"), 2.0);
    running.assert_well();
}

fn ten_thousand_strange_subscriptions(engine: Engine) {
    let running = Running::start(engine, "hello_expiration = \"1s\"");
    let peer = RawPeer::connect(SocketKind::Xsub, &running.broker.endpoint("xpub"));
    let many = (0..10_000usize).map(|n| match n % 4 {
        0 => format!("zeek.cluster.nodeid.stranger-{n}.").into_bytes(),
        1 => format!("zeek.cluster.nodeid.{}", "x".repeat(n)).into_bytes(),
        2 => [b"\xff\0zeek.cluster.".as_slice(), &n.to_le_bytes()].concat(),
        _ => format!("strange.{n}").into_bytes(),
    });
    let few = ["zeek.cluster.nodeid.", "zeek.cluster.nodeid..", "strange.last"];
    peer.subscribe_all(many.chain(few.map(Vec::from)));
    let peer = peer.read_on();
    let last = RawPeer::publisher(&running.broker.endpoint("xsub"), b"strange.last");
    drop(last);
    for node in running.nodes.values() {
        node.wait_stderr("Expired subscription from nodeid");
    }
    drop(peer);
    for node in running.nodes.values() {
        node.wait_stderr("unsubscription of unknown node");
    }
    running.assert_well();
}

fn strangers_beyond_all_limits_do_not_keep_nodes_out(engine: Engine) {
    let running = Running::start(engine, "");
    let peer = RawPeer::connect(SocketKind::Xsub, &running.broker.endpoint("xpub"));
    peer.subscribe_all((0..11_000).map(|n| format!("zeek.cluster.nodeid.x-{n}.").into_bytes()));
    let _peer = peer.read_on();
    for node in running.nodes.values() {
        node.wait_stderr("too many unknown nodes");
    }
    running.assert_well();
}

fn user_messages_upstream_are_ignored(engine: Engine) {
    let running = Running::start(engine, "");
    let peer = RawPeer::connect(SocketKind::Xsub, &running.broker.endpoint("xpub"));
    peer.send(&[b"\x02user"]);
    peer.send(&[b"\xff"]);
    peer.send(&[vec![b'x'; 1 << 20]]);
    peer.send(&[b"\x02user".as_slice(), b"message"]);
    peer.send(&[b"x".as_slice(); 100]);
    peer.send(&[SubscriptionMessage::Subscribe(b"strange.last").encode()]);
    let last = RawPeer::publisher(&running.broker.endpoint("xsub"), b"strange.last");
    drop(last);
    // Of the messages that reach them, nodes count those with several frames.
    let errors = match engine {
        Engine::Zmq => 2.0,
        Engine::Switch => 0.0,
    };
    for node in running.nodes.values() {
        node.wait_metric("zeek_cluster_zeromq_msg_errors_total", errors);
        assert_eq!(node.metric("zeek_cluster_zeromq_msg_errors_total"), errors);
    }
    if engine == Engine::Switch {
        assert_eq!(running.broker.metric_with(REFUSED, "reason=\"user_message\""), 5.0);
    }
    running.assert_well();
}

fn garbage_and_silence_on_every_port(engine: Engine) {
    let running = Running::start(engine, "");
    let (broker, logger) = (&running.broker, running.node("logger-1"));
    let ports = [
        broker.endpoint("xsub"),
        broker.endpoint("xpub"),
        broker.endpoint("metrics"),
        logger.endpoint("log"),
        logger.endpoint("metrics"),
        running.node("manager").endpoint("metrics"),
    ];
    // Includes a ZMTP greeting for CURVE, one for NULL without a handshake, a greeting followed by
    // a frame that claims 2^63 bytes, and bytes that are not ZMTP.
    let greeting = |mechanism: &[u8]| {
        let mut bytes = vec![0; 64];
        bytes[0] = 0xff;
        bytes[9] = 0x7f;
        bytes[10] = 3;
        bytes[12..12 + mechanism.len()].copy_from_slice(mechanism);
        bytes
    };
    let garbage = [
        b"GET / HTTP/1.0\r\n\r\n".to_vec(),
        b"GET /metrics HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n".to_vec(),
        b"\xff".to_vec(),
        vec![0; 1 << 16],
        vec![0xff; 1 << 16],
        greeting(b"CURVE"),
        greeting(b"NULL"),
        [greeting(b"NULL").as_slice(), b"\x02\x7f\xff\xff\xff\xff\xff\xff\xff"].concat(),
        [greeting(b"NULL").as_slice(), b"\x04\x05\x05READY\xff"].concat(),
        (0..=255).collect(),
    ];
    let mut open: Vec<TcpStream> = Vec::new();
    for port in &ports {
        for bytes in &garbage {
            drop(send_garbage(port, bytes));
            open.push(send_garbage(port, bytes));
        }
        open.extend((0..50).map(|_| tcp(port)));
    }
    wait_for("failed handshakes to be counted", || {
        let failed = |socket: &str| {
            let label = format!("socket=\"{socket}\"");
            broker.metric_with("zcluster_broker_handshakes_failed_total", &label)
        };
        (failed("frontend") > 0.0 && failed("backend") > 0.0).then_some(())
    });
    // The silent connections are still open.
    running.assert_well();
}

on_both_engines!(
    messages_with_a_wrong_number_of_frames_are_counted,
    short_messages_to_a_subscriber_of_everything,
    events_that_do_not_decode_are_counted,
    greetings_of_strangers_make_no_members,
    ten_thousand_strange_subscriptions,
    strangers_beyond_all_limits_do_not_keep_nodes_out,
    user_messages_upstream_are_ignored,
    garbage_and_silence_on_every_port,
);
