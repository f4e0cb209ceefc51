//! [`WebSocketMetrics`]: what the gateway counts for the programs that it lets in (WIRE.md §7.7).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::labels::{LabelledFamily, label_values};
use super::{Counter, Gauge, LabelCap, PerLabel, Telemetry};

/// How many names that clients give themselves have series at the same time.
const MAX_CLAIMED: usize = 100;
/// The label of clients that give no name, as in Zeek.
const UNKNOWN: &str = "unknown";

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

/// What is counted for applications ([`WebSocketMetrics::proven`], [`WebSocketMetrics::claimed`]) and
/// for all clients together.
#[derive(Clone, Debug)]
pub struct WebSocketMetrics {
    families: Families,
    names: Arc<Mutex<Names>>,
    blocks: LabelledFamily<Counter, 1>,
    /// `zcluster_websocket_refused_total{reason}`: clients that were not let in.
    pub refused: PerLabel<ClientRefusal, Counter>,
}

/// The families with the label `app`.
#[derive(Clone, Debug)]
struct Families {
    outgoing_events: LabelledFamily<Counter, 1>,
    incoming_events: LabelledFamily<Counter, 1>,
    clients: LabelledFamily<Gauge, 1>,
    connections: LabelledFamily<Counter, 1>,
    dropped: LabelledFamily<Counter, 1>,
    too_slow: LabelledFamily<Counter, 1>,
    errors: LabelledFamily<Counter, 1>,
    lost: LabelledFamily<Counter, 1>,
}

/// The names that have series of their own.
#[derive(Debug, Default)]
struct Names {
    /// Applications of the layout, which bounds their number.
    proven: HashMap<String, ApplicationMetrics>,
    /// What clients call themselves; the one that connected last is the last.
    claimed: Vec<(String, ApplicationMetrics)>,
}

/// Handles to the series of one application.
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
    /// Shared by all handles to these series.
    lease: Arc<()>,
}

impl ApplicationMetrics {
    /// Whether there are other handles to the same series.
    fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.lease) > 1
    }
}

impl Families {
    fn register(t: &Telemetry) -> Self {
        Families {
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
        }
    }

    fn label(name: &str) -> [(&'static str, String); 1] {
        [("app", name.to_owned())]
    }

    fn of(&self, name: &str) -> ApplicationMetrics {
        let label = Self::label(name);
        ApplicationMetrics {
            outgoing_events: self.outgoing_events.get_or_create_owned(&label),
            incoming_events: self.incoming_events.get_or_create_owned(&label),
            clients: self.clients.get_or_create_owned(&label),
            connections: self.connections.get_or_create_owned(&label),
            dropped: self.dropped.get_or_create_owned(&label),
            too_slow: self.too_slow.get_or_create_owned(&label),
            errors: self.errors.get_or_create_owned(&label),
            lost: self.lost.get_or_create_owned(&label),
            lease: Arc::default(),
        }
    }

    fn remove(&self, name: &str) {
        let label = Self::label(name);
        self.clients.remove(&label);
        for family in [
            &self.outgoing_events,
            &self.incoming_events,
            &self.connections,
            &self.dropped,
            &self.too_slow,
            &self.errors,
            &self.lost,
        ] {
            family.remove(&label);
        }
    }
}

impl WebSocketMetrics {
    pub(super) fn register(t: &Telemetry) -> Self {
        WebSocketMetrics {
            families: Families::register(t),
            names: Arc::default(),
            blocks: t.register(
                "zeek_cluster_onloop_queue_blocks",
                "Times that a producer had to wait for room in a queue",
            ),
            refused: t.register_per_label(
                "zcluster_websocket_refused",
                "WebSocket clients that were not let in",
                "reason",
            ),
        }
    }

    /// The series of an application of the layout, which a client has proven to belong to. They exist
    /// from the first call on, and no other client counts there.
    pub fn proven(&self, name: &str) -> ApplicationMetrics {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(metrics) = names.proven.get(name) {
            return metrics.clone();
        }
        // What others counted under that name is not the application's.
        if let Some(at) = names.claimed.iter().position(|(claimed, _)| claimed == name) {
            names.claimed.remove(at);
            self.families.remove(name);
        }
        let metrics = self.families.of(name);
        names.proven.insert(name.to_owned(), metrics.clone());
        metrics
    }

    /// The series of a client that has proven nothing, by the name that it gives itself: `unknown`
    /// without one, `other` if it has taken the name of an application, or if there are too many names.
    ///
    /// If another name needs the place, one whose clients are gone loses its series.
    pub fn claimed(&self, name: Option<&str>) -> ApplicationMetrics {
        let name = LabelCap::text(name.unwrap_or_default().as_bytes());
        let name = if name.is_empty() { UNKNOWN } else { &*name };
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.proven.contains_key(name) || name == LabelCap::OTHER {
            return self.families.of(LabelCap::OTHER);
        }
        if name == UNKNOWN {
            return self.families.of(UNKNOWN);
        }
        if let Some(at) = names.claimed.iter().position(|(known, _)| known == name) {
            let known = names.claimed.remove(at);
            let metrics = known.1.clone();
            names.claimed.push(known);
            return metrics;
        }
        if names.claimed.len() >= MAX_CLAIMED {
            let idle = names.claimed.iter().position(|(_, metrics)| !metrics.is_in_use());
            let Some(idle) = idle else { return self.families.of(LabelCap::OTHER) };
            let (forgotten, _) = names.claimed.remove(idle);
            self.families.remove(&forgotten);
        }
        let metrics = self.families.of(name);
        names.claimed.push((name.to_owned(), metrics.clone()));
        metrics
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
        metrics.claimed(Some("zeekctl/2.7.0")).outgoing_events.inc_by(2);
        metrics.claimed(None).incoming_events.inc_by(3);
        metrics.proven("alerts").dropped.inc_by(4);
        metrics.refused[ClientRefusal::Limit].inc();
        metrics.blocks(([127, 0, 0, 1], 27759).into()).inc();
        for (series, expected) in [
            (
                r#"zeek_cluster_websocket_outgoing_events_total{node="manager",app="zeekctl/2.7.0"}"#,
                "2",
            ),
            (r#"zeek_cluster_websocket_incoming_events_total{node="manager",app="unknown"}"#, "3"),
            (r#"zcluster_websocket_events_dropped_total{node="manager",app="alerts"}"#, "4"),
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

    /// Lets a client come; the value of the label under which it is counted.
    fn label(telemetry: &Telemetry, metrics: &ApplicationMetrics) -> String {
        metrics.clients.set(7);
        let text = telemetry.encode();
        let start = "zcluster_websocket_clients{node=\"manager\",app=\"";
        let lines = text.lines().filter_map(|line| line.strip_prefix(start)?.strip_suffix("\"} 7"));
        let found: Vec<_> = lines.collect();
        metrics.clients.set(0);
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].to_owned()
    }

    #[test]
    fn proven_names_are_their_owners_alone() {
        let telemetry = Telemetry::new("manager", "node");
        let metrics = telemetry.websocket();
        let early = metrics.claimed(Some("late"));
        early.connections.inc_by(5);
        for name in ["alerts", "late"] {
            assert_eq!(label(&telemetry, &metrics.proven(name)), name);
            assert_eq!(label(&telemetry, &metrics.claimed(Some(name))), "other");
        }
        assert_eq!(metrics.proven("late").connections.get(), 0);
        for (name, expected) in [
            (None, "unknown"),
            (Some(""), "unknown"),
            (Some("unknown"), "unknown"),
            (Some("other"), "other"),
            (Some("dash/1"), "dash/1"),
        ] {
            assert_eq!(label(&telemetry, &metrics.claimed(name)), expected, "{name:?}");
        }
    }

    #[test]
    fn made_up_names_take_no_label_from_others() {
        let telemetry = Telemetry::new("manager", "node");
        let metrics = telemetry.websocket();
        let here = metrics.claimed(Some("here"));
        here.connections.inc();
        for i in 0..3 * MAX_CLAIMED {
            metrics.claimed(Some(&format!("made-up-{i}"))).connections.inc();
        }
        assert_eq!(label(&telemetry, &metrics.proven("alerts")), "alerts");
        assert_eq!(label(&telemetry, &metrics.claimed(Some("later"))), "later");
        assert_eq!(metrics.claimed(Some("here")).connections.get(), 1);
        let text = telemetry.encode();
        let made_up = text.lines().filter(|line| line.contains("made-up-")).count();
        assert_eq!(made_up, 8 * (MAX_CLAIMED - 2));

        // As long as clients have them, names stay.
        let names = (0..MAX_CLAIMED).map(|i| metrics.claimed(Some(&format!("real-{i}"))));
        let held: Vec<_> = names.collect();
        assert_eq!(label(&telemetry, held.last().unwrap()), "other");
        assert_eq!(label(&telemetry, &metrics.claimed(Some("later"))), "other");
        assert_eq!(label(&telemetry, &metrics.proven("new")), "new");
        drop(held);
        assert_eq!(label(&telemetry, &metrics.claimed(Some("later"))), "later");
        assert_eq!(here.connections.get(), 1);
    }
}
