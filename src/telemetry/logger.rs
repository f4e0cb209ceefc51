//! [`LoggerMetrics`]: what a logger counts, per path and per sender.

use std::sync::Arc;

use super::labels::{LabelValue, LabelledFamily, label_values};
use super::{Counter, Gauge, LabelCap, MAX_LABEL_VALUES, PerLabel, Telemetry};

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
    /// `zcluster_logger_queue_bytes`: bytes of batches that were received and are not written yet.
    pub queue_bytes: Gauge,
    /// `zcluster_logger_open_files`: log files that are open.
    pub open_files: Gauge,
    /// `zcluster_logger_compression_failures_total`: failed attempts to compress, or otherwise
    /// finish, a rotated file.
    pub compression_failures: Counter,
    /// `zcluster_logger_postprocessor_failures_total`: postprocessor commands that did not start or
    /// did not end well.
    pub postprocessor_failures: Counter,

    path_batches: LabelledFamily<Counter, 1>,
    path_records: LabelledFamily<Counter, 1>,
    path_written_bytes: LabelledFamily<Counter, 1>,
    path_write_errors: LabelledFamily<Counter, 1>,
    path_records_lost: LabelledFamily<Counter, 1>,
    path_rotations: LabelledFamily<Counter, 1>,
    path_compressions: LabelledFamily<Counter, 1>,
    sender_batches: LabelledFamily<Counter, 1>,
    sender_rejected: LabelledFamily<Counter, 2>,
    paths: Arc<LabelCap>,
    senders: Arc<LabelCap>,
}

/// Handles to the series of one log path.
#[derive(Clone, Debug)]
pub struct PathCounters {
    /// `zcluster_logger_batches_total{path}`: batches that decoded.
    pub batches: Counter,
    /// `zcluster_logger_records_total{path}`: records in them.
    pub records: Counter,
    /// `zcluster_logger_written_bytes_total{path}`: bytes handed to the file, before compression.
    pub written_bytes: Counter,
    /// `zcluster_logger_write_errors_total{path}`: failed attempts to open or write the file.
    pub write_errors: Counter,
    /// `zcluster_logger_records_lost_total{path}`: records given up after such an error.
    pub records_lost: Counter,
    /// `zcluster_logger_rotations_total{path}`: files that were given their rotated name.
    pub rotations: Counter,
    /// `zcluster_logger_compressions_total{path}`: rotated files that were compressed.
    pub compressions: Counter,
}

/// Handles to the series of one sender of log batches.
#[derive(Clone, Debug)]
pub struct SenderCounters {
    /// `zcluster_logger_sender_batches_total{sender}`: batches received, good or not.
    pub batches: Counter,
    /// `zcluster_logger_batches_rejected_total{sender,reason}`: batches that were not written.
    pub rejected: PerLabel<BatchFault, Counter>,
}

impl LoggerMetrics {
    pub(super) fn register(telemetry: &Telemetry) -> Self {
        let t = telemetry;
        LoggerMetrics {
            message_errors: t.message_errors(),
            queue_bytes: t.register(
                "zcluster_logger_queue_bytes",
                "Bytes of log batches received and not written yet",
            ),
            open_files: t.register("zcluster_logger_open_files", "Log files that are open"),
            compression_failures: t.register(
                "zcluster_logger_compression_failures",
                "Failed attempts to compress or otherwise finish a rotated log file",
            ),
            postprocessor_failures: t.register(
                "zcluster_logger_postprocessor_failures",
                "Postprocessor commands that did not start or did not end well",
            ),
            path_batches: t.register("zcluster_logger_batches", "Log batches decoded, by path"),
            path_records: t.register("zcluster_logger_records", "Log records decoded, by path"),
            path_written_bytes: t.register(
                "zcluster_logger_written_bytes",
                "Bytes written to log files before compression, by path",
            ),
            path_write_errors: t.register(
                "zcluster_logger_write_errors",
                "Failed attempts to open or write a log file, by path",
            ),
            path_records_lost: t.register(
                "zcluster_logger_records_lost",
                "Log records given up after a write error, by path",
            ),
            path_rotations: t.register("zcluster_logger_rotations", "Log files rotated, by path"),
            path_compressions: t
                .register("zcluster_logger_compressions", "Rotated log files compressed, by path"),
            sender_batches: t
                .register("zcluster_logger_sender_batches", "Log batches received, by sender"),
            sender_rejected: t.register(
                "zcluster_logger_batches_rejected",
                "Log batches received and not written, by sender and reason",
            ),
            paths: Arc::new(LabelCap::new(MAX_LABEL_VALUES)),
            senders: Arc::new(LabelCap::new(MAX_LABEL_VALUES)),
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
            records_lost: self.path_records_lost.get_or_create_owned(&labels),
            rotations: self.path_rotations.get_or_create_owned(&labels),
            compressions: self.path_compressions.get_or_create_owned(&labels),
        }
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
        logger.path("conn").rotations.inc_by(8);
        logger.path("conn").compressions.inc_by(9);
        logger.compression_failures.inc_by(10);
        logger.postprocessor_failures.inc_by(11);
        logger.sender("worker-1").rejected[BatchFault::Payload].inc_by(7);
        for (name, labels, expected) in [
            ("zeek_cluster_zeromq_msg_errors_total", "", "1"),
            ("zcluster_logger_queue_bytes", "", "2"),
            ("zcluster_logger_open_files", "", "3"),
            ("zcluster_logger_batches_total", r#",path="conn""#, "4"),
            ("zcluster_logger_records_total", r#",path="conn""#, "5"),
            ("zcluster_logger_written_bytes_total", r#",path="conn""#, "6"),
            ("zcluster_logger_write_errors_total", r#",path="conn""#, "0"),
            ("zcluster_logger_rotations_total", r#",path="conn""#, "8"),
            ("zcluster_logger_compressions_total", r#",path="conn""#, "9"),
            ("zcluster_logger_compression_failures_total", "", "10"),
            ("zcluster_logger_postprocessor_failures_total", "", "11"),
            (
                "zcluster_logger_batches_rejected_total",
                r#",sender="worker-1",reason="payload""#,
                "7",
            ),
        ] {
            let series = format!(r#"{name}{{node="logger-1"{labels}}}"#);
            assert_eq!(value(&telemetry, &series).as_deref(), Some(expected), "{series}");
        }
    }

    #[test]
    fn peers_cannot_make_series_without_bound() {
        let telemetry = Telemetry::new("", "");
        let logger = telemetry.logger();
        for number in 0..MAX_LABEL_VALUES + 50 {
            logger.path(&format!("path-{number}")).batches.inc();
            logger.sender(&format!("sender-{number}")).batches.inc();
        }
        for series in [
            r#"zcluster_logger_batches_total{path="other"}"#,
            r#"zcluster_logger_sender_batches_total{sender="other"}"#,
        ] {
            assert_eq!(value(&telemetry, series).as_deref(), Some("50"), "{series}");
        }
        let text = telemetry.encode();
        let count = |prefix: &str| text.lines().filter(|line| line.starts_with(prefix)).count();
        assert_eq!(count("zcluster_logger_batches_total{"), MAX_LABEL_VALUES + 1);
        assert_eq!(count("zcluster_logger_sender_batches_total{"), MAX_LABEL_VALUES + 1);
    }

    #[test]
    fn hostile_names_cannot_break_the_text() {
        let telemetry = Telemetry::new("", "");
        telemetry.logger().path(b"a\"} 1\nfake_metric 2\\\xff").batches.inc();
        let series = "zcluster_logger_batches_total{path=\"a\\\"} 1\\nfake_metric 2\\\\\u{fffd}\"}";
        assert_eq!(value(&telemetry, series).as_deref(), Some("1"), "{}", telemetry.encode());
    }
}
