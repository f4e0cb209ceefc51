//! [`LoggerMetrics`]: what a logger counts, per path and per sender.

use std::sync::Arc;

use super::labels::{LabelValue, LabelledFamily, label_values};
use super::log_sender::module_name;
use super::{
    Counter, Gauge, GaugeShare, Histogram, LabelCap, MAX_LABEL_VALUES, PerLabel, Telemetry,
};

/// Upper bounds of the classes of write latency, in seconds: from what memory takes to a disk that
/// hangs.
const LATENCIES: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

label_values! {
    /// Why a log batch that arrived was not written.
    BatchFault {
        /// It is in another format than the one loggers read.
        Format = "format",
        /// The payload does not decode.
        Payload = "payload",
        /// Its fields are not what a batch for this path may have.
        Schema = "schema",
        /// Its path does not name a file in the log folder.
        Path = "path",
        /// It is larger, or names more paths, than the logger is configured to take.
        Limit = "limit",
        /// Its sender speaks for another node than the one whose key it has.
        Impersonation = "impersonation",
        /// Its sender may not send logs.
        NotAllowed = "not_allowed",
    }
}

label_values! {
    /// Why a peer that connected was sent away.
    PeerFault {
        /// It does not speak ZMTP as loggers do.
        Protocol = "protocol",
        /// Its socket is of a type that sends no log batches.
        SocketType = "socket_type",
        /// It uses another security mechanism, or has been given another key of ours.
        Mechanism = "mechanism",
        /// Its key is not one of those that may connect, or no longer.
        Unauthorized = "unauthorized",
        /// There are too many connections, or a message is too large.
        Limit = "limit",
        /// It did not finish its greeting in time, or left a ping unanswered.
        Timeout = "timeout",
    }
}

/// Handles to the series of a logger; those of one path or sender are asked for by name.
///
/// Paths and senders come from the network: each label has at most [`MAX_LABEL_VALUES`] values of
/// its own, and what comes later shares the series of [`LabelCap::OTHER`].
#[derive(Clone, Debug)]
pub struct LoggerMetrics {
    /// `zeek_cluster_zeromq_msg_errors_total`: multipart messages with a wrong number of frames,
    /// on any socket of the process.
    pub message_errors: Counter,
    /// `zcluster_logger_queue_bytes`: bytes of text that waits for the disk.
    pub queue_bytes: Gauge,
    /// `zcluster_logger_open_files`: log files that are open.
    pub open_files: Gauge,
    /// `zcluster_logger_memory_bytes`: bytes of all queues and buffers, which `max_memory` bounds.
    pub memory_bytes: Gauge,
    /// `zcluster_logger_memory_limit_bytes`: `max_memory`, set once.
    pub memory_limit_bytes: Gauge,
    /// `zcluster_logger_connections`: peers connected to the log socket.
    pub connections: Gauge,
    /// `zcluster_logger_peers_refused_total{reason}`: peers that were sent away.
    pub peers_refused: PerLabel<PeerFault, Counter>,
    /// `zcluster_logger_accept_failures_total`: attempts to accept a connection that failed, mostly
    /// because the process is out of file descriptors.
    pub accept_failures: Counter,
    /// `zcluster_logger_rejections_total{reason}`: batches that were not written, over all senders.
    /// What [`SenderCounters::reject`] counts; these series exist before the first one, so that
    /// alerts see it.
    rejections: PerLabel<BatchFault, Counter>,
    /// `zcluster_logger_losses_total`: records given up, over all paths; what
    /// [`PathCounters::lose`] counts.
    losses: Counter,
    /// `zcluster_logger_write_failures_total`: failed attempts to open or write a file, over all
    /// paths; what [`PathCounters::fail_write`] counts.
    write_failures: Counter,
    /// `zcluster_logger_postprocessor_failures_total`: rotated files whose command could not be
    /// started or failed.
    pub postprocessor_failures: Counter,
    /// `zcluster_logger_compression_failures_total`: failed attempts to compress a rotated file.
    pub compression_failures: Counter,
    /// `zcluster_logger_sync_failures_total`: failed attempts to make a file survive a power cut.
    pub sync_failures: Counter,

    path_batches: LabelledFamily<Counter, 1>,
    path_records: LabelledFamily<Counter, 1>,
    path_written_bytes: LabelledFamily<Counter, 1>,
    path_write_errors: LabelledFamily<Counter, 1>,
    path_records_lost: LabelledFamily<Counter, 1>,
    path_records_written: LabelledFamily<Counter, 1>,
    path_queue_bytes: LabelledFamily<Gauge, 1>,
    path_write_latency: LabelledFamily<Histogram, 1>,
    path_rotations: LabelledFamily<Counter, 1>,
    path_compressions: LabelledFamily<Counter, 1>,
    path_schema_changes: LabelledFamily<Counter, 1>,
    path_truncations: LabelledFamily<Counter, 1>,
    writer_writes: LabelledFamily<Counter, 5>,
    sender_batches: LabelledFamily<Counter, 1>,
    sender_rejected: LabelledFamily<Counter, 2>,
    paths: Arc<LabelCap>,
    senders: Arc<LabelCap>,
    writers: Arc<LabelCap>,
}

/// Handles to the series of one log path.
#[derive(Clone, Debug)]
pub struct PathCounters {
    /// `zcluster_logger_batches_total{path}`: batches that decoded.
    pub batches: Counter,
    /// `zcluster_logger_records_total{path}`: records in them.
    pub records: Counter,
    /// `zcluster_logger_written_bytes_total{path}`: bytes written to the file; with `gzip_level`
    /// those of the stream.
    pub written_bytes: Counter,
    /// `zcluster_logger_write_errors_total{path}`: failed attempts to open or write the file.
    write_errors: Counter,
    write_failures: Counter,
    /// `zcluster_logger_records_lost_total{path}`: records given up after such an error.
    records_lost: Counter,
    losses: Counter,
    /// `zcluster_logger_records_written_total{path}`: records whose text is in the file; with
    /// `fsync = "batch"` counted once the file is synced, so that they survive a power cut.
    pub records_written: Counter,
    /// `zcluster_logger_path_queue_bytes{path}`: bytes of text that are not in the file yet.
    pub queue_bytes: GaugeShare,
    /// `zcluster_logger_write_latency_seconds{path}`: from receiving a batch to its text being in
    /// the file.
    pub write_latency: Histogram,
    /// `zcluster_logger_rotations_total{path}`: files rotated.
    pub rotations: Counter,
    /// `zcluster_logger_compressions_total{path}`: rotated files compressed.
    pub compressions: Counter,
    /// `zcluster_logger_schema_changes_total{path}`: times that columns came which no file of the
    /// path had.
    pub schema_changes: Counter,
    /// `zcluster_logger_truncations_total{path}`: times that somebody else has truncated the file.
    pub truncations: Counter,
}

/// Handles to the series of one sender of log batches.
#[derive(Clone, Debug)]
pub struct SenderCounters {
    /// `zcluster_logger_sender_batches_total{sender}`: batches received, good or not.
    pub batches: Counter,
    /// `zcluster_logger_batches_rejected_total{sender,reason}`: batches that were not written.
    rejected: PerLabel<BatchFault, Counter>,
    rejections: PerLabel<BatchFault, Counter>,
}

impl PathCounters {
    /// Counts a failed attempt to open or write the file.
    pub fn fail_write(&self) {
        self.write_errors.inc();
        self.write_failures.inc();
    }

    /// Counts records that are given up.
    pub fn lose(&self, records: u64) {
        self.records_lost.inc_by(records);
        self.losses.inc_by(records);
    }

    /// Records that were given up.
    pub fn records_lost(&self) -> u64 {
        self.records_lost.get()
    }

    /// Failed attempts to open or write the file.
    pub fn write_errors(&self) -> u64 {
        self.write_errors.get()
    }
}

impl SenderCounters {
    /// Counts a batch that is not written.
    pub fn reject(&self, fault: BatchFault) {
        self.rejected[fault].inc();
        self.rejections[fault].inc();
    }
}

impl LoggerMetrics {
    pub(super) fn register(telemetry: &Telemetry) -> Self {
        let t = telemetry;
        LoggerMetrics {
            message_errors: t.message_errors(),
            queue_bytes: t.register(
                "zcluster_logger_queue_bytes",
                "Bytes of log text that waits to be written",
            ),
            open_files: t.register("zcluster_logger_open_files", "Log files that are open"),
            memory_bytes: t.register(
                "zcluster_logger_memory_bytes",
                "Bytes of all queues and buffers of the logger",
            ),
            memory_limit_bytes: t.register(
                "zcluster_logger_memory_limit_bytes",
                "Limit of all queues and buffers of the logger, in bytes (max_memory)",
            ),
            connections: t
                .register("zcluster_logger_connections", "Peers connected to the log socket"),
            peers_refused: t.register_per_label(
                "zcluster_logger_peers_refused",
                "Peers of the log socket that were sent away, by reason",
                "reason",
            ),
            accept_failures: t.register(
                "zcluster_logger_accept_failures",
                "Attempts to accept a connection that failed",
            ),
            rejections: t.register_per_label(
                "zcluster_logger_rejections",
                "Log batches received and not written, by reason",
                "reason",
            ),
            losses: t.register("zcluster_logger_losses", "Log records given up"),
            write_failures: t.register(
                "zcluster_logger_write_failures",
                "Failed attempts to open or write a log file",
            ),
            postprocessor_failures: t.register(
                "zcluster_logger_postprocessor_failures",
                "Rotated files whose postprocessor failed",
            ),
            compression_failures: t.register(
                "zcluster_logger_compression_failures",
                "Failed attempts to compress a rotated file",
            ),
            sync_failures: t
                .register("zcluster_logger_sync_failures", "Failed attempts to sync a log file"),
            path_batches: t.register("zcluster_logger_batches", "Log batches decoded, by path"),
            path_records: t.register("zcluster_logger_records", "Log records decoded, by path"),
            path_written_bytes: t
                .register("zcluster_logger_written_bytes", "Bytes written to log files, by path"),
            path_write_errors: t.register(
                "zcluster_logger_write_errors",
                "Failed attempts to open or write a log file, by path",
            ),
            path_records_lost: t.register(
                "zcluster_logger_records_lost",
                "Log records given up after a write error, by path",
            ),
            path_records_written: t
                .register("zcluster_logger_records_written", "Log records in their file, by path"),
            path_queue_bytes: t.register(
                "zcluster_logger_path_queue_bytes",
                "Bytes of text not in the file yet, by path",
            ),
            path_write_latency: t.add(
                "zcluster_logger_write_latency_seconds",
                "Time from receiving a log batch to its text being in the file, by path",
                LabelledFamily::new_with_constructor(|| Histogram::new(LATENCIES)),
            ),
            path_rotations: t.register("zcluster_logger_rotations", "Log files rotated, by path"),
            path_compressions: t
                .register("zcluster_logger_compressions", "Rotated log files compressed, by path"),
            path_schema_changes: t.register(
                "zcluster_logger_schema_changes",
                "Times that the columns of a log changed, by path",
            ),
            path_truncations: t.register(
                "zcluster_logger_truncations",
                "Log files truncated by another process, by path",
            ),
            writer_writes: t.writer_writes(),
            sender_batches: t
                .register("zcluster_logger_sender_batches", "Log batches received, by sender"),
            sender_rejected: t.register(
                "zcluster_logger_batches_rejected",
                "Log batches received and not written, by sender and reason",
            ),
            paths: Arc::new(LabelCap::new(MAX_LABEL_VALUES)),
            senders: Arc::new(LabelCap::new(MAX_LABEL_VALUES)),
            writers: Arc::new(LabelCap::new(MAX_LABEL_VALUES)),
        }
    }

    /// The counters of one log path. Takes locks; keep the result.
    pub fn path(&self, path: &(impl AsRef<[u8]> + ?Sized)) -> PathCounters {
        let labels = [("path", self.paths.admit(path).into_owned())];
        PathCounters {
            batches: self.path_batches.get_or_create_owned(&labels),
            records: self.path_records.get_or_create_owned(&labels),
            written_bytes: self.path_written_bytes.get_or_create_owned(&labels),
            write_errors: self.path_write_errors.get_or_create_owned(&labels),
            write_failures: self.write_failures.clone(),
            records_lost: self.path_records_lost.get_or_create_owned(&labels),
            losses: self.losses.clone(),
            records_written: self.path_records_written.get_or_create_owned(&labels),
            queue_bytes: GaugeShare::new(self.path_queue_bytes.get_or_create_owned(&labels)),
            write_latency: self.path_write_latency.get_or_create_owned(&labels),
            rotations: self.path_rotations.get_or_create_owned(&labels),
            compressions: self.path_compressions.get_or_create_owned(&labels),
            schema_changes: self.path_schema_changes.get_or_create_owned(&labels),
            truncations: self.path_truncations.get_or_create_owned(&labels),
        }
    }

    /// `zeek_log_writer_writes_total{writer,module,stream,filter_name,path}`: records written for
    /// one writer of the producers, named as log batches name it (WIRE.md §7.7). Takes locks; keep
    /// the result. Writers past [`MAX_LABEL_VALUES`] share one series.
    pub fn writer(&self, writer: &[u8], stream: &[u8], filter: &[u8], path: &[u8]) -> Counter {
        // The module is part of the stream's name, and so of what is admitted.
        let [writer, stream, filter, path] = self.writers.admit_all([writer, stream, filter, path]);
        self.writer_writes.get_or_create_owned(&[
            ("writer", writer),
            ("module", module_name(&stream).to_owned()),
            ("stream", stream),
            ("filter_name", filter),
            ("path", path),
        ])
    }

    /// The counters of one sender. Takes locks; keep the result.
    ///
    /// Give a node's name where it is known: ids change with every restart of a node, and so use
    /// up the label's values.
    pub fn sender(&self, sender: &(impl AsRef<[u8]> + ?Sized)) -> SenderCounters {
        let sender = self.senders.admit(sender);
        SenderCounters {
            batches: self.sender_batches.get_or_create_owned(&[("sender", sender.to_string())]),
            rejected: PerLabel::from_fn(|fault: BatchFault| {
                self.sender_rejected.get_or_create_owned(&[
                    ("sender", sender.to_string()),
                    ("reason", fault.as_str().to_owned()),
                ])
            }),
            rejections: self.rejections.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::tests::value;

    #[test]
    fn names_and_labels_are_exact() {
        let telemetry = Telemetry::new("logger-1", "node");
        let logger = telemetry.logger();
        logger.message_errors.inc_by(1);
        logger.queue_bytes.set(2);
        logger.open_files.set(3);
        logger.path("conn").batches.inc_by(4);
        logger.path("conn").records.inc_by(5);
        logger.path(b"conn").written_bytes.inc_by(6);
        logger.sender("worker-1").reject(BatchFault::Payload);
        logger.memory_limit_bytes.set(20);
        logger.accept_failures.inc_by(21);
        logger.memory_bytes.set(8);
        logger.connections.set(9);
        logger.peers_refused[PeerFault::SocketType].inc_by(10);
        logger.sync_failures.inc_by(11);
        let path = logger.path("conn");
        path.records_written.inc_by(12);
        path.queue_bytes.add(13);
        path.rotations.inc_by(14);
        path.compressions.inc_by(15);
        path.schema_changes.inc_by(17);
        path.truncations.inc_by(18);
        path.write_latency.observe(0.003);
        path.write_latency.observe(100.0);
        logger.writer(b"Log::WRITER_ASCII", b"Conn::LOG", b"default", b"conn").inc_by(16);
        // A producer in this process counts into the same family.
        telemetry.log_sender().stream("Conn::LOG", "Log::WRITER_ASCII", "default", "conn");
        for (name, labels, expected) in [
            ("zeek_cluster_zeromq_msg_errors_total", "", "1"),
            ("zcluster_logger_queue_bytes", "", "2"),
            ("zcluster_logger_open_files", "", "3"),
            ("zcluster_logger_batches_total", r#",path="conn""#, "4"),
            ("zcluster_logger_records_total", r#",path="conn""#, "5"),
            ("zcluster_logger_written_bytes_total", r#",path="conn""#, "6"),
            ("zcluster_logger_write_errors_total", r#",path="conn""#, "0"),
            (
                "zcluster_logger_batches_rejected_total",
                r#",sender="worker-1",reason="payload""#,
                "1",
            ),
            ("zcluster_logger_rejections_total", r#",reason="payload""#, "1"),
            ("zcluster_logger_rejections_total", r#",reason="path""#, "0"),
            ("zcluster_logger_memory_limit_bytes", "", "20"),
            ("zcluster_logger_accept_failures_total", "", "21"),
            ("zcluster_logger_memory_bytes", "", "8"),
            ("zcluster_logger_connections", "", "9"),
            ("zcluster_logger_peers_refused_total", r#",reason="socket_type""#, "10"),
            ("zcluster_logger_peers_refused_total", r#",reason="timeout""#, "0"),
            ("zcluster_logger_sync_failures_total", "", "11"),
            ("zcluster_logger_postprocessor_failures_total", "", "0"),
            ("zcluster_logger_compression_failures_total", "", "0"),
            ("zcluster_logger_records_written_total", r#",path="conn""#, "12"),
            ("zcluster_logger_path_queue_bytes", r#",path="conn""#, "13"),
            ("zcluster_logger_rotations_total", r#",path="conn""#, "14"),
            ("zcluster_logger_compressions_total", r#",path="conn""#, "15"),
            ("zcluster_logger_schema_changes_total", r#",path="conn""#, "17"),
            ("zcluster_logger_truncations_total", r#",path="conn""#, "18"),
            ("zcluster_logger_write_latency_seconds_count", r#",path="conn""#, "2"),
            (
                "zeek_log_writer_writes_total",
                concat!(
                    r#",writer="Log::WRITER_ASCII",module="Conn",stream="Conn::LOG","#,
                    r#"filter_name="default",path="conn""#
                ),
                "16",
            ),
        ] {
            let series = format!(r#"{name}{{node="logger-1"{labels}}}"#);
            assert_eq!(value(&telemetry, &series).as_deref(), Some(expected), "{series}");
        }
    }

    #[test]
    fn incidents_are_counted_over_all_paths_from_the_start() {
        let telemetry = Telemetry::new("", "");
        let logger = telemetry.logger();
        let names = ["losses", "write_failures", "records_lost", "write_errors"];
        let read = |name: &str, labels: &str| {
            value(&telemetry, &format!("zcluster_logger_{name}_total{labels}"))
        };
        assert_eq!(
            names.map(|name| read(name, "")),
            [Some("0"), Some("0"), None, None].map(|zero| zero.map(str::to_owned))
        );
        for (path, records) in [("conn", 3), ("dns", 4)] {
            let path = logger.path(path);
            path.lose(records);
            path.fail_write();
            assert_eq!((path.records_lost(), path.write_errors()), (records, 1));
        }
        for (name, labels, expected) in [
            ("losses", "", "7"),
            ("write_failures", "", "2"),
            ("records_lost", r#"{path="dns"}"#, "4"),
            ("write_errors", r#"{path="conn"}"#, "1"),
        ] {
            assert_eq!(read(name, labels).as_deref(), Some(expected), "{name}");
        }
    }

    #[test]
    fn peers_cannot_make_series_without_bound() {
        let telemetry = Telemetry::new("", "");
        let logger = telemetry.logger();
        for number in 0..MAX_LABEL_VALUES + 50 {
            logger.path(&format!("path-{number}")).batches.inc();
            logger.sender(&format!("sender-{number}")).batches.inc();
            logger.writer(b"w", number.to_string().as_bytes(), b"f", b"p").inc();
        }
        for series in [
            r#"zcluster_logger_batches_total{path="other"}"#,
            r#"zcluster_logger_sender_batches_total{sender="other"}"#,
            concat!(
                r#"zeek_log_writer_writes_total{writer="other",module="GLOBAL",stream="other","#,
                r#"filter_name="other",path="other"}"#
            ),
        ] {
            assert_eq!(value(&telemetry, series).as_deref(), Some("50"), "{series}");
        }
        let text = telemetry.encode();
        let count = |prefix: &str| text.lines().filter(|line| line.starts_with(prefix)).count();
        assert_eq!(count("zcluster_logger_batches_total{"), MAX_LABEL_VALUES + 1);
        assert_eq!(count("zcluster_logger_sender_batches_total{"), MAX_LABEL_VALUES + 1);
        assert_eq!(count("zeek_log_writer_writes_total{"), MAX_LABEL_VALUES + 1);
    }

    #[test]
    fn latencies_fall_into_their_classes() {
        let telemetry = Telemetry::new("", "");
        let latency = telemetry.logger().path("conn").write_latency;
        for seconds in [0.0005, 0.003, 60.0, 61.0] {
            latency.observe(seconds);
        }
        for (bound, expected) in
            [("0.001", "1"), ("0.0025", "1"), ("0.005", "2"), ("60.0", "3"), ("+Inf", "4")]
        {
            let series = format!(
                r#"zcluster_logger_write_latency_seconds_bucket{{le="{bound}",path="conn"}}"#
            );
            let value = value(&telemetry, &series);
            assert_eq!(value.as_deref(), Some(expected), "{series}\n{}", telemetry.encode());
        }
    }

    #[test]
    fn paths_without_a_series_of_their_own_share_a_gauge_that_is_right() {
        let telemetry = Telemetry::new("", "");
        let logger = telemetry.logger();
        for number in 0..MAX_LABEL_VALUES {
            logger.path(&format!("path-{number}"));
        }
        let (a, b) = (logger.path("a"), logger.path("b"));
        a.queue_bytes.add(100);
        b.queue_bytes.add(20);
        b.queue_bytes.sub(10);
        let series = r#"zcluster_logger_path_queue_bytes{path="other"}"#;
        assert_eq!(value(&telemetry, series).as_deref(), Some("110"));
        drop(a);
        assert_eq!(value(&telemetry, series).as_deref(), Some("10"));
    }

    #[test]
    fn hostile_names_cannot_break_the_text() {
        let telemetry = Telemetry::new("", "");
        telemetry.logger().path(b"a\"} 1\nfake_metric 2\\\xff").batches.inc();
        let series = "zcluster_logger_batches_total{path=\"a\\\"} 1\\nfake_metric 2\\\\\u{fffd}\"}";
        assert_eq!(value(&telemetry, series).as_deref(), Some("1"), "{}", telemetry.encode());
    }
}
