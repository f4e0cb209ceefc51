//! Logs from producers to files: every record arrives once, whatever happens to the loggers.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use support::keys::SharedKeys;
use support::producer::{self, Producer, assert_each_once, write_number};
use support::raw::RawPeer;
use support::{
    Cluster, DEFAULT_NODES, Engine, NodeSpec, PATIENCE, Signal, metric, wait_for, wait_members,
    wait_notification, wait_until_it_stands_still,
};
use zcluster::node::Notification;
use zcluster::transport::SocketKind;
use zcluster::wire::LogMessage;
use zcluster::wire::recording::Recording;
use zcluster::wire::zeek_bin::{FieldSpec, LogSchema, LogType, LogValue, Scalar};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/logs");
const ONE_LOGGER: &[NodeSpec<'static>] =
    &[("manager", "manager"), ("logger-1", "logger"), ("worker-1", "worker")];
/// Small batches sent at once, so that much happens in a short time.
const SMALL_BATCHES: &str = "[log]\nwrite_buffer_size = 20\nflush_interval = \"50ms\"";

/// The files in a directory, without the times in their headers and footers.
fn files_without_times(folder: &Path) -> BTreeMap<String, String> {
    let without_times = |bytes: &[u8]| {
        // Not all of it is UTF-8; as Latin-1 every byte is preserved.
        let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
        let line = |line: &str| match ["#open\t", "#close\t"].iter().find(|k| line.starts_with(*k))
        {
            Some(key) => format!("{key}TIME\n"),
            None => line.to_owned(),
        };
        text.split_inclusive('\n').map(line).collect::<String>()
    };
    let files = fs::read_dir(folder).unwrap().map(Result::unwrap);
    files
        .map(|file| {
            let name = file.file_name().into_string().unwrap();
            (name, without_times(&fs::read(file.path()).unwrap()))
        })
        .collect()
}

fn check_golden(format: &str, keys: Option<&SharedKeys>) {
    let keys_options = keys.map(SharedKeys::options).unwrap_or_default();
    let options = format!("{keys_options}[log]\nformat = \"{format}\"");
    let cluster = Cluster::new(ONE_LOGGER, &options);
    let mut logger = cluster.logger("logger-1");
    let curve = keys.map(SharedKeys::as_client);
    let peer = RawPeer::producer(&logger.endpoint("log"), 1000, curve);
    let mut expected = BTreeMap::new();
    for recording in ["traffic", "odd"] {
        let bytes = fs::read(format!("{FIXTURES}/{recording}.zmq")).unwrap();
        for message in Recording::new(&bytes) {
            peer.send(&message.unwrap());
        }
        let golden = format!("{FIXTURES}/{recording}-{format}");
        expected.extend(files_without_times(Path::new(&golden)));
    }
    drop(peer);
    logger.stop();

    let written = files_without_times(&cluster.log_dir("logger-1"));
    assert!(written.keys().eq(expected.keys()), "{:?}", written.keys());
    for (name, text) in &written {
        for (number, (ours, zeeks)) in text.lines().zip(expected[name].lines()).enumerate() {
            assert_eq!(ours, zeeks, "{name}:{}", number + 1);
        }
        assert!(*text == expected[name], "{name}: number of lines");
    }
}

#[test]
fn recorded_batches_become_the_recorded_tsv_files() {
    check_golden("tsv", None);
}

#[test]
fn recorded_batches_become_the_recorded_json_files() {
    check_golden("json", None);
}

#[test]
fn encrypted_batches_become_the_same_files() {
    for format in ["tsv", "json"] {
        check_golden(format, Some(&SharedKeys::new()));
    }
}

/// Two producers distribute their records over two loggers. The first logger is terminated
/// meanwhile, and may come back.
fn check_terminated_logger(engine: Engine, comes_back: bool) {
    let cluster = Cluster::on(engine, DEFAULT_NODES, SMALL_BATCHES);
    let _broker = cluster.broker();
    let mut first = cluster.logger("logger-1");
    let mut second = cluster.logger("logger-2");
    let producers = ["worker-1", "worker-2"].map(|worker| Producer::start(&cluster, worker));
    for producer in &producers {
        wait_members(&producer.node, &["logger-1", "logger-2"]);
    }
    for logger in [&first, &second] {
        let so_far = logger.metric("zcluster_logger_records_total");
        logger.wait_metric("zcluster_logger_records_total", so_far + 1000.0);
    }
    first.stop();
    for producer in &producers {
        producer.wait_more(2000);
    }
    if comes_back {
        first = cluster.logger("logger-1");
        for producer in &producers {
            wait_members(&producer.node, &["logger-1"]);
        }
        first.wait_metric("zcluster_logger_records_total", 1000.0);
    }
    let written = producers.map(Producer::finish);
    if comes_back {
        first.stop();
    }
    second.stop();
    assert_each_once(&cluster, &written);
}

fn a_terminated_logger_loses_nothing_and_the_other_takes_over(engine: Engine) {
    check_terminated_logger(engine, false);
}

fn a_terminated_logger_that_comes_back_takes_its_share_again(engine: Engine) {
    check_terminated_logger(engine, true);
}

#[test]
fn records_wait_for_a_logger_that_is_down() {
    let cluster = Cluster::new(ONE_LOGGER, &format!("log_sndhwm = 10\n{SMALL_BATCHES}"));
    let _broker = cluster.broker();
    let producer = Producer::start(&cluster, "worker-1");
    // At most 10 batches in the queue, 10 in the pipe, one in between and one being filled.
    wait_until_it_stands_still(|| producer.written());
    let written = producer.written();
    assert!(written <= 22 * 20, "{written} records are held");
    let mut logger = cluster.logger("logger-1");
    producer.wait_more(2000);
    let written = producer.finish();
    logger.stop();
    assert_each_once(&cluster, &[written]);
}

#[test]
fn with_drop_and_no_logger_writing_never_blocks_and_losses_are_counted() {
    let options = "log_sndhwm = 5\nlog_hwm_action = \"drop\"\n[log]\nwrite_buffer_size = 10\n\
                   shutdown_timeout = \"100ms\"";
    let cluster = Cluster::new(ONE_LOGGER, options);
    let (node, _notifications) = cluster.library_node("worker-1");
    let log = node.log(producer::schema()).unwrap();
    // No logger will ever take them: if this blocked, it would block forever.
    for n in 0..10_000 {
        write_number(&log, "worker-1", n);
    }
    let metric = |name| metric(&node.telemetry().encode(), name, "");
    wait_for("all but what the queue holds to be dropped", || {
        let waiting = metric("zcluster_log_queue_messages") * 10.0;
        let dropped = metric("zcluster_log_records_dropped_total");
        (waiting <= 60.0 && waiting + dropped == 10_000.0).then_some(())
    });
    assert_eq!(metric("zcluster_log_records_sent_total"), 0.0);
    let dropped = metric("zcluster_log_records_dropped_total") as u64;
    let unsent = node.shutdown(std::time::Duration::from_millis(100));
    assert_eq!(unsent.records + dropped, 10_000);
}

#[test]
fn a_stopped_logger_blocks_the_writer_who_goes_on_with_it() {
    const RECORDS: u64 = 1000;
    // Producers cut longer strings.
    const PART: usize = 4096;
    const PARTS: usize = 16;
    // Bounds the data in flight: the queue, the pipes, and small socket buffers.
    let options = "log_sndhwm = 2\nlog_sndbuf = 65536\nlog_rcvbuf = 65536\n\
                   log_queue_bytes = \"256KiB\"\n[log]\nwrite_buffer_size = 1";
    let cluster = Cluster::new(ONE_LOGGER, options);
    let _broker = cluster.broker();
    let mut logger = cluster.logger("logger-1");
    let (node, _notifications) = cluster.library_node("worker-1");
    wait_members(&node, &["logger-1"]);
    logger.signal(Signal::STOP);

    let pad = LogType::Vector(Scalar::String);
    let fields = vec![FieldSpec::new("n", Scalar::Count), FieldSpec::new("pad", pad)];
    let log = node.log(LogSchema::new("Test::LARGE", "large", fields)).unwrap();
    let written = Arc::new(AtomicU64::new(0));
    let writer = std::thread::spawn({
        let written = Arc::clone(&written);
        move || {
            let part = "x".repeat(PART);
            let pad = [LogValue::from(part.as_str()); PARTS];
            for n in 0..RECORDS {
                log.write(&[LogValue::Count(n), LogValue::Vector(&pad)]).unwrap();
                written.store(n + 1, Ordering::Relaxed);
            }
        }
    });
    wait_until_it_stands_still(|| written.load(Ordering::Relaxed));
    let held = written.load(Ordering::Relaxed);
    assert!(held < RECORDS / 4, "{held} large records are held");

    logger.signal(Signal::CONT);
    writer.join().unwrap();
    node.shutdown(PATIENCE);
    logger.stop();
    let mut numbers: Vec<u64> = cluster
        .log_lines("large")
        .iter()
        .map(|line| line.split_once('\t').unwrap())
        .inspect(|(_, pad)| assert_eq!(pad.len(), PARTS * (PART + 1) - 1))
        .map(|(n, _)| n.parse().unwrap())
        .collect();
    assert!(numbers.is_sorted(), "one sender, one path: order is kept");
    numbers.dedup();
    assert_eq!(numbers.len() as u64, RECORDS);
}

#[test]
fn a_node_that_is_shut_down_sends_what_it_has_gathered() {
    // By itself, the node would send nothing for an hour.
    let options = "[log]\nwrite_buffer_size = 1000000\nflush_interval = \"1h\"";
    let cluster = Cluster::new(ONE_LOGGER, options);
    let mut logger = cluster.logger("logger-1");
    let (node, _notifications) = cluster.library_node("worker-1");
    let log = node.log(producer::schema()).unwrap();
    for n in 0..5000 {
        write_number(&log, "worker-1", n);
    }
    node.shutdown(PATIENCE);
    logger.stop();
    assert_each_once(&cluster, &[("worker-1".into(), 5000)]);
}

fn a_terminated_worker_sends_what_it_has_gathered(engine: Engine) {
    let options = "[log]\nwrite_buffer_size = 1000000\nflush_interval = \"1h\"";
    let cluster = Cluster::on(engine, ONE_LOGGER, options);
    let _broker = cluster.broker();
    let mut logger = cluster.logger("logger-1");
    let (_manager, notifications) = cluster.library_node("manager");
    let mut worker = cluster.node("worker-1", &["--demo"]);
    // Each heartbeat is followed by its record, and that by the next heartbeat.
    wait_notification(&notifications, "the third heartbeat", |notification| {
        let Notification::Event(event) = notification else { return None };
        let event = event.decode().unwrap();
        (event.name == "Demo::heartbeat" && event.args[1] == 3u64.into()).then_some(())
    });
    assert_eq!(cluster.log_lines("demo").len(), 0);
    worker.stop();
    logger.stop();
    assert!(cluster.log_lines("demo").len() >= 2);
    assert!(cluster.log_lines("cluster").iter().any(|line| line.contains("got hello from")));
}

#[test]
fn a_batch_of_another_program_reaches_the_file_in_order() {
    let cluster = Cluster::new(ONE_LOGGER, "");
    let mut logger = cluster.logger("logger-1");
    let peer = RawPeer::connect(SocketKind::Push, &logger.endpoint("log"));
    for n in 0..1000u64 {
        let mut batch = zcluster::wire::zeek_bin::BatchBuilder::new(producer::schema()).unwrap();
        batch.push(&[LogValue::from("stranger"), LogValue::Count(n)]).unwrap();
        let payload = batch.finish();
        peer.send(&[LogMessage::KIND, b"any sender", LogMessage::ZEEK_BIN, &payload]);
    }
    drop(peer);
    logger.stop();
    let expected: Vec<String> = (0..1000).map(|n| format!("stranger\t{n}")).collect();
    assert_eq!(cluster.log_lines(producer::PATH), expected);
}

on_both_engines!(
    a_terminated_logger_loses_nothing_and_the_other_takes_over,
    a_terminated_logger_that_comes_back_takes_its_share_again,
    a_terminated_worker_sends_what_it_has_gathered,
);
