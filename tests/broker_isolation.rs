//! Subscribers that stop reading and publishers that flood affect only themselves: the broker's own
//! engine with each policy, and counters that add up.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};

use support::load::{Counts, ReadingSink, Sink, Source, node_id, nodeid_topic};
use support::zmtp::Incoming;
use support::{Cluster, Engine, NodeSpec, Process, Signal, wait_for, wait_until_it_stands_still};

const NODES: &[NodeSpec<'static>] =
    &[("manager", "manager"), ("worker-1", "worker"), ("worker-2", "worker")];

const TOPIC: &[u8] = b"test.bulk.";
/// Approximate size of an event in bytes.
const SIZE: usize = 8 << 10;
/// Capacity of a queue in events.
const HWM: u64 = 100;
/// More events than a queue and the system's buffers hold: about 16 MB.
const MANY: u64 = 2000;

const DROPPED: &str = "zcluster_broker_events_dropped_total";
const CUT_OFF: &str = "zcluster_broker_cut_off_total";
const HELD: &str = "zcluster_broker_held_total";

/// A broker with small queues, and a publisher.
struct Bus {
    source: Source,
    broker: Process,
    cluster: Cluster,
}

impl Bus {
    /// Starts a broker. `options`: more lines of `[broker]`.
    fn start(options: &str) -> Self {
        let options = format!("[broker]\nmetrics_port = 0\nsubscriber_hwm = {HWM}\n{options}");
        let cluster = Cluster::on(Engine::Switch, NODES, &options);
        let broker = cluster.broker();
        let source = Source::connect(&broker, "manager", SIZE);
        Bus { source, broker, cluster }
    }

    /// Connects a subscriber that reads.
    fn reader(&mut self, name: &str, prefix: &[u8]) -> ReadingSink {
        let sink = Sink::connect(&self.broker, name, &[prefix]);
        self.source.wait_subscription(prefix);
        sink.read_on()
    }

    /// Connects one whose name the broker does not learn, so that no node greets it.
    fn nameless_reader(&mut self, prefix: &[u8]) -> ReadingSink {
        let sink = Sink::connect_nameless(&self.broker, &[prefix]);
        self.source.wait_subscription(prefix);
        sink.read_on()
    }

    /// Connects a subscriber that does not read.
    fn stuck(&mut self, name: &str, prefix: &[u8]) -> Sink {
        let sink = Sink::connect_narrow(&self.broker, name, &[prefix]);
        self.source.wait_subscription(prefix);
        sink
    }

    /// Publishes no faster than these subscribers receive, so that they have no reason to lose
    /// events.
    fn publish_to(&mut self, readers: &[&ReadingSink], topic: &[u8], count: u64) {
        const WINDOW: u64 = HWM / 2;
        for begun in (0..count).step_by(WINDOW as usize) {
            let before: Vec<u64> = readers.iter().map(|reader| reader.count()).collect();
            let window = WINDOW.min(count - begun);
            self.source.publish(topic, window);
            for (reader, before) in readers.iter().zip(before) {
                reader.wait_count(before + window);
            }
        }
    }
}

/// The counters of a subscriber that does not read, after `matched` events, and the length of its
/// queue. All other queues must be empty.
fn wait_stuck(broker: &Process, name: &str, matched: u64) -> (Counts, u64) {
    wait_for(&format!("the queue of {name}"), || {
        let counts = Counts::of(broker, name);
        let queued = broker.metric("zcluster_broker_queue_messages") as u64;
        let is_open = queued > 0 && counts.sent + counts.dropped + queued == matched;
        (counts.matched == matched && is_open).then_some((counts, queued))
    })
}

fn dropped(broker: &Process, reason: &str) -> u64 {
    broker.metric_with(DROPPED, &format!("reason=\"{reason}\"")) as u64
}

/// The effects of a policy on a subscriber that stops reading and resumes later.
struct Policy {
    options: &'static str,
    /// It loses the newest events.
    loses_the_newest: bool,
    /// It loses older events, and receives those that its queue held at the end.
    loses_older: bool,
    is_cut_off: bool,
    /// Its publisher waits for it.
    holds: bool,
}

const POLICIES: &[Policy] = &[
    Policy {
        options: "when_full = \"drop-newest\"",
        loses_the_newest: true,
        loses_older: false,
        is_cut_off: false,
        holds: false,
    },
    Policy {
        options: "when_full = \"drop-oldest\"",
        loses_the_newest: false,
        loses_older: true,
        is_cut_off: false,
        holds: false,
    },
    Policy {
        options: "when_full = \"disconnect\"\ndisconnect_after = \"200ms\"",
        loses_the_newest: true,
        loses_older: false,
        is_cut_off: true,
        holds: false,
    },
    Policy {
        options: "when_full = \"block\"\nblock_timeout = \"200ms\"",
        loses_the_newest: true,
        loses_older: false,
        is_cut_off: false,
        holds: true,
    },
];

#[test]
fn every_policy_counts_what_it_drops() {
    for policy in POLICIES {
        eprintln!("{}", policy.options);
        let mut bus = Bus::start(policy.options);
        let reader = bus.reader("worker-1", TOPIC);
        let mut stuck = bus.stuck("worker-2", TOPIC);
        bus.publish_to(&[&reader], TOPIC, MANY);
        let source = bus.source.id.clone();
        assert_eq!(reader.got(TOPIC, &source).whole(), Some(0..MANY), "who reads loses nothing");
        assert_eq!(bus.broker.metric(HELD) > 0.0, policy.holds);
        bus.broker.wait_stderr("worker-2");

        let cut_off = |broker: &Process| broker.metric_with(CUT_OFF, "reason=\"slow\"");
        if policy.is_cut_off {
            wait_for("the slow one to be cut off", || (cut_off(&bus.broker) > 0.0).then_some(()));
            stuck.peer.wait_end();
            // It may have been cut off before the last of them.
            let counts = Counts::of(&bus.broker, "worker-2");
            assert!(counts.matched <= MANY, "{counts:?}");
            assert_eq!(counts.matched, counts.sent + counts.dropped, "{counts:?}");
            assert!(dropped(&bus.broker, "disconnected") <= HWM, "{counts:?}");
            assert!(dropped(&bus.broker, "queue_full") > 0, "{counts:?}");
        } else {
            assert_eq!(cut_off(&bus.broker), 0.0);
            // What it receives: events sent early, and those in the queue.
            let (before, queued) = wait_stuck(&bus.broker, "worker-2", MANY);
            assert!((HWM / 2..=HWM).contains(&queued), "{queued} queued");
            assert!(
                bus.broker.metric("zcluster_broker_queue_bytes") >= (queued * SIZE as u64) as f64
            );
            while stuck.count() < before.sent + queued {
                assert!(stuck.receive());
            }
            let counts = Counts::wait_closed(&bus.broker, "worker-2", MANY);
            assert_eq!(counts.sent, stuck.count());
            assert_eq!(counts.dropped, dropped(&bus.broker, "queue_full"));
            assert!(counts.dropped > 0, "{counts:?}");
            let got = stuck.got(TOPIC, &source);
            assert_eq!(got.ranges[0].start, 0, "{got:?}");
            let newest = got.ranges.last().unwrap();
            assert_eq!(newest.end < MANY, policy.loses_the_newest, "{got:?}");
            // The other policies keep the oldest events. A system that accepts more bytes later may
            // cause more ranges.
            if policy.loses_older {
                assert!(got.ranges.len() > 1, "{got:?}");
                assert!(newest.end - newest.start >= HWM / 2, "{got:?}");
            } else {
                assert!(got.ranges[0].end >= HWM, "{got:?}");
            }
            // It receives new events again.
            bus.publish_to(&[&reader], TOPIC, 1);
            stuck.receive_up_to(TOPIC, &source, MANY);
            let counts = Counts::wait_closed(&bus.broker, "worker-2", MANY + 1);
            assert_eq!(counts.sent, stuck.count());
        }
        assert_eq!(dropped(&bus.broker, "control_full"), 0);
        let reader_counts = Counts::wait_closed(&bus.broker, "worker-1", reader.count());
        assert_eq!(reader_counts.dropped, 0);
        let accepted =
            bus.broker.metric_with("zcluster_broker_publisher_events_total", "peer=\"manager\"");
        // The publisher has no name before its first event.
        let received = bus.broker.metric("zcluster_broker_events_received_total");
        assert_eq!((accepted, received), (bus.source.next as f64, bus.source.next as f64));
        assert!(bus.broker.health().0, "{}", bus.broker.health().1);
        drop((reader, stuck));
        bus.broker.stop();
    }
}

#[test]
fn topics_may_have_policies_of_their_own() {
    let mut bus = Bus::start(
        "when_full = \"drop-newest\"\n[broker.topic.\"fresh.\"]\nwhen_full = \"drop-oldest\"\n\
         [broker.topic.\"fresh.not.\"]\nwhen_full = \"drop-newest\"",
    );
    // (topic, whether the last event arrives)
    for (n, (topic, arrives)) in
        [(&b"fresh.x"[..], true), (b"fresh.not.x", false), (b"fres", false)].into_iter().enumerate()
    {
        let reader = bus.reader(&format!("reader-{n}"), topic);
        let mut stuck = bus.stuck(&format!("stuck-{n}"), topic);
        let last = bus.source.next + MANY - 1;
        bus.publish_to(&[&reader], topic, MANY);
        let (before, queued) = wait_stuck(&bus.broker, &stuck.name, MANY);
        while stuck.count() < before.sent + queued {
            assert!(stuck.receive());
        }
        let got = stuck.got(topic, &bus.source.id);
        let has_last = got.ranges.last().is_some_and(|range| range.contains(&last));
        assert_eq!(has_last, arrives, "{}: {got:?}", topic.escape_ascii());
        let counts = Counts::wait_closed(&bus.broker, &stuck.name, MANY);
        assert_eq!(counts.sent, stuck.count());
        let label = format!("prefix=\"{}\"", topic.escape_ascii());
        assert_eq!(bus.broker.metric_with(DROPPED, &label) as u64, counts.dropped);
    }
}

#[test]
fn with_block_nobody_loses_anything_while_there_is_time() {
    let mut bus = Bus::start("when_full = \"block\"\nblock_timeout = \"10min\"");
    let reader = bus.reader("worker-1", TOPIC);
    let mut stuck = bus.stuck("worker-2", TOPIC);
    let Bus { mut source, broker, cluster } = bus;
    let id = source.id.clone();
    let publisher = std::thread::spawn(move || {
        source.publish(TOPIC, MANY);
        source
    });
    broker.wait_metric(HELD, 1.0);
    wait_until_it_stands_still(|| reader.count());
    assert!(reader.count() < MANY, "the publisher waits");
    assert!(broker.health().0, "{}", broker.health().1);
    stuck.receive_up_to(TOPIC, &id, MANY - 1);
    reader.wait_count(MANY);
    for got in [reader.got(TOPIC, &id), stuck.got(TOPIC, &id)] {
        assert_eq!(got.whole(), Some(0..MANY));
    }
    let counts = Counts::wait_closed(&broker, "worker-2", MANY);
    assert_eq!(counts.dropped, 0);
    drop(publisher.join().unwrap());
    drop(cluster);
}

#[test]
fn a_burst_to_a_subscriber_that_reads_is_paced() {
    // Its buffers hold far less than the burst.
    let mut bus = Bus::start("patience = \"1min\"");
    let mut reader = bus.stuck("worker-1", TOPIC);
    let Bus { mut source, broker, cluster } = bus;
    let id = source.id.clone();
    let publisher = std::thread::spawn(move || {
        source.publish(TOPIC, 2 * MANY);
        source
    });
    broker.wait_metric(HELD, 1.0);
    reader.receive_up_to(TOPIC, &id, 2 * MANY - 1);
    assert_eq!(reader.got(TOPIC, &id).whole(), Some(0..2 * MANY));
    let counts = Counts::wait_closed(&broker, "worker-1", 2 * MANY);
    assert_eq!(counts.dropped, 0);
    drop(publisher.join().unwrap());
    drop(cluster);
}

#[test]
fn publishers_wait_only_once_for_a_subscriber_that_does_not_read() {
    let mut bus = Bus::start("patience = \"100ms\"");
    let mut stuck = bus.stuck("worker-2", TOPIC);
    // The broker waits for it once; on some systems a little more arrives then, so it may wait
    // again.
    bus.source.publish(TOPIC, MANY);
    bus.broker.wait_metric("zcluster_broker_events_received_total", MANY as f64);
    let held = bus.broker.metric(HELD);
    assert!((1.0..=5.0).contains(&held), "{held}");
    let counts = Counts::of(&bus.broker, "worker-2");
    assert!(counts.dropped > 0, "{counts:?}");
    while stuck.count() < counts.sent + HWM {
        assert!(stuck.receive());
    }
    // It has caught up, so the broker waits for it again.
    bus.source.publish(TOPIC, MANY);
    bus.broker.wait_metric(HELD, held + 1.0);
}

#[test]
fn a_stopped_process_harms_nobody_and_catches_up() {
    let mut bus = Bus::start("");
    let mut stopped = bus.cluster.node("worker-2", &["--subscribe", "test.bulk."]);
    bus.source.wait_subscription(TOPIC);
    let readers = [0, 1].map(|_| bus.nameless_reader(TOPIC));
    let id = bus.source.id.clone();
    bus.publish_to(&readers.each_ref(), TOPIC, HWM);
    stopped.wait_line("the last of them", |line| {
        (line["event"] == "Test::load" && line["args"][0] == HWM - 1).then_some(())
    });
    assert_eq!(Counts::of(&bus.broker, "worker-2").dropped, 0);

    stopped.signal(Signal::STOP);
    let while_stopped = 5 * MANY;
    bus.publish_to(&readers.each_ref(), TOPIC, while_stopped);
    let total = HWM + while_stopped;
    for reader in &readers {
        reader.wait_count(total);
        assert_eq!(reader.got(TOPIC, &id).whole(), Some(0..total));
    }
    assert_eq!(Counts::wait_closed(&bus.broker, "unnamed", 2 * total).dropped, 0);
    // It is named, counted and logged.
    let lost = Counts::of(&bus.broker, "worker-2").dropped;
    assert!(lost > 0);
    let label = "peer=\"worker-2\",prefix=\"test.bulk.\",reason=\"queue_full\"";
    assert_eq!(bus.broker.metric_with(DROPPED, label) as u64, lost);
    let warning = bus.broker.stderr();
    let told = warning.lines().filter(|line| line.contains("WARN") && line.contains("worker-2"));
    assert_eq!(told.count(), 1, "one warning an interval\n{warning}");

    stopped.signal(Signal::CONT);
    // Once its queue has room again it loses nothing more.
    wait_for("room", || {
        let counts = Counts::of(&bus.broker, "worker-2");
        (counts.matched == counts.sent + counts.dropped).then_some(())
    });
    bus.publish_to(&readers.each_ref(), TOPIC, HWM);
    stopped.wait_line("the last event", |line| (line["args"][0] == total + HWM - 1).then_some(()));
    let counts = Counts::wait_closed(&bus.broker, "worker-2", total + HWM);
    assert_eq!(counts.dropped, lost, "nothing more");
    let printed = stopped.seen.iter().filter(|line| line["event"] == "Test::load").count();
    assert_eq!(printed as u64, counts.sent);
    drop(readers);
    stopped.stop();
    bus.broker.stop();
}

#[test]
fn a_stopped_process_is_cut_off_where_that_is_the_policy() {
    let mut bus = Bus::start("when_full = \"disconnect\"\ndisconnect_after = \"200ms\"");
    let mut stopped = bus.cluster.node("worker-2", &["--subscribe", "test.bulk."]);
    bus.source.wait_subscription(TOPIC);
    // The publisher does not look at subscriptions meanwhile.
    let mut watcher = Source::connect(&bus.broker, "watcher", SIZE);
    let reader = bus.nameless_reader(TOPIC);
    stopped.signal(Signal::STOP);
    bus.publish_to(&[&reader], TOPIC, 5 * MANY);
    // The others see that it has gone.
    let own_topic = b"zeek.cluster.nodeid.zeromq_worker-2_";
    let is_end = |incoming: &Incoming| {
        incoming.subscription().is_some_and(|(on, prefix)| !on && prefix.starts_with(own_topic))
    };
    while !is_end(&watcher.peer.receive().unwrap()) {}
    assert_eq!(bus.broker.metric_with(CUT_OFF, "socket=\"backend\",reason=\"slow\""), 1.0);
    let counts = Counts::of(&bus.broker, "worker-2");
    assert_eq!(counts.matched, counts.sent + counts.dropped, "{counts:?}");
    assert_eq!(reader.count(), 5 * MANY);
    stopped.signal(Signal::CONT);
    // It reconnects by itself, and receives everything published afterwards.
    watcher.wait_subscription(TOPIC);
    bus.publish_to(&[&reader], TOPIC, 1);
    stopped.wait_line("the event", |line| (line["args"][0] == 5 * MANY).then_some(()));
    stopped.stop();
}

#[test]
fn events_for_one_process_pass_a_full_queue() {
    const CONTROL: u64 = 50;
    let mut bus = Bus::start("");
    let reader = bus.reader("worker-1", TOPIC);
    let mut stuck = bus.stuck("worker-2", TOPIC);
    bus.publish_to(&[&reader], TOPIC, MANY);
    let id = bus.source.id.clone();
    let own_topic = nodeid_topic(&node_id("worker-2"));
    let first = bus.source.next;
    bus.source.publish(&own_topic, CONTROL);
    bus.broker.wait_metric("zcluster_broker_events_received_total", (MANY + CONTROL) as f64);
    let before = Counts::of(&bus.broker, "worker-2");

    stuck.receive_up_to(&own_topic, &id, first + CONTROL - 1);
    assert_eq!(stuck.got(&own_topic, &id).whole(), Some(first..first + CONTROL));
    // They arrived before events that had waited longer.
    let so_far = stuck.got(TOPIC, &id).count();
    while stuck.count() < MANY + CONTROL - before.dropped {
        assert!(stuck.receive());
    }
    let later = stuck.got(TOPIC, &id).count() - so_far;
    assert!(later >= HWM / 2, "{later} events after those");
    let counts = Counts::wait_closed(&bus.broker, "worker-2", MANY + CONTROL);
    assert_eq!((counts.sent, counts.dropped), (stuck.count(), before.dropped));
    assert_eq!(dropped(&bus.broker, "control_full"), 0);
}

#[test]
fn the_control_lane_has_bounds_of_its_own() {
    const CONTROL_HWM: u64 = 20;
    const CONTROL: u64 = 70;
    let options = format!("control_hwm = {CONTROL_HWM}\ncontrol_prefixes = [\"vip.\", \"x\"]");
    let mut bus = Bus::start(&options);
    let reader = bus.reader("worker-1", TOPIC);
    let mut stuck = bus.stuck("worker-2", b"");
    bus.publish_to(&[&reader], TOPIC, MANY);
    let first = bus.source.next;
    bus.source.publish(b"vip.x", CONTROL);
    bus.broker.wait_metric("zcluster_broker_events_received_total", (MANY + CONTROL) as f64);
    assert_eq!(dropped(&bus.broker, "control_full"), CONTROL - CONTROL_HWM);
    let id = bus.source.id.clone();
    stuck.receive_up_to(b"vip.x", &id, first + CONTROL_HWM - 1);
    assert_eq!(stuck.got(b"vip.x", &id).whole(), Some(first..first + CONTROL_HWM));
    let dropped = Counts::of(&bus.broker, "worker-2").dropped;
    while stuck.count() < MANY + CONTROL - dropped {
        assert!(stuck.receive());
    }
    let counts = Counts::wait_closed(&bus.broker, "worker-2", MANY + CONTROL);
    assert_eq!(counts.sent, stuck.count());
}

#[test]
fn a_publisher_that_does_not_read_subscriptions_is_cut_off() {
    let mut bus = Bus::start("control_max_bytes = \"64KiB\"");
    let mut deaf = Source::connect(&bus.broker, "deaf", SIZE);
    let mut changing = Sink::connect(&bus.broker, "changing", &[]);
    let reader = bus.reader("worker-1", TOPIC);
    // The source reads every unsubscription, so it is not cut off.
    let cut_off = || bus.broker.metric_with(CUT_OFF, "reason=\"control_overflow\"");
    for n in 0u64.. {
        let prefix = format!("{n:01000}").into_bytes();
        changing.peer.subscribe(true, &prefix);
        changing.peer.subscribe(false, &prefix);
        bus.source.wait_subscription(&prefix);
        if n % 1000 == 0 && cut_off() > 0.0 {
            break;
        }
        assert!(n < 100_000, "never cut off");
    }
    assert_eq!(cut_off(), 1.0);
    deaf.peer.wait_end();
    bus.publish_to(&[&reader], TOPIC, HWM);
}

#[test]
fn a_publisher_that_floods_does_not_starve_another() {
    const ROUND_TRIPS: u64 = 200;
    let mut bus = Bus::start("");
    let flooded = bus.reader("worker-1", b"flood.");
    let mut asked = Sink::connect(&bus.broker, "worker-2", &[b"ask."]);
    bus.source.wait_subscription(b"ask.");
    let stop = AtomicBool::new(false);
    let mut flooding = Source::connect(&bus.broker, "flooding", SIZE);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                flooding.publish(b"flood.x", HWM);
            }
        });
        flooded.wait_count(HWM);
        let before = flooded.count();
        for _ in 0..ROUND_TRIPS {
            bus.source.publish(b"ask.x", 1);
            assert!(asked.receive());
        }
        // Both make progress.
        flooded.wait_count(before + 2 * HWM);
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(asked.got(b"ask.x", &bus.source.id).whole(), Some(0..ROUND_TRIPS));
    let total = flooding.next;
    let counts = Counts::wait_closed(&bus.broker, "worker-1", total);
    wait_for("what was sent", || (flooded.count() == counts.sent).then_some(()));
    assert_eq!(Counts::wait_closed(&bus.broker, "worker-2", ROUND_TRIPS).dropped, 0);
}

#[test]
fn a_queue_is_bounded_in_bytes_too() {
    const BYTES: u64 = 1 << 20;
    let options = "[broker]\nmetrics_port = 0\nsubscriber_max_bytes = \"1MiB\"\npatience = \"0s\"";
    let cluster = Cluster::on(Engine::Switch, NODES, options);
    let broker = cluster.broker();
    let mut source = Source::connect(&broker, "manager", SIZE);
    let mut stuck = Sink::connect_narrow(&broker, "worker-2", &[TOPIC]);
    source.wait_subscription(TOPIC);
    source.publish(TOPIC, MANY);
    broker.wait_metric("zcluster_broker_events_received_total", MANY as f64);
    assert_eq!(broker.metric(HELD), 0.0, "without patience");
    wait_stuck(&broker, "worker-2", MANY);
    // The memory it holds, including unused space in its buffers.
    let bytes = broker.metric("zcluster_broker_queue_bytes") as u64;
    assert!((BYTES / 2..=BYTES * 2).contains(&bytes), "{bytes}");
    let dropped = Counts::of(&broker, "worker-2").dropped;
    while stuck.count() < MANY - dropped {
        assert!(stuck.receive());
    }
    Counts::wait_closed(&broker, "worker-2", MANY);
    // An event larger than the limit is accepted if the queue is empty.
    let mut large = Source::connect(&broker, "large", 3 << 20);
    large.publish(TOPIC, 1);
    stuck.receive_up_to(TOPIC, &large.id, 0);
}
