//! A node inside the test that writes numbered records, and the check that all of them arrive.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use zcluster::node::{LogStream, Node, Unsent};
use zcluster::wire::zeek_bin::{FieldSpec, LogSchema, LogValue, Scalar};

use super::{Cluster, PATIENCE, wait_for};

/// The path of the log.
pub const PATH: &str = "numbers";

/// A log with the producer's name and the number of the record.
pub fn schema() -> LogSchema {
    let fields =
        vec![FieldSpec::new("producer", Scalar::String), FieldSpec::new("n", Scalar::Count)];
    LogSchema::new("Test::NUMBERS", PATH, fields)
}

/// Writes record number `n` of a producer.
pub fn write_number(log: &LogStream, producer: &str, n: u64) {
    log.write(&[LogValue::from(producer), LogValue::Count(n)]).unwrap();
}

/// Writes records, numbered from 0, until it is finished.
pub struct Producer {
    pub node: Node,
    written: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Producer {
    /// Starts a node with that name and begins to write.
    pub fn start(cluster: &Cluster, name: &str) -> Self {
        let (node, notifications) = cluster.library_node(name);
        drop(notifications);
        Self::on(node)
    }

    /// Begins to write on a running node.
    pub fn on(node: Node) -> Self {
        let written = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let log = node.log(schema()).unwrap();
        let name = node.name().to_owned();
        let body = {
            let (written, stop) = (Arc::clone(&written), Arc::clone(&stop));
            move || {
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    write_number(&log, &name, n);
                    written.store(n + 1, Ordering::Relaxed);
                    // A steady stream, below what the machine can do.
                    if n % 64 == 0 {
                        std::thread::park_timeout(Duration::from_millis(1));
                    }
                }
            }
        };
        Producer { node, written, stop, thread: std::thread::spawn(body) }
    }

    /// Records written so far.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Waits until that many more records have been written.
    pub fn wait_more(&self, more: u64) {
        let target = self.written() + more;
        wait_for("more records to be written", || (self.written() >= target).then_some(()));
    }

    /// Stops writing, waits until everything has been sent, and shuts the node down. Returns its
    /// name and the number of records written.
    pub fn finish(self) -> (String, u64) {
        let (name, written, _) = self.end(PATIENCE);
        (name, written)
    }

    /// Like [`Self::finish`], but waits at most `patience`, and also returns what was not sent.
    pub fn end(self, patience: Duration) -> (String, u64, Unsent) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        let unsent = self.node.shutdown(patience);
        (self.node.name().to_owned(), self.written.load(Ordering::Relaxed), unsent)
    }
}

/// How many times each record is in the loggers' files.
pub fn counts(cluster: &Cluster) -> BTreeMap<(String, u64), u32> {
    let mut counts = BTreeMap::new();
    for line in cluster.log_lines(PATH) {
        let (producer, n) = line.split_once('\t').unwrap_or_else(|| panic!("torn line {line:?}"));
        let n = n.parse().unwrap_or_else(|_| panic!("torn line {line:?}"));
        *counts.entry((producer.to_owned(), n)).or_default() += 1;
    }
    counts
}

/// Fails unless the files contain every record of these producers once, and no others.
pub fn assert_each_once(cluster: &Cluster, producers: &[(String, u64)]) {
    let counts = counts(cluster);
    let doubled: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).take(10).collect();
    assert!(doubled.is_empty(), "doubled: {doubled:?}");
    let expected = producers.iter().flat_map(|(name, total)| {
        (0..*total).map(|n| (name.clone(), n)).collect::<Vec<(String, u64)>>()
    });
    let missing: Vec<_> = expected.filter(|record| !counts.contains_key(record)).collect();
    let total: u64 = producers.iter().map(|(_, total)| total).sum();
    assert!(
        missing.is_empty(),
        "{} of {total} records are missing, such as {:?}",
        missing.len(),
        &missing[..missing.len().min(10)],
    );
    assert_eq!(counts.len() as u64, total, "records that nobody wrote");
}
