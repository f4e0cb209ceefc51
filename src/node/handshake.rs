//! What a failed handshake says about this node: that its configuration is wrong, or only that the
//! peer is not as expected just now (WIRE.md §7.3).

use super::NodeError;
use crate::transport::{ConnectionEvent, HandshakeFault};

/// Examines an event of a connection to `peer`. Returns `None` for anything but a failed handshake,
/// and a readable line for one.
///
/// # Errors
/// [`NodeError::Refused`] if the handshake itself proves that the keys of this node and of the peer
/// do not match. libzmq would retry forever.
pub(super) fn look_at(
    event: &ConnectionEvent,
    peer: &str,
    is_encrypted: bool,
) -> Result<Option<String>, NodeError> {
    let Some(fault) = event.handshake_fault() else { return Ok(None) };
    let refused = |why| {
        let peer = format!("{peer} at {}", event.address);
        Err(NodeError::Refused { peer, why })
    };
    match fault {
        HandshakeFault::Mechanism if is_encrypted => refused(
            "it does not encrypt and this node does: CURVE keys are set here, but not there",
        ),
        HandshakeFault::Mechanism => {
            refused("it encrypts and this node does not: CURVE keys are set there, but not here")
        }
        HandshakeFault::Cryptographic => refused(
            "its public key is not the one configured here (curve_server_publickey, or its own)",
        ),
        HandshakeFault::Refused => refused(
            "it does not accept the key of this node (curve_client_publickey, or the node's own)",
        ),
        HandshakeFault::BrokenOff if is_encrypted => Ok(Some(format!(
            "no handshake with {peer} at {}: it closed the connection; most likely its public key \
             is not the one configured here (curve_server_publickey, or its own)",
            event.address
        ))),
        HandshakeFault::BrokenOff | HandshakeFault::NoAnswer | HandshakeFault::Other(_) => {
            Ok(Some(format!(
                "no handshake with {peer} at {}: {fault}; is it a socket of the cluster?",
                event.address
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::ConnectionEventKind as Kind;

    #[test]
    fn only_what_is_proved_ends_the_node() {
        const MISMATCH: u32 = 0x1100_0002;
        const CRYPTOGRAPHIC: u32 = 0x1100_0001;
        for (kind, value, is_encrypted, proves, text) in [
            (Kind::HandshakeFailedProtocol, MISMATCH, true, true, "not encrypt and this node does"),
            (Kind::HandshakeFailedProtocol, MISMATCH, false, true, "set there, but not here"),
            (Kind::HandshakeFailedProtocol, CRYPTOGRAPHIC, true, true, "curve_server_publickey"),
            (Kind::HandshakeFailedAuth, 400, true, true, "curve_client_publickey"),
            (Kind::HandshakeFailedAuth, 300, true, false, "status 300"),
            (Kind::HandshakeFailedProtocol, 0x1000_0001, true, false, "0x10000001"),
            (Kind::HandshakeFailedNoDetail, 32, true, false, "most likely its public key"),
            (Kind::HandshakeFailedNoDetail, 32, false, false, "disconnected during the handshake"),
            (Kind::HandshakeFailedNoDetail, 11, false, false, "does not answer"),
            (Kind::HandshakeFailedNoDetail, 11, true, false, "does not answer"),
        ] {
            let event = ConnectionEvent { kind, value, address: "tcp://h:1".into() };
            let outcome = look_at(&event, "the broker", is_encrypted);
            assert_eq!(outcome.is_err(), proves, "{event:?}");
            let line = match outcome {
                Ok(line) => line.unwrap(),
                Err(error) => error.to_string(),
            };
            assert!(line.contains("the broker at tcp://h:1") && line.contains(text), "{line}");
        }
        let event = ConnectionEvent { kind: Kind::Disconnected, value: 0, address: String::new() };
        assert!(look_at(&event, "", true).unwrap().is_none());
    }
}
