//! ZMTP 3.0 and 3.1, the bytes between ZeroMQ sockets (RFC 23, RFC 37), without any I/O.
//!
//! [`Handshake`] takes a connection from its first byte to the end of the NULL mechanism;
//! [`FrameHeader`] and [`Command`] read what comes then, and [`MessageReader`] puts frames together
//! to multipart messages without copying them. `put_*` functions write.
//!
//! Bytes come from the network: sizes are held against limits before anything is kept, and every
//! violation is a [`ZmtpError`], after which the connection is of no use.

mod command;
mod frame;
mod handshake;
mod reader;

pub use command::{Command, put_error, put_ping, put_pong, put_ready, put_subscription};
pub use frame::{FrameHeader, MAX_HEADER, put_frame};
pub use handshake::{GREETING_SIZE, Handshake, Peer, SocketType};
pub use reader::{Item, Message, MessageReader};

use thiserror::Error;

/// Why a connection cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ZmtpError {
    /// The first bytes are not those of ZMTP 3: another protocol, or a libzmq before 4.0.
    #[error("no ZMTP 3 greeting")]
    Greeting,
    /// The peer asks for another security mechanism than NULL.
    #[error("mechanism {0:?} where NULL was expected")]
    Mechanism(String),
    /// The peer is a socket of a type that does not go with ours.
    #[error("a peer of socket type {0:?}")]
    SocketType(String),
    /// The peer refused us, in its own words.
    #[error("the peer refused the connection: {0:?}")]
    Refused(String),
    /// Something else than the READY command where that was due.
    #[error("no READY command")]
    NotReady,
    /// The flags of a frame contradict the protocol.
    #[error("frame with flags {0:#04x}")]
    Flags(u8),
    /// A frame or message is larger than the limit.
    #[error("message of {size} bytes, more than {limit}")]
    TooLarge {
        /// Bytes announced so far.
        size: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// A command is cut off or contradicts itself.
    #[error("malformed {0} command")]
    Command(&'static str),
}
