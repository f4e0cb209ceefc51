//! Processes that are stopped, die, or start twice or too early do not affect the others.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use support::{
    Cluster, DEFAULT_NODES, Engine, NodeSpec, PATIENCE, Process, Signal, wait_all_see_all,
    wait_for, wait_members, wait_notification,
};
use zcluster::node::{Node, Notification};
use zcluster::{Event, Value};

const NODES: &[NodeSpec<'static>] =
    &[("manager", "manager"), ("worker-1", "worker"), ("worker-2", "worker")];
/// A process that does not respond is soon cut off.
const SHORT_HEARTBEATS: &str = "heartbeat_interval = \"200ms\"\nheartbeat_timeout = \"1s\"\nheartbeat_ttl = \"1s\"\n\
     onloop_queue_hwm = 100\nxsub_rcvhwm = 100";
/// A process that does not respond stalls the bus permanently.
const NO_HEARTBEATS: &str =
    "heartbeat_interval = \"0s\"\nonloop_queue_hwm = 100\nxsub_rcvhwm = 100";
const FLOOD_TOPIC: &str = "test.flood";

/// Publishes numbered events of 10 kB as fast as the bus accepts them, until it is dropped.
struct Flood {
    published: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Flood {
    fn start(node: &Node) -> Self {
        let published = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (node, published, stop) = (node.clone(), Arc::clone(&published), Arc::clone(&stop));
            move || {
                for n in 0u64.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let args = vec![Value::from(n), Value::from("x".repeat(10_000))];
                    node.publish(FLOOD_TOPIC, &Event::new("Test::flood", args)).unwrap();
                    published.store(n + 1, Ordering::Relaxed);
                }
            }
        });
        Flood { published, stop, thread: Some(thread) }
    }

    fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// The number of a flood event.
fn flood_number(notification: &Notification) -> Option<u64> {
    let Notification::Event(received) = notification else { return None };
    let event = received.decode().unwrap();
    match (event.name == "Test::flood", &event.args[0]) {
        (true, Value::Count(n)) => Some(*n),
        _ => None,
    }
}

fn say(from: &mut Process, to: &mut Process) {
    let event = format!("Test::from_{}", from.name.replace('-', "_"));
    let topic = format!("zeek.cluster.node.{}.", to.name);
    from.write_line(&format!(r#"{{"topic":"{topic}","event":"{event}","args":[]}}"#));
    to.wait_line("the event", |line| (line["event"] == event.as_str()).then_some(()));
}

fn a_subscriber_that_stops_reading_holds_nobody_back_for_long(engine: Engine) {
    let cluster = Cluster::on(engine, NODES, SHORT_HEARTBEATS);
    let mut broker = cluster.broker();
    let (manager, _manager_news) = cluster.library_node("manager");
    let (reader, news) = cluster.library_node("worker-1");
    reader.subscribe(FLOOD_TOPIC).unwrap();
    let mut stopped = cluster.node("worker-2", &["--subscribe", FLOOD_TOPIC]);
    wait_members(&manager, &["worker-1", "worker-2"]);
    wait_members(&reader, &["manager", "worker-2"]);

    let flood = Flood::start(&manager);
    wait_notification(&news, "the flood", |n| flood_number(&n));
    stopped.wait_line("the flood", |line| (line["event"] == "Test::flood").then_some(()));
    stopped.signal(Signal::STOP);
    wait_notification(&news, "worker-2 to be down", |n| match n {
        Notification::NodeDown { name, .. } => (name == "worker-2").then_some(()),
        _ => None,
    });
    wait_for("worker-2 to be down at the manager", || {
        (!manager.members().contains_key("worker-2")).then_some(())
    });
    let so_far = flood.published();
    wait_notification(&news, "events published afterwards", |n| {
        flood_number(&n).filter(|number| *number > so_far)
    });
    assert!(manager.members().contains_key("worker-1"));
    assert!(reader.members().contains_key("manager"));

    // During the flood, events of its old connection keep it busy, but it must still come back.
    stopped.signal(Signal::CONT);
    wait_notification(&news, "worker-2 to be up again", |n| match n {
        Notification::NodeUp { name, .. } => (name == "worker-2").then_some(()),
        _ => None,
    });
    wait_members(&manager, &["worker-2"]);
    let so_far = flood.published();
    stopped.wait_line("events published since", |line| {
        (line["event"] == "Test::flood" && line["args"][0].as_u64() > Some(so_far)).then_some(())
    });
    drop(flood);
    wait_for("the bus to be well", || broker.health().0.then_some(()));
    broker.stop();
}

#[test]
fn a_stalled_broker_says_so_and_still_stops_at_once() {
    let cluster = Cluster::on(Engine::Zmq, NODES, NO_HEARTBEATS);
    let mut broker = cluster.broker();
    let (manager, _news) = cluster.library_node("manager");
    let mut stopped = cluster.node("worker-2", &["--subscribe", FLOOD_TOPIC]);
    wait_members(&manager, &["worker-2"]);
    assert!(broker.health().0);
    let flood = Flood::start(&manager);
    stopped.wait_line("the flood", |line| (line["event"] == "Test::flood").then_some(()));
    stopped.signal(Signal::STOP);
    let reason = wait_for("the broker to say that it is stalled", || {
        let (healthy, reason) = broker.health();
        (!healthy).then_some(reason)
    });
    assert!(reason.contains("the bus is stalled: a subscriber does not read"), "{reason}");
    broker.wait_stderr("the bus is stalled");
    // It must not wait for a subscriber that never resumes.
    broker.stop();
    drop(flood);
}

#[test]
fn a_stalled_bus_goes_on_when_its_subscriber_does() {
    let cluster = Cluster::on(Engine::Zmq, NODES, NO_HEARTBEATS);
    let broker = cluster.broker();
    let (manager, _news) = cluster.library_node("manager");
    let mut stopped = cluster.node("worker-2", &["--subscribe", FLOOD_TOPIC]);
    wait_members(&manager, &["worker-2"]);
    let flood = Flood::start(&manager);
    stopped.wait_line("the flood", |line| (line["event"] == "Test::flood").then_some(()));
    stopped.signal(Signal::STOP);
    wait_for("the bus to stall", || (!broker.health().0).then_some(()));
    let so_far = flood.published();
    stopped.signal(Signal::CONT);
    stopped.wait_line("events published since", |line| {
        (line["event"] == "Test::flood" && line["args"][0].as_u64() > Some(so_far)).then_some(())
    });
    drop(flood);
    wait_for("the bus to be well", || broker.health().0.then_some(()));
    assert!(manager.members().contains_key("worker-2"));
}

fn the_others_do_without_a_killed_manager_and_greet_its_successor(engine: Engine) {
    let cluster = Cluster::on(engine, DEFAULT_NODES, "");
    let _broker = cluster.broker();
    let mut nodes = cluster.start_all(DEFAULT_NODES);
    wait_all_see_all(&mut nodes);
    let mut manager = nodes.remove("manager").unwrap();
    manager.kill();
    for node in nodes.values_mut() {
        assert_eq!(node.wait_member("node_down", "manager"), manager.id());
    }
    let mut worker_1 = nodes.remove("worker-1").unwrap();
    let mut worker_2 = nodes.remove("worker-2").unwrap();
    say(&mut worker_1, &mut worker_2);

    let mut manager = cluster.node("manager", &[]);
    manager.wait_all_up(&["worker-1", "worker-2", "logger-1", "logger-2"]);
    for node in nodes.values_mut().chain([&mut worker_1, &mut worker_2]) {
        assert_eq!(node.wait_member("node_up", "manager"), manager.id());
    }
    say(&mut manager, &mut worker_1);
    say(&mut worker_2, &mut manager);
}

fn of_two_processes_of_one_name_the_later_counts(engine: Engine) {
    let cluster = Cluster::on(engine, NODES, "");
    let _broker = cluster.broker();
    let mut manager = cluster.node("manager", &[]);
    let mut first = cluster.node("worker-1", &[]);
    assert_eq!(manager.wait_member("node_up", "worker-1"), first.id());
    // One that answered would keep the second from taking its place.
    first.signal(Signal::STOP);
    let mut second = cluster.node("worker-1", &[]);
    assert_eq!(manager.wait_member("node_down", "worker-1"), first.id());
    assert_eq!(manager.wait_member("node_up", "worker-1"), second.id());
    manager.wait_stderr("never said goodbye");
    first.signal(Signal::CONT);
    assert_eq!(manager.metric("zcluster_members_up"), 1.0);

    // Events to the name reach both, events to the id only one.
    let topic = format!("zeek.cluster.nodeid.{}.", second.id());
    manager.write_line(&format!(r#"{{"topic":"{topic}","event":"Test::one","args":[]}}"#));
    manager.write_line(r#"{"topic":"zeek.cluster.node.worker-1.","event":"Test::both","args":[]}"#);
    for worker in [&mut first, &mut second] {
        worker.wait_line("the event", |line| (line["event"] == "Test::both").then_some(()));
    }
    assert!(second.seen.iter().any(|line| line["event"] == "Test::one"));
    assert!(!first.seen.iter().any(|line| line["event"] == "Test::one"));

    first.stop();
    second.stop();
    assert_eq!(manager.wait_member("node_down", "worker-1"), second.id());
    assert_eq!(manager.metric("zcluster_members_up"), 0.0);
}

fn nodes_may_start_before_the_broker(engine: Engine) {
    let cluster = Cluster::on(engine, DEFAULT_NODES, "");
    let mut nodes = cluster.start_all(DEFAULT_NODES);
    let _broker = cluster.broker();
    wait_all_see_all(&mut nodes);
    let mut manager = nodes.remove("manager").unwrap();
    say(&mut manager, nodes.get_mut("worker-1").unwrap());
}

#[test]
fn a_node_stops_in_good_order_without_a_broker() {
    let options = "[log]\nshutdown_timeout = \"200ms\"";
    let cluster = Cluster::new(DEFAULT_NODES, options);
    let mut nodes = cluster.start_all(DEFAULT_NODES);
    let worker = nodes.get_mut("worker-1").unwrap();
    worker.write_line(r#"{"topic":"zeek.cluster.manager","event":"Test::lost","args":[]}"#);
    wait_for("the event to be taken in", || {
        (worker.metric("zeek_cluster_core_outgoing_events_total") == 1.0).then_some(())
    });
    for node in nodes.values_mut() {
        node.stop();
    }
    assert!(nodes["worker-1"].stderr().contains("ended with 1 events and 0 log records unsent"));
}

fn a_library_node_that_is_dropped_leaves(engine: Engine) {
    let cluster = Cluster::on(engine, NODES, "");
    let _broker = cluster.broker();
    let mut manager = cluster.node("manager", &[]);
    let (node, news) = cluster.library_node("worker-1");
    assert_eq!(manager.wait_member("node_up", "worker-1"), node.id().to_string());
    let id = node.id().to_string();
    drop((node, news));
    assert_eq!(manager.wait_member("node_down", "worker-1"), id);
    let (node, news) = cluster.library_node("worker-1");
    assert_eq!(manager.wait_member("node_up", "worker-1"), node.id().to_string());
    node.shutdown(PATIENCE);
    assert!(node.publish("t", &Event::new("Test::late", vec![])).is_err());
    // Pending notifications are still returned, and then the end.
    while news.receive().is_some() {}
    assert_eq!(manager.wait_member("node_down", "worker-1"), node.id().to_string());
}

on_both_engines!(
    a_subscriber_that_stops_reading_holds_nobody_back_for_long,
    the_others_do_without_a_killed_manager_and_greet_its_successor,
    of_two_processes_of_one_name_the_later_counts,
    nodes_may_start_before_the_broker,
    a_library_node_that_is_dropped_leaves,
);
