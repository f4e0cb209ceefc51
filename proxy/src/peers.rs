//! Who is connected to the broker: counts for the metrics, and a line for each trouble.

use std::time::{Duration, Instant};

use zcluster::rate_limit::RateLimit;
use zcluster::telemetry::{ProxyMetrics, ProxySocket};
use zcluster::transport::{ConnectionEvent, ConnectionEventKind, Monitor, TransportError};

/// Reads the monitors of both sockets.
pub(crate) struct Peers {
    metrics: ProxyMetrics,
    handshake_warning: RateLimit,
}

impl Peers {
    pub(crate) fn new(metrics: ProxyMetrics) -> Self {
        Peers { metrics, handshake_warning: RateLimit::new(Duration::from_secs(10)) }
    }

    /// Takes in what has happened since the last time.
    pub(crate) fn read(&mut self, xsub: &Monitor, xpub: &Monitor) -> Result<(), TransportError> {
        for (monitor, socket) in [(xsub, ProxySocket::Frontend), (xpub, ProxySocket::Backend)] {
            while let Some(event) = monitor.try_next()? {
                self.count(&event, socket);
            }
        }
        Ok(())
    }

    fn count(&mut self, event: &ConnectionEvent, socket: ProxySocket) {
        use ConnectionEventKind as Kind;
        let metrics = &self.metrics;
        match event.kind {
            Kind::HandshakeSucceeded => {
                metrics.peers[socket].inc();
                log::debug!("{socket:?}: a peer joined at {}", event.address);
            }
            Kind::Disconnected => {
                metrics.peers[socket].dec();
                metrics.disconnects[socket].inc();
                log::debug!("{socket:?}: a peer left at {}", event.address);
            }
            Kind::HandshakeFailedNoDetail
            | Kind::HandshakeFailedProtocol
            | Kind::HandshakeFailedAuth => {
                metrics.handshakes_failed[socket].inc();
                if let Some(more) = self.handshake_warning.check(Instant::now()) {
                    log::warn!(
                        "{socket:?} at {}: a peer failed the handshake ({:?}, value {:#x}; {more} \
                         more like this)",
                        event.address,
                        event.kind,
                        event.value,
                    );
                }
            }
            Kind::AcceptFailed => log::error!(
                "{socket:?} at {}: cannot accept connections: {}",
                event.address,
                std::io::Error::from_raw_os_error(event.value as i32),
            ),
            Kind::Accepted => {}
        }
    }
}
