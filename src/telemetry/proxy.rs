//! [`ProxyMetrics`]: what the central broker counts.

use std::sync::atomic::Ordering;

use super::labels::label_values;
use super::{Counter, Gauge, PerLabel, Telemetry};

/// A counter that follows a total kept elsewhere, such as the statistics of a forwarder.
///
/// It never goes back: a smaller total, from statistics that were read before others but reported
/// after them, changes nothing.
#[derive(Clone, Debug, Default)]
pub struct AbsoluteCounter(Counter);

impl AbsoluteCounter {
    /// Raises the counter to `total`, where that is more.
    pub fn raise_to(&self, total: u64) {
        self.0.inner().fetch_max(total, Ordering::Relaxed);
    }

    /// Adds to the counter, for an engine that counts as it forwards. Use either this or
    /// [`AbsoluteCounter::raise_to`] on one counter.
    pub fn inc_by(&self, more: u64) {
        self.0.inc_by(more);
    }

    /// The value.
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

label_values! {
    /// The two sockets of the broker, as Zeek's metrics name them.
    ProxySocket {
        /// XSUB, to which nodes connect to publish.
        Frontend = "frontend",
        /// XPUB, to which nodes connect to subscribe.
        Backend = "backend",
    }
}

/// The traffic of one socket. "Messages" are frames: an event is four of them.
#[derive(Clone, Debug)]
pub struct SocketTraffic {
    /// `…_messages_received_total`: frames that came in.
    pub messages_received: AbsoluteCounter,
    /// `…_bytes_received_total`: their bytes.
    pub bytes_received: AbsoluteCounter,
    /// `…_messages_sent_total`: frames that went out; subscriptions on the frontend, events on
    /// the backend.
    pub messages_sent: AbsoluteCounter,
    /// `…_bytes_sent_total`: their bytes.
    pub bytes_sent: AbsoluteCounter,
}

/// Handles to the series of the central broker.
#[derive(Clone, Debug)]
pub struct ProxyMetrics {
    /// `zeek_cluster_zeromq_proxy_frontend_…`: the XSUB socket.
    pub frontend: SocketTraffic,
    /// `zeek_cluster_zeromq_proxy_backend_…`: the XPUB socket.
    pub backend: SocketTraffic,
    /// `zcluster_proxy_peers{socket}`: connections that are open, those that still shake hands
    /// among them.
    pub peers: PerLabel<ProxySocket, Gauge>,
    /// `zcluster_proxy_handshakes_failed_total{socket}`: connections refused or broken off before
    /// any message, for example for a wrong key.
    pub handshakes_failed: PerLabel<ProxySocket, Counter>,
    /// `zcluster_proxy_disconnects_total{socket}`: connections that ended.
    pub disconnects: PerLabel<ProxySocket, Counter>,
    /// `zcluster_proxy_accept_failures_total{socket}`: attempts to accept a connection that
    /// failed, for want of file descriptors mostly.
    pub accept_failures: PerLabel<ProxySocket, Counter>,
}

impl ProxyMetrics {
    pub(super) fn register(telemetry: &Telemetry) -> Self {
        ProxyMetrics {
            frontend: SocketTraffic::register(telemetry, ProxySocket::Frontend),
            backend: SocketTraffic::register(telemetry, ProxySocket::Backend),
            peers: telemetry.register_per_label(
                "zcluster_proxy_peers",
                "Connections that are open",
                "socket",
            ),
            handshakes_failed: telemetry.register_per_label(
                "zcluster_proxy_handshakes_failed",
                "Connections refused or broken off before any message",
                "socket",
            ),
            disconnects: telemetry.register_per_label(
                "zcluster_proxy_disconnects",
                "Connections that ended",
                "socket",
            ),
            accept_failures: telemetry.register_per_label(
                "zcluster_proxy_accept_failures",
                "Attempts to accept a connection that failed",
                "socket",
            ),
        }
    }
}

impl SocketTraffic {
    fn register(telemetry: &Telemetry, socket: ProxySocket) -> Self {
        let (side, kind) = match socket {
            ProxySocket::Frontend => ("frontend", "XSUB"),
            ProxySocket::Backend => ("backend", "XPUB"),
        };
        let counter = |what: &str, help: &str| {
            AbsoluteCounter(telemetry.register(
                &format!("zeek_cluster_zeromq_proxy_{side}_{what}"),
                &format!("{help} the {kind} socket of the central broker"),
            ))
        };
        SocketTraffic {
            messages_received: counter("messages_received", "Frames received on"),
            bytes_received: counter("bytes_received", "Bytes received on"),
            messages_sent: counter("messages_sent", "Frames sent on"),
            bytes_sent: counter("bytes_sent", "Bytes sent on"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::tests::value;

    #[test]
    fn names_are_exact() {
        let telemetry = Telemetry::new("", "");
        let mut total = 0;
        for traffic in [&telemetry.proxy().frontend, &telemetry.proxy().backend] {
            for counter in [
                &traffic.messages_received,
                &traffic.bytes_received,
                &traffic.messages_sent,
                &traffic.bytes_sent,
            ] {
                total += 1;
                counter.raise_to(total);
            }
        }
        telemetry.proxy().peers[ProxySocket::Backend].inc();
        for (name, expected) in [
            ("zeek_cluster_zeromq_proxy_frontend_messages_received_total", "1"),
            ("zeek_cluster_zeromq_proxy_frontend_bytes_received_total", "2"),
            ("zeek_cluster_zeromq_proxy_frontend_messages_sent_total", "3"),
            ("zeek_cluster_zeromq_proxy_frontend_bytes_sent_total", "4"),
            ("zeek_cluster_zeromq_proxy_backend_messages_received_total", "5"),
            ("zeek_cluster_zeromq_proxy_backend_bytes_received_total", "6"),
            ("zeek_cluster_zeromq_proxy_backend_messages_sent_total", "7"),
            ("zeek_cluster_zeromq_proxy_backend_bytes_sent_total", "8"),
            (r#"zcluster_proxy_peers{socket="backend"}"#, "1"),
            (r#"zcluster_proxy_peers{socket="frontend"}"#, "0"),
            (r#"zcluster_proxy_accept_failures_total{socket="frontend"}"#, "0"),
        ] {
            assert_eq!(value(&telemetry, name).as_deref(), Some(expected), "{name}");
        }
    }

    #[test]
    fn an_absolute_counter_never_goes_back() {
        let counter = AbsoluteCounter::default();
        for (total, expected) in [(5, 5), (3, 5), (0, 5), (5, 5), (9, 9), (u64::MAX, u64::MAX)] {
            counter.raise_to(total);
            assert_eq!(counter.get(), expected);
        }
    }
}
