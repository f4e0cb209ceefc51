//! [`WebSocketMetrics`]: what the gateway counts for the programs that it lets in (WIRE.md §7.7).

use std::sync::Arc;

use super::labels::{LabelledFamily, label_values};
use super::{Counter, Gauge, LabelCap, PerLabel, Telemetry};

/// How many applications get series of their own: their names come from the network.
const MAX_APPLICATIONS: usize = 100;

label_values! {
    /// Why a client was not let in.
    ClientRefusal {
        /// It has no credentials, or wrong ones.
        Credentials = "credentials",
        /// It is a page of another site.
        Origin = "origin",
        /// There are as many clients as there may be.
        Limit = "limit",
        /// So much from clients waits in memory that its message, a longer one, was cut off.
        Memory = "memory",
        /// Its TLS handshake failed.
        Tls = "tls",
    }
}

/// Families of the series that [`WebSocketMetrics::application`] hands out, and what is counted for
/// all clients together.
#[derive(Clone, Debug)]
pub struct WebSocketMetrics {
    outgoing_events: LabelledFamily<Counter, 1>,
    incoming_events: LabelledFamily<Counter, 1>,
    clients: LabelledFamily<Gauge, 1>,
    connections: LabelledFamily<Counter, 1>,
    dropped: LabelledFamily<Counter, 1>,
    too_slow: LabelledFamily<Counter, 1>,
    errors: LabelledFamily<Counter, 1>,
    lost: LabelledFamily<Counter, 1>,
    blocks: LabelledFamily<Counter, 1>,
    /// `zcluster_websocket_refused_total{reason}`: clients that were not let in.
    pub refused: PerLabel<ClientRefusal, Counter>,
    applications: Arc<LabelCap>,
}

/// Handles to the series of one application, `app="unknown"` for clients that give no name.
#[derive(Clone, Debug)]
pub struct ApplicationMetrics {
    /// `zeek_cluster_websocket_outgoing_events_total{app}`: events from clients to the cluster.
    pub outgoing_events: Counter,
    /// `zeek_cluster_websocket_incoming_events_total{app}`: events from the cluster that were queued
    /// for clients.
    pub incoming_events: Counter,
    /// `zcluster_websocket_clients{app}`: clients that are connected.
    pub clients: Gauge,
    /// `zcluster_websocket_connections_total{app}`: clients that have connected.
    pub connections: Counter,
    /// `zcluster_websocket_events_dropped_total{app}`: events that clients did not get because they
    /// read too slowly.
    pub dropped: Counter,
    /// `zcluster_websocket_too_slow_total{app}`: clients that were cut off for reading too slowly.
    pub too_slow: Counter,
    /// `zcluster_websocket_errors_total{app}`: messages of clients that were answered with an error.
    pub errors: Counter,
    /// `zcluster_websocket_messages_lost_total{app}`: messages of clients that have ended, which the
    /// bus did not take in time.
    pub lost: Counter,
}

impl WebSocketMetrics {
    pub(super) fn register(t: &Telemetry) -> Self {
        WebSocketMetrics {
            outgoing_events: t.register(
                "zeek_cluster_websocket_outgoing_events",
                "Events from WebSocket clients to the cluster",
            ),
            incoming_events: t.register(
                "zeek_cluster_websocket_incoming_events",
                "Events from the cluster for WebSocket clients",
            ),
            clients: t.register("zcluster_websocket_clients", "WebSocket clients now"),
            connections: t.register(
                "zcluster_websocket_connections",
                "WebSocket clients that have connected",
            ),
            dropped: t.register(
                "zcluster_websocket_events_dropped",
                "Events dropped because a WebSocket client read too slowly",
            ),
            too_slow: t.register(
                "zcluster_websocket_too_slow",
                "WebSocket clients cut off because they read too slowly",
            ),
            errors: t.register(
                "zcluster_websocket_errors",
                "Messages of WebSocket clients that were answered with an error",
            ),
            lost: t.register(
                "zcluster_websocket_messages_lost",
                "Messages of WebSocket clients that have ended, not taken by the bus in time",
            ),
            blocks: t.register(
                "zeek_cluster_onloop_queue_blocks",
                "Times that a producer had to wait for room in a queue",
            ),
            refused: t.register_per_label(
                "zcluster_websocket_refused",
                "WebSocket clients that were not let in",
                "reason",
            ),
            applications: Arc::new(LabelCap::new(MAX_APPLICATIONS)),
        }
    }

    /// The counters of an application. Takes locks; keep the result.
    pub fn application(&self, name: Option<&str>) -> ApplicationMetrics {
        let name = name.filter(|name| !name.is_empty()).unwrap_or("unknown");
        let label = [("app", self.applications.admit(name).into_owned())];
        ApplicationMetrics {
            outgoing_events: self.outgoing_events.get_or_create_owned(&label),
            incoming_events: self.incoming_events.get_or_create_owned(&label),
            clients: self.clients.get_or_create_owned(&label),
            connections: self.connections.get_or_create_owned(&label),
            dropped: self.dropped.get_or_create_owned(&label),
            too_slow: self.too_slow.get_or_create_owned(&label),
            errors: self.errors.get_or_create_owned(&label),
            lost: self.lost.get_or_create_owned(&label),
        }
    }

    /// `zeek_cluster_onloop_queue_blocks_total{tag}`: how often a client had to wait because the
    /// queue of events from clients was full. `listen` is the address of the gateway.
    pub fn blocks(&self, listen: std::net::SocketAddr) -> Counter {
        let tag = format!("WebSocketEventDispatcher:{listen}");
        self.blocks.get_or_create_owned(&[("tag", tag)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::tests::value;

    #[test]
    fn names_and_labels_are_exact() {
        let telemetry = Telemetry::new("manager", "node");
        let metrics = telemetry.websocket();
        metrics.application(Some("zeekctl/2.7.0")).outgoing_events.inc_by(2);
        metrics.application(None).incoming_events.inc_by(3);
        metrics.refused[ClientRefusal::Limit].inc();
        metrics.blocks(([127, 0, 0, 1], 27759).into()).inc();
        for (series, expected) in [
            (
                r#"zeek_cluster_websocket_outgoing_events_total{node="manager",app="zeekctl/2.7.0"}"#,
                "2",
            ),
            (r#"zeek_cluster_websocket_incoming_events_total{node="manager",app="unknown"}"#, "3"),
            (r#"zcluster_websocket_refused_total{node="manager",reason="limit"}"#, "1"),
            (
                concat!(
                    r#"zeek_cluster_onloop_queue_blocks_total{node="manager","#,
                    r#"tag="WebSocketEventDispatcher:127.0.0.1:27759"}"#
                ),
                "1",
            ),
        ] {
            assert_eq!(value(&telemetry, series).as_deref(), Some(expected), "{series}");
        }
    }
}
