//! [`LogSink`]: where the records of filters go, for example a [`Node`], which sends them to loggers.

use std::sync::Arc;

use crate::layout::Layout;
use crate::node::{LogError, LogStream, Node, NodeError};
use crate::telemetry::Telemetry;
use crate::wire::zeek_bin::{Limits, LogSchema, RecordWriter, Truncations};

/// What a filter writes to one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriterInfo {
    /// Stream, writer, filter, path and columns.
    pub schema: LogSchema,
    /// How large records may be.
    pub limits: Limits,
    /// What [`Logs::log_topic`](super::Logs::log_topic) returns. Nodes have no use for it: the log
    /// plane of ZeroMQ has no topics (WIRE.md §4.1).
    pub topic: String,
}

/// Takes records of any stream.
pub trait LogSink: Send + Sync {
    /// Opens a writer, which is dropped when it is no longer needed, and then passes on what it
    /// holds. It must not write to the stream.
    ///
    /// # Errors
    /// When the schema does not pass [`LogSchema::check`], or the sink cannot open more.
    fn open(&self, info: WriterInfo) -> Result<Box<dyn LogWriter>, NodeError>;
}

/// Takes the records of one stream, filter and path.
pub trait LogWriter: Send + Sync {
    /// Writes a record, which the function writes value by value, and returns what the limits cut
    /// off. The function is a [`LogRecord::log`](super::LogRecord::log), which does not log itself.
    ///
    /// # Errors
    /// When the record is too large, or the sink takes no more.
    fn write(&self, record: &dyn Fn(&mut RecordWriter<'_>)) -> Result<Truncations, LogError>;

    /// Passes on what waits for more.
    ///
    /// # Errors
    /// When the sink takes no more.
    fn flush(&self) -> Result<(), LogError>;
}

/// Sends to the loggers; on a node that is a logger, writes there
/// ([`Builder::local_logs`](crate::node::Builder::local_logs)).
impl LogSink for Node {
    fn open(&self, info: WriterInfo) -> Result<Box<dyn LogWriter>, NodeError> {
        Ok(Box::new(self.log_within(info.schema, info.limits)?))
    }
}

impl LogWriter for LogStream {
    fn write(&self, record: &dyn Fn(&mut RecordWriter<'_>)) -> Result<Truncations, LogError> {
        self.write_with(record)
    }

    fn flush(&self) -> Result<(), LogError> {
        LogStream::flush(self)
    }
}

/// Where the logs of a process go, and which of that streams use at first.
#[derive(Clone, Default)]
pub struct Sinks {
    /// Writes here.
    pub local: Option<Arc<dyn LogSink>>,
    /// Sends to loggers.
    pub remote: Option<Arc<dyn LogSink>>,
    /// Whether streams are written here (`Log::enable_local_logging`), if there is a local sink.
    pub enable_local_logging: bool,
    /// Whether streams are sent to loggers (`Log::enable_remote_logging`).
    pub enable_remote_logging: bool,
    /// Counts here.
    pub telemetry: Option<Telemetry>,
}

impl std::fmt::Debug for Sinks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sinks")
            .field("local", &self.local.is_some())
            .field("remote", &self.remote.is_some())
            .field("enable_local_logging", &self.enable_local_logging)
            .field("enable_remote_logging", &self.enable_remote_logging)
            .finish_non_exhaustive()
    }
}

impl Sinks {
    /// One sink that everything is sent to, and none here.
    pub fn remote(sink: impl LogSink + 'static) -> Self {
        let remote: Option<Arc<dyn LogSink>> = Some(Arc::new(sink));
        Sinks { remote, enable_remote_logging: true, ..Sinks::default() }
    }

    /// Those of a node, by its role (WIRE.md §4.6): a logger writes its own logs, all other nodes
    /// send them. A [standalone](Node::standalone) process would do both, but has no local sink.
    pub fn of(node: &Node) -> Self {
        let (enable_local_logging, enable_remote_logging) = role(node.layout(), node.name());
        let sink: Arc<dyn LogSink> = Arc::new(node.clone());
        let (local, remote) =
            if enable_remote_logging { (None, Some(sink)) } else { (Some(sink), None) };
        let telemetry = Some(node.telemetry().clone());
        Sinks { local, remote, enable_local_logging, enable_remote_logging, telemetry }
    }
}

/// Whether a node writes logs, and whether it sends them, unless a stream says otherwise.
fn role(layout: &Layout, name: &str) -> (bool, bool) {
    if layout.log_receivers().any(|(receiver, _)| receiver == name) {
        (true, false)
    } else {
        (layout.node(name).is_none(), true)
    }
}

#[cfg(test)]
mod tests {
    use super::role;
    use crate::Layout;

    #[test]
    fn loggers_write_and_all_others_send() {
        let nodes = "[nodes.m]\nnode_type = \"manager\"\nip = \"::1\"\nport = 1\n\
                     [nodes.w]\nnode_type = \"worker\"\nip = \"::1\"\n";
        let logger = "[nodes.l]\nnode_type = \"logger\"\nip = \"::1\"\nport = 2\n";
        for (more, name, expected) in [
            (logger, "l", (true, false)),
            (logger, "m", (false, true)),
            (logger, "w", (false, true)),
            ("", "m", (true, false)),
            ("", "w", (false, true)),
            ("", "", (true, true)),
        ] {
            let (layout, _) = Layout::from_toml(&format!("{nodes}{more}"), "layout").unwrap();
            assert_eq!(role(&layout, name), expected, "{name} {more}");
        }
    }
}
