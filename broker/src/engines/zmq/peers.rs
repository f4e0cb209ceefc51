//! The broker's peers: counts for the metrics, and warnings.

use std::time::{Duration, Instant};

use zcluster::rate_limit::{KeyedRateLimit, RateLimit};
use zcluster::telemetry::{BrokerMetrics, BrokerSocket};
use zcluster::transport::{
    ConnectionEvent, ConnectionEventKind, HandshakeFault, Monitor, TransportError,
};

/// Reads the monitors of both sockets.
pub(crate) struct Peers {
    metrics: BrokerMetrics,
    /// By cause.
    handshake_warnings: KeyedRateLimit<String>,
    accept_warning: RateLimit,
}

/// How often each kind of fault is reported.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);
/// Number of causes that are told apart: all of them.
const CAUSES: usize = 8;

impl Peers {
    pub(crate) fn new(metrics: BrokerMetrics) -> Self {
        Peers {
            metrics,
            handshake_warnings: KeyedRateLimit::new(WARNING_INTERVAL, CAUSES),
            accept_warning: RateLimit::new(WARNING_INTERVAL),
        }
    }

    /// Processes what has happened since the last call.
    pub(crate) fn read(&mut self, xsub: &Monitor, xpub: &Monitor) -> Result<(), TransportError> {
        for (monitor, socket) in [(xsub, BrokerSocket::Frontend), (xpub, BrokerSocket::Backend)] {
            while let Some(event) = monitor.try_next()? {
                self.count(&event, socket);
            }
        }
        Ok(())
    }

    fn count(&mut self, event: &ConnectionEvent, socket: BrokerSocket) {
        use ConnectionEventKind as Kind;
        let metrics = &self.metrics;
        match event.kind {
            // Peers are counted here rather than after the handshake: every accepted connection is
            // disconnected in the end, whatever happened to its handshake, and handshake events do
            // not say which connection they belong to.
            Kind::Accepted => {
                metrics.peers[socket].inc();
            }
            Kind::HandshakeSucceeded => {
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
                match event.handshake_fault() {
                    // The ZAP handler has already reported the peer and the reason.
                    None | Some(HandshakeFault::Refused) => {}
                    Some(fault) => self.report(event, socket, fault),
                }
            }
            Kind::AcceptFailed => {
                metrics.accept_failures[socket].inc();
                // libzmq retries at once for as long as the peer waits.
                if let Some(more) = self.accept_warning.check(Instant::now()) {
                    log::error!(
                        "{socket:?} at {}: cannot accept connections: {} ({more} more like this)",
                        event.address,
                        std::io::Error::from_raw_os_error(event.value as i32),
                    );
                }
            }
        }
    }

    fn report(&mut self, event: &ConnectionEvent, socket: BrokerSocket, fault: HandshakeFault) {
        let why = likely_cause(fault);
        if let Some(more) = self.handshake_warnings.check(why, Instant::now()) {
            log::warn!(
                "{socket:?} at {}: a peer failed the handshake: {why} (value {:#x}; libzmq does \
                 not report its address; {more} more like this)",
                event.address,
                event.value,
            );
        }
    }
}

/// The most likely reason for a failed handshake.
fn likely_cause(fault: HandshakeFault) -> &'static str {
    match fault {
        HandshakeFault::Mechanism => "one side encrypts (mechanism CURVE) and the other does not",
        HandshakeFault::Cryptographic => "it expects this server to have another public key",
        HandshakeFault::Refused | HandshakeFault::Other(_) => "it violates the protocol",
        HandshakeFault::NoAnswer => "it does not finish its handshake",
        // The peer may notice first.
        HandshakeFault::BrokenOff => {
            "it disconnected, or does not speak ZMTP; perhaps one side encrypts (mechanism CURVE) \
             and the other does not"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zcluster::telemetry::Telemetry;

    #[test]
    fn whatever_becomes_of_a_connection_is_counted_once() {
        use ConnectionEventKind as Kind;
        let telemetry = Telemetry::new("", "");
        let metrics = telemetry.broker();
        let mut peers = Peers::new(metrics.clone());
        let socket = BrokerSocket::Backend;
        // (event, peers after it)
        for (kind, expected) in [
            (Kind::Accepted, 1),
            (Kind::HandshakeSucceeded, 1),
            (Kind::Accepted, 2),
            (Kind::HandshakeFailedNoDetail, 2),
            (Kind::Disconnected, 1),
            // Some connections end without a handshake event.
            (Kind::Accepted, 2),
            (Kind::Disconnected, 1),
            (Kind::AcceptFailed, 1),
            (Kind::Disconnected, 0),
        ] {
            let event = ConnectionEvent { kind, value: 24, address: "tcp://h:1".into() };
            peers.count(&event, socket);
            assert_eq!(metrics.peers[socket].get(), expected, "{kind:?}");
        }
        assert_eq!(metrics.handshakes_failed[socket].get(), 1);
        assert_eq!(metrics.disconnects[socket].get(), 3);
        assert_eq!(metrics.accept_failures[socket].get(), 1);
    }
}
