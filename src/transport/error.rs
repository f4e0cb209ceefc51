//! Errors of sockets, with their full context.

/// An operation on a socket that libzmq or the system refused.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot {action}: {reason}")]
pub struct TransportError {
    action: String,
    reason: String,
    kind: zmq::Error,
}

impl TransportError {
    /// `action` completes the sentence "cannot …".
    pub(super) fn new(action: impl Into<String>, kind: zmq::Error) -> Self {
        let reason = match kind {
            zmq::Error::EADDRINUSE => "address already in use".into(),
            zmq::Error::EADDRNOTAVAIL => "this machine has no such address".into(),
            zmq::Error::ENODEV => "no network interface of that name or address".into(),
            zmq::Error::EACCES => "permission denied".into(),
            zmq::Error::EPROTONOSUPPORT => "this transport is not supported".into(),
            zmq::Error::EINVAL => "invalid argument".into(),
            other => other.message().to_lowercase(),
        };
        TransportError { action: action.into(), reason, kind }
    }

    /// The system's message, where libzmq's name for it (`kind`) would say less.
    pub(super) fn with_reason(
        action: impl Into<String>,
        reason: impl Into<String>,
        kind: zmq::Error,
    ) -> Self {
        TransportError { action: action.into(), reason: reason.into(), kind }
    }

    /// Whether a bind failed because the address is in use.
    pub fn is_address_in_use(&self) -> bool {
        self.kind == zmq::Error::EADDRINUSE
    }

    /// Whether the endpoint or option itself was refused: a mistake in the configuration, not a
    /// fault of the machine.
    pub fn is_configuration(&self) -> bool {
        matches!(
            self.kind,
            zmq::Error::EINVAL | zmq::Error::EPROTONOSUPPORT | zmq::Error::ENOCOMPATPROTO
        )
    }

    /// Whether the context was terminated under the call.
    pub fn is_terminated(&self) -> bool {
        self.kind == zmq::Error::ETERM
    }
}
