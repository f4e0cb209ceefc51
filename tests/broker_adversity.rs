//! The broker's own engine must not, whatever its peers do, crash, lose accepted events, treat fast
//! peers as slow, or fail to stop.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};

use support::load::{Counts, Sink, Source};
use support::zmtp::{Incoming, ZmtpPeer, message, ping};
use support::{Cluster, Engine, NodeSpec, Process, wait_for};
use zcluster::wire::zmtp::SocketType;

const NODES: &[NodeSpec<'static>] = &[("manager", "manager")];

const TOPIC: &[u8] = b"test.bulk.";
/// Approximate size of an event in bytes.
const SIZE: usize = 8 << 10;

const DROPPED: &str = "zcluster_broker_events_dropped_total";
const HELD: &str = "zcluster_broker_held_total";
const RECEIVED: &str = "zcluster_broker_events_received_total";

/// Starts a broker with that many threads and queues of 100 events. `options`: more lines of
/// `[broker]`.
fn start(threads: u32, options: &str) -> (Process, Cluster) {
    let options = format!(
        "[broker]\nmetrics_port = 0\nsubscriber_hwm = 100\nio_threads = {threads}\n{options}"
    );
    let cluster = Cluster::on(Engine::Switch, NODES, &options);
    (cluster.broker(), cluster)
}

#[test]
fn a_long_message_may_come_in_pieces() {
    let (mut broker, _cluster) = start(1, "");
    for (endpoint, socket_type) in [("xpub", SocketType::Sub), ("xsub", SocketType::Pub)] {
        let mut peer = ZmtpPeer::connect(&broker.endpoint(endpoint), socket_type, 1);
        peer.answers_pings = false;
        let long = vec![b'x'; 1000];
        let bytes = message(&[&long, &long, &long, &long, &long, &vec![]]);
        // All but the last frame; the PONG shows that they were read.
        peer.write(&bytes[..bytes.len() - 2]);
        peer.write(&ping(0, b"read"));
        while peer.receive() != Some(Incoming::Command(b"\x04PONGread".to_vec())) {}
        peer.write(&bytes[bytes.len() - 2..]);
        peer.write(&ping(0, b"all"));
        while peer.receive().unwrap() != Incoming::Command(b"\x04PONGall".to_vec()) {}
        assert!(broker.is_running(), "{}", broker.stderr());
    }
    broker.stop();
}

#[test]
fn events_sent_before_a_publisher_disconnects_arrive() {
    for threads in [1, 3] {
        let (broker, _cluster) = start(threads, "when_full = \"block\"\nblock_timeout = \"14s\"");
        let mut sink = Sink::connect_narrow(&broker, "worker-1", &[TOPIC]);
        let mut source = Source::connect(&broker, "manager", SIZE);
        source.wait_subscription(TOPIC);
        while broker.metric(HELD) == 0.0 {
            source.publish(TOPIC, 10);
        }
        // Few enough to fit into the broker's receive buffer.
        source.publish(TOPIC, 4);
        let (id, count) = (source.id.clone(), source.next);
        drop(source);
        // Gives the broker something to send to the gone publisher, repeatedly.
        let mut other = Sink::connect_nameless(&broker, &[]);
        for n in 0..5 {
            other.peer.subscribe(true, format!("other.{n}").as_bytes());
            wait_for("the subscription", || {
                (broker.metric("zcluster_broker_subscriptions") >= f64::from(n + 3)).then_some(())
            });
        }
        sink.receive_up_to(TOPIC, &id, count - 1);
        assert_eq!(sink.got(TOPIC, &id).whole(), Some(0..count), "{threads} threads");
    }
}

#[test]
fn many_publishers_to_one_subscriber_take_turns() {
    const PUBLISHERS: usize = 12;
    const COUNT: u64 = 400;
    for threads in [1, 3] {
        let (broker, _cluster) = start(threads, "patience = \"1s\"");
        let mut sink = Sink::connect_narrow(&broker, "worker-1", &[TOPIC]);
        let mut sources: Vec<Source> = (0..PUBLISHERS)
            .map(|n| Source::connect(&broker, &format!("source-{n}"), SIZE))
            .collect();
        for source in &mut sources {
            source.wait_subscription(TOPIC);
        }
        let total = PUBLISHERS as u64 * COUNT;
        std::thread::scope(|scope| {
            for source in &mut sources {
                scope.spawn(|| source.publish(TOPIC, COUNT));
            }
            // It reads, but slowly: it fetches the metrics between any two events.
            while sink.count() < total {
                assert!(sink.receive());
                assert_eq!(broker.metric(DROPPED), 0.0, "after {}", sink.count());
            }
        });
        assert!(broker.metric(HELD) > 0.0);
        let counts = Counts::wait_closed(&broker, "worker-1", total);
        assert_eq!((counts.sent, counts.dropped), (total, 0));
    }
}

#[test]
fn a_message_may_trickle_in() {
    let (broker, _cluster) = start(1, "");
    let mut sink = Sink::connect_nameless(&broker, &[b"slow"]);
    let mut publisher = ZmtpPeer::connect(&broker.endpoint("xsub"), SocketType::Pub, 1);
    while publisher.receive().unwrap().subscription() != Some((true, b"slow")) {}
    let payload = vec![b'x'; 200_000];
    let frames: [&[u8]; 4] = [b"slow", b"sender", b"broker-bin-v1", &payload];
    for size in [100_000, 5_000, 700] {
        let bytes = message(&frames);
        for piece in bytes.chunks(size) {
            publisher.write(piece);
        }
        // The start of the next event is found correctly.
        let next: [&[u8]; 4] = [b"slow", b"sender", b"broker-bin-v1", b"x"];
        publisher.send(&next);
        assert_eq!(sink.peer.receive_message().unwrap(), frames);
        assert_eq!(sink.peer.receive_message().unwrap(), next);
    }
}

#[test]
fn shutdown_does_not_wait_for_publishers_that_keep_sending() {
    for threads in [1, 3] {
        let (mut broker, _cluster) = start(threads, "");
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for n in 0..3 {
                let mut source = Source::connect(&broker, &format!("source-{n}"), SIZE);
                let stop = &stop;
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) && source.try_publish(TOPIC, 100).is_ok() {}
                });
            }
            broker.wait_metric(RECEIVED, 1000.0);
            broker.stop();
            stop.store(true, Ordering::Relaxed);
        });
    }
}
