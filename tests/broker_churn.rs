//! Many peers, peers that come and go, a broker without file descriptors, and shutdown: the broker
//! releases what it holds and sends what it has accepted.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::fs;

use support::load::{Counts, Sink, Source};
use support::zmtp::{ZmtpPeer, handshake, message};
use support::{
    Cluster, Engine, NodeSpec, PATIENCE, Process, Signal, binary, wait_for,
    wait_until_it_stands_still,
};
use zcluster::wire::zmtp::SocketType;

const NODES: &[NodeSpec<'static>] = &[("manager", "manager")];

const TOPIC: &[u8] = b"test.";
const PEERS: &str = "zcluster_broker_peers";

fn descriptors(broker: &Process) -> usize {
    fs::read_dir(format!("/proc/{}/fd", broker.pid())).unwrap().count()
}

fn wait_peers(broker: &Process, count: usize) {
    wait_for(&format!("{count} peers, now {}", broker.metric(PEERS)), || {
        (broker.metric(PEERS) == count as f64).then_some(())
    });
}

/// Publishes an event and waits for it.
fn assert_forwards(source: &mut Source, sink: &mut Sink) {
    let number = source.next;
    source.publish(TOPIC, 1);
    sink.receive_up_to(TOPIC, &source.id, number);
}

fn a_thousand_peers_at_once(engine: Engine) {
    const EACH: usize = 500;
    let cluster = Cluster::on(engine, NODES, "");
    let mut broker = cluster.broker();
    let mut sinks: Vec<_> =
        (0..EACH).map(|n| Sink::connect(&broker, &format!("sink-{n}"), &[TOPIC])).collect();
    let mut sources: Vec<_> =
        (0..EACH).map(|n| Source::connect(&broker, &format!("source-{n}"), 10)).collect();
    for source in &mut sources {
        source.wait_subscription(TOPIC);
    }
    wait_peers(&broker, 2 * EACH);
    // All publishers see a new subscriber.
    let mut last = Sink::connect(&broker, "last", &[b"last"]);
    for source in &mut sources {
        source.wait_subscription(b"last");
    }
    // Every tenth publishes to all.
    for source in sources.iter_mut().step_by(10) {
        source.publish(TOPIC, 1);
        source.publish(b"last", 1);
    }
    for sink in &mut sinks {
        while sink.count() < EACH as u64 / 10 {
            assert!(sink.receive());
        }
    }
    while last.count() < EACH as u64 / 10 {
        assert!(last.receive());
    }
    drop(sinks);
    drop(sources);
    wait_peers(&broker, 1);
    broker.stop();
}

/// Connects, sends something, and leaves.
fn come_and_go(broker: &Process, n: usize) {
    let minor = (n % 4 / 2) as u8;
    let (endpoint, socket_type, said) = if n.is_multiple_of(2) {
        // Without subscribers.
        let event = message(&[&b"unheard"[..], b"s", b"f", &[0; 300]]);
        (broker.endpoint("xsub"), SocketType::Xpub, event)
    } else {
        let own = format!("\x01own.{n}");
        let subscriptions = [own.as_bytes(), b"\x01shared", b"\0shared"].map(|one| message(&[one]));
        (broker.endpoint("xpub"), SocketType::Xsub, subscriptions.concat())
    };
    // Every fifth leaves at some point of the conversation, the others at its end.
    let hands = handshake(socket_type, minor);
    let whole = hands.len() + said.len();
    let end = if n.is_multiple_of(5) { n * 37 % whole } else { whole };
    if end < hands.len() {
        ZmtpPeer::silent(&endpoint).write(&hands[..end]);
    } else {
        let mut peer = ZmtpPeer::connect(&endpoint, socket_type, minor);
        peer.write(&said[..end - hands.len()]);
    }
}

#[test]
fn ten_thousand_peers_connect_and_disconnect() {
    const WARM_UP: usize = 2_000;
    const MANY: usize = 10_000;
    let cluster = Cluster::on(Engine::Switch, NODES, "");
    let mut broker = cluster.broker();
    let mut sink = Sink::connect(&broker, "sink", &[TOPIC]);
    let mut source = Source::connect(&broker, "source", 10);
    source.wait_subscription(TOPIC);
    let mut after = |range: std::ops::Range<usize>| {
        for n in range {
            come_and_go(&broker, n);
            if n.is_multiple_of(100) {
                assert_forwards(&mut source, &mut sink);
            }
        }
        assert_forwards(&mut source, &mut sink);
        wait_peers(&broker, 2);
        (descriptors(&broker), broker.memory())
    };
    let before = after(0..WARM_UP);
    let end = after(WARM_UP..WARM_UP + MANY);
    // Connections to the metrics also come and go.
    assert!(end.0 <= before.0 + 2, "{} descriptors, {} before", end.0, before.0);
    let grown = end.1.saturating_sub(before.1);
    assert!(grown < 4 << 20, "{grown} bytes more than before");
    let told = broker.stderr().lines().count();
    assert!(told < 100, "{told} lines about it");
    drop((source, sink));
    broker.stop();
}

fn without_descriptors_it_waits_for_some(engine: Engine) {
    const LIMIT: usize = 60;
    let cluster = Cluster::on(engine, NODES, "");
    let mut command = std::process::Command::new("sh");
    command
        .arg("-c")
        .arg(format!("ulimit -n {LIMIT} && exec \"$0\" \"$@\""))
        .arg(binary("zcluster-broker"))
        .args(["--layout", cluster.layout_arg()]);
    let mut broker = Process::start_command("broker", &mut command);
    let mut sink = Sink::connect(&broker, "sink", &[TOPIC]);
    let mut source = Source::connect(&broker, "source", 10);
    source.wait_subscription(TOPIC);
    // They wait in the listener's backlog.
    let crowd: Vec<_> = (0..LIMIT)
        .flat_map(|_| ["xsub", "xpub"])
        .map(|socket| ZmtpPeer::silent(&broker.endpoint(socket)))
        .collect();
    broker.wait_stderr("cannot accept");
    for _ in 0..100 {
        assert_forwards(&mut source, &mut sink);
    }
    drop(crowd);
    // New peers can connect again.
    let mut late = Source::connect(&broker, "late", 10);
    late.wait_subscription(TOPIC);
    assert_forwards(&mut late, &mut sink);
    wait_peers(&broker, 3);
    assert!(broker.metric("zcluster_broker_accept_failures_total") > 0.0);
    // It does not log each failure.
    let told = broker.stderr().lines().count();
    assert!(told < 50, "{told} lines about it");
    drop((source, late, sink));
    broker.stop();
}

/// Approximate size of an event in bytes.
const SIZE: usize = 8 << 10;
/// More events than the system's buffers hold.
const MANY: u64 = 1500;

#[test]
fn accepted_events_are_sent_before_shutdown() {
    let options = format!(
        "linger_ms = {}\n[broker]\nmetrics_port = 0\nsubscriber_hwm = 0\nsubscriber_max_bytes = 0",
        PATIENCE.as_millis()
    );
    let cluster = Cluster::on(Engine::Switch, NODES, &options);
    let mut broker = cluster.broker();
    let mut source = Source::connect(&broker, "source", SIZE);
    let mut late = Sink::connect_narrow(&broker, "late", &[TOPIC]);
    source.wait_subscription(TOPIC);
    source.publish(TOPIC, MANY);
    broker.wait_metric("zcluster_broker_events_received_total", MANY as f64);
    let queued = broker.metric("zcluster_broker_queue_messages");
    assert!(queued > 100.0, "{queued} queued");
    broker.signal(Signal::TERM);
    // New peers are not accepted, and publishers are no longer read.
    wait_for("the listener to be closed", || {
        let endpoint = broker.endpoint("xsub");
        let address = endpoint.trim_start_matches("tcp://");
        std::net::TcpStream::connect(address).err()
    });
    assert!(broker.is_running());
    late.receive_up_to(TOPIC, &source.id, MANY - 1);
    assert_eq!(late.got(TOPIC, &source.id).whole(), Some(0..MANY));
    late.peer.wait_end();
    assert_eq!(broker.wait().code(), Some(0), "{}", broker.stderr());
}

#[test]
fn shutdown_does_not_wait_for_subscribers_that_do_not_read() {
    let options =
        "linger_ms = 300\n[broker]\nmetrics_port = 0\nsubscriber_hwm = 0\nsubscriber_max_bytes = 0";
    let cluster = Cluster::on(Engine::Switch, NODES, options);
    let mut broker = cluster.broker();
    let mut source = Source::connect(&broker, "source", SIZE);
    let _stuck = Sink::connect_narrow(&broker, "stuck", &[TOPIC]);
    let reader = Sink::connect(&broker, "reader", &[TOPIC]).read_on();
    source.wait_subscription(TOPIC);
    source.wait_subscription(TOPIC);
    source.publish(TOPIC, MANY);
    reader.wait_count(MANY);
    wait_until_it_stands_still(|| Counts::of(&broker, "stuck").sent);
    broker.stop();
    // It logs what it gave up.
    assert!(broker.stderr().contains("WARN"), "{}", broker.stderr());
}

on_both_engines!(a_thousand_peers_at_once, without_descriptors_it_waits_for_some,);
