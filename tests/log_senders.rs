//! Producers whose loggers are unavailable: records that no logger has accepted do not count as
//! sent, and possible losses are reported.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::time::Duration;

use support::producer::{Producer, assert_each_once, counts};
use support::{Cluster, NodeSpec, PATIENCE, Signal, metric, wait_for, wait_members};

const ONE_LOGGER: &[NodeSpec<'static>] =
    &[("manager", "manager"), ("logger-1", "logger"), ("worker-1", "worker")];
const TWO_LOGGERS: &[NodeSpec<'static>] = &[
    ("manager", "manager"),
    ("logger-1", "logger"),
    ("logger-2", "logger"),
    ("worker-1", "worker"),
];
const SMALL_BATCHES: &str = "[log]\nwrite_buffer_size = 20\nflush_interval = \"50ms\"";

#[test]
fn without_a_logger_nothing_is_sent_and_the_exit_code_says_so() {
    let options = "[log]\nflush_interval = \"10ms\"\nshutdown_timeout = \"500ms\"";
    let cluster = Cluster::new(ONE_LOGGER, options);
    let mut worker = cluster.node("worker-1", &["--demo"]);
    worker.wait_metric("zcluster_log_queue_messages", 1.0);
    let why = worker.problems_at("/readyz").join("\n");
    assert!(why.contains("no logger has been available"), "{why}");
    assert_eq!(worker.metric("zcluster_log_records_sent_total"), 0.0);
    worker.signal(Signal::TERM);
    assert_eq!(worker.wait().code(), Some(69), "{}", worker.stderr());
    let stderr = worker.stderr();
    assert!(!stderr.contains(" 0 log records unsent"), "{stderr}");
    assert!(stderr.contains("no logger accepted them in time"), "{stderr}");
}

#[test]
fn a_logger_that_is_not_there_gets_nothing() {
    let cluster = Cluster::new(TWO_LOGGERS, SMALL_BATCHES);
    let _broker = cluster.broker();
    let mut logger = cluster.logger("logger-2");
    let producer = Producer::start(&cluster, "worker-1");
    producer.wait_more(2000);
    let (name, written, unsent) = producer.end(PATIENCE);
    assert_eq!((unsent.records, unsent.unconfirmed), (0, 0));
    logger.stop();
    assert_each_once(&cluster, &[(name, written)]);
}

#[test]
fn batches_a_killed_logger_may_have_missed_are_reported() {
    let cluster = Cluster::new(ONE_LOGGER, SMALL_BATCHES);
    let _broker = cluster.broker();
    let mut logger = cluster.logger("logger-1");
    let producer = Producer::start(&cluster, "worker-1");
    let telemetry = producer.node.telemetry().clone();
    logger.wait_metric("zcluster_logger_records_total", 2000.0);
    logger.kill();
    producer.wait_more(1000);
    let mut logger = cluster.logger("logger-1");
    logger.wait_metric("zcluster_logger_records_total", 2000.0);
    let (_, written, unsent) = producer.end(PATIENCE);
    logger.stop();
    let counts = counts(&cluster);
    assert!(counts.values().all(|count| *count == 1));
    let missing = written - counts.len() as u64;
    assert!(missing <= unsent.unconfirmed, "{missing} of {written} are missing: {unsent:?}");
    assert!(unsent.unconfirmed > 0 && unsent.unconfirmed < written, "{unsent:?} of {written}");
    // Each record counts as sent or dropped, including the few of cluster.log.
    let metric = |name| metric(&telemetry.encode(), name, "") as u64;
    let sent = metric("zcluster_log_records_sent_total");
    let dropped = metric("zcluster_log_records_dropped_total");
    assert_eq!(sent + dropped, metric("zeek_log_writer_writes_total"));
    assert_eq!(metric("zcluster_log_records_unconfirmed_total"), unsent.unconfirmed);
}

#[test]
fn a_logger_that_leaves_in_good_order_gets_everything() {
    let options = format!("{SMALL_BATCHES}\nshutdown_timeout = \"60s\"");
    let cluster = Cluster::new(ONE_LOGGER, &options);
    let _broker = cluster.broker();
    let mut logger = cluster.logger("logger-1");
    let producer = Producer::start(&cluster, "worker-1");
    wait_members(&producer.node, &["logger-1"]);
    logger.wait_metric("zcluster_logger_records_total", 2000.0);
    logger.stop();
    let mut logger = cluster.logger("logger-1");
    logger.wait_metric("zcluster_logger_records_total", 2000.0);
    let (name, written, unsent) = producer.end(PATIENCE);
    assert_eq!((unsent.records, unsent.unconfirmed), (0, 0));
    logger.stop();
    assert_each_once(&cluster, &[(name, written)]);
}

#[test]
fn batches_a_stopped_logger_does_not_read_are_reported() {
    let options = "log_sndhwm = 2\nlog_sndbuf = 4096\nlog_rcvbuf = 4096\n\
                   log_hwm_action = \"drop\"\n[log]\nwrite_buffer_size = 2000";
    let cluster = Cluster::new(ONE_LOGGER, options);
    let _broker = cluster.broker();
    let mut logger = cluster.logger("logger-1");
    let producer = Producer::start(&cluster, "worker-1");
    logger.wait_metric("zcluster_logger_records_total", 2000.0);
    logger.signal(Signal::STOP);
    let telemetry = producer.node.telemetry().clone();
    let dropped = || metric(&telemetry.encode(), "zcluster_log_records_dropped_total", "") as u64;
    wait_for("the pipe to be full", || (dropped() > 0).then_some(()));
    let (_, written, unsent) = producer.end(Duration::from_millis(500));
    assert!(unsent.unconfirmed > 0, "{unsent:?}");
    logger.signal(Signal::CONT);
    logger.stop();
    let counts = counts(&cluster);
    assert!(counts.values().all(|count| *count == 1));
    let missing = written - counts.len() as u64;
    assert!(missing <= unsent.unconfirmed + dropped(), "{missing} are missing: {unsent:?}");
}

#[test]
fn a_manager_that_is_a_logger_is_run_by_zcluster_logger() {
    let nodes = [("manager", "manager"), ("worker-1", "worker")];
    let cluster = Cluster::new(&nodes, "[log]\nflush_interval = \"10ms\"");
    let text = std::fs::read_to_string(&cluster.layout).unwrap();
    let with_port = format!("[nodes.manager]\nport = {}\n", support::free_port());
    std::fs::write(&cluster.layout, text.replace("[nodes.manager]\n", &with_port)).unwrap();
    let args = ["--layout", cluster.layout_arg(), "--node", "manager"];
    let refused = support::run_to_end(support::command("zcluster-node").args(args));
    assert_eq!(refused.code, Some(78));
    assert!(refused.stderr.contains("start it with zcluster-logger"), "{}", refused.stderr);

    let _broker = cluster.broker();
    let mut manager = cluster.logger("manager");
    let mut worker = cluster.node("worker-1", &["--demo"]);
    worker.wait_all_up(&["manager"]);
    wait_for("the log", || {
        let log = std::fs::read_to_string(cluster.log_dir("manager").join("demo.log")).ok()?;
        log.contains("worker-1").then_some(())
    });
    worker.stop();
    manager.stop();
}
