//! Whole clusters of real processes: nodes find each other, and notice which ones leave.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use support::{Cluster, DEFAULT_NODES, Engine, Signal, wait_all_see_all, wait_for};

const OTHERS: [&str; 4] = ["logger-1", "logger-2", "manager", "worker-2"];

fn the_default_cluster_comes_up_and_everybody_sees_everybody(engine: Engine) {
    let cluster = Cluster::on(engine, DEFAULT_NODES, "");
    let mut broker = cluster.broker();
    let mut nodes = cluster.start_all(DEFAULT_NODES);
    wait_all_see_all(&mut nodes);

    // Each wrote a line about each other one to cluster.log, through the loggers.
    let hellos = || {
        let lines = cluster.log_lines("cluster");
        lines.iter().filter(|line| line.contains("got hello from")).count()
    };
    wait_for("20 hellos in cluster.log", || (hellos() >= 20).then_some(()));

    for node in nodes.values() {
        assert_eq!(node.metric("zcluster_members_up"), 4.0, "{}", node.name);
    }
    assert_eq!(nodes["manager"].metric("zcluster_node_up_total"), 4.0);
    broker.wait_metric("zeek_cluster_zeromq_proxy_frontend_messages_received_total", 1.0);
    assert_eq!(broker.metric("zcluster_broker_peers"), 10.0);

    for name in ["worker-1", "worker-2", "manager", "logger-1", "logger-2"] {
        nodes.get_mut(name).unwrap().stop();
    }
    broker.stop();
    assert!(hellos() >= 20);
}

fn a_killed_worker_is_down_everywhere_and_its_successor_up(engine: Engine) {
    let cluster = Cluster::on(engine, DEFAULT_NODES, "");
    let _broker = cluster.broker();
    let mut nodes = cluster.start_all(DEFAULT_NODES);
    wait_all_see_all(&mut nodes);

    let old_id = nodes["worker-1"].id().to_owned();
    nodes.get_mut("worker-1").unwrap().kill();
    for name in OTHERS {
        assert_eq!(nodes.get_mut(name).unwrap().wait_member("node_down", "worker-1"), old_id);
    }
    let mut successor = cluster.node("worker-1", &[]);
    assert_ne!(successor.id(), old_id);
    for name in OTHERS {
        let id = nodes.get_mut(name).unwrap().wait_member("node_up", "worker-1");
        assert_eq!(id, successor.id());
    }
    successor.wait_all_up(&OTHERS);
}

fn a_restart_that_nobody_noticed_is_one_change_of_identity(engine: Engine) {
    let cluster = Cluster::on(engine, DEFAULT_NODES, "");
    let _broker = cluster.broker();
    let mut manager = cluster.node("manager", &[]);
    // A stopped process keeps its connections, so its successor says hello while it still counts as
    // up.
    let frozen = cluster.node("worker-1", &[]);
    assert_eq!(manager.wait_member("node_up", "worker-1"), frozen.id());
    frozen.signal(Signal::STOP);
    let mut successor = cluster.node("worker-1", &[]);
    assert_eq!(manager.wait_member("node_down", "worker-1"), frozen.id());
    assert_eq!(manager.wait_member("node_up", "worker-1"), successor.id());
    successor.wait_all_up(&["manager"]);
    assert!(manager.stderr().contains("never said goodbye"));
}

fn after_a_proxy_restart_the_living_are_up_and_the_dead_are_down(engine: Engine) {
    let cluster = Cluster::on(engine, DEFAULT_NODES, "reconcile_grace = \"1s\"");
    let mut broker = cluster.broker();
    let mut nodes = cluster.start_all(DEFAULT_NODES);
    wait_all_see_all(&mut nodes);

    broker.kill();
    for node in nodes.values() {
        node.wait_stderr("lost the connection to the broker");
        assert!(!node.stderr().contains("the broker is back"));
    }
    let mut dead = nodes.remove("worker-1").unwrap();
    let old_id = dead.id().to_owned();
    dead.kill();
    let _broker = cluster.broker();
    for node in nodes.values_mut() {
        assert_eq!(node.wait_member("node_down", "worker-1"), old_id);
        node.wait_stderr("the broker is back, after ");
    }
    // No other node went down, and events flow again.
    let mut successor = cluster.node("worker-1", &[]);
    successor.wait_all_up(&OTHERS);
    for node in nodes.values_mut() {
        assert_eq!(node.wait_member("node_up", "worker-1"), successor.id());
        let downs: Vec<_> =
            node.seen.iter().filter(|line| line.get("node_down").is_some()).collect();
        assert_eq!(downs.len(), 1, "{}: {downs:?}", node.name);
    }
    successor.write_line(r#"{"topic":"zeek.cluster.manager","event":"Test::after","args":[1]}"#);
    let manager = nodes.get_mut("manager").unwrap();
    manager.wait_line("the event", |line| (line["event"] == "Test::after").then_some(()));
}

on_both_engines!(
    the_default_cluster_comes_up_and_everybody_sees_everybody,
    a_killed_worker_is_down_everywhere_and_its_successor_up,
    a_restart_that_nobody_noticed_is_one_change_of_identity,
    after_a_proxy_restart_the_living_are_up_and_the_dead_are_down,
);
