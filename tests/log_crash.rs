//! Loggers killed at a random moment under load: files on disk are complete, no record is
//! duplicated, and records counted as written with `fsync = "batch"` are on disk.
//!
//! `ZCLUSTER_CHAOS_ROUNDS` sets the number of rounds (`make chaos`).
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use support::log_dir::{MANIFEST, assert_complete, check_manifest, log_files, read_text, records};
use support::producer::{Producer, assert_each_once};
use support::{Cluster, NodeSpec, Process, metric, try_http, wait_for};

const NODES: &[NodeSpec<'static>] =
    &[("manager", "manager"), ("logger-1", "logger"), ("worker-1", "worker")];

/// Rounds by default.
const ROUNDS: u64 = 4;

const WRITTEN: &str = "zcluster_logger_records_written_total";

/// Polls a logger for the number of records it has written, until it no longer responds.
struct Scraper {
    acknowledged: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Scraper {
    fn start(logger: &Process) -> Self {
        let address = logger.endpoint("metrics");
        let acknowledged = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&acknowledged);
        let thread = std::thread::spawn(move || {
            while let Ok((_, text)) = try_http(&address, "/metrics") {
                let label = "path=\"numbers\"";
                count.store(metric(&text, WRITTEN, label) as u64, Ordering::Relaxed);
            }
        });
        Scraper { acknowledged, thread }
    }

    fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// The last count before the logger was killed.
    fn finish(self) -> u64 {
        self.thread.join().unwrap();
        self.acknowledged.load(Ordering::Relaxed)
    }
}

/// The numbers of the records in complete lines on disk.
fn numbers_on_disk(log_dir: &Path) -> BTreeSet<u64> {
    let mut numbers = BTreeSet::new();
    for file in log_files(log_dir) {
        let text = match read_text(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            text => text.unwrap(),
        };
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in records(whole) {
            let number = line.strip_prefix("worker-1\t").and_then(|n| n.parse().ok());
            numbers.insert(number.unwrap_or_else(|| panic!("{}: {line:?}", file.display())));
        }
    }
    numbers
}

/// Kills a logger twice under load, and each time its successor during recovery.
fn round(options: &str, delays: [Duration; 2], successor_delay: Duration) {
    let options = format!(
        "[log]\nwrite_buffer_size = 100\nflush_interval = \"20ms\"\nfsync = \"batch\"\n{options}"
    );
    let cluster = Cluster::new(NODES, &options);
    let log_dir = cluster.log_dir("logger-1");
    let producer = Producer::start(&cluster, "worker-1");
    let mut before = BTreeSet::new();
    for delay in delays {
        let mut logger = cluster.logger("logger-1");
        let scraper = Scraper::start(&logger);
        wait_for("records to be written", || (scraper.acknowledged() > 0).then_some(()));
        // A random moment is the point of this test; any will do.
        std::thread::sleep(delay);
        logger.kill();
        let acknowledged = scraper.finish();
        let after = numbers_on_disk(&log_dir);
        let missing = before.difference(&after).next();
        assert_eq!(missing, None, "records that were there before the restart");
        let new = (after.len() - before.len()) as u64;
        assert!(new >= acknowledged, "{new} records on disk, {acknowledged} acknowledged");
        before = after;
        let args = ["--layout", cluster.layout_arg(), "--node", "logger-1"];
        let mut successor = Process::spawn("successor", "zcluster-logger", &args);
        std::thread::sleep(successor_delay);
        successor.kill();
    }
    let mut logger = cluster.logger("logger-1");
    logger.wait_metric(WRITTEN, 1.0);
    // Records in flight to the killed logger are lost: producers get no acknowledgements.
    let (_, written) = producer.finish();
    logger.stop();

    let mut counts: BTreeMap<u64, u32> = BTreeMap::new();
    let announced = check_manifest(&log_dir);
    for file in log_files(&log_dir) {
        let name = file.file_name().unwrap().to_str().unwrap();
        let text = read_text(&file).unwrap();
        assert_complete(&file, &text);
        let is_live = ["numbers.log", "numbers.log.gz"].contains(&name);
        assert!(is_live || announced.contains_key(&file), "{name}: no {MANIFEST}");
        for line in records(&text) {
            let n = line.strip_prefix("worker-1\t").unwrap().parse().unwrap();
            *counts.entry(n).or_default() += 1;
        }
    }
    assert_eq!(counts.iter().find(|(_, count)| **count > 1), None, "doubled");
    let missing = before.iter().find(|n| !counts.contains_key(n));
    assert_eq!(missing, None, "on disk after the kill, and gone since");
    assert!(counts.keys().next_back() < Some(&written));
    let jobs = std::fs::read_dir(log_dir.join(".rotated")).unwrap().count();
    assert_eq!(jobs, 0, "work that is left after the end");
}

#[test]
fn a_killed_logger_keeps_what_it_has_acknowledged() {
    let rounds = std::env::var("ZCLUSTER_CHAOS_ROUNDS").map_or(ROUNDS, |n| n.parse().unwrap());
    let random = RandomState::new();
    let up_to = |most: u64, seed: (u64, u8)| Duration::from_millis(random.hash_one(seed) % most);
    for n in 0..rounds {
        let (options, most) = match n % 4 {
            0 => ("", 400),
            1 => ("rotation = \"1s\"\ncompress = \"zstd\"", 1500),
            2 => ("gzip_level = 1", 400),
            _ => ("rotation = \"1s\"\ncompress = \"gzip\"", 1500),
        };
        let delays = [up_to(most, (n, 0)), up_to(most, (n, 1))];
        let successor_delay = up_to(60, (n, 2));
        eprintln!("round {n}: {options:?}, killed after {delays:?}, {successor_delay:?}");
        round(options, delays, successor_delay);
    }
}

#[test]
fn a_logger_that_is_killed_between_two_batches_loses_nothing() {
    let cluster = Cluster::new(NODES, "[log]\nfsync = \"batch\"\nflush_interval = \"20ms\"");
    let mut logger = cluster.logger("logger-1");
    let producer = Producer::start(&cluster, "worker-1");
    producer.wait_more(1000);
    let written = producer.finish();
    logger.wait_metric(WRITTEN, written.1 as f64);
    logger.kill();
    let mut logger = cluster.logger("logger-1");
    logger.stop();
    assert_each_once(&cluster, &[written]);
}
