//! Batches gather in a logger's sockets for `gather_interval`, and never to their harm.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use support::producer::{PATH, schema};
use support::raw::RawPeer;
use support::{Cluster, NodeSpec, wait_for};
use zcluster::transport::SocketKind;
use zcluster::wire::LogMessage;
use zcluster::wire::zeek_bin::{BatchBuilder, LogValue};

const NODES: &[NodeSpec<'static>] = &[("manager", "manager"), ("logger-1", "logger")];

/// Sends a batch with this one record.
fn send(peer: &RawPeer, text: &str, n: u64) {
    let mut batch = BatchBuilder::new(schema()).unwrap();
    batch.push(&[LogValue::from(text), LogValue::Count(n)]).unwrap();
    peer.send(&[LogMessage::KIND, b"stranger", LogMessage::ZEEK_BIN, &batch.finish()]);
}

fn numbers(cluster: &Cluster) -> Vec<u64> {
    let lines = cluster.log_lines(PATH);
    lines.iter().map(|line| line.rsplit('\t').next().unwrap().parse().unwrap()).collect()
}

#[test]
fn a_socket_is_read_before_it_is_full_and_the_end_waits_for_nothing() {
    const BATCHES: u64 = 5_000;
    // By itself, the logger would read nothing more for an hour.
    let options = "[log]\ngather_interval = \"1h\"\nflush_interval = \"1h\"";
    let cluster = Cluster::new(NODES, options);
    let mut logger = cluster.logger("logger-1");
    let peer = RawPeer::connect(SocketKind::Push, &logger.endpoint("log"));
    let text = "x".repeat(500);
    for n in 0..BATCHES {
        send(&peer, &text, n);
    }
    // The rest, less than a socket's share, keeps gathering.
    logger.wait_metric("zcluster_logger_records_total", (BATCHES / 2) as f64);
    logger.stop();
    assert!(numbers(&cluster).into_iter().eq(0..BATCHES), "all of them, in order");
}

#[test]
fn connections_become_quiet_and_busy_again() {
    let options = "[log]\ngather_interval = \"1ms\"\nflush_interval = \"1ms\"";
    let cluster = Cluster::new(NODES, options);
    let mut logger = cluster.logger("logger-1");
    let endpoint = logger.endpoint("log");
    let peers = [(); 3].map(|()| RawPeer::connect(SocketKind::Push, &endpoint));
    for n in 0..100 {
        send(&peers[n % peers.len()], "a", n as u64);
        // Sometimes at once, sometimes after many sweeps.
        if n % 7 != 0 {
            wait_for("the record", || (numbers(&cluster).len() > n).then_some(()));
        }
    }
    logger.stop();
    let mut all = numbers(&cluster);
    all.sort_unstable();
    assert!(all.into_iter().eq(0..100));
}
