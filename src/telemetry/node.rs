//! [`NodeMetrics`]: what a node of the bus counts.

use super::labels::{LabelValue, LabelledFamily, label_values};
use super::{Counter, Gauge, PerLabel, Telemetry};
use crate::access::Denial;

label_values! {
    /// Why an event that arrived was not delivered.
    EventFault {
        /// It is in another serialization format than the one this node is configured for.
        Format = "format",
        /// The payload does not decode.
        Payload = "payload",
        /// It decodes, but its arguments do not fit what the receiver declared.
        Schema = "schema",
    }
}

label_values! {
    /// Why log records did not reach a logger.
    LogLoss {
        /// Every logger's pipe was at its high-water mark.
        HighWaterMark = "high_water_mark",
        /// The node's own queue of batches was full.
        QueueFull = "queue_full",
        /// The layout names no logger.
        NoLoggers = "no_loggers",
        /// The spool on disk was full or failed.
        Spool = "spool",
        /// One record was larger than a record may be.
        RecordTooLarge = "record_too_large",
        /// The process ended before they could be sent.
        Shutdown = "shutdown",
    }
}

label_values! {
    /// The sockets of a node.
    NodeSocket {
        /// Publishes events.
        Xpub = "xpub",
        /// Receives events.
        Xsub = "xsub",
        /// Sends log batches.
        Push = "push",
    }
}

impl LabelValue for Denial {
    const ALL: &'static [Self] =
        &[Denial::Impersonation, Denial::Publish, Denial::Subscribe, Denial::Logs];

    fn as_str(self) -> &'static str {
        Denial::as_str(self)
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// Handles to the series of one node.
///
/// The first five have Zeek's names and meaning; what Zeek leaves uncounted is counted under
/// `zcluster_`.
#[derive(Clone, Debug)]
pub struct NodeMetrics {
    /// `zeek_cluster_zeromq_xpub_drops_total`: own events dropped whole because the pipe to the
    /// broker was at its high-water mark.
    pub xpub_drops: Counter,
    /// `zeek_cluster_zeromq_onloop_drops_total`: received events dropped because the application
    /// had not yet taken `onloop_queue_hwm` earlier ones.
    pub onloop_drops: Counter,
    /// `zeek_cluster_zeromq_msg_errors_total`: multipart messages with a wrong number of frames,
    /// on any socket of the process.
    pub message_errors: Counter,
    /// `zeek_cluster_core_outgoing_events_total`: events that were serialized for publishing,
    /// including those dropped later and those nobody subscribes to.
    pub outgoing_events: Counter,
    /// `zeek_cluster_core_incoming_events_total`: received events that decoded.
    pub incoming_events: Counter,

    /// `zcluster_event_errors_total{reason}`: received events that were not delivered.
    pub event_errors: PerLabel<EventFault, Counter>,
    events_denied: LabelledFamily<Counter, 2>,
    /// The same over all senders: these series exist before the first one, so that alerts see it.
    denials: PerLabel<Denial, Counter>,
    /// `zcluster_own_echoes_total`: own events that came back from the broker and were ignored.
    pub own_echoes: Counter,
    /// `zcluster_publish_rejected_total`: events refused to the publisher, who was told so,
    /// because the publish queue was full.
    pub publish_rejected: Counter,
    /// `zcluster_publish_forbidden_total`: events refused to the publisher, who was told so, because
    /// the process does not let itself publish to their topics.
    pub publish_forbidden: Counter,
    /// `zcluster_publish_queue_messages`: events between the publisher and the I/O thread.
    pub publish_queue_messages: Gauge,
    /// `zcluster_publish_queue_bytes`: their bytes.
    pub publish_queue_bytes: Gauge,
    /// `zcluster_publish_queue_limit_messages`: how many may wait; 0: any number. Set once.
    pub publish_queue_limit_messages: Gauge,
    /// `zcluster_publish_queue_limit_bytes`: how many bytes may wait. Set once.
    pub publish_queue_limit_bytes: Gauge,
    /// `zcluster_onloop_queue_messages`: received events the application has not taken yet.
    pub onloop_queue_messages: Gauge,
    /// `zcluster_onloop_queue_bytes`: their bytes.
    pub onloop_queue_bytes: Gauge,
    /// `zcluster_onloop_queue_limit_messages`: how many may wait; 0: any number. Set once.
    pub onloop_queue_limit_messages: Gauge,
    /// `zcluster_onloop_queue_limit_bytes`: how many bytes may wait. Set once.
    pub onloop_queue_limit_bytes: Gauge,
    /// `zcluster_control_deferred_total`: membership and control messages that found their pipe
    /// full and were kept to be sent again.
    pub control_deferred: Counter,

    /// `zcluster_log_batches_sent_total`: log batches handed to a logger that was connected.
    pub log_batches_sent: Counter,
    /// `zcluster_log_records_sent_total`: records in those batches.
    pub log_records_sent: Counter,
    /// `zcluster_log_records_unconfirmed_total`: those of them that may not have arrived, because
    /// the connection was lost too soon after.
    pub log_records_unconfirmed: Counter,
    /// `zcluster_log_records_dropped_total{reason}`: records that will reach no logger.
    pub log_records_dropped: PerLabel<LogLoss, Counter>,
    /// `zcluster_log_queue_messages`: log batches waiting to be sent.
    pub log_queue_messages: Gauge,
    /// `zcluster_log_queue_bytes`: their bytes.
    pub log_queue_bytes: Gauge,
    /// `zcluster_log_queue_limit_messages`: how many may wait; 0: any number. Set once.
    pub log_queue_limit_messages: Gauge,
    /// `zcluster_log_queue_limit_bytes`: how many bytes may wait. Set once.
    pub log_queue_limit_bytes: Gauge,

    /// `zcluster_node_up_total`: nodes that completed the hello handshake with this one.
    pub node_up: Counter,
    /// `zcluster_node_down_total`: nodes that left, or were replaced by a new process.
    pub node_down: Counter,
    members_up: LabelledFamily<Gauge, 1>,

    /// `zcluster_connections{socket}`: connections that are established now.
    pub connections: PerLabel<NodeSocket, Gauge>,
    /// `zcluster_reconnects_total{socket}`: connections that came back after they were lost.
    pub reconnects: PerLabel<NodeSocket, Counter>,
    /// `zcluster_handshakes_failed_total{socket}`: connections that failed before any message,
    /// for example for a wrong key.
    pub handshakes_failed: PerLabel<NodeSocket, Counter>,
}

impl NodeMetrics {
    pub(super) fn register(telemetry: &Telemetry) -> Self {
        let t = telemetry;
        NodeMetrics {
            xpub_drops: t.register(
                "zeek_cluster_zeromq_xpub_drops",
                "Own events dropped because the pipe to the broker was full",
            ),
            onloop_drops: t.register(
                "zeek_cluster_zeromq_onloop_drops",
                "Received events dropped because the application lagged behind",
            ),
            message_errors: t.message_errors(),
            outgoing_events: t.register(
                "zeek_cluster_core_outgoing_events",
                "Events serialized for publishing, including those dropped later",
            ),
            incoming_events: t
                .register("zeek_cluster_core_incoming_events", "Received events that decoded"),
            event_errors: t.register_per_label(
                "zcluster_event_errors",
                "Received events that were not delivered",
                "reason",
            ),
            events_denied: t
                .register("zcluster_events_denied", "Received events that the rules forbid"),
            denials: t.register_per_label(
                "zcluster_denials",
                "Received events that the rules forbid, by reason",
                "reason",
            ),
            own_echoes: t
                .register("zcluster_own_echoes", "Own events that came back from the broker"),
            publish_rejected: t.register(
                "zcluster_publish_rejected",
                "Events refused to the publisher because the publish queue was full",
            ),
            publish_forbidden: t.register(
                "zcluster_publish_forbidden",
                "Events refused to the publisher because their topics are not among publish_topics",
            ),
            publish_queue_messages: t
                .register("zcluster_publish_queue_messages", "Events waiting to be sent"),
            publish_queue_bytes: t
                .register("zcluster_publish_queue_bytes", "Bytes of the events waiting to be sent"),
            publish_queue_limit_messages: t.register(
                "zcluster_publish_queue_limit_messages",
                "Events to be sent that may wait, or 0 for any number",
            ),
            publish_queue_limit_bytes: t.register(
                "zcluster_publish_queue_limit_bytes",
                "Bytes of events to be sent that may wait",
            ),
            onloop_queue_messages: t.register(
                "zcluster_onloop_queue_messages",
                "Received events the application has not taken yet",
            ),
            onloop_queue_bytes: t.register(
                "zcluster_onloop_queue_bytes",
                "Bytes of the received events the application has not taken yet",
            ),
            onloop_queue_limit_messages: t.register(
                "zcluster_onloop_queue_limit_messages",
                "Received events that may wait, or 0 for any number",
            ),
            onloop_queue_limit_bytes: t.register(
                "zcluster_onloop_queue_limit_bytes",
                "Bytes of received events that may wait",
            ),
            control_deferred: t.register(
                "zcluster_control_deferred",
                "Control messages kept to be sent again because their pipe was full",
            ),
            log_batches_sent: t.register(
                "zcluster_log_batches_sent",
                "Log batches handed to a logger that was connected",
            ),
            log_records_sent: t.register(
                "zcluster_log_records_sent",
                "Log records handed to a logger that was connected",
            ),
            log_records_unconfirmed: t.register(
                "zcluster_log_records_unconfirmed",
                "Log records sent whose connection was lost too soon to know that they arrived",
            ),
            log_records_dropped: t.register_per_label(
                "zcluster_log_records_dropped",
                "Log records that reach no logger",
                "reason",
            ),
            log_queue_messages: t
                .register("zcluster_log_queue_messages", "Log batches waiting to be sent"),
            log_queue_bytes: t.register(
                "zcluster_log_queue_bytes",
                "Bytes of the log batches waiting to be sent",
            ),
            log_queue_limit_messages: t.register(
                "zcluster_log_queue_limit_messages",
                "Log batches that may wait, or 0 for any number",
            ),
            log_queue_limit_bytes: t
                .register("zcluster_log_queue_limit_bytes", "Bytes of log batches that may wait"),
            node_up: t.register(
                "zcluster_node_up",
                "Nodes that completed the hello handshake with this one",
            ),
            node_down: t.register("zcluster_node_down", "Nodes that left"),
            members_up: t.register("zcluster_members_up", "Other nodes that are up"),
            connections: t.register_per_label(
                "zcluster_connections",
                "Connections that are established",
                "socket",
            ),
            reconnects: t.register_per_label(
                "zcluster_reconnects",
                "Connections that came back after they were lost",
                "socket",
            ),
            handshakes_failed: t.register_per_label(
                "zcluster_handshakes_failed",
                "Connections that failed before any message",
                "socket",
            ),
        }
    }

    /// Messages and bytes in the queues of events to publish, of received events, and of log
    /// batches.
    pub(crate) fn queue_gauges(&self) -> [(&Gauge, &Gauge); 3] {
        [
            (&self.publish_queue_messages, &self.publish_queue_bytes),
            (&self.onloop_queue_messages, &self.onloop_queue_bytes),
            (&self.log_queue_messages, &self.log_queue_bytes),
        ]
    }

    /// Counts a received event that the rules of the layout forbid; `sender` is a node of the
    /// layout. `zcluster_events_denied_total{sender,reason}`, and `zcluster_denials_total{reason}`.
    pub fn deny_event(&self, sender: &str, denial: Denial) {
        self.denials[denial].inc();
        let reason = denial.as_str().to_owned();
        let labels = [("sender", sender.to_owned()), ("reason", reason)];
        self.events_denied.get_or_create_owned(&labels).inc();
    }

    /// `zcluster_members_up{node_type}`: other nodes of that type that are up.
    pub fn members_up(&self, node_type: &'static str) -> Gauge {
        self.members_up.get_or_create_owned(&[("node_type", node_type.to_owned())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::tests::value;

    #[test]
    fn names_are_exact() {
        let telemetry = Telemetry::new("worker-1", "node");
        let node = telemetry.node();
        node.xpub_drops.inc_by(1);
        node.onloop_drops.inc_by(2);
        node.message_errors.inc_by(3);
        node.outgoing_events.inc_by(4);
        node.incoming_events.inc_by(5);
        node.log_records_dropped[LogLoss::QueueFull].inc_by(6);
        node.members_up("worker").inc();
        node.members_up("worker").inc();
        node.connections[NodeSocket::Xsub].set(1);
        node.deny_event("worker-2", Denial::Publish);
        node.log_queue_limit_bytes.set(7);
        for (name, labels, expected) in [
            ("zeek_cluster_zeromq_xpub_drops_total", "", "1"),
            ("zeek_cluster_zeromq_onloop_drops_total", "", "2"),
            ("zeek_cluster_zeromq_msg_errors_total", "", "3"),
            ("zeek_cluster_core_outgoing_events_total", "", "4"),
            ("zeek_cluster_core_incoming_events_total", "", "5"),
            ("zcluster_log_records_dropped_total", r#",reason="queue_full""#, "6"),
            ("zcluster_log_records_dropped_total", r#",reason="shutdown""#, "0"),
            ("zcluster_members_up", r#",node_type="worker""#, "2"),
            ("zcluster_connections", r#",socket="xsub""#, "1"),
            ("zcluster_events_denied_total", r#",sender="worker-2",reason="publish""#, "1"),
            ("zcluster_denials_total", r#",reason="publish""#, "1"),
            ("zcluster_denials_total", r#",reason="impersonation""#, "0"),
            ("zcluster_log_queue_limit_bytes", "", "7"),
            ("zcluster_onloop_queue_limit_messages", "", "0"),
        ] {
            let series = format!(r#"{name}{{node="worker-1"{labels}}}"#);
            assert_eq!(value(&telemetry, &series).as_deref(), Some(expected), "{series}");
        }
    }
}
