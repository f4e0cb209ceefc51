//! A logger's memory stays within `max_memory`, whatever the disk and the producers do.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use support::curve::CurvePeer;
use support::keys::SharedKeys;
use support::log_dir::{assert_complete, read_text, records};
use support::raw::RawPeer;
use support::small_disk::SmallDisk;
use support::{Cluster, NodeSpec, Process, wait_for, wait_until_it_stands_still};
use zcluster::transport::CurveOptions;
use zcluster::wire::LogMessage;
use zcluster::wire::zeek_bin::{BatchBuilder, FieldSpec, LogSchema, LogValue, Scalar};

const NODES: &[NodeSpec<'static>] =
    &[("manager", "manager"), ("logger-1", "logger"), ("worker-1", "worker")];
const MIB: u64 = 1 << 20;
/// Bytes of text in each record, in addition to its numbers.
const PAD: usize = 4000;

fn batch(path: &str, producer: u64, numbers: std::ops::Range<u64>) -> Vec<u8> {
    let fields = vec![
        FieldSpec::new("producer", Scalar::Count),
        FieldSpec::new("n", Scalar::Count),
        FieldSpec::new("pad", Scalar::String),
    ];
    let mut batch = BatchBuilder::new(LogSchema::new("Test::PADDED", path, fields)).unwrap();
    let pad = "x".repeat(PAD);
    for n in numbers {
        let record = [LogValue::Count(producer), LogValue::Count(n), LogValue::from(pad.as_str())];
        batch.push(&record).unwrap();
    }
    batch.finish()
}

fn send(peer: &RawPeer, payload: &[u8]) {
    peer.send(&[LogMessage::KIND, b"peer", LogMessage::ZEEK_BIN, payload]);
}

/// A peer that sends batches as fast as the logger accepts them.
struct Flood {
    sent: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Flood {
    /// Records per batch.
    const RECORDS: u64 = 25;

    fn start(logger: &Process, producer: u64, batches: u64, curve: Option<CurveOptions>) -> Self {
        let sent = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&sent);
        let endpoint = logger.endpoint("log");
        let thread = std::thread::spawn(move || {
            let peer = RawPeer::producer(&endpoint, 5, curve);
            for n in 0..batches {
                let path = format!("flood-{}", n % 3);
                let numbers = n * Self::RECORDS..(n + 1) * Self::RECORDS;
                send(&peer, &batch(&path, producer, numbers));
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Flood { sent, thread }
    }
}

#[test]
fn producers_that_outrun_a_full_disk_wait_and_memory_stays_within_its_bound() {
    check_full_disk(None);
}

#[test]
fn so_do_producers_that_encrypt() {
    check_full_disk(Some(&SharedKeys::new()));
}

fn check_full_disk(keys: Option<&SharedKeys>) {
    const LIMIT: u64 = 16 * MIB;
    const PRODUCERS: u64 = 2;
    /// Batches per producer: text of four times the limit.
    const BATCHES: u64 = 4 * LIMIT / (Flood::RECORDS * PAD as u64);

    let options = "[log]\nmax_memory = \"16MiB\"\nflush_interval = \"20ms\"";
    let options = keys.map(SharedKeys::options).unwrap_or_default() + options;
    let cluster = Cluster::new(NODES, &options);
    let Some(disk) = SmallDisk::mount(cluster.log_dir("logger-1"), "size=192m") else { return };
    let mut logger = cluster.logger("logger-1");
    let at_start = logger.memory();
    let filler = disk.fill();
    let floods: Vec<_> = (0..PRODUCERS)
        .map(|n| Flood::start(&logger, n, BATCHES, keys.map(SharedKeys::as_client)))
        .collect();
    let taken = || logger.metric("zcluster_logger_records_total") as u64;
    wait_for("records to be taken", || (taken() > 0).then_some(()));
    wait_for("the logger to say that it is not well", || (!logger.health_alone().0).then_some(()));
    // The disk holds everything back, stage by stage.
    for what in
        ["the queue of text for the disk is near", "the queue of received log batches is near"]
    {
        wait_for(what, || logger.health_alone().1.contains(what).then_some(()));
    }
    wait_until_it_stands_still(taken);
    let most = logger.metric("zcluster_logger_memory_bytes") as u64;
    let held = taken();
    assert!(most <= LIMIT, "{most} bytes in use by its own account");
    assert!(most >= LIMIT / 8, "it holds no more than {most} bytes back");
    assert!(held < PRODUCERS * BATCHES * Flood::RECORDS / 2, "{held} records are held");
    let sent: u64 = floods.iter().map(|flood| flood.sent.load(Ordering::Relaxed)).sum();
    assert!(sent < PRODUCERS * BATCHES, "no producer waits");
    let peak = logger.peak_memory();
    eprintln!("resident: {at_start} at start, {peak} at most; accounted for: {most}");
    assert!(peak - at_start <= LIMIT / 2 * 3, "{at_start} at start, {peak} at most");

    filler.remove();
    for flood in floods {
        flood.thread.join().unwrap();
    }
    logger.stop();
    let mut seen = BTreeSet::new();
    for path in 0..3 {
        let file = cluster.log_dir("logger-1").join(format!("flood-{path}.log"));
        let text = read_text(&file).unwrap();
        assert_complete(&file, &text);
        for line in records(&text) {
            let mut numbers = line.split('\t').take(2).map(|n| n.parse::<u64>().unwrap());
            let record = (numbers.next().unwrap(), numbers.next().unwrap());
            assert!(seen.insert(record), "{record:?} is doubled");
        }
    }
    assert_eq!(seen.len() as u64, PRODUCERS * BATCHES * Flood::RECORDS);
}

/// Sends batches of 64 MiB with small ones in between. Returns the logger's peak memory.
fn check_large_batches(options: &str, keys: Option<&SharedKeys>) -> u64 {
    const LARGE: u64 = 64 * MIB / (PAD as u64 + 40);

    let options = keys.map(SharedKeys::options).unwrap_or_default() + options;
    let cluster = Cluster::new(NODES, &options);
    let mut logger = cluster.logger("logger-1");
    let at_start = logger.memory();
    let curve = keys.map(SharedKeys::as_client);
    let peer = RawPeer::producer(&logger.endpoint("log"), 5, curve);
    let mut next = 0;
    for records in [10, LARGE, 10, LARGE, 10] {
        let payload = batch("large", 1, next..next + records);
        next += records;
        send(&peer, &payload);
    }
    logger.wait_metric("zcluster_logger_records_written_total", next as f64);
    assert!(logger.health_alone().0);
    assert_eq!(logger.metric("zcluster_logger_memory_bytes"), 0.0);
    let peak = logger.peak_memory() - at_start;
    drop(peer);
    logger.stop();
    let file = cluster.log_dir("logger-1").join("large.log");
    let text = read_text(&file).unwrap();
    assert_complete(&file, &text);
    let numbers =
        records(&text).map(|line| line.split('\t').nth(1).unwrap().parse::<u64>().unwrap());
    assert!(numbers.eq(0..next), "all of them, in order");
    eprintln!("{peak} bytes more than at start");
    peak
}

#[test]
fn batches_as_large_as_zeek_makes_them_are_written() {
    check_large_batches("", None);
}

#[test]
fn batches_larger_than_the_memory_limit_are_received_alone() {
    for keys in [None, Some(&SharedKeys::new())] {
        let peak = check_large_batches("[log]\nmax_memory = \"16MiB\"", keys);
        // One batch, and its formatted text or its encrypted form.
        assert!(peak <= 4 * 64 * MIB, "{peak} bytes");
    }
}

#[test]
fn encrypted_messages_that_never_end_do_not_take_all_memory() {
    const LIMIT: u64 = 8 * MIB;

    let keys = SharedKeys::new();
    let options = keys.options() + "[log]\nmax_memory = \"8MiB\"";
    let cluster = Cluster::new(NODES, &options);
    let mut logger = cluster.logger("logger-1");
    let endpoint = logger.endpoint("log");
    let before = logger.memory();
    // Each announces 100 MiB and sends what the kernel accepts; the logger reads from one at a
    // time.
    let start = [&[2u8][..], &(100 * MIB).to_be_bytes(), &vec![0; 256 << 10]].concat();
    let peers: Vec<_> = (0..40)
        .map(|_| {
            let mut peer = CurvePeer::producer(&endpoint, &keys);
            peer.stream.set_nonblocking(true).unwrap();
            // A partial write is enough.
            let _ = peer.stream.write(&start);
            peer
        })
        .collect();
    logger.wait_metric("zcluster_logger_connections", peers.len() as f64);
    wait_until_it_stands_still(|| logger.metric("zcluster_logger_memory_bytes") as u64);
    let good = RawPeer::producer(&endpoint, 5, Some(keys.as_client()));
    send(&good, &batch("good", 1, 0..1));
    logger.wait_metric("zcluster_logger_records_written_total", 1.0);
    let memory = logger.metric("zcluster_logger_memory_bytes") as u64;
    assert!(memory <= LIMIT, "{memory}");
    let grown = logger.peak_memory().saturating_sub(before);
    assert!(grown <= LIMIT / 2 * 3, "{grown} bytes more than before");
    drop(peers);
    drop(good);
    logger.stop();
}
