//! [`LogSenderMetrics`]: what writers of log streams count, under Zeek's names.

use std::sync::Arc;

use super::labels::LabelledFamily;
use super::{Counter, LabelCap, MAX_LABEL_VALUES, Telemetry};

/// Families of the series that [`LogSenderMetrics::stream`] hands out.
#[derive(Clone, Debug)]
pub struct LogSenderMetrics {
    stream_writes: LabelledFamily<Counter, 2>,
    writer_writes: LabelledFamily<Counter, 5>,
    discarded_writes: LabelledFamily<Counter, 5>,
    truncated_string_fields: LabelledFamily<Counter, 5>,
    truncated_containers: LabelledFamily<Counter, 5>,
    paths_closed: LabelledFamily<Counter, 2>,
    /// Paths may be computed from the records, so from traffic.
    paths: Arc<LabelCap>,
}

/// Handles to the series of one stream, filter, writer and path.
#[derive(Clone, Debug)]
pub struct LogStreamCounters {
    /// `zeek_log_stream_writes_total{module,stream}`: records written to the stream, whatever its
    /// filters do with them. All filters and paths of a stream share it: count once per record.
    pub stream_writes: Counter,
    /// `zeek_log_writer_writes_total{writer,module,stream,filter_name,path}`: records that reached
    /// this writer.
    pub writer_writes: Counter,
    /// `zeek_log_writer_discarded_writes_total{…}`: records discarded for being too large.
    pub discarded_writes: Counter,
    /// `zeek_log_writer_truncated_string_fields_total{…}`: strings cut to their limit.
    pub truncated_string_fields: Counter,
    /// `zeek_log_writer_truncated_containers_total{…}`: sets and vectors cut to their limit.
    pub truncated_containers: Counter,
}

impl LogSenderMetrics {
    pub(super) fn register(telemetry: &Telemetry) -> Self {
        LogSenderMetrics {
            stream_writes: telemetry
                .register("zeek_log_stream_writes", "Records written to a log stream"),
            writer_writes: telemetry.writer_writes(),
            discarded_writes: telemetry.register(
                "zeek_log_writer_discarded_writes",
                "Records discarded for being too large",
            ),
            truncated_string_fields: telemetry
                .register("zeek_log_writer_truncated_string_fields", "Strings cut to their limit"),
            truncated_containers: telemetry.register(
                "zeek_log_writer_truncated_containers",
                "Sets and vectors cut to their limit",
            ),
            paths_closed: telemetry.register(
                "zcluster_log_paths_closed",
                "Logs closed because their filter had too many open",
            ),
            paths: Arc::new(LabelCap::new(MAX_LABEL_VALUES)),
        }
    }

    /// `zeek_log_stream_writes_total{module,stream}` of one stream. Takes locks; keep the result.
    pub fn stream_writes(&self, stream: &str) -> Counter {
        self.stream_writes.get_or_create_owned(&of_stream(stream))
    }

    /// `zcluster_log_paths_closed_total{module,stream}`: logs that filters of the stream closed
    /// because too many were open. Takes locks; keep the result.
    pub fn paths_closed(&self, stream: &str) -> Counter {
        self.paths_closed.get_or_create_owned(&of_stream(stream))
    }

    /// The counters of one writer of a stream: `stream` and `writer` are qualified enum names, as
    /// `Conn::LOG` and `Log::WRITER_ASCII`. Paths past [`MAX_LABEL_VALUES`] share one series.
    ///
    /// Takes locks; keep the result.
    pub fn stream(
        &self,
        stream: &str,
        writer: &str,
        filter: &str,
        path: &str,
    ) -> LogStreamCounters {
        let module = module_name(stream);
        let of_writer = [
            ("writer", writer.to_owned()),
            ("module", module.to_owned()),
            ("stream", stream.to_owned()),
            ("filter_name", filter.to_owned()),
            ("path", self.paths.admit(path).into_owned()),
        ];
        LogStreamCounters {
            stream_writes: self.stream_writes(stream),
            writer_writes: self.writer_writes.get_or_create_owned(&of_writer),
            discarded_writes: self.discarded_writes.get_or_create_owned(&of_writer),
            truncated_string_fields: self.truncated_string_fields.get_or_create_owned(&of_writer),
            truncated_containers: self.truncated_containers.get_or_create_owned(&of_writer),
        }
    }
}

fn of_stream(stream: &str) -> [(&'static str, String); 2] {
    [("module", module_name(stream).to_owned()), ("stream", stream.to_owned())]
}

/// The module of a qualified name; `GLOBAL` for names outside any, as Zeek calls it.
pub(super) fn module_name(name: &str) -> &str {
    name.rsplit_once("::").map_or("GLOBAL", |(module, _)| module)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::tests::value;

    #[test]
    fn names_and_labels_are_exact() {
        let telemetry = Telemetry::new("worker-1", "node");
        let sender = telemetry.log_sender();
        let counters = sender.stream("Conn::LOG", "Log::WRITER_ASCII", "default", "conn");
        counters.stream_writes.inc_by(1);
        counters.writer_writes.inc_by(2);
        counters.discarded_writes.inc_by(3);
        counters.truncated_string_fields.inc_by(4);
        counters.truncated_containers.inc_by(5);
        // Another path counts into the same stream.
        sender.stream("Conn::LOG", "Log::WRITER_ASCII", "long", "conn-2").stream_writes.inc();

        let labels = concat!(
            r#"{node="worker-1",writer="Log::WRITER_ASCII",module="Conn",stream="Conn::LOG","#,
            r#"filter_name="default",path="conn"}"#
        );
        for (name, expected) in [
            ("zeek_log_writer_writes_total", "2"),
            ("zeek_log_writer_discarded_writes_total", "3"),
            ("zeek_log_writer_truncated_string_fields_total", "4"),
            ("zeek_log_writer_truncated_containers_total", "5"),
        ] {
            let series = format!("{name}{labels}");
            assert_eq!(value(&telemetry, &series).as_deref(), Some(expected), "{series}");
        }
        let series =
            r#"zeek_log_stream_writes_total{node="worker-1",module="Conn",stream="Conn::LOG"}"#;
        assert_eq!(value(&telemetry, series).as_deref(), Some("2"));
    }

    #[test]
    fn modules() {
        for (name, module) in
            [("Conn::LOG", "Conn"), ("A::B::LOG", "A::B"), ("LOG", "GLOBAL"), ("", "GLOBAL")]
        {
            assert_eq!(module_name(name), module);
        }
    }
}
