//! A socket's connection events (WIRE.md §7.3), typed.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Context, Socket, SocketKind, SocketOptions, TransportError};

/// One thing that happened to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionEvent {
    /// What happened.
    pub kind: ConnectionEventKind,
    /// The event's value: an errno, a protocol error code or a file descriptor.
    pub value: u32,
    /// The endpoint or peer address it happened to.
    pub address: String,
}

/// The events of `zmq_socket_monitor` that matter to a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionEventKind {
    /// A peer was accepted; its handshake follows.
    Accepted,
    /// The handshake is done: messages flow.
    HandshakeSucceeded,
    /// The connection is gone.
    Disconnected,
    /// A peer does not speak ZMTP, or closed the connection.
    HandshakeFailedNoDetail,
    /// A peer violated the protocol, or uses a different mechanism.
    HandshakeFailedProtocol,
    /// A peer's key was refused.
    HandshakeFailedAuth,
    /// Accepting failed, mostly because file descriptors ran out.
    AcceptFailed,
}

impl ConnectionEventKind {
    fn from_number(number: u16) -> Option<Self> {
        use zmq_sys as z;
        Some(match u32::from(number) {
            z::ZMQ_EVENT_ACCEPTED => Self::Accepted,
            z::ZMQ_EVENT_HANDSHAKE_SUCCEEDED => Self::HandshakeSucceeded,
            z::ZMQ_EVENT_DISCONNECTED => Self::Disconnected,
            z::ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL => Self::HandshakeFailedNoDetail,
            z::ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL => Self::HandshakeFailedProtocol,
            z::ZMQ_EVENT_HANDSHAKE_FAILED_AUTH => Self::HandshakeFailedAuth,
            z::ZMQ_EVENT_ACCEPT_FAILED => Self::AcceptFailed,
            _ => return None,
        })
    }
}

/// Why a handshake failed, as far as libzmq reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeFault {
    /// The two sides use different mechanisms: one encrypts, the other does not.
    Mechanism,
    /// A command cannot be decrypted or authenticated: the keys do not match.
    Cryptographic,
    /// The server refuses the key permanently (ZAP status 400), or our own ZAP handler does.
    Refused,
    /// The peer closed the connection without an explanation.
    BrokenOff,
    /// The peer sent nothing, or not its whole part, within the time for a handshake.
    NoAnswer,
    /// Anything else: another ZAP status, or a protocol error of libzmq.
    Other(u32),
}

impl std::fmt::Display for HandshakeFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mechanism => f.write_str("one side encrypts and the other does not"),
            Self::Cryptographic => f.write_str("the keys do not match"),
            Self::Refused => f.write_str("the key was refused"),
            Self::BrokenOff => f.write_str("the other side disconnected during the handshake"),
            Self::NoAnswer => f.write_str("the other side does not answer"),
            Self::Other(status @ ..600) => write!(f, "status {status}"),
            Self::Other(error) => write!(f, "protocol error {error:#x}"),
        }
    }
}

impl ConnectionEvent {
    /// The value of a handshake that timed out: EAGAIN, of the last read.
    const TIMED_OUT: u32 = rustix::io::Errno::AGAIN.raw_os_error() as u32;

    /// Why a handshake failed; `None` for other events.
    pub fn handshake_fault(&self) -> Option<HandshakeFault> {
        use ConnectionEventKind as Kind;
        use HandshakeFault as Fault;
        Some(match (self.kind, self.value) {
            (
                Kind::HandshakeFailedProtocol,
                zmq_sys::ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH,
            ) => Fault::Mechanism,
            (Kind::HandshakeFailedProtocol, zmq_sys::ZMQ_PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC) => {
                Fault::Cryptographic
            }
            (Kind::HandshakeFailedAuth, 400) => Fault::Refused,
            (Kind::HandshakeFailedNoDetail, Self::TIMED_OUT) => Fault::NoAnswer,
            (Kind::HandshakeFailedNoDetail, _) => Fault::BrokenOff,
            (Kind::HandshakeFailedProtocol | Kind::HandshakeFailedAuth, value) => {
                Fault::Other(value)
            }
            _ => return None,
        })
    }
}

/// Reads the connection events of one socket. Drop it before the socket.
#[derive(Debug)]
pub struct Monitor {
    pub(super) events: Socket,
}

impl Monitor {
    /// Starts watching a socket. Call it before bind or connect to miss nothing.
    ///
    /// # Errors
    /// When the process is out of file descriptors.
    pub fn new(context: &Context, socket: &Socket) -> Result<Self, TransportError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let endpoint = format!("inproc://monitor-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        socket
            .raw
            .monitor(&endpoint, zmq_sys::ZMQ_EVENT_ALL as i32)
            .map_err(|error| TransportError::new("monitor a socket", error))?;
        let events = Socket::new(context, SocketKind::Pair, &SocketOptions::default())?;
        events.connect(&endpoint)?;
        Ok(Monitor { events })
    }

    /// Whether there was no event when a [`PollSet`](super::PollSet) last waited, or at the last
    /// attempt after it.
    pub fn is_settled(&self) -> bool {
        self.events.is_settled()
    }

    /// The next event that matters; `None` when there is none. Never blocks.
    ///
    /// # Errors
    /// When the context was terminated.
    pub fn try_next(&self) -> Result<Option<ConnectionEvent>, TransportError> {
        while let Some(message) = self.events.try_receive()? {
            // Two frames: u16 event and u32 value in host order, then the address.
            let [event, address] = message.frames.as_slice() else { continue };
            let Ok::<[u8; 6], _>([n0, n1, v0, v1, v2, v3]) = (**event).try_into() else {
                continue;
            };
            if let Some(kind) = ConnectionEventKind::from_number(u16::from_ne_bytes([n0, n1])) {
                return Ok(Some(ConnectionEvent {
                    kind,
                    value: u32::from_ne_bytes([v0, v1, v2, v3]),
                    address: String::from_utf8_lossy(address).into_owned(),
                }));
            }
        }
        Ok(None)
    }
}
