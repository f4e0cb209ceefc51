//! The examples of the application model, as processes of a cluster.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::process::Command;

use support::programs::Program;
use support::{Cluster, NodeSpec, example};

const NODES: &[NodeSpec<'static>] = &[
    ("manager", "manager"),
    ("proxy-1", "proxy"),
    ("proxy-2", "proxy"),
    ("worker-1", "worker"),
    ("worker-2", "worker"),
];

/// An example that runs a node.
fn start(cluster: &Cluster, name: &str, node: &str) -> Program {
    Program::start(Command::new(example(name)).args([node, cluster.layout_arg()]))
}

#[test]
fn pings_are_answered() {
    let cluster = Cluster::new(NODES, "");
    let _broker = cluster.broker();
    let mut manager = start(&cluster, "ping", "manager");
    let _workers = ["worker-1", "worker-2"].map(|worker| start(&cluster, "ping", worker));
    let mut answered = [false, false];
    while answered != [true, true] {
        let line = manager.wait_text(" answers ping 1 after 0.");
        answered[usize::from(line.starts_with("worker-2"))] = true;
    }
}

#[test]
fn a_scan_is_found_whoever_sees_its_parts() {
    let cluster = Cluster::new(NODES, "");
    let _broker = cluster.broker();
    let mut manager = start(&cluster, "scan_detector", "manager");
    let _proxies = ["proxy-1", "proxy-2"].map(|proxy| start(&cluster, "scan_detector", proxy));
    let mut workers =
        ["worker-1", "worker-2"].map(|worker| start(&cluster, "scan_detector", worker));
    workers[0].write_line("nonsense");
    workers[0].wait_text("expected two addresses, found 'nonsense'");
    // Until each worker has greeted both proxies, attempts are lost, or go to the other one. So they
    // are repeated, which counts no victim twice.
    for scanner in ["198.51.100.1", "2001:db8::1"] {
        support::wait_for("an alert", || {
            for (worker, victim) in [(0, 1), (1, 2), (0, 3), (1, 4), (0, 5)] {
                workers[worker].write_line(&format!("{scanner} 192.0.2.{victim}"));
            }
            let alert = format!("{scanner} tried 5 hosts within 300s");
            manager.try_line(|line| line == alert).then_some(())
        });
    }
}
