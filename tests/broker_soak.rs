//! The broker's own engine at full load, while peers are killed and reconnect at random moments. At
//! the end, the numbers of published, delivered and dropped events add up exactly.
//!
//! `ZCLUSTER_SOAK_ROUNDS` sets the duration (`make chaos`).
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use support::load::{ReadingSink, Sink, Source};
use support::random::Random;
use support::zmtp::message;
use support::{Cluster, Engine, NodeSpec, metric, wait_for};

const NODES: &[NodeSpec<'static>] = &[("manager", "manager")];

/// Rounds by default.
const ROUNDS: u64 = 20;
/// Events per round that reach the subscriber to all topics.
const ROUND: u64 = 2_000;

const TOPICS: [&[u8]; 4] = [b"load.0.", b"load.1.", b"load.2.", b"control.0."];
/// Approximate sizes of events in bytes.
const SIZES: [usize; 3] = [20, 300, 10_000];

const LIVING_SOURCES: [&str; 3] = ["source-0", "source-1", "source-2"];
const MORTAL_SOURCES: [&str; 3] = ["mortal-source-0", "mortal-source-1", "mortal-source-2"];
/// Names and subscriptions.
const LIVING_SINKS: [(&str, &[&[u8]]); 4] = [
    ("sink-all", &[b""]),
    ("sink-bulk", &[b"load."]),
    ("sink-two", &[b"load.1.", b"control."]),
    ("sink-slow", &[b"load.", b"load.2."]),
];
const MORTAL_SINKS: [(&str, &[&[u8]]); 4] = [
    ("mortal-sink-0", &[b""]),
    ("mortal-sink-1", &[b"load.0.", b"load.1."]),
    ("mortal-sink-2", &[b"load.", b"control."]),
    ("mortal-sink-deaf", &[b"load."]),
];

/// Publishes until told to stop.
fn publish(source: &mut Source, random: &mut Random, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let topic = TOPICS[random.below(TOPICS.len())];
        let count = 1 + random.below(60) as u64;
        source.publish(topic, count);
    }
}

/// Publishes some events and disconnects in the middle of one.
fn publish_and_die(mut source: Source, random: &mut Random) {
    for _ in 0..random.below(5) {
        source.publish(TOPICS[random.below(TOPICS.len())], 1 + random.below(60) as u64);
    }
    let last = message(&[TOPICS[0], source.id.as_bytes(), b"broker-bin-v1", &[0; 400]]);
    source.peer.write(&last[..random.below(last.len())]);
}

/// Reads more slowly than events arrive, until told to stop.
fn read_slowly(sink: &mut Sink, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..20 {
            if !sink.try_receive() {
                break;
            }
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// The sums of a metric's series by the label `peer`.
fn by_peer(text: &str, name: &str) -> BTreeMap<String, u64> {
    let mut by_peer = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with(&format!("{name}{{"))) {
        let (_, rest) = line.split_once("peer=\"").unwrap();
        let peer = rest.split('"').next().unwrap().to_owned();
        let value = line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap();
        *by_peer.entry(peer).or_default() += value as u64;
    }
    by_peer
}

fn soak(options: &str) {
    let rounds = std::env::var("ZCLUSTER_SOAK_ROUNDS").map_or(ROUNDS, |n| n.parse().unwrap());
    let seed = RandomState::new().hash_one(0);
    eprintln!("{rounds} rounds, seed {seed}, {options:?}");
    let mut random = Random::new(seed);
    let options = format!(
        "[broker]\nmetrics_port = 0\nsubscriber_hwm = 500\ncontrol_prefixes = [\"control.\"]\n\
         control_hwm = 500\npatience = \"20ms\"\n{options}"
    );
    let cluster = Cluster::on(Engine::Switch, NODES, &options);
    let mut broker = cluster.broker();

    let mut sources = [0, 1, 2].map(|n| Source::connect(&broker, LIVING_SOURCES[n], SIZES[n]));
    let mut sinks = LIVING_SINKS.map(|(name, prefixes)| {
        let sink = Sink::connect(&broker, name, prefixes);
        for source in &mut sources {
            source.wait_subscription(prefixes.last().unwrap());
        }
        Some(sink)
    });
    let mut slow = sinks[3].take().unwrap();
    let living: Vec<ReadingSink> = sinks.into_iter().flatten().map(Sink::read_on).collect();
    let stop = AtomicBool::new(false);
    let mut published = BTreeMap::new();
    std::thread::scope(|scope| {
        scope.spawn(|| read_slowly(&mut slow, &stop));
        let threads: Vec<_> = sources
            .into_iter()
            .map(|mut source| {
                let mut random = Random::new(random.below(1 << 30) as u64);
                let stop = &stop;
                scope.spawn(move || {
                    publish(&mut source, &mut random, stop);
                    source
                })
            })
            .collect();
        let mut mortals: [Option<ReadingSink>; 3] = [None, None, None];
        let mut deaf: Option<Sink> = None;
        let mut lives = 0;
        for round in 1..=rounds {
            for (n, mortal) in mortals.iter_mut().enumerate() {
                if random.below(2) == 0 {
                    // Disconnects if it is connected, and reconnects otherwise.
                    let (name, prefixes) = MORTAL_SINKS[n];
                    *mortal = match mortal.take() {
                        Some(_) => None,
                        None => Some(Sink::connect(&broker, name, prefixes).read_on()),
                    };
                }
            }
            if random.below(4) == 0 {
                let (name, prefixes) = MORTAL_SINKS[3];
                deaf = Some(Sink::connect_narrow(&broker, name, prefixes));
            }
            for name in MORTAL_SOURCES {
                if random.below(2) == 0 {
                    lives += 1;
                    let mut source = Source::connect(&broker, name, SIZES[random.below(3)]);
                    source.id = format!("zeromq_{name}_host_{lives}_N0");
                    publish_and_die(source, &mut random);
                }
            }
            living[0].wait_count(round * ROUND);
        }
        drop((mortals, deaf));
        stop.store(true, Ordering::Relaxed);
        for (name, thread) in LIVING_SOURCES.iter().zip(threads) {
            let source = thread.join().unwrap();
            // It stays connected until all of it has been read.
            wait_for(&format!("the events of {name}"), || {
                let accepted = by_peer(&broker.metrics(), "zcluster_broker_publisher_events_total");
                (accepted.get(*name) == Some(&source.next)).then_some(())
            });
            published.insert((*name).to_owned(), source.next);
        }
    });
    wait_for("the mortals to be gone", || {
        (broker.metric("zcluster_broker_peers") == LIVING_SINKS.len() as f64).then_some(())
    });
    wait_for("the queues to be empty", || {
        while slow.try_receive() {}
        (broker.metric("zcluster_broker_queue_messages") == 0.0).then_some(())
    });
    let text = broker.metrics();
    let total = |name: &str| metric(&text, &format!("zcluster_broker_{name}_total"), "") as u64;
    let peers = |name: &str| by_peer(&text, &format!("zcluster_broker_{name}_total"));
    let accepted = peers("publisher_events");
    assert_eq!(total("events_received"), accepted.values().sum::<u64>(), "{accepted:?}");
    for (name, published) in &published {
        assert_eq!(accepted[name], *published, "{name}");
    }
    let (matched, sent) = (peers("subscriber_events_matched"), peers("subscriber_events_sent"));
    let dropped = peers("events_dropped");
    eprintln!("accepted {accepted:?}\nmatched {matched:?}\nsent {sent:?}\ndropped {dropped:?}");
    for (name, matched) in &matched {
        let dropped = dropped.get(name).copied().unwrap_or_default();
        assert_eq!(*matched, sent[name] + dropped, "{name}");
    }
    assert_eq!(total("events_sent"), sent.values().sum::<u64>());
    assert_eq!(matched["sink-all"], total("events_received"), "it lived all the time");
    for sink in &living {
        sink.wait_count(sent[&sink.name]);
        assert_eq!(sink.count(), sent[&sink.name], "{}", sink.name);
    }
    while slow.count() < sent[&slow.name] {
        assert!(slow.receive());
    }
    assert_eq!(slow.count(), sent[&slow.name]);
    assert!(dropped.get("sink-slow").is_some_and(|n| *n > 0), "nothing was dropped: no load");
    // Disconnecting in the middle of a message is not a violation.
    assert_eq!(total("refused") + total("cut_off"), 0);
    let memory = broker.memory();
    assert!(memory < 256 << 20, "{memory} bytes in use");
    assert!(broker.health().0, "{}", broker.health().1);
    assert!(!broker.stderr().contains("panicked"));
    drop((living, slow));
    broker.stop();
}

#[test]
fn everything_adds_up_on_one_thread() {
    soak("");
}

#[test]
fn everything_adds_up_on_several_threads() {
    soak("io_threads = 3\nwhen_full = \"drop-oldest\"");
}
